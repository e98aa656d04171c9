import { statSync } from 'node:fs';
import { parseIPv4, parseIPv6, toHex } from '../../codec/index.ts';
import type { ByteOrder, Datatype } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { Names, NameTable } from '../names.ts';
import { type Place, refuse, type Value, value } from '../tree.ts';
import { fromBytes, textBytes } from './number.ts';

/** What the meaning of words depends on, besides their type. */
export interface WordContext {
  /** Asked for only where a word is neither a number nor one of nft's own. */
  names(): Names;
  readonly dialect: Dialect;
  /** The index of an interface. */
  interfaceIndex(name: string): number | undefined;
}

const CGROUPS = '/sys/fs/cgroup';
const SECONDS_PER_DAY = 86_400;

/** The value that a word stands for where a type is asked for. */
export function parseValue(
  word: string | number | bigint,
  type: Datatype,
  place: Place | undefined,
  context: WordContext,
): Value {
  const number = typeof word === 'string' ? undefined : wholeNumber(word, place);
  const text = typeof word === 'string' ? word : String(word);
  const wrong = (expected: string) => refuse(place, expected, word);
  const made = (found: bigint, order: ByteOrder = type.order, bits = type.bits) =>
    value(bits, found, type, order, place);
  const integer = (expected: string): Value => {
    const found = number ?? parseInteger(text);
    if (found === undefined) throw wrong(expected);
    return made(found, 'host', 1);
  };
  switch (type.kind) {
    case 'integer':
    case 'bitmask': {
      const symbols = context.dialect.usesOldSymbols ? (type.oldSymbols ?? type.symbols) : type.symbols;
      if (symbols === undefined) return integer('a number');
      if (number === undefined && Object.hasOwn(symbols, text)) return made(BigInt(symbols[text]!));
      return integer(`a number, or one of ${Object.keys(symbols).join(', ')}`);
    }
    case 'boolean': {
      const found = text === 'exists' ? 1n : text === 'missing' ? 0n : integer('true or false').value;
      return made(found === 0n ? 0n : 1n);
    }
    case 'ipv4': {
      const bytes = number === undefined ? parseIPv4(text) : undefined;
      if (bytes !== undefined)
        return made(BigInt(((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0));
      if (number !== undefined && number <= 0xffffffffn) return made(number);
      throw wrong('an IPv4 address');
    }
    case 'ipv6': {
      const bytes = parseIPv6(text);
      if (bytes === undefined) throw wrong('an IPv6 address');
      return made(fromBytes(toHex(bytes), 'big'));
    }
    case 'link-address': {
      if (!/^[0-9a-f]{1,2}(:[0-9a-f]{1,2})*$/i.test(text)) throw wrong('a link layer address');
      const parts = text.split(':');
      const hex = parts.map(part => part.padStart(2, '0')).join('');
      return made(fromBytes(hex, 'big'), 'big', parts.length * 8);
    }
    case 'protocol':
      if (Object.hasOwn(PROTOCOL_WORDS, text)) return made(BigInt(PROTOCOL_WORDS[text]!));
      return named(names => names.protocols(), 'an IP protocol', 0xffn);
    case 'service':
      return named(names => names.services(), 'a port or a service', 0xffffn);
    case 'file':
      return named(names => names.file(type.file!), `a number, or a name in ${type.file}`, 0xffffffffn);
    case 'user':
      return named(names => names.users(), "a user's number or name", 0xffffffffn);
    case 'group':
      return named(names => names.groups(), "a group's number or name", 0xffffffffn);
    case 'label': {
      const bit = context.names().file(type.file!).byName.get(text) ?? Number(integer('a connection label').value);
      if (bit >= type.bits) throw wrong(`a connection label below ${type.bits}`);
      return made(1n << BigInt(bit));
    }
    case 'interface': {
      const found = number === undefined ? (context.interfaceIndex(text) ?? decimal(text)) : Number(number);
      if (found === undefined || found > 0x7fffffff) throw wrong('an interface that exists, or its index');
      return made(BigInt(found));
    }
    case 'string': {
      if (/[^\t\x20-\x7e\u0080-\uffff]/.test(text)) throw wrong('text without control characters');
      const hex = `${textBytes(text)}00`;
      return made(fromBytes(hex, 'host'), 'host', hex.length * 4);
    }
    case 'time': {
      const milliseconds = parseTime(text);
      if (milliseconds === undefined || milliseconds > 0xffffffff) throw wrong("a time: seconds, or '1d2h3m4s'");
      return made(BigInt(milliseconds));
    }
    case 'date': {
      const nanoseconds = parseDate(text);
      if (nanoseconds === undefined) throw wrong("a date: '2020-01-31 23:59:59', or seconds since 1970");
      return made(nanoseconds);
    }
    case 'hour': {
      const seconds = parseHour(text);
      if (seconds === undefined) throw wrong("a time of the day: '23:59', or seconds since midnight UTC");
      return made(BigInt(seconds));
    }
    case 'classid': {
      const handle = parseClassid(text);
      if (handle === undefined) throw wrong("a traffic class: 'major:minor', root or none");
      return made(BigInt(handle));
    }
    case 'cgroup': {
      if (number !== undefined) return made(number);
      const inode = inodeOf(`${CGROUPS}/${text}`);
      if (inode === undefined) throw wrong(`a control group below ${CGROUPS}`);
      return made(inode);
    }
    default:
      throw wrong(type.kind === 'verdict' ? 'a verdict' : 'something whose type is known from the other side');
  }

  function named(table: (names: Names) => NameTable, expected: string, maximum: bigint): Value {
    const found = number ?? parseInteger(text) ?? bigOrNone(table(context.names()).byName.get(text));
    if (found === undefined || found > maximum) throw wrong(expected);
    return made(found);
  }
}

function wholeNumber(word: number | bigint, place: Place | undefined): bigint {
  if (typeof word === 'bigint' ? word >= 0n : Number.isSafeInteger(word) && word >= 0) return BigInt(word);
  throw refuse(place, 'a whole number that is not negative', word);
}

const bigOrNone = (number: number | undefined): bigint | undefined =>
  number === undefined ? undefined : BigInt(number);

/** As C reads it: 0x10 is hexadecimal, 010 octal. */
function parseInteger(text: string): bigint | undefined {
  if (/^(0x[0-9a-f]+|0|[1-9]\d*)$/i.test(text)) return BigInt(text);
  return /^0[0-7]+$/.test(text) ? BigInt(`0o${text.slice(1)}`) : undefined;
}

const decimal = (text: string): number | undefined => (/^\d{1,10}$/.test(text) ? Number(text) : undefined);

const UNITS: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Milliseconds of '1d2h3m4s5ms'; a number alone is seconds. */
export function parseTime(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(ms|[dhms]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[dhms])/g)) sum += Number(count) * UNITS[unit!]!;
  return sum;
}

/** Nanoseconds since 1970 of a local date, or of a number of seconds. */
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

/** Seconds since midnight UTC of a local time of the day; a number is what it is. */
function parseHour(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  const found = /^(\d\d?):(\d\d?)(?::(\d\d?))?$/.exec(text);
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
  const found = /^([0-9a-f]*):([0-9a-f]*)$/i.exec(text);
  if (found === null) {
    const number = parseInteger(text);
    return number === undefined ? undefined : Number(number);
  }
  return Number.parseInt(found[1] || '0', 16) * 0x10000 + Number.parseInt(found[2] || '0', 16);
}

function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

/** Protocols that nft's language has words for, whatever the files call them. */
const PROTOCOL_WORDS: Readonly<Record<string, number>> = {
  tcp: 6,
  udp: 17,
  udplite: 136,
  esp: 50,
  ah: 51,
  icmp: 1,
  icmpv6: 58,
  comp: 108,
  dccp: 33,
  sctp: 132,
};
