/* What connection tracking of a namespace holds: plain objects. */

export interface Tuple {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** A port, the id of an ICMP echo, or 0. */
  readonly sourcePort: number;
  /** A port, or the type and code of an ICMP message. */
  readonly destinationPort: number;
}

export interface Connection {
  readonly id: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly protocol: number;
  readonly zone: number;
  readonly original: Tuple;
  reply: Tuple;
  /** IPS_ bits. */
  status: number;
  mark: number;
  /** On the kernel's clock; it counts from the confirmation on. */
  expires: bigint;
  timeout: bigint;
  /** The state of TCP, by its number. */
  tcp: number;
  /** When its first packet came. */
  readonly started: bigint;
  counters: { packets: bigint; bytes: bigint }[];
  /** The connection of which it is a part. */
  master: Connection | undefined;
}

/** What connection tracking says of a packet. */
export interface Tracked {
  readonly connection: Connection;
  readonly direction: 0 | 1;
  readonly state: 'new' | 'established' | 'related';
}

export interface Conntrack {
  /** By the key of either tuple. */
  tuples: Map<string, { connection: Connection; direction: 0 | 1 }>;
  connections: Set<Connection>;
  lastId: number;
}

export const newConntrack = (): Conntrack => ({ tuples: new Map(), connections: new Set(), lastId: 0 });

export const IPS_EXPECTED = 1;
export const IPS_SEEN_REPLY = 2;
export const IPS_ASSURED = 4;
export const IPS_CONFIRMED = 8;
export const IPS_SRC_NAT = 0x10;
export const IPS_DST_NAT = 0x20;
export const IPS_SRC_NAT_DONE = 0x80;
export const IPS_DST_NAT_DONE = 0x100;
export const IPS_DYING = 0x200;

const text = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

export const tupleKey = (family: number, protocol: number, zone: number, tuple: Tuple): string =>
  `${family} ${protocol} ${zone} ${text(tuple.source)}:${tuple.sourcePort} ${text(tuple.destination)}:${tuple.destinationPort}`;
