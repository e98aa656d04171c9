import { checkInteger, checkObject } from '../codec/index.ts';
import { Container } from '../container/container.ts';
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

/** What a fleet may use. */
export interface FleetOptions {
  /**
   * Netlink sockets that are kept open, of all containers together; default half of what the process may have (`ulimit -n`). Each holds some
   * 4 kB of the kernel's memory. Above it those used least recently are closed, but for those that own a table.
   */
  maxSockets?: number;
  /**
   * How long the event loop may be held between two rests, in milliseconds: 1 to 1000, default 10. Half of it is worked, the rest is left for
   * one more change and the garbage collector. One change is not divided: what a single container's state takes to check and encode, and a
   * commit that is too small to leave the thread (some 1 ms, see `configureOffThread`).
   */
  maxPauseMs?: number;
  logger?: Logger;
}

/** How a run over many containers is made. */
export interface FleetApplyOptions {
  /** How many containers are under way at once, where their changes are so large that they leave the main thread: 1 to 64, default 4. */
  concurrency?: number;
  /** Remove virtual services that are not in a container's `virtualServers`. Default false. */
  prune?: boolean;
  /**
   * A table of the name of ours that has not our remark counts as an empty one of ours: it is replaced by `apply`, removed by `remove`, and told
   * by `verify` as a difference. Default false: such a container is in `failed`, with ERR_FOREIGN_TABLE.
   */
  force?: boolean;
  /**
   * How virtual servers that go lose their connections: see `Drain` of netsteer/ipvs, which says what persistence and the schedulers sh and mh do. A
   * container counts as under way while it drains: `concurrency` says how many do at once. The signal ends the waiting, and such a container fails
   * with its reason; what was draining stays at weight 0. Default: they are removed at once. `apply` only.
   */
  drain?: Drain;
  /** Called between two turns of the event loop, and at the end. What it throws ends the run. */
  onProgress?: (progress: FleetProgress) => void;
  /** No container is begun any more once it is aborted; those that were not are `untouched`. */
  signal?: AbortSignal;
}

/** How far a run has come. */
export interface FleetProgress {
  /** Containers that are done: well, badly or gone. */
  done: number;
  total: number;
  failed: number;
  gone: number;
}

/** What became of each container. */
export interface FleetResult {
  programmed: Container[];
  /** What went wrong in one container; the others are not affected by it. */
  failed: Map<Container, Error>;
  /** Containers whose process had ended, before or while they were programmed. */
  gone: Container[];
  /** Containers that were not begun because the signal was aborted. */
  untouched: Container[];
}

/** What every container shall have, or a function that says it for each. */
export type DesiredStates = ContainerState | ((container: Container) => ContainerState);

const MAX_CONCURRENCY = 64;
const OPTIONS = ['concurrency', 'force', 'onProgress', 'signal'];

/** The rest of the longest pause that is allowed is left for one more change, and for the garbage collector. */
const SHARE_WORKED = 0.5;

type Outcome = 'programmed' | 'gone' | Error;

/**
 * Many containers, programmed at the kernel's own rate: their sockets are kept, what is the same for many is encoded once, and the event
 * loop is never held for longer than was asked. The containers stay the caller's.
 * @example
 * const fleet = Fleet.open();
 * await fleet.apply([container], { logging: [{ group: 5, prefix: 'web ' }] });
 */
export class Fleet {
  readonly #sockets: SocketCache;
  readonly #budget: EventLoopBudget;
  /** Those that have not been closed. */
  readonly #watches = new Set<FleetWatch>();

  private constructor(options: FleetOptions) {
    checkObject(options, [], ['maxSockets', 'maxPauseMs', 'logger']);
    const { maxSockets, maxPauseMs = 10 } = options;
    if (maxSockets !== undefined) checkInteger(maxSockets, ['maxSockets'], 1, 0x7fffffff);
    const worked = checkInteger(maxPauseMs, ['maxPauseMs'], 1, 1000) * SHARE_WORKED;
    this.#budget = new EventLoopBudget({ milliseconds: worked });
    this.#sockets = new SocketCache(maxSockets, options.logger, worked);
  }

  /**
   * Opens nothing yet: sockets are opened when containers are programmed.
   * @param options how many sockets are kept, and how long the event loop may be held
   * @throws TypeError, RangeError with the option
   * @example
   * const fleet = Fleet.open({ maxSockets: 5000, maxPauseMs: 10 });
   */
  static open(options: FleetOptions = {}): Fleet {
    return new Fleet(options);
  }

  get closed(): boolean {
    return this.#sockets.closed;
  }

  /** Sockets that are open now. */
  get openSockets(): number {
    return this.#sockets.open;
  }

  /**
   * Brings every container to its desired state. Doing it again changes nothing, but for `transaction`, which is committed each time.
   * Resolves when all are done; what fails in one container is in the result, and the others are not affected.
   * @param containers each of them once
   * @param desired one state for all, or a function that says it for each
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
    const { prune = false, force = false, drain, signal } = checkOptions(options, [...OPTIONS, 'prune', 'drain']);
    readDrain(drain, ['drain']);
    // Without anything to wait for a container that was begun is brought to its state.
    const draining = drain === undefined ? {} : { drain, ...(signal !== undefined && { signal }) };
    // Where every container has a state of its own, what it needs is known when its turn comes.
    const shared = typeof desired === 'function' ? undefined : new PreparedState(desired);
    const stateOf = shared === undefined ? statesOf(desired) : () => shared;
    return this.#each(
      containers,
      options,
      (session, container) => session.program(stateOf(container), { prune, force, ...draining }),
      shared?.needs,
    );
  }

  /**
   * Removes from every container what `apply` has put there: redirects and logging whoever made them, and of `desired`, where it is given,
   * the tables of its transaction and its virtual services.
   * @param containers each of them once
   * @param desired one state for all, or a function that says it for each
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
    const { force = false } = checkOptions(options, OPTIONS);
    const stateOf = statesOf(desired);
    return this.#each(containers, options, (session, container) => session.unprogram(stateOf(container), force));
  }

  /**
   * Compares every container with its desired state and changes nothing: what differs, as data, for those where something does.
   * @param containers each of them once
   * @param desired one state for all, or a function that says it for each
   * @param options how many at once, and what ends the run
   * @throws StateError ERR_CLOSED
   * @example
   * const { drift } = await fleet.verify([container], { redirects: [] });
   * console.log(drift.size, 'differ');
   */
  async verify(
    containers: Iterable<Container>,
    desired: DesiredStates,
    options: Omit<FleetApplyOptions, 'drain'> = {},
  ): Promise<FleetVerification> {
    if (this.closed) throw closedError('the fleet');
    const { prune = false, force = false } = checkOptions(options, [...OPTIONS, 'prune']);
    const stateOf = statesOf(desired);
    const found = new Map<Container, Drift>();
    const { programmed, ...rest } = await this.#each(containers, options, async (session, container) => {
      const drift = await session.drift(stateOf(container), { prune, force });
      if (drift !== undefined) found.set(container, drift);
    });
    // In the order of the containers, not in that of their answers.
    const drift = new Map(programmed.flatMap(each => (found.has(each) ? [[each, found.get(each)!] as const] : [])));
    return { ...rest, drift, verified: programmed };
  }

  /**
   * Programs containers when their namespaces appear, those that are there already first: names in directories (/run/netns,
   * /run/docker/netns), and containers that docker or podman start. Close it, or the fleet, to end it; the process may end while it goes
   * on.
   * @throws StateError ERR_CLOSED
   * @param desired one state for all, or a function that says it for each, undefined for those that are left alone
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
    needs?: Needs,
  ): Promise<FleetResult> {
    const all = [...new Set(containers)];
    for (const [i, container] of all.entries()) {
      if (!(container instanceof Container)) throw typeError([i], 'a Container', container);
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
        if (needs !== undefined && index >= ahead) ahead = this.#sockets.openAhead(all, index, needs);
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

  /** Without a promise where it is done when this returns. */
  #one(
    container: Container,
    work: (session: FleetSession, container: Container) => void | Promise<void>,
  ): Outcome | Promise<Outcome> {
    if (container.ended) {
      void this.#sockets.drop(container);
      return 'gone';
    }
    // The namespace lives as long as we hold it: what was programmed may already be in vain.
    const done = (): Outcome => (container.ended ? 'gone' : 'programmed');
    const failed = (error: unknown): Outcome => {
      if (container.ended) return 'gone';
      return error instanceof Error ? error : new Error(String(error));
    };
    try {
      const pending = this.#sockets.with(container, session => work(session, container));
      return pending instanceof Promise ? pending.then(done, failed) : done();
    } catch (error) {
      return failed(error);
    }
  }

  /**
   * Closes the sockets and ends what it watches; what was programmed stays, and the containers stay open. From now on every call is
   * `ERR_CLOSED`, and so are containers that a run under way has not begun.
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

/** What differs in each container. */
export interface FleetVerification extends Omit<FleetResult, 'programmed'> {
  /** Containers that were compared. */
  verified: Container[];
  /** What differs, for those where something does. */
  drift: Map<Container, Drift>;
}

/** Many containers share one state, and what is encoded for one of them serves all: each state is prepared once. */
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

function checkOptions(options: FleetApplyOptions, known: readonly string[]): FleetApplyOptions {
  checkObject(options, [], known);
  checkSignal(options.signal, ['signal']);
  const { force } = options;
  if (force !== undefined && typeof force !== 'boolean') throw typeError(['force'], 'true or false', force);
  if (options.concurrency !== undefined) checkInteger(options.concurrency, ['concurrency'], 1, MAX_CONCURRENCY);
  return options;
}
