/* What connection tracking of a namespace holds: plain objects. */

export interface Tuple {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** A port, the id of an ICMP echo, the key of GRE, or 0. */
  readonly sourcePort: number;
  /** A port, or the type and code of an ICMP message. */
  readonly destinationPort: number;
}

/** Zones keep equal tuples apart, in both directions or in one: bit 1 the original, bit 2 the reply. */
export interface Zone {
  readonly id: number;
  readonly directions: number;
}

export const BOTH_DIRECTIONS = 3;
export const NO_ZONE: Zone = { id: 0, directions: BOTH_DIRECTIONS };

/** What window tracking knows of one end of a TCP connection (struct ip_ct_tcp_state). */
export interface TcpEnd {
  end: number;
  maxEnd: number;
  maxWindow: number;
  maxAck: number;
  scale: number;
  flags: number;
}

/** struct ip_ct_tcp */
export interface TcpTracker {
  state: number;
  readonly ends: [TcpEnd, TcpEnd];
  lastDirection: number;
  lastKind: number;
  lastSequence: number;
  lastAck: number;
  lastEnd: number;
  lastWindow: number;
  lastScale: number;
  lastFlags: number;
  retransmissions: number;
}

export interface Counter {
  packets: bigint;
  bytes: bigint;
}

export interface Connection {
  readonly id: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly protocol: number;
  readonly zone: number;
  readonly zoneDirections: number;
  readonly original: Tuple;
  reply: Tuple;
  /** IPS_ bits. */
  status: number;
  mark: number;
  /** 16 bytes; undefined where no rule of the namespace uses labels. */
  labels: Uint8Array | undefined;
  /** In milliseconds on the kernel's clock; it counts from the confirmation on. */
  expires: bigint;
  timeout: bigint;
  tcp: TcpTracker;
  /** The state of SCTP and the tags of both directions. */
  sctp: { state: number; tags: readonly [number, number] };
  /** From when on UDP is a stream. */
  streamAfter: bigint;
  /** When its first packet came, by the wall clock in nanoseconds; undefined where times are not kept. */
  started: bigint | undefined;
  /** Undefined where packets are not counted. */
  counters: [Counter, Counter] | undefined;
  /** Events that nobody has been told of yet, as IPCT_ bits; undefined where none are told of this connection. */
  events: number | undefined;
  /** The connection of which it is a part. */
  master: Connection | undefined;
  helper: string | undefined;
  adjustments: [Adjustment, Adjustment] | undefined;
  /** Three numbers of a SYN proxy; undefined where it has none. */
  synproxy: readonly [number, number, number] | undefined;
  /** The device behind which it is masqueraded. */
  masquerade: number | undefined;
}

/** How sequence numbers of one direction are moved. */
export type Adjustment = readonly [position: number, before: number, after: number];

/** A connection that another one has announced. */
export interface Expectation {
  readonly id: number;
  readonly family: number;
  readonly protocol: number;
  readonly master: Connection;
  readonly tuple: Tuple;
  /** Of the source; the destination counts whole. */
  readonly mask: { readonly source: Uint8Array; readonly sourcePort: number };
  expires: bigint;
  readonly flags: number;
  readonly class: number;
  readonly helper: string | undefined;
  readonly function: string | undefined;
  /** The direction, and the address and the port that were announced. */
  readonly saved: { readonly direction: number; readonly address: Uint8Array; readonly port: number } | undefined;
}

export interface Statistics {
  found: number;
  invalid: number;
  insert: number;
  insertFailed: number;
  drop: number;
  earlyDrop: number;
  error: number;
  expectNew: number;
  expectCreate: number;
  expectDelete: number;
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
  /** The newest last. */
  expectations: Expectation[];
  statistics: Statistics;
  lastId: number;
}

export const newConntrack = (): Conntrack => ({
  tuples: new Map(),
  connections: new Set(),
  expectations: [],
  statistics: {
    found: 0,
    invalid: 0,
    insert: 0,
    insertFailed: 0,
    drop: 0,
    earlyDrop: 0,
    error: 0,
    expectNew: 0,
    expectCreate: 0,
    expectDelete: 0,
  },
  lastId: 0,
});

export const newTcpTracker = (): TcpTracker => ({
  state: 0,
  ends: [newEnd(), newEnd()],
  lastDirection: 0,
  lastKind: 0,
  lastSequence: 0,
  lastAck: 0,
  lastEnd: 0,
  lastWindow: 0,
  lastScale: 0,
  lastFlags: 0,
  retransmissions: 0,
});

export const newEnd = (): TcpEnd => ({ end: 0, maxEnd: 0, maxWindow: 0, maxAck: 0, scale: 0, flags: 0 });
