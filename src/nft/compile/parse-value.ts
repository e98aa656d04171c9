import { statSync } from 'node:fs';
import { parseIPv4, parseIPv6, toHex } from '../../codec/index.ts';
import { oneOf } from '../../errors.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import { describeType, mismatch } from '../data/descriptions.ts';
import type { Dialect } from '../data/dialects.ts';
import { IP_PROTOCOL_WORD } from '../data/symbols.ts';
import type { Names, NameTable } from '../names.ts';
import { value } from '../nodes.ts';
import { type Place, refuse, type Value } from '../tree.ts';
import { fromBytes, textBytes } from './number.ts';

/** The surroundings that the value of a word depends on, in addition to its type. */
export interface WordContext {
  /** Returns the names of numbers. It is only called for a word that is no number and no word of nft's language. */
  names(): Names;
  readonly dialect: Dialect;
  /** Returns the index of an interface. */
  interfaceIndex(name: string): number | undefined;
}

const CGROUPS = '/sys/fs/cgroup';
const SECONDS_PER_DAY = 86_400;

/** A word of a rule. It has the type of the other side of its match, or of its set. */
interface Word {
  readonly given: string | number | bigint;
  /** Undefined if the word is text. */
  readonly number: bigint | undefined;
  readonly text: string;
  readonly type: Datatype;
  readonly place: Place | undefined;
  readonly context: WordContext;
}

const wrong = (word: Word, expected: string) =>
  refuse(
    word.place,
    `${expected}${word.type.kind === 'string' ? '' : several(word.given)}`,
    word.given,
    messageOf(word),
  );

/** In text, the names of protocols are values of a type of their own. */
function messageOf(word: Word): string {
  const { type, text } = word;
  if (type.kind !== 'protocol' && type.kind !== 'invalid' && type.kind !== 'concatenation')
    if (Object.hasOwn(PROTOCOL_WORDS, text)) return mismatch(type, TYPES.inet_proto);
  return (MESSAGES[type.kind] ?? unparsed)(word);
}

const unparsed = ({ type }: Word): string => `Could not parse ${describeType(type)}`;
const outOfRange = ({ number }: Word): string | undefined =>
  number === undefined ? undefined : `Value ${number} exceeds valid range 0-${MAXIMUM}`;
const RESOLVE = 'Could not resolve hostname';
const OTHER_FAMILY = `${RESOLVE}: Address family for hostname not supported`;
const UNKNOWN_HOST = `${RESOLVE}: Name or service not known`;

/** What nft says of a word that is no value of a type. */
const MESSAGES: Readonly<Partial<Record<Datatype['kind'], (word: Word) => string>>> = {
  invalid: () => "Can't parse symbolic invalid expressions",
  verdict: () => "Can't parse symbolic netfilter verdict expressions",
  concatenation: ({ type }) => `invalid data type, expected ${describeType(type)}`,
  ipv4: ({ text }) => (parseIPv6(text) === undefined ? UNKNOWN_HOST : OTHER_FAMILY),
  ipv6: ({ text, number }) => (number === undefined && parseIPv4(text) === undefined ? UNKNOWN_HOST : OTHER_FAMILY),
  'link-address': () => 'Invalid LL address',
  protocol: ({ number, text }) =>
    number === undefined && !isNumber(text) ? 'Could not resolve protocol name' : 'Protocol out of range',
  service: ({ number, text }) =>
    number === undefined && !isNumber(text)
      ? 'Could not resolve service: Servname not supported for ai_socktype'
      : 'Service out of range',
  user: ({ number, text }) => (number !== undefined || isNumber(text) ? 'Value too large' : 'User does not exist'),
  group: ({ number, text }) => (number !== undefined || isNumber(text) ? 'Value too large' : 'Group does not exist'),
  file: word => outOfRange(word) ?? unparsed(word),
  interface: () => 'Interface does not exist',
  time: ({ text }) => (parseTime(text) === undefined ? timeMessage(text) : 'value too large'),
  date: () => 'Cannot parse date',
  hour: ({ text }) => timeMessage(text),
  cgroup: () => 'cgroupv2 path fails: No such file or directory',
  label: ({ text, number, type }) =>
    number === undefined
      ? `/etc/connlabel.conf: could not parse conntrack label "${text}"${isNumber(text) ? ': Numerical result out of range' : ''}`
      : `${text}: bit ${text} out of range (${type.bits} max)`,
};

const isNumber = (text: string): boolean => /^\d+$/.test(text);

const UNIT_NAMES: Readonly<Record<string, string>> = {
  d: 'Day',
  h: 'Hour',
  m: 'Minute',
  s: 'Second',
  ms: 'Millisecond',
};

/** What nft says of a text that is no time: it looks at the units from the left. */
function timeMessage(text: string): string {
  const seen = new Set<string>();
  for (const [part] of text.matchAll(/\d+|ms|[^\d]/g)) {
    if (isNumber(part)) continue;
    const name = UNIT_NAMES[part];
    if (name === undefined) break;
    if (seen.has(part)) return `${name} has been specified twice`;
    seen.add(part);
  }
  return 'wrong time format';
}

/** How several values are matched, where text that means several was given as one. */
function several(given: unknown): string {
  if (typeof given !== 'string') return '';
  const [, first, length] = /^([\d.]+|[\da-f:]*:[\da-f:.]*)\/(\d+)$/i.exec(given) ?? [];
  if (first !== undefined)
    return ` (a prefix is matched by .prefix('${first}', ${length}), and is { prefix: { addr, len } } in a list)`;
  if (/^[\d.:]+-[\d.:]+$/.test(given))
    return ' (a range is matched by .between(first, last), and is { range: [first, last] } in a list)';
  return /^[^,]+,[^,]/.test(given) ? ' (a list is matched by .in([...]))' : '';
}

const made = ({ place, type }: Word, number: bigint, order: ByteOrder = type.order, bits: number = type.bits): Value =>
  value(bits, number, type, order, place);

/** Returns a number without a name. It has the host's byte order and as many bits as it needs. */
function integer(word: Word, expected: string): Value {
  const found = word.number ?? parseInteger(word.text);
  if (found === undefined) throw wrong(word, expected);
  return made(word, found, 'host', 1);
}

/** Makes a value of the result of a parser; undefined is an error. */
function orRefuse(word: Word, found: number | bigint | undefined, expected: string): Value {
  if (found === undefined) throw wrong(word, expected);
  return made(word, BigInt(found));
}

/** Returns a number up to a maximum, or the number that a name has in a file. */
function named(word: Word, table: (names: Names) => NameTable, expected: string, maximum: bigint): Value {
  const { number, text, context } = word;
  const found = number ?? parseInteger(text) ?? table(context.names()).byName.get(text);
  if (found === undefined || found > maximum) throw wrong(word, expected);
  return made(word, BigInt(found));
}

function symbol(word: Word): Value {
  const { type, number, text, context } = word;
  const symbols = context.dialect.usesOldSymbols ? (type.oldSymbols ?? type.symbols) : type.symbols;
  if (symbols === undefined) return integer(word, 'a number');
  if (number === undefined && Object.hasOwn(symbols, text)) return made(word, BigInt(symbols[text]!));
  return integer(word, `a number, or ${oneOf(Object.keys(symbols), word.given)}`);
}

const PROTOCOL_WORDS: Readonly<Record<string, number>> = IP_PROTOCOL_WORD;
const MAXIMUM = 0xffffffffn;

/** The parsers of words, by the kind of the type. */
const PARSERS: Readonly<Partial<Record<Datatype['kind'], (word: Word) => Value>>> = {
  integer: symbol,
  bitmask: symbol,
  boolean(word) {
    const { text } = word;
    const found = text === 'exists' ? 1n : text === 'missing' ? 0n : integer(word, 'true or false').value;
    if (found > 0xffn)
      throw refuse(word.place, 'true or false', word.given, `Value ${found} exceeds valid range 0-255`);
    return made(word, found);
  },
  ipv4(word) {
    const { number, text } = word;
    const bytes = number === undefined ? parseIPv4(text) : undefined;
    if (bytes !== undefined)
      return made(word, BigInt(((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0));
    if (number === undefined || number > MAXIMUM) throw wrong(word, 'an IPv4 address');
    return made(word, number);
  },
  ipv6(word) {
    const bytes = parseIPv6(word.text);
    return orRefuse(word, bytes && fromBytes(toHex(bytes), 'big'), 'an IPv6 address');
  },
  'link-address'(word) {
    if (!/^[0-9a-f]{1,2}(:[0-9a-f]{1,2})*$/i.test(word.text)) throw wrong(word, 'a link layer address');
    const parts = word.text.split(':');
    const hex = parts.map(part => part.padStart(2, '0')).join('');
    return made(word, fromBytes(hex, 'big'), 'big', parts.length * 8);
  },
  protocol(word) {
    if (Object.hasOwn(PROTOCOL_WORDS, word.text)) return made(word, BigInt(PROTOCOL_WORDS[word.text]!));
    return named(word, names => names.protocols(), 'an IP protocol', 0xffn);
  },
  service: word => named(word, names => names.services(), 'a port or a service', 0xffffn),
  file: word => named(word, names => names.file(word.type.file!), `a number, or a name in ${word.type.file}`, MAXIMUM),
  user: word => named(word, names => names.users(), "a user's number or name", MAXIMUM),
  group: word => named(word, names => names.groups(), "a group's number or name", MAXIMUM),
  label(word) {
    const { type, text, context } = word;
    const numbers = context.names().file(type.file!).byName;
    const bit = numbers.get(text) ?? Number(integer(word, 'a connection label').value);
    if (bit >= type.bits) throw wrong(word, `a connection label below ${type.bits}`);
    return made(word, 1n << BigInt(bit));
  },
  interface(word) {
    const { number, text, context } = word;
    const found = number === undefined ? (context.interfaceIndex(text) ?? decimal(text)) : Number(number);
    if (found === undefined || found > 0x7fffffff) throw wrong(word, 'an interface that exists, or its index');
    return made(word, BigInt(found));
  },
  string(word) {
    if (/[^\t\x20-\x7e\u0080-\uffff]/.test(word.text)) throw wrong(word, 'text without control characters');
    const hex = `${textBytes(word.text)}00`;
    return made(word, fromBytes(hex, 'host'), 'host', hex.length * 4);
  },
  time(word) {
    const milliseconds = parseTime(word.text);
    const fits = milliseconds !== undefined && milliseconds <= 0xffffffff;
    return orRefuse(word, fits ? milliseconds : undefined, "a time: seconds, or '1d2h3m4s'");
  },
  date: word => orRefuse(word, parseDate(word.text), "a date: '2020-01-31 23:59:59', or seconds since 1970"),
  hour: word => orRefuse(word, parseHour(word.text), "a time of the day: '23:59', or seconds since midnight UTC"),
  classid(word) {
    const found = word.context.dialect.readsAnyClassid ? readClassid(word.text) : parseClassid(word.text);
    return orRefuse(word, found, "a traffic class: 'major:minor', root or none");
  },
  cgroup(word) {
    const found = word.number ?? inodeOf(`${CGROUPS}/${word.text}`);
    return orRefuse(word, found, `a control group below ${CGROUPS}`);
  },
};

/** Returns the value of a word where a value of this type is expected. */
export function parseValue(
  given: string | number | bigint,
  type: Datatype,
  place: Place | undefined,
  context: WordContext,
): Value {
  const number = typeof given === 'string' ? undefined : wholeNumber(given, place);
  const word: Word = { given, number, text: typeof given === 'string' ? given : String(given), type, place, context };
  const parser = PARSERS[type.kind];
  if (parser !== undefined) return parser(word);
  throw wrong(word, type.kind === 'verdict' ? 'a verdict' : 'something whose type is known from the other side');
}

function wholeNumber(word: number | bigint, place: Place | undefined): bigint {
  if (typeof word === 'bigint' ? word >= 0n : Number.isSafeInteger(word) && word >= 0) return BigInt(word);
  throw refuse(place, 'a whole number that is not negative', word);
}

/** Parses an integer as C does: 0x10 is hexadecimal, 010 octal. */
function parseInteger(text: string): bigint | undefined {
  if (/^(0x[0-9a-f]+|0|[1-9]\d*)$/i.test(text)) return BigInt(text);
  return /^0[0-7]+$/.test(text) ? BigInt(`0o${text.slice(1)}`) : undefined;
}

const decimal = (text: string): number | undefined => (/^\d{1,10}$/.test(text) ? Number(text) : undefined);

const UNITS: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Returns the milliseconds of '1d2h3m4s5ms'. A number alone means seconds. */
export function parseTime(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(ms|[dhms]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[dhms])/g)) sum += Number(count) * UNITS[unit!]!;
  return sum;
}

/** Returns the nanoseconds since 1970 of a local date. A number alone means seconds since 1970. */
function parseDate(text: string): bigint | undefined {
  const found = /^(\d{4})-(\d\d?)-(\d\d?)(?: (\d\d?):(\d\d?)(?::(\d\d?))?)?$/.exec(text);
  if (found === null) return /^\d+$/.test(text) ? BigInt(text) * 1_000_000_000n : undefined;
  const [year, month, day, hour = 0, minute = 0, second = 0] = found
    .slice(1)
    .map(part => (part === undefined ? undefined : Number(part)));
  const utc = Date.UTC(year!, month! - 1, day!, hour, minute, second);
  const offset = new Date(utc).getTimezoneOffset() * 60_000;
  return BigInt(utc + offset) * 1_000_000n;
}

/** Returns the seconds since midnight UTC of a local time of day. A number alone is the result itself. */
function parseHour(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  const found = /^([01]?\d|2[0-3]):([0-5]?\d)(?::([0-5]?\d|60))?$/.exec(text);
  const seconds =
    found === null
      ? (parseTime(text) ?? Number.NaN) / 1000
      : Number(found[1]) * 3600 + Number(found[2]) * 60 + Number(found[3] ?? 0);
  if (Number.isNaN(seconds)) return undefined;
  const offset = -new Date().getTimezoneOffset() * 60;
  return (((seconds - offset) % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
}

function parseClassid(text: string): number | undefined {
  if (text === 'root') return 0xffffffff;
  if (text === 'none') return 0;
  const found = /^(?:0x)?([0-9a-f]*):(?:0x)?([0-9a-f]*)$/i.exec(text);
  if (found === null) {
    const number = parseInteger(text);
    return number === undefined ? undefined : Number(number);
  }
  return Number.parseInt(found[1] || '0', 16) * 0x10000 + Number.parseInt(found[2] || '0', 16);
}

/** As nft 1.0.6 reads it: what is no number is 0. */
function readClassid(text: string): number {
  const named = text === 'root' ? 0xffffffff : text === 'none' ? 0 : undefined;
  if (named !== undefined) return named;
  const [major = '', minor] = text.split(':');
  if (minor === undefined) return Number(BigInt(/^(?:0x[0-9a-f]+|\d+)/i.exec(text)?.[0] ?? 0) & MAXIMUM);
  // Two colons at the beginning, or one at the end: nothing is behind it.
  return ((hexadecimal(major) << 16) | hexadecimal(minor)) >>> 0;
}

const hexadecimal = (text: string): number => Number.parseInt(/^(?:0x)?[0-9a-f]+/i.exec(text)?.[0] ?? '0', 16);

function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}
