import { createHash } from 'node:crypto';

/*
 * Waiting, for all tests: for a condition, with one deadline that is so far away that only what never comes meets it. A machine that is busy, or
 * emulated, gets more. Nothing else here or in any test waits for a time (`test/unit/no-sleeps.test.ts`), but for what is named below.
 */

/** What hashing this much takes on a quiet machine of today, in milliseconds. */
const REFERENCE_BYTES = 4 * 1024 * 1024;
const REFERENCE_MILLISECONDS = 12;
/** A machine that is slower still is given no more: somebody waits for it. */
const MAX_SLOWNESS = 5;

let measured: number | undefined;

/** How many times slower than that this machine is just now, 1 to 5; measured once a process. */
export function slowness(): number {
  if (measured === undefined) {
    const began = performance.now();
    createHash('sha256').update(new Uint8Array(REFERENCE_BYTES)).digest();
    measured = Math.min(Math.max((performance.now() - began) / REFERENCE_MILLISECONDS, 1), MAX_SLOWNESS);
  }
  return measured;
}

/** A limit that costs nothing when all is well, for this machine. */
export const patience = (milliseconds: number): number => Math.ceil(milliseconds * slowness());

/** How long a condition may take to come true. */
export const PATIENCE_MILLISECONDS = patience(120_000);

/** Between two looks. */
const LOOK_MILLISECONDS = 5;

const pause = (milliseconds: number): Promise<void> => new Promise(resolve => setTimeout(resolve, milliseconds));

/** Whether it has become so before patience ends. */
export async function becomes(so: () => unknown): Promise<boolean> {
  for (const end = Date.now() + PATIENCE_MILLISECONDS; Date.now() < end; await pause(LOOK_MILLISECONDS))
    if (await so()) return true;
  return false;
}

/** Waits until it is so, and returns what `so` gave then. */
export async function until<T>(so: () => T | Promise<T>, what = 'what was waited for'): Promise<T> {
  let value: T | undefined;
  if (await becomes(async () => (value = await so()))) return value as T;
  throw new Error(`${what} never came`);
}

/** As `until`, before the event loop turns. */
export function untilNow(so: () => boolean, what = 'what was waited for'): void {
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + PATIENCE_MILLISECONDS; !so(); Atomics.wait(nothing, 0, 0, 1))
    if (Date.now() > end) throw new Error(`${what} never came`);
}

/** Calls `late` after that time, unless what is returned is called before. */
export function deadline(milliseconds: number, late: () => void): () => void {
  const timer = setTimeout(late, milliseconds);
  return () => clearTimeout(timer);
}

/** What `work` resolves to, or an error where that takes so long that it hangs. */
export async function inTime<T>(work: Promise<T>, what = 'it', milliseconds = PATIENCE_MILLISECONDS): Promise<T> {
  let cancel = () => {};
  const hangs = new Promise<never>((_, reject) => {
    cancel = deadline(milliseconds, () => reject(new Error(`${what} hangs`)));
  });
  try {
    return await Promise.race([work, hangs]);
  } finally {
    cancel();
  }
}

/** So many turns of the event loop: what could be read by now has been read. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve));
}

/** For the kernel's own timer: NFLOG hands over what it has gathered after as long as that, and nothing tells that it has. */
export const flushed = (milliseconds: number): Promise<void> => pause(milliseconds);

/** For a test that is about timers: they fire. */
export const timerFires = (milliseconds: number): Promise<void> => pause(milliseconds);

/** For a test that ends something at any moment: chance is what it is about. */
export const anyMoment = (milliseconds: number): Promise<void> => pause(milliseconds);

/** `until`, `within` and `anyMoment` for a program of its own, which is given as text. */
export const WAITING = `
  const until = async (so, what = () => '') => {
    for (const end = Date.now() + ${PATIENCE_MILLISECONDS}; ; await new Promise(resolve => setTimeout(resolve, ${LOOK_MILLISECONDS}))) {
      const value = await so();
      if (value) return value;
      if (Date.now() > end) throw new Error('it never came: ' + what());
    }
  };
  const within = (promise, why) =>
    Promise.race([promise, new Promise((_, reject) => setTimeout(reject, ${PATIENCE_MILLISECONDS}, new Error(why)).unref())]);
  const anyMoment = milliseconds => new Promise(resolve => setTimeout(resolve, Math.random() * milliseconds));
`;
