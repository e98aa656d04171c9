import type { TypeName } from './data/datatypes.ts';
import type { IP_OPTIONS, IPV6_EXTENSIONS, SCTP_CHUNKS, TCP_OPTIONS } from './data/extensions.ts';
import type * as keys from './data/keys.ts';
import type { PROTOCOLS, Protocol } from './data/protocols.ts';
import type {
  AddressFamily,
  CtReference,
  Direction,
  FibFlag,
  Immediate,
  JsonExpression,
  Limit,
  Log,
  LogFlag,
  LogLevel,
  MatchOperator,
  NatFlag,
  PacketExpression,
  QueueFlag,
  Quota,
  Reject,
  Stateful,
  Statement,
  SynproxyOptions,
  TcpOptionReference,
  Tunnel,
  VerdictExpression,
} from './json.ts';
import type { ValueOf } from './values.ts';

/*
 * nft's words as functions. Each returns a plain statement in nft's JSON and nothing is checked before the rule is compiled: the error then
 * has the statement's place in its path. Names of fields are nft's own, from the tables by their types: `ip['frag-off']`.
 */

/** A value of the field's own kind, or an expression. */
type Right<V> = V | Exclude<JsonExpression, Immediate> | `@${string}` | Selected;
/** A field, where its value is meant. */
interface Selected {
  readonly expression: JsonExpression;
}
/** A key and its value, in a map. */
type Pair<V, D = JsonExpression> = readonly [key: Right<V>, value: D];

/** What can be asked of a field, and done to it. */
export interface Selector<V = Immediate> {
  eq(value: Right<V>): Statement;
  ne(value: Right<V>): Statement;
  lt(value: Right<V>): Statement;
  gt(value: Right<V>): Statement;
  le(value: Right<V>): Statement;
  ge(value: Right<V>): Statement;
  /** Both ends belong to it. */
  between(from: V, to: V): Statement;
  notBetween(from: V, to: V): Statement;
  /** An address prefix: `ip.saddr.prefix('10.0.0.0', 8)`. */
  prefix(address: string, length: number): Statement;
  notPrefix(address: string, length: number): Statement;
  /** One of the values: `tcp.dport.in([80, 443])`; of the set with this name: `in('@ports')`; or some of these flags: `in('established', 'related')`. */
  in(values: readonly Right<V>[] | `@${string}`): Statement;
  in(flag: V, ...flags: V[]): Statement;
  notIn(values: readonly Right<V>[] | `@${string}`): Statement;
  /** Writes it. */
  set(value: Right<V>): Statement;
  /** The value that a map has for it: `dnat({ to: tcp.dport.map([[80, '10.0.0.1']]) })`. */
  map(pairs: readonly Pair<V>[] | `@${string}`): JsonExpression;
  /** The verdict that a map has for it: `tcp.dport.vmap([[22, { accept: null }]])`. */
  vmap(pairs: readonly Pair<V, VerdictExpression>[] | `@${string}`): Statement;
  /** Only these bits of it. */
  and(mask: V | number | JsonExpression): Selector<V>;
  or(bits: V | number | JsonExpression): Selector<V>;
  xor(bits: V | number | JsonExpression): Selector<V>;
  shiftLeft(bits: number): Selector<V>;
  shiftRight(bits: number): Selector<V>;
  /** As nft's JSON has it, for what there is no word here. */
  readonly expression: JsonExpression;
}

const json = (value: unknown): JsonExpression =>
  typeof value === 'object' && value !== null && 'expression' in value
    ? (value as Selected).expression
    : (value as JsonExpression);
const setOf = (values: unknown): JsonExpression =>
  typeof values === 'string' ? values : { set: [...(json(values) as [])] };

/**
 * Turns any expression of nft's JSON into a selector, which is matched and written like a field.
 * @param expression the expression, checked when the rule is compiled
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [select<number>({ numgen: { mode: 'inc', mod: 2 } }).eq(0), accept()] } });
 */
export function select<V = Immediate>(expression: JsonExpression): Selector<V> {
  const match = (op: MatchOperator, right: unknown): Statement => ({
    match: { op, left: expression, right: json(right) },
  });
  const calculate = (op: '&' | '|' | '^' | '<<' | '>>', operand: unknown): Selector<V> =>
    select<V>({ [op]: [expression, json(operand)] } as unknown as JsonExpression);
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
    notIn: values => match('!=', setOf(values)),
    set: value => ({ mangle: { key: expression as PacketExpression, value: json(value) } }),
    map: pairs => ({ map: { key: expression, data: setOf(pairs) } }),
    vmap: pairs => ({ vmap: { key: expression, data: setOf(pairs) } }),
    and: mask => calculate('&', mask),
    or: bits => calculate('|', bits),
    xor: bits => calculate('^', bits),
    shiftLeft: bits => calculate('<<', bits),
    shiftRight: bits => calculate('>>', bits),
  };
}

/** Made when they are first asked for. */
function fields<T>(expressionOf: (name: string) => unknown): T {
  const made = new Map<string, Selector>();
  return new Proxy({} as object, {
    get(_, name) {
      if (typeof name !== 'string') return undefined;
      let selector = made.get(name);
      if (selector === undefined) {
        selector = select(json(expressionOf(name)));
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
export const ether = /* @__PURE__ */ header('ether');
/** The tag of a virtual LAN. */
export const vlan = /* @__PURE__ */ header('vlan');
/** The ARP header: `arp.operation`, `arp['saddr ip']`. */
export const arp = /* @__PURE__ */ header('arp');
/** The IPv4 header. */
export const ip = /* @__PURE__ */ header('ip');
/** The IPv6 header. */
export const ip6 = /* @__PURE__ */ header('ip6');
/** The ICMP header (IPv4): `icmp.type`, `icmp.code`, `icmp.mtu`. */
export const icmp = /* @__PURE__ */ header('icmp');
/** The ICMPv6 header: `icmpv6.type`, `icmpv6.taddr`. */
export const icmpv6 = /* @__PURE__ */ header('icmpv6');
/** The IGMP header: `igmp.type`, `igmp.group`. */
export const igmp = /* @__PURE__ */ header('igmp');
/** The TCP header: `tcp.dport`, `tcp.flags`. */
export const tcp = /* @__PURE__ */ header('tcp');
/** The UDP header: `udp.dport`, `udp.length`. */
export const udp = /* @__PURE__ */ header('udp');
/** The UDP-Lite header: `udplite.dport`. */
export const udplite = /* @__PURE__ */ header('udplite');
/** The SCTP header: `sctp.dport`, `sctp.vtag`. */
export const sctp = /* @__PURE__ */ header('sctp');
/** The DCCP header: `dccp.dport`, `dccp.type`. */
export const dccp = /* @__PURE__ */ header('dccp');
/** The ports of whatever transport protocol it is. */
export const th = /* @__PURE__ */ header('th');
/** The IPsec authentication header: `ah.spi`. */
export const ah = /* @__PURE__ */ header('ah');
/** The header of IPsec's encapsulated payload: `esp.spi`. */
export const esp = /* @__PURE__ */ header('esp');
/** The header of compressed IP payload (IPComp): `comp.cpi`. */
export const comp = /* @__PURE__ */ header('comp');
/** The GRE header: `gre.protocol`. Linux 6.2 looks inside the tunnel with `inside('gre', ...)`. */
export const gre = /* @__PURE__ */ header('gre');
/** The Geneve header: `geneve.vni`. Linux 6.2. */
export const geneve = /* @__PURE__ */ header('geneve');
/** The VXLAN header: `vxlan.vni`. Linux 6.2. */
export const vxlan = /* @__PURE__ */ header('vxlan');

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
  options: { family?: AddressFamily; spnum?: number } = {},
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
export const fib = (...flags: FibFlag[]): KeysOf<typeof keys.FIB> & { readonly check: Selector<boolean> } =>
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
  options: { seed?: number; offset?: number } = {},
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
  readonly [N in keyof T]: FieldsOf<T[N]['fields']> & { exists(): Statement; missing(): Statement };
};

function extensions<T>(word: string): T {
  const made = new Map<string, unknown>();
  return new Proxy({} as object, {
    get(_, name) {
      if (typeof name !== 'string') return undefined;
      let found = made.get(name);
      if (found === undefined) {
        const reference = { [word]: { name } };
        const there = select<boolean>(json(reference));
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

/**
 * Counts packets and bytes.
 * @param name the counter object that counts; default: the rule's own
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), counter(), accept()] } });
 */
export const counter = (name?: string): Statement & Stateful => ({ counter: name ?? null });

/**
 * Logs the packet: with a `group` to NFLOG, without one to the kernel's own log, which containers do not see.
 * @param options `group`, 0 to 65535; `prefix`, at most 127 bytes; `snaplen`, the bytes of the packet to hand over, default all; `queueThreshold`, how many
 * packets the kernel gathers, default 1; `level` and `flags`, for the kernel's own log only
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [log({ group: 5, prefix: 'web1 ' })] } });
 */
export function log(
  options: {
    group?: number;
    prefix?: string;
    snaplen?: number;
    queueThreshold?: number;
    level?: LogLevel;
    flags?: LogFlag | LogFlag[];
  } = {},
): Statement {
  const { queueThreshold, ...rest } = options;
  const statement: Log = rest;
  if (queueThreshold !== undefined) statement['queue-threshold'] = queueThreshold;
  return { log: statement };
}

type Port = number | readonly [number, number] | JsonExpression;
const portOf = (port: Port): JsonExpression =>
  Array.isArray(port) ? { range: [...port] as [number, number] } : (port as JsonExpression);

interface NatOptions {
  flags?: NatFlag | NatFlag[];
}

/**
 * Sends the packet to this host itself. Only in nat chains of the hooks prerouting and output.
 * @param options `to`, the local port or a range [first, last], default the port that the packet has; `flags` of the translation
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), redirect({ to: 8080 })] } });
 */
export function redirect(options: NatOptions & { to?: Port } = {}): Statement {
  const { to, flags } = options;
  if (to === undefined && flags === undefined) return { redirect: null };
  return { redirect: { ...(to !== undefined && { port: portOf(to) }), ...(flags !== undefined && { flags }) } };
}

/**
 * Rewrites the source to the address of the device that the packet leaves by. Only in nat chains of the hook postrouting.
 * @param options `to`, the source port or a range [first, last], default any; `flags` of the translation
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.oifname.eq('eth0'), masquerade()] } });
 */
export function masquerade(options: NatOptions & { to?: Port } = {}): Statement {
  const { to, flags } = options;
  if (to === undefined && flags === undefined) return { masquerade: null };
  return { masquerade: { ...(to !== undefined && { port: portOf(to) }), ...(flags !== undefined && { flags }) } };
}

type AddressOptions = NatOptions & {
  /** An address, a range of them, or the value of a map. */
  to?: string | readonly [string, string] | JsonExpression;
  port?: Port;
  /** Of the address, in tables of family inet. */
  family?: AddressFamily;
};

function addressNat({ to, port, family, flags }: AddressOptions) {
  return {
    ...(family !== undefined && { family }),
    ...(to !== undefined && { addr: portOf(to as Port) }),
    ...(port !== undefined && { port: portOf(port) }),
    ...(flags !== undefined && { flags }),
  };
}

/**
 * Rewrites the source of connections. Only in nat chains of the hooks postrouting and input.
 * @param options `to`, an address, a range [first, last] or the value of a map; `port`; `family`, of the address where the table is inet; `flags`
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [snat({ to: '192.0.2.1', family: 'ip' })] } });
 */
export const snat = (options: AddressOptions): Statement => ({ snat: addressNat(options) });
/**
 * Rewrites the destination of connections. Only in nat chains of the hooks prerouting and output.
 * @param options `to`, an address, a range [first, last] or the value of a map; `port`; `family`, of the address where the table is inet; `flags`
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), dnat({ to: '10.0.0.1', port: 8080, family: 'ip' })] } });
 */
export const dnat = (options: AddressOptions): Statement => ({ dnat: addressNat(options) });
/**
 * Gives the packet to a local socket with the option IP_TRANSPARENT, and rewrites nothing. Only in filter chains of the hook prerouting.
 * @param options `to`, the address that the socket is bound to; `port`, its port; `family`, of the address where the table is inet
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.l4proto.eq('tcp'), tproxy({ port: 15001, family: 'ip' }), accept()] } });
 */
export const tproxy = (options: Omit<AddressOptions, 'flags'>): Statement => ({ tproxy: addressNat(options) });

/**
 * Accepts the packet: it goes on to the next base chain of the hook, if there is one.
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.iifname.eq('lo'), accept()] } });
 */
export const accept = (): Statement & VerdictExpression => ({ accept: null });
/**
 * Drops the packet.
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [ip.saddr.prefix('192.0.2.0', 24), drop()] } });
 */
export const drop = (): Statement & VerdictExpression => ({ drop: null });
/**
 * Goes on in another chain, and comes back behind this rule.
 * @param chain the name of a chain of the same table, without a hook
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), jump('web')] } });
 */
export const jump = (chain: string): Statement & VerdictExpression => ({ jump: { target: chain } });
/**
 * Goes on in another chain, and does not come back to this one.
 * @param chain the name of a chain of the same table, without a hook
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), goto('web')] } });
 */
export const goto = (chain: string): Statement & VerdictExpression => ({ goto: { target: chain } });
/**
 * Goes back to the chain that jumped here; in a base chain the chain's policy decides.
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [ip.saddr.eq('10.0.0.1'), returns()] } });
 */
export const returns = (): Statement & VerdictExpression => ({ return: null });
/**
 * Goes on with the next rule, as a rule without a verdict does; of use in maps of verdicts.
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.vmap([[22, continues()], [23, drop()]])] } });
 */
export const continues = (): Statement & VerdictExpression => ({ continue: null });

/**
 * Drops the packet and tells its sender.
 * @param options `type` of the answer and the ICMP code `expr`; default port-unreachable
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.l4proto.eq('tcp'), reject({ type: 'tcp reset' })] } });
 */
export const reject = (options?: Reject): Statement => ({ reject: options ?? null });

/**
 * Hands the packet itself to a program, which decides (NFQUEUE).
 * @param options `num`, the queue or a range [first, last], 0 to 65535, default 0; `flags`: 'bypass' accepts while no program listens, 'fanout' spreads by processor
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [queue({ num: [0, 3], flags: 'bypass' })] } });
 */
export function queue(options: { num?: Port; flags?: QueueFlag | QueueFlag[] } = {}): Statement {
  const { num, flags } = options;
  return { queue: { ...(num !== undefined && { num: portOf(num) }), ...(flags !== undefined && { flags }) } };
}

/**
 * Ends the rule for what exceeds a rate; inverted, for what does not.
 * @param options the rate, or the name of a limit object
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [limit({ rate: 10, per: 'second' }), log({ group: 5 })] } });
 */
export const limit = (options: Limit | string): Statement & Stateful => ({ limit: options });
/**
 * Ends the rule once so many bytes have passed; inverted, until then.
 * @param options the quota, or the name of a quota object
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [quota({ val: 25, val_unit: 'mbytes' }), accept()] } });
 */
export const quota = (options: Quota | string): Statement & Stateful => ({ quota: options });
/**
 * Ends the rule while there are more connections than this.
 * @param val the number of connections
 * @param options `inv` ends the rule while there are not more
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [ctCount(100, { inv: true }), drop()] } });
 */
export const ctCount = (val: number, options: { inv?: boolean } = {}): Statement & Stateful => ({
  'ct count': { val, ...options },
});
/**
 * Remembers when the rule was last passed. Linux 5.14.
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), last(), accept()] } });
 */
export const last = (): Statement & Stateful => ({ last: null });
/**
 * Keeps the packet out of connection tracking. Only in chains that come before it (priority raw, -300).
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [udp.dport.eq(53), notrack()] } });
 */
export const notrack = (): Statement => ({ notrack: null });

type Operation = 'add' | 'update' | 'delete';

/**
 * Changes a set while packets pass: adds, refreshes or removes the element that the packet has.
 * @param op 'add', 'update' (which also begins the element's lifetime anew) or 'delete'
 * @param set the set's name, with '@'; the set has the flag dynamic
 * @param key what is added
 * @param options `timeout`, the element's lifetime in seconds, default the set's; `stmt`, what each new element gets: counters, limits
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dynamicSet('add', '@seen', ip.saddr, { timeout: 60 })] } });
 */
export function dynamicSet(
  op: Operation,
  set: `@${string}`,
  key: { readonly expression: JsonExpression },
  options: { timeout?: number; stmt?: Stateful[] } = {},
): Statement {
  return { set: { op, elem: elementOf(key, options.timeout), set, ...(options.stmt && { stmt: options.stmt }) } };
}

/**
 * Changes a map while packets pass, as `dynamicSet` does with a set.
 * @param op 'add', 'update' or 'delete'
 * @param map the map's name, with '@'; the map has the flag dynamic
 * @param key the key that is added
 * @param data the value that it is given
 * @param options `timeout`, the element's lifetime in seconds, default the map's; `stmt`, what each new element gets
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dynamicMap('add', '@backends', ip.saddr, meta.mark)] } });
 */
export function dynamicMap(
  op: Operation,
  map: `@${string}`,
  key: { readonly expression: JsonExpression },
  data: { readonly expression: JsonExpression },
  options: { timeout?: number; stmt?: Stateful[] } = {},
): Statement {
  const elem = elementOf(key, options.timeout);
  return { map: { op, elem, data: data.expression, map, ...(options.stmt && { stmt: options.stmt }) } };
}

function elementOf(
  { expression }: { readonly expression: JsonExpression },
  timeout: number | undefined,
): JsonExpression {
  return timeout === undefined ? expression : { elem: { val: expression, timeout } };
}

/**
 * Sends a copy of the packet to another host.
 * @param addr the host's address, or the value of a map; in tables of family netdev the device
 * @param dev the device that the copy leaves by; default: as it is routed
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dup('192.0.2.9', 'eth1')] } });
 */
export const dup = (addr: JsonExpression, dev?: JsonExpression): Statement => ({
  dup: dev === undefined ? { addr } : { addr, dev },
});
/**
 * Sends the packet out by another device, without the rest of the stack. Only in tables of family netdev.
 * @param dev the device's name
 * @param options `family` and `addr` of the neighbour to send it to; default: the packet's Ethernet header stays as it is
 * @example
 * tx.add({ rule: { family: 'netdev', table: 'fast', chain: 'ingress', statements: [fwd('eth1')] } });
 */
export const fwd = (
  dev: JsonExpression,
  options: { family: AddressFamily; addr: JsonExpression } | Record<string, never> = {},
): Statement => ({
  fwd: { dev, ...options },
});
/**
 * Lets a flowtable forward the rest of the connection, past the rules.
 * @param flowtable its name, with '@'
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.l4proto.eq('tcp'), flow('@fast')] } });
 */
export const flow = (flowtable: `@${string}`): Statement => ({ flow: { op: 'add', flowtable } });
/**
 * Answers the handshakes of clients in the server's place, until the client has shown that it exists.
 * @param options `mss`, 1 to 65535; `wscale`, 0 to 14; `flags`; or the name of a synproxy object; default: no options in the answers
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), synproxy({ mss: 1460, wscale: 7, flags: ['timestamp', 'sack-perm'] })] } });
 */
export const synproxy = (options?: SynproxyOptions | string): Statement => ({ synproxy: options ?? null });
/**
 * Takes an option out of the TCP header: the kernel writes no-operations in its place. Linux 5.18.
 * @param name the option
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [resetTcpOption('fastopen')] } });
 */
export const resetTcpOption = (name: Extract<TcpOptionReference, { name: string }>['name']): Statement => ({
  reset: { 'tcp option': { name } as TcpOptionReference },
});

/**
 * Gives the connection a helper, which understands its protocol.
 * @param name a ct helper object of the table
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(21), ctHelper('ftp-standard')] } });
 */
export const ctHelper = (name: string): Statement => ({ 'ct helper': name });
/**
 * Gives the connection its own timeouts.
 * @param name a ct timeout object of the table
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), ctTimeout('short')] } });
 */
export const ctTimeout = (name: string): Statement => ({ 'ct timeout': name });
/**
 * Expects another connection because of this one.
 * @param name a ct expectation object of the table
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(8000), ctExpectation('second')] } });
 */
export const ctExpectation = (name: string): Statement => ({ 'ct expectation': name });
/**
 * Gives the packet a security context.
 * @param name a secmark object of the table
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(22), secmark('ssh')] } });
 */
export const secmark = (name: string): Statement => ({ secmark: name });
