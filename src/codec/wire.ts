import { DecodeError } from '../errors.ts';

/** Netlink's own fields have the byte order of the host (include/uapi/linux/netlink.h); one probe decides it, nothing assumes it. */
export const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** `struct nlattr`: u16 length with the header, u16 type whose two upper bits are flags. */
export const NLA_HDRLEN = 4;
export const NLA_F_NESTED = 0x8000;
/** Both flag bits off: nests in dumps carry NLA_F_NESTED or not, as the kernel's author pleased. */
export const NLA_TYPE_MASK = 0x3fff;

/** Bytes to decode, with the view that numbers are read through. */
export interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function sourceOf(bytes: Uint8Array): Source {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

export const align4 = (length: number): number => (length + 3) & ~3;

/**
 * Calls `visit` for each attribute between `start` and `end`: its type without flag bits, where its header and its payload begin, where
 * the payload ends. Lengths that lie (shorter than a header, longer than what is left) throw a DecodeError.
 */
export function eachAttribute(
  { view }: Source,
  start: number,
  end: number,
  visit: (type: number, payload: number, payloadEnd: number) => void,
): void {
  let at = start;
  while (end - at >= NLA_HDRLEN) {
    const length = view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
    if (length < NLA_HDRLEN || length > end - at) {
      throw new DecodeError(`attribute at byte ${at} has length ${length}, ${end - at} bytes are left`);
    }
    visit(view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK, at + NLA_HDRLEN, at + length);
    at += align4(length);
  }
  // The last attribute's padding may be missing, but what is left over is no attribute.
  if (at < end) throw new DecodeError(`${end - at} stray bytes after the last attribute`);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Lower-case hex, the printable form of bytes throughout. */
export function toHex(bytes: Uint8Array, start = 0, end = bytes.length): string {
  // A long string that grows byte by byte is a tree of its parts, and the garbage collector walks them all.
  if (end - start > 32) return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('hex');
  let text = '';
  for (let i = start; i < end; i++) text += HEX[bytes[i]!];
  return text;
}

/** The bytes of a hex string, or undefined if it is none. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(i * 2, i * 2 + 2), 16);
  return bytes;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 text, or undefined if the bytes are none. */
export function toText({ bytes }: Source, start: number, end: number): string | undefined {
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
