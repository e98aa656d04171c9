import { StateError } from '../errors.ts';
import { acquireQueue, type OperationQueue, releaseQueue } from './queue.ts';
import type { Transport } from './transport.ts';

/** A thing that is closed with the handle, such as a monitor, which has a socket of its own. */
interface Dependent {
  close(): Promise<void>;
}

/**
 * What every verb of a closed handle says, in both forms.
 * @param what what is closed, as the message begins
 * @example
 * throw closedError('the log');
 */
export const closedError = (what = 'the handle'): StateError => new StateError('ERR_CLOSED', `${what} is closed`);

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
    if (this.closed) throw closedError();
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
