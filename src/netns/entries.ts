/** A descriptor that is kept open while a thread is in its namespace. */
export interface Counted {
  take(): void;
  release(): void;
}

/** One entry that has not come back yet; they are nested. Each depth has one object, which its entries use in turn. */
export class Entry {
  /** The namespace of the thread, unless an inner entry has moved it again; -1 during setns. */
  fd = -1;
  /** The thread has been moved for this entry. Set before setns, because JavaScript may be ended after any call. */
  moved = false;
  held: Counted | undefined;
  /** It goes from one namespace to the next (`visitEach`). */
  visitsMany = false;
  work: () => unknown = nothing;
  /** Runs the caller's function. This frame is on the stack as long as the entry lasts. */
  readonly run = (): unknown => this.work();
}

export const nothing = () => undefined;

/**
 * Whether a function is on the stack. V8 ends JavaScript (the timeout of node:vm, `terminateExecution` of a debugger) without running any
 * `finally`: that an entry is over is told by its frame alone, which is gone from the stack.
 */
export function isRunning(run: () => unknown): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error;
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_error, sites) => sites.length;
    const trace: { stack?: unknown } = {};
    // The stack from the function downwards; empty if the function is not on it.
    Error.captureStackTrace(trace, run);
    return trace.stack !== 0;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
}
