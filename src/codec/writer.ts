import { rangeError } from '../errors.ts';
import { HOST_IS_LITTLE_ENDIAN, hexByte, NLA_F_NESTED } from './wire.ts';

const MAX_ATTRIBUTE = 0xffff;
const SHORT = 64;

/**
 * One growing buffer that messages are written into. A socket has one and resets it for each request, so that encoding makes no garbage.
 * The bytes are `bytes.subarray(0, length)`, and are valid until the next reset.
 * @example
 * const writer = new Writer(4096);
 * writer.u32(1, true);
 * console.log(writer.bytes.subarray(0, writer.length));
 */
export class Writer {
  /** The bytes that were written, and room for more. */
  bytes: Uint8Array;
  /** A view of the same bytes. */
  view: DataView;
  /** How many bytes were written. */
  length = 0;

  /**
   * A writer with nothing written yet.
   * @param capacity bytes that can be written before the buffer grows
   * @param bytes the first buffer, if it is not a new one
   */
  constructor(capacity = 4096, bytes: Uint8Array = new Uint8Array(capacity)) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /**
   * Starts again at the beginning of the same buffer.
   * @example
   * writer.reset();
   */
  reset(): void {
    this.length = 0;
  }

  /**
   * Returns a copy of the written bytes, which stays valid after a reset.
   * @example
   * const kept = writer.copy();
   */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /**
   * Makes room for `size` bytes. Returns their offset. The caller must write all of them, because the room may hold old bytes.
   * @example
   * const at = writer.reserve(4);
   * writer.bytes.fill(0, at, at + 4);
   */
  reserve(size: number): number {
    const start = this.length;
    const end = start + size;
    if (end > this.bytes.length) this.#grow(end);
    this.length = end;
    return start;
  }

  /**
   * Grows the buffer once for the bytes that follow. Without it, many small pieces would make it grow many times.
   * @param size bytes
   * @example
   * writer.expect(1024 * 1024);
   */
  expect(size: number): void {
    if (this.length + size > this.bytes.length) this.#grow(this.length + size);
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    bytes.set(this.bytes.subarray(0, this.length));
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /**
   * Writes a byte.
   * @param value 0 to 255
   * @example
   * writer.u8(6);
   */
  u8(value: number): void {
    const at = this.reserve(1);
    this.bytes[at] = value;
  }
  /**
   * Writes a 16-bit number.
   * @param value 0 to 65,535
   * @param littleEndian false for network byte order
   * @example
   * writer.u16(80, false);
   */
  u16(value: number, littleEndian: boolean): void {
    const at = this.reserve(2);
    this.view.setUint16(at, value, littleEndian);
  }
  /**
   * Writes a 32-bit number.
   * @param value 0 to 2^32 - 1
   * @param littleEndian false for network byte order
   * @example
   * writer.u32(1500, true);
   */
  u32(value: number, littleEndian: boolean): void {
    const at = this.reserve(4);
    this.view.setUint32(at, value, littleEndian);
  }
  /**
   * Writes a 64-bit number.
   * @param value 0 to 2^64 - 1
   * @param littleEndian false for network byte order
   * @example
   * writer.u64(1n, false);
   */
  u64(value: bigint, littleEndian: boolean): void {
    const at = this.reserve(8);
    this.view.setBigUint64(at, value, littleEndian);
  }
  /**
   * Writes bytes as they are.
   * A loop is faster than `set` and `fill` for short arrays, and nearly all are short.
   * @param value the bytes
   * @example
   * writer.raw(new Uint8Array([10, 0, 0, 1]));
   */
  raw(value: Uint8Array): void {
    const size = value.length;
    const at = this.reserve(size);
    const { bytes } = this;
    if (size > SHORT) bytes.set(value, at);
    else for (let i = 0; i < size; i++) bytes[at + i] = value[i]!;
  }
  /**
   * Writes zeros.
   * @param count bytes
   * @example
   * writer.zeros(16);
   */
  zeros(count: number): void {
    const at = this.reserve(count);
    const { bytes } = this;
    if (count > SHORT) bytes.fill(0, at, at + count);
    else for (let i = 0; i < count; i++) bytes[at + i] = 0;
  }

  /**
   * Writes the bytes of a hex string. If it is no hex, writes nothing and returns false.
   * @param text two digits a byte
   * @example
   * if (!writer.hex('0a000001')) throw new Error('not hex');
   */
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
   * Writes UTF-8 and a terminating NUL.
   * Nearly all names are short and ASCII, and for these a loop is twice as fast as TextEncoder. A NUL is an error, because the kernel would
   * end the name there, and could take it for the name of something else.
   * @param value the text
   * @throws RangeError the text has a NUL
   * @example
   * writer.string('eth0');
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

  /**
   * Opens an attribute. Returns its start, which `endAttribute` needs.
   * @param type the attribute's number, with flag bits
   * @example
   * const start = writer.beginAttribute(3);
   * writer.string('eth0');
   * writer.endAttribute(start);
   */
  beginAttribute(type: number): number {
    const start = this.reserve(4);
    this.view.setUint16(start + 2, type, HOST_IS_LITTLE_ENDIAN);
    return start;
  }

  /**
   * Writes a whole attribute that holds a 32-bit number.
   * @param type the attribute's number, with flag bits
   * @param value 0 to 2^32 - 1
   * @param littleEndian false for network byte order
   * @example
   * writer.attribute32(4, 1500, false);
   */
  attribute32(type: number, value: number, littleEndian: boolean): void {
    const at = this.reserve(8);
    const { view } = this;
    view.setUint16(at, 8, HOST_IS_LITTLE_ENDIAN);
    view.setUint16(at + 2, type, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(at + 4, value, littleEndian);
  }

  /**
   * Opens an attribute that holds attributes. It has the flag NLA_F_NESTED.
   * @param type the attribute's number
   * @example
   * const nest = writer.beginNest(18);
   * writer.attribute32(1, 5, true);
   * writer.endAttribute(nest);
   */
  beginNest(type: number): number {
    return this.beginAttribute(type | NLA_F_NESTED);
  }

  /**
   * Writes the attribute's length, which has 16 bits, and pads to four bytes.
   * @param start the result of `beginAttribute` or `beginNest`
   * @throws RangeError the attribute is longer than 65,535 bytes
   * @example
   * writer.endAttribute(writer.beginAttribute(5));
   */
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
