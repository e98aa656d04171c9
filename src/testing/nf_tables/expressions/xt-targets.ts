import { ETH_P_IP } from '../../../linux/if_ether.ts';
import { checksumWith } from '../../packets/checksums.ts';
import { type Packet, setU16, u16 } from '../../packets/packet.ts';
import type { Outcome, Run } from './type.ts';
import { serviceOf } from './xt-matches.ts';

/* Targets of xtables, by their names and revisions: their C structures are read as they are (include/uapi/linux/netfilter/xt_*.h). */

export type XtTarget = (info: DataView, run: Run) => Outcome;

const mark: XtTarget = (info, { packet }) => {
  packet.mark = ((packet.mark & ~info.getUint32(4, true)) ^ info.getUint32(0, true)) >>> 0;
  return undefined;
};

const SET = 0;
const SAVE = 1;
const connmark: XtTarget = (info, { packet }) => {
  const connection = packet.tracked?.connection;
  if (connection === undefined) return undefined;
  const [value, ofConnection, ofPacket] = [0, 4, 8].map(at => info.getUint32(at, true)) as [number, number, number];
  switch (info.getUint8(12)) {
    case SET:
      connection.mark = ((connection.mark & ~ofConnection) ^ value) >>> 0;
      return undefined;
    case SAVE:
      connection.mark = ((connection.mark & ~ofConnection) ^ (packet.mark & ofPacket)) >>> 0;
      return undefined;
    default:
      packet.mark = ((packet.mark & ~ofPacket) ^ (connection.mark & ofConnection)) >>> 0;
      return undefined;
  }
};

/** By ipt_reject_with and ip6t_reject_with: the ICMP code; an echo's answer was never sent. */
const FOUR_CODES: Readonly<Record<number, number>> = { 0: 0, 1: 1, 2: 2, 3: 3, 5: 9, 6: 10, 8: 13 };
const SIX_CODES: Readonly<Record<number, number>> = { 0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 5, 8: 6 };
const FOUR_RESET = 7;
const SIX_RESET = 6;

const reject: XtTarget = (info, run) => {
  const kind = info.getUint32(0, true);
  const isV4 = run.packet.protocol === ETH_P_IP;
  if (kind === (isV4 ? FOUR_RESET : SIX_RESET)) return run.path.reject(undefined, run);
  const code = (isV4 ? FOUR_CODES : SIX_CODES)[kind];
  return code === undefined
    ? run.engine.notModelled('the target REJECT of xtables with an echo reply')
    : run.path.reject(code, run);
};

/** Writes one byte of the header, and corrects the checksum of IPv4. */
function writeByte({ bytes, protocol }: Packet, at: number, value: number): void {
  const word = at & ~1;
  const old = bytes.slice(word, word + 2);
  bytes[at] = value;
  if (protocol === ETH_P_IP) setU16(bytes, 10, checksumWith(u16(bytes, 10), old, bytes.subarray(word, word + 2)));
}

const hops =
  (at: number): XtTarget =>
  (info, { packet }) => {
    const [mode, value] = [info.getUint8(0), info.getUint8(1)];
    const now = packet.bytes[at]!;
    // Set, more, fewer: within what a byte holds.
    const next = mode === SET ? value : mode === 1 ? Math.min(255, now + value) : Math.max(0, now - value);
    if (next !== now) writeByte(packet, at, next);
    return undefined;
  };

function setService(packet: Packet, value: number): void {
  if (serviceOf(packet) === value) return;
  if (packet.protocol === ETH_P_IP) writeByte(packet, 1, value);
  else setU16(packet.bytes, 0, (u16(packet.bytes, 0) & 0xf00f) | (value << 4));
}
const dscp: XtTarget = (info, { packet }) => {
  setService(packet, (serviceOf(packet) & 3) | (info.getUint8(0) << 2));
  return undefined;
};
const tos: XtTarget = (info, { packet }) => {
  setService(packet, (serviceOf(packet) & ~info.getUint8(1) & 0xff) ^ info.getUint8(0));
  return undefined;
};

const notrack: XtTarget = (_, { packet }) => {
  if (packet.tracked === undefined) packet.untracked = true;
  return undefined;
};
const trace: XtTarget = (_, { packet }) => {
  packet.trace = true;
  return undefined;
};
const classify: XtTarget = (info, { packet }) => {
  packet.priority = info.getUint32(0, true);
  return undefined;
};

const PREFIX = 64;
/** With no length of its own, or without the flag that it counts, the whole packet is copied. */
const HAS_LENGTH = 1;
const nflog: XtTarget = (info, run) => {
  const prefix = Buffer.from(info.buffer, info.byteOffset + 12, PREFIX).toString('latin1');
  const values: Record<string, number | string> = {
    group: info.getUint16(4, true),
    prefix: prefix.slice(0, prefix.indexOf('\0')),
    threshold: info.getUint16(6, true),
  };
  if ((info.getUint16(8, true) & HAS_LENGTH) !== 0) values.copyLength = info.getUint32(0, true);
  run.path.log({ name: 'log', values }, run);
  return undefined;
};

/** By name and revision. LOG goes to the kernel's own log, which nobody reads here. */
export const XT_TARGETS: Readonly<Record<string, XtTarget>> = {
  'CLASSIFY 0': classify,
  'CONNMARK 1': connmark,
  'DSCP 0': dscp,
  'HL 0': hops(7),
  'LOG 0': () => undefined,
  'MARK 2': mark,
  'NFLOG 0': nflog,
  'NOTRACK 0': notrack,
  'REJECT 0': reject,
  'TOS 1': tos,
  'TRACE 0': trace,
  'TTL 0': hops(8),
};
