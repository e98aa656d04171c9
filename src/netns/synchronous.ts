import { types } from 'node:util';
import { typeError } from '../errors.ts';

const CODE = 'ERR_ASYNC_IN_NETNS';

/** Iterators whose functions run when they are asked for the next value. */
const LAZY = ['Generator', 'AsyncGenerator', 'Iterator Helper', 'Async-from-Sync Iterator'];

/** Refuses a function of which a part would run later, before it is called. */
export function checkSynchronous(inside: unknown): void {
  if (typeof inside !== 'function') throw typeError([], 'a function', inside);
  // A bound function and a proxy have the prototype of what they stand for, and so its tag.
  const tag = tagOf(inside);
  const isAsync = types.isAsyncFunction(inside) || tag === 'AsyncFunction' || tag === 'AsyncGeneratorFunction';
  const isGenerator = types.isGeneratorFunction(inside) || tag === 'GeneratorFunction';
  if (isAsync) throw typeError([], 'a synchronous function, not an async one (it has not been called)', inside, CODE);
  if (isGenerator)
    throw typeError([], 'a synchronous function, not a generator (it has not been called)', inside, CODE);
}

/** Refuses what a function has returned where a part of its work is still to come. */
export function refuseLate(result: unknown): void {
  if ((typeof result !== 'object' || result === null) && typeof result !== 'function') return;
  const late =
    'a synchronous function (it was called: what ran before it returned ran inside, what is left will run at home)';
  if (typeof (result as unknown as PromiseLike<unknown>).then === 'function') {
    // Avoids an unhandled rejection of the promise itself.
    (result as unknown as PromiseLike<unknown>).then(undefined, () => {});
    throw typeError([], late, result, CODE);
  }
  if (LAZY.includes(tagOf(result) as string)) throw typeError([], late, result, CODE);
}

const tagOf = (value: object): unknown => (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag];
