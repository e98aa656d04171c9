import { IPS_CONFIRMED } from '../../../linux/nf_conntrack_common.ts';
import * as C from '../../../linux/xt_conntrack.ts';
import type { Counter, Tracked } from '../../conntrack/state.ts';
import { bytesAt, isIn, isMarked, type XtMatch } from './xt-info.ts';

/* Matches of xtables that ask for the connection of a packet: include/uapi/linux/netfilter/xt_conntrack.h and its like. */

const connmark: XtMatch = (info, { packet: { tracked } }) =>
  tracked !== undefined && isMarked(tracked.connection.mark, info) !== (info.getUint8(8) !== 0);

const STATES = { new: 8, established: 2, related: 4 } as const;
const INVALID = 1;
const UNTRACKED_STATE = 64;
const state: XtMatch = (info, { packet: { tracked, untracked } }) => {
  const bit = tracked === undefined ? (untracked ? UNTRACKED_STATE : INVALID) : STATES[tracked.state];
  return (info.getUint32(0, true) & bit) !== 0;
};

const SOURCE_TRANSLATED = 0x10;
const MILLISECONDS = 1000n;
/** Where the addresses are, with their masks behind them. */
const ADDRESSES = [
  [C.XT_CONNTRACK_ORIGSRC, 0, 'original', 'source'],
  [C.XT_CONNTRACK_ORIGDST, 32, 'original', 'destination'],
  [C.XT_CONNTRACK_REPLSRC, 64, 'reply', 'source'],
  [C.XT_CONNTRACK_REPLDST, 96, 'reply', 'destination'],
] as const;
/** Where the first and the last ports are. */
const PORTS = [
  [C.XT_CONNTRACK_ORIGSRC_PORT, 138, 154, 'original', 'sourcePort'],
  [C.XT_CONNTRACK_ORIGDST_PORT, 140, 156, 'original', 'destinationPort'],
  [C.XT_CONNTRACK_REPLSRC_PORT, 142, 158, 'reply', 'sourcePort'],
  [C.XT_CONNTRACK_REPLDST_PORT, 144, 160, 'reply', 'destinationPort'],
] as const;

/** All that it asks must be true (conntrack_mt). A packet of no connection has a state, and nothing else. */
const conntrack: XtMatch = (info, { engine, packet: { tracked, untracked } }) => {
  const [asked, inverted] = [info.getUint16(146, true), info.getUint16(148, true)];
  const holds = (field: number, is: boolean) => is !== ((inverted & field) !== 0);
  if ((asked & C.XT_CONNTRACK_STATE) !== 0) {
    let bits: number =
      tracked === undefined
        ? untracked
          ? C.XT_CONNTRACK_STATE_UNTRACKED
          : C.XT_CONNTRACK_STATE_INVALID
        : STATES[tracked.state];
    // IPS_SRC_NAT and IPS_DST_NAT are the bits 4 and 5, XT_CONNTRACK_STATE_SNAT and DNAT 6 and 7.
    if (tracked !== undefined) bits |= (tracked.connection.status & (3 * SOURCE_TRANSLATED)) << 2;
    if (!holds(C.XT_CONNTRACK_STATE, (info.getUint16(150, true) & bits) !== 0)) return false;
  }
  if (tracked === undefined) return (asked & C.XT_CONNTRACK_STATE) !== 0;
  const wants = (field: number, is: () => boolean) => (asked & field) === 0 || holds(field, is());
  return (
    wants(C.XT_CONNTRACK_DIRECTION, () => tracked.direction === 0) &&
    hasEnds(info, tracked, wants) &&
    wants(C.XT_CONNTRACK_STATUS, () => (info.getUint16(152, true) & tracked.connection.status) !== 0) &&
    wants(C.XT_CONNTRACK_EXPIRES, () => {
      const { expires, status } = tracked.connection;
      // Until the end of its first packet's way its time has not begun.
      const seconds = (status & IPS_CONFIRMED) === 0 ? 0 : Number((expires - engine.now) / MILLISECONDS);
      return isIn(seconds, info.getUint32(128, true), info.getUint32(132, true));
    })
  );
};

function hasEnds(
  info: DataView,
  { connection }: Tracked,
  wants: (field: number, is: () => boolean) => boolean,
): boolean {
  return (
    ADDRESSES.every(([field, at, tuple, end]) =>
      wants(field, () => {
        const address = connection[tuple][end];
        const [wanted, mask] = [bytesAt(info, at, address.length), bytesAt(info, at + 16, address.length)];
        return address.every((byte, i) => ((byte ^ wanted[i]!) & mask[i]!) === 0);
      }),
    ) &&
    wants(C.XT_CONNTRACK_PROTO, () => connection.protocol === info.getUint16(136, true)) &&
    PORTS.every(([field, first, last, tuple, end]) =>
      wants(field, () => isIn(connection[tuple][end], info.getUint16(first, true), info.getUint16(last, true))),
    )
  );
}

const NOTHING: Counter = { packets: 0n, bytes: 0n };
/** A range whose first number is above its last one is inverted. */
const connbytes: XtMatch = (info, { packet: { tracked } }) => {
  const counters = tracked?.connection.counters;
  if (counters === undefined) return false;
  const [what, direction] = [info.getUint8(16), info.getUint8(17)];
  const which = counters.filter((_, i) => direction === 2 || direction === i);
  const { packets, bytes } = which.reduce(
    (sum, each) => ({ packets: sum.packets + each.packets, bytes: sum.bytes + each.bytes }),
    NOTHING,
  );
  const average = packets === 0n ? 0n : bytes / packets;
  const value = what === 0 ? packets : what === 1 ? bytes : average;
  const [from, to] = [info.getBigUint64(0, true), info.getBigUint64(8, true)];
  return from <= to ? value >= from && value <= to : value < to || value > from;
};

export const XT_CONNECTION_MATCHES: Readonly<Record<string, XtMatch>> = {
  'connbytes 0': connbytes,
  'connmark 1': connmark,
  'conntrack 3': conntrack,
  'state 0': state,
};
