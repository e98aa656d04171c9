import vm from 'node:vm';

/** What callers hand in for a signal by mistake. */
export const NO_SIGNALS: readonly unknown[] = [
  5,
  'abort',
  true,
  null,
  {},
  [],
  () => {},
  { aborted: false },
  { aborted: 'no', addEventListener() {}, removeEventListener() {} },
  new AbortController(),
  new EventTarget(),
];

interface ForeignController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}

/** A controller of another realm, with what signals had at first: `aborted`, `reason` and listeners, but no throwIfAborted(). */
export function foreignController(): ForeignController {
  return vm.runInNewContext(`
    class Signal {
      aborted = false;
      reason = undefined;
      listeners = new Set();
      addEventListener(type, listener) {
        if (type === 'abort') this.listeners.add(listener);
      }
      removeEventListener(type, listener) {
        this.listeners.delete(listener);
      }
    }
    class Controller {
      signal = new Signal();
      abort(reason) {
        const { signal } = this;
        signal.aborted = true;
        signal.reason = reason;
        for (const listener of [...signal.listeners]) listener.call(signal);
      }
    }
    new Controller();
  `) as ForeignController;
}

/** How many listeners wait on a signal of such a controller. */
export const listenersOf = (signal: AbortSignal): number =>
  (signal as unknown as { listeners: Set<unknown> }).listeners.size;
