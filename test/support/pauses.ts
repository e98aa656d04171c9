import fs from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';

const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;

/** The processor time of this thread in milliseconds, by the kernel's count. */
function threadTime(): { used: () => number; close: () => void } {
  const file = fs.openSync(SCHEDSTAT, 'r');
  const bytes = Buffer.alloc(64);
  const used = (): number => {
    const length = fs.readSync(file, bytes, 0, bytes.length, 0);
    return Number(bytes.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  };
  return { used, close: () => fs.closeSync(file) };
}

/**
 * The most processor time that this thread took between two turns of the event loop, in milliseconds: what it would have been held up on a machine
 * that does nothing else, however busy this one is.
 */
export async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  const { used, close } = threadTime();
  let longest = 0;
  let going = true;
  let last = used();
  const look = (): void => {
    const now = used();
    longest = Math.max(longest, now - last);
    last = now;
    if (going) setImmediate(look);
  };
  setImmediate(look);
  try {
    await work();
  } finally {
    going = false;
    await new Promise(resolve => setImmediate(resolve));
    close();
  }
  return longest;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Of one piece of work, the most processor time that this thread took between two turns of the event loop, in milliseconds. */
export interface LongestTurns {
  /** With the garbage collector's time. */
  whole: number;
  /** Without it: the collector chooses its moments itself. */
  code: number;
}

/** As `longestTurn`, with and without the collector. Code that rests after 3 ms of the clock has run no longer than that on a busy machine either. */
export async function longestTurns(work: () => Promise<unknown>): Promise<LongestTurns> {
  const { used, close } = threadTime();
  const collections: Span[] = [];
  const take = (entries: readonly { startTime: number; duration: number }[]): void => {
    for (const { startTime, duration } of entries) collections.push({ start: startTime, end: startTime + duration });
  };
  const observer = new PerformanceObserver(list => take(list.getEntries()));
  observer.observe({ entryTypes: ['gc'] });
  const turns: (Span & { milliseconds: number })[] = [];
  let last = used();
  let start = performance.now();
  let going = true;
  const look = (): void => {
    const now = used();
    const end = performance.now();
    // Short ones need no remembering: the loop turns a million times.
    if (now - last > 1) turns.push({ start, end, milliseconds: now - last });
    last = now;
    start = end;
    if (going) setImmediate(look);
  };
  setImmediate(look);
  try {
    await work();
  } finally {
    going = false;
    // The observer is told in a later turn.
    for (let i = 0; i < 2; i++) await new Promise(resolve => setImmediate(resolve));
    take(observer.takeRecords());
    observer.disconnect();
    close();
  }
  const ofCode = turns.map(({ start: from, end, milliseconds }) =>
    collections.reduce(
      (left, each) => left - Math.max(0, Math.min(end, each.end) - Math.max(from, each.start)),
      milliseconds,
    ),
  );
  return { whole: Math.max(0, ...turns.map(each => each.milliseconds)), code: Math.max(0, ...ofCode) };
}
