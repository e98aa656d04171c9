import { StateError } from '../errors.ts';
import { throwIfAborted } from '../signal.ts';
import { ofThread } from '../thread.ts';
import { type Operation, runAway, runNow } from './operation.ts';

/**
 * The operations on one subsystem of one namespace, in their order. All handles of this thread share it: in the kernel they meet at the same
 * mutex, and a small commit would hold the main thread up behind a large one of another handle.
 */
export class OperationQueue {
  #last: Promise<unknown> | undefined;
  #waiting = 0;

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

/** The queues in use on this thread, counted by the handles that hold them. */
const queues = ofThread('netlink.queues', new Map<string, { queue: OperationQueue; handles: number }>());

export function acquireQueue(netnsInode: number, subsystem: string): OperationQueue {
  const key = `${subsystem}@${netnsInode}`;
  const entry = queues.get(key) ?? { queue: new OperationQueue(), handles: 0 };
  entry.handles++;
  queues.set(key, entry);
  return entry.queue;
}

export function releaseQueue(netnsInode: number, subsystem: string): void {
  const key = `${subsystem}@${netnsInode}`;
  const entry = queues.get(key);
  if (entry !== undefined && --entry.handles === 0) queues.delete(key);
}
