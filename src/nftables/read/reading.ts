import { checkInteger } from '../../codec/index.ts';
import { StateError } from '../../errors.ts';
import { EventLoopBudget, type Exchange, type Operation } from '../../netlink/index.ts';
import { Disturbed, RETRY_ATTEMPTS, retry } from '../../netlink/retry.ts';
import { readGeneration } from '../request.ts';

/** How long a reading may take that others disturb, and how long it may hold the event loop up. */
export interface ReadingOptions {
  /** How often it is begun in all, while others commit meanwhile: 1 to 1,000,000; default 100. */
  attempts?: number;
  /** Milliseconds after which a disturbed reading is not begun again: 0 to 3,600,000; default 5,000. A reading that is not disturbed is never cut short. */
  timeoutMs?: number;
  /** Milliseconds for which the promise form works before it lets the event loop run: 1 to 1,000; default 5, or what the fleet says. */
  maxPauseMs?: number;
  /** Ends the call: before the send, and between reads. */
  signal?: AbortSignal;
}

export const READING_OPTIONS = ['attempts', 'timeoutMs', 'maxPauseMs', 'signal'] as const;

const TIMEOUT_MS = 5_000;
/** Of the kernel's own mark the exchange knows; of generations that differ, the one who reads. */
const isDisturbed = (error: unknown): boolean =>
  error instanceof Disturbed || (error instanceof StateError && error.code === 'ERR_DUMP_INTERRUPTED');

/** One reading, with its bounds. */
export class Reading {
  /** Lets the event loop run, between two parts. */
  readonly budget: EventLoopBudget;
  readonly #attempts: number;
  readonly #timeoutMs: number;

  constructor(exchange: Exchange, options: ReadingOptions = {}) {
    const { attempts = RETRY_ATTEMPTS, timeoutMs = TIMEOUT_MS, maxPauseMs } = options;
    this.#attempts = checkInteger(attempts, ['attempts'], 1, 1_000_000);
    this.#timeoutMs = checkInteger(timeoutMs, ['timeoutMs'], 0, 3_600_000);
    this.budget =
      maxPauseMs === undefined
        ? exchange.budget
        : new EventLoopBudget({ milliseconds: checkInteger(maxPauseMs, ['maxPauseMs'], 1, 1_000) });
  }

  /** Reads until it was not disturbed, or a bound is reached. */
  *undisturbed<T>(read: () => Operation<T>): Operation<T> {
    const bounds = { attempts: this.#attempts, timeoutMs: this.#timeoutMs, rest: this.budget, again: isDisturbed };
    return yield* retry('the reading of the ruleset', read, bounds);
  }

  /** Several dumps make one state only if no commit came between the first and the last. */
  *consistent<T>(exchange: Exchange, read: (generation: number) => Operation<T>): Operation<T> {
    return yield* this.undisturbed(function* () {
      const before = yield* readGeneration(exchange);
      const value = yield* read(before);
      if ((yield* readGeneration(exchange)) !== before) throw new Disturbed();
      return value;
    });
  }
}
