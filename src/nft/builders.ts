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

/** Any expression of nft's JSON, to be asked like a field. */
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
export const arp = /* @__PURE__ */ header('arp');
/** The IPv4 header. */
export const ip = /* @__PURE__ */ header('ip');
/** The IPv6 header. */
export const ip6 = /* @__PURE__ */ header('ip6');
export const icmp = /* @__PURE__ */ header('icmp');
export const icmpv6 = /* @__PURE__ */ header('icmpv6');
export const igmp = /* @__PURE__ */ header('igmp');
export const tcp = /* @__PURE__ */ header('tcp');
export const udp = /* @__PURE__ */ header('udp');
export const udplite = /* @__PURE__ */ header('udplite');
export const sctp = /* @__PURE__ */ header('sctp');
export const dccp = /* @__PURE__ */ header('dccp');
/** The ports of whatever transport protocol it is. */
export const th = /* @__PURE__ */ header('th');
export const ah = /* @__PURE__ */ header('ah');
export const esp = /* @__PURE__ */ header('esp');
export const comp = /* @__PURE__ */ header('comp');
export const gre = /* @__PURE__ */ header('gre');
export const geneve = /* @__PURE__ */ header('geneve');
export const vxlan = /* @__PURE__ */ header('vxlan');

/** A header inside a tunnel: `inside('vxlan', 'ip').saddr.eq('10.0.0.1')`. */
export const inside = <P extends Protocol>(tunnel: Tunnel, protocol: P): Header<P> =>
  fields(field => ({ payload: { tunnel, protocol, field } }));

/** Any bits of the packet, by layer (ll, nh, th, ih), offset and length in bits. */
export const raw = (base: 'll' | 'nh' | 'th' | 'ih', offset: number, len: number): Selector<number | string> =>
  select({ payload: { base, offset, len } });

/** What the kernel knows about a packet besides its bytes. */
export const meta: KeysOf<typeof keys.META> = /* @__PURE__ */ fields(key => ({ meta: { key } }));

/** What connection tracking knows; `ctOf('original')` of one direction of the connection. */
export const ct: KeysOf<typeof keys.CT> = /* @__PURE__ */ fields(key => ({ ct: { key } }));
export const ctOf = (dir: Direction): KeysOf<typeof keys.CT> =>
  fields(key => ({ ct: { key: key as CtReference['key'], dir } }));

/** The route of the packet. */
export const rt: KeysOf<typeof keys.RT> = /* @__PURE__ */ fields(key => ({ rt: { key } }));
export const nexthop = (family: AddressFamily): Selector<string> => select({ rt: { key: 'nexthop', family } });

/** The socket that the packet belongs to. */
export const socket: KeysOf<typeof keys.SOCKET> = /* @__PURE__ */ fields(key => ({ socket: { key } }));

/** The IPsec state that the packet went or will go through. */
export const ipsec = (
  dir: 'in' | 'out',
  options: { family?: AddressFamily; spnum?: number } = {},
): KeysOf<typeof keys.IPSEC> => fields(key => ({ ipsec: { dir, ...options, key } }));

/** The operating system that a SYN looks like: `osf('name').eq('Linux')`. */
export const osf = (key: 'name' | 'version', ttl?: 'loose' | 'skip'): Selector<string> =>
  select({ osf: ttl === undefined ? { key } : { key, ttl } });

/** What the routing table says: `fib('saddr', 'iif').oif.eq('eth0')`; `check` is whether there is a route. */
export const fib = (...flags: FibFlag[]): KeysOf<typeof keys.FIB> & { readonly check: Selector<boolean> } =>
  fields(result => ({ fib: { result, flags } }));

export const numgen = (mode: 'inc' | 'random', mod: number, offset = 0): Selector<number> =>
  select({ numgen: { mode, mod, offset } });
export const jhash = (
  of: Selector<never> | Selector,
  mod: number,
  options: { seed?: number; offset?: number } = {},
): Selector<number> => select({ jhash: { mod, ...options, expr: of.expression } });
export const symhash = (mod: number, offset = 0): Selector<number> => select({ symhash: { mod, offset } });

/** Several at once: `concat(ip.daddr, tcp.dport).in([['10.0.0.1', 80]])`. */
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

/** Counts packets and bytes; with a name, in the counter of that name. */
export const counter = (name?: string): Statement & Stateful => ({ counter: name ?? null });

/** Hands packets to NFLOG: `log({ group: 5, prefix: 'web1 ' })`; without a group to the kernel's own log. */
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

/** Sends packets to this host itself; `to` is the local port or a range of ports, default the one they were sent to. Only in nat chains. */
export function redirect(options: NatOptions & { to?: Port } = {}): Statement {
  const { to, flags } = options;
  if (to === undefined && flags === undefined) return { redirect: null };
  return { redirect: { ...(to !== undefined && { port: portOf(to) }), ...(flags !== undefined && { flags }) } };
}

/** Rewrites the source to the address of the device that packets leave by; `to` are the ports to use. */
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

/** Rewrites the source of connections: `snat({ to: '192.0.2.1' })`. */
export const snat = (options: AddressOptions): Statement => ({ snat: addressNat(options) });
/** Rewrites their destination: `dnat({ to: '10.0.0.1', port: 8080 })`. */
export const dnat = (options: AddressOptions): Statement => ({ dnat: addressNat(options) });
/** Gives packets to a local socket without rewriting them. */
export const tproxy = (options: Omit<AddressOptions, 'flags'>): Statement => ({ tproxy: addressNat(options) });

export const accept = (): Statement & VerdictExpression => ({ accept: null });
export const drop = (): Statement & VerdictExpression => ({ drop: null });
/** Goes on in another chain, and comes back. */
export const jump = (chain: string): Statement & VerdictExpression => ({ jump: { target: chain } });
/** Goes on in another chain, and does not come back. */
export const goto = (chain: string): Statement & VerdictExpression => ({ goto: { target: chain } });
/** Goes back to the chain that jumped here. */
export const returns = (): Statement & VerdictExpression => ({ return: null });
/** Goes on with the next rule. */
export const continues = (): Statement & VerdictExpression => ({ continue: null });

/** Drops packets and tells their sender: `reject({ type: 'tcp reset' })`. */
export const reject = (options?: Reject): Statement => ({ reject: options ?? null });

/** Hands the packets themselves to a program, which decides (NFQUEUE). */
export function queue(options: { num?: Port; flags?: QueueFlag | QueueFlag[] } = {}): Statement {
  const { num, flags } = options;
  return { queue: { ...(num !== undefined && { num: portOf(num) }), ...(flags !== undefined && { flags }) } };
}

/** Ends the rule for what exceeds a rate, `limit({ rate: 10, per: 'second' })`; with a name, the limit of that name. */
export const limit = (options: Limit | string): Statement & Stateful => ({ limit: options });
/** Ends the rule once so many bytes have passed; with a name, the quota of that name. */
export const quota = (options: Quota | string): Statement & Stateful => ({ quota: options });
/** Ends the rule while there are more connections than this. */
export const ctCount = (val: number, options: { inv?: boolean } = {}): Statement & Stateful => ({
  'ct count': { val, ...options },
});
/** Remembers when it was last passed. */
export const last = (): Statement & Stateful => ({ last: null });
/** Keeps packets out of connection tracking. */
export const notrack = (): Statement => ({ notrack: null });

type Operation = 'add' | 'update' | 'delete';

/** Adds what is selected to a set while packets pass: `dynamicSet('add', '@seen', ip.saddr, { timeout: 60 })`. */
export function dynamicSet(
  op: Operation,
  set: `@${string}`,
  key: { readonly expression: JsonExpression },
  options: { timeout?: number; stmt?: Stateful[] } = {},
): Statement {
  return { set: { op, elem: elementOf(key, options.timeout), set, ...(options.stmt && { stmt: options.stmt }) } };
}

/** The same for a map: the value is selected too. */
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

/** Sends a copy to another host. */
export const dup = (addr: JsonExpression, dev?: JsonExpression): Statement => ({
  dup: dev === undefined ? { addr } : { addr, dev },
});
/** Sends packets out by another device. */
export const fwd = (
  dev: JsonExpression,
  options: { family: AddressFamily; addr: JsonExpression } | Record<string, never> = {},
): Statement => ({
  fwd: { dev, ...options },
});
/** Lets a flowtable forward the rest of the connection. */
export const flow = (flowtable: `@${string}`): Statement => ({ flow: { op: 'add', flowtable } });
/** Answers connections in the server's place until the client has shown that it exists; with a name, as the object of that name says. */
export const synproxy = (options?: SynproxyOptions | string): Statement => ({ synproxy: options ?? null });
/** Takes an option out of the TCP header. */
export const resetTcpOption = (name: Extract<TcpOptionReference, { name: string }>['name']): Statement => ({
  reset: { 'tcp option': { name } as TcpOptionReference },
});

/** Objects of connection tracking, by name. */
export const ctHelper = (name: string): Statement => ({ 'ct helper': name });
export const ctTimeout = (name: string): Statement => ({ 'ct timeout': name });
export const ctExpectation = (name: string): Statement => ({ 'ct expectation': name });
export const secmark = (name: string): Statement => ({ secmark: name });
