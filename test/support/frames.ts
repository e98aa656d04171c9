import { checksum, bytes as hex } from './nflog-lab.ts';

/* Packets to be sent as they are. */

const be16 = (value: number) => Buffer.from([value >> 8, value & 0xff]);

/** ETH_P_*. */
export const ETHERTYPES = { ip: 0x0800, ip6: 0x86dd, arp: 0x0806 } as const;

const address = (text: string) => Buffer.from(text.split('.').map(Number));

export interface IPv4Header {
  from?: string;
  to?: string;
  protocol: number;
  tos?: number;
  id?: number;
  /** Flags and offset. */
  fragment?: number;
  /** Hex, a multiple of four bytes. */
  options?: string;
  ttl?: number;
}

/** A packet that the kernel takes. */
export function ipv4(header: IPv4Header, payload: Uint8Array): Buffer {
  const {
    from = '10.1.0.1',
    to = '10.1.0.2',
    protocol,
    tos = 0,
    id = 1,
    fragment = 0,
    options = '',
    ttl = 64,
  } = header;
  const rest = hex(options);
  const words = 5 + rest.length / 4;
  const bytes = Buffer.concat([
    Buffer.from([0x40 | words, tos]),
    be16(words * 4 + payload.length),
    be16(id),
    be16(fragment),
    Buffer.from([ttl, protocol, 0, 0]),
    address(from),
    address(to),
    rest,
  ]);
  bytes.writeUInt16BE(checksum(bytes), 10);
  return Buffer.concat([bytes, payload]);
}

/** `next` is the number of the first header in `payload`. */
export function ipv6(
  next: number,
  payload: Uint8Array,
  {
    flow = 0x12345,
    hops = 64,
    from = 'fd00000100000000 0000000000000001',
    to = 'fd00000100000000 0000000000000002',
  } = {},
): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(0x60000000 | flow, 0);
  head.writeUInt16BE(payload.length, 4);
  head.set([next, hops], 6);
  return Buffer.concat([head, hex(from), hex(to), payload]);
}

const be32 = (value: number) => Buffer.concat([be16(value >>> 16), be16(value & 0xffff)]);

export interface TcpHeader {
  from?: number;
  to?: number;
  flags?: number;
  bits?: number;
  window?: number;
  urgent?: number;
  sequence?: number;
  acknowledgement?: number;
}

export function tcp(header: TcpHeader = {}): Buffer {
  const { from = 1234, to = 80, flags = 0x02, bits = 0, window = 65535, urgent = 0 } = header;
  const { sequence = 0x07070707, acknowledgement = 0x07070707 } = header;
  const offset = Buffer.from([0x50 | bits, flags]);
  const numbers = [be32(sequence), be32(acknowledgement)];
  return Buffer.concat([be16(from), be16(to), ...numbers, offset, be16(window), be16(0), be16(urgent)]);
}

export function udp({ from = 1234, to = 9999 } = {}, payload: Uint8Array = Buffer.alloc(4)): Buffer {
  return Buffer.concat([be16(from), be16(to), be16(8 + payload.length), be16(0), payload]);
}

/** With its checksum: NAT looks at it. Over IPv6 it would have to be another. */
export function icmp(type: number, code: number, rest: string, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), hex(rest), payload]);
  message.writeUInt16BE(checksum(message), 2);
  return message;
}

export interface Arp {
  /** 1 asks, 2 answers. */
  operation: number;
  hardware: string;
  from: string;
  to: string;
}

/** For IPv4 over Ethernet; the target's hardware address is what is asked for. */
export function arp({ operation, hardware, from, to }: Arp): Buffer {
  const kinds = hex('0001 0800 06 04');
  return Buffer.concat([kinds, be16(operation), hex(hardware), address(from), Buffer.alloc(6), address(to)]);
}
