import { ETH_P_IP } from '../../../linux/if_ether.ts';
import { destinationOf, type Packet, sourceOf, u16 } from '../../packets/packet.ts';
import { RTN, typeOfAddress } from '../../routes.ts';
import { compare, type Run } from './type.ts';

/*
 * Matches of xtables, by their names and revisions: their C structures are read as they are (include/uapi/linux/netfilter/xt_*.h). 'drop' is
 * what the kernel calls hotdrop: the header that a match needs is not there.
 */

export type MatchOutcome = boolean | 'drop';
export type XtMatch = (info: DataView, run: Run) => MatchOutcome;

const bytesAt = (info: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(info.buffer, info.byteOffset + at, length);
const isIn = (value: number, low: number, high: number): boolean => value >= low && value <= high;

/** Two ranges of ports at the beginning of a structure, and the bits that turn them round. */
function hasPorts(info: DataView, { bytes }: Packet, transport: number, inverted: number): boolean {
  const matches = (at: number, port: number, bit: number) =>
    isIn(port, info.getUint16(at, true), info.getUint16(at + 2, true)) !== ((inverted & bit) !== 0);
  return matches(0, u16(bytes, transport), 1) && matches(4, u16(bytes, transport + 2), 2);
}

/** The transport header of a packet that is no later fragment; 'drop' where it is cut off. */
function headerOf({ bytes, transport, fragmentOffset }: Packet, length: number): number | undefined | 'drop' {
  if (fragmentOffset > 0 || transport === undefined) return undefined;
  return transport + length > bytes.length ? 'drop' : transport;
}

const tcp: XtMatch = (info, { engine, packet }) => {
  const at = headerOf(packet, 20);
  if (typeof at !== 'number') return at ?? false;
  if (info.getUint8(8) !== 0) return engine.notModelled('the match tcp of xtables, where it asks for an option');
  const inverted = info.getUint8(11);
  const flags = (packet.bytes[at + 13]! & info.getUint8(9)) === info.getUint8(10);
  return hasPorts(info, packet, at, inverted) && flags !== ((inverted & 4) !== 0);
};

const udp: XtMatch = (info, { packet }) => {
  const at = headerOf(packet, 8);
  return typeof at === 'number' ? hasPorts(info, packet, at, info.getUint8(8)) : (at ?? false);
};

const icmp =
  (any: number | undefined): XtMatch =>
  (info, { packet }) => {
    const at = headerOf(packet, 8);
    if (typeof at !== 'number') return at ?? false;
    const [type, code] = [packet.bytes[at]!, packet.bytes[at + 1]!];
    const wanted = info.getUint8(0);
    const matches = wanted === any || (type === wanted && isIn(code, info.getUint8(1), info.getUint8(2)));
    return matches !== ((info.getUint8(3) & 1) !== 0);
  };

const SOURCE = 0;
const DESTINATION = 1;

const multiport: XtMatch = (info, { packet }) => {
  const at = headerOf(packet, 4);
  if (typeof at !== 'number') return at ?? false;
  const which = info.getUint8(0);
  const ports = [u16(packet.bytes, at), u16(packet.bytes, at + 2)].filter(
    (_, i) => (which === SOURCE && i === 0) || (which === DESTINATION && i === 1) || which > DESTINATION,
  );
  let matches = false;
  for (let i = 0; i < info.getUint8(1); i++) {
    const low = info.getUint16(2 + 2 * i, true);
    const high = info.getUint8(32 + i) === 0 ? low : info.getUint16(2 + 2 * ++i, true);
    matches ||= ports.some(port => isIn(port, low, high));
  }
  return matches !== (info.getUint8(47) !== 0);
};

const marked = (value: number, info: DataView): boolean =>
  (value & info.getUint32(4, true)) >>> 0 === info.getUint32(0, true);
const mark: XtMatch = (info, { packet }) => marked(packet.mark, info) !== (info.getUint8(8) !== 0);
const connmark: XtMatch = (info, { packet: { tracked } }) =>
  tracked !== undefined && marked(tracked.connection.mark, info) !== (info.getUint8(8) !== 0);

const STATES = { new: 8, established: 2, related: 4 } as const;
const INVALID = 1;
const state: XtMatch = (info, { packet: { tracked, untracked } }) => {
  const bit = tracked === undefined ? (untracked ? 64 : INVALID) : STATES[tracked.state];
  return (info.getUint32(0, true) & bit) !== 0;
};

/** XT_CONNTRACK_STATE: the only question that is modelled. */
const ASKS_STATE = 1;
const SOURCE_TRANSLATED = 0x10;
const conntrack: XtMatch = (info, { engine, packet: { tracked, untracked } }) => {
  const asks = info.getUint16(146, true);
  if ((asks & ~ASKS_STATE) !== 0) return engine.notModelled('the match conntrack of xtables, but for its states');
  let bits: number = tracked === undefined ? (untracked ? 256 : INVALID) : STATES[tracked.state];
  // IPS_SRC_NAT and IPS_DST_NAT are the bits 4 and 5, XT_CONNTRACK_STATE_SNAT and DNAT 6 and 7.
  if (tracked !== undefined) bits |= (tracked.connection.status & (3 * SOURCE_TRANSLATED)) << 2;
  return ((info.getUint16(150, true) & bits) !== 0) !== ((info.getUint16(148, true) & ASKS_STATE) !== 0);
};

const addrtype: XtMatch = (info, { engine, namespace, packet }) => {
  const flags = info.getUint32(4, true);
  if ((flags & 12) !== 0) return engine.notModelled('the match addrtype of xtables, where it is limited to a device');
  const matches = (at: number, address: Uint8Array, bit: number) => {
    const wanted = info.getUint16(at, true);
    return wanted === 0 || ((wanted >> RTN[typeOfAddress(namespace, address)]) & 1) !== Number((flags & bit) !== 0);
  };
  return matches(0, sourceOf(packet), 1) && matches(2, destinationOf(packet), 2);
};

const iprange: XtMatch = (info, { packet }) => {
  const flags = info.getUint8(64);
  const matches = (at: number, address: Uint8Array, bit: number, inverted: number) => {
    if ((flags & bit) === 0) return true;
    const { length } = address;
    const inside =
      compare(address, bytesAt(info, at, length)) >= 0 && compare(address, bytesAt(info, at + 16, length)) <= 0;
    return inside !== ((flags & inverted) !== 0);
  };
  return matches(0, sourceOf(packet), 1, 16) && matches(32, destinationOf(packet), 2, 32);
};

const length: XtMatch = (info, { packet: { bytes } }) =>
  isIn(bytes.length, info.getUint16(0, true), info.getUint16(2, true)) !== (info.getUint8(4) !== 0);

const COMPARISONS: readonly ((left: number, right: number) => boolean)[] = [
  (left, right) => left === right,
  (left, right) => left !== right,
  (left, right) => left < right,
  (left, right) => left > right,
];
const hops =
  (at: number): XtMatch =>
  (info, { packet: { bytes } }) =>
    COMPARISONS[info.getUint8(0)]?.(bytes[at]!, info.getUint8(1)) ?? false;

const mac: XtMatch = (info, { packet: { link } }) =>
  link !== undefined && (compare(bytesAt(info, 0, 6), link.subarray(6, 12)) === 0) !== (info.getUint32(8, true) !== 0);
const pkttype: XtMatch = (info, { packet }) =>
  (packet.packetType === info.getUint32(0, true)) !== (info.getUint32(4, true) !== 0);

/** The byte of IPv4's type of service, or IPv6's traffic class. */
export const serviceOf = ({ bytes, protocol }: Packet): number =>
  protocol === ETH_P_IP ? bytes[1]! : (u16(bytes, 0) >> 4) & 0xff;
const dscp: XtMatch = (info, { packet }) => (serviceOf(packet) >> 2 === info.getUint8(0)) !== (info.getUint8(1) !== 0);
const tos: XtMatch = (info, { packet }) =>
  ((serviceOf(packet) & info.getUint8(0)) === info.getUint8(1)) !== (info.getUint8(2) !== 0);

/** By name and revision. */
export const XT_MATCHES: Readonly<Record<string, XtMatch>> = {
  'addrtype 1': addrtype,
  'comment 0': () => true,
  'connmark 1': connmark,
  'conntrack 3': conntrack,
  'dscp 0': dscp,
  'hl 0': hops(7),
  'icmp 0': icmp(0xff),
  'icmp6 0': icmp(undefined),
  'iprange 1': iprange,
  'length 0': length,
  'mac 0': mac,
  'mark 1': mark,
  'multiport 1': multiport,
  'pkttype 0': pkttype,
  'state 0': state,
  'tcp 0': tcp,
  'tos 1': tos,
  'ttl 0': hops(8),
  'udp 0': udp,
};
