import { readFileSync } from 'node:fs';

/**
 * How long the event loop was held: asked once in each of its turns. On a machine that does other things too, part of a pause is time in which
 * this thread had no processor; the kernel tells how long it ran.
 */
export class LoopProbe {
  #wall = 0;
  #own = 0;
  #time = performance.now();
  #ran = ranMilliseconds();
  #next: NodeJS.Immediate;

  constructor() {
    const turn = () => {
      const time = performance.now();
      const ran = ranMilliseconds();
      this.#wall = Math.max(this.#wall, time - this.#time);
      this.#own = Math.max(this.#own, ran - this.#ran);
      this.#time = performance.now();
      this.#ran = ranMilliseconds();
      this.#next = setImmediate(turn);
    };
    this.#next = setImmediate(turn);
  }

  /** The longest pauses in milliseconds, of the clock and of this thread's own running. */
  stop(): { wall: number; own: number } {
    clearImmediate(this.#next);
    // What is under way counts, too.
    return {
      wall: Math.max(this.#wall, performance.now() - this.#time),
      own: Math.max(this.#own, ranMilliseconds() - this.#ran),
    };
  }
}

/** The first number of schedstat: nanoseconds on a processor. */
const ranMilliseconds = (): number =>
  Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ', 1)[0]) / 1e6;
