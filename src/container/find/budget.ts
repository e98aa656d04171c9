import fs from 'node:fs';
import { checkInteger, checkObject } from '../../codec/index.ts';
import { within } from '../../errors.ts';

/** How much of one user's records a search may read, in all files together. If there is more, the error of the search says so. */
export interface SearchBudget {
  /** 65536 to 1073741824; default 8 MiB. */
  bytes?: number;
  /** Processor time of this thread in milliseconds, 1 to 60000; default 50. */
  milliseconds?: number;
}

/** The limits of one place. A user may have written records only to keep this process busy. */
export interface Limits {
  readonly bytes: number;
  /** Names in folders. */
  readonly names: number;
  readonly microseconds: number;
  /** The longest text that is parsed in one piece. */
  readonly parsedBytes: number;
}

/** Microseconds of processor time that this thread has used. */
export type CpuClock = () => number;

const USER: Limits = { bytes: 8 << 20, names: 4000, microseconds: 50_000, parsedBytes: 512 << 10 };
const MIN_BYTES = 64 << 10;
const MAX_BYTES = 1 << 30;
const MAX_MILLISECONDS = 60_000;
/** The limits for root's runtimes. They are trusted, but a file that grows without end must not be read for ever. */
export const OF_MACHINE: Limits = {
  bytes: 1 << 30,
  names: 1_000_000,
  microseconds: Number.POSITIVE_INFINITY,
  parsedBytes: 8 << 20,
};

/** The limits of one user. @throws TypeError, RangeError with the path of what is wrong */
export function limitsOfUser(budget: SearchBudget = {}): Limits {
  try {
    checkObject(budget, [], ['bytes', 'milliseconds']);
    const { bytes = USER.bytes, milliseconds = USER.microseconds / 1000 } = budget;
    checkInteger(bytes, ['bytes'], MIN_BYTES, MAX_BYTES);
    checkInteger(milliseconds, ['milliseconds'], 1, MAX_MILLISECONDS);
    // A larger budget is meant for larger files and for more of them.
    const scale = Math.max(1, milliseconds / (USER.microseconds / 1000));
    return {
      bytes,
      names: Math.round(USER.names * scale),
      microseconds: milliseconds * 1000,
      parsedBytes: USER.parsedBytes,
    };
  } catch (error) {
    throw within(error, ['budget']);
  }
}

/** The processor time of this thread, by the kernel: elapsed time would charge the user for a busy machine. 0 if /proc does not tell. */
export function threadCpuMicroseconds(): number {
  try {
    return Number(fs.readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ', 1)[0]) / 1000;
  } catch {
    return 0;
  }
}

/*
 * Estimated costs on a busy machine; an idle one needs half of them. By estimates a search ends at the same place on every machine. A piece
 * of work that takes longer is charged with the time that it took.
 */
const FILE_MICROSECONDS = 250;
const PARSE_MICROSECONDS = 3;
const READ_BYTE_MICROSECONDS = 0.001;
const PARSED_BYTE_MICROSECONDS = 0.03;
const SCANNED_BYTE_MICROSECONDS = 0.004;
const SEARCHED_BYTE_MICROSECONDS = 0.0005;

/** To ask the clock takes some ten microseconds: shorter pieces are not measured. */
const MEASURED_FROM_MICROSECONDS = 500;

/** A place has more records than its budget allows to read. */
export class Exhausted extends Error {}

/** Counts what is read in one place, and throws at the limit. Work is charged before it is begun, so at most the last piece goes beyond. */
export class Budget {
  readonly #whose: string;
  readonly #clock: CpuClock;
  readonly #parsedBytes: number;
  #bytes: number;
  #names: number;
  #microseconds: number;

  constructor(whose: string, limits: Limits, clock: CpuClock = threadCpuMicroseconds) {
    this.#whose = whose;
    this.#clock = clock;
    this.#parsedBytes = limits.parsedBytes;
    this.#bytes = limits.bytes;
    this.#names = limits.names;
    this.#microseconds = limits.microseconds;
  }

  file(): void {
    this.#charge(FILE_MICROSECONDS);
  }

  read(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#bytes < 0) throw new Exhausted(`${this.#whose} are larger than is read of them`);
    this.#charge(bytes * READ_BYTE_MICROSECONDS);
  }

  /** Parses a text, in one piece. */
  parse<T>(bytes: number, work: () => T): T {
    if (bytes > this.#parsedBytes) throw new Exhausted(`${this.#whose} are larger than is read of them`);
    return this.#piece(PARSE_MICROSECONDS + bytes * PARSED_BYTE_MICROSECONDS, work);
  }

  /** Looks at every byte. */
  scan<T>(bytes: number, work: () => T): T {
    return this.#piece(bytes * SCANNED_BYTE_MICROSECONDS, work);
  }

  /** Searches bytes for others. */
  search<T>(bytes: number, work: () => T): T {
    return this.#piece(bytes * SEARCHED_BYTE_MICROSECONDS, work);
  }

  name(): void {
    this.#names--;
    if (this.#names < 0) throw new Exhausted(`${this.#whose} are more than are looked at`);
  }

  #piece<T>(microseconds: number, work: () => T): T {
    this.#charge(microseconds);
    if (microseconds < MEASURED_FROM_MICROSECONDS) return work();
    const before = this.#clock();
    try {
      return work();
    } finally {
      this.#microseconds -= Math.max(0, this.#clock() - before - microseconds);
    }
  }

  #charge(microseconds: number): void {
    this.#microseconds -= microseconds;
    if (this.#microseconds < 0) throw new Exhausted(`${this.#whose} take longer to read than they may`);
  }
}
