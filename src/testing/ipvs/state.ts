/* The state of IPVS in a namespace: plain objects that refer to each other, so that a snapshot of the kernel is one structured clone. */

/** The quantities that are counted. No test sends 2^53 bytes. */
export interface Totals {
  connections: number;
  inPackets: number;
  outPackets: number;
  inBytes: number;
  outBytes: number;
}

/** Counters and their rates (struct ip_vs_stats). Every two seconds an estimator takes over the live counters, and programs read its values. */
export interface Counters {
  /** Counted, not yet taken over. */
  readonly live: Totals;
  /** As of the last time. */
  readonly taken: Totals;
  /** The values at the moment when the counters were set to zero: the kernel's own counters run on. */
  readonly zero: Totals;
  /** Per second, scaled: by 2^10, bytes by 2^5. */
  readonly rates: Totals;
  /** When the estimator comes next, in milliseconds. */
  next: number;
}

export interface Destination {
  /** The service that it serves, or has served. */
  service: Service;
  readonly family: number;
  readonly address: Uint8Array;
  readonly port: number;
  /** As socket options give them: the forwarding method and IP_VS_CONN_F_INACTIVE, IP_VS_CONN_F_NOOUTPUT. */
  flags: number;
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
  /** Whether it is in the list of a service. One that is not stays for a while, with its connections. */
  available: boolean;
  /** How many connections and entries of schedulers refer to it. */
  references: number;
  /** Since when nothing refers to it, once it has been taken away. */
  idleSince: number | undefined;
  readonly counters: Counters;
}

/** The memory of a scheduler for one service. */
export interface Scheduling {
  /** The last one chosen; undefined is the head of the list. */
  last?: Destination | undefined;
  /** wrr: the weight that is looked for, the highest and their divisor. */
  current?: number;
  most?: number;
  divisor?: number;
  /** sh, dh, mh: which server has which slot. */
  table?: (Destination | undefined)[] | undefined;
  /** lblc, lblcr: the servers of an address. */
  entries?: Map<string, LocalityEntry>;
  /** lblc, lblcr: when entries are looked through next, in milliseconds, and how often they have been. */
  check?: number;
  checks?: number;
}

/** The servers of one virtual address (struct ip_vs_lblc_entry, ip_vs_lblcr_entry). */
export interface LocalityEntry {
  /** The newest first. */
  servers: Destination[];
  lastUse: number;
  lastChange: number;
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
  /** Of persistence, in jiffies. */
  timeout: number;
  netmask: number;
  engine: string | undefined;
  /** The newest first. */
  destinations: Destination[];
  readonly counters: Counters;
  scheduling: Scheduling;
}

/** An end of a connection. */
export interface End {
  readonly address: Uint8Array;
  readonly port: number;
}

/** A connection, or the template of a persistent client (struct ip_vs_conn). */
export interface IpvsConnection {
  readonly family: number;
  readonly protocol: number;
  readonly client: End;
  virtual: End;
  /** The real server. */
  server: End;
  /** undefined where the packets go on past IPVS (cache_bypass). */
  readonly destination: Destination | undefined;
  readonly method: number;
  readonly isTemplate: boolean;
  readonly isOnePacket: boolean;
  /** Whether no answer has been seen: with direct routing and tunnels none is. */
  noOutput: boolean;
  state: string;
  /** Whether it counts as inactive. */
  inactive: boolean;
  /** A template whose clients have been connected. */
  assured: boolean;
  /** The time that the next packet gives it, in milliseconds. */
  timeout: number;
  expires: number;
  /** The template that it came from. */
  control: IpvsConnection | undefined;
  /** How many connections have come from this template. */
  controlled: number;
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

export interface Ipvs {
  /** By protocol, client and virtual address. */
  connections: Map<string, IpvsConnection>;
  /** The same by client and real server, the newest first: answers are looked up here. */
  replies: Map<string, IpvsConnection[]>;
  /** By protocol, network of the client, and virtual address or mark. */
  templates: Map<string, IpvsConnection>;
  /** All of them, also templates whose server is gone: what ends by the clock, and what is listed. */
  entries: Set<IpvsConnection>;
  services: Service[];
  /** Destinations that were taken away. They come back with their connections if they are added again soon (ip_vs_dest_trash). */
  trash: Destination[];
  /** When the trash is looked through next, in milliseconds. */
  trashCheck: number;
  /** In seconds. */
  timeouts: { tcp: number; tcpFin: number; udp: number };
  daemons: Daemon[];
  readonly counters: Counters;
  /** drop_packet: packets until the next one that is dropped. */
  dropCounter: number;
}

export const newTotals = (): Totals => ({ connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 });

/** `now` is when the estimator begins, in milliseconds. */
export const newCounters = (now: number): Counters => ({
  live: newTotals(),
  taken: newTotals(),
  zero: newTotals(),
  rates: newTotals(),
  next: now + 2000,
});

export const newIpvs = (): Ipvs => ({
  services: [],
  connections: new Map(),
  replies: new Map(),
  templates: new Map(),
  entries: new Set(),
  trash: [],
  trashCheck: 0,
  timeouts: { tcp: 900, tcpFin: 120, udp: 300 },
  daemons: [],
  counters: newCounters(0),
  dropCounter: 0,
});
