import { ETH_P_IP } from '../../../linux/if_ether.ts';
import { type Packet, u16 } from '../../packets/packet.ts';
import { compare } from './type.ts';
import { XT_ADDRESS_MATCHES } from './xt-addresses.ts';
import { XT_CONNECTION_MATCHES } from './xt-connections.ts';
import { bytesAt, headerOf, isIn, isMarked, type XtMatch } from './xt-info.ts';

/*
 * Matches of xtables, by their names and revisions: their C structures are read as they are (include/uapi/linux/netfilter/xt_*.h).
 */

/** Two ranges of ports at the beginning of a structure, and the bits that turn them round. */
function hasPorts(info: DataView, { bytes }: Packet, transport: number, inverted: number): boolean {
  const matches = (at: number, port: number, bit: number) =>
    isIn(port, info.getUint16(at, true), info.getUint16(at + 2, true)) !== ((inverted & bit) !== 0);
  return matches(0, u16(bytes, transport), 1) && matches(4, u16(bytes, transport + 2), 2);
}

/** The options of TCP; undefined where the header is cut off. */
export function optionsOf({ bytes }: Packet, at: number): Uint8Array | undefined {
  const length = (bytes[at + 12]! >> 4) * 4;
  return length < 20 || at + length > bytes.length ? undefined : bytes.subarray(at + 20, at + length);
}

function hasOption(options: Uint8Array, wanted: number): boolean {
  for (let at = 0; at < options.length; ) {
    if (options[at] === wanted) return true;
    at += options[at]! < 2 ? 1 : options[at + 1] || 1;
  }
  return false;
}

const tcp: XtMatch = (info, { packet }) => {
  const at = headerOf(packet, 20);
  if (typeof at !== 'number') return at ?? false;
  const inverted = info.getUint8(11);
  const flags = (packet.bytes[at + 13]! & info.getUint8(9)) === info.getUint8(10);
  if (!hasPorts(info, packet, at, inverted) || flags === ((inverted & 4) !== 0)) return false;
  const wanted = info.getUint8(8);
  if (wanted === 0) return true;
  const options = optionsOf(packet, at);
  return options === undefined ? 'drop' : hasOption(options, wanted) !== ((inverted & 8) !== 0);
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

const mark: XtMatch = (info, { packet }) => isMarked(packet.mark, info) !== (info.getUint8(8) !== 0);
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

const tcpmss: XtMatch = (info, { packet }) => {
  const at = headerOf(packet, 20);
  if (typeof at !== 'number') return at ?? 'drop';
  const options = optionsOf(packet, at);
  if (options === undefined) return 'drop';
  for (let i = 0; i < options.length; ) {
    const isMss = options[i] === MSS && options.length - i >= MSS_LENGTH && options[i + 1] === MSS_LENGTH;
    if (isMss)
      return isIn(u16(options, i + 2), info.getUint16(0, true), info.getUint16(2, true)) !== !!info.getUint8(4);
    i += options[i]! < 2 ? 1 : options[i + 1] || 1;
  }
  return info.getUint8(4) !== 0;
};
export const MSS = 2;
export const MSS_LENGTH = 4;

/** Only local packets have an owner. */
const owner: XtMatch = (info, { packet: { user, group } }) => {
  const [wanted, inverted] = [info.getUint8(16), info.getUint8(17)];
  if (user === undefined || group === undefined) return (wanted ^ inverted) === 0;
  const [USER, GROUP, SOCKET] = [1, 2, 4];
  if ((wanted & inverted & SOCKET) !== 0) return false;
  const matches = (bit: number, value: number, at: number) =>
    (wanted & bit) === 0 ||
    isIn(value, info.getUint32(at, true), info.getUint32(at + 4, true)) !== ((inverted & bit) !== 0);
  return matches(USER, user, 0) && matches(GROUP, group, 8);
};

const devgroup: XtMatch = (info, { packet: { inDevice, outDevice } }) => {
  const flags = info.getUint32(0, true);
  const matches = (bit: number, group: number, at: number) =>
    (flags & bit) === 0 ||
    (((info.getUint32(at, true) ^ group) & info.getUint32(at + 4, true)) === 0) !== ((flags & (bit * 2)) !== 0);
  return matches(1, inDevice?.group ?? 0, 4) && matches(4, outDevice?.group ?? 0, 12);
};

/** Every n-th packet; those by chance are as many as in the kernel, and not the same. */
const statistic: XtMatch = (info, _, state) => {
  const isInverted = (info.getUint16(2, true) & 1) !== 0;
  if (info.getUint16(0, true) === 0)
    return Math.floor(Math.random() * 0x8000_0000) < info.getUint32(4, true) !== isInverted;
  const [every, first] = [info.getUint32(4, true), info.getUint32(12, true)];
  const count = state.count ?? BigInt(first);
  const isLast = count === BigInt(every);
  state.count = isLast ? 0n : count + 1n;
  return isLast !== isInverted;
};

const quota: XtMatch = (info, { packet: { bytes } }, state) => {
  const isInverted = (info.getUint32(0, true) & 1) !== 0;
  const left = state.left ?? info.getBigUint64(8, true);
  const isWithin = left >= BigInt(bytes.length);
  state.left = isWithin ? left - BigInt(bytes.length) : 0n;
  return isWithin !== isInverted;
};

/** By name and revision. */
export const XT_MATCHES: Readonly<Record<string, XtMatch>> = {
  ...XT_ADDRESS_MATCHES,
  ...XT_CONNECTION_MATCHES,
  'comment 0': () => true,
  'devgroup 0': devgroup,
  'dscp 0': dscp,
  'hl 0': hops(7),
  'icmp 0': icmp(0xff),
  'icmp6 0': icmp(undefined),
  'length 0': length,
  'mac 0': mac,
  'mark 1': mark,
  'multiport 1': multiport,
  'owner 1': owner,
  'pkttype 0': pkttype,
  'quota 0': quota,
  'statistic 0': statistic,
  'tcp 0': tcp,
  'tcpmss 0': tcpmss,
  'tos 1': tos,
  'ttl 0': hops(8),
  'udp 0': udp,
};
