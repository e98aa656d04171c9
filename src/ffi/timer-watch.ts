import { clearTimeout, setTimeout } from 'node:timers';
import { POLLIN, POLLOUT } from '../linux/poll.ts';
import type { Readiness, Watch } from './ffi.ts';

/** While something arrives, and as long as nothing does. A timer of a millisecond that finds nothing costs some 20 us. */
const SHORTEST_MILLISECONDS = 1;
const LONGEST_MILLISECONDS = 16;
/** `struct pollfd` as two integers: the descriptor; the events that are asked for and, in the upper half, those that are there. */
const INTEGERS = 2;

interface Watched {
  readonly fd: number;
  readonly events: number;
  readonly ready: () => void;
  isRef: boolean;
}

/**
 * Watches by poll(2) on a timer, for runtimes whose event loop takes no descriptor: Bun has no uv_poll, and Deno no libuv at all. One call asks
 * for all descriptors of this thread. What arrives after a silence waits for 16 ms at most.
 */
export class TimerWatches {
  /** poll(2) without waiting: how many of the `count` descriptors are ready, or the negative errno. */
  readonly #poll: (descriptors: Int32Array, count: number) => number;
  readonly #watched = new Set<Watched>();
  #descriptors = new Int32Array(0);
  #timer: NodeJS.Timeout | undefined;
  #milliseconds = SHORTEST_MILLISECONDS;

  constructor(poll: (descriptors: Int32Array, count: number) => number) {
    this.#poll = poll;
  }

  watch(fd: number, ready: () => void, readiness: Readiness = 'readable'): Watch {
    const watched: Watched = { fd, events: readiness === 'readable' ? POLLIN : POLLOUT, ready, isRef: true };
    this.#watched.add(watched);
    this.#restart(SHORTEST_MILLISECONDS);
    const change = (isRef: boolean) => () => {
      watched.isRef = isRef;
      this.#hold();
    };
    return {
      ref: change(true),
      unref: change(false),
      close: () => {
        this.#watched.delete(watched);
        if (this.#watched.size === 0) this.#stop();
        else this.#hold();
      },
    };
  }

  #look(): void {
    const watched = [...this.#watched];
    if (this.#descriptors.length < watched.length * INTEGERS)
      this.#descriptors = new Int32Array(2 * watched.length * INTEGERS);
    for (const [i, { fd, events }] of watched.entries()) {
      this.#descriptors[INTEGERS * i] = fd;
      this.#descriptors[INTEGERS * i + 1] = events;
    }
    // An error of the call itself (ENOMEM) passes, or is the descriptor's own, which its reader sees.
    const count = this.#poll(this.#descriptors, watched.length);
    this.#restart(count > 0 ? SHORTEST_MILLISECONDS : Math.min(2 * this.#milliseconds, LONGEST_MILLISECONDS));
    if (count <= 0) return;
    const ready = watched.filter((_, i) => this.#descriptors[INTEGERS * i + 1]! >>> 16 !== 0);
    for (const each of ready) {
      // The one before may have closed it.
      if (!this.#watched.has(each)) continue;
      try {
        each.ready();
      } catch (error) {
        // The others are told all the same.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #restart(milliseconds: number): void {
    this.#stop();
    this.#milliseconds = milliseconds;
    this.#timer = setTimeout(() => this.#look(), milliseconds);
    this.#hold();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The timer keeps the process alive as long as one watch does. */
  #hold(): void {
    let isRef = false;
    for (const each of this.#watched) isRef ||= each.isRef;
    if (isRef) this.#timer?.ref();
    else this.#timer?.unref();
  }
}
