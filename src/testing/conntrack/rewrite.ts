import { IPS_DST_NAT, IPS_SRC_NAT } from '../../linux/nf_conntrack_common.ts';
import { checksum, type Packet, pseudoSum, setU16, u16 } from '../packets/packet.ts';
import { addressOf, type Manip, portOf } from './nat.ts';
import type { Tracked, Tuple } from './state.ts';
import { GRE, hasPorts, ICMP, ICMPV6, inverse, isIcmp, SCTP, TCP, UDP, UDPLITE } from './tuples.ts';

/* How packets of translated connections are rewritten (net/netfilter/nf_nat_proto.c). */

const SUM_AT: Record<number, number> = { [TCP]: 16, [UDP]: 6, [UDPLITE]: 6, [ICMP]: 2, [ICMPV6]: 2 };
const ECHOES: Record<number, readonly number[]> = {
  [ICMP]: [0, 8, 13, 14, 15, 16, 17, 18],
  [ICMPV6]: [128, 129],
};

/** A checksum after words have been replaced (RFC 1624). */
export function incremental(sum: number, old: Uint8Array, bytes: Uint8Array): number {
  let result = ~sum & 0xffff;
  for (let i = 0; i < bytes.length; i += 2) result += (~u16(old, i) & 0xffff) + u16(bytes, i);
  while (result > 0xffff) result = (result & 0xffff) + (result >>> 16);
  return ~result & 0xffff;
}

/** Where a packet begins inside of bytes: ICMP errors quote another one. */
interface Place {
  readonly bytes: Uint8Array;
  readonly isV4: boolean;
  readonly header: number;
  readonly transport: number;
  readonly protocol: number;
}

/** Gives one end of a packet the address and the port of a tuple (nf_nat_ipv4_manip_pkt and its like). */
function manipulate({ bytes, isV4, header, transport, protocol }: Place, target: Tuple, manip: Manip): void {
  const length = isV4 ? 4 : 16;
  const addressAt = header + (isV4 ? 12 : 8) + (manip === 'source' ? 0 : length);
  const address = addressOf(target, manip);
  const old = bytes.slice(addressAt, addressAt + length);
  manipulateTransport({ bytes, isV4, header, transport, protocol }, target, manip, old);
  if (isV4) setU16(bytes, header + 10, incremental(u16(bytes, header + 10), old, address));
  bytes.set(address, addressAt);
}

function manipulateTransport(
  { bytes, transport, protocol }: Place,
  target: Tuple,
  manip: Manip,
  oldAddress: Uint8Array,
): void {
  const left = bytes.length - transport;
  const sumAt = SUM_AT[protocol];
  if (protocol === GRE || protocol === SCTP || sumAt === undefined) {
    if (protocol === SCTP && left >= 8)
      setU16(bytes, transport + (manip === 'source' ? 0 : 2), portOf(target, protocol, manip));
    return;
  }
  const isIcmpMessage = isIcmp(protocol);
  if (left < 8) return;
  const hasPort = hasPorts(protocol) || ECHOES[protocol]!.includes(bytes[transport]!);
  const portAt = transport + (isIcmpMessage ? 4 : manip === 'source' ? 0 : 2);
  const oldPort = hasPort ? bytes.slice(portAt, portAt + 2) : new Uint8Array(0);
  const port = portOf(target, protocol, manip);
  if (hasPort) setU16(bytes, portAt, port);
  // What an ICMP error quotes can be too short for the checksum of TCP.
  if (protocol === TCP && left < 20) return;
  const place = transport + sumAt;
  const sum = u16(bytes, place);
  if ((protocol === UDP || protocol === UDPLITE) && sum === 0) return;
  const withAddress = protocol === ICMP ? sum : incremental(sum, oldAddress, addressOf(target, manip));
  const newPort = hasPort ? Uint8Array.of(port >> 8, port) : new Uint8Array(0);
  const result = incremental(withAddress, oldPort, newPort);
  setU16(bytes, place, result === 0 && (protocol === UDP || protocol === UDPLITE) ? 0xffff : result);
}

/** Whether a connection's packets of a direction are changed at one end. */
function isTranslated({ connection, direction }: Tracked, manip: Manip): boolean {
  const bit = (manip === 'source') === (direction === 0) ? IPS_SRC_NAT : IPS_DST_NAT;
  return (connection.status & bit) !== 0;
}

/** What packets of a direction look like behind the translation. */
const targetOf = ({ connection, direction }: Tracked): Tuple =>
  inverse(connection.protocol, direction === 0 ? connection.reply : connection.original)!;

/** Rewrites a packet of a translated connection (nf_nat_packet). */
export function translate(packet: Packet, tracked: Tracked, manip: Manip): void {
  const { transport, bytes, transportProtocol } = packet;
  if (!isTranslated(tracked, manip) || transport === undefined || transportProtocol === undefined) return;
  const isV4 = packet.protocol === 0x0800;
  manipulate({ bytes, isV4, header: 0, transport, protocol: transportProtocol }, targetOf(tracked), manip);
}

const REDIRECT = 5;

/**
 * Rewrites an ICMP error, and inside it the packet that it quotes, as its receiver has sent it (nf_nat_icmp_reply_translation).
 * @returns false where the error must be dropped
 */
export function translateError(packet: Packet, tracked: Tracked, manip: Manip): boolean {
  const { bytes, protocol } = packet;
  const transport = packet.transport!;
  const isV4 = protocol === 0x0800;
  const { connection, direction } = tracked;
  if (checksum(bytes, transport, bytes.length, isV4 ? 0 : pseudoSum(packet, ICMPV6, bytes.length - transport)) !== 0)
    return false;
  if (isV4 ? bytes[transport] === REDIRECT : bytes[transport] === 137) {
    if ((connection.status & DONE) !== DONE || (connection.status & (IPS_SRC_NAT | IPS_DST_NAT)) !== 0) return false;
  }
  if (!isTranslated(tracked, manip)) return true;
  const other = direction === 0 ? connection.reply : connection.original;
  const header = transport + 8;
  const inner: Place = {
    bytes,
    isV4,
    header,
    transport: header + (isV4 ? (bytes[header]! & 15) * 4 : 40),
    protocol: connection.protocol,
  };
  manipulate(inner, other, manip === 'source' ? 'destination' : 'source');
  setU16(bytes, transport + 2, 0);
  const begun = isV4 ? 0 : pseudoSum(packet, ICMPV6, bytes.length - transport);
  setU16(bytes, transport + 2, checksum(bytes, transport, bytes.length, begun));
  manipulate({ bytes, isV4, header: 0, transport, protocol: isV4 ? ICMP : ICMPV6 }, targetOf(tracked), manip);
  return true;
}

const DONE = 0x180;
