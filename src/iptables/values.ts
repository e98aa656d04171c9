import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../codec/index.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import { type Flag, guided, type OptionPlace, refused, type Surroundings, type Value } from './extension.ts';
import { quoted } from './words.ts';

/* The kinds of values that options have, each in both directions: from words into a structure, and back. */

const U32 = 0xffffffff;

/** A truth of its own. */
export function flag(key: string): Flag {
  return {
    set(info) {
      info[key] = true;
    },
    has: info => info[key] === true,
  };
}

/** A word in a list. */
export function listed(key: string, word: string): Flag {
  return {
    set(info) {
      add(info, key, word);
    },
    has: info => (info[key] as readonly unknown[] | undefined)?.includes(word) === true,
  };
}

/** Adds a word to a list that it is not in. */
export function add(info: Info, key: string, word: string | number): void {
  const list = (info[key] as (string | number)[] | undefined) ?? [];
  if (!list.includes(word)) info[key] = [...list, word];
}

/** An option without arguments. */
export function present(where: Flag): Value {
  return {
    words: 0,
    parse: info => where.set(info),
    print: info => (where.has(info) ? '' : undefined),
  };
}

/** An option without arguments that is saved by another one. */
export function shorthand(apply: (info: Info, place: OptionPlace) => void, words = 0): Value {
  return { words, parse: (info, _, place) => apply(info, place), print: () => undefined };
}

/** Also sets a flag that says that the value counts, and prints nothing without it. */
export function counting(where: Flag, value: Value): Value {
  return {
    words: value.words,
    parse(info, words, place) {
      value.parse(info, words, place);
      where.set(info);
    },
    print: (info, at) => (where.has(info) ? value.print(info, at) : undefined),
  };
}

/** The digits of a number as C's strtoul takes them: blanks and a plus sign may stand in front. */
const DIGITS = /^[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)/;

/** The digits of a text that is one number and nothing else. */
function digitsOf(text: string): string | undefined {
  const found = DIGITS.exec(text);
  return found !== null && found[0].length === text.length ? found[1] : undefined;
}

const isOctal = (digits: string): boolean => digits.length > 1 && digits[0] === '0' && digits[1]!.toLowerCase() !== 'x';

/** A number as C reads one: decimal, 0x or octal with a leading 0. Undefined if it is none, or too large. */
export function parseNumber(text: string, max: number): number | undefined {
  const digits = digitsOf(text);
  if (digits === undefined) return undefined;
  const value = isOctal(digits) ? Number.parseInt(digits, 8) : Number(digits);
  return value <= max ? value : undefined;
}

const toBig = (digits: string): bigint => BigInt(isOctal(digits) ? `0o${digits}` : digits);

/** The same without a limit but 64 bits. */
export function parseBig(text: string): bigint | undefined {
  const digits = digitsOf(text);
  const value = digits === undefined ? undefined : toBig(digits);
  return value !== undefined && value < 1n << 64n ? value : undefined;
}

/** A number that a text begins with, and what follows it. Undefined if there is none, or if it is too large. */
export function leadingNumber(text: string, max: bigint): { value: bigint; rest: string } | undefined {
  const found = DIGITS.exec(text);
  if (found === null) return undefined;
  const value = toBig(found[1]!);
  return value <= max ? { value, rest: text.slice(found[0].length) } : undefined;
}

/**
 * One number, or two with a colon between them, as iptables' own option parser reads them. The first one is 0 if nothing stands in its
 * place, the second one `max`.
 */
export function numbers(text: string, max: bigint, place: OptionPlace): bigint[] {
  const found: bigint[] = [];
  for (let left = text; ; ) {
    if (found.length === 2) throw guided(place, `Too many components for option "--${place.option}" (max: 2)`);
    let rest = left;
    if (left === '' || left[0] === ':') found.push(found.length === 1 ? max : 0n);
    else {
      const one = leadingNumber(left, max);
      if (one === undefined)
        throw guided(place, `bad value for option "--${place.option}" near "${left}", or out of range (0-${max}).`);
      rest = one.rest;
      if (rest !== '' && rest[0] !== ':')
        throw guided(place, `Argument to "--${place.option}" has unexpected characters near "${rest}".`);
      found.push(one.value);
    }
    if (rest === '') return found;
    left = rest.slice(1);
  }
}

export const hex = (value: number, digits = 0): string => `0x${value.toString(16).padStart(digits, '0')}`;

interface NumberOptions {
  min?: number;
  max?: number;
  /** Default decimal. */
  print?: (value: number) => string;
  /** A value that is not saved. */
  hide?: number;
}

/** One number. */
export function number(key: string, { min = 0, max = U32, print = String, hide }: NumberOptions = {}): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      const value = parseNumber(text!, max);
      if (value === undefined || value < min)
        throw guided(place, `bad value for option "--${place.option}", or out of range (${min}-${max}).`);
      info[key] = value;
    },
    print(info) {
      const value = (info[key] as number | undefined) ?? 0;
      return value === hide ? undefined : print(value);
    },
  };
}

interface RangeOptions {
  max?: number;
  print?: (value: number) => string;
  /** Not saved where it is the whole range and not inverted. */
  hideAll?: Flag | true;
  /** The last number if the structure leaves it out. Default the largest. */
  absent?: number;
}

/** A number, or first:last where each may be left out. The structure has the two. */
export function range(first: string, last: string, options: RangeOptions = {}): Value {
  const { max = U32, print = String, hideAll, absent: absentLast = max } = options;
  return {
    words: 1,
    parse(info, [text], place) {
      const [from, to = from] = numbers(text!, BigInt(max), place);
      info[first] = Number(from);
      info[last] = Number(to);
    },
    print(info) {
      const from = (info[first] as number | undefined) ?? 0;
      const to = (info[last] as number | undefined) ?? absentLast;
      if (hideAll !== undefined && from === 0 && to === max && (hideAll === true || !hideAll.has(info)))
        return undefined;
      return from === to ? print(from) : `${print(from)}:${print(to)}`;
    },
  };
}

/** The whole of a structure that keeps first and last in one member, as [first, last]. */
export function rangeIn(key: string, options: RangeOptions): Value {
  const inner = range('first', 'last', options);
  const { max = U32, hideAll, print = String } = options;
  return {
    words: 1,
    parse(info, words, place) {
      const ends: Info = {};
      inner.parse(ends, words, place);
      info[key] = [ends.first, ends.last];
    },
    print(info) {
      const [from, to] = (info[key] as [number, number] | undefined) ?? [0, max];
      if (hideAll !== undefined && from === 0 && to === max && (hideAll === true || !hideAll.has(info)))
        return undefined;
      return from === to ? print(from) : `${print(from)}:${print(to)}`;
    },
  };
}

/** `0x1/0xff`: a mark, and the bits of it that count. Without a mask all do. */
export function parseMark(text: string, max: number, place: OptionPlace): { mark: number; mask: number } {
  const mark = leadingNumber(text, BigInt(max));
  const slashed = mark?.rest[0] === '/';
  const mask = slashed ? leadingNumber(mark.rest.slice(1), BigInt(max)) : mark;
  if (mark === undefined || mask === undefined)
    throw guided(place, `bad integer value for option "--${place.option}", or out of range.`);
  if (mask.rest !== '') throw guided(place, `trailing garbage after value for option "--${place.option}".`);
  return { mark: Number(mark.value), mask: slashed ? Number(mask.value) : max };
}

/** The same, or a name of one of iproute2's files. */
export function namedMark(
  text: string,
  file: 'group' | 'rt_realms',
  place: OptionPlace,
): { mark: number; mask: number } {
  const named = place.names.file(file).byName.get(text);
  if (named !== undefined) return { mark: named, mask: U32 };
  if (leadingNumber(text, BigInt(U32)) === undefined)
    throw guided(place, `could not map name ${text} to an integer value for option "--${place.option}".`);
  return parseMark(text, U32, place);
}

/** A mark, and the bits of it that count: `0x1/0xff`. All bits are not saved. */
export function masked(key: string, mask: string, max = U32): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      const found = parseMark(text!, max, place);
      info[key] = found.mark;
      info[mask] = found.mask;
    },
    print(info) {
      const value = hex((info[key] as number | undefined) ?? 0);
      const bits = (info[mask] as number | undefined) ?? max;
      return bits === max ? value : `${value}/${hex(bits)}`;
    },
  };
}

/** The beginning of a text that fits in `size` bytes with its final NUL. */
export const cutText = (text: string, size: number): string =>
  Buffer.byteLength(text) < size
    ? text
    : Buffer.from(text)
        .toString('utf8', 0, size - 1)
        .replace(/\ufffd$/, '');

/** Text of a field of C: what does not fit is cut off, as iptables does. `size` counts the final NUL. */
export function text(key: string, size: number, { required = false }: { required?: boolean } = {}): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      if (required && word === '') throw refused(place, 'Argument must have a minimum length of 1 characters\n');
      info[key] = cutText(word!, size);
    },
    print(info) {
      const value = info[key] as string | undefined;
      return value === undefined ? undefined : quoted(value);
    },
  };
}

/** One of some words. `key` has the word of the structure that stands for it. */
export function oneOf(
  key: string,
  words: Readonly<Record<string, string | number>>,
  bad: (word: string) => string,
): Value {
  const byValue = new Map(
    Object.entries(words)
      .reverse()
      .map(([word, value]) => [value, word]),
  );
  return {
    words: 1,
    parse(info, [word], place) {
      const found = Object.hasOwn(words, word!) ? words[word!] : undefined;
      if (found === undefined) throw refused(place, bad(word!));
      info[key] = found;
    },
    print(info) {
      // What is left out of a structure is its first value.
      const value = (info[key] as string | number | undefined) ?? Object.values(words)[0]!;
      return byValue.get(value) ?? String(value);
    },
  };
}

/** A list from its entry number `i` on: messages of iptables have it where an entry is wrong. */
export const restOf = (list: string, i: number): string => list.split(',').slice(i).join(',');

/** Some of some words, between commas. Saved in the order of `words`. */
export function someOf(
  key: string,
  words: Readonly<Record<string, string>>,
  { bad, fold = word => word }: { bad: (word: string) => string; fold?: (word: string) => string },
): Value {
  return {
    words: 1,
    parse(info, [list], place) {
      const found: string[] = [];
      for (const [i, word] of list!.split(',').entries()) {
        const name = fold(word);
        if (!Object.hasOwn(words, name)) throw refused(place, bad(restOf(list!, i)));
        const value = words[name]!;
        if (!found.includes(value)) found.push(value);
      }
      info[key] = found;
    },
    print(info) {
      const value = info[key] as readonly string[] | undefined;
      if (value === undefined) return undefined;
      return Object.entries(words)
        .filter(([, name]) => value.includes(name))
        .map(([word]) => word)
        .join(',');
    },
  };
}

/** The port of a name or a number. */
export function parsePort(word: string, place: OptionPlace): number {
  const port = parseNumber(word, 0xffff) ?? place.names.services().byName.get(word);
  if (port === undefined) throw refused(place, `invalid port/service \`${word}' specified`);
  return port;
}

/** A port, or first:last, each of them a number or a service's name. The structure has [first, last]. */
export function ports(key: string, inverted: Flag, parse = parsePorts): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      info[key] = parse(word!, place);
    },
    print(info) {
      const [first, last] = (info[key] as [number, number] | undefined) ?? [0, 0xffff];
      if (first === 0 && last === 0xffff && !inverted.has(info)) return undefined;
      return first === last ? String(first) : `${first}:${last}`;
    },
  };
}

export function parsePorts(word: string, place: OptionPlace): [first: number, last: number] {
  const colon = word.indexOf(':');
  if (colon < 0) {
    const port = parsePort(word, place);
    return [port, port];
  }
  const [from, to] = [word.slice(0, colon), word.slice(colon + 1)];
  const first = from === '' ? 0 : parsePort(from, place);
  const last = to === '' ? 0xffff : parsePort(to, place);
  if (first > last) throw refused(place, 'invalid portrange (min > max)');
  return [first, last];
}

/** A port as C's getaddrinfo takes it: of a number the lower 16 bits count. */
export function resolvedPort(text: string, place: OptionPlace): number {
  const digits = /^[ \t\n]*\+?(\d*)$/.exec(text)?.[1];
  const value = digits === undefined ? undefined : BigInt(digits);
  const isNumber = value !== undefined && value < 1n << 64n && BigInt.asIntN(32, value) >= 0n;
  const port = isNumber ? Number(value & 0xffffn) : place.names.services().byName.get(text);
  if (port === undefined) throw refused(place, `Port "${text}" does not resolve to anything.\n`);
  return port;
}

/** The same as iptables' own option parser reads them. */
export function resolvedPorts(word: string, place: OptionPlace): [first: number, last: number] {
  const [from = '', to, ...more] = word.split(':');
  if (to === undefined) {
    const port = resolvedPort(from, place);
    return [port, port];
  }
  const first = from === '' ? 0 : resolvedPort(from, place);
  const last = to === '' ? 0xffff : resolvedPort(to, place);
  if (more.length > 0) throw guided(place, `Too many components for option "--${place.option}" (max: 2)`);
  return [first, last];
}

/** An address of the rule's family, in its usual form; undefined if it is none. */
export function parseAddress(text: string, at: Surroundings): string | undefined {
  if (at.family === 'ipv4') {
    const raw = parseIPv4(text);
    return raw && formatIPv4(raw);
  }
  const raw = parseIPv6(text);
  return raw && formatIPv6(raw);
}

/** The address with `length` ones. */
export function maskOf(length: number, family: 'ipv4' | 'ipv6'): string {
  const bytes = new Uint8Array(family === 'ipv4' ? 4 : 16);
  for (let i = 0; i < length; i++) bytes[i >> 3]! |= 0x80 >> (i & 7);
  return family === 'ipv4' ? formatIPv4(bytes) : formatIPv6(bytes);
}

/** A mask that was not given: all bytes of the structure are ones, whatever the family. */
export const NO_MASK = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';

/** The number of ones of a mask whose ones are all in front; undefined for others. */
export function lengthOfMask(mask: string, family?: 'ipv4' | 'ipv6'): number | undefined {
  if (family === 'ipv4' && mask === NO_MASK) return 32;
  const bytes = parseIPv4(mask) ?? parseIPv6(mask);
  if (bytes === undefined) return undefined;
  let length = 0;
  while (length < bytes.length * 8 && (bytes[length >> 3]! & (0x80 >> (length & 7))) !== 0) length++;
  for (let i = length; i < bytes.length * 8; i++) if ((bytes[i >> 3]! & (0x80 >> (i & 7))) !== 0) return undefined;
  return length;
}

/** An address with its mask, as extensions print both; what is left out is any. */
export function maskedAddress(address: unknown, mask: unknown, family: 'ipv4' | 'ipv6'): string {
  const any = family === 'ipv4' ? '0.0.0.0' : '::';
  const bits = (mask as string | undefined | null) ?? any;
  const length = lengthOfMask(bits, family);
  const full = family === 'ipv4' ? 32 : 128;
  return `${(address as string | undefined | null) ?? any}${length === full ? '' : `/${length ?? bits}`}`;
}
