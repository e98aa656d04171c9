import { type Path, typeError } from './errors.ts';

/*
 * AbortSignals, taken by what they can do and not by their class: a signal of another realm (a vm context, jsdom) or of a polyfill is none of
 * this realm's AbortSignal.
 */

/**
 * Returns the signal that a caller gave, or undefined where none was given.
 * @throws TypeError the value is no signal: it would never end anything, and nobody would know.
 */
export function checkSignal(value: unknown, path: Path): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (!isSignal(value)) throw typeError(path, 'an AbortSignal', value);
  return value;
}

function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === 'boolean' && typeof addEventListener === 'function' && typeof removeEventListener === 'function'
  );
}

/** Throws the signal's reason once it is aborted. The signal's own throwIfAborted may be missing. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/** The error of an aborted signal: its reason, or an AbortError if it has none. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason === undefined
    ? new DOMException('This operation was aborted', 'AbortError')
    : (signal.reason as unknown);
}

/** Calls `listener` once when the signal is aborted, at once where it is already. Returns what stops listening. */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => {};
  if (signal.aborted) {
    listener();
    return () => {};
  }
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}
