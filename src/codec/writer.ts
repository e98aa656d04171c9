import { rangeError } from '../errors.ts';
import { HOST_IS_LITTLE_ENDIAN, hexByte, NLA_F_NESTED } from './wire.ts';

const MAX_ATTRIBUTE = 0xffff;
const SHORT = 64;

/**
 * One growing buffer that messages are written into. A socket has one and resets it for each request, so that encoding makes no
 * garbage. Nothing is flushed: the bytes are `bytes.subarray(0, length)`, valid until the next reset.
 */
export class Writer {
  bytes: Uint8Array;
  view: DataView;
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  reset(): void {
    this.length = 0;
  }

  /** A copy of what was written, for those who keep it. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** Makes room for `size` bytes and returns where they begin. The room may hold old bytes: whoever reserves writes all of it. */
  reserve(size: number): number {
    const start = this.length;
    const end = start + size;
    if (end > this.bytes.length) this.#grow(end);
    this.length = end;
    return start;
  }

  /** Grows once for what is about to be written, where many pieces would have it grow many times. */
  expect(size: number): void {
    if (this.length + size > this.bytes.length) this.#grow(this.length + size);
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    bytes.set(this.bytes.subarray(0, this.length));
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  u8(value: number): void {
    const at = this.reserve(1);
    this.bytes[at] = value;
  }
  u16(value: number, littleEndian: boolean): void {
    const at = this.reserve(2);
    this.view.setUint16(at, value, littleEndian);
  }
  u32(value: number, littleEndian: boolean): void {
    const at = this.reserve(4);
    this.view.setUint32(at, value, littleEndian);
  }
  u64(value: bigint, littleEndian: boolean): void {
    const at = this.reserve(8);
    this.view.setBigUint64(at, value, littleEndian);
  }
  /** What is written is short nearly always, and a loop is done before `set` and `fill` have begun. */
  raw(value: Uint8Array): void {
    const size = value.length;
    const at = this.reserve(size);
    const { bytes } = this;
    if (size > SHORT) bytes.set(value, at);
    else for (let i = 0; i < size; i++) bytes[at + i] = value[i]!;
  }
  zeros(count: number): void {
    const at = this.reserve(count);
    const { bytes } = this;
    if (count > SHORT) bytes.fill(0, at, at + count);
    else for (let i = 0; i < count; i++) bytes[at + i] = 0;
  }

  /** The bytes of a hex string; writes nothing and returns false if it is none. */
  hex(text: string): boolean {
    const size = text.length >> 1;
    if (size * 2 !== text.length) return false;
    const at = this.reserve(size);
    const { bytes } = this;
    for (let i = 0; i < size; i++) {
      const byte = hexByte(text, i * 2);
      if (byte < 0) {
        this.length = at;
        return false;
      }
      bytes[at + i] = byte;
    }
    return true;
  }

  /**
   * UTF-8 and a terminating NUL. Names are short and ASCII nearly always: a loop beats TextEncoder by two. The kernel would take what stands before
   * a NUL for the whole: a name of something else.
   * @throws RangeError the text has a NUL
   */
  string(value: string): void {
    const size = value.length;
    const at = this.reserve(size + 1);
    const { bytes } = this;
    for (let i = 0; i < size; i++) {
      const code = value.charCodeAt(i);
      if (code === 0 || code > 0x7f) {
        if (value.includes('\0')) throw rangeError([], 'a string without NUL', value);
        this.length = at;
        this.raw(encoder.encode(value));
        this.u8(0);
        return;
      }
      bytes[at + i] = code;
    }
    bytes[at + size] = 0;
  }

  /** Opens an attribute and returns what `endAttribute` wants back. */
  beginAttribute(type: number): number {
    const start = this.reserve(4);
    this.view.setUint16(start + 2, type, HOST_IS_LITTLE_ENDIAN);
    return start;
  }

  /** A whole attribute that holds a 32-bit number. */
  attribute32(type: number, value: number, littleEndian: boolean): void {
    const at = this.reserve(8);
    const { view } = this;
    view.setUint16(at, 8, HOST_IS_LITTLE_ENDIAN);
    view.setUint16(at + 2, type, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(at + 4, value, littleEndian);
  }

  beginNest(type: number): number {
    return this.beginAttribute(type | NLA_F_NESTED);
  }

  /** Writes the attribute's length and pads to four bytes. Its length field has 16 bits. */
  endAttribute(start: number): void {
    const size = this.length - start;
    if (size > MAX_ATTRIBUTE) {
      throw rangeError([], `at most ${MAX_ATTRIBUTE} encoded bytes`, size, 'ERR_ATTRIBUTE_TOO_LONG');
    }
    this.view.setUint16(start, size, HOST_IS_LITTLE_ENDIAN);
    const padding = -size & 3;
    if (padding > 0) this.zeros(padding);
  }
}

const encoder = new TextEncoder();
