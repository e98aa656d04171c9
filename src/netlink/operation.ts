import { throwIfAborted } from '../signal.ts';

/**
 * One point of an operation at which the calling thread may be held up: bytes that keep the kernel busy, a part of a large dump, or only
 * a breath between two parts. `now` does it on this thread, `away` elsewhere or later.
 */
export interface Step {
  now(): number;
  away(): Promise<number>;
  /** Nothing has been sent that cannot be taken back: an AbortSignal acts here. */
  readonly abortable: boolean;
}

/**
 * What a handle can do, written once: a generator that yields where it may take long, and runs straight through where it does not. The
 * synchronous form takes each step on the spot, the promise form takes it off the main thread.
 */
export type Operation<T> = Generator<Step, T, number>;

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

/** Where nothing else is said. */
const TURN_MILLISECONDS = 5;
/** Small steps take some ten microseconds, and asking for the time does too where that is a system call (gVisor, User-mode Linux). */
const STEPS_UNWATCHED = 4;

/** Lets the event loop run when its operations have had their turn; the synchronous form goes straight on. */
export class Turn implements Step {
  readonly abortable: boolean;
  /** How long one operation may keep the event loop between two breaths. */
  milliseconds: number;
  #since = 0;
  #steps = 0;

  /** Between two sends of what belongs together nothing can be aborted any more. */
  constructor(abortable = true, milliseconds = TURN_MILLISECONDS) {
    this.abortable = abortable;
    this.milliseconds = milliseconds;
  }

  now(): number {
    return 0;
  }

  away(): Promise<number> {
    if (++this.#steps % STEPS_UNWATCHED !== 0) return GO_ON;
    if (performance.now() - this.#since < this.milliseconds) return GO_ON;
    return new Promise(resolve => {
      setImmediate(() => {
        this.#since = performance.now();
        resolve(0);
      });
    });
  }
}

const GO_ON = Promise.resolve(0);
