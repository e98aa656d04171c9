import fs from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';

const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;
/** The first run compiles, and other programs take caches away: noise only adds to a turn. A pause of the code itself is there in each attempt. */
const MOST_ATTEMPTS = 6;

interface Span {
  readonly start: number;
  readonly end: number;
}

interface Turn extends Span {
  milliseconds: number;
}

/**
 * Measures how much processor time this thread takes between two turns of the event loop, as the scheduler counts it: how long it would be held up
 * on a machine that does nothing else, however busy this one is. The loop turns without end meanwhile.
 */
export class TurnMeter {
  /** How often the loop has turned. */
  count = 0;
  /** In milliseconds. */
  longest = 0;
  /** Those above a millisecond, by the clock: the loop turns a million times. */
  readonly turns: Turn[] = [];
  readonly #file = fs.openSync(SCHEDSTAT, 'r');
  readonly #bytes = Buffer.alloc(64);
  #last = this.#used();
  #start = performance.now();
  #isWatching = true;

  constructor() {
    setImmediate(() => this.#turn());
  }

  #used(): number {
    const length = fs.readSync(this.#file, this.#bytes, 0, this.#bytes.length, 0);
    return Number(this.#bytes.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  }

  #turn(): void {
    const now = this.#used();
    const end = performance.now();
    const milliseconds = now - this.#last;
    this.count++;
    this.longest = Math.max(this.longest, milliseconds);
    if (milliseconds > 1) this.turns.push({ start: this.#start, end, milliseconds });
    this.#last = now;
    this.#start = end;
    if (this.#isWatching) setImmediate(() => this.#turn());
    else fs.closeSync(this.#file);
  }

  /** What has happened until now does not count. */
  reset(): void {
    this.#last = this.#used();
    this.#start = performance.now();
    this.count = 0;
    this.longest = 0;
    this.turns.length = 0;
  }

  /** Ends with the turn that is under way. */
  async stop(): Promise<void> {
    this.#isWatching = false;
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** The longest turn of a piece of work in milliseconds of processor time: the least of several attempts, of which one below `bound` is the last. */
export async function longestTurn(work: () => Promise<unknown>, bound: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < MOST_ATTEMPTS && least >= bound; attempt++) {
    const meter = new TurnMeter();
    try {
      await work();
    } finally {
      await meter.stop();
    }
    least = Math.min(least, meter.longest);
  }
  return least;
}

/** Of one piece of work, the most processor time that this thread took between two turns of the event loop, in milliseconds. */
export interface LongestTurns {
  /** With the garbage collector's time. */
  whole: number;
  /** Without it: the collector chooses its moments itself. */
  code: number;
}

/** One attempt, with and without the collector. Code that rests after 3 ms of the clock has run no longer than that on a busy machine either. */
export async function longestTurns(work: () => Promise<unknown>): Promise<LongestTurns> {
  const collections: Span[] = [];
  const take = (entries: readonly { startTime: number; duration: number }[]): void => {
    for (const { startTime, duration } of entries) collections.push({ start: startTime, end: startTime + duration });
  };
  const observer = new PerformanceObserver(list => take(list.getEntries()));
  observer.observe({ entryTypes: ['gc'] });
  const meter = new TurnMeter();
  try {
    await work();
  } finally {
    await meter.stop();
    // The observer is told in a later turn.
    await new Promise(resolve => setImmediate(resolve));
    take(observer.takeRecords());
    observer.disconnect();
  }
  const ofCode = meter.turns.map(({ start, end, milliseconds }) =>
    collections.reduce(
      (left, each) => left - Math.max(0, Math.min(end, each.end) - Math.max(start, each.start)),
      milliseconds,
    ),
  );
  return { whole: meter.longest, code: Math.max(0, ...ofCode) };
}
