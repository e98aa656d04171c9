import { type Source, sourceOf } from '../codec/index.ts';
import { ofThread } from '../thread.ts';

/** The largest datagram seen was 261,120 bytes: the kernel rounds a batch of 128 KiB up to its slab. */
const LARGEST_DATAGRAM = 256 * 1024;
/** Room for all that is delivered at once: a file that is full for a moment must not stop the reading before. */
const SLAB = 4 * 1024 * 1024;

const NO_WORDS: Int32Array = new Int32Array(0);

/*
 * The memory that this thread reads into, for all logs: datagrams stand one behind the other, up to `used`. Bytes that a packet points to are
 * never overwritten, and a slab lives until its last packet is collected. Bytes that nobody has made a packet of are read over: a log that
 * only writes files stays in the same memory, which is in the processor's cache and costs no page faults.
 */
const slab = ofThread('nflog.slab', {
  source: undefined as Source | undefined,
  /** The same memory as 32-bit numbers of this host: headers of messages and attributes. */
  words: NO_WORDS,
  used: 0,
});

/** Whether the next datagram fits behind those that are there. */
export function hasRoom(): boolean {
  return slab.source !== undefined && SLAB - slab.used >= LARGEST_DATAGRAM;
}

/** The slab, with room for a datagram from `freeFrom` on: a new one if this one is full. */
export function slabWithRoom(): Source {
  if (slab.source === undefined || !hasRoom()) {
    slab.source = sourceOf(new Uint8Array(SLAB));
    slab.words = new Int32Array(slab.source.bytes.buffer);
    slab.used = 0;
  }
  return slab.source;
}

/** The slab as 32-bit numbers. Datagrams, and so their messages and attributes, begin at whole numbers. */
export function slabWords(): Int32Array {
  return slab.words;
}

/** Where the next datagram goes. */
export function freeFrom(): number {
  return slab.used;
}

/** A datagram that ends there is kept. Returns where the next one goes. */
export function useUntil(end: number): number {
  slab.used = (end + 7) & ~7;
  return slab.used;
}

/** Datagrams one behind the other, as a batch remembers them. `scattered` if others, or another slab, stand between them. */
export class Place {
  #source: Source | undefined;
  #start = 0;
  #end = 0;
  #scattered = false;

  /** A datagram has been read. */
  add(source: Source, start: number, end: number): void {
    if (this.#source === undefined) {
      this.#source = source;
      this.#start = start;
    } else if (source !== this.#source || start !== this.#end) this.#scattered = true;
    this.#end = end;
  }

  /** Forgets the datagrams. Their memory is read over if `free`, and if nothing has been read behind them. */
  clear(free: boolean): void {
    if (free && !this.#scattered && this.#source === slab.source && this.#end === slab.used) slab.used = this.#start;
    this.#source = undefined;
    this.#scattered = false;
  }
}
