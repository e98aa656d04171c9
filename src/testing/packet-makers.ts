import { checkInteger, checkObject, parseIPv4, parseIPv6 } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { ETH_P_IP, ETH_P_IPV6 } from '../linux/if_ether.ts';
import { checksum, setU16, u16 } from './packets/packet.ts';
import { bytesOfPacket, describePacket, type TestPacket } from './test-packet.ts';

/** What TCP and UDP packets have in common. */
export interface TransportOptions {
  /** Address and port of the sender: '10.10.0.1:40000', '[2001:db8::1]:40000'. */
  readonly from: string;
  /** Address and port of the receiver. */
  readonly to: string;
  /** The data behind the header; none by default. */
  readonly payload?: Uint8Array | string;
  /** Time to live, or hop limit: 64 by default. */
  readonly ttl?: number;
}

/** What a TCP packet has. */
export interface TcpOptions extends TransportOptions {
  /** The flags, 'syn' by default. */
  readonly flags?: TcpFlag | readonly TcpFlag[];
  /** The sequence number, 32 bits; 0 by default. */
  readonly sequence?: number;
  /** The sequence number that is expected next, 32 bits; 0 by default. */
  readonly acknowledgement?: number;
  /** The receive window, 16 bits; 64240 by default. */
  readonly window?: number;
}

/** A flag of a TCP header. */
export type TcpFlag = 'fin' | 'syn' | 'rst' | 'psh' | 'ack' | 'urg' | 'ece' | 'cwr';
const FLAGS: readonly TcpFlag[] = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;
const DEFAULT_WINDOW = 64_240;

interface End {
  readonly address: Uint8Array;
  readonly port: number;
}

function endOf(value: unknown, path: string, hasPort: boolean): End {
  if (typeof value !== 'string') throw typeError([path], "a string such as '10.10.0.1:80'", value);
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(value);
  const plain = /^([\d.]+)(?::(\d{1,5}))?$/.exec(value);
  const [, address = hasPort ? '' : value, port] = bracketed ?? plain ?? [];
  const bytes = address.includes(':') ? parseIPv6(address) : parseIPv4(address);
  const number = Number(port ?? 0);
  if (bytes === undefined || number > 65_535 || (hasPort && port === undefined))
    throw rangeError(
      [path],
      hasPort ? "an address and a port, such as '10.10.0.1:80' or '[::1]:80'" : 'an address',
      value,
    );
  return { address: bytes, port: number };
}

/** The whole packet has at most 65,535 bytes, the longest headers included. */
const MOST_OF_PAYLOAD = 65_535 - 40 - 20;

function contentOf(payload: Uint8Array | string | undefined): Uint8Array {
  if (payload === undefined) return new Uint8Array(0);
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  if (!(bytes instanceof Uint8Array)) throw typeError(['payload'], 'a Uint8Array or a text', payload);
  if (bytes.length > MOST_OF_PAYLOAD)
    throw rangeError(['payload'], `at most ${MOST_OF_PAYLOAD} bytes`, `${bytes.length} bytes`);
  return bytes;
}

/** The greatest values of the fields that are numbers. */
const MOST: Readonly<Record<string, number>> = {
  ttl: 0xff,
  window: 0xffff,
  acknowledgement: 0xffffffff,
  type: 0xff,
  code: 0xff,
  id: 0xffff,
};

/** Refuses misspelt fields, and numbers that would be cut to fit the packet. `own` are the fields of this kind of packet. */
function check(options: object, own: readonly string[]): void {
  checkObject(options, [], ['from', 'to', 'payload', 'ttl', ...own]);
  const isTcp = own.includes('window');
  for (const [name, value] of Object.entries(options)) {
    const most = name === 'sequence' ? (isTcp ? 0xffffffff : 0xffff) : MOST[name];
    if (most !== undefined && value !== undefined) checkInteger(value, [name], 0, most);
  }
}

/** Puts a network header in front, and the checksum of what follows into it. */
function packet(
  from: End,
  to: End,
  protocol: number,
  transport: Uint8Array,
  ttl: number,
  checksumAt: number,
): TestPacket {
  if (from.address.length !== to.address.length)
    throw typeError(['to'], 'an address of the same family as `from`', to.address);
  const isV4 = from.address.length === 4;
  const header = new Uint8Array(isV4 ? 20 : 40);
  const { length } = transport;
  if (isV4) {
    header[0] = 0x45;
    setU16(header, 2, 20 + length);
    // Don't fragment.
    setU16(header, 6, 0x4000);
    header[8] = ttl;
    header[9] = protocol;
    header.set(from.address, 12);
    header.set(to.address, 16);
    setU16(header, 10, checksum(header, 0, 20));
  } else {
    header[0] = 0x60;
    setU16(header, 4, length);
    header[6] = protocol;
    header[7] = ttl;
    header.set(from.address, 8);
    header.set(to.address, 24);
  }
  const hasPseudoHeader = protocol !== ICMP;
  const pseudo = new Uint8Array(2 * from.address.length + 4);
  pseudo.set(from.address, 0);
  pseudo.set(to.address, from.address.length);
  setU16(pseudo, pseudo.length - 4, length);
  setU16(pseudo, pseudo.length - 2, protocol);
  const begun = hasPseudoHeader ? ~checksum(pseudo, 0, pseudo.length) & 0xffff : 0;
  const sum = checksum(transport, 0, length, begun);
  setU16(transport, checksumAt, sum === 0 && protocol === UDP ? 0xffff : sum);
  const bytes = new Uint8Array(header.length + length);
  bytes.set(header);
  bytes.set(transport, header.length);
  return describePacket(bytes);
}

/**
 * A TCP packet with right checksums: a SYN by default.
 * @param options its ends, and what else differs from a SYN
 * @throws RangeError ERR_OUT_OF_RANGE an end has no port, or is no address
 * @throws TypeError ERR_INVALID_ARG_TYPE the ends are of two families, or a flag is unknown
 * @example
 * const syn = tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' });
 */
export function tcp(options: TcpOptions): TestPacket {
  check(options, ['flags', 'sequence', 'acknowledgement', 'window']);
  const from = endOf(options.from, 'from', true);
  const to = endOf(options.to, 'to', true);
  const content = contentOf(options.payload);
  const bytes = new Uint8Array(20 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, from.port);
  view.setUint16(2, to.port);
  view.setUint32(4, options.sequence ?? 0);
  view.setUint32(8, options.acknowledgement ?? 0);
  bytes[12] = 5 << 4;
  const { flags = 'syn' } = options;
  for (const flag of typeof flags === 'string' ? [flags] : flags) {
    const bit = FLAGS.indexOf(flag);
    if (bit < 0) throw typeError(['flags'], `one of ${FLAGS.join(', ')}`, flag);
    bytes[13] = bytes[13]! | (1 << bit);
  }
  view.setUint16(14, options.window ?? DEFAULT_WINDOW);
  bytes.set(content, 20);
  return packet(from, to, TCP, bytes, options.ttl ?? 64, 16);
}

/**
 * A UDP packet with right checksums.
 * @param options its ends, and its data
 * @throws RangeError ERR_OUT_OF_RANGE an end has no port, or is no address
 * @throws TypeError ERR_INVALID_ARG_TYPE the ends are of two families
 * @example
 * const query = udp({ from: '10.10.0.1:40000', to: '10.10.0.53:53', payload: 'hello' });
 */
export function udp(options: TransportOptions): TestPacket {
  check(options, []);
  const from = endOf(options.from, 'from', true);
  const to = endOf(options.to, 'to', true);
  const content = contentOf(options.payload);
  const bytes = new Uint8Array(8 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, from.port);
  view.setUint16(2, to.port);
  view.setUint16(4, bytes.length);
  bytes.set(content, 8);
  return packet(from, to, UDP, bytes, options.ttl ?? 64, 6);
}

/** An ICMP or ICMPv6 message, by the family of its addresses. */
export interface IcmpOptions {
  /** The address of the sender. */
  readonly from: string;
  /** The address of the receiver. */
  readonly to: string;
  /** The type; an echo request by default: 8, or 128 of ICMPv6. */
  readonly type?: number;
  /** The code; 0 by default. */
  readonly code?: number;
  /** The identifier of an echo, 16 bits; 1 by default. */
  readonly id?: number;
  /** The number of an echo, 16 bits; 1 by default. */
  readonly sequence?: number;
  /** The data behind the header; none by default. */
  readonly payload?: Uint8Array | string;
  /** Time to live, or hop limit: 64 by default. */
  readonly ttl?: number;
}

/**
 * An ICMP message: an echo request by default.
 * @param options its ends, type and code
 * @throws RangeError ERR_OUT_OF_RANGE an end is no address
 * @throws TypeError ERR_INVALID_ARG_TYPE the ends are of two families
 * @example
 * const ping = icmp({ from: '10.10.0.1', to: '10.10.0.100' });
 */
export function icmp(options: IcmpOptions): TestPacket {
  check(options, ['type', 'code', 'id', 'sequence']);
  const from = endOf(options.from, 'from', false);
  const to = endOf(options.to, 'to', false);
  const isV4 = from.address.length === 4;
  const content = contentOf(options.payload);
  const bytes = new Uint8Array(8 + content.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = options.type ?? (isV4 ? 8 : 128);
  bytes[1] = options.code ?? 0;
  view.setUint16(4, options.id ?? 1);
  view.setUint16(6, options.sequence ?? 1);
  bytes.set(content, 8);
  return packet(from, to, isV4 ? ICMP : ICMPV6, bytes, options.ttl ?? 64, 2);
}

const ETHERNET_HEADER = 14;

/**
 * Any packet, by its bytes: an IPv4 or IPv6 packet from its network header on, or an Ethernet frame with one in it, whose header is left out.
 * @param bytes the packet, as bytes or as hexadecimal digits
 * @throws TypeError ERR_INVALID_ARG_TYPE they are neither
 * @throws RangeError ERR_OUT_OF_RANGE there is no IPv4 or IPv6 packet in them
 * @example
 * const packet = frame('45000014000040004001a5c40a0a00010a0a0002');
 */
export function frame(bytes: Uint8Array | string): TestPacket {
  const all = bytesOfPacket({ bytes });
  if (isPacket(all)) return describePacket(all);
  const inside = all.subarray(ETHERNET_HEADER);
  const type = all.length > ETHERNET_HEADER ? u16(all, 12) : 0;
  if ((type !== ETH_P_IP && type !== ETH_P_IPV6) || !isPacket(inside))
    throw rangeError(['bytes'], 'an IPv4 or IPv6 packet, or an Ethernet frame with one in it', bytes);
  return describePacket(inside);
}

const isPacket = (bytes: Uint8Array): boolean =>
  bytes[0]! >> 4 === 4
    ? bytes.length >= 20 && (bytes[0]! & 15) >= 5 && u16(bytes, 2) <= bytes.length
    : bytes[0]! >> 4 === 6 && bytes.length >= 40 && u16(bytes, 4) + 40 <= bytes.length;
