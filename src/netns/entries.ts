/** What is held while a thread is in a namespace, so that its number stays what it is. */
export interface Counted {
  take(): void;
  release(): void;
}

/** One entry that has not come back yet; they are nested. Each depth has one object, which its entries use in turn. */
export class Entry {
  /** Where the thread is while nothing within this entry has entered another; -1 while it is being moved. */
  fd = -1;
  /** Whether the thread has been moved for it: said before it is, for JavaScript may be ended behind any call. */
  moved = false;
  held: Counted | undefined;
  /** Whether it goes from one namespace to the next. */
  visitsMany = false;
  work: () => unknown = nothing;
  /** Runs what is to run. Its frame is on the stack for as long as the entry lasts. */
  readonly run = (): unknown => this.work();
}

export const nothing = () => undefined;

/**
 * Whether a function is being run just now. V8 ends JavaScript (the timeout of node:vm, `terminateExecution` of a debugger) without running any
 * `finally`: that an entry is over is told by its frame alone, which is gone from the stack.
 */
export function isRunning(run: () => unknown): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error;
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_error, sites) => sites.length;
    const trace: { stack?: unknown } = {};
    // What is above the function is left out, and everything where the function is not there.
    Error.captureStackTrace(trace, run);
    return trace.stack !== 0;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
}
