import fs from 'node:fs';

const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;

/**
 * The most processor time that this thread took between two turns of the event loop, in milliseconds: what it would have been held up on a machine
 * that does nothing else, however busy this one is.
 */
export async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  const file = fs.openSync(SCHEDSTAT, 'r');
  const bytes = Buffer.alloc(64);
  const used = (): number => {
    const length = fs.readSync(file, bytes, 0, bytes.length, 0);
    return Number(bytes.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  };
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
    fs.closeSync(file);
  }
  return longest;
}
