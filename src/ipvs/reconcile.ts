import { checkObject } from '../codec/index.ts';
import { BatchError, isNotFound, typeError } from '../errors.ts';
import type { DestinationEntry, DestinationKey, VirtualServer } from '../ip_vs/destination.ts';
import type { ServiceKey } from '../ip_vs/service.ts';
import { retry } from '../netlink/retry.ts';
import { checkSignal, onAbort, reasonOf, throwIfAborted } from '../signal.ts';
import type { BatchOptions, BatchResult } from './batch.ts';
import { type Drain, readDrain, type Waiting } from './drain.ts';
import type { IpvsOperation } from './operation-types.ts';
import type { Served } from './tracked.ts';

/** What `Ipvs.plan` does with services that are not desired. */
export interface PlanOptions {
  /** Remove the services that are not desired, after everything else. Without it they stay as they are. */
  prune?: boolean;
  /** Ends the call: before the send, and between reads. */
  signal?: AbortSignal;
}

/** How `Ipvs.reconcile` gets from the table that there is to the desired one. */
export interface ReconcileOptions extends PlanOptions {
  /**
   * Gives the connections of destinations that are to go time to end: one policy for all services, `{ tcp: ..., udp: ... }`, or a function of the
   * service. Default: destinations are removed at once. `DrainPolicy` says what persistence and the schedulers sh and mh do meanwhile.
   */
  drain?: Drain;
  /** Called between the steps, on the caller's thread. An error that it throws ends the reconciling. */
  onProgress?: (progress: ReconcileProgress) => void;
}

/** How far `Ipvs.reconcile` has got. */
export interface ReconcileProgress {
  /** 'planned' before the first change, 'applied' after the changes, 'draining' after each look, 'done' at the end. */
  phase: 'planned' | 'applied' | 'draining' | 'done';
  /** How many operations the plan has. */
  operations: number;
  /** The number of destinations that wait for their connections to end, and of these connections, inactive ones included. */
  draining: number;
  /** Connections that the server still has. */
  connections: number;
}

/** A destination that was drained and removed. */
export interface Drained {
  /** The service. */
  key: ServiceKey;
  /** The real server that was drained. */
  destinationKey: DestinationKey;
  /** Its connections when it was removed, inactive ones included: those that its policy does not wait for, or any if the time was over. */
  connections: number;
  /**
   * Entries of connection tracking that were ended with it; left out where none were to be. They are ended for masqueraded destinations with
   * `settings.conntrack`, as the policy says.
   */
  ended?: number;
}

/** What `Ipvs.reconcile` has done. */
export interface ReconcileResult {
  /** The operations that were carried out, in their order, including those of draining. Empty: the table was as desired. */
  operations: IpvsOperation[];
  /** The real servers that were drained. */
  drained: Drained[];
}

/** The methods of a handle that reconciling uses, in their synchronous or their promise form. */
export interface Forms {
  plan(desired: readonly VirtualServer[], options: PlanOptions): IpvsOperation[] | Promise<IpvsOperation[]>;
  apply(operations: readonly IpvsOperation[], options: BatchOptions): BatchResult | Promise<BatchResult>;
  destinations(key: ServiceKey): DestinationEntry[] | Promise<DestinationEntry[]>;
  /** Ends tracked connections. @returns how many, for each; undefined where they are not tracked, or cannot be ended */
  endTracked(served: readonly Served[]): (number | undefined)[] | Promise<(number | undefined)[]>;
}

/** A call of the handle, or a time to wait. */
type Move = ((forms: Forms) => unknown) | { waitMs: number };

/**
 * Reconciling, written once for both forms. It calls the handle's operations and is not an operation itself, so that other operations on the same
 * namespace can go on while it waits for connections to end.
 */
export type Reconciling = Generator<Move, ReconcileResult, unknown>;

/** Errors that say that another program changed the table between planning and applying: plan again. */
const MOVED: readonly string[] = ['EEXIST', 'ESRCH', 'ENOENT'];
const hasMoved = (error: unknown): boolean =>
  error instanceof BatchError && error.failures.every(({ code }) => MOVED.includes(code));
/** Few: an operation may fail for another reason with the same error, each time. */
const ATTEMPTS = 3;

/** A plan: what is done now, and what waits for connections to end. */
interface Split {
  readonly now: IpvsOperation[];
  readonly waiting: Draining[];
  readonly removed: IpvsOperation[];
}

interface Draining extends Drained {
  readonly policy: Waiting;
  /** IPVS changes the addresses of its packets. */
  masqueraded: boolean;
  /** Connections that are waited for. */
  pending: number;
  /** In milliseconds of performance.now(). */
  deadline: number;
  /** When to look at it next. */
  next: number;
}

export function* reconciling(desired: readonly VirtualServer[], options: ReconcileOptions = {}): Reconciling {
  const { planOptions, policyOf, onProgress } = checkOptions(options);
  const done: IpvsOperation[] = [];
  const progress = (phase: ReconcileProgress['phase'], operations: number, waiting: readonly Draining[]) =>
    onProgress?.({
      phase,
      operations,
      draining: waiting.length,
      connections: waiting.reduce((sum, { connections }) => sum + connections, 0),
    });

  const split = yield* retry(
    'the reconciling of the services',
    function* (): Generator<Move, Split & { planned: IpvsOperation[] }, unknown> {
      const planned = (yield forms => forms.plan(desired, planOptions)) as IpvsOperation[];
      progress('planned', planned.length, []);
      const parts =
        policyOf === undefined ? { now: planned, waiting: [], removed: [] } : yield* holdBack(planned, policyOf);
      const result = (yield forms => forms.apply(parts.now, { onError: 'collect' })) as BatchResult;
      for (const index of result.applied) done.push(...parts.now.slice(index, index + 1));
      if (result.failures.length > 0) throw new BatchError(result);
      return { ...parts, planned };
    },
    { attempts: ATTEMPTS, again: hasMoved, exhausted: error => error },
  );
  const { planned } = split;
  let { waiting, removed } = split;
  progress('applied', planned.length, waiting);

  const drained: Drained[] = [];
  const start = performance.now();
  for (const each of waiting) {
    each.deadline = start + each.policy.timeoutMs;
    each.next = start;
  }
  while (waiting.length > 0) {
    const now = performance.now();
    const due = waiting.filter(({ next }) => next <= now);
    const looked = yield* look(due);
    const ended = looked.filter(({ pending, deadline }) => pending === 0 || now >= deadline);
    for (const each of looked) each.next = Math.min(now + each.policy.pollMs, Math.max(each.deadline, now + 1));
    waiting = waiting.filter(each => !due.includes(each) || (looked.includes(each) && !ended.includes(each)));
    const removals: IpvsOperation[] = ended.map(({ key, destinationKey }) => ({
      op: 'removeDestination',
      key,
      destinationKey,
    }));
    // A service goes with the last of its own destinations; it does not wait for those of other services.
    const held = new Set(waiting.map(({ key }) => JSON.stringify(key)));
    const over = removed.filter(operation => !held.has(JSON.stringify((operation as { key: ServiceKey }).key)));
    removed = removed.filter(operation => !over.includes(operation));
    yield* remove([...removals, ...over], done);
    const tracked = ended.filter(each => each.masqueraded && each.connections > 0 && each.policy.ends(each.key));
    const counts = tracked.length === 0 ? [] : ((yield forms => forms.endTracked(tracked)) as (number | undefined)[]);
    for (const each of ended) {
      const { key, destinationKey, connections } = each;
      const count = counts[tracked.indexOf(each)];
      drained.push({ key, destinationKey, connections, ...(count !== undefined && { ended: count }) });
    }
    // A timer may come a moment early: then nothing was looked at.
    if (due.length > 0) progress('draining', planned.length, waiting);
    const next = Math.min(...waiting.map(each => each.next));
    if (waiting.length > 0) yield { waitMs: Math.max(0, next - performance.now()) };
  }
  yield* remove(removed, done);
  progress('done', planned.length, []);
  return { operations: done, drained };
}

/** Takes removals that have to wait out of a plan, and sets the weight of these destinations to 0 instead. */
function* holdBack(
  planned: readonly IpvsOperation[],
  policyOf: (service: ServiceKey) => Waiting | undefined,
): Generator<Move, Split, unknown> {
  const now: IpvsOperation[] = [];
  const waiting: Draining[] = [];
  const removed: IpvsOperation[] = [];
  const policies = new Map<string, Waiting | undefined>();
  const policyFor = (key: ServiceKey) => {
    const id = JSON.stringify(key);
    if (!policies.has(id)) policies.set(id, policyOf(key));
    return policies.get(id);
  };
  const hold = (key: ServiceKey, destinationKey: DestinationKey, policy: Waiting) => {
    now.push({ op: 'editDestination', key, destinationKey, patch: { weight: 0 } });
    waiting.push({ key, destinationKey, connections: 0, policy, masqueraded: false, pending: 0, deadline: 0, next: 0 });
  };
  for (const operation of planned) {
    const policy =
      operation.op === 'removeDestination' || operation.op === 'removeService' ? policyFor(operation.key) : undefined;
    if (policy === undefined) now.push(operation);
    else if (operation.op === 'removeDestination') hold(operation.key, operation.destinationKey, policy);
    else if (operation.op === 'removeService') {
      const { key } = operation;
      for (const { address, port } of yield* destinationsOf(key)) hold(key, { address, port }, policy);
      removed.push(operation);
    }
  }
  return { now, waiting, removed };
}

/** Counts the connections of draining destinations. Leaves out those that are gone, or that another program has given a weight again. */
function* look(waiting: readonly Draining[]): Generator<Move, Draining[], unknown> {
  const services = new Map<string, { key: ServiceKey; of: Draining[] }>();
  for (const each of waiting) {
    const id = JSON.stringify(each.key);
    const service = services.get(id) ?? { key: each.key, of: [] };
    service.of.push(each);
    services.set(id, service);
  }
  const looked: Draining[] = [];
  for (const { key, of } of services.values()) {
    const entries = yield* destinationsOf(key);
    for (const each of of) {
      const { address, port } = each.destinationKey;
      const entry = entries.find(server => server.address === address && server.port === port);
      if (entry === undefined || entry.weight !== 0) continue;
      const { activeConnections, inactiveConnections } = entry;
      const connections = activeConnections + inactiveConnections;
      const pending = each.policy.until === 'all' ? connections : activeConnections;
      looked.push(Object.assign(each, { connections, pending, masqueraded: entry.forward === 'masquerade' }));
    }
  }
  return looked;
}

function* destinationsOf(key: ServiceKey): Generator<Move, DestinationEntry[], unknown> {
  try {
    return (yield forms => forms.destinations(key)) as DestinationEntry[];
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** Removes objects, some of which may be gone already. */
function* remove(removals: readonly IpvsOperation[], done: IpvsOperation[]): Generator<Move, void, unknown> {
  if (removals.length === 0) return;
  const result = (yield forms => forms.apply(removals, { onError: 'collect' })) as BatchResult;
  done.push(...result.applied.map(index => removals[index]!));
  if (!result.failures.every(isNotFound)) throw new BatchError(result);
}

function checkOptions(options: ReconcileOptions) {
  checkObject(options, ['options'], ['prune', 'drain', 'onProgress', 'signal']);
  const { prune, onProgress } = options;
  const signal = checkSignal(options.signal, ['options', 'signal']);
  const planOptions: PlanOptions = { ...(prune !== undefined && { prune }), ...(signal !== undefined && { signal }) };
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw typeError(['options', 'onProgress'], 'a function', onProgress);
  }
  const { drain } = options;
  const policyOf = drain === undefined ? undefined : readDrain(drain, ['options', 'drain']);
  return { planOptions, policyOf, onProgress };
}

/** The synchronous form. The whole thread waits, so only `onProgress` can abort the signal. */
export function reconcileNow(moves: Reconciling, forms: Forms, signal?: AbortSignal): ReconcileResult {
  let state = moves.next();
  while (!state.done) {
    const move = state.value;
    let result: unknown;
    try {
      throwIfAborted(signal);
      result =
        typeof move === 'function'
          ? move(forms)
          : Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, move.waitMs);
    } catch (error) {
      state = moves.throw(error);
      continue;
    }
    state = moves.next(result);
  }
  return state.value;
}

/** The promise form. A signal acts between any two steps; destinations that are draining then stay at weight 0. */
export async function reconcileAway(
  moves: Reconciling,
  forms: Forms,
  signals: readonly (AbortSignal | undefined)[],
): Promise<ReconcileResult> {
  let state = moves.next();
  while (!state.done) {
    const move = state.value;
    let result: unknown;
    try {
      for (const signal of signals) throwIfAborted(signal);
      result = typeof move === 'function' ? await move(forms) : await wait(move.waitMs, signals);
    } catch (error) {
      state = moves.throw(error);
      continue;
    }
    state = moves.next(result);
  }
  return state.value;
}

function wait(milliseconds: number, signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const unlisten = () => {
      for (const stop of listening) stop();
    };
    const timer = setTimeout(() => {
      unlisten();
      resolve();
    }, milliseconds);
    const listening = signals.map(signal =>
      onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal && reasonOf(signal));
      }),
    );
  });
}
