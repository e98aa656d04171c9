import { WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';

/** Chunks of one size that wait to be used again; more are left to the garbage collector. */
const SPARE = 4;

/** Memory that the encoded packets go into. It is not cleared: all that is written has been overwritten. */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

function chunkOf(size: number): Chunk {
  const bytes = Buffer.allocUnsafeSlow(size);
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, size) };
}

/**
 * The memory of a file's writes. A chunk is used again when it has been written, so that the next one is in the processor's cache and costs no
 * page faults. Only of Node's own file streams it is known that they let go of it then: any other Writable may keep what it is given.
 */
export class Chunks {
  readonly #spare: Chunk[] = [];

  /** A chunk of so many bytes or more. */
  take(size: number): Chunk {
    const chunk = this.#spare.pop();
    return chunk !== undefined && chunk.bytes.length >= size ? chunk : chunkOf(size);
  }

  /** Writes the first bytes of a chunk. Returns false if the Writable is full. */
  write(writable: Writable, chunk: Chunk, length: number): boolean {
    const bytes = chunk.bytes.subarray(0, length);
    if (!(writable instanceof WriteStream) || writable.constructor !== WriteStream) return writable.write(bytes);
    return writable.write(bytes, () => {
      if (this.#spare.length < SPARE) this.#spare.push(chunk);
    });
  }
}
