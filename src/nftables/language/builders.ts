import type { LeftSide, Log, MatchOperator, PayloadExpression, Redirect, RightSide, Statement } from './statement.ts';

/*
 * nft's words as functions. Each returns a plain statement in nft's JSON and nothing is checked before the rule is compiled: the error then
 * has the statement's place in its path.
 */

/** What can be asked of a field or of meta data. */
export interface Selector {
  eq(value: RightSide): Statement;
  ne(value: RightSide): Statement;
  lt(value: RightSide): Statement;
  gt(value: RightSide): Statement;
  le(value: RightSide): Statement;
  ge(value: RightSide): Statement;
  /** Both ends belong to it. */
  between(from: string | number, to: string | number): Statement;
  /** An address prefix: `ip.saddr.prefix('10.0.0.0', 8)`. */
  prefix(address: string, length: number): Statement;
}

function selector(left: LeftSide): Selector {
  const match = (op: MatchOperator) => (right: RightSide) => ({ match: { op, left, right } });
  return {
    eq: match('=='),
    ne: match('!='),
    lt: match('<'),
    gt: match('>'),
    le: match('<='),
    ge: match('>='),
    between: (from, to) => ({ match: { op: '==', left, right: { range: [from, to] } } }),
    prefix: (addr, len) => ({ match: { op: '==', left, right: { prefix: { addr, len } } } }),
  };
}

const field = (payload: PayloadExpression): Selector => selector({ payload });

/** The IPv4 header. */
export const ip = {
  saddr: /* @__PURE__ */ field({ protocol: 'ip', field: 'saddr' }),
  daddr: /* @__PURE__ */ field({ protocol: 'ip', field: 'daddr' }),
  protocol: /* @__PURE__ */ field({ protocol: 'ip', field: 'protocol' }),
};

/** The IPv6 header. */
export const ip6 = {
  saddr: /* @__PURE__ */ field({ protocol: 'ip6', field: 'saddr' }),
  daddr: /* @__PURE__ */ field({ protocol: 'ip6', field: 'daddr' }),
  nexthdr: /* @__PURE__ */ field({ protocol: 'ip6', field: 'nexthdr' }),
};

/** The TCP header. */
export const tcp = {
  sport: /* @__PURE__ */ field({ protocol: 'tcp', field: 'sport' }),
  dport: /* @__PURE__ */ field({ protocol: 'tcp', field: 'dport' }),
};

/** The UDP header. */
export const udp = {
  sport: /* @__PURE__ */ field({ protocol: 'udp', field: 'sport' }),
  dport: /* @__PURE__ */ field({ protocol: 'udp', field: 'dport' }),
};

/** What the kernel knows about a packet besides its bytes. */
export const meta = {
  /** The transport protocol: 'tcp', 'udp', or a number. */
  l4proto: /* @__PURE__ */ selector({ meta: { key: 'l4proto' } }),
  mark: /* @__PURE__ */ selector({ meta: { key: 'mark' } }),
  iifname: /* @__PURE__ */ selector({ meta: { key: 'iifname' } }),
  oifname: /* @__PURE__ */ selector({ meta: { key: 'oifname' } }),
};

/** Counts packets and bytes. */
export const counter = (): Statement => ({ counter: null });

/** Hands packets to NFLOG: `log({ group: 5, prefix: 'web1 ' })`. */
export function log(
  options: { group?: number; prefix?: string; snaplen?: number; queueThreshold?: number } = {},
): Statement {
  const { queueThreshold, ...rest } = options;
  const statement: Log = rest;
  if (queueThreshold !== undefined) statement['queue-threshold'] = queueThreshold;
  return { log: statement };
}

/** Sends packets to this host itself; `to` is the local port or a range of ports, default the one they were sent to. Only in nat chains. */
export function redirect(options: { to?: number | [number, number]; flags?: Redirect['flags'] } = {}): Statement {
  const { to, flags } = options;
  if (to === undefined && flags === undefined) return { redirect: null };
  const statement: Redirect = {};
  if (to !== undefined) statement.port = typeof to === 'number' ? to : { range: to };
  if (flags !== undefined) statement.flags = flags;
  return { redirect: statement };
}

export const accept = (): Statement => ({ accept: null });
export const drop = (): Statement => ({ drop: null });
/** Goes on in another chain, and comes back. */
export const jump = (chain: string): Statement => ({ jump: { target: chain } });
/** Goes on in another chain, and does not come back. */
export const goto = (chain: string): Statement => ({ goto: { target: chain } });
/** Goes back to the chain that jumped here. */
export const returns = (): Statement => ({ return: null });
