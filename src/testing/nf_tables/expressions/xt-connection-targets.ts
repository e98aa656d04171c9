import { NF_DROP } from '../../../linux/netfilter.ts';
import type { Manip, Range } from '../../conntrack/nat.ts';
import { BOTH_DIRECTIONS } from '../../conntrack/state.ts';
import { sourceOf } from '../../packets/packet.ts';
import { masqueraded, redirected, translateTo } from './nat.ts';
import type { Outcome, Run } from './type.ts';
import { bytesAt, isFour, type XtTarget } from './xt-info.ts';

/* Targets of xtables that concern connections: include/uapi/linux/netfilter/nf_nat.h and xt_CT.h. */

const MAP_ADDRESSES = 1;
const OUTPUT = 3;
const PREROUTING = 0;

/** struct nf_nat_range or nf_nat_range2, which has the port that an offset counts from, too. */
function rangeOf(info: DataView, { packet }: Run): Range {
  const { length } = sourceOf(packet);
  return {
    flags: info.getUint32(0, true),
    addressMin: bytesAt(info, 4, length).slice(),
    addressMax: bytesAt(info, 20, length).slice(),
    portMin: info.getUint16(36),
    portMax: info.getUint16(38),
    portBase: info.byteLength >= 42 ? info.getUint16(40) : undefined,
  };
}

/** struct nf_nat_ipv4_multi_range_compat, of revision 0 of IPv4. */
function oldRangeOf(info: DataView, run: Run): Range {
  if (!isFour(run.packet)) return rangeOf(info, run);
  return {
    flags: info.getUint32(4, true),
    addressMin: bytesAt(info, 8, 4).slice(),
    addressMax: bytesAt(info, 12, 4).slice(),
    portMin: info.getUint16(16),
    portMax: info.getUint16(18),
  };
}

/** An address is there only where the flags say so. */
function translate(run: Run, range: Range, manip: Manip): Outcome {
  const hasAddress = (range.flags & MAP_ADDRESSES) !== 0;
  const none = { addressMin: undefined, addressMax: undefined };
  return translateTo(run, hasAddress ? range : { ...range, ...none }, manip);
}

const nat =
  (manip: Manip, read: typeof rangeOf): XtTarget =>
  (info, run) =>
    translate(run, read(info, run), manip);

/** To one address of this host, within the ports of the rule. */
const toOwn =
  (manip: Manip, choose: (run: Run) => Uint8Array | 'none'): XtTarget =>
  (info, run) => {
    const own = choose(run);
    if (own === 'none') return { code: NF_DROP };
    const range = oldRangeOf(info, run);
    return translateTo(run, { ...range, flags: range.flags | MAP_ADDRESSES, addressMin: own, addressMax: own }, manip);
  };

/** The network changes, and the host stays. */
const netmap: XtTarget = (info, run) => {
  const { packet, point } = run;
  const isDestination = point.hook === PREROUTING || point.hook === OUTPUT;
  const { addressMin, addressMax, ...range } = oldRangeOf(info, run);
  const { length } = sourceOf(packet);
  const start = (isFour(packet) ? 12 : 8) + (isDestination ? length : 0);
  const own = packet.bytes.subarray(start, start + length);
  const address = own.map((byte, i) => {
    const host = addressMin![i]! ^ addressMax![i]!;
    return (byte & host) | (addressMin![i]! & ~host);
  });
  const to = { ...range, flags: range.flags | MAP_ADDRESSES, addressMin: address, addressMax: address };
  return translateTo(run, to, isDestination ? 'destination' : 'source');
};

const NOTRACK = 1;
const ONLY_ORIGINAL = 4;
const ONLY_REPLY = 8;
const ZONE_OF_MARK = 16;
const HELPER_AT = 12;
const TIMEOUT_AT = 28;
/** What is set before the connection is looked for: no connection, or its zone. */
const ct =
  (hasTimeout: boolean): XtTarget =>
  (info, { engine, packet }) => {
    if (packet.tracked !== undefined || packet.untracked) return undefined;
    const flags = info.getUint16(0, true);
    if ((flags & NOTRACK) !== 0) {
      packet.untracked = true;
      return undefined;
    }
    if (info.getUint8(HELPER_AT) !== 0 || (hasTimeout && info.getUint8(TIMEOUT_AT) !== 0))
      return engine.notModelled('the target CT of xtables with a helper or a policy of timeouts');
    const only = (flags & ONLY_ORIGINAL ? 1 : 0) | (flags & ONLY_REPLY ? 2 : 0);
    const id = (flags & ZONE_OF_MARK) !== 0 ? packet.mark & 0xffff : info.getUint16(2, true);
    packet.zone = { id, directions: only || BOTH_DIRECTIONS };
    return undefined;
  };

const notrack: XtTarget = (_, { packet }) => {
  if (packet.tracked === undefined) packet.untracked = true;
  return undefined;
};

export const XT_CONNECTION_TARGETS: Readonly<Record<string, XtTarget>> = {
  'CT 0': ct(false),
  'CT 1': ct(true),
  'CT 2': ct(true),
  'DNAT 0': nat('destination', oldRangeOf),
  'DNAT 1': nat('destination', rangeOf),
  'DNAT 2': nat('destination', rangeOf),
  'MASQUERADE 0': toOwn('source', masqueraded),
  'NETMAP 0': netmap,
  'NOTRACK 0': notrack,
  'REDIRECT 0': toOwn('destination', redirected),
  'SNAT 0': nat('source', oldRangeOf),
  'SNAT 1': nat('source', rangeOf),
};
