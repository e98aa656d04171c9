import { rangeError, typeError } from '../errors.ts';
import { ofThread } from '../thread.ts';

/** Limits of the work off the main thread. */
export interface OffThreadOptions {
  /**
   * Calls that this thread has under way elsewhere at once: 1 to 1024, default half of libuv's threads (UV_THREADPOOL_SIZE, 4 unless it says
   * otherwise). The rest stays free for what else needs that pool: files, names, cryptography.
   */
  threads?: number;
  /** Sends above this many bytes leave the thread in the promise form: 0 to 2^31 - 1, default 65536, which keep the kernel some 1 ms. */
  bytes?: number;
}

const LIBUV_THREADS = 4;
const MAX_THREADS = 1024;
const DEFAULT_BYTES = 64 * 1024;

/** The limits in force for this thread. */
export const offThread = ofThread('ffi.offThread', { threads: 0, bytes: DEFAULT_BYTES });

/**
 * Sets how much of what takes long leaves this thread, and from which size on. It holds for what begins from now on.
 * docs/decisions/off-thread.md has the measurements behind the defaults.
 * @param options what is left out stays as it is
 * @returns what is in force
 * @throws TypeError, RangeError a key that there is not, or a value out of its range
 * @example
 * configureOffThread({ threads: 2, bytes: 65_536 });
 */
export function configureOffThread(options: OffThreadOptions = {}): Required<OffThreadOptions> {
  for (const key of Object.keys(options)) if (!(key in offThread)) throw typeError([key], 'threads or bytes', key);
  const { threads = threadsInForce(), bytes = offThread.bytes } = options;
  offThread.threads = checked('threads', threads, 1, MAX_THREADS);
  offThread.bytes = checked('bytes', bytes, 0, 0x7fffffff);
  return { ...offThread };
}

function checked(field: string, value: number, min: number, max: number): number {
  if (typeof value !== 'number') throw typeError([field], 'a number', value);
  if (!Number.isInteger(value) || value < min || value > max)
    throw rangeError([field], `an integer from ${min} to ${max}`, value);
  return value;
}

/** As libuv reads its own size: once, when its pool is first used. */
function threadsInForce(): number {
  if (offThread.threads === 0) {
    const size = Number(process.env.UV_THREADPOOL_SIZE ?? LIBUV_THREADS);
    offThread.threads = Number.isInteger(size) && size > 1 ? Math.min(Math.floor(size / 2), MAX_THREADS) : 1;
  }
  return offThread.threads;
}

/**
 * Calls that are under way on threads of libuv's pool: as many at once as this thread may have there, the others in their order behind them.
 */
export class Pool {
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  async run(call: () => Promise<number>): Promise<number> {
    if (this.#running >= threadsInForce()) await new Promise<void>(resolve => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await call();
    } finally {
      // The place goes to the next one.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

/** Closes neighbouring descriptors, first to last, away from this thread. */
export type CloseRange = (first: number, last: number) => Promise<number>;

/**
 * Closes descriptors away from this thread, at most one call at a time: a close may wait for the kernel, and must not keep a commit waiting for
 * a thread. What is to be closed meanwhile is gathered, and numbers that follow each other, as those of sockets opened in a row do, are closed
 * by one call: the way to another thread costs more than a close.
 */
export class Closing {
  readonly #closeRange: CloseRange;
  #waiting: { fd: number; closed: (result: number) => void }[] = [];
  #running = false;

  constructor(closeRange: CloseRange) {
    this.#closeRange = closeRange;
  }

  close(fd: number): Promise<number> {
    return new Promise(closed => {
      this.#waiting.push({ fd, closed });
      if (!this.#running) void this.#run();
    });
  }

  /** Closes on the spot what has not been begun. Returns how many those were. */
  closeNow(close: (fd: number) => number): number {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { fd, closed } of waiting) closed(close(fd));
    return waiting.length;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Those of one loop go together.
    await undefined;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.sort((a, b) => a.fd - b.fd);
      this.#waiting = [];
      for (let first = 0; first < batch.length; ) {
        let last = first;
        while (batch[last + 1]?.fd === batch[last]!.fd + 1) last++;
        const result = await this.#closeRange(batch[first]!.fd, batch[last]!.fd).catch(() => EIO);
        for (; first <= last; first++) batch[first]!.closed(result);
      }
    }
    this.#running = false;
  }
}

const EIO = -5;
