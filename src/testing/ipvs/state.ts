/* What IPVS of a namespace holds: plain objects. */

export interface Counters {
  connections: bigint;
  inPackets: bigint;
  outPackets: bigint;
  inBytes: bigint;
  outBytes: bigint;
}

export const newCounters = (): Counters => ({
  connections: 0n,
  inPackets: 0n,
  outPackets: 0n,
  inBytes: 0n,
  outBytes: 0n,
});

export interface Destination {
  readonly family: number;
  readonly address: Uint8Array;
  readonly port: number;
  method: number;
  weight: number;
  /** The last weight above 0: what the scheduler mh goes by. */
  lastWeight: number;
  upper: number;
  lower: number;
  tunnelType: number;
  tunnelPort: number;
  tunnelFlags: number;
  active: number;
  inactive: number;
  persistent: number;
  overloaded: boolean;
  readonly counters: Counters;
}

export interface Service {
  readonly family: number;
  /** 0 where it is known by its addresses. */
  readonly mark: number;
  readonly protocol: number;
  readonly address: Uint8Array;
  readonly port: number;
  scheduler: string;
  flags: number;
  timeout: number;
  netmask: number;
  engine: string | undefined;
  /** The newest first. */
  destinations: Destination[];
  readonly counters: Counters;
  /** What the scheduler remembers. */
  memory: Record<string, number>;
}

export interface Daemon {
  readonly state: number;
  readonly interface: string;
  readonly syncId: number;
  readonly maxLength: number;
  readonly group: Uint8Array;
  readonly port: number;
  readonly ttl: number;
}

export interface IpvsConnection {
  readonly service: Service;
  readonly destination: Destination;
  state: string;
  /** Whether it counts as active. */
  isActive: boolean;
  expires: bigint;
}

export interface Ipvs {
  /** By protocol, client and address. */
  connections: Map<string, IpvsConnection>;
  /** Which server a network of clients has, for services that persist. */
  templates: Map<string, { destination: Destination; expires: bigint }>;
  services: Service[];
  timeouts: { tcp: number; tcpFin: number; udp: number };
  daemons: Daemon[];
  readonly counters: Counters;
}

export const newIpvs = (): Ipvs => ({
  services: [],
  connections: new Map(),
  templates: new Map(),
  timeouts: { tcp: 900, tcpFin: 120, udp: 300 },
  daemons: [],
  counters: newCounters(),
});
