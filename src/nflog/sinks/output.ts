import { WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';

/** The most bytes of packets that are encoded at once. A file cannot be rotated before its Writable has written them. */
export const CHUNK = 256 * 1024;
/** Chunks that wait to be used again; more are left to the garbage collector. */
const SPARE = 4;
/** The first chunk of a file. It grows with what is written at once. */
const FIRST_CHUNK = 16 * 1024;

/** Memory that the encoded packets go into. It is not cleared: all that is written has been overwritten. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same memory as 32-bit numbers of this host. */
  readonly words: Int32Array;
}

const NO_CHUNK: Chunk = {
  bytes: new Uint8Array(0),
  view: new DataView(new ArrayBuffer(0)),
  words: new Int32Array(0),
};

function chunkOf(size: number): Chunk {
  const { buffer } = Buffer.allocUnsafeSlow((size + 3) & ~3);
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer), words: new Int32Array(buffer) };
}

/** Node's own streams of files let go of what they have written. Any other Writable may keep what it is given. */
export const isFile = (writable: Writable): boolean =>
  writable instanceof WriteStream && writable.constructor === WriteStream;

/**
 * Encoded packets on their way to a Writable, in one chunk, which is exchanged for a larger one when it is full. The chunk of a file is used
 * again when it has been written, so that the next packets go into memory that is in the processor's cache and costs no page faults.
 */
export class Output {
  /** Whether what is written goes to a file. */
  forFile = false;
  readonly #spare: Chunk[] = [];
  /** The largest chunk that was written to a file: the next ones need not grow to it. */
  #usual = FIRST_CHUNK;
  #chunk = NO_CHUNK;
  bytes = NO_CHUNK.bytes;
  view = NO_CHUNK.view;
  words = NO_CHUNK.words;
  /** So many bytes of the chunk are used. */
  length = 0;

  /** Room for so many bytes more. */
  reserve(size: number): void {
    const needed = this.length + size;
    if (needed <= this.bytes.length) return;
    const used = this.bytes.subarray(0, this.length);
    const spare = this.#spare.pop();
    const least = this.forFile ? this.#usual : 0;
    const larger =
      spare !== undefined && spare.bytes.length >= needed
        ? spare
        : chunkOf(Math.max(needed, this.bytes.length * 2, least));
    larger.bytes.set(used);
    this.#use(larger);
  }

  #use(chunk: Chunk): void {
    this.#chunk = chunk;
    this.bytes = chunk.bytes;
    this.view = chunk.view;
    this.words = chunk.words;
  }

  u16(value: number): void {
    this.view.setUint16(this.length, value, HOST_IS_LITTLE_ENDIAN);
    this.length += 2;
  }
  u32(value: number): void {
    this.view.setUint32(this.length, value, HOST_IS_LITTLE_ENDIAN);
    this.length += 4;
  }
  /** Bytes, padded to 32 bits. */
  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    this.pad();
  }
  /** Zeros up to the next 32 bits. */
  pad(): void {
    while ((this.length & 3) !== 0) this.bytes[this.length++] = 0;
  }

  /** Writes what there is, and is empty. Returns false if the Writable is full. */
  flush(writable: Writable): boolean {
    if (this.length === 0) return true;
    const chunk = this.#chunk;
    const bytes = chunk.bytes.subarray(0, this.length);
    this.length = 0;
    this.#use(NO_CHUNK);
    if (!this.forFile) return writable.write(bytes);
    this.#usual = Math.max(this.#usual, chunk.bytes.length);
    return writable.write(bytes, () => {
      if (this.#spare.length < SPARE) this.#spare.push(chunk);
    });
  }
}
