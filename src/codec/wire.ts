import { DecodeError } from '../errors.ts';
import { NLA_HDRLEN } from '../linux/netlink.ts';

import { ofThread } from '../thread.ts';

export { NLA_F_NESTED, NLA_HDRLEN } from '../linux/netlink.ts';

/** Netlink's own fields have the byte order of the host (include/uapi/linux/netlink.h). A probe finds it at run time. */
export const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Clears both flag bits. Kernel modules differ in whether the nests of a dump carry NLA_F_NESTED. */
export const NLA_TYPE_MASK = 0x3fff;

/** Bytes to decode, with the DataView that numbers are read through. */
export interface Source {
  /** The bytes of a message. */
  readonly bytes: Uint8Array;

  /** A view of the same bytes. */
  readonly view: DataView;
}

/**
 * Returns bytes with the DataView that numbers are read through.
 * @param bytes the bytes
 * @example
 * const source = sourceOf(new Uint8Array(16));
 */
export function sourceOf(bytes: Uint8Array): Source {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/**
 * Joins several arrays in a new Uint8Array. It is no Buffer, because the `slice` of a Buffer makes no copy.
 * @param parts the arrays, in order
 * @example
 * const whole = joined([new Uint8Array(1), new Uint8Array(2)]);
 */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Rounds up to the four bytes that netlink aligns to.
 * @param length bytes
 * @example
 * console.log(align4(5));
 */
export const align4 = (length: number): number => (length + 3) & ~3;

/*
 * To walk over attributes: from `start`, as long as a header fits,
 *   attributeLength (checked), attributeType; then nextAttribute
 * and refuseStray at the end. Loops that run for each expression of a dump have this written out for speed; the others use `eachAttribute`.
 */

/**
 * Returns the length of the attribute at `at`, its header included.
 * @param view the DataView of the message
 * @param end the offset where the attributes end
 * @throws DecodeError the length is impossible: shorter than a header, or longer than the rest
 * @example
 * const length = attributeLength(source.view, 20, source.bytes.length);
 */
export function attributeLength(view: DataView, at: number, end: number): number {
  const length = view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
  if (length < NLA_HDRLEN || length > end - at) {
    throw new DecodeError(`attribute at byte ${at} has length ${length}, ${end - at} bytes are left`);
  }
  return length;
}

/**
 * Returns the number of the attribute at an offset, without flag bits.
 * @param view the DataView of the message
 * @param at the offset where the attribute begins
 * @example
 * const type = attributeType(source.view, 20);
 */
export function attributeType(view: DataView, at: number): number {
  return view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK;
}

/**
 * Returns the offset of the attribute behind the one at an offset.
 * @param view the DataView of the message
 * @param at the offset where this one begins
 * @example
 * const next = nextAttribute(source.view, 20);
 */
export function nextAttribute(view: DataView, at: number): number {
  return at + align4(view.getUint16(at, HOST_IS_LITTLE_ENDIAN));
}

/**
 * Throws if bytes are left over that are no attribute. The last attribute's padding may be missing.
 * @param at the offset where the last attribute ended
 * @param end the offset where the attributes end
 * @throws DecodeError bytes are left over
 * @example
 * refuseStray(24, 24);
 */
export function refuseStray(at: number, end: number): void {
  if (at < end) throw new DecodeError(`${end - at} stray bytes after the last attribute`);
}

/**
 * Calls `visit` for each attribute between `start` and `end`, with its type without flag bits and the bounds of its payload.
 * @throws DecodeError an attribute has an impossible length
 * @example
 * eachAttribute(source, 20, source.bytes.length, (type, payload, end) => console.log(type, end - payload));
 */
export function eachAttribute(
  { view }: Source,
  start: number,
  end: number,
  visit: (type: number, payload: number, payloadEnd: number) => void,
): void {
  let at = start;
  for (; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
    const length = attributeLength(view, at, end);
    visit(attributeType(view, at), at + NLA_HDRLEN, at + length);
  }
  refuseStray(at, end);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/**
 * Returns bytes as lower-case hex, the printable form of bytes throughout the library.
 * @param bytes the array that holds them
 * @param start the offset of the first byte
 * @param end the offset behind the last byte
 * @example
 * console.log(toHex(new Uint8Array([10, 0, 0, 1])));
 */
export function toHex(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const size = end - start;
  // A fast path for the lengths of ports, addresses and marks.
  if (size === 2) return HEX[bytes[start]!]! + HEX[bytes[start + 1]!]!;
  if (size === 4)
    return HEX[bytes[start]!]! + HEX[bytes[start + 1]!]! + HEX[bytes[start + 2]!]! + HEX[bytes[start + 3]!]!;
  // V8 would keep a long string that grows byte by byte as a tree of its parts, which slows down the garbage collector.
  if (size > 32) return Buffer.from(bytes.buffer, bytes.byteOffset + start, size).toString('hex');
  let text = '';
  for (let i = start; i < end; i++) text += HEX[bytes[i]!];
  return text;
}

/** The value of each hex digit by its character code; 0xff is no digit. */
const DIGITS = new Uint8Array(128).fill(0xff);
for (let digit = 0; digit < 16; digit++) {
  DIGITS[digit.toString(16).charCodeAt(0)] = digit;
  DIGITS[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

/**
 * Returns the byte that two hex digits stand for; negative if they are none.
 * @param text hex digits
 * @param at the index of the first of the two
 * @example
 * console.log(hexByte('0a', 0));
 */
export function hexByte(text: string, at: number): number {
  const high = DIGITS[text.charCodeAt(at)] ?? 0xff;
  const low = DIGITS[text.charCodeAt(at + 1)] ?? 0xff;
  return (high | low) > 0xf ? -1 : (high << 4) | low;
}

/**
 * Returns the bytes of a hex string, or undefined if it is none.
 * @param text two digits a byte
 * @example
 * console.log(fromHex('0a000001'));
 */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const byte = hexByte(text, i * 2);
    if (byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Returns the UTF-8 text between `start` and `end`, or undefined if the bytes are none.
 * @example
 * console.log(toText(source, 0, 4));
 */
export function toText({ bytes }: Source, start: number, end: number): string | undefined {
  const size = end - start;
  if (size > MAX_KNOWN) return decodeText(bytes, start, end);
  let hash = size;
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0;
  const slot = (hash ^ (hash >>> 15)) & (KNOWN_SLOTS - 1);
  const known = KNOWN[slot];
  if (known !== undefined && isText(known, bytes, start, size)) return known;
  const text = decodeText(bytes, start, end);
  if (text !== undefined && text.length === size) KNOWN[slot] = text;
  return text;
}

/*
 * A cache of texts. The names of tables, chains and expressions come again in each message of a dump, so the last ones are kept by a hash
 * of their bytes. Only ASCII is kept, because its bytes are its character codes.
 */
const KNOWN_SLOTS = 256;
const MAX_KNOWN = 32;
const KNOWN = ofThread<(string | undefined)[]>('codec.texts', new Array(KNOWN_SLOTS).fill(undefined));

function isText(text: string, bytes: Uint8Array, start: number, size: number): boolean {
  if (text.length !== size) return false;
  for (let i = 0; i < size; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function decodeText(bytes: Uint8Array, start: number, end: number): string | undefined {
  let text = '';
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte > 0x7f) {
      try {
        return decoder.decode(bytes.subarray(start, end));
      } catch {
        return undefined;
      }
    }
    text += String.fromCharCode(byte);
  }
  return text;
}
