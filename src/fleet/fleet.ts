import { checkInteger, checkObject } from '../codec/index.ts';
import { Container } from '../container/container.ts';
import { type ConnectionPolicy, checkConnections } from '../container/redirects/connections.ts';
import { typeError } from '../errors.ts';
import { readDrain } from '../ipvs/drain.ts';
import type { Drain } from '../ipvs/index.ts';
import { EventLoopBudget } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import type { Logger } from '../observe.ts';
import { checkSignal } from '../signal.ts';
import { type ContainerState, type Drift, type Needs, PreparedState } from './desired-state.ts';
import { type FleetSession, SocketCache } from './session.ts';
import { FleetWatch, type FleetWatchOptions, type WatchedState } from './watch.ts';

/** The limits of a fleet, and its logger. */
export interface FleetOptions {
  /**
   * How many netlink sockets are kept open, for all containers together; default half of `ulimit -n`. Each takes some 4 kB of the kernel's
   * memory. Above the limit, the least recently used ones are closed, except those that own a table.
   */
  maxSockets?: number;
  /**
   * How long the fleet may block the event loop, in milliseconds: 1 to 1000, default 10. It rests after half of that time, because one more
   * change or the garbage collector may follow. It does not interrupt the check and encoding of one state, nor a commit that is too small
   * to leave the thread (about 1 ms, see `configureOffThread`).
   */
  maxPauseMs?: number;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
}

/** The options of a run over many containers. */
export interface FleetApplyOptions {
  /** How many containers are programmed at once when their changes are large enough to leave the main thread: 1 to 64, default 4. */
  concurrency?: number;
  /** Remove virtual services that are not in a container's `virtualServers`. Default false. */
  prune?: boolean;
  /**
   * Treat a table of our name without our comment as an empty one of ours: `apply` replaces it, `remove` removes it, and `verify` reports
   * it as a difference. Default false: such a container is in `failed`, with ERR_FOREIGN_TABLE.
   */
  force?: boolean;
  /**
   * How destinations and virtual services lose their connections before they are removed: see `Drain` of netsteer/ipvs. `concurrency`
   * limits how many containers drain at once. If the signal is aborted, the waiting ends: such a container is in `failed` with the signal's
   * reason, and its draining destinations stay at weight 0. Default: they are removed at once. `apply` only.
   */
  drain?: Drain;
  /**
   * Whether connections end when the redirect that has translated them changes or goes: see `RedirectOptions`. A state's own
   * `redirectOptions.connections` overrides it. `apply` and `remove` only.
   */
  connections?: ConnectionPolicy;
  /** Called when the fleet rests, and at the end. An error that it throws ends the run. */
  onProgress?: (progress: FleetProgress) => void;
  /** Once it is aborted, no further container is begun; those that are left are `untouched`. */
  signal?: AbortSignal;
}

/** The progress of a run. */
export interface FleetProgress {
  /** The number of containers that are finished, those that failed or are gone included. */
  done: number;
  /** How many containers there are. */
  total: number;
  /** How many have failed. */
  failed: number;
  /** How many are gone: their process has ended. */
  gone: number;
}

/** The result of a run for each container. */
export interface FleetResult {
  /** The containers that are as wanted. */
  programmed: Container[];
  /** The error of each container that failed. It does not affect the others. */
  failed: Map<Container, Error>;
  /** Containers whose process had ended, before or while they were programmed. */
  gone: Container[];
  /** Containers that were not begun because the signal was aborted. */
  untouched: Container[];
}

/** The state of every container, or a function that returns the state of each. */
export type DesiredStates = ContainerState | ((container: Container) => ContainerState);

const MAX_CONCURRENCY = 64;
const OPTIONS = ['concurrency', 'force', 'onProgress', 'signal'];

/** The part of `maxPauseMs` after which the fleet rests. The remainder is for one more change and the garbage collector. */
const SHARE_WORKED = 0.5;

type Outcome = 'programmed' | 'gone' | Error;

/**
 * Programs many containers. It keeps their sockets open, encodes a shared state once, and blocks the event loop no longer than
 * `maxPauseMs`. The caller opens and closes the containers.
 * @example
 * const fleet = Fleet.open();
 * await fleet.apply([container], { logging: [{ group: 5, prefix: 'web ' }] });
 */
export class Fleet {
  readonly #sockets: SocketCache;
  readonly #budget: EventLoopBudget;
  /** Watches that are not closed. */
  readonly #watches = new Set<FleetWatch>();

  private constructor(options: FleetOptions) {
    if (options === undefined) throw typeError([], 'Fleet.open(), not new Fleet()', options);
    checkObject(options, [], ['maxSockets', 'maxPauseMs', 'logger']);
    const { maxSockets, maxPauseMs = 10 } = options;
    if (maxSockets !== undefined) checkInteger(maxSockets, ['maxSockets'], 1, 0x7fffffff);
    const worked = checkInteger(maxPauseMs, ['maxPauseMs'], 1, 1000) * SHARE_WORKED;
    this.#budget = new EventLoopBudget({ milliseconds: worked });
    this.#sockets = new SocketCache(maxSockets, options.logger, worked);
  }

  /**
   * Makes a fleet. Sockets are opened later, when containers are programmed.
   * @param options how many sockets are kept, and how long the event loop may be held
   * @throws TypeError, RangeError with the option
   * @example
   * const fleet = Fleet.open({ maxSockets: 5000, maxPauseMs: 10 });
   */
  static open(options: FleetOptions = {}): Fleet {
    return new Fleet(options);
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#sockets.closed;
  }

  /** The number of sockets that are open now. */
  get openSockets(): number {
    return this.#sockets.open;
  }

  /**
   * Brings every container to its desired state. A second run changes nothing, except that it commits `transaction` again. The promise
   * resolves when all are done. The error of one container is in the result and does not stop the others.
   * @param containers the containers; one that is given twice is programmed once
   * @param desired one state for all, or a function that returns the state of each
   * @param options how many at once, and what ends the run
   * @throws StateError ERR_CLOSED; TypeError, RangeError with the path in a state that is shared
   * @example
   * const { failed } = await fleet.apply([container], { redirects: [{ protocol: 'udp', port: 53, toPort: 5353 }] });
   * for (const [which, error] of failed) console.error(which.netns.inode, error);
   */
  apply(
    containers: Iterable<Container>,
    desired: DesiredStates,
    options: FleetApplyOptions = {},
  ): Promise<FleetResult> {
    if (this.closed) return Promise.reject(closedError('the fleet'));
    const known = [...OPTIONS, 'prune', 'drain', 'connections'];
    const { prune = false, force = false, drain, signal, connections } = checkOptions(options, known);
    readDrain(drain, ['drain']);
    // The signal ends only the waiting of a drain: a container that was begun is otherwise programmed to its end.
    const draining = drain === undefined ? {} : { drain, ...(signal !== undefined && { signal }) };
    // If each container has its own state, the next ones are taken to need what the last one has needed.
    const shared = typeof desired === 'function' ? undefined : new PreparedState(desired);
    const stateOf = shared === undefined ? statesOf(desired) : () => shared;
    let needs = shared?.needs;
    const how = { prune, force, connections, ...draining };
    const program = (session: FleetSession, container: Container) => {
      const prepared = stateOf(container);
      needs = prepared.needs;
      return session.program(prepared, how);
    };
    return this.#each(containers, options, program, () => needs);
  }

  /**
   * Removes the changes of `apply` from every container: all redirects and log rules, also those of other processes; and, if `desired` is
   * given, the tables of its transaction and its virtual services.
   * @param containers the containers; one that is given twice is handled once
   * @param desired one state for all, or a function that returns the state of each
   * @param options how many at once, and what ends the run
   * @throws StateError ERR_CLOSED
   * @example
   * await fleet.remove([container]);
   */
  remove(
    containers: Iterable<Container>,
    desired: DesiredStates = {},
    options: Omit<FleetApplyOptions, 'prune' | 'drain'> = {},
  ): Promise<FleetResult> {
    if (this.closed) return Promise.reject(closedError('the fleet'));
    const { force = false, connections } = checkOptions(options, [...OPTIONS, 'connections']);
    const stateOf = statesOf(desired);
    return this.#each(containers, options, (session, container) =>
      session.unprogram(stateOf(container), force, connections),
    );
  }

  /**
   * Compares every container with its desired state and returns the differences. It changes nothing.
   * @param containers the containers; one that is given twice is compared once
   * @param desired one state for all, or a function that returns the state of each
   * @param options how many at once, and what ends the run
   * @throws StateError ERR_CLOSED
   * @example
   * const { drift } = await fleet.verify([container], { redirects: [] });
   * console.log(drift.size, 'differ');
   */
  async verify(
    containers: Iterable<Container>,
    desired: DesiredStates,
    options: Omit<FleetApplyOptions, 'drain' | 'connections'> = {},
  ): Promise<FleetVerification> {
    if (this.closed) throw closedError('the fleet');
    const { prune = false, force = false } = checkOptions(options, [...OPTIONS, 'prune']);
    const stateOf = statesOf(desired);
    const found = new Map<Container, Drift>();
    const { programmed, ...rest } = await this.#each(containers, options, async (session, container) => {
      const drift = await session.drift(stateOf(container), { prune, force });
      if (drift !== undefined) found.set(container, drift);
    });
    // In the order of the containers, not of their answers.
    const drift = new Map(programmed.flatMap(each => (found.has(each) ? [[each, found.get(each)!] as const] : [])));
    return { ...rest, drift, verified: programmed };
  }

  /**
   * Programs containers when their namespaces appear: names in directories (/run/netns, /run/docker/netns), and containers that docker or
   * podman start. Names that are there already come first. Close the watch or the fleet to end it. A watch does not keep the process alive.
   * @throws StateError ERR_CLOSED
   * @param desired one state for all, or a function that returns the state of each, or undefined to leave a container alone
   * @param options where containers appear, and a signal that ends the watch
   * @example
   * const watching = fleet.watch((_, { name }) => (name.startsWith('web') ? { redirects: [] } : undefined));
   * for await (const { event, name } of watching) console.log(event, name);
   */
  watch(desired: WatchedState, options: FleetWatchOptions = {}): FleetWatch {
    if (this.closed) throw closedError('the fleet');
    if (typeof desired !== 'function') new PreparedState(desired);
    const program = async (container: Container, state: ContainerState) => {
      const { failed, gone } = await this.apply([container], state);
      return gone.length > 0 ? 'gone' : failed.get(container);
    };
    let watch: FleetWatch | undefined;
    const forget = () => void (watch !== undefined && this.#watches.delete(watch));
    watch = new FleetWatch(program, desired, options, forget);
    if (!watch.closed) this.#watches.add(watch);
    return watch;
  }

  async #each(
    containers: Iterable<Container>,
    options: Omit<FleetApplyOptions, 'prune'>,
    work: (session: FleetSession, container: Container) => void | Promise<void>,
    needsNext?: () => Needs | undefined,
  ): Promise<FleetResult> {
    if (
      typeof (containers as Iterable<Container> | undefined)?.[Symbol.iterator] !== 'function' ||
      typeof containers === 'string'
    )
      throw typeError(['containers'], 'an array of Containers', containers);
    const all = [...new Set(containers)];
    for (const [i, container] of all.entries()) {
      if (!(container instanceof Container))
        throw typeError(['containers', i], 'a Container, such as Container.open({ pid })', container);
    }
    const { concurrency = 4, onProgress, signal } = options;
    const result: FleetResult = { programmed: [], failed: new Map(), gone: [], untouched: [] };
    const outcomes = new Array<Outcome | undefined>(all.length);
    const counts = { done: 0, failed: 0, gone: 0 };
    const report = () => onProgress?.({ ...counts, total: all.length });
    let next = 0;
    let ahead = 0;
    let resting: Promise<void> | undefined;
    const rest = async () => {
      report();
      await this.#budget.rest();
      resting = undefined;
    };
    const worker = async () => {
      while (next < all.length && signal?.aborted !== true) {
        const index = next++;
        if (needsNext !== undefined && index >= ahead) {
          const needs = needsNext();
          if (needs !== undefined) ahead = this.#sockets.openAhead(all, index, needs);
        }
        const outcome = this.#one(all[index]!, work);
        const settled = outcome instanceof Promise ? await outcome : outcome;
        outcomes[index] = settled;
        counts.done++;
        if (settled instanceof Error) counts.failed++;
        else if (settled === 'gone') counts.gone++;
        if (this.#budget.spent) {
          resting ??= rest();
          await resting;
        }
        const { congestion } = this.#sockets;
        if (congestion !== undefined) await congestion;
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, all.length) }, worker));
    report();
    for (const [i, container] of all.entries()) {
      const outcome = outcomes[i];
      if (outcome === 'programmed') result.programmed.push(container);
      else if (outcome === 'gone') result.gone.push(container);
      else if (outcome === undefined) result.untouched.push(container);
      else result.failed.set(container, outcome);
    }
    return result;
  }

  /** Programs one container. Returns no promise if there is nothing to wait for. */
  #one(
    container: Container,
    work: (session: FleetSession, container: Container) => void | Promise<void>,
  ): Outcome | Promise<Outcome> {
    if (container.ended) {
      void this.#sockets.drop(container);
      return 'gone';
    }
    try {
      const pending = this.#sockets.with(container, work);
      if (!(pending instanceof Promise)) return doneOf(container);
      return pending.then(
        () => doneOf(container),
        error => failureOf(container, error),
      );
    } catch (error) {
      return failureOf(container, error);
    }
  }

  /**
   * Closes the sockets and the watches. The containers stay open, and what was programmed stays. Every later call fails with `ERR_CLOSED`,
   * and so do the containers that a run has not begun yet.
   * @example
   * fleet.close();
   */
  close(): void {
    void this[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#sockets.close();
    for (const watch of this.#watches) watch.close();
    await closing;
  }
}

/** The result of `Fleet.verify`. */
export interface FleetVerification extends Omit<FleetResult, 'programmed'> {
  /** The containers that were compared. */
  verified: Container[];
  /** The differences of each container that has some. */
  drift: Map<Container, Drift>;
}

/** Returns the prepared state of each container. A state object that many containers share is prepared once. */
function statesOf(desired: DesiredStates): (container: Container) => PreparedState {
  if (typeof desired !== 'function') {
    const prepared = new PreparedState(desired);
    return () => prepared;
  }
  const known = new WeakMap<ContainerState, PreparedState>();
  return container => {
    const state = desired(container);
    const prepared = known.get(state) ?? new PreparedState(state);
    known.set(state, prepared);
    return prepared;
  };
}

// Our socket keeps the namespace of an ended container alive, so the commit may have succeeded in vain.
const doneOf = ({ ended }: Container): Outcome => (ended ? 'gone' : 'programmed');

function failureOf({ ended }: Container, error: unknown): Outcome {
  if (ended) return 'gone';
  return error instanceof Error ? error : new Error(String(error));
}

function checkOptions(options: FleetApplyOptions, known: readonly string[]): FleetApplyOptions {
  checkObject(options, [], known);
  checkSignal(options.signal, ['signal']);
  checkConnections(options.connections);
  const { force } = options;
  if (force !== undefined && typeof force !== 'boolean') throw typeError(['force'], 'true or false', force);
  if (options.concurrency !== undefined) checkInteger(options.concurrency, ['concurrency'], 1, MAX_CONCURRENCY);
  return options;
}
