import { type Path, typeError } from './errors.ts';

/*
 * An AbortSignal is recognised by its interface, not by its class: a signal of another realm (a vm context, jsdom) or of a polyfill has
 * another class.
 */

/**
 * Returns the signal that a caller gave, or undefined.
 * @throws TypeError the value is no signal: otherwise the call could silently not be aborted
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

/** Throws the signal's reason if it is aborted. The method throwIfAborted may be missing. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/** The error for an aborted signal: its reason, or an AbortError if it has none. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : signal.reason;
}

/** Calls `listener` once when the signal is aborted, or now if it is already. Returns a function that stops listening. */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => {};
  if (signal.aborted) {
    listener();
    return () => {};
  }
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}
