import { typeError } from '../errors.ts';
import type { TypeName } from './data/datatypes.ts';
import type { IP_OPTIONS, IPV6_EXTENSIONS, SCTP_CHUNKS, TCP_OPTIONS } from './data/extensions.ts';
import type * as keys from './data/keys.ts';
import type { PROTOCOLS, Protocol } from './data/protocols.ts';
import type {
  AddressFamily,
  Compound,
  CtReference,
  Direction,
  FibFlag,
  Immediate,
  JsonExpression,
  PacketExpression,
  Tunnel,
  VerdictExpression,
} from './json.ts';
import type { MatchOperator } from './statements/match.ts';
import type { Statement } from './statements/registry.ts';
import type { ValueOf } from './values.ts';

/*
 * The fields of packets in nft's words: `tcp.dport.eq(80)` is a plain statement in nft's JSON. Nothing is checked before the rule is
 * compiled: the error then has the statement's place in its path. Names of fields are nft's own, from the tables by their types:
 * `ip['frag-off']`. The other statements are in statement-builders.ts.
 */

/** A value of the field's own kind, several flags of it, an expression, or a set: '@name'. */
type Right<V> = V | readonly V[] | Exclude<JsonExpression, Immediate | JsonExpression[]> | `@${string}` | Selected;
/** An expression that is no constant: a field, or a calculation. */
export type FieldExpression = PacketExpression | Compound;
/** A field in the place of its value. */
interface Selected {
  /** The field in nft's JSON. */
  readonly expression: FieldExpression;
}
/** A key and its value, in a map. */
type Pair<V, D = JsonExpression> = readonly [key: Right<V>, value: D];

/** The matches and writes of a field. */
export interface Selector<V = Immediate> {
  /** Equal to the value. A prefix is matched by `prefix`, a list by `in`. */
  eq(value: Right<V>): Statement;
  /** Not equal to the value. */
  ne(value: Right<V>): Statement;
  /** Less than the value. */
  lt(value: Right<V>): Statement;
  /** Greater than the value. */
  gt(value: Right<V>): Statement;
  /** Less than or equal to the value. */
  le(value: Right<V>): Statement;
  /** Greater than or equal to the value. */
  ge(value: Right<V>): Statement;
  /** From one value to another; both ends belong to it. */
  between(from: V, to: V): Statement;
  /** Outside of a range; both ends belong to it. */
  notBetween(from: V, to: V): Statement;
  /** An address prefix: `ip.saddr.prefix('10.0.0.0', 8)`. */
  prefix(address: string, length: number): Statement;
  /** Outside of an address prefix. */
  notPrefix(address: string, length: number): Statement;
  /**
   * One of the values: `tcp.dport.in([80, 443])`; of the set with this name: `in('@ports')`; or some of these flags: `in('established',
   * 'related')`.
   */
  in(values: readonly Right<V>[] | `@${string}`): Statement;
  in(flag: V, ...flags: V[]): Statement;
  /** None of the values: `tcp.dport.notIn([80, 443])`; or not in the set with this name: `notIn('@ports')`. */
  notIn(values: readonly Right<V>[] | `@${string}`): Statement;
  /** Writes the field. */
  set(value: Right<V>): Statement;
  /** The value that a map has for it: `dnat({ to: tcp.dport.map([[80, '10.0.0.1']]) })`. */
  map(pairs: readonly Pair<V>[] | `@${string}`): FieldExpression;
  /** The verdict that a map has for it: `tcp.dport.vmap([[22, { accept: null }]])`. */
  vmap(pairs: readonly Pair<V, VerdictExpression>[] | `@${string}`): Statement;
  /** Only these bits of the field. */
  and(mask: Right<V> | number): Selector<V>;
  /** The field with these bits set. */
  or(bits: Right<V> | number): Selector<V>;
  /** The field with these bits exchanged. */
  xor(bits: Right<V> | number): Selector<V>;
  /** The field, shifted to the left by so many bits. */
  shiftLeft(bits: number): Selector<V>;
  /** The field, shifted to the right by so many bits. */
  shiftRight(bits: number): Selector<V>;
  /** The field in nft's JSON, for uses that have no function here. */
  readonly expression: FieldExpression;
}

const json = (value: unknown): JsonExpression =>
  typeof value === 'object' && value !== null && 'expression' in value
    ? (value as Selected).expression
    : (value as JsonExpression);
function setOf(values: unknown, method = 'in'): JsonExpression {
  if (typeof values === 'string') return values;
  const list = json(values);
  if (!Array.isArray(list))
    throw typeError([method], `a list, such as .${method}([80, 443]), or the name of a set, such as '@ports'`, values);
  return { set: [...list] as [] };
}

/**
 * Turns any expression of nft's JSON into a selector, which is matched and written like a field.
 * @param expression the expression, checked when the rule is compiled
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [select<number>({ numgen: { mode: 'inc', mod: 2 } }).eq(0), accept()] } });
 */
export function select<V = Immediate>(expression: FieldExpression): Selector<V> {
  const match = (op: MatchOperator, right: unknown): Statement => ({
    match: { op, left: expression, right: json(right) },
  });
  const calculate = (op: '&' | '|' | '^' | '<<' | '>>', operand: unknown): Selector<V> =>
    select<V>({ [op]: [expression, json(operand)] } as unknown as Compound);
  const range = (from: V, to: V) => ({ range: [json(from), json(to)] });
  return {
    expression,
    eq: value => match('==', value),
    ne: value => match('!=', value),
    lt: value => match('<', value),
    gt: value => match('>', value),
    le: value => match('<=', value),
    ge: value => match('>=', value),
    between: (from, to) => match('==', range(from, to)),
    notBetween: (from, to) => match('!=', range(from, to)),
    prefix: (addr, len) => match('==', { prefix: { addr, len } }),
    notPrefix: (addr, len) => match('!=', { prefix: { addr, len } }),
    in(first: unknown, ...more: unknown[]) {
      if (Array.isArray(first) || (typeof first === 'string' && first.startsWith('@')))
        return match('==', setOf(first));
      return match('in', more.length === 0 ? first : [first, ...more]);
    },
    notIn: values => match('!=', setOf(values, 'notIn')),
    set: value => ({ mangle: { key: expression as PacketExpression, value: json(value) } }),
    map: pairs => ({ map: { key: expression, data: setOf(pairs, 'map') } }),
    vmap: pairs => ({ vmap: { key: expression, data: setOf(pairs, 'vmap') } }),
    and: mask => calculate('&', mask),
    or: bits => calculate('|', bits),
    xor: bits => calculate('^', bits),
    shiftLeft: bits => calculate('<<', bits),
    shiftRight: bits => calculate('>>', bits),
  };
}

/** The selectors are made at their first use. */
function fields<T>(expressionOf: (name: string) => unknown): T {
  const made = new Map<string, Selector>();
  return new Proxy({} as object, {
    get(_, name) {
      if (typeof name !== 'string') return undefined;
      let selector = made.get(name);
      if (selector === undefined) {
        selector = select(expressionOf(name) as FieldExpression);
        made.set(name, selector);
      }
      return selector;
    },
  }) as T;
}

type FieldValue<R> = R extends readonly [number, number, infer T, ...unknown[]]
  ? T extends TypeName
    ? ValueOf<T>
    : never
  : number;
type FieldsOf<T> = { readonly [F in keyof T]: Selector<FieldValue<T[F]>> };
type KeysOf<T extends Record<string, keys.KeyRow>> = { readonly [K in keyof T]: Selector<ValueOf<T[K]['type']>> };
type Header<P extends Protocol> = FieldsOf<(typeof PROTOCOLS)[P]['fields']>;

const header = <P extends Protocol>(protocol: P): Header<P> => fields(field => ({ payload: { protocol, field } }));

/** The Ethernet header. */
export const ether: Header<'ether'> = /* @__PURE__ */ header('ether');
/** The tag of a virtual LAN. */
export const vlan: Header<'vlan'> = /* @__PURE__ */ header('vlan');
/** The ARP header: `arp.operation`, `arp['saddr ip']`. */
export const arp: Header<'arp'> = /* @__PURE__ */ header('arp');
/** The IPv4 header. */
export const ip: Header<'ip'> = /* @__PURE__ */ header('ip');
/** The IPv6 header. */
export const ip6: Header<'ip6'> = /* @__PURE__ */ header('ip6');
/** The ICMP header (IPv4): `icmp.type`, `icmp.code`, `icmp.mtu`. */
export const icmp: Header<'icmp'> = /* @__PURE__ */ header('icmp');
/** The ICMPv6 header: `icmpv6.type`, `icmpv6.taddr`. */
export const icmpv6: Header<'icmpv6'> = /* @__PURE__ */ header('icmpv6');
/** The IGMP header: `igmp.type`, `igmp.group`. */
export const igmp: Header<'igmp'> = /* @__PURE__ */ header('igmp');
/** The TCP header: `tcp.dport`, `tcp.flags`. */
export const tcp: Header<'tcp'> = /* @__PURE__ */ header('tcp');
/** The UDP header: `udp.dport`, `udp.length`. */
export const udp: Header<'udp'> = /* @__PURE__ */ header('udp');
/** The UDP-Lite header: `udplite.dport`. */
export const udplite: Header<'udplite'> = /* @__PURE__ */ header('udplite');
/** The SCTP header: `sctp.dport`, `sctp.vtag`. */
export const sctp: Header<'sctp'> = /* @__PURE__ */ header('sctp');
/** The DCCP header: `dccp.dport`, `dccp.type`. */
export const dccp: Header<'dccp'> = /* @__PURE__ */ header('dccp');
/** The ports of whatever transport protocol it is. */
export const th: Header<'th'> = /* @__PURE__ */ header('th');
/** The IPsec authentication header: `ah.spi`. */
export const ah: Header<'ah'> = /* @__PURE__ */ header('ah');
/** The header of IPsec's encapsulated payload: `esp.spi`. */
export const esp: Header<'esp'> = /* @__PURE__ */ header('esp');
/** The header of compressed IP payload (IPComp): `comp.cpi`. */
export const comp: Header<'comp'> = /* @__PURE__ */ header('comp');
/** The GRE header: `gre.protocol`. Linux 6.2 looks inside the tunnel with `inside('gre', ...)`. */
export const gre: Header<'gre'> = /* @__PURE__ */ header('gre');
/** The Geneve header: `geneve.vni`. Linux 6.2. */
export const geneve: Header<'geneve'> = /* @__PURE__ */ header('geneve');
/** The VXLAN header: `vxlan.vni`. Linux 6.2. */
export const vxlan: Header<'vxlan'> = /* @__PURE__ */ header('vxlan');

/**
 * Selects a header inside a tunnel. Linux 6.2.
 * @param tunnel the tunnel: 'vxlan', 'geneve', 'gre' or 'gretap'
 * @param protocol the protocol of the inner header
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [inside('vxlan', 'ip').saddr.eq('10.0.0.1'), drop()] } });
 */
export const inside = <P extends Protocol>(tunnel: Tunnel, protocol: P): Header<P> =>
  fields(field => ({ payload: { tunnel, protocol, field } }));

/**
 * Selects any bits of the packet, where nft has no name for them.
 * @param base the layer that the offset counts from: ll (link), nh (network), th (transport), ih (what the transport carries)
 * @param offset bits from the beginning of that layer
 * @param len the number of bits
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [raw('th', 16, 16).eq(80), accept()] } });
 */
export const raw = (base: 'll' | 'nh' | 'th' | 'ih', offset: number, len: number): Selector<number | string> =>
  select({ payload: { base, offset, len } });

/** What the kernel knows about a packet besides its bytes. */
export const meta: KeysOf<typeof keys.META> = /* @__PURE__ */ fields(key => ({ meta: { key } }));

/** Selects what connection tracking knows: `ct.state`, `ct.mark`, `ct.status`. `ctOf` selects from one direction of the connection. */
export const ct: KeysOf<typeof keys.CT> = /* @__PURE__ */ fields(key => ({ ct: { key } }));
/**
 * Selects what connection tracking knows of one direction of the connection.
 * @param dir 'original' (from the client) or 'reply'
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [ctOf('original')['proto-dst'].eq(80), accept()] } });
 */
export const ctOf = (dir: Direction): KeysOf<typeof keys.CT> =>
  fields(key => ({ ct: { key: key as CtReference['key'], dir } }));

/** The route of the packet. */
export const rt: KeysOf<typeof keys.RT> = /* @__PURE__ */ fields(key => ({ rt: { key } }));
/**
 * Selects the next hop of the packet's route.
 * @param family the family of the address, 'ip' or 'ip6'
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [nexthop('ip').eq('192.0.2.1'), accept()] } });
 */
export const nexthop = (family: AddressFamily): Selector<string> => select({ rt: { key: 'nexthop', family } });

/** The socket that the packet belongs to. */
export const socket: KeysOf<typeof keys.SOCKET> = /* @__PURE__ */ fields(key => ({ socket: { key } }));

/**
 * Selects from the IPsec state that the packet went through, or will go through.
 * @param dir 'in' for the state that it came by, 'out' for the one that it leaves by
 * @param options `family` of the addresses; `spnum`, the number of the transformation, counted from 0 (default 0)
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [ipsec('in').reqid.eq(1), accept()] } });
 */
export const ipsec = (
  dir: 'in' | 'out',
  options: {
    /** The family of the addresses, 'ip' or 'ip6'. */
    family?: AddressFamily;
    /** The number of the transformation, counted from 0. */
    spnum?: number;
  } = {},
): KeysOf<typeof keys.IPSEC> => fields(key => ({ ipsec: { dir, ...options, key } }));

/**
 * Selects the operating system that a SYN looks like. The kernel has no fingerprints until nfnl_osf(8) loads them.
 * @param key 'name' or 'version'
 * @param ttl how the packet's TTL is compared: 'loose' also takes packets of other networks, 'skip' does not look; default: exactly
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [osf('name').eq('Linux'), accept()] } });
 */
export const osf = (key: 'name' | 'version', ttl?: 'loose' | 'skip'): Selector<string> =>
  select({ osf: ttl === undefined ? { key } : { key, ttl } });

/**
 * Selects what the routing table says about the packet: `oif`, `oifname`, `type`, and `check`, which tells whether there is a route.
 * @param flags what the table is asked with: an address ('saddr' or 'daddr'), and 'mark', 'iif' or 'oif'
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [fib('saddr', 'iif').check.eq(false), drop()] } });
 */
export const fib = (...flags: FibFlag[]): KeysOf<typeof keys.FIB> & { readonly check: Selector<ValueOf<'boolean'>> } =>
  fields(result => ({ fib: { result, flags } }));

/**
 * Makes a number for each packet, from `offset` to `offset + mod - 1`.
 * @param mode 'inc' counts, 'random' draws
 * @param mod how many numbers there are, at least 1
 * @param offset the first of them, default 0
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dnat({ to: numgen('inc', 2).map([[0, '10.0.0.1'], [1, '10.0.0.2']]) })] } });
 */
export const numgen = (mode: 'inc' | 'random', mod: number, offset = 0): Selector<number> =>
  select({ numgen: { mode, mod, offset } });
/**
 * Hashes a field (Jenkins' hash) to a number from `offset` to `offset + mod - 1`.
 * @param of the field, or `concat` of several
 * @param mod how many numbers there are, at least 1
 * @param options `seed`, default a random one that the kernel draws; `offset`, the first number, default 0
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dnat({ to: jhash(ip.saddr, 2, { seed: 1 }).map([[0, '10.0.0.1'], [1, '10.0.0.2']]) })] } });
 */
export const jhash = (
  of: Selector<never> | Selector,
  mod: number,
  options: {
    /** The seed of the hash; default: drawn by the kernel. */
    seed?: number;
    /** The first number. */
    offset?: number;
  } = {},
): Selector<number> => select({ jhash: { mod, ...options, expr: of.expression } });
/**
 * Hashes the connection to a number from `offset` to `offset + mod - 1`, the same for both directions.
 * @param mod how many numbers there are, at least 1
 * @param offset the first of them, default 0
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.mark.set(symhash(2, 100).expression)] } });
 */
export const symhash = (mod: number, offset = 0): Selector<number> => select({ symhash: { mod, offset } });

/**
 * Selects several fields at once, to be matched together.
 * @param parts the fields, in the order of the set's key
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [concat(ip.daddr, tcp.dport).in([['10.0.0.1', 80], ['10.0.0.2', 443]]), accept()] } });
 */
export function concat(...parts: { readonly expression: JsonExpression }[]): Selector<readonly Immediate[]> {
  const whole = select<readonly Immediate[]>({ concat: parts.map(part => part.expression) });
  const value = (given: unknown): unknown => (Array.isArray(given) ? { concat: given } : given);
  const members = (given: unknown) => (Array.isArray(given) ? given.map(value) : given);
  const pairs = (given: unknown) =>
    Array.isArray(given) ? given.map(([key, mapped]: [unknown, unknown]) => [value(key), mapped]) : given;
  return {
    ...whole,
    in: (values: unknown) => whole.in(members(values) as `@${string}`),
    notIn: values => whole.notIn(members(values) as `@${string}`),
    map: given => whole.map(pairs(given) as `@${string}`),
    vmap: given => whole.vmap(pairs(given) as `@${string}`),
  };
}

type Extensions<T extends Record<string, { fields: object }>> = {
  readonly [N in keyof T]: FieldsOf<T[N]['fields']> & {
    /** The header or option is there. */
    exists(): Statement;
    /** The header or option is not there. */
    missing(): Statement;
  };
};

function extensions<T>(word: string): T {
  const made = new Map<string, unknown>();
  return new Proxy({} as object, {
    get(_, name) {
      if (typeof name !== 'string') return undefined;
      let found = made.get(name);
      if (found === undefined) {
        const reference = { [word]: { name } };
        const there = select<boolean>(reference as unknown as FieldExpression);
        const inner = fields<object>(field => ({ [word]: { name, field } }));
        found = new Proxy(inner, {
          get(target, field, receiver) {
            if (field === 'exists') return () => there.eq(true);
            if (field === 'missing') return () => there.eq(false);
            return Reflect.get(target, field, receiver);
          },
        });
        made.set(name, found);
      }
      return found;
    },
  }) as T;
}

/** IPv6 extension headers: `exthdr.frag['more-fragments'].eq(1)`, `exthdr.hbh.exists()`. */
export const exthdr: Extensions<typeof IPV6_EXTENSIONS> = /* @__PURE__ */ extensions('exthdr');
/** TCP options: `tcpOption.maxseg.size.set(1400)`. */
export const tcpOption: Extensions<typeof TCP_OPTIONS> = /* @__PURE__ */ extensions('tcp option');
/** IPv4 options. */
export const ipOption: Extensions<typeof IP_OPTIONS> = /* @__PURE__ */ extensions('ip option');
/** Chunks of SCTP. */
export const sctpChunk: Extensions<typeof SCTP_CHUNKS> = /* @__PURE__ */ extensions('sctp chunk');
