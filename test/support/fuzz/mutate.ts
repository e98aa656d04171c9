import { HOST_IS_LITTLE_ENDIAN } from '../../../src/codec/index.ts';
import type { Random } from './random.ts';

/** Values at which lengths, counts and signs change their meaning. */
const NUMBERS = [
  0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffc, 0xffff, 0x7fffffff, 0x80000000,
  0xffffffff,
];

/** Names that mean something to JavaScript, and text that means something to a terminal. */
export const HOSTILE_TEXTS = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '\x1b[2J\x1b[H',
  '\x1b]0;owned\x07',
  'a\nb',
  '\r\n',
  '\u0085\u2028',
  'a\u202egnp.exe\u2066\ufeff',
  '\u200b\u00ad\u{e0041}\ufe0f',
  '"; flush ruleset; "',
  '\\"',
  'é\xff',
  '',
];

const MAX_BYTES = 8192;
const NETLINK_HEADER = 16;

/** A message that is nearly what it was: some changes, of which most know how netlink is built. */
export function mutated(message: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  let bytes = Uint8Array.from(message);
  const changes = 1 + random.below(4);
  for (let i = 0; i < changes; i++) bytes = change(bytes, random, others);
  // A length that lies is an error at once: mostly it is right.
  if (!random.chance(20) && bytes.length >= NETLINK_HEADER)
    view(bytes).setUint32(0, bytes.length, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function change(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const copy = Uint8Array.from(bytes);
  if (copy.length === 0) return copy;
  const at = random.below(copy.length);
  switch (random.below(9)) {
    case 0:
      copy[at]! ^= 1 << random.below(8);
      return copy;
    case 1:
      copy[at] = random.u32();
      return copy;
    case 2:
      return number(copy, at & ~3, random);
    case 3:
      return copy.slice(0, at);
    case 4:
      return attribute(copy, random);
    case 5:
      return text(copy, at, random);
    case 6: {
      // A part that comes twice.
      const end = Math.min(copy.length, at + 4 * (1 + random.below(16)));
      return joined(copy.subarray(0, end), copy.subarray(at, end), copy.subarray(end));
    }
    case 7: {
      const other = random.pick(others);
      const from = random.below(other.length) & ~3;
      return joined(copy.subarray(0, at & ~3), other.subarray(from), new Uint8Array(0));
    }
    default: {
      const other = random.pick(others);
      const from = random.below(other.length) & ~3;
      const part = other.subarray(from, from + 4 * (1 + random.below(16)));
      return joined(copy.subarray(0, at & ~3), part, copy.subarray(at & ~3));
    }
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(Buffer.concat(parts));
  return all.slice(0, MAX_BYTES);
}

function number(bytes: Uint8Array<ArrayBuffer>, at: number, random: Random): Uint8Array<ArrayBuffer> {
  const value = random.pick(NUMBERS);
  const littleEndian = random.chance(2);
  if (at + 4 <= bytes.length && random.chance(2)) view(bytes).setUint32(at, value, littleEndian);
  else if (at + 2 <= bytes.length) view(bytes).setUint16(at, value & 0xffff, littleEndian);
  return bytes;
}

/** Takes what stands somewhere for the header of an attribute: another type, or a length that lies. */
function attribute(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length) & ~3;
  if (at + 4 > bytes.length) return bytes;
  const left = bytes.length - at;
  const lengths = [0, 1, 3, 4, 5, 8, left - 1, left, left + 1, left + 4, 0xffff];
  if (random.chance(2)) view(bytes).setUint16(at, random.pick(lengths) & 0xffff, HOST_IS_LITTLE_ENDIAN);
  else view(bytes).setUint16(at + 2, random.below(40) | (random.chance(2) ? 0x8000 : 0), HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

/** Writes a hostile text where a text stands, or anywhere. */
function text(bytes: Uint8Array<ArrayBuffer>, at: number, random: Random): Uint8Array<ArrayBuffer> {
  const isLetter = (byte: number | undefined) => byte !== undefined && byte >= 0x61 && byte <= 0x7a;
  let start = at;
  while (start < bytes.length && !isLetter(bytes[start])) start++;
  while (start > 0 && isLetter(bytes[start - 1])) start--;
  const hostile = Buffer.from(`${random.pick(HOSTILE_TEXTS)}\0`);
  bytes.set(hostile.subarray(0, Math.max(0, bytes.length - start)), Math.min(start, bytes.length));
  return bytes;
}

/** A text that is nearly what it was: proc files, JSON, state of runtimes. */
export function mutatedText(seed: string, random: Random): string {
  let text = seed;
  for (let i = 1 + random.below(3); i > 0; i--) {
    const at = random.below(text.length + 1);
    const end = Math.min(text.length, at + random.below(12));
    switch (random.below(6)) {
      case 0:
        text = text.slice(0, at) + text.slice(end);
        break;
      case 1:
        text = text.slice(0, at) + random.pick(HOSTILE_TEXTS) + text.slice(at);
        break;
      case 2:
        text = text.slice(0, end) + text.slice(at);
        break;
      case 3:
        text =
          text.slice(0, at) + String.fromCharCode(random.below(random.chance(4) ? 0x10000 : 128)) + text.slice(end);
        break;
      case 4:
        text = text.slice(0, at) + random.pick(NUMBERS) * (random.chance(2) ? -1 : 1e10) + text.slice(end);
        break;
      default:
        text =
          text.slice(0, at) +
          random.pick(['{}', '[]', 'null', '"__proto__":', 'true', ':', '\t', ' ', '\0']) +
          text.slice(end);
    }
  }
  return text.slice(0, MAX_BYTES);
}
