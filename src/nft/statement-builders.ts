import { objectOf, typeError } from '../errors.ts';
import type { AddressFamily, JsonExpression, TcpOptionReference, VerdictExpression } from './json.ts';
import type { SetOperation } from './statements/dynamic-set.ts';
import type { Limit } from './statements/limit.ts';
import type { Log } from './statements/log.ts';
import type { AddressNat, PortNat } from './statements/nat.ts';
import type { QueueFlag } from './statements/queue.ts';
import type { Quota } from './statements/quota.ts';
import type { Statement } from './statements/registry.ts';
import type { Reject } from './statements/reject.ts';
import type { Stateful } from './statements/stateful.ts';
import type { SynproxyOptions } from './statements/synproxy.ts';

/*
 * nft's statements as functions. Each returns plain JSON, and nothing is checked before the rule is compiled: the error then has the
 * statement's place in its path. Matches, and statements that write a field, are in selectors.ts.
 */

/** The fields of a value in the place of the options would all be undefined, and the statement another one. */
function optionsOf<T>(options: T, statement: string, fields: readonly string[]): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw typeError([statement], objectOf(fields), options);
  return options;
}

/**
 * Counts packets and bytes.
 * @param name the counter object that counts; default: the rule's own
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), counter(), accept()] } });
 */
export const counter = (name?: string): Statement & Stateful => ({ counter: name ?? null });

/**
 * Logs the packet: with a `group` to NFLOG, without one to the kernel's own log, which containers do not see.
 * @param options `group`, 0 to 65535; `prefix`, at most 127 bytes; `snaplen`, the bytes of the packet to hand over, default all;
 * `queueThreshold`, how many packets the kernel gathers, default 1; `level` and `flags`, for the kernel's own log only
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [log({ group: 5, prefix: 'web1 ' })] } });
 */
export function log(
  options: Omit<Log, 'queue-threshold'> & {
    /** How many packets the kernel gathers before it hands them over; default 1. */
    queueThreshold?: number;
  } = {},
): Statement {
  const { queueThreshold, ...rest } = optionsOf(options, 'log', [
    'group',
    'prefix',
    'snaplen',
    'queueThreshold',
    'level',
    'flags',
  ]);
  const statement: Log = rest;
  if (queueThreshold !== undefined) statement['queue-threshold'] = queueThreshold;
  return { log: statement };
}

type Port = number | readonly [number, number] | JsonExpression;
type Address = string | readonly [string, string] | JsonExpression;
type Pair = readonly [number, number] | readonly [string, string];
const isPair = (value: Port | Address): value is Pair => Array.isArray(value) && value.length === 2;
const rangeOrValue = (value: Port | Address): JsonExpression => {
  if (!isPair(value)) return value;
  const [first, last] = value;
  return { range: [first, last] };
};

type PortOptions = Pick<PortNat, 'flags'> & {
  /** The local port, or a range [first, last]. */
  to?: Port;
};

function portNat(options: PortOptions, statement: string): PortNat | null {
  const { to, ...rest } = optionsOf(options, statement, ['to', 'flags']);
  const fields: PortNat = to === undefined ? rest : { ...rest, port: rangeOrValue(to) };
  for (const name in fields) if (fields[name as keyof PortNat] !== undefined) return fields;
  return null;
}

/**
 * Sends the packet to this host itself. Only in nat chains of the hooks prerouting and output.
 * @param options `to`, the local port or a range [first, last], default the port that the packet has; `flags` of the translation
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), redirect({ to: 8080 })] } });
 */
export const redirect = (options: PortOptions = {}): Statement => ({ redirect: portNat(options, 'redirect') });

/**
 * Rewrites the source to the address of the device that the packet leaves by. Only in nat chains of the hook postrouting.
 * @param options `to`, the source port or a range [first, last], default any; `flags` of the translation
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.oifname.eq('eth0'), masquerade()] } });
 */
export const masquerade = (options: PortOptions = {}): Statement => ({ masquerade: portNat(options, 'masquerade') });

type AddressOptions = Pick<AddressNat, 'family' | 'flags'> & {
  /** An address, a range of them, or the value of a map. */
  to?: Address;
  /** The port, or a range [first, last]. */
  port?: Port;
};

function addressNat(options: AddressOptions, statement: string): AddressNat {
  const { to, port, ...rest } = optionsOf(options, statement, ['to', 'port', 'family', 'flags']);
  return {
    ...rest,
    ...(to !== undefined && { addr: rangeOrValue(to) }),
    ...(port !== undefined && { port: rangeOrValue(port) }),
  };
}

/**
 * Rewrites the source of connections. Only in nat chains of the hooks postrouting and input.
 * @param options `to`, an address, a range [first, last] or the value of a map; `port`; `family`, of the address where the table is inet;
 * `flags`
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [snat({ to: '192.0.2.1', family: 'ip' })] } });
 */
export const snat = (options: AddressOptions): Statement => ({ snat: addressNat(options, 'snat') });
/**
 * Rewrites the destination of connections. Only in nat chains of the hooks prerouting and output.
 * @param options `to`, an address, a range [first, last] or the value of a map; `port`; `family`, of the address where the table is inet;
 * `flags`
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(80), dnat({ to: '10.0.0.1', port: 8080, family: 'ip' })] } });
 */
export const dnat = (options: AddressOptions): Statement => ({ dnat: addressNat(options, 'dnat') });
/**
 * Gives the packet to a local socket with the option IP_TRANSPARENT, and rewrites nothing. Only in filter chains of the hook prerouting.
 * @param options `to`, the address that the socket is bound to; `port`, its port; `family`, of the address where the table is inet
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [meta.l4proto.eq('tcp'), tproxy({ port: 15001, family: 'ip' }), accept()] } });
 */
export const tproxy = (options: Omit<AddressOptions, 'flags'>): Statement => ({
  tproxy: addressNat(options, 'tproxy'),
});

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
 * @param options `num`, the queue or a range [first, last], 0 to 65535, default 0; `flags`: 'bypass' accepts while no program listens,
 * 'fanout' spreads by processor
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [queue({ num: [0, 3], flags: 'bypass' })] } });
 */
export const queue = ({
  num,
  ...rest
}: {
  /** The queue, 0 to 65535, or a range [first, last]. */
  num?: Port;
  /** 'bypass' accepts while no program listens, 'fanout' spreads by processor. */
  flags?: QueueFlag | QueueFlag[];
} = {}): Statement => ({
  queue: num === undefined ? rest : { ...rest, num: rangeOrValue(num) },
});

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
export const ctCount = (
  val: number,
  options: {
    /** Ends the rule while there are not more. */
    inv?: boolean;
  } = {},
): Statement & Stateful => ({
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

/**
 * Changes a set while packets pass: adds, refreshes or removes the element that the packet has.
 * @param op 'add', 'update' (which also begins the element's lifetime anew) or 'delete'
 * @param set the set's name, with '@'; the set has the flag dynamic
 * @param key the key of the element, a field
 * @param options `timeout`, the element's lifetime in seconds, default the set's; `stmt`, the states that each new element gets: counters,
 * limits
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dynamicSet('add', '@seen', ip.saddr, { timeout: 60 })] } });
 */
export function dynamicSet(
  op: SetOperation,
  set: `@${string}`,
  key: {
    /** The field in nft's JSON. */
    readonly expression: JsonExpression;
  },
  options: {
    /** The lifetime of an element, in seconds. */
    timeout?: number;
    /** What each new element gets: counters, limits. */
    stmt?: Stateful[];
  } = {},
): Statement {
  return { set: { op, elem: elementOf(key, options.timeout), set, ...(options.stmt && { stmt: options.stmt }) } };
}

/**
 * Changes a map while packets pass, as `dynamicSet` does with a set.
 * @param op 'add', 'update' or 'delete'
 * @param map the map's name, with '@'; the map has the flag dynamic
 * @param key the key that is added
 * @param data the value that it is given
 * @param options `timeout`, the element's lifetime in seconds, default the map's; `stmt`, the states that each new element gets
 * @example
 * tx.add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [dynamicMap('add', '@backends', ip.saddr, meta.mark)] } });
 */
export function dynamicMap(
  op: SetOperation,
  map: `@${string}`,
  key: {
    /** The field in nft's JSON. */
    readonly expression: JsonExpression;
  },
  data: {
    /** The field in nft's JSON. */
    readonly expression: JsonExpression;
  },
  options: {
    /** The lifetime of an element, in seconds. */
    timeout?: number;
    /** What each new element gets: counters, limits. */
    stmt?: Stateful[];
  } = {},
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
  options:
    | {
        /** The family of the address. */
        family: AddressFamily;
        /** The address of the neighbour. */
        addr: JsonExpression;
      }
    | Record<string, never> = {},
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
