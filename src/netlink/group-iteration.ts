import { StateError } from '../errors.ts';
import { onAbort, throwIfAborted } from '../signal.ts';
import type { GroupReader } from './group.ts';
import { closedError } from './lifetime.ts';

/** What an iteration over a group's messages is called in errors: 'the monitor', 'a monitor'. */
export type GroupIterationName = 'monitor' | 'trace';

/**
 * The life of a monitor or a trace: one iteration over the messages of multicast groups. It ends when the iteration is left, by `close()`,
 * by the signal, or with the handle that opened it.
 */
export class GroupIteration<Item> implements AsyncIterable<Item, undefined> {
  readonly #name: GroupIterationName;
  readonly #reader: GroupReader;
  readonly #items: AsyncGenerator<Item, void>;
  readonly #signal: AbortSignal | undefined;
  readonly #closed: () => void;
  #unlisten = () => {};
  #iterating = false;

  /**
   * @param items what the reader's messages become; it must end when the reader is closed
   * @param closed called on `close()`
   * @internal
   */
  constructor(
    name: GroupIterationName,
    reader: GroupReader,
    items: AsyncGenerator<Item, void>,
    signal: AbortSignal | undefined,
    closed: () => void,
  ) {
    this.#name = name;
    this.#reader = reader;
    this.#items = items;
    this.#signal = signal;
    this.#closed = closed;
    this.#unlisten = onAbort(signal, () => void this.close());
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#reader.closed;
  }

  /**
   * Ends the iteration. Resolves when the kernel has let go of the socket.
   * @example
   * const monitor = nft.monitor();
   * await monitor.close();
   */
  close(): Promise<void> {
    this.#unlisten();
    this.#closed();
    return this.#reader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * The only iteration. Leaving it closes the socket.
   * @throws StateError ERR_CLOSED (the call itself), ERR_BUSY there was an iteration already
   */
  [Symbol.asyncIterator](): AsyncGenerator<Item, undefined> {
    // An iteration that was aborted before it began throws the signal's reason.
    if (this.closed && this.#signal?.aborted !== true) throw closedError(`the ${this.#name}`);
    if (this.#iterating) throw new StateError('ERR_BUSY', `a ${this.#name} has one iteration: open another one`);
    this.#iterating = true;
    return this.#iterate();
  }

  async *#iterate(): AsyncGenerator<Item, undefined> {
    try {
      yield* this.#items;
    } catch (error) {
      // The handle was closed while the items asked it for more: that is the end, and no failure.
      if (!this.closed || (error as { code?: unknown }).code !== 'ERR_CLOSED') throw error;
    } finally {
      await this.close();
    }
    throwIfAborted(this.#signal);
    return undefined;
  }
}
