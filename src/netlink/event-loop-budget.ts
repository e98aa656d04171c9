import type { Step } from './operation.ts';

/** The default: with the garbage collector's own work, the event loop is held for less than 10 ms. */
const DEFAULT_MILLISECONDS = 3;
/** Steps take about ten microseconds. Reading the clock takes as long where it is a system call (gVisor, User-mode Linux). */
const STEPS_UNMEASURED = 4;

const DONE = Promise.resolve(0);

/**
 * Limits how long work may hold the event loop. It is a step of operations: their promise form lets the event loop run there once the
 * budget is spent, their synchronous form goes straight on. Other work asks `spent` and awaits `rest()`. All work that shares a budget
 * rests together.
 * @example
 * for (let i = 0; i < 1e6; i++) if (budget.spent) await budget.rest();
 */
export class EventLoopBudget implements Step {
  readonly abortable: boolean;
  /** How long the event loop may be held between two rests. */
  milliseconds: number;
  #rested = 0;
  #steps = 0;
  #resting: Promise<number> | undefined;
  #measured: Step | undefined;

  /** `abortable` is false between two sends that belong together: a signal cannot stop the second one any more. */
  constructor({ milliseconds = DEFAULT_MILLISECONDS, abortable = true } = {}) {
    this.milliseconds = milliseconds;
    this.abortable = abortable;
  }

  /** The same step behind a part of which nobody knows how long it took: it always looks at the clock. */
  get measured(): Step {
    const { abortable } = this;
    this.#measured ??= { abortable, now: () => 0, away: () => (this.spent ? this.rest() : DONE) };
    return this.#measured;
  }

  /** Whether the last rest is longer ago than the event loop may be held. */
  get spent(): boolean {
    return this.#resting !== undefined || performance.now() - this.#rested >= this.milliseconds;
  }

  /**
   * The event loop has just run.
   * @example
   * budget.restart();
   */
  restart(): void {
    this.#rested = performance.now();
  }

  /**
   * Lets the event loop run.
   * @example
   * if (budget.spent) await budget.rest();
   */
  rest(): Promise<number> {
    this.#resting ??= new Promise(resolve => {
      setImmediate(() => {
        this.#resting = undefined;
        this.restart();
        resolve(0);
      });
    });
    return this.#resting;
  }

  /**
   * In the synchronous form: goes straight on.
   * @example
   * budget.now();
   */
  now(): number {
    return 0;
  }

  /**
   * In the promise form: lets the event loop run where the budget is spent.
   * @example
   * await budget.away();
   */
  away(): Promise<number> {
    return ++this.#steps % STEPS_UNMEASURED === 0 && this.spent ? this.rest() : DONE;
  }
}
