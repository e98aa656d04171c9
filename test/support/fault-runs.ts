import fs from 'node:fs';
import {
  BatchError,
  DecodeError,
  isExists,
  NetlinkError,
  NetNsError,
  StateError,
  UnsupportedError,
} from '../../src/errors.ts';
import { traceDescriptors } from '../../src/ffi/index.ts';
import { descriptorsSince, openDescriptors } from './descriptors.ts';
import { ERRNOS, type FaultyFfi } from './faulty-ffi.ts';
import { becomes, inTime } from './wait.ts';

/** One operation whose calls are made to fail. */
export interface Trial<H> {
  /** What it works on, made with nothing failing. What it makes is taken back by `reset`. */
  reset?(): unknown;
  /** The state that the operation changes, read with nothing failing; nothing where it changes none. */
  state?(): unknown;
  open(): H | Promise<H>;
  operate(handle: H): unknown;
  close(handle: H): unknown;
  /** An error ends the handle: it is not used once more. */
  ends?: boolean;
  /** What was done in part stays done: states between the two are allowed where an error says that something failed. */
  parts?: boolean;
}

/** How much is tried. */
export interface Extent {
  /** Every errno at each call, not one. */
  all: boolean;
  /** Each call, or every third ... */
  every: number;
}

export interface TrialResult {
  /** The system calls of one run. */
  calls: string[];
  /** How many were made to fail. */
  runs: number;
  /** How many runs completed all the same, and how many ended with an error. */
  completed: number;
  refused: number;
}

/** A run that has not ended by then hangs. */

const TYPED = [NetlinkError, NetNsError, BatchError, StateError, UnsupportedError, DecodeError];

/**
 * Runs the operation once and counts its system calls; then once for each of them, which fails. Each time the operation must complete, or fail with an error of this library that says what the kernel holds; the handle must go on
 * working; this thread must be at home, and no descriptor may be left.
 */
export async function tryFaults<H>(ffi: FaultyFfi, trial: Trial<H>, { all, every }: Extent): Promise<TrialResult> {
  const home = homeInode();
  traceDescriptors();
  await trial.reset?.();
  const stateOf = () => ffi.aside(() => JSON.stringify(trial.state?.() ?? null));
  const before = stateOf();
  // The first run makes what is kept: the home descriptor, the number of a family.
  await run(trial);
  await trial.reset?.();
  ffi.arm();
  await run(trial);
  const calls = ffi.disarm();
  const after = stateOf();
  const result: TrialResult = { calls, runs: 0, completed: 0, refused: 0 };
  const names = Object.keys(ERRNOS) as (keyof typeof ERRNOS)[];
  for (let at = 1; at <= calls.length; at += every) {
    for (const errno of all ? names : [names[(at * 3 + calls.length) % names.length]!]) {
      await trial.reset?.();
      const what = `${errno} from call ${at} of ${calls.length}, ${calls[at - 1]}`;
      try {
        if (stateOf() !== before) throw new Error(`it was not as before: ${stateOf()}`);
        const open = openDescriptors();
        const error = await oneRun(ffi, trial, { at, errno: ERRNOS[errno] }, { before, after, stateOf });
        if (homeInode() !== home) throw new Error('this thread is not at home');
        await nothingLeft(open);
        result.runs++;
        if (error === undefined) result.completed++;
        else result.refused++;
      } catch (cause) {
        throw new Error(`${what}: ${cause instanceof Error ? cause.message : cause}`, { cause });
      } finally {
        ffi.disarm();
      }
    }
  }
  return result;
}

const homeInode = (): number => fs.statSync('/proc/thread-self/ns/net').ino;

async function run<H>(trial: Trial<H>): Promise<void> {
  const handle = await trial.open();
  try {
    await trial.operate(handle);
  } finally {
    await trial.close(handle);
  }
}

interface States {
  before: string;
  after: string;
  stateOf: () => string;
}

/** Returns the error that the run ended with. */
async function oneRun<H>(
  ffi: FaultyFfi,
  trial: Trial<H>,
  fault: { at: number; errno: number },
  { before, after, stateOf }: States,
): Promise<Error | undefined> {
  ffi.arm(fault);
  let handle: H;
  try {
    handle = await within(async () => trial.open());
  } catch (error) {
    if (stateOf() !== before) throw new Error(`opening failed, and left ${stateOf()}`, { cause: error });
    return typed(error);
  }
  let failure: Error | undefined;
  try {
    try {
      await within(async () => trial.operate(handle));
    } catch (error) {
      failure = typed(error);
    }
    const state = stateOf();
    if (failure === undefined && state !== after) throw new Error(`it completed, and left ${state}`);
    if (failure !== undefined && trial.parts !== true) {
      const known = isCertain(failure) ? [before] : [before, after];
      if (!known.includes(state)) throw new Error(`after ${failure.message} it was ${state}`, { cause: failure });
    }
    if (failure !== undefined && trial.ends !== true) {
      // The fault is over. What it was for must be possible now, and answers that nobody has read must not be taken for the next ones.
      try {
        await within(async () => trial.operate(handle));
      } catch (error) {
        if (!isExists(error))
          throw new Error(`after ${failure.message} it goes on failing: ${error}`, { cause: error });
      }
      if (stateOf() !== after) throw new Error(`once more, it left ${stateOf()}`);
    }
  } finally {
    await within(async () => trial.close(handle));
  }
  return failure;
}

/** Does the error say that nothing was changed? Otherwise the answer of the kernel is missing. */
function isCertain(error: Error): boolean {
  if (error instanceof BatchError) return error.outcome === 'none';
  if (error instanceof StateError) return !['ERR_NO_REPLY', 'ERR_REPLIES_LOST', 'ERR_TRUNCATED'].includes(error.code);
  return !(error instanceof NetlinkError && error.syscall === 'recvmsg');
}

function typed(error: unknown): Error {
  const known = TYPED.some(type => error instanceof type);
  if (!known || !(error instanceof Error))
    throw new Error(`an error that is none of the library's: ${error}`, { cause: error });
  return error;
}

/** Closing goes on elsewhere for a while. */
async function nothingLeft(before: readonly string[]): Promise<void> {
  if (await becomes(() => descriptorsSince(before).length === 0)) return;
  const left = descriptorsSince(before).join(', ');
  throw new Error(`descriptors are left: ${left}; opened by\n${[...traceDescriptors().values()].at(-1)}`);
}

const within = <T>(work: () => Promise<T>): Promise<T> => inTime(work());
