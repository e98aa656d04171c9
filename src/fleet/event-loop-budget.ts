/** Of the longest pause that is allowed, this much is worked: the rest is left for one more change, and for the garbage collector. */
const SHARE_WORKED = 0.5;

/** Divides long work into turns of the event loop: everyone who works on it rests together. */
export class Pace {
  readonly #turnMs: number;
  /** When the first work in this turn of the event loop began. */
  #began: number | undefined;
  #resting: Promise<void> | undefined;

  constructor(maxPauseMs: number) {
    this.#turnMs = maxPauseMs * SHARE_WORKED;
  }

  /** This turn has been long enough, whoever has worked in it. */
  get due(): boolean {
    if (this.#resting !== undefined) return true;
    const now = performance.now();
    if (this.#began === undefined) {
      this.#began = now;
      // What begins before the event loop has run belongs to the same turn: also the next run, by whoever awaited the last one.
      setImmediate(() => {
        this.#began = undefined;
      });
    }
    return now - this.#began >= this.#turnMs;
  }

  /** Lets the event loop run. */
  breath(): Promise<void> {
    this.#resting ??= this.#rest();
    return this.#resting;
  }

  async #rest(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve));
    this.#resting = undefined;
  }
}
