import { parseIPv4, parseIPv6 } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import { checksum, setU16 } from './packet.ts';

/** A packet to be sent or received: its bytes from the network header on. */
export interface PacketBytes {
  readonly bytes: Uint8Array;
}

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

export interface TcpOptions extends TransportOptions {
  /** The flags, 'syn' by default. */
  readonly flags?: TcpFlag | readonly TcpFlag[];
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly window?: number;
}

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

const contentOf = (payload: Uint8Array | string | undefined): Uint8Array =>
  payload === undefined ? new Uint8Array(0) : typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;

/** Puts a network header in front, and the checksum of what follows into it. */
function packet(
  from: End,
  to: End,
  protocol: number,
  transport: Uint8Array,
  ttl: number,
  checksumAt: number,
): PacketBytes {
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
  return { bytes };
}

/**
 * A TCP packet.
 * @param options its ends, and what else differs from a SYN
 * @example
 * const syn = tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' });
 */
export function tcp(options: TcpOptions): PacketBytes {
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
 * A UDP packet.
 * @param options its ends, and its data
 * @example
 * const query = udp({ from: '10.10.0.1:40000', to: '10.10.0.53:53', payload: 'hello' });
 */
export function udp(options: TransportOptions): PacketBytes {
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
  readonly code?: number;
  /** The identifier of an echo. */
  readonly id?: number;
  readonly sequence?: number;
  readonly payload?: Uint8Array | string;
  readonly ttl?: number;
}

/**
 * An ICMP message: an echo request by default.
 * @param options its ends, type and code
 * @example
 * const ping = icmp({ from: '10.10.0.1', to: '10.10.0.100' });
 */
export function icmp(options: IcmpOptions): PacketBytes {
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

/**
 * Any packet, by its bytes from the network header on.
 * @param bytes the packet
 * @example
 * const packet = frame(Buffer.from('45000014000040004001a5c40a0a00010a0a0002', 'hex'));
 */
export function frame(bytes: Uint8Array): PacketBytes {
  if (!(bytes instanceof Uint8Array)) throw typeError([], 'bytes', bytes);
  return { bytes: bytes.slice() };
}
