import { listOf } from './list.ts';
import type { Type } from './types.ts';
import * as types from './types.ts';
import type { Word } from './word.ts';

/** An attribute that no row describes, or whose bytes are not of its row's type. It is kept as it was, and written back. */
export interface UnknownAttribute {
  /** The attribute's number, without flag bits. */
  type: number;
  /** Its payload. */
  bytes: string;
  /** The nest around it, if that nest has no object of its own because its fields are fields of this object. */
  in?: string;
  /** The attribute stands before the well-formed one with its number. This keeps the order of attributes with the same number. */
  before?: true;
}

/** 'required' must be there and 'optional' may be absent. 'inline' has its fields in the object around it. */
export type Need = 'required' | 'optional' | 'inline';

/** One row of a table: an attribute's number, its type, and whether the kernel requires it. */
export interface Attribute<T, N extends Need = Need> {
  /** The attribute's number. */
  readonly number: number;

  /** The type that reads and writes its payload. */
  readonly type: Type<T>;

  /** Whether it must be there. */
  readonly need: N;

  /** Further facts, for the code that declares the table. */
  readonly facets?: Facets | undefined;
}

/** Further facts about a row or a table. The codec only carries them; the code that declares the table uses them. */
export type Facets = Readonly<Record<string, unknown>>;

/** The rows of a table, by the names of their fields. */
// biome-ignore lint/suspicious/noExplicitAny: a schema holds attributes of every type
export type Schema = Record<string, Attribute<any>>;
type ValueOf<A> = A extends Attribute<infer T> ? T : never;
type UnionToIntersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never;
type Parts<S extends Schema> = {
  -readonly [K in keyof S as S[K] extends Attribute<infer _T, 'required'> ? K : never]: ValueOf<S[K]>;
} & {
  -readonly [K in keyof S as S[K] extends Attribute<infer _T, 'optional'> ? K : never]?: ValueOf<S[K]>;
} & UnionToIntersection<{ [K in keyof S]: S[K] extends Attribute<infer T, 'inline'> ? T : never }[keyof S]> & {
    /** Attributes that this library does not know, kept as they came. */
    unknown?: UnknownAttribute[];
  };

/**
 * The object that a table describes. The mapped types keep each row's documentation on the field; and this is the mapped type itself, so that the
 * declarations name it with the rows and their documentation, and do not spell it out without.
 */
export type ShapeOf<S extends Schema> = { [K in keyof Parts<S>]: Parts<S>[K] };

/**
 * Declares a row of any type. The attribute must be there.
 * @param number the attribute's number
 * @param type the type that reads and writes its payload
 * @example
 * const row = attribute(3, text(15));
 */
export function attribute<T>(number: number, type: Type<T>): Attribute<T, 'required'> {
  return { number, type, need: 'required' };
}

/**
 * Makes a row optional. If the attribute is absent, so is the field.
 * @param row the row of an attribute that must be there
 * @example
 * const row = opt(u32be(4));
 */
export function opt<T>(row: Attribute<T, 'required'>): Attribute<T, 'optional'> {
  return { number: row.number, type: row.type, need: 'optional', facets: row.facets };
}

/**
 * Declares a nest that has no object of its own: its fields are fields of the object around it. It is written if one of them is there.
 * @param number the attribute's number
 * @param table the table of the nest
 * @example
 * const row = inline(2, table);
 */
export function inline<T>(number: number, table: Type<T>): Attribute<Partial<Omit<T, 'unknown'>>, 'inline'> {
  return { number, type: table as unknown as Type<Partial<Omit<T, 'unknown'>>>, need: 'inline' };
}

/* The constructors of rows. "be" is network byte order, and "ne" the host's, because byte order is part of an attribute's declaration. */
/**
 * A row of an 8-bit number.
 * @param number the attribute's number
 * @example
 * const row = u8(1);
 */
export const u8 = (number: number) => attribute(number, types.U8);
/**
 * A row of a 16-bit number in network byte order.
 * @param number the attribute's number
 * @example
 * const row = u16be(1);
 */
export const u16be = (number: number) => attribute(number, types.U16_BE);
/**
 * A row of a 16-bit number in the host's byte order.
 * @param number the attribute's number
 * @example
 * const row = u16ne(1);
 */
export const u16ne = (number: number) => attribute(number, types.U16_NE);
/**
 * A row of a 32-bit number in network byte order.
 * @param number the attribute's number
 * @example
 * const row = u32be(1);
 */
export const u32be = (number: number) => attribute(number, types.U32_BE);
/**
 * A row of a 32-bit number in the host's byte order.
 * @param number the attribute's number
 * @example
 * const row = u32ne(1);
 */
export const u32ne = (number: number) => attribute(number, types.U32_NE);
/**
 * A row of a signed 32-bit number in network byte order.
 * @param number the attribute's number
 * @example
 * const row = s32be(1);
 */
export const s32be = (number: number) => attribute(number, types.S32_BE);
/**
 * A row of a signed 32-bit number in the host's byte order.
 * @param number the attribute's number
 * @example
 * const row = s32ne(1);
 */
export const s32ne = (number: number) => attribute(number, types.S32_NE);
/**
 * A row of a 64-bit number in network byte order, as a bigint.
 * @param number the attribute's number
 * @example
 * const row = u64be(1);
 */
export const u64be = (number: number) => attribute(number, types.U64_BE);
/**
 * A row of a 64-bit number in the host's byte order, as a bigint.
 * @param number the attribute's number
 * @example
 * const row = u64ne(1);
 */
export const u64ne = (number: number) => attribute(number, types.U64_NE);
/**
 * A row without a payload. Its value is true if the attribute is there.
 * @param number the attribute's number
 * @example
 * const row = flag(5);
 */
export const flag = (number: number) => attribute(number, types.FLAG);
/**
 * A row of NUL-terminated text.
 * @param number the attribute's number
 * @param max bytes, without the NUL
 * @example
 * const row = string(3, 15);
 */
export const string = (number: number, max: number) => attribute(number, types.text(max));
/**
 * A row of bytes, as a hex string.
 * @param number the attribute's number
 * @param size the bounds of its length, in bytes
 * @example
 * const row = bytes(1, { min: 4, max: 16 });
 */
export const bytes = (
  number: number,
  size?: {
    /** The fewest bytes. */
    min?: number;
    /** The most bytes. */
    max?: number;
  },
) => attribute(number, types.byteString(size));
/**
 * A row that is an object, with a table of its own.
 * @param number the attribute's number
 * @param table the table of the nest
 * @example
 * const row = nested(2, table);
 */
export const nested = <T>(number: number, table: Type<T>) => attribute(number, table);
/**
 * A row that is an array. It is a nest whose attributes all have one number.
 * @param number the attribute's number
 * @param elementNumber the number of each element
 * @param element the type of an element
 * @example
 * const row = list(2, 1, table);
 */
export const list = <T>(number: number, elementNumber: number, element: Type<T>) =>
  attribute(number, listOf(elementNumber, element));

/** One row of a table, as its encoder and decoder need it. */
export interface Field {
  /** The field's name in the object. */
  readonly key: string;
  /** The attribute's number. */
  readonly number: number;
  /** The type that reads and writes its payload. */
  readonly type: Type<unknown>;
  /** Whether it must be there, may be absent, or has its fields in the object around it. */
  readonly need: Need;
  /** The attribute's number with flags. Nests have NLA_F_NESTED, because strict parsers of newer kernels require it. */
  readonly wireType: number;
  /** Its bit in a set of fields; 0 from the 32nd on. */
  readonly bit: number;
  /** Set for 32-bit numbers, by far the most common payload. */
  readonly word: Word | undefined;
  /** Further facts, for the code that declares the table. */
  readonly facets: Facets | undefined;
}
