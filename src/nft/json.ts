import type { Expression } from '../nf_tables/expression.ts';
import type {
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  IpOption,
  Ipv6Extension,
  SCTP_CHUNKS,
  SctpChunk,
  TCP_OPTIONS,
  TcpOption,
} from './data/extensions.ts';
import type { CtKey, FibFlag, IpsecKey, MetaKey, RtKey, SocketKey, TunnelKey } from './data/keys.ts';
import type { Protocol, ProtocolField } from './data/protocols.ts';

/*
 * nft's own JSON, libnftables-json(5): expressions and statements, with the manual's names. Fields of protocols come from the tables.
 */

/** A number, a name or an address; '@name' is a set, '*' every element that a set lacks. */
export type Immediate = string | number | boolean;

/** A field of a header: `{ protocol: 'tcp', field: 'dport' }`. */
export type PayloadField = {
  [P in Exclude<Protocol, 'gretap'>]: {
    protocol: P;
    field: ProtocolField<P>;
    /** The header inside this tunnel. */
    tunnel?: Tunnel;
  };
}[Exclude<Protocol, 'gretap'>];

/** Tunnels whose inner headers can be looked at. */
export type Tunnel = 'vxlan' | 'geneve' | 'gre' | 'gretap';

/** Any bits of the packet. */
export interface RawPayload {
  /** ll: link layer, nh: network, th: transport, ih: what the transport carries. */
  base: 'll' | 'nh' | 'th' | 'ih';
  /** Bits from the beginning of the header. */
  offset: number;
  /** Bits. */
  len: number;
}

/** A field of an IPv6 extension header; without `field`, whether the header is there. */
export type ExthdrReference =
  | {
      [N in Exclude<Ipv6Extension, 'rt0'>]: { name: N; field?: keyof (typeof IPV6_EXTENSIONS)[N]['fields'] & string };
    }[Exclude<Ipv6Extension, 'rt0'>]
  | { name: 'rt0'; field?: keyof (typeof IPV6_EXTENSIONS)['rt0']['fields'] & string; offset?: number };

/** A field of a TCP option; without `field`, whether the option is there. */
export type TcpOptionReference =
  | { [N in TcpOption]: { name: N; field?: keyof (typeof TCP_OPTIONS)[N]['fields'] & string } }[TcpOption]
  /** Any option by its number; offset and length in bits. */
  | { base: number; offset: number; len: number };

/** A field of an IPv4 option; without `field`, whether the option is there. */
export type IpOptionReference = {
  [N in IpOption]: { name: N; field?: keyof (typeof IP_OPTIONS)[N]['fields'] & string };
}[IpOption];

/** A field of an SCTP chunk; without `field`, whether the chunk is there. */
export type SctpChunkReference = {
  [N in SctpChunk]: { name: N; field?: keyof (typeof SCTP_CHUNKS)[N]['fields'] & string };
}[SctpChunk];

/** The family of an address: IPv4 or IPv6. */
export type AddressFamily = 'ip' | 'ip6';
/** A direction of a connection: from the client, or back to it. */
export type Direction = 'original' | 'reply';

/** What connection tracking knows. Addresses, ports, counts and zones may be those of one direction. */
export interface CtReference {
  key: CtKey;
  dir?: Direction;
  /** Of saddr and daddr, as nft before 0.9 had it. */
  family?: AddressFamily;
}

/** A question to the routing table. */
export interface FibReference {
  /** check: whether there is a route. */
  result: 'oif' | 'oifname' | 'type' | 'check';
  /** What is asked with. */
  flags: FibFlag | FibFlag[];
}
/** The parts of a packet that the routing table can be asked with. */
export type { FibFlag };

/** What a rule can look at: everything that is no constant. */
export type PacketExpression =
  | { payload: PayloadField | RawPayload }
  | { exthdr: ExthdrReference }
  | { 'tcp option': TcpOptionReference }
  | { 'ip option': IpOptionReference }
  | { 'sctp chunk': SctpChunkReference }
  | { 'dccp option': { type: number } }
  | { meta: { key: MetaKey } }
  | { rt: { key: RtKey; family?: AddressFamily } }
  | { ct: CtReference }
  | { socket: { key: SocketKey; level?: number } }
  | { osf: { key: 'name' | 'version'; ttl?: 'loose' | 'skip' } }
  | { ipsec: { key: IpsecKey; family?: AddressFamily; dir?: 'in' | 'out'; spnum?: number } }
  | { tunnel: { key: TunnelKey } }
  | { fib: FibReference }
  | { numgen: { mode: 'inc' | 'random'; mod: number; offset?: number } }
  | { jhash: { mod: number; offset?: number; expr: JsonExpression; seed?: number } }
  | { symhash: { mod: number; offset?: number } };

/** Values put together from several: of a match, of the key of a set. */
export type Compound =
  /** 'a . b' */
  | { concat: JsonExpression[] }
  | { '|': JsonExpression[] }
  | { '&': JsonExpression[] }
  | { '^': JsonExpression[] }
  | { '<<': [JsonExpression, JsonExpression] }
  | { '>>': [JsonExpression, JsonExpression] }
  | { prefix: { addr: JsonExpression; len: number } }
  /** Both ends belong to it. */
  | { range: [JsonExpression, JsonExpression] }
  /** A set made for this rule: values, or pairs of key and value in a map. */
  | { set: SetMember[] | Immediate }
  /** The value that a map has for a key. */
  | { map: { key: JsonExpression; data: JsonExpression } };

/** An expression of nft's language. A list stands for flags of a bitmask. */
export type JsonExpression =
  | Immediate
  | PacketExpression
  | Compound
  | SetElement
  | VerdictExpression
  | JsonExpression[];

/** An element of a set with what belongs to it. Times are in seconds. */
export interface SetElement {
  elem: {
    val: JsonExpression;
    timeout?: number;
    expires?: number;
    comment?: string;
    counter?: CounterState;
    limit?: Limit;
    quota?: Quota;
    last?: LastState;
    'ct count'?: CtCount;
  };
}

/** A key, or a key and its value. */
export type SetMember = JsonExpression | [key: JsonExpression, value: JsonExpression];

/** What becomes of the packet. */
export type VerdictExpression =
  | { accept: null }
  | { drop: null }
  /** Goes on with the next rule. */
  | { continue: null }
  /** Goes back to the chain that jumped here. */
  | { return: null }
  /** Goes on in another chain, and comes back. */
  | { jump: { target: string } }
  /** Goes on in another chain, and does not come back. */
  | { goto: { target: string } };

/** `in` is nft's implicit operator: a set has it, a bitmask has one of these bits. */
export type MatchOperator = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in' | '!';

/** Ends the rule unless it is so. */
export interface Match {
  op: MatchOperator;
  left: JsonExpression;
  right: JsonExpression;
}

/** The packets and bytes that have been counted. */
export interface CounterState {
  packets: number | bigint;
  bytes: number | bigint;
}

/** Ends the rule once so many bytes have passed; inverted, until then. */
export interface Quota {
  val: number | bigint;
  val_unit?: ByteUnit;
  used?: number | bigint;
  used_unit?: ByteUnit;
  inv?: boolean;
}
/** A unit of bytes: 1, 1024 or 1048576. */
export type ByteUnit = 'bytes' | 'kbytes' | 'mbytes';
/** The time that a rate is per. */
export type TimeUnit = 'second' | 'minute' | 'hour' | 'day' | 'week';

/** Ends the rule for what exceeds a rate; inverted, for what does not. */
export interface Limit {
  rate: number | bigint;
  rate_unit?: 'packets' | ByteUnit;
  per: TimeUnit;
  /** Packets or bytes that may come at once; default 5 packets, 0 bytes. */
  burst?: number;
  burst_unit?: 'packets' | ByteUnit;
  inv?: boolean;
}

/** Milliseconds since the rule was last passed; null where it never was. */
export type LastState = { used: number | bigint | null } | null;

/** Ends the rule while there are more connections than `val`; inverted, while there are not. */
export interface CtCount {
  val: number;
  inv?: boolean;
}

/** The severity of a message in the kernel's own log. */
export type LogLevel = 'emerg' | 'alert' | 'crit' | 'err' | 'warn' | 'notice' | 'info' | 'debug' | 'audit';
/** Headers that the kernel's own log prints, too. */
export type LogFlag = 'tcp sequence' | 'tcp options' | 'ip options' | 'skuid' | 'ether' | 'all';

/** A packet log: NFLOG's where `group` is given. */
export interface Log {
  /** NFLOG's group, 0 to 65535. Without one the kernel's own log is meant, which containers do not see. */
  group?: number;
  /** At most 127 bytes. */
  prefix?: string;
  /** Bytes of the packet that are handed over. */
  snaplen?: number;
  /** Packets that the kernel gathers before it wakes the listener. */
  'queue-threshold'?: number;
  /** Of the kernel's own log. */
  level?: LogLevel;
  flags?: LogFlag | LogFlag[];
}

/** How a translation chooses ports and addresses. */
export type NatFlag = 'random' | 'persistent' | 'fully-random' | 'netmap';
/** The form of the values in a translation's map. */
export type NatTypeFlag = 'interval' | 'prefix' | 'concat';

/** Ports, for masquerade and redirect; default those that the packet has. */
export interface PortNat {
  port?: JsonExpression;
  flags?: NatFlag | NatFlag[];
  type_flags?: NatTypeFlag | NatTypeFlag[];
}

/** The address, and the ports, that a translation writes. */
export interface AddressNat extends PortNat {
  /** Of the address, where the table is inet. */
  family?: AddressFamily;
  addr?: JsonExpression;
}

/** The answer to a packet that is rejected. */
export interface Reject {
  /** Default: that of the rule's family, or icmpx in inet and bridge. */
  type?: 'tcp reset' | 'icmp' | 'icmpv6' | 'icmpx';
  /** The code of the ICMP message; default port-unreachable. */
  expr?: Immediate;
}

/** What becomes of packets of a queue without a listener, and how packets are spread over several queues. */
export type QueueFlag = 'bypass' | 'fanout';

/** Objects with a name: the name, or a map that has one for each key. */
export type ObjectReferenceExpression = JsonExpression;

/** A statement with a state of its own, which set elements can have as well. */
export type Stateful =
  /** Counts packets and bytes; as a string, the counter of that name. */
  | { counter: CounterState | null | ObjectReferenceExpression }
  | { quota: Quota | ObjectReferenceExpression }
  | { limit: Limit | ObjectReferenceExpression }
  | { last: LastState }
  | { 'ct count': CtCount };

/** Adds, refreshes or removes an element while packets pass. */
export interface SetStatement {
  op: 'add' | 'update' | 'delete';
  elem: JsonExpression;
  /** '@name' */
  set: string;
  /** What each new element gets. */
  stmt?: Stateful[];
}

/** Adds, refreshes or removes an element of a map while packets pass. */
export interface MapStatement {
  op: 'add' | 'update' | 'delete';
  elem: JsonExpression;
  data: JsonExpression;
  /** '@name' */
  map: string;
  stmt?: Stateful[];
}

/** One statement of a rule. */
export type Statement =
  | VerdictExpression
  | Stateful
  | { match: Match }
  /** Writes a field, the packet's meta data, or the connection's. */
  | { mangle: { key: PacketExpression; value: JsonExpression } }
  /** A map from keys to verdicts. */
  | { vmap: { key: JsonExpression; data: JsonExpression } }
  | { snat: AddressNat | null }
  | { dnat: AddressNat | null }
  | { masquerade: PortNat | null }
  | { redirect: PortNat | null }
  | { log: Log | null }
  | { reject: Reject | null }
  | { queue: { num?: JsonExpression; flags?: QueueFlag | QueueFlag[] } | null }
  | { set: SetStatement }
  | { map: MapStatement }
  /** As nft before 0.9.1 wrote dynamic sets. It becomes a named set, which stays when the rule is deleted. */
  | { meter: { name: string; key: JsonExpression; stmt: Stateful; size?: number } }
  | { flow: { op: 'add'; flowtable: string } }
  | { fwd: { dev: JsonExpression; family?: AddressFamily; addr?: JsonExpression } }
  | { dup: { addr: JsonExpression; dev?: JsonExpression } }
  | { notrack: null }
  | { tproxy: { family?: AddressFamily; addr?: JsonExpression; port?: JsonExpression } }
  | {
      synproxy: SynproxyOptions | null | ObjectReferenceExpression;
    }
  /** Takes an option out of the TCP header. */
  | { reset: { 'tcp option': TcpOptionReference } }
  | { secmark: ObjectReferenceExpression }
  | { tunnel: ObjectReferenceExpression }
  | { 'ct helper': ObjectReferenceExpression }
  | { 'ct timeout': ObjectReferenceExpression }
  | { 'ct expectation': ObjectReferenceExpression }
  /** A match or target of xtables: nft prints it so, and takes none. */
  | { xt: { type: string; name: string } | null }
  /** The kernel's own expressions, for what nft has no words for. */
  | { raw: Expression[] };

/** What a SYN proxy tells clients in the server's place. */
export interface SynproxyOptions {
  mss?: number;
  wscale?: number;
  flags?: SynproxyFlag | SynproxyFlag[];
}
/** TCP options that a SYN proxy answers with. */
export type SynproxyFlag = 'timestamp' | 'sack-perm';
