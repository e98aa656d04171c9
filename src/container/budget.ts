/** What may be read of one place in all: whoever has written it may be a user of the host, who would like to keep it busy. */
export interface Limits {
  bytes: number;
  /** Names in folders. */
  names: number;
  /** Of this process's time, as what is done is reckoned: a clock would blame a busy machine on the user. */
  microseconds: number;
}

/** A user's. */
export const OF_USER: Limits = { bytes: 8 << 20, names: 4000, microseconds: 50_000 };
/** Root's own runtimes are believed; a file that has grown without end is still not read without one. */
export const OF_MACHINE: Limits = { bytes: 1 << 30, names: 1_000_000, microseconds: Number.POSITIVE_INFINITY };

/** What each costs on a machine that is busy; an idle one needs half of it. */
const FILE_MICROSECONDS = 250;
const PARSE_MICROSECONDS = 3;
const READ_BYTE_MICROSECONDS = 0.001;
const PARSED_BYTE_MICROSECONDS = 0.03;
const SCANNED_BYTE_MICROSECONDS = 0.004;
const SEARCHED_BYTE_MICROSECONDS = 0.0005;

/** There is more in a place than is read of it. */
export class Exhausted extends Error {}

/** Counts what is read of one place, and ends it. */
export class Budget {
  readonly #whose: string;
  #bytes: number;
  #names: number;
  #microseconds: number;

  constructor(whose: string, limits: Limits) {
    this.#whose = whose;
    this.#bytes = limits.bytes;
    this.#names = limits.names;
    this.#microseconds = limits.microseconds;
  }

  /** How much may still be read. */
  get bytes(): number {
    return this.#bytes;
  }

  file(): void {
    this.#spend(FILE_MICROSECONDS);
  }

  read(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#bytes < 0) throw new Exhausted(`${this.#whose} are larger than is read of them`);
    this.#spend(bytes * READ_BYTE_MICROSECONDS);
  }

  parse(bytes: number): void {
    this.#spend(PARSE_MICROSECONDS + bytes * PARSED_BYTE_MICROSECONDS);
  }

  scan(bytes: number): void {
    this.#spend(bytes * SCANNED_BYTE_MICROSECONDS);
  }

  search(bytes: number): void {
    this.#spend(bytes * SEARCHED_BYTE_MICROSECONDS);
  }

  name(): void {
    this.#names--;
    if (this.#names < 0) throw new Exhausted(`${this.#whose} are more than are looked at`);
  }

  #spend(microseconds: number): void {
    this.#microseconds -= microseconds;
    if (this.#microseconds < 0) throw new Exhausted(`${this.#whose} take longer to read than they may`);
  }
}
