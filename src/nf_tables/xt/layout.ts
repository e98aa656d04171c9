import {
  type Context,
  formatIPv4,
  formatIPv6,
  parseIPv4,
  parseIPv6,
  type Source,
  Struct,
  type Type,
  toBytes,
  toHex,
  toText,
  U16_NE,
  type Writer,
} from '../../codec/index.ts';
import { lazy } from '../../codec/lazy.ts';
import { rangeError, typeError, within } from '../../errors.ts';
import * as C from '../../linux/netfilter.ts';

/* How the C structure of an xtables match or target becomes an object, and back. */

/** Text in a field of fixed size, filled up with NULs. */
export function fixedText(size: number): Type<string> {
  return {
    kind: 'text',
    write(writer, value) {
      if (typeof value !== 'string') throw typeError([], 'a string', value);
      if (value.includes('\0')) throw rangeError([], 'a string without NUL', value);
      const start = writer.length;
      writer.string(value);
      if (writer.length - start > size) throw rangeError([], `at most ${size - 1} bytes`, value, 'ERR_TOO_LONG');
      writer.zeros(size - (writer.length - start));
    },
    read(source, start, end) {
      const nul = source.bytes.indexOf(0, start);
      return nul < 0 || nul >= end ? undefined : toText(source, start, nul);
    },
  };
}

/**
 * Text that is written over another one, as iptables writes the name of a list over the default: what is longer of the default stays behind
 * the end of the text.
 */
export function textOver(size: number, under: string): Type<string> {
  const plain = fixedText(size);
  return {
    ...plain,
    write(writer, value, context) {
      const start = writer.length;
      plain.write(writer, value, context);
      for (let at = Buffer.byteLength(value) + 1; at < under.length; at++)
        writer.bytes[start + at] = under.charCodeAt(at);
    },
  };
}

/** A first and a last number. */
export const PORTS: Type<[number, number]> = {
  kind: 'ports',
  write(writer, value, context) {
    if (!Array.isArray(value) || value.length !== 2) throw typeError([], '[first, last]', value);
    for (const [i, port] of value.entries()) {
      try {
        U16_NE.write(writer, port, context);
      } catch (error) {
        throw within(error, [i]);
      }
    }
  },
  read: (source, start, _end, context) => [
    U16_NE.read(source, start, start + 2, context)!,
    U16_NE.read(source, start + 2, start + 4, context)!,
  ],
};

export const IPV4: Type<string> = {
  kind: 'address',
  write(writer, value) {
    const raw = typeof value === 'string' ? parseIPv4(value) : undefined;
    if (raw === undefined) throw rangeError([], 'an IPv4 address', value, 'ERR_INVALID_ADDRESS');
    writer.raw(raw);
  },
  read: ({ bytes }, start) => formatIPv4(bytes, start),
};

/** `union nf_inet_addr`: which it is, the rule's family says. None is null. */
export const INET: Type<string | null> = {
  kind: 'address',
  write(writer, value, { family }) {
    if (value === null) {
      writer.zeros(16);
      return;
    }
    if (family !== C.NFPROTO_IPV4 && family !== C.NFPROTO_IPV6)
      throw rangeError([], 'nothing (only rules of ip and ip6 have addresses here)', value);
    const v4 = family === C.NFPROTO_IPV4;
    const raw = typeof value === 'string' ? ((v4 ? parseIPv4(value) : undefined) ?? parseIPv6(value)) : undefined;
    if (raw === undefined)
      throw rangeError([], `an ${v4 ? 'IPv4' : 'IPv6'} address, as the rule's family`, value, 'ERR_INVALID_ADDRESS');
    writer.raw(raw);
    writer.zeros(16 - raw.length);
  },
  read({ bytes }, start, end, { family }) {
    if (bytes.subarray(start, end).every(byte => byte === 0)) return null;
    // iptables fills all sixteen bytes of a mask, whatever the family.
    const short = bytes.subarray(start + 4, end).every(byte => byte === 0);
    if (family === C.NFPROTO_IPV4) return short ? formatIPv4(bytes, start) : formatIPv6(bytes, start);
    return family === C.NFPROTO_IPV6 ? formatIPv6(bytes, start) : undefined;
  },
};

/** 1 or 0. */
export function truth(number: Type<number>): Type<boolean> {
  return {
    kind: 'boolean',
    write(writer, value, context) {
      if (typeof value !== 'boolean') throw typeError([], 'a boolean', value);
      number.write(writer, value ? 1 : 0, context);
    },
    read: (source, start, end, context) => number.read(source, start, end, context) !== 0,
  };
}

/** An array of fixed length; what a shorter list leaves is zero. */
export function arrayOf(count: number, size: number, type: Type<number>): Type<number[]> {
  return {
    kind: 'array',
    write(writer, list, context) {
      for (const word of list) type.write(writer, word, context);
      writer.zeros((count - list.length) * size);
    },
    read: (source, start, _end, context) =>
      Array.from({ length: count }, (_, i) => type.read(source, start + i * size, start + (i + 1) * size, context)!),
  };
}

export type Info = Record<string, unknown>;
/** Which member of the structure a field is, and its value when it is left out. */
type Field = readonly [member: string, absent: unknown];

/** One structure as an object. */
export interface Layout {
  /** Bytes, with the kernel's alignment to 8. */
  readonly size: number;
  readonly keys: readonly string[];
  write(writer: Writer, info: Info, context: Context): void;
  /** Undefined where the bytes are not of this structure. */
  read(source: Source, start: number, context: Context): Info | undefined;
}

/** By name and revision. */
export type Layouts = Readonly<Record<string, Readonly<Record<number, Layout>>>>;

/** Finds the structure of an extension. Undefined where this library does not know it. */
type FindLayout = (name: string, revision: number, family: number) => Layout | undefined;

/** The structures of matches and of targets. */
export interface XtLayouts {
  readonly match: FindLayout;
  readonly target: FindLayout;
}

interface LayoutOptions {
  /** Members that are always the same. */
  fixed?: Info;
  /** What an object has instead of the fields, where members are not one to one: its keys, and how it is turned. */
  keys?: readonly string[];
  toFields?(info: Info): Info;
  fromFields?(fields: Info): Info;
}

interface Member {
  readonly offset: number;
  readonly size: number;
  readonly type: Type<unknown>;
  readonly key: string | undefined;
  readonly absent: unknown;
}

/** A layout that is made when it is first used: there are a hundred. */
function late(make: () => Layout): Layout {
  const whole = lazy(make);
  return {
    get size() {
      return whole().size;
    },
    get keys() {
      return whole().keys;
    },
    write: (writer, info, context) => whole().write(writer, info, context),
    read: (source, start, context) => whole().read(source, start, context),
  };
}

/** Names the members of a structure: those of a structure inside it are 'outer.inner'. */
export const layout = (...given: Parameters<typeof layoutNow>): Layout => late(() => layoutNow(...given));

function layoutNow(structure: unknown, fields: Readonly<Record<string, Field>>, options: LayoutOptions = {}): Layout {
  const { fixed = {}, keys = Object.keys(fields), toFields = same, fromFields = same } = options;
  const names = new Map(Object.entries(fields).map(([key, [member, absent]]) => [member, { key, absent }]));
  const type = structure as Struct<unknown>;
  const members: Member[] = [];
  const add = ({ members: inside }: Struct<unknown>, prefix: string, at: number) => {
    for (const { key, offset, size, type: inner } of inside) {
      if (inner instanceof Struct) add(inner, `${key}.`, at + offset);
      else {
        const named = names.get(prefix + key);
        members.push({
          offset: at + offset,
          size,
          type: inner,
          key: named?.key,
          absent: named === undefined ? fixed[key] : named.absent,
        });
      }
    }
  };
  add(type, '', 0);
  const size = (type.size + 7) & ~7;
  return {
    size,
    keys,
    write(writer, info, context) {
      const values = toFields(info);
      const start = writer.length;
      for (const { offset, key, absent, type: inner } of members) {
        // Padding, of this member or of the one before it.
        writer.zeros(start + offset - writer.length);
        const given = key === undefined ? undefined : values[key];
        const value = given === undefined ? absent : given;
        if (value === undefined) {
          if (key === undefined) continue;
          throw typeError([key], 'a value', undefined, 'ERR_MISSING');
        }
        try {
          inner.write(writer, value, context);
        } catch (error) {
          throw key === undefined ? error : within(error, [key]);
        }
      }
      writer.zeros(start + size - writer.length);
    },
    read(source, start, context) {
      const values: Info = {};
      for (const { offset, size: bytes, key, absent, type: inner } of members) {
        if (key === undefined) continue;
        const at = start + offset;
        const value = inner.read(source, at, at + bytes, context);
        if (value === undefined) return undefined;
        if (!isSame(value, absent)) values[key] = value;
      }
      return fromFields(values);
    },
  };
}

/** Numbers, texts, and lists of them. */
function isSame(value: unknown, other: unknown): boolean {
  if (!Array.isArray(value) || !Array.isArray(other)) return value === other;
  return value.length === other.length && value.every((item, i) => isSame(item, other[i]));
}

const same = (info: Info): Info => info;

// biome-ignore lint/suspicious/noExplicitAny: members are of every type
type PlainMember = readonly [size: number, type: Type<any>, absent?: unknown, key?: string];

/**
 * A structure and the names of its members at once. A member's key is its name in camel case, unless a fourth item says another. A member
 * whose name begins with an underscore is padding, or of the kernel's own: zeros.
 */
export function structure(
  name: string,
  members: Readonly<Record<string, PlainMember>>,
  options: LayoutOptions = {},
): Layout {
  return late(() => structureNow(name, members, options));
}

function structureNow(name: string, members: Readonly<Record<string, PlainMember>>, options: LayoutOptions): Layout {
  const type = new Struct(
    name,
    Object.fromEntries(Object.entries(members).map(([member, [size, type]]) => [member, [size, type] as const])),
  );
  const named = Object.entries(members)
    .filter(([member]) => !member.startsWith('_'))
    .map(([member, [, , absent, key = inCamelCase(member)]]): [string, Field] => [key, [member, absent]]);
  return layoutNow(type, Object.fromEntries(named), options);
}

const inCamelCase = (member: string): string =>
  member.replace(/^.*\./, '').replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** Members of one type behind each other; a list that is shorter leaves zeros. `size`: of one, in bytes. */
export function listOf<T>(count: number, size: number, type: Type<T>): Type<T[]> {
  return {
    kind: 'array',
    write(writer, list, context) {
      if (!Array.isArray(list) || list.length > count) throw rangeError([], `an array of at most ${count}`, list);
      for (const [i, item] of list.entries()) {
        try {
          type.write(writer, item, context);
        } catch (error) {
          throw within(error, [i]);
        }
      }
      writer.zeros((count - list.length) * size);
    },
    read(source, start, _end, context) {
      const list: T[] = [];
      for (let i = 0; i < count; i++) {
        const item = type.read(source, start + i * size, start + (i + 1) * size, context);
        if (item === undefined) return undefined;
        list.push(item);
      }
      return list;
    },
  };
}

/** Bytes that are no text, as hex. */
export function hexBytes(size: number): Type<string> {
  return {
    kind: 'bytes',
    write(writer, value) {
      const raw = toBytes(value);
      if (raw === undefined || raw.length !== size) throw typeError([], `${size} bytes as hex`, value);
      writer.raw(raw);
    },
    read: ({ bytes }, start) => toHex(bytes, start, start + size),
  };
}

/** `union nf_inet_addr` where no address is one of zeros: always written out. */
export const INET_OR_ANY: Type<string> = {
  kind: 'address',
  write: (writer, value, context) => INET.write(writer, isAny(value) ? null : value, context),
  read: (source, start, end, context) =>
    INET.read(source, start, end, context) ?? (context.family === C.NFPROTO_IPV6 ? '::' : '0.0.0.0'),
};

const isAny = (address: unknown): boolean => address === '::' || address === '0.0.0.0';
