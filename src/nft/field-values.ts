import { formatIPv4, formatIPv6, parseIPv6, readIPv4, toBytes, toHex } from '../codec/index.ts';
import { rangeError, typeError, within } from '../errors.ts';
import type { Field } from './set-types.ts';

/**
 * One value: an address as text, a number, the name of a device or protocol; or bytes as the register has them, as hex or a Uint8Array.
 * Where names are expected, hex begins with 0x.
 */
export type FieldValue = string | number | bigint | Uint8Array;

/** All values from the first to the last, both included. '10.0.0.0/8' and 'eth*' are ranges, too. */
export interface FieldRange {
  /** The first value. */
  from: FieldValue;
  /** The last value, which belongs to the range. */
  to: FieldValue;
}

/** A value or a range; of a concatenation, one for each part. */
export type ElementKey = FieldValue | FieldRange | (FieldValue | FieldRange)[];

/** The key of the catch-all: all keys without an element of their own. */
export const CATCH_ALL = '*';

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  comp: 108,
  sctp: 132,
  udplite: 136,
};
const PROTOCOL_NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]));

/** Ranges are refused if `to` and `from` are the same array. */
export function writeFields(
  value: ElementKey,
  fields: readonly Field[],
  from: Uint8Array,
  to: Uint8Array,
  start: number,
): void {
  if (fields.length === 1) {
    writeField(value as FieldValue | FieldRange, fields[0]!, from, to, start);
    return;
  }
  if (writeRaw(value, from, to)) return;
  if (!Array.isArray(value) || value.length !== fields.length)
    throw typeError([], `an array of ${fields.length}, the parts of the concatenation`, value);
  let at = start;
  for (const [i, field] of fields.entries()) {
    try {
      writeField(value[i]!, field, from, to, at);
    } catch (error) {
      throw within(error, [i]);
    }
    at += (field.bytes + 3) & ~3;
  }
}

/** The bytes of a whole concatenation. */
function writeRaw(value: unknown, from: Uint8Array, to: Uint8Array): boolean {
  if (Array.isArray(value)) return false;
  const range = typeof value === 'object' && value !== null && 'from' in value && 'to' in value && from !== to;
  const first = toBytes(range ? value.from : value);
  const last = toBytes(range ? value.to : value);
  if (first?.length !== from.length || last?.length !== to.length) return false;
  from.set(first);
  to.set(last);
  return true;
}

function writeField(value: FieldValue | FieldRange, field: Field, from: Uint8Array, to: Uint8Array, at: number): void {
  const single = from === to;
  if (typeof value === 'object' && !(value instanceof Uint8Array)) {
    if (value === null || Array.isArray(value) || value.from === undefined || value.to === undefined)
      throw typeError([], 'a value, or a range { from, to }', value);
    if (single) throw rangeError([], "a single value: only sets with the flag 'interval' have ranges", value);
    writeBound(value.from, field, from, at, 'from');
    writeBound(value.to, field, to, at, 'to');
    if (compare(from, to, at, field.bytes) > 0)
      throw rangeError([], 'a range whose end is not before its beginning', value);
    return;
  }
  if (typeof value === 'string' && writePrefix(value, field, from, to, at)) {
    if (single) throw rangeError([], "a single value: only sets with the flag 'interval' have prefixes", value);
    return;
  }
  writeScalar(value, field, from, at);
  if (!single) copy(from, to, at, field.bytes);
}

function writeBound(value: FieldValue, field: Field, into: Uint8Array, at: number, name: string): void {
  try {
    writeScalar(value, field, into, at);
  } catch (error) {
    throw within(error, [name]);
  }
}

function compare(a: Uint8Array, b: Uint8Array, at: number, size: number): number {
  for (let i = at; i < at + size; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

function copy(from: Uint8Array, to: Uint8Array, at: number, size: number): void {
  for (let i = at; i < at + size; i++) to[i] = from[i]!;
}

/** '10.0.0.0/8', 'fe80::/10', 'eth*'; returns false for any other text. */
function writePrefix(value: string, field: Field, from: Uint8Array, to: Uint8Array, at: number): boolean {
  if (field.form === 'string') {
    if (!value.endsWith('*') || value === CATCH_ALL) return false;
    writeScalar(value.slice(0, -1), field, from, at);
    const size = new TextEncoder().encode(value).length - 1;
    copy(from, to, at, field.bytes);
    to.fill(0xff, at + size, at + field.bytes);
    return true;
  }
  const slash = value.indexOf('/');
  if (slash < 0) return false;
  const length = Number(value.slice(slash + 1));
  const bits = field.bytes * 8;
  if (!/^\d+$/.test(value.slice(slash + 1)) || length > bits)
    throw rangeError([], `a prefix of 0 to ${bits} bits`, value);
  writeScalar(value.slice(0, slash), field, from, at);
  if (from === to) return true;
  copy(from, to, at, field.bytes);
  for (let bit = length; bit < bits; bit++) {
    const mask = 0x80 >> (bit & 7);
    const i = at + (bit >> 3);
    if ((from[i]! & mask) !== 0) throw rangeError([], 'a prefix whose bits behind its length are 0', value);
    to[i]! |= mask;
  }
  return true;
}

const encoder = new TextEncoder();

function writeScalar(value: FieldValue, field: Field, into: Uint8Array, at: number): void {
  if (!putScalar(value, field, into, at)) throw badScalar(value, field);
}

/** Writes the bytes of one value over zeros; returns false if the field has no such value. */
export function putScalar(value: FieldValue, field: Field, into: Uint8Array, at: number): boolean {
  const { form, bytes } = field;
  if (typeof value === 'number')
    return (form === 'integer' || form === 'protocol') && putInteger(value, field, into, at);
  if (typeof value === 'string')
    return (form === 'ipv4' && readIPv4(value, into, at)) || putText(value, field, into, at);
  if (typeof value === 'bigint') return form === 'integer' && putBig(value, field, into, at);
  if (!(value instanceof Uint8Array) || value.length !== bytes) return false;
  into.set(value, at);
  return true;
}

const EXPECTED: Record<Field['form'], string> = {
  ipv4: 'an IPv4 address',
  ipv6: 'an IPv6 address',
  link: "a link-layer address ('02:00:00:00:00:01')",
  protocol: 'a protocol by name or number',
  integer: 'an integer',
  string: 'text',
  opaque: 'bytes',
};

function badScalar(value: unknown, { form, bytes }: Field): Error {
  const raw = form === 'string' ? `0x and ${bytes * 2} hex digits` : `${bytes} bytes as hex`;
  const range =
    form === 'integer' && bytes < 8
      ? ` 0 to ${2 ** (bytes * 8) - 1}`
      : form === 'string'
        ? ` of at most ${bytes - 1} bytes`
        : '';
  const type = ['string', 'number', 'bigint'].includes(typeof value) || value instanceof Uint8Array;
  return (type ? rangeError : typeError)([], `${EXPECTED[form]}${range}, or ${raw}`, value);
}

function putInteger(value: number, { bytes, littleEndian }: Field, into: Uint8Array, at: number): boolean {
  // Ports are the most frequent numbers. Bit operations tell whether one fits, without a power of two.
  if (bytes === 2 && !littleEndian) {
    if ((value & 0xffff) !== value) return false;
    into[at] = value >> 8;
    into[at + 1] = value & 0xff;
    return true;
  }
  if (!Number.isInteger(value) || value < 0 || value > (bytes === 8 ? Number.MAX_SAFE_INTEGER : 2 ** (bytes * 8) - 1))
    return false;
  let left = value;
  for (let i = 0; i < bytes; i++) {
    into[littleEndian ? at + i : at + bytes - 1 - i] = left % 256;
    left = Math.floor(left / 256);
  }
  return true;
}

function putBig(value: bigint, { bytes, littleEndian }: Field, into: Uint8Array, at: number): boolean {
  if (value < 0n || value >= 1n << BigInt(bytes * 8)) return false;
  let left = value;
  for (let i = 0; i < bytes; i++) {
    into[littleEndian ? at + i : at + bytes - 1 - i] = Number(left & 0xffn);
    left >>= 8n;
  }
  return true;
}

function putText(value: string, { form, bytes }: Field, into: Uint8Array, at: number): boolean {
  if (form === 'string') {
    if (value.startsWith('0x')) {
      const raw = toBytes(value.slice(2));
      if (raw?.length === bytes) {
        into.set(raw, at);
        return true;
      }
    }
    if (value.includes('\0')) return false;
    const text = encoder.encode(value);
    // Longer than any name can be: these are bytes in the kernel's form.
    if (text.length === 2 * bytes) {
      const raw = toBytes(value);
      if (raw !== undefined) {
        into.set(raw, at);
        return true;
      }
    }
    if (value === '' || text.length >= bytes || value.includes('\0')) return false;
    into.set(text, at);
    return true;
  }
  if (form === 'protocol' && Object.hasOwn(PROTOCOLS, value)) {
    into[at] = PROTOCOLS[value]!;
    return true;
  }
  const raw =
    form === 'ipv6' && value.includes(':')
      ? parseIPv6(value)
      : toBytes(form === 'link' && /^([0-9a-f]{2}:)+[0-9a-f]{2}$/i.test(value) ? value.replaceAll(':', '') : value);
  if (raw?.length !== bytes) return false;
  into.set(raw, at);
  return true;
}

/** The value of bytes. */
export function readFields(from: Uint8Array, to: Uint8Array | undefined, fields: readonly Field[]): ElementKey {
  if (fields.length === 1) return readField(from, to, 0, fields[0]!);
  const values: (FieldValue | FieldRange)[] = [];
  let at = 0;
  for (const field of fields) {
    const padding = at + field.bytes;
    at += (field.bytes + 3) & ~3;
    // Bytes in the padding would get lost.
    for (let i = padding; i < at; i++) if (from[i] !== 0 || (to !== undefined && to[i] !== 0)) return rawKey(from, to);
    values.push(readField(from, to, padding - field.bytes, field));
  }
  return values;
}

function rawKey(from: Uint8Array, to: Uint8Array | undefined): ElementKey {
  const first = toHex(from);
  const last = to === undefined ? first : toHex(to);
  return first === last ? first : { from: first, to: last };
}

function readField(from: Uint8Array, to: Uint8Array | undefined, at: number, field: Field): FieldValue | FieldRange {
  const first = readScalar(from, at, field);
  if (to === undefined || compare(from, to, at, field.bytes) === 0) return first;
  if (field.form === 'string') {
    const text = wildcard(from, to, at, field.bytes);
    if (text !== undefined) return text;
  } else if (field.form === 'ipv4' || field.form === 'ipv6') {
    const length = prefixLength(from, to, at, field.bytes);
    if (length !== undefined) return `${first}/${length}`;
  }
  return { from: first, to: readScalar(to, at, field) };
}

/** The length of a range that is a prefix; undefined for any other. */
function prefixLength(from: Uint8Array, to: Uint8Array, at: number, size: number): number | undefined {
  let length = 0;
  for (; length < size * 8; length++) {
    const mask = 0x80 >> (length & 7);
    const i = at + (length >> 3);
    if ((from[i]! & mask) !== (to[i]! & mask)) break;
  }
  for (let bit = length; bit < size * 8; bit++) {
    const mask = 0x80 >> (bit & 7);
    const i = at + (bit >> 3);
    if ((from[i]! & mask) !== 0 || (to[i]! & mask) === 0) return undefined;
  }
  return length;
}

function wildcard(from: Uint8Array, to: Uint8Array, at: number, size: number): string | undefined {
  let length = 0;
  while (length < size && from[at + length] !== 0 && from[at + length] === to[at + length]) length++;
  for (let i = at + length; i < at + size; i++) if (from[i] !== 0 || to[i] !== 0xff) return undefined;
  const text = textOf(from, at, length);
  return text === undefined ? undefined : `${text}*`;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text whose bytes are the same when it is written again. */
function textOf(bytes: Uint8Array, at: number, length: number): string | undefined {
  try {
    const text = decoder.decode(bytes.subarray(at, at + length));
    return text === '' || text.startsWith('0x') ? undefined : text;
  } catch {
    return undefined;
  }
}

function readScalar(source: Uint8Array, at: number, { form, bytes, littleEndian }: Field): FieldValue {
  if (form === 'ipv4') return formatIPv4(source, at);
  if (form === 'ipv6') return formatIPv6(source, at);
  const hex = toHex(source, at, at + bytes);
  if (form === 'link') return hex.replace(/..(?=.)/g, '$&:');
  if (form === 'opaque') return hex;
  if (form === 'string') {
    let length = 0;
    while (length < bytes && source[at + length] !== 0) length++;
    for (let i = at + length; i < at + bytes; i++) if (source[i] !== 0) return `0x${hex}`;
    const text = length < bytes ? textOf(source, at, length) : undefined;
    return text === undefined || text.endsWith('*') ? `0x${hex}` : text;
  }
  if (form === 'protocol') return PROTOCOL_NAMES.get(source[at]!) ?? source[at]!;
  let value = 0n;
  for (let i = 0; i < bytes; i++) value = (value << 8n) | BigInt(source[littleEndian ? at + bytes - 1 - i : at + i]!);
  return bytes === 8 ? value : Number(value);
}
