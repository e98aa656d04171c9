import { NLA_HDRLEN } from '../../linux/netlink.ts';

/*
 * How the kernel in memory reads attributes: a plain walk of its own. The library's tables of attributes must not judge themselves, so
 * nothing here is shared with src/codec.
 */

const TYPE_MASK = 0x3fff;
const align = (length: number): number => (length + 3) & ~3;

/** An attribute of a message. `offset` is where its header stands, counted from the start of the message. */
export interface Attribute {
  readonly type: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const TEXT = new TextDecoder('utf-8', { fatal: true });
/** Bytes that are no UTF-8 become halves of surrogate pairs, and bytes again when they are written: names are bytes to the kernel. */
const ESCAPE = 0xdc00;

function decoded(bytes: Uint8Array): string {
  try {
    return TEXT.decode(bytes);
  } catch {
    return Array.from(bytes, each => String.fromCharCode(each < 0x80 ? each : ESCAPE + each)).join('');
  }
}

const encoded = (text: string): Uint8Array =>
  /[\udc80-\udcff]/.test(text) && !/[\ud800-\udbff]/.test(text)
    ? Uint8Array.from(text, each => each.charCodeAt(0) & 0xff)
    : new TextEncoder().encode(text);

/** The attributes of one level of a message. As in the kernel, the last of a type counts, and bytes behind the last attribute are ignored. */
export class Attributes {
  readonly #message: Uint8Array;
  readonly #all: Attribute[] = [];
  readonly #byType = new Map<number, Attribute>();
  /** Bytes behind the last of them are none. */
  readonly hasLeftover: boolean;

  constructor(message: Uint8Array, start: number, end: number) {
    this.#message = message;
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    let offset = start;
    while (offset + NLA_HDRLEN <= end) {
      const length = view.getUint16(offset, true);
      if (length < NLA_HDRLEN || offset + length > end) break;
      const type = view.getUint16(offset + 2, true) & TYPE_MASK;
      const attribute = { type, offset, bytes: message.subarray(offset + NLA_HDRLEN, offset + length) };
      this.#all.push(attribute);
      this.#byType.set(type, attribute);
      offset += align(length);
    }
    this.hasLeftover = offset < end;
  }

  get(type: number): Attribute | undefined {
    return this.#byType.get(type);
  }
  has(type: number): boolean {
    return this.#byType.has(type);
  }
  /** All of them, in their order. */
  list(): readonly Attribute[] {
    return this.#all;
  }
  /** The attributes inside one; undefined where it is absent. */
  nested(type: number): Attributes | undefined {
    const attribute = this.get(type);
    return attribute && this.inside(attribute);
  }
  inside({ offset, bytes }: Attribute): Attributes {
    return new Attributes(this.#message, offset + NLA_HDRLEN, offset + NLA_HDRLEN + bytes.length);
  }

  u8(type: number): number | undefined {
    return this.get(type)?.bytes[0];
  }
  u16be(type: number): number | undefined {
    const view = this.#view(type, 2);
    return view?.getUint16(0);
  }
  u16(type: number): number | undefined {
    return this.#view(type, 2)?.getUint16(0, true);
  }
  u32be(type: number): number | undefined {
    return this.#view(type, 4)?.getUint32(0);
  }
  u32(type: number): number | undefined {
    return this.#view(type, 4)?.getUint32(0, true);
  }
  u64be(type: number): bigint | undefined {
    return this.#view(type, 8)?.getBigUint64(0);
  }
  /** Up to the NUL that ends it. */
  text(type: number): string | undefined {
    const bytes = this.get(type)?.bytes;
    return bytes && textOf(bytes);
  }

  #view(type: number, length: number): DataView | undefined {
    const bytes = this.get(type)?.bytes;
    return bytes === undefined || bytes.length < length
      ? undefined
      : new DataView(bytes.buffer, bytes.byteOffset, length);
  }
}

export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoded(end < 0 ? bytes : bytes.subarray(0, end));
}

/** All of it but the NULs at its end: how the kernel compares most names (nla_strcmp). */
export function wholeTextOf(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return decoded(bytes.subarray(0, end));
}

/** Bytes that grow: what the kernel in memory answers. */
export class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  #room(count: number): number {
    const start = this.length;
    if (start + count > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(start + count, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, start));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.length = start + count;
    return start;
  }

  raw(bytes: Uint8Array): void {
    const start = this.#room(align(bytes.length));
    this.#bytes.set(bytes, start);
    this.#bytes.fill(0, start + bytes.length, this.length);
  }
  attribute(type: number, bytes: Uint8Array): void {
    const start = this.#room(NLA_HDRLEN);
    this.#view.setUint16(start, NLA_HDRLEN + bytes.length, true);
    this.#view.setUint16(start + 2, type, true);
    this.raw(bytes);
  }
  u8(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value));
  }
  u16be(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value >> 8, value));
  }
  u16(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value, value >> 8));
  }
  u32be(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
  }
  u32(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }
  u64be(type: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value);
    this.attribute(type, bytes);
  }
  u64(type: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.attribute(type, bytes);
  }
  text(type: number, value: string): void {
    const text = encoded(value);
    const bytes = new Uint8Array(text.length + 1);
    bytes.set(text);
    this.attribute(type, bytes);
  }
  nest(type: number, inside: () => void): void {
    const start = this.#room(NLA_HDRLEN);
    inside();
    this.#view.setUint16(start, this.length - start, true);
    this.#view.setUint16(start + 2, type, true);
  }

  /** A message: its header, and what `body` writes behind it. */
  message(header: { type: number; flags: number; sequence: number; port: number }, body: () => void): void {
    const start = this.#room(16);
    body();
    this.#view.setUint32(start, this.length - start, true);
    this.#view.setUint16(start + 4, header.type, true);
    this.#view.setUint16(start + 6, header.flags, true);
    this.#view.setUint32(start + 8, header.sequence, true);
    this.#view.setUint32(start + 12, header.port, true);
  }

  /** What has been written, which the writer then lets go. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.length);
    this.length = 0;
    return taken;
  }
}
