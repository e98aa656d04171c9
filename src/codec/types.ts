import { oneOf, type Path, rangeError, typeError } from '../errors.ts';
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from './address.ts';
import { lazy } from './lazy.ts';
import { fromHex, HOST_IS_LITTLE_ENDIAN, type Source, toHex, toText } from './wire.ts';
import type { Writer } from './writer.ts';

/**
 * The surroundings of a value that its encoding depends on. For example, families use the same nf_tables hook number for different hooks.
 */
export interface Context {
  /** The protocol family of the message (nfgenmsg, or NFPROTO_*). */
  readonly family: number;
}

/** For types that depend on nothing around them. */
export const NO_CONTEXT: Context = { family: 0 };

/**
 * One kind of payload. `write` rejects bad values with a TypeError or RangeError whose path begins at the value. `read` returns undefined
 * if the bytes are no such value. The attribute is kept raw then, so that nothing is lost.
 */
export interface Type<T> {
  /** What it is, for error messages. */
  readonly kind: string;
  /** Only set if the value is an integer. Tables, views and templates then read and write it without a call of the type. */
  readonly number?: NumberForm | undefined;
  /** The lengths for which `read` gives a value. Undefined if the bytes matter too. */
  readonly lengths?: Lengths | undefined;
  /** Only set for a list: the number of its attributes, and their type. */
  readonly items?:
    | {
        /** The attribute's number of each element. */
        readonly number: number;
        /** The type of each element. */
        readonly type: Type<unknown>;
      }
    | undefined;
  /** The table of a nest whose value is not an object with the table's fields. Views find their fields in it. */
  readonly inside?: Type<unknown> | undefined;
  /** Another attribute of the same nest decides the meaning of the bytes. */
  readonly contextual?: boolean | undefined;
  /** Writes a value. */
  write(writer: Writer, value: T, context: Context): void;
  /** Reads a value; undefined if the bytes are none. */
  read(source: Source, start: number, end: number, context: Context): T | undefined;
  /** Returns the path inside the value to the byte at `offset`. Only types with an inside have it. */
  locate?(source: Source, start: number, end: number, offset: number, context: Context): Path;
}

/** The lengths of payloads that are values of the type: from `min` to `max` bytes. */
export interface Lengths {
  /** The smallest. */
  readonly min: number;
  /** The largest. */
  readonly max: number;
}

/** An integer of at most 32 bits: its size in bytes, its range, its byte order, and its names if it has any. */
export interface NumberForm {
  /** Its bytes. */
  readonly size: 1 | 2 | 4;
  /** The smallest. */
  readonly min: number;
  /** The largest. */
  readonly max: number;
  /** Its byte order. */
  readonly littleEndian: boolean;
  /** Numbers by name. */
  readonly byName?: ReadonlyMap<unknown, number>;
  /** Names by number. */
  readonly byNumber?: ReadonlyMap<number, string>;
}

/** The TypeScript type of the values of a codec's type. */
export type Infer<T> = T extends Type<infer V> ? V : never;

/**
 * The lengths of a payload that always has the same number of bytes.
 *
 * @param size - that number
 * @example
 * exactly(4); // { min: 4, max: 4 }
 */
export const exactly = (size: number): Lengths => ({ min: size, max: size });

function integer(kind: string, size: 1 | 2 | 4, min: number, max: number, littleEndian: boolean): Type<number> {
  return {
    kind,
    number: { size, min, max, littleEndian },
    lengths: exactly(size),
    write(writer, value) {
      if (typeof value !== 'number') throw typeError([], 'a number', value);
      if (!Number.isInteger(value) || value < min || value > max)
        throw rangeError([], `an integer ${min} to ${max}`, value);
      if (size === 1) writer.u8(value);
      else if (size === 2) writer.u16(value, littleEndian);
      else writer.u32(value >>> 0, littleEndian);
    },
    read({ view }, start, end) {
      if (end - start !== size) return undefined;
      if (size === 1) return view.getUint8(start);
      if (size === 2) return view.getUint16(start, littleEndian);
      return min < 0 ? view.getInt32(start, littleEndian) : view.getUint32(start, littleEndian);
    },
  };
}

const HOST = HOST_IS_LITTLE_ENDIAN;
const MAX_U32 = 0xffffffff;
const MAX_U64 = (1n << 64n) - 1n;

/* In the names below, "BE" is network byte order and "NE" the host's. */

/** An 8-bit number. */
export const U8 = integer('u8', 1, 0, 0xff, HOST);
/** A 16-bit number in network byte order. */
export const U16_BE = integer('u16be', 2, 0, 0xffff, false);
/** A 16-bit number in the host's byte order. */
export const U16_NE = integer('u16ne', 2, 0, 0xffff, HOST);
/** A 32-bit number in network byte order. */
export const U32_BE = integer('u32be', 4, 0, MAX_U32, false);
/** A 32-bit number in the host's byte order. */
export const U32_NE = integer('u32ne', 4, 0, MAX_U32, HOST);
/** A signed 32-bit number in network byte order. */
export const S32_BE = integer('s32be', 4, -0x80000000, 0x7fffffff, false);
/** A signed 32-bit number in the host's byte order. */
export const S32_NE = integer('s32ne', 4, -0x80000000, 0x7fffffff, HOST);

function integer64(kind: string, littleEndian: boolean): Type<bigint> {
  return {
    kind,
    lengths: exactly(8),
    write(writer, value) {
      // An exact number is taken too, because JSON has no bigint.
      const big = Number.isSafeInteger(value) ? BigInt(value) : value;
      if (typeof big !== 'bigint') throw typeError([], 'a bigint', value);
      if (big < 0n || big > MAX_U64) throw rangeError([], 'an unsigned 64-bit integer', value);
      writer.u64(big, littleEndian);
    },
    read: ({ view }, start, end) => (end - start === 8 ? view.getBigUint64(start, littleEndian) : undefined),
  };
}

/** A 64-bit number in network byte order, as a bigint. */
export const U64_BE = integer64('u64be', false);
/** A 64-bit number in the host's byte order, as a bigint. */
export const U64_NE = integer64('u64ne', HOST);

/**
 * NUL-terminated text of at most `max` bytes without the NUL. Longer text is an error, because a name that is cut would be another name.
 * @example
 * const row = attribute(3, text(15));
 */
export function text(max: number): Type<string> {
  return {
    kind: `string(${max})`,
    write(writer, value) {
      if (typeof value !== 'string') throw typeError([], 'a string', value);
      if (value.includes('\0')) throw rangeError([], 'a string without NUL', value);
      const start = writer.length;
      writer.string(value);
      const size = writer.length - start - 1;
      if (size > max) throw rangeError([], `at most ${max} bytes`, value, 'ERR_TOO_LONG');
      if (size !== value.length && /\p{Surrogate}/u.test(value)) throw rangeError([], 'well-formed text', value);
    },
    read(source, start, end) {
      const last = end - 1;
      // The text is longer than the kernel takes. It is kept raw, because it could not be written back as text.
      if (end === start || last - start > max || source.bytes[last] !== 0) return undefined;
      const value = toText(source, start, last);
      return value?.includes('\0') ? undefined : value;
    },
  };
}

/**
 * Bytes, as a hex string. A Uint8Array is taken too.
 * @param size the bounds of its length, in bytes
 * @example
 * const address = attribute(1, byteString({ min: 6, max: 6 }));
 */
export function byteString(size?: {
  /** The smallest. */
  min?: number;
  /** The largest. */
  max?: number;
}): Type<string> {
  const min = size?.min ?? 0;
  const max = size?.max ?? 0xfffb;
  return {
    kind: 'bytes',
    lengths: { min, max },
    write(writer, value: string | Uint8Array) {
      const start = writer.length;
      if (typeof value === 'string' ? !writer.hex(value) : !((value as unknown) instanceof Uint8Array))
        throw typeError([], 'a hex string or Uint8Array', value);
      if (typeof value !== 'string') writer.raw(value);
      const length = writer.length - start;
      if (length < min || length > max) throw rangeError([], `${min} to ${max} bytes`, value);
    },
    read: (source, start, end) =>
      end - start < min || end - start > max ? undefined : toHex(source.bytes, start, end),
  };
}

/**
 * Returns bytes from either of their forms, or undefined.
 * @param value a hex string or a Uint8Array
 * @example
 * console.log(toBytes('0a000001'));
 */
export function toBytes(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  return typeof value === 'string' ? fromHex(value) : undefined;
}

/** An attribute without a payload. Its presence is the value true. */
export const FLAG: Type<boolean> = {
  kind: 'flag',
  lengths: exactly(0),
  write(_writer, value) {
    if (value !== true) throw typeError([], 'true, or nothing', value);
  },
  read: (_source, start, end) => (start === end ? true : undefined),
};

/**
 * A number that has names. A number without a name stays a number in both directions.
 * @param number the type of the number: U32_BE ...
 * @param names the numbers, by name
 * @example
 * const row = attribute(4, named(U32_BE, { tcp: 6, udp: 17 }));
 */
export function named<const Names extends Record<string, number>>(
  number: Type<number>,
  names: Names,
): Type<(keyof Names & string) | number> {
  const maps = lazy(() => ({
    byName: new Map<unknown, number>(Object.entries(names)),
    byNumber: new Map(Object.entries(names).map(([name, value]) => [value, name as keyof Names & string])),
  }));
  return {
    kind: `${number.kind} enum`,
    get number() {
      return number.number && { ...number.number, ...maps() };
    },
    lengths: number.lengths,
    write(writer, value, context) {
      const found = typeof value === 'string' ? maps().byName.get(value) : value;
      if (typeof found !== 'number') throw typeError([], `a number, or ${oneOf(Object.keys(names), value)}`, value);
      number.write(writer, found, context);
    },
    read(source, start, end, context) {
      const value = number.read(source, start, end, context);
      return value === undefined ? undefined : (maps().byNumber.get(value) ?? value);
    },
  };
}

/**
 * Bits that have names. The value is a list of the names that are set. Bits without a name are one number at its end.
 * @param number the type of the number: U32_BE ...
 * @param names the values of the bits, by name
 * @example
 * const row = attribute(4, flags(U32_BE, { anonymous: 1, constant: 2 }));
 */
export function flags<const Names extends Record<string, number>>(
  number: Type<number>,
  names: Names,
): Type<((keyof Names & string) | number)[]> {
  type Flag = keyof Names & string;
  const byName = lazy(() => new Map<unknown, number>(Object.entries(names)));
  const rows = lazy(() => Object.entries(names) as [Flag, number][]);
  return {
    kind: `${number.kind} flags`,
    lengths: number.lengths,
    write(writer, value, context) {
      if (!Array.isArray(value)) throw typeError([], 'an array of flags', value);
      let bits = 0;
      for (let i = 0; i < value.length; i++) {
        const flag = value[i]!;
        const bit = typeof flag === 'string' ? byName().get(flag) : flag;
        if (typeof bit !== 'number') throw typeError([i], `a number, or ${oneOf(Object.keys(names), flag)}`, flag);
        if (!Number.isInteger(bit) || bit < 0 || bit > MAX_U32)
          throw rangeError([i], 'an unsigned 32-bit integer', flag);
        bits |= bit;
      }
      number.write(writer, bits >>> 0, context);
    },
    read(source, start, end, context) {
      const bits = number.read(source, start, end, context);
      return bits === undefined ? undefined : bitsOf(bits, rows());
    },
  };
}

/**
 * Returns the names of the bits that are set. Bits without a name are one number at the end.
 * @param bits the number
 * @param names the values of the bits, by name
 * @example
 * console.log(namedBits(3, { anonymous: 1, constant: 2 }));
 */
export function namedBits<Flag extends string>(bits: number, names: Readonly<Record<Flag, number>>): (Flag | number)[] {
  return bitsOf(bits, Object.entries(names) as [Flag, number][]);
}

function bitsOf<Flag extends string>(bits: number, rows: readonly (readonly [Flag, number])[]): (Flag | number)[] {
  // Made with its first name in it: an array that was empty gets room for seventeen by the first push.
  let list: (Flag | number)[] | undefined;
  let left = bits;
  for (const [name, bit] of rows) {
    if ((bits & bit) === 0) continue;
    if (list === undefined) list = [name];
    else list.push(name);
    left &= ~bit;
  }
  if (left === 0) return list ?? [];
  return list === undefined ? [left >>> 0] : [...list, left >>> 0];
}

/** An IPv4 or IPv6 address as text, in four or sixteen bytes. */
export const IP_ADDRESS: Type<string> = {
  kind: 'address',
  write(writer, value) {
    if (typeof value !== 'string') throw typeError([], 'an IP address', value);
    const raw = parseIPv4(value) ?? parseIPv6(value);
    if (raw === undefined) throw rangeError([], 'an IPv4 or IPv6 address', value, 'ERR_INVALID_ADDRESS');
    writer.raw(raw);
  },
  read({ bytes: all }, start, end) {
    if (end - start === 4) return formatIPv4(all, start);
    return end - start === 16 ? formatIPv6(all, start) : undefined;
  },
};
