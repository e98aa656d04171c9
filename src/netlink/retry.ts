import { NetlinkError, StateError } from '../errors.ts';

/** The bounds of `retry`. */
export interface RetryBounds<Y> {
  /** How often it is begun in all; default 100. Others change something in between, each time: more often, and something is wrong. */
  readonly attempts?: number;
  /** Milliseconds after which it is not begun again; by default only the attempts count. An attempt is never cut short. */
  readonly timeoutMs?: number;
  /** Yielded between two attempts. */
  readonly rest?: Y;
  /** Whether an error says that others came in between; default `isDisturbed`. */
  readonly again?: (error: unknown, attempt: number) => boolean;
  /** The error after the last attempt, if there is one that says more than ERR_DUMP_INTERRUPTED. */
  readonly exhausted?: (error: unknown) => unknown;
}

export const RETRY_ATTEMPTS = 100;

/** Thrown by an attempt that others have disturbed, for `retry`. */
export class Disturbed extends Error {}

/** Whether a commit was refused because others have committed since the generation that it was bound to. */
export const isMoved = (error: unknown): boolean => error instanceof NetlinkError && error.code === 'ERESTART';

const isDisturbed = (error: unknown): boolean => error instanceof Disturbed || isMoved(error);

/**
 * Begins work again that others have disturbed: a dump that the kernel marks, a commit whose generation has passed, an object that somebody
 * else has changed between reading and writing. All loops of this kind are here, with one bound and one error.
 * @param what is done, for the error: 'the reading of the ruleset'
 * @throws StateError ERR_DUMP_INTERRUPTED it was disturbed in each attempt. What is no disturbance is thrown at once
 */
export function* retry<T, Y, N>(
  what: string,
  work: (attempt: number) => Generator<Y, T, N>,
  bounds: RetryBounds<Y> = {},
): Generator<Y, T, N> {
  const { attempts = RETRY_ATTEMPTS, timeoutMs, rest, again = isDisturbed, exhausted } = bounds;
  const begun = performance.now();
  for (let attempt = 1; ; attempt++) {
    try {
      return yield* work(attempt);
    } catch (error) {
      if (!again(error, attempt)) throw error;
      const passed = performance.now() - begun;
      if (attempt >= attempts || (timeoutMs !== undefined && passed >= timeoutMs)) {
        const better = exhausted?.(error);
        if (better !== undefined) throw better;
        const bound = timeoutMs === undefined ? '' : `, timeoutMs: ${timeoutMs}`;
        const times = `${attempt} times in a row within ${Math.round(passed)} ms (attempts: ${attempts}${bound})`;
        throw new StateError('ERR_DUMP_INTERRUPTED', `others disturbed ${what} ${times}`);
      }
    }
    if (rest !== undefined) yield rest;
  }
}
