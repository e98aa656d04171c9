import fs from 'node:fs';

/** Nanoseconds that this thread has run, as the scheduler counts them: what other processes take of the machine is not in it. */
function onCpu(): number {
  return Number(fs.readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]);
}

/**
 * Watches for how long this thread runs between two turns of its event loop, in milliseconds of processor time: the pauses that it would have on a
 * machine of its own. The loop turns without end meanwhile.
 */
export class CpuPauses {
  longest = 0;
  #last = onCpu();
  #watching = true;

  constructor() {
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    const now = onCpu();
    this.longest = Math.max(this.longest, (now - this.#last) / 1e6);
    this.#last = now;
    if (this.#watching) setImmediate(() => this.#turn());
  }

  /** What has happened until now does not count. */
  reset(): void {
    this.#last = onCpu();
    this.longest = 0;
  }

  stop(): number {
    this.#watching = false;
    return this.longest;
  }
}
