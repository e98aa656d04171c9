import type { BalancerChange } from './change.ts';

/** A service and a server at one balancer. */
export interface ServerPlace {
  /** The balancer: the container's id, or the number of its namespace. */
  balancer: string;
  /** The name of the service. */
  service: string;
  /** The name of the server. */
  server: string;
}

/** What a load balancer tells. */
export type BalancerEvent = {
  /** When, in milliseconds since 1970. */
  atMs: number;
} & (
  | ({
      /** What has happened. */
      type: 'up' | 'down';
      /** Why the last check has failed. */
      reason?: string;
    } & ServerPlace)
  | ({
      type: 'draining' | 'drained';
      /** How many connections the server has. */
      connections: number;
    } & ServerPlace)
  | ({
      type: 'weight';
      /** The server's new weight. */
      weight: number;
    } & ServerPlace)
  | { type: 'quorum-lost' | 'quorum-gained' | 'panic' | 'panic-over'; balancer: string; service: string }
  | {
      type: 'applied';
      /** The changes that were made. */
      changes: BalancerChange[];
      /** How many changes failed. */
      failed: number;
    }
  | {
      type: 'error';
      /** The error. */
      error: Error;
      balancer?: string;
      service?: string;
    }
);

/** How many events wait for a reader that is slow. The oldest go. */
const MOST_WAITING = 10_000;

/** Events for several readers, each with a queue of its own. */
export class EventFeed<E> {
  readonly #readers = new Set<EventReader<E>>();
  #ended = false;

  tell(event: E): void {
    for (const reader of this.#readers) reader.push(event);
  }

  read(): AsyncIterableIterator<E> {
    const reader: EventReader<E> = new EventReader<E>(() => this.#readers.delete(reader));
    if (this.#ended) reader.end();
    else this.#readers.add(reader);
    return reader;
  }

  end(): void {
    this.#ended = true;
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
  }
}

class EventReader<E> implements AsyncIterableIterator<E> {
  readonly #queue: E[] = [];
  readonly #gone: () => void;
  #waiting: ((result: IteratorResult<E>) => void)[] = [];
  #ended = false;

  constructor(gone: () => void) {
    this.#gone = gone;
  }

  push(event: E): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next({ value: event, done: false });
      return;
    }
    if (this.#queue.length >= MOST_WAITING) this.#queue.shift();
    this.#queue.push(event);
  }

  end(): void {
    this.#ended = true;
    for (const waiting of this.#waiting) waiting({ value: undefined, done: true });
    this.#waiting = [];
  }

  next(): Promise<IteratorResult<E>> {
    const value = this.#queue.shift();
    if (value !== undefined) return Promise.resolve({ value, done: false });
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise(resolve => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<E>> {
    this.#gone();
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
