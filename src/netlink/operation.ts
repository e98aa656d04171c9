import { throwIfAborted } from '../signal.ts';

/**
 * One point of an operation at which the calling thread may be held up: bytes that keep the kernel busy, a part of a large dump, or only
 * a rest of the event loop between two parts. `now` does it on this thread, `away` elsewhere or later.
 */
export interface Step {
  /** Does it on this thread. */
  now(): number;
  /** Does it elsewhere, or later. */
  away(): Promise<number>;
  /** Nothing has been sent that cannot be taken back: an AbortSignal acts here. */
  readonly abortable: boolean;
}

/**
 * An operation of a handle, written once: a generator that yields where it may take long. The
 * synchronous form takes each step on the spot, the promise form takes it off the main thread.
 */
export type Operation<T> = Generator<Step, T, number>;

/** An operation that was over before it was returned, and has no result: a short one need not make a generator. */
export const OVER: Operation<undefined> = /* @__PURE__ */ over();

function* over(): Operation<undefined> {
  yield* [];
  return undefined;
}

/** On this thread nothing else runs meanwhile; a signal that is aborted all the same (by a callback of the operation) acts as below. */
export function runNow<T>(operation: Operation<T>, signal?: AbortSignal): T {
  let state = operation.next();
  while (!state.done) {
    let result: number;
    try {
      if (state.value.abortable) throwIfAborted(signal);
      result = state.value.now();
    } catch (error) {
      state = operation.throw(error);
      continue;
    }
    state = operation.next(result);
  }
  return state.value;
}

/** Goes on from the first step that may take long. */
export async function runAway<T>(
  operation: Operation<T>,
  from: IteratorResult<Step, T>,
  signal?: AbortSignal,
): Promise<T> {
  let state = from;
  while (!state.done) {
    let result: number;
    try {
      if (state.value.abortable) throwIfAborted(signal);
      result = await state.value.away();
      if (state.value.abortable) throwIfAborted(signal);
    } catch (error) {
      state = operation.throw(error);
      continue;
    }
    state = operation.next(result);
  }
  return state.value;
}
