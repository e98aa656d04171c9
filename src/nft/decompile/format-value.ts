import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { formatIPv4, formatIPv6, HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { bytesOf, lowestOne, reverseBytes, textOf } from '../bits.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import { type Dialect, dialectOf } from '../data/dialects.ts';
import type { Symbols } from '../data/symbols.ts';
import { Names } from '../names.ts';
import { Undecompilable, type Value } from '../tree.ts';
import { isQuotable, Unwritable } from './unwritable.ts';

/* Values as text and JSON, by their types. */

/** The things that the text of values depends on. */
export interface Vocabulary {
  readonly names: Names;
  /** Returns the name of an interface by its index; undefined if it has none. */
  readonly interfaceName: (index: number) => string | undefined;
  readonly dialect: Dialect;
  /** The reasons why an object cannot be written. */
  readonly unwritable: Unwritable;
  /** Such an object is an error, and not printed as a comment. */
  readonly strict: boolean;
}

/** `numbers` has no names: nft writes ranges so. */
export type Style = 'names' | 'numbers';

/** The types of ICMP codes, which have names in `reject`. */
export const REJECT_CODES: ReadonlySet<Datatype> = /* @__PURE__ */ new Set<Datatype>([
  TYPES.icmp_code,
  TYPES.icmpv6_code,
  TYPES.icmpx_code,
]);

/** The number in the byte order of the type's names: fields of the packet have its order, other values that of this machine. */
function natural({ type, order, value, bits }: Value): bigint {
  const inPacketOrder = type.order === 'big' && type.bits > 8;
  if ((order === 'host') !== inPacketOrder || bits <= 8) return value;
  return HOST_IS_LITTLE_ENDIAN ? reverseBytes(value, bytesOf(bits)) : value;
}

function symbolsOf(type: Datatype, { dialect }: Vocabulary): Symbols | undefined {
  if (dialect.usesOldSymbols && type.oldSymbols !== undefined) return type.oldSymbols;
  if (!dialect.printsIcmpCodeNames && REJECT_CODES.has(type)) return undefined;
  return type.symbols;
}

function symbolOf(symbols: Symbols | undefined, number: bigint): string | undefined {
  if (symbols !== undefined) for (const name in symbols) if (BigInt(symbols[name]!) === number) return name;
  return undefined;
}

/** The value's name; undefined if it has none. */
function nameOf(node: Value, words: Vocabulary): string | undefined {
  const { type } = node;
  if (type.kind === 'file') return words.names.file(type.file!).byNumber.get(Number(natural(node)));
  return symbolOf(symbolsOf(type, words), natural(node));
}

function protocolName({ value }: Value, { names }: Vocabulary): string | undefined {
  return value > 255n ? undefined : names.protocols().byNumber.get(Number(value));
}

/** The name of a code of `reject`, or its number. */
export function rejectCodeName({ type, value }: Value): string | number {
  return symbolOf(type.symbols, value) ?? Number(value);
}

/** The value in nft's JSON. */
export function jsonValue(node: Value, words: Vocabulary, style: Style): string | number | boolean {
  const { type } = node;
  switch (type.kind) {
    case 'boolean':
      return natural(node) !== 0n;
    case 'time':
      return Number(node.value / 1000n);
    case 'string':
      return textOf(node.value, node.bits);
    case 'protocol':
      return (style === 'names' ? protocolName(node, words) : undefined) ?? jsonNumber(node.value);
    case 'service':
      return Number(node.value & 0xffffn);
    case 'user':
    case 'group':
      return Number(node.value & 0xffffffffn);
    case 'label':
      return words.names.file('connlabel.conf').byNumber.get(lowestOne(node.value)) ?? lowestOne(node.value);
    case 'integer':
    case 'bitmask':
      return nameOf(node, words) ?? jsonNumber(node.value);
    case 'file':
      // nft turns realms into text first: a number is in the text's format.
      return nameOf(node, words) ?? (type.name === 'realm' ? formatNumber(node) : jsonNumber(node.value));
    case 'interface': {
      const index = Number(node.value & 0xffffffffn);
      return words.interfaceName(index) ?? String(index | 0);
    }
    case 'verdict':
    case 'concatenation':
      throw new Undecompilable('a value without a type');
    default:
      return unquoted(textValue(node, words, style));
  }
}

function jsonNumber(number: bigint): number | string {
  if (number <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(number);
  return number < 1n << 64n ? String(number) : `0x${number.toString(16)}`;
}

const unquoted = (text: string): string => (text.startsWith('"') ? text.slice(1).replace(/".*/s, '') : text);

/** The value in nft's text. */
export function textValue(node: Value, words: Vocabulary, style: Style): string {
  const { type, value } = node;
  const quoted = (text: string) => words.unwritable.quoted(text);
  const quote = (name: string) => (type.quoted ? quoted(name) : name);
  switch (type.kind) {
    case 'string': {
      const text = textOf(value, node.bits);
      // nft has no room for a beginning of fifteen bytes and an asterisk.
      if (type.name === 'ifname' && Buffer.byteLength(text) > INTERFACE_NAME_BYTES)
        words.unwritable.note('the beginning of the name of an interface');
      return quoted(text);
    }
    case 'link-address':
      return linkAddress(value, bytesOf(node.bits));
    case 'ipv4':
      return formatIPv4(bytesIn(value, 4));
    case 'ipv6':
      return formatAddress6(value);
    case 'protocol':
      return (style === 'names' ? protocolName(node, words) : undefined) ?? String(value);
    case 'time':
      return style === 'names' ? formatDuration(value) : `${value / 1000n}s`;
    case 'date':
      return `"${formatDate(value)}"`;
    case 'hour':
      return `"${formatHour(Number(value & 0xffffffffn), words.dialect)}"`;
    case 'interface': {
      const index = Number(value & 0xffffffffn);
      const name = words.interfaceName(index);
      return name === undefined || !isQuotable(name) ? String(index | 0) : quoted(name);
    }
    case 'classid':
      return formatClassid(Number(value & 0xffffffffn), style);
    case 'label': {
      const bit = lowestOne(value);
      const name = words.names.file('connlabel.conf').byNumber.get(bit);
      return name === undefined ? String(bit) : quoted(name);
    }
    case 'cgroup': {
      const path = cgroupPath(CGROUPS, value);
      return path === undefined ? String(value) : quoted(path.slice(CGROUPS.length + 1));
    }
    case 'invalid':
      // nft 1.0.6 prints such values in changes of sets.
      if (words.dialect.printsInvalidTypes) return `0x${value.toString(16)} [invalid type]`;
      throw new Undecompilable('a value without a type');
    case 'verdict':
    case 'concatenation':
      throw new Undecompilable('a value without a type');
    default: {
      const name = style === 'names' ? nameOf(node, words) : undefined;
      return name === undefined ? formatNumber(node) : quote(name);
    }
  }
}

function formatNumber({ type: { hexDigits }, value }: Value): string {
  return hexDigits === undefined ? String(value) : `0x${value.toString(16).padStart(hexDigits, '0')}`;
}

/** In the format of the C library: the last four bytes are an IPv4 address if only they, or ffff and they, are set. */
function formatAddress6(address: bigint): string {
  const low = address & 0xffffffffn;
  const high = address >> 32n;
  if (high === 0n && low > 0xffffn) return `::${formatIPv4(bytesIn(low, 4))}`;
  if (high === 0xffffn) return `::ffff:${formatIPv4(bytesIn(low, 4))}`;
  return formatIPv6(bytesIn(address, 16));
}

function bytesIn(number: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let rest = number;
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

function linkAddress(number: bigint, length: number): string {
  return Array.from(bytesIn(number, length), byte => byte.toString(16).padStart(2, '0')).join(':');
}

const UNITS = [
  ['d', 86_400_000n],
  ['h', 3_600_000n],
  ['m', 60_000n],
  ['s', 1000n],
  ['ms', 1n],
] as const;

/** '1h30m' */
export function formatDuration(milliseconds: bigint): string {
  let rest = milliseconds;
  let text = '';
  for (const [unit, size] of UNITS) {
    if (rest >= size) text += `${rest / size}${unit}`;
    rest %= size;
  }
  return text === '' ? '0s' : text;
}

const two = (number: number): string => String(number).padStart(2, '0');

function formatDate(nanoseconds: bigint): string {
  const date = new Date(Number(nanoseconds / 1_000_000n));
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

const DAY_SECONDS = 86_400;

function formatHour(utc: number, { wrapsNegativeHours }: Dialect): string {
  const local = utc - new Date().getTimezoneOffset() * 60;
  const inDay = !wrapsNegativeHours || local >= 0 ? local : local + DAY_SECONDS;
  const seconds = !wrapsNegativeHours ? inDay % DAY_SECONDS : inDay >= DAY_SECONDS ? inDay - DAY_SECONDS : inDay;
  const minutes = Math.floor(seconds / 60);
  const text = `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
  return seconds % 60 === 0 ? text : `${text}:${two(seconds % 60)}`;
}

/** Ranges have no words such as `none`: nft reads `none-1:0` as one word. */
function formatClassid(handle: number, style: Style): string {
  if (handle === 0xffffffff && style === 'names') return 'root';
  return handle === 0 && style === 'names'
    ? 'none'
    : `${(handle >>> 16).toString(16)}:${(handle & 0xffff).toString(16)}`;
}

const CGROUPS = '/sys/fs/cgroup';

/** The directory with this inode, at or below one. */
function cgroupPath(directory: string, inode: bigint): string | undefined {
  let entries: string[];
  try {
    entries = readdirSync(directory, { withFileTypes: true }).flatMap(entry =>
      entry.isDirectory() ? [join(directory, entry.name)] : [],
    );
  } catch {
    return undefined;
  }
  for (const path of entries) {
    const found =
      statSync(path, { bigint: true, throwIfNoEntry: false })?.ino === inode ? path : cgroupPath(path, inode);
    if (found !== undefined) return found;
  }
  return undefined;
}

const INTERFACE_NAME_BYTES = 15;

/** The loopback device is the first one of every namespace. */
const LOOPBACK = 1;

export function vocabulary(options: {
  names?: Names | undefined;
  interfaceName?: ((index: number) => string | undefined) | undefined;
  version?: string | undefined;
  unwritable?: 'comment' | 'refuse' | undefined;
}): Vocabulary {
  return {
    names: options.names ?? new Names(),
    interfaceName: options.interfaceName ?? (index => (index === LOOPBACK ? 'lo' : undefined)),
    dialect: dialectOf(options.version),
    unwritable: new Unwritable(),
    strict: options.unwritable === 'refuse',
  };
}
