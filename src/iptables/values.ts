import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../codec/index.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import { type Flag, guided, type OptionPlace, refused, type Surroundings, type Value } from './extension.ts';
import { inQuotes, quoted } from './words.ts';

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

/** A number as C reads one: decimal, 0x or octal with a leading 0. Undefined if it is none, or too large. */
export function parseNumber(text: string, max: number): number | undefined {
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) return undefined;
  const octal = /^0[0-9]/.test(text);
  if (octal && !/^[0-7]+$/.test(text)) return undefined;
  const value = octal ? Number.parseInt(text, 8) : Number(text);
  return value <= max ? value : undefined;
}

/** The same without a limit but 64 bits. */
export function parseBig(text: string): bigint | undefined {
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) return undefined;
  if (/^0[0-9]/.test(text) && !/^[0-7]+$/.test(text)) return undefined;
  const value = /^0[0-7]/.test(text) ? BigInt(`0o${text}`) : BigInt(text);
  return value < 1n << 64n ? value : undefined;
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
  min?: number;
  max?: number;
  print?: (value: number) => string;
  /** Not saved where it is the whole range and not inverted. */
  hideAll?: Flag | true;
  /** Reversed ranges are refused. */
  ordered?: true;
  /** The last number if the structure leaves it out. Default the largest. */
  absent?: number;
}

/** A number, or first:last where each may be left out. The structure has the two. */
export function range(first: string, last: string, options: RangeOptions = {}): Value {
  const { min = 0, max = U32, print = String, hideAll, ordered, absent: absentLast = max } = options;
  return {
    words: 1,
    parse(info, [text], place) {
      const parts = text!.split(':');
      const bound = (part: string | undefined, absent: number): number => {
        if (part === undefined || part === '') return absent;
        const value = parseNumber(part, max);
        if (value === undefined || value < min)
          throw guided(
            place,
            `bad value for option "--${place.option}" near "${parts[0] === part ? text : part}", or out of range (${min}-${max}).`,
          );
        return value;
      };
      if (parts.length > 2)
        throw guided(
          place,
          `bad value for option "--${place.option}" near "${text}", or out of range (${min}-${max}).`,
        );
      info[first] = bound(parts[0], min);
      info[last] = parts.length === 1 ? info[first] : bound(parts[1], max);
      if (ordered && (info[first] as number) > (info[last] as number))
        throw refused(place, `${place.extension}: first value of a range must be smaller than the last: "${text}"`);
    },
    print(info) {
      const from = (info[first] as number | undefined) ?? 0;
      const to = (info[last] as number | undefined) ?? absentLast;
      if (hideAll !== undefined && from === min && to === max && (hideAll === true || !hideAll.has(info)))
        return undefined;
      return from === to ? print(from) : `${print(from)}:${print(to)}`;
    },
  };
}

/** The whole of a structure that keeps first and last in one member, as [first, last]. */
export function rangeIn(key: string, options: RangeOptions): Value {
  const inner = range('first', 'last', options);
  const { min = 0, max = U32, hideAll, print = String } = options;
  return {
    words: 1,
    parse(info, words, place) {
      const ends: Info = {};
      inner.parse(ends, words, place);
      info[key] = [ends.first, ends.last];
    },
    print(info) {
      const [from, to] = (info[key] as [number, number] | undefined) ?? [min, max];
      if (hideAll !== undefined && from === min && to === max && (hideAll === true || !hideAll.has(info)))
        return undefined;
      return from === to ? print(from) : `${print(from)}:${print(to)}`;
    },
  };
}

/** A mark, and the bits of it that count: `0x1/0xff`. All bits are not saved. */
export function masked(key: string, mask: string, max = U32): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      const [value, bits, ...more] = text!.split('/');
      const number = parseNumber(value!, max);
      const ones = bits === undefined ? max : parseNumber(bits, max);
      if (number === undefined || ones === undefined || more.length > 0)
        throw guided(place, `bad integer value for option "--${place.option}", or out of range.`);
      info[key] = number;
      info[mask] = ones;
    },
    print(info) {
      const value = hex((info[key] as number | undefined) ?? 0);
      const bits = (info[mask] as number | undefined) ?? max;
      return bits === max ? value : `${value}/${hex(bits)}`;
    },
  };
}

/** Text. `max` in bytes. */
export function text(key: string, max: number, { always = false }: { always?: boolean } = {}): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      const length = Buffer.byteLength(word!);
      if (length > max)
        throw guided(place, `argument must have a minimum length of 1 and a maximum length of ${max} characters`);
      info[key] = word;
    },
    print(info) {
      const value = info[key] as string | undefined;
      if (value === undefined) return undefined;
      return always ? inQuotes(value) : quoted(value);
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
      for (const word of list!.split(',')) {
        const name = fold(word);
        if (!Object.hasOwn(words, name)) throw refused(place, bad(word));
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

/** The same as iptables' own option parser reads them: decimal numbers only. */
export function parseDecimalPorts(word: string, place: OptionPlace): [first: number, last: number] {
  const one = (text: string): number => {
    const number = /^\d+$/.test(text) ? Number(text) : place.names.services().byName.get(text);
    if (number === undefined) throw refused(place, `Port "${text}" does not resolve to anything.\n`);
    if (number > 0xffff) throw guided(place, `Port "${text}" is out of range (0-65535).`);
    return number;
  };
  const colon = word.indexOf(':');
  if (colon < 0) {
    const port = one(word);
    return [port, port];
  }
  const [from, to] = [word.slice(0, colon), word.slice(colon + 1)];
  return [from === '' ? 0 : one(from), to === '' ? 0xffff : one(to)];
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
