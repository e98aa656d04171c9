import { AsyncLocalStorage } from 'node:async_hooks';
import { closedError } from '../../netlink/index.ts';
import { PacketBatch } from '../batch.ts';
import { closeColumns, PacketColumns } from '../columns.ts';
import type { BacklogOptions } from '../config.ts';
import type { Packet } from '../packet.ts';
import type { Loss, Receiver } from '../reader.ts';

/** Packets that wait to be taken, and the policy for too many of them. */
export class Backlog {
  readonly limit: number;
  readonly when: Required<BacklogOptions>['when'];
  /** From `#head` on; what was taken is undefined. */
  #packets: (Packet | undefined)[] = [];
  #head = 0;
  /** Packets that the policy threw away. */
  dropped = 0;

  constructor({ packets, when }: Required<BacklogOptions>) {
    this.limit = packets;
    this.when = when;
  }

  get length(): number {
    return this.#packets.length - this.#head;
  }

  /** 'leave-to-kernel' keeps all packets: the reader must not read more than there is room for. */
  push(packets: readonly Packet[]): void {
    const over = this.when === 'leave-to-kernel' ? 0 : Math.max(0, this.length + packets.length - this.limit);
    this.dropped += over;
    const end = over > 0 && this.when === 'drop-newest' ? Math.max(0, packets.length - over) : packets.length;
    for (let i = 0; i < end; i++) this.#packets.push(packets[i]);
    if (over > 0 && this.when === 'drop-oldest') for (let i = 0; i < over; i++) this.shift();
  }

  shift(): Packet | undefined {
    const packet = this.#packets[this.#head];
    this.#packets[this.#head++] = undefined;
    if (this.#head === this.#packets.length) this.clear();
    else if (this.#head >= 4096 && this.#head * 2 > this.#packets.length) {
      this.#packets = this.#packets.slice(this.#head);
      this.#head = 0;
    }
    return packet;
  }

  /** All of them. */
  take(): Packet[] {
    const packets = this.#packets.slice(this.#head) as Packet[];
    this.clear();
    return packets;
  }

  clear(): void {
    this.#packets = [];
    this.#head = 0;
  }
}

/** Starts and stops reading. Both do nothing if reading is already on or off. */
export interface Flow {
  start(): void;
  stop(): void;
}

/** Gets every packet, as all other consumers do. Its methods do not throw. */
export interface Consumer {
  /** The batch is the consumer's only until this returns. */
  take(batch: PacketBatch): void;
  /** It has no room now. If it gets packets all the same, it keeps or drops them by the log's policy. */
  readonly busy: boolean;
  /** Packets that the policy has thrown away. */
  readonly dropped: number;
}

const IDLE: Flow = { start() {}, stop() {} };

type InContext = ReturnType<typeof AsyncLocalStorage.snapshot>;
type BatchHandler = (packets: readonly Packet[]) => void;
type Result = IteratorResult<Packet, undefined>;

interface Waiting {
  readonly iterator: object;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/**
 * Delivers packets to loops and consumers. Without any, nothing is read: the kernel's buffer holds the packets, and
 * the process may end. All iterators take from one backlog, so a new loop goes on where the last one stopped.
 */
export class Delivery implements Receiver {
  readonly #backlog: Backlog;
  #flow: Flow;
  /** Called when nothing can be read any more. */
  #failed: (error: unknown) => void = () => {};
  readonly #lossHandlers = new Set<(loss: Loss) => void>();
  /** Each with a function that calls it in the asynchronous context in which it was attached. */
  readonly #consumers = new Map<Consumer, InContext>();
  readonly #iterators = new Set<object>();
  readonly #waiting: Waiting[] = [];
  /** No packets come any more; iterations go on to the end of the backlog. */
  #finished = false;
  #ended = false;
  /** The error of reception. One iteration throws it. */
  #failure: unknown;
  /** The reason of an abort. All iterations throw it, later ones too. */
  #reason: { error: unknown } | undefined;
  /** The number of packets that former consumers have dropped. */
  #dropped = 0;

  constructor(backlog: Required<BacklogOptions>, flow: Flow = IDLE) {
    this.#backlog = new Backlog(backlog);
    this.#flow = flow;
  }

  /** Packets that the policy threw away. */
  get dropped(): number {
    let sum = this.#backlog.dropped + this.#dropped;
    for (const consumer of this.#consumers.keys()) sum += consumer.dropped;
    return sum;
  }

  /** How many more packets are wanted now. */
  get room(): number {
    const { when, limit, length } = this.#backlog;
    if (when !== 'leave-to-kernel') return Number.POSITIVE_INFINITY;
    for (const consumer of this.#consumers.keys()) if (consumer.busy) return 0;
    if (this.#iterators.size === 0 && this.#consumers.size > 0) return Number.POSITIVE_INFINITY;
    return limit - length + this.#waiting.length;
  }

  #regulate(): void {
    const wanted = this.#iterators.size + this.#consumers.size > 0 && !this.#ended && !this.#finished;
    const { room } = this;
    // Start when the backlog is half empty, so that reading does not stop and start for each packet.
    if (!wanted || room <= 0) this.#flow.stop();
    else if (room >= this.#backlog.limit / 2) this.#flow.start();
  }

  take(batch: PacketBatch): void {
    for (const [consumer, inContext] of this.#consumers) inContext(() => consumer.take(batch));
    if (!this.#ended && (this.#iterators.size > 0 || this.#consumers.size === 0)) {
      const packets = batch.packets();
      let next = 0;
      while (next < packets.length && this.#waiting.length > 0) {
        this.#waiting.shift()!.resolve({ value: packets[next++]!, done: false });
      }
      if (next < packets.length) this.#backlog.push(next === 0 ? packets : packets.slice(next));
    }
    this.#regulate();
  }

  /** Reads by `flow` from now on, and calls `failed` when nothing can be read any more. */
  connect(flow: Flow, failed: (error: unknown) => void): void {
    this.#flow = flow;
    this.#failed = failed;
  }

  /** Somebody wants to be told about losses. */
  get hearsLosses(): boolean {
    return this.#lossHandlers.size > 0;
  }

  lost(losses: readonly Loss[]): void {
    for (const loss of losses) for (const handler of this.#lossHandlers) call(handler, loss);
  }

  /** Calls `handler` for each loss, in the asynchronous context of this call, until the returned function is called. */
  onLoss(handler: (loss: Loss) => void): () => void {
    const inContext = AsyncLocalStorage.snapshot();
    const own = (loss: Loss) => inContext(handler, loss);
    this.#lossHandlers.add(own);
    return () => void this.#lossHandlers.delete(own);
  }

  /** Nothing can be read any more: ends all iterations, the first with the error. */
  fail(error: unknown): void {
    this.end(error);
    this.#failed(error);
  }

  /** Gives the consumer all packets from now on. It calls `resume` when it has room again, and `detach` ends it. */
  attach(consumer: Consumer): { resume(): void; detach(): void } {
    this.#mustBeOpen();
    if (this.#finished) throw closedError('the log');
    this.#consumers.set(consumer, AsyncLocalStorage.snapshot());
    if (this.#backlog.length > 0 && this.#iterators.size === 0) setImmediate(() => this.#handOver());
    this.#regulate();
    return {
      resume: () => this.#regulate(),
      detach: () => {
        if (this.#consumers.delete(consumer)) this.#dropped += consumer.dropped;
        this.#regulate();
      },
    };
  }

  onBatch(handler: BatchHandler): () => void {
    // Its own consumer for each call: the same function given twice is two handlers.
    const take = (batch: PacketBatch) => call(handler, batch.packets());
    return this.attach({ take, busy: false, dropped: 0 }).detach;
  }

  /** The columns are the handler's only until it returns. */
  onColumns(handler: (columns: PacketColumns) => void): () => void {
    const take = (batch: PacketBatch) => {
      const columns = new PacketColumns(batch);
      call(handler, columns);
      closeColumns(columns);
    };
    return this.attach({ take, busy: false, dropped: 0 }).detach;
  }

  /** Delivers the packets that came before there was a consumer. */
  #handOver(): void {
    if (this.#ended || this.#iterators.size > 0 || this.#consumers.size === 0 || this.#backlog.length === 0) return;
    this.take(PacketBatch.of(this.#backlog.take()));
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
    if (this.#reason !== undefined) throw this.#reason.error;
    if (this.#ended) throw closedError('the log');
  }

  async #next(iterator: object): Promise<Result> {
    if (!this.#iterators.has(iterator)) return this.#end();
    if (this.#backlog.length > 0) {
      const value = this.#backlog.shift()!;
      this.#regulate();
      return { value, done: false };
    }
    if (this.#finished) return { value: undefined, done: true };
    return new Promise((resolve, reject) => {
      this.#waiting.push({ iterator, resolve, reject });
      this.#regulate();
    });
  }

  /** The end of an iteration: the error of reception, once. */
  #end(): Result {
    if (this.#reason !== undefined) throw this.#reason.error;
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

  /** No more packets come. Iterations, later ones too, end behind the last packet of the backlog. */
  finish(): void {
    if (this.#ended || this.#finished) return;
    this.#finished = true;
    this.#leave();
    // Iterations that wait have had all packets.
    for (const { resolve } of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
    this.#flow.stop();
  }

  /** Ends all iterations with an error, later ones too. */
  abort(error: unknown): void {
    if (this.#ended) return;
    this.#reason = { error };
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.end();
  }

  /** Consumers get nothing any more. */
  #leave(): void {
    this.#dropped = this.dropped - this.#backlog.dropped;
    this.#consumers.clear();
    this.#lossHandlers.clear();
  }

  /** Ends all iterations, and drops the packets of the backlog. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#backlog.clear();
    this.#leave();
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

/**
 * An error of a handler is the program's own: it is thrown later, so that reception goes on and other handlers get
 * their packets.
 */
export function call<T>(handler: (value: T) => void, value: T): void {
  try {
    handler(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
