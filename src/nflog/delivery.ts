import { StateError } from '../errors.ts';
import type { BacklogOptions } from './config.ts';
import type { Packet } from './packet.ts';

/** Turns reading on and off. Both are harmless when it is so already. */
export interface Flow {
  start(): void;
  stop(): void;
}

type BatchHandler = (packets: readonly Packet[]) => void;
type Result = IteratorResult<Packet, undefined>;

interface Waiting {
  readonly iterator: object;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/**
 * Hands packets to whoever takes them. Without anyone nothing is read: the kernel's buffer holds the packets, and the process may end. All
 * iterators take from one backlog, so that a loop that was left goes on where it stopped when it is begun again.
 */
export class Delivery {
  readonly #limit: number;
  readonly #when: Required<BacklogOptions>['when'];
  readonly #flow: Flow;
  readonly #handlers = new Set<BatchHandler>();
  readonly #iterators = new Set<object>();
  readonly #waiting: Waiting[] = [];
  /** From `#head` on; what was taken is undefined. */
  #backlog: (Packet | undefined)[] = [];
  #head = 0;
  #ended = false;
  #failure: unknown;
  /** Packets that the policy threw away. */
  dropped = 0;

  constructor(backlog: Required<BacklogOptions>, flow: Flow) {
    this.#limit = backlog.packets;
    this.#when = backlog.when;
    this.#flow = flow;
  }

  get #length(): number {
    return this.#backlog.length - this.#head;
  }

  /** How many more packets are wanted now. */
  get room(): number {
    const { size } = this.#iterators;
    if (this.#when !== 'leave-to-kernel' || (size === 0 && this.#handlers.size > 0)) return Number.POSITIVE_INFINITY;
    return this.#limit - this.#length + this.#waiting.length;
  }

  #regulate(): void {
    const wanted = this.#iterators.size + this.#handlers.size > 0 && !this.#ended;
    // Half empty before it is filled again: not a stop and a start for each packet.
    if (!wanted || this.room <= 0) this.#flow.stop();
    else if (this.room >= this.#limit / 2) this.#flow.start();
  }

  take(packets: readonly Packet[]): void {
    for (const handler of this.#handlers) call(handler, packets);
    if (this.#ended || (this.#iterators.size === 0 && this.#handlers.size > 0)) return;
    let next = 0;
    while (next < packets.length && this.#waiting.length > 0) {
      this.#waiting.shift()!.resolve({ value: packets[next++]!, done: false });
    }
    if (next < packets.length) this.#keep(next === 0 ? packets : packets.slice(next));
    this.#regulate();
  }

  #keep(packets: readonly Packet[]): void {
    const over = this.#when === 'leave-to-kernel' ? 0 : Math.max(0, this.#length + packets.length - this.#limit);
    this.dropped += over;
    const kept = over > 0 && this.#when === 'drop-newest' ? packets.slice(0, packets.length - over) : packets;
    for (const packet of kept) this.#backlog.push(packet);
    if (over > 0 && this.#when === 'drop-oldest') for (let i = 0; i < over; i++) this.#shift();
  }

  #shift(): Packet | undefined {
    const packet = this.#backlog[this.#head];
    this.#backlog[this.#head++] = undefined;
    if (this.#head === this.#backlog.length) {
      this.#backlog = [];
      this.#head = 0;
    } else if (this.#head >= 4096 && this.#head * 2 > this.#backlog.length) {
      this.#backlog = this.#backlog.slice(this.#head);
      this.#head = 0;
    }
    return packet;
  }

  onBatch(handler: BatchHandler): () => void {
    this.#mustBeOpen();
    // A wrapper for each call: the same function given twice is two handlers.
    const own: BatchHandler = packets => handler(packets);
    this.#handlers.add(own);
    if (this.#length > 0 && this.#iterators.size === 0) setImmediate(() => this.#handOver());
    this.#regulate();
    return () => {
      this.#handlers.delete(own);
      this.#regulate();
    };
  }

  /** What came before there was anyone to take it. */
  #handOver(): void {
    if (this.#ended || this.#iterators.size > 0 || this.#handlers.size === 0 || this.#length === 0) return;
    const packets = this.#backlog.slice(this.#head) as Packet[];
    this.#backlog = [];
    this.#head = 0;
    this.take(packets);
  }

  iterate(): AsyncIterableIterator<Packet> {
    this.#mustBeOpen();
    const iterator: AsyncIterableIterator<Packet> = {
      next: () => this.#next(iterator),
      return: async () => {
        this.#release(iterator);
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    this.#iterators.add(iterator);
    this.#regulate();
    return iterator;
  }

  #mustBeOpen(): void {
    if (this.#ended) throw new StateError('ERR_CLOSED', 'the log is closed');
  }

  async #next(iterator: object): Promise<Result> {
    if (!this.#iterators.has(iterator)) return this.#end();
    if (this.#length > 0) {
      const value = this.#shift()!;
      this.#regulate();
      return { value, done: false };
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ iterator, resolve, reject });
      this.#regulate();
    });
  }

  /** The end of an iteration: an error if reception failed, told once. */
  #end(): Result {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    return { value: undefined, done: true };
  }

  #release(iterator: object): void {
    this.#iterators.delete(iterator);
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      if (this.#waiting[i]!.iterator === iterator) {
        this.#waiting.splice(i, 1)[0]!.resolve({ value: undefined, done: true });
      }
    }
    this.#regulate();
  }

  /** Ends all iterations. What is still in the backlog is given up: whoever closes a log has seen enough of it. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#backlog = [];
    this.#head = 0;
    this.#handlers.clear();
    this.#iterators.clear();
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (this.#failure === undefined) resolve({ value: undefined, done: true });
      else {
        this.#failure = undefined;
        reject(failure);
      }
    }
    this.#flow.stop();
  }
}

/** A handler that throws is the program's own failure: it must neither stop reception nor keep the packets from the others. */
export function call<T>(handler: (value: T) => void, value: T): void {
  try {
    handler(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
