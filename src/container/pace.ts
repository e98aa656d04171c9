/** Divides long work into turns of the event loop: everyone who works on it rests together. */
export class Pace {
  readonly #maxMs: number;
  readonly #onBreath: () => void;
  #since = performance.now();
  #resting: Promise<void> | undefined;

  /** `onBreath` is called before each rest. */
  constructor(maxMs: number, onBreath: () => void = () => {}) {
    this.#maxMs = maxMs;
    this.#onBreath = onBreath;
  }

  /** The turn has been long enough. */
  get due(): boolean {
    return this.#resting !== undefined || performance.now() - this.#since >= this.#maxMs;
  }

  /** Lets the event loop run. */
  breath(): Promise<void> {
    this.#resting ??= this.#rest();
    return this.#resting;
  }

  async #rest(): Promise<void> {
    this.#onBreath();
    await new Promise(resolve => setImmediate(resolve));
    this.#resting = undefined;
    this.#since = performance.now();
  }
}
