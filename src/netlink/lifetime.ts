import { StateError } from '../errors.ts';
import { throwIfAborted } from '../signal.ts';
import { ofThread } from '../thread.ts';
import { type Operation, runAway, runNow } from './operation.ts';
import type { Transport } from './transport.ts';

/**
 * The operations on one subsystem of one namespace, in their order. All handles of this thread share it: in the kernel they meet at the same
 * mutex, and a small commit would hold the main thread up behind a large one of another handle.
 */
export class OperationQueue {
  #last: Promise<unknown> | undefined;
  #waiting = 0;

  /** Whether promise forms are under way. */
  get busy(): boolean {
    return this.#waiting > 0;
  }

  /**
   * Runs on the spot. Throws `ERR_BUSY` while promise forms are under way: a synchronous call cannot wait for them. A signal that is aborted
   * throws its reason before anything is sent.
   */
  runNow<T>(operation: () => Operation<T>, signal?: AbortSignal): T {
    throwIfAborted(signal);
    if (this.busy) {
      throw new StateError(
        'ERR_BUSY',
        'promise forms are under way on this namespace: await them, or use the promise form',
      );
    }
    return runNow(operation(), signal);
  }

  /**
   * An operation that is short and has none before it is done when this returns, without a promise. All others wait their turn, off the main
   * thread where it takes long.
   */
  runInline<T>(start: () => Operation<T>, signal?: AbortSignal): T | Promise<T> {
    throwIfAborted(signal);
    if (this.busy) return this.#enqueue(() => this.#runWhole(start, signal));
    const operation = start();
    const first = operation.next();
    return first.done ? first.value : this.#enqueue(() => runAway(operation, first, signal));
  }

  /** As `runInline`, always a promise. */
  async run<T>(start: () => Operation<T>, signal?: AbortSignal): Promise<T> {
    return this.runInline(start, signal);
  }

  #runWhole<T>(start: () => Operation<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal);
    const operation = start();
    return runAway(operation, operation.next(), signal);
  }

  async #enqueue<T>(run: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const before = this.#last;
    const mine = before === undefined ? run() : before.then(run);
    const settled = mine.then(
      () => {},
      () => {},
    );
    this.#last = settled;
    try {
      return await mine;
    } finally {
      this.#waiting--;
      if (this.#last === settled) this.#last = undefined;
    }
  }
}

interface SharedQueue {
  readonly queue: OperationQueue;
  /** How many handles hold it. */
  handles: number;
}

/** The queues in use on this thread, by subsystem and then by namespace. */
const queues = ofThread('netlink.queues', new Map<string, Map<number, SharedQueue>>());

export function acquireQueue(netnsInode: number, subsystem: string): OperationQueue {
  // Not one map by both: the inode as text would cost more than the queue.
  const ofSubsystem = queues.get(subsystem) ?? new Map<number, SharedQueue>();
  const known = ofSubsystem.get(netnsInode);
  if (known !== undefined) {
    known.handles++;
    return known.queue;
  }
  const queue = new OperationQueue();
  ofSubsystem.set(netnsInode, { queue, handles: 1 });
  queues.set(subsystem, ofSubsystem);
  return queue;
}

export function releaseQueue(netnsInode: number, subsystem: string): void {
  const ofSubsystem = queues.get(subsystem);
  const entry = ofSubsystem?.get(netnsInode);
  if (entry !== undefined && --entry.handles === 0) ofSubsystem!.delete(netnsInode);
}

/** A thing that is closed with the handle, such as a monitor, which has a socket of its own. */
interface Dependent {
  /** Closes it, and resolves when it is done. */
  close(): Promise<void>;
}

/**
 * What every verb of a closed handle says, in both forms.
 * @param what what is closed, as the message begins
 * @example
 * throw closedError('the log');
 */
export const closedError = (what = 'the handle'): StateError =>
  new StateError('ERR_CLOSED', `${what} is closed: open another one`);

/**
 * Open, closing or closed: of one transport, for all handles that share it. From `close()` on nothing begins any more, at once and on every
 * one of them. Operations that have begun still need the transport for their answers. It is closed behind the last of them, and
 * before `close()` returns where there are none, so that a loop that never lets the event loop run gives its descriptors back.
 * @example
 * const { lifetime } = exchange;
 * console.log(lifetime.closed);
 */
export class Lifetime {
  readonly #transport: Transport;
  readonly #subsystem: string;
  #dependents: Set<Dependent> | undefined;
  /** Taken by the first operation: those that only read a group need none. */
  #queue: OperationQueue | undefined;
  /** Operations that have begun and not ended, in either form. */
  #running = 0;
  #idle = () => {};
  #closing: Promise<void> | undefined;
  #closed = false;

  constructor(transport: Transport, subsystem: string) {
    this.#transport = transport;
    this.#subsystem = subsystem;
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#closed || this.#transport.closed;
  }

  /**
   * Does nothing while it is open.
   * @throws StateError ERR_CLOSED
   * @example
   * lifetime.checkOpen();
   */
  checkOpen(): void {
    if (this.closed) throw closedError(`this handle of ${this.#subsystem}`);
  }

  /** The operations on this subsystem of this namespace, of all handles. */
  get queue(): OperationQueue {
    this.#queue ??= acquireQueue(this.#transport.netnsInode, this.#subsystem);
    return this.#queue;
  }

  /**
   * An operation begins; `end` is to follow, whatever becomes of it. @throws StateError ERR_CLOSED
   * @example
   * lifetime.begin();
   * try {
   *   exchange.abandon();
   * } finally {
   *   lifetime.end();
   * }
   */
  begin(): void {
    this.checkOpen();
    this.#running++;
  }

  /**
   * An operation that has begun is over.
   * @example
   * lifetime.begin();
   * lifetime.end();
   */
  end(): void {
    if (--this.#running === 0) this.#idle();
  }

  /**
   * Closes it with the transport, unless what is returned is called before.
   * @param dependent what must be closed before the transport
   * @example
   * const detach = lifetime.attach({ close: () => reader.close() });
   * detach();
   */
  attach(dependent: Dependent): () => void {
    this.#dependents ??= new Set();
    this.#dependents.add(dependent);
    return () => this.#dependents?.delete(dependent);
  }

  /**
   * Resolves when the kernel has let go.
   * @example
   * await lifetime.close();
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      // First: closing may run the caller's code, which must find everything closed.
      this.#closed = true;
      const dependents = [...(this.#dependents ?? [])].map(each => each.close());
      this.#closing = Promise.all([this.#close(), ...dependents]).then(() => {});
    }
    return this.#closing;
  }

  #close(): Promise<void> {
    if (this.#running === 0) return this.#release();
    return new Promise(resolve => {
      this.#idle = () => resolve(this.#release());
    });
  }

  #release(): Promise<void> {
    if (this.#queue !== undefined) releaseQueue(this.#transport.netnsInode, this.#subsystem);
    return this.#transport.close();
  }
}
