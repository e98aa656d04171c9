import { formatIPv4, formatIPv6, fromHex, toHex } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { u16 } from './packets/packet.ts';

/** A packet, as `tcp()` makes it, and as it comes out of a kernel in memory. It can be received and sent again. */
export interface TestPacket {
  /** 'tcp', 'udp', 'icmp', 'icmpv6', or the number of another protocol (the last header of IPv6 that is no extension). */
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'icmpv6' | number;
  /** The sender: '10.10.0.1:40000', '[2001:db8::1]:40000'; without a port where the protocol has none, or in a later fragment. */
  readonly from: string;
  /** The receiver, written as the sender is. */
  readonly to: string;
  /** Time to live, or hop limit. */
  readonly ttl: number;
  /** All of it, from the network header on: lower-case hexadecimal digits. */
  readonly bytes: string;
}

/** Whatever can be received or sent: a `TestPacket`, or bytes from the network header on. */
export interface PacketInput {
  /** Bytes, or hexadecimal digits. */
  readonly bytes: string | Uint8Array;
  /**
   * The Ethernet header with which it is received, 14 bytes: rules read it, and its type says what the packet is. By default one of a neighbour
   * to the device's own address.
   */
  readonly link?: string | Uint8Array;
}

const NAMES: Record<number, 'tcp' | 'udp' | 'icmp' | 'icmpv6'> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6' };
/** TCP, UDP, DCCP, SCTP and UDP-Lite. */
const WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136];
const FRAGMENT = 44;
/** Hop by hop, routing, fragment, destination options: another header follows. */
const EXTENSIONS: readonly number[] = [0, 43, FRAGMENT, 60];

/** The bytes of a packet, a copy. */
export function bytesOfPacket(packet: PacketInput): Uint8Array {
  return copyOf(packet?.bytes, 'bytes');
}

const ETHERNET_HEADER = 14;

/** The Ethernet header of a packet, a copy. */
export function linkOfPacket(packet: PacketInput): Uint8Array | undefined {
  // A string has a method of this name.
  const link = typeof packet === 'object' && packet !== null ? packet.link : undefined;
  if (link === undefined) return undefined;
  const header = copyOf(link, 'link');
  if (header.length !== ETHERNET_HEADER) throw rangeError(['link'], 'an Ethernet header of 14 bytes', link);
  return header;
}

function copyOf(bytes: unknown, field: string): Uint8Array {
  // A Buffer's own slice() would be the same memory.
  const copy =
    typeof bytes === 'string' ? fromHex(bytes) : bytes instanceof Uint8Array ? Uint8Array.from(bytes) : undefined;
  return copy ?? fail(field, bytes);
}

function fail(field: string, value: unknown): never {
  throw typeError([field], 'a Uint8Array or hexadecimal digits', value);
}

/** Reads the headers of a packet. */
export function describePacket(bytes: Uint8Array): TestPacket {
  const isV4 = bytes[0]! >> 4 === 4;
  const [start, length] = isV4 ? [12, 4] : [8, 16];
  const [number, at] = isV4
    ? [bytes[9] ?? 0, (u16(bytes, 6) & 0x1fff) === 0 ? (bytes[0]! & 15) * 4 : bytes.length]
    : lastHeader(bytes);
  const hasPorts = WITH_PORTS.includes(number) && at + 4 <= bytes.length;
  const end = (address: number, port: number): string => {
    const part = bytes.subarray(address, address + length);
    const text = isV4 ? formatIPv4(part) : formatIPv6(part);
    return hasPorts ? `${isV4 ? text : `[${text}]`}:${u16(bytes, port)}` : text;
  };
  return {
    protocol: NAMES[number] ?? number,
    from: end(start, at),
    to: end(start + length, at + 2),
    ttl: bytes[isV4 ? 8 : 7] ?? 0,
    bytes: toHex(bytes),
  };
}

/** The protocol behind the extension headers of IPv6, and where it begins. */
function lastHeader(bytes: Uint8Array): [number: number, at: number] {
  let next = bytes[6] ?? 59;
  let at = 40;
  while (EXTENSIONS.includes(next) && at + 8 <= bytes.length) {
    if (next === FRAGMENT && (u16(bytes, at + 2) & 0xfff8) !== 0) return [bytes[at]!, bytes.length];
    const size = next === FRAGMENT ? 8 : (bytes[at + 1]! + 1) * 8;
    next = bytes[at]!;
    at += size;
  }
  return [next, at];
}
