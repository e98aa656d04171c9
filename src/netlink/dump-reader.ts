import { type Source, sourceOf } from '../codec/index.ts';
import type { Operation, Step } from './operation.ts';
import { LOST, NOTHING, type Transport } from './transport.ts';

/** A part that took this long will be followed by others like it. */
const SLOW_MILLISECONDS = 1;
/** One that is smaller is the last but for the dump's end, and nobody asks how long it took: time is a system call on some machines. */
const SMALL_BYTES = 4096;

/** A part that is being read ahead. Its length may be a negative errno. */
interface Ahead {
  readonly buffer: Source;
  readonly length: Promise<number>;
}

/**
 * The parts of a dump. Short dumps are read on the spot into the buffer that all share. Once parts take long, each is read away from this
 * thread (in the promise form) while the one before it is being decoded: the kernel and this thread then work side by side.
 */
export class DumpReader implements Step {
  readonly abortable = false;
  readonly #transport: Transport;
  #buffer: Source;
  #started = 0;
  #isLarge = false;
  #own: [Source, Source] | undefined;
  #ahead: Ahead | undefined;

  readonly #slowMilliseconds: number;

  /** @param ahead reads all parts but the first away, if there are several */
  constructor(transport: Transport, shared: Source, ahead = false) {
    this.#transport = transport;
    this.#buffer = shared;
    this.#slowMilliseconds = ahead ? 0 : SLOW_MILLISECONDS;
  }

  /** Where the last part is, until the next one is asked for. */
  get buffer(): Source {
    return this.#buffer;
  }

  /** The next part's length, or the negative errno. */
  *next(): Operation<number> {
    if (this.#own !== undefined) return yield this;
    if (this.#isLarge) this.#started = performance.now();
    return this.now();
  }

  /** The last part has been decoded: does this dump take long? Then other operations may run in between, which use the shared buffer. */
  decoded(length: number): void {
    const wasLarge = this.#isLarge;
    this.#isLarge = length > SMALL_BYTES;
    if (this.#own !== undefined || !wasLarge || performance.now() - this.#started <= this.#slowMilliseconds) return;
    const size = this.#buffer.bytes.length;
    this.#own = [sourceOf(new Uint8Array(size)), sourceOf(new Uint8Array(size))];
    this.#buffer = this.#own[0];
  }

  now(): number {
    return this.#transport.receive(this.#buffer.bytes);
  }

  async away(): Promise<number> {
    const part = this.#ahead ?? this.#read(this.#buffer);
    this.#ahead = undefined;
    const length = await part.length;
    this.#buffer = part.buffer;
    const [first, second] = this.#own!;
    if (length > 0) this.#ahead = this.#read(part.buffer === first ? second : first);
    return length;
  }

  #read(buffer: Source): Ahead {
    const length = this.#transport.receiveOffThread(buffer.bytes);
    // Avoids an unhandled rejection if nobody awaits it.
    length.catch(() => {});
    return { buffer, length };
  }

  /** Waits for the read that is under way: it would take the answers of the next request. */
  *end(): Operation<void> {
    const ahead = this.#ahead;
    if (ahead === undefined) return;
    yield {
      now: () => 0,
      away: () =>
        ahead.length.then(
          () => 0,
          () => 0,
        ),
      abortable: false,
    };
  }

  /** Reads a dump to its end. That may take the kernel seconds, so slow parts are read off this thread here too. */
  *drain(rest: Step): Operation<void> {
    try {
      for (;;) {
        const length = yield* this.next();
        if (length === NOTHING || (length < 0 && length !== LOST)) break;
        this.decoded(length);
        yield rest;
      }
    } catch {
      // The error that ended the dump is the one to tell.
    }
    yield* this.end();
  }
}
