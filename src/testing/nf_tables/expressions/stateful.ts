import { IPS_ASSURED, IPS_CONFIRMED } from '../../../linux/nf_conntrack_common.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { tupleKey } from '../../conntrack/tuples.ts';
import { EINVAL, EOPNOTSUPP, EOVERFLOW, refuse } from '../../refusal.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { needConnections, type RuleContext } from '../context.ts';
import { storageOf } from '../set-lookup.ts';
import type { Expression, NftSet, Value } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import type { ExpressionType, Run } from './type.ts';

/* Expressions with a state of their own. Named objects (src/testing/nf_tables/objects.ts) share the state's arithmetic. */

const NANOSECONDS = 1_000_000_000n;
const MILLISECOND = 1_000_000n;
const MAX_U64 = (1n << 64n) - 1n;

/** A kind of state: how it begins, and what a packet does to it. @returns whether the rule goes on */
export interface Stateful {
  /** It counts connections. */
  readonly tracks?: true;
  read(
    attributes: Attributes | undefined,
    now: bigint,
  ): { values: Record<string, Value>; state: Record<string, bigint> };
  write: (values: Record<string, Value>, state: Record<string, bigint>, now: bigint) => Record<string, Value>;
  readonly rows: readonly Row[];
  take(values: Record<string, Value>, state: Record<string, bigint>, run: Run): boolean;
  /** What a reset leaves. */
  reset?(state: Record<string, bigint>): void;
}

export const counter: Stateful = {
  rows: [
    ['bytes', Nft.NFTA_COUNTER_BYTES, 'u64'],
    ['packets', Nft.NFTA_COUNTER_PACKETS, 'u64'],
  ],
  read(attributes) {
    const packets = attributes?.u64be(Nft.NFTA_COUNTER_PACKETS) ?? 0n;
    const bytes = attributes?.u64be(Nft.NFTA_COUNTER_BYTES) ?? 0n;
    return { values: {}, state: { packets, bytes } };
  },
  write: (_, { packets, bytes }) => ({ packets: packets!, bytes: bytes! }),
  take(_, state, run) {
    state.packets = state.packets! + 1n;
    state.bytes = state.bytes! + BigInt(run.packet.bytes.length);
    run.path.counted(run);
    return true;
  },
  reset(state) {
    state.packets = 0n;
    state.bytes = 0n;
  },
};

export const quota: Stateful = {
  rows: [
    ['bytes', Nft.NFTA_QUOTA_BYTES, 'u64'],
    ['consumed', Nft.NFTA_QUOTA_CONSUMED, 'u64'],
    ['flags', Nft.NFTA_QUOTA_FLAGS, 'u32'],
  ],
  read(attributes) {
    const bytes = attributes?.u64be(Nft.NFTA_QUOTA_BYTES);
    if (bytes === undefined) return refuse(EINVAL);
    if (bytes > MAX_U64 >> 1n) refuse(EOVERFLOW);
    const consumed = attributes!.u64be(Nft.NFTA_QUOTA_CONSUMED) ?? 0n;
    if (consumed > bytes) refuse(EINVAL);
    const flags = attributes!.u32be(Nft.NFTA_QUOTA_FLAGS) ?? 0;
    if ((flags & ~Nft.NFT_QUOTA_F_INV) !== 0) refuse(EINVAL);
    return { values: { bytes, flags }, state: { consumed, depleted: 0n } };
  },
  write({ bytes, flags }, { consumed }) {
    const limit = bytes as bigint;
    // The kernel tells no more than the quota, and says then that it is used up.
    const over = consumed! >= limit;
    return {
      bytes: limit,
      consumed: over ? limit : consumed!,
      flags: (flags as number) | (over ? Nft.NFT_QUOTA_F_DEPLETED : 0),
    };
  },
  take({ bytes, flags }, state, { packet }) {
    state.consumed = state.consumed! + BigInt(packet.bytes.length);
    const over = state.consumed > (bytes as bigint);
    if (state.consumed >= (bytes as bigint)) state.depleted = 1n;
    return over === (((flags as number) & Nft.NFT_QUOTA_F_INV) !== 0);
  },
  reset(state) {
    state.consumed = 0n;
    state.depleted = 0n;
  },
};

const DEFAULT_BURST = 5;

export const limit: Stateful = {
  rows: [
    ['rate', Nft.NFTA_LIMIT_RATE, 'u64'],
    ['unit', Nft.NFTA_LIMIT_UNIT, 'u64'],
    ['burst', Nft.NFTA_LIMIT_BURST, 'u32'],
    ['type', Nft.NFTA_LIMIT_TYPE, 'u32'],
    ['flags', Nft.NFTA_LIMIT_FLAGS, 'u32'],
  ],
  read(attributes, now) {
    const type = attributes?.u32be(Nft.NFTA_LIMIT_TYPE) ?? Nft.NFT_LIMIT_PKTS;
    if (type > Nft.NFT_LIMIT_PKT_BYTES) refuse(EOPNOTSUPP);
    const rate = attributes?.u64be(Nft.NFTA_LIMIT_RATE);
    const unit = attributes?.u64be(Nft.NFTA_LIMIT_UNIT);
    if (rate === undefined || unit === undefined) return refuse(EINVAL);
    if (rate === 0n) refuse(EINVAL);
    const nanoseconds = unit * NANOSECONDS;
    if (nanoseconds > MAX_U64 || nanoseconds < unit) refuse(EOVERFLOW);
    let burst = attributes!.u32be(Nft.NFTA_LIMIT_BURST) ?? 0;
    const isPackets = type === Nft.NFT_LIMIT_PKTS;
    if (isPackets && burst === 0) burst = DEFAULT_BURST;
    const flags = attributes!.u32be(Nft.NFTA_LIMIT_FLAGS) ?? 0;
    if ((flags & ~Nft.NFT_LIMIT_F_INV) !== 0) refuse(EOPNOTSUPP);
    const most = isPackets ? (nanoseconds / rate) * BigInt(burst) : (nanoseconds * (rate + BigInt(burst))) / rate;
    if (most > MAX_U64 || rate + BigInt(burst) > MAX_U64) refuse(EOVERFLOW);
    return { values: { rate, unit, burst, type, flags, most }, state: { tokens: most, last: now * MILLISECOND } };
  },
  write: values => values,
  take(values, state, { engine, packet }) {
    const rate = values.rate as bigint;
    const nanoseconds = (values.unit as bigint) * NANOSECONDS;
    const now = engine.now * MILLISECOND;
    const isPackets = values.type === Nft.NFT_LIMIT_PKTS;
    const cost = isPackets ? nanoseconds / rate : (nanoseconds * BigInt(packet.bytes.length)) / rate;
    const most = values.most as bigint;
    const filled = state.tokens! + now - state.last!;
    const tokens = filled > most ? most : filled;
    state.last = now;
    const under = tokens >= cost;
    state.tokens = under ? tokens - cost : tokens;
    return under === (((values.flags as number) & Nft.NFT_LIMIT_F_INV) === 0);
  },
};

export const last: Stateful = {
  rows: [
    ['set', Nft.NFTA_LAST_SET, 'u32'],
    ['milliseconds', Nft.NFTA_LAST_MSECS, 'u64'],
  ],
  read(attributes, now) {
    const isSet = attributes?.u32be(Nft.NFTA_LAST_SET) ?? 0;
    const ago = attributes?.u64be(Nft.NFTA_LAST_MSECS) ?? 0n;
    return { values: {}, state: { set: isSet === 0 ? 0n : 1n, at: isSet === 0 ? 0n : now - ago } };
  },
  write: (_, { set, at }, now) => ({ set: Number(set), milliseconds: set === 0n ? 0n : now - at! }),
  take(_, state, { engine }) {
    state.set = 1n;
    state.at = engine.now;
    return true;
  },
};

const TCP = 6;
/** TIME_WAIT and CLOSE: the last of the states. */
const TIME_WAIT = 7;
/** Such connections are not put into the list again. */
const SETTLED = IPS_CONFIRMED | IPS_ASSURED;

export const connlimit: Stateful = {
  tracks: true,
  rows: [
    ['count', Nft.NFTA_CONNLIMIT_COUNT, 'u32'],
    ['flags', Nft.NFTA_CONNLIMIT_FLAGS, 'u32'],
  ],
  read(attributes) {
    const count = attributes?.u32be(Nft.NFTA_CONNLIMIT_COUNT);
    if (count === undefined) return refuse(EINVAL);
    const flags = attributes!.u32be(Nft.NFTA_CONNLIMIT_FLAGS) ?? 0;
    if ((flags & ~Nft.NFT_CONNLIMIT_F_INV) !== 0) refuse(EOPNOTSUPP);
    return { values: { count, flags }, state: {} };
  },
  write: ({ count, flags }) => ({ count: count!, ...(flags === 0 ? {} : { flags: flags! }) }),
  /** The state is the list: a connection's tuple as its key (nft_connlimit_eval). Those that have ended leave it at the next look. */
  take({ count, flags }, state, { namespace, engine, packet: { tracked } }) {
    if (tracked === undefined) return engine.notModelled('ct count of packets that are not tracked');
    const own = tupleKey(tracked.connection, tracked.connection.original, 0);
    for (const key of Object.keys(state)) {
      const known = namespace.conntrack.tuples.get(key)?.connection;
      const isOver = known === undefined ? key !== own : known.protocol === TCP && known.tcp.state >= TIME_WAIT;
      if (isOver) delete state[key];
    }
    const isSettled = (tracked.connection.status & SETTLED) === SETTLED;
    if (!isSettled) state[own] = 1n;
    const over = Object.keys(state).length > (count as number);
    return over === (((flags as number) & Nft.NFT_CONNLIMIT_F_INV) !== 0);
  },
};

/** The kinds that rules, sets and elements have as expressions of their own. */
const KINDS: Record<string, Stateful> = { counter, quota, limit, last, connlimit };

function expressionOf(kind: Stateful): ExpressionType {
  return {
    read(attributes, { work }) {
      const read = kind.read(attributes, work.engine.now);
      if (kind.tracks === true) needConnections(work);
      return read;
    },
    write(expression: Expression, writer, engine) {
      const { values, state = {} } = expression;
      writeRows(kind.rows, given(kind.write(values, state, engine.now)), writer);
    },
    run: ({ values, state = {} }, run) => (kind.take(values, state, run) ? undefined : 'break'),
  };
}

export const STATEFUL: Record<string, ExpressionType> = Object.fromEntries(
  Object.entries(KINDS).map(([name, kind]) => [name, expressionOf(kind)]),
);
export const isStateful = (name: string): boolean => KINDS[name] !== undefined;
/** An expression of a set or an element (nft_set_elem_expr_alloc). */
export function readStateful(context: RuleContext, set: NftSet, attributes: Attributes): Expression {
  const { engine } = context.work;
  const parsed = engine.parse(attributes, context);
  if (!isStateful(parsed.name)) refuse(EOPNOTSUPP);
  const expression = engine.init(parsed, context);
  // Its list of connections is cleaned by the collector of a hash that grows.
  const isCollected = (set.flags & Nft.NFT_SET_TIMEOUT) === 0 && storageOf(set) === 'growing hash';
  if (parsed.name === 'connlimit' && !isCollected) refuse(EOPNOTSUPP);
  return expression;
}

/** The state of an expression that is a clone of another: a set's expressions, in each of its elements. */
export function cloned(expression: Expression, now: bigint): Expression {
  const { state, values } = expression;
  if (state === undefined) return { ...expression };
  const copy: Record<string, bigint> = { ...state };
  if (expression.name === 'limit') {
    copy.tokens = values.most as bigint;
    copy.last = now * MILLISECOND;
  }
  return { ...expression, state: copy };
}
