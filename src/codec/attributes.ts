import { DecodeError, type Path, rangeError, typeError, within } from '../errors.ts';
import type { Context, Type } from './types.ts';
import * as types from './types.ts';
import { eachAttribute, NLA_F_NESTED, NLA_HDRLEN, NLA_TYPE_MASK, type Source, toHex } from './wire.ts';
import type { Writer } from './writer.ts';

/** An attribute that no row describes, or whose bytes are not of its row's type: kept as it was, and written back. */
export interface UnknownAttribute {
  /** The attribute's number, without flag bits. */
  type: number;
  /** Its payload. */
  bytes: string;
  /** The nest it stands in, where that nest has no object of its own (its fields are fields of this object). */
  in?: string;
  /** It stands before the well-formed attribute of its number: the order among those of one number is kept. */
  before?: true;
}

type Need = 'required' | 'optional' | 'inline';

/** One row of a table: an attribute's number, its type, and whether the kernel insists on it. */
export interface Attribute<T, N extends Need = Need> {
  readonly number: number;
  readonly type: Type<T>;
  readonly need: N;
}

// biome-ignore lint/suspicious/noExplicitAny: a schema holds attributes of every type
type Schema = Record<string, Attribute<any>>;
type ValueOf<A> = A extends Attribute<infer T> ? T : never;
type UnionToIntersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never;
type Flat<T> = { [K in keyof T]: T[K] } & {};

/** The object that a table describes. The mapped types keep each row's documentation on the field. */
export type ShapeOf<S extends Schema> = Flat<
  { -readonly [K in keyof S as S[K] extends Attribute<infer _T, 'required'> ? K : never]: ValueOf<S[K]> } & {
    -readonly [K in keyof S as S[K] extends Attribute<infer _T, 'optional'> ? K : never]?: ValueOf<S[K]>;
  } & UnionToIntersection<{ [K in keyof S]: S[K] extends Attribute<infer T, 'inline'> ? T : never }[keyof S]> & {
      unknown?: UnknownAttribute[];
    }
>;

export function attribute<T>(number: number, type: Type<T>): Attribute<T, 'required'> {
  return { number, type, need: 'required' };
}

/** The attribute may be absent, and then so is the field. */
export function opt<T>(row: Attribute<T, 'required'>): Attribute<T, 'optional'> {
  return { ...row, need: 'optional' };
}

/** A nest that has no object of its own: its fields are fields of the object around it. It is written when one of them is there. */
export function inline<T>(number: number, table: AttributeTable<T>): Attribute<Partial<Omit<T, 'unknown'>>, 'inline'> {
  return { number, type: table as unknown as Type<Partial<Omit<T, 'unknown'>>>, need: 'inline' };
}

/* The rows' constructors. "be" is network byte order, "ne" the host's: byte order is part of an attribute's declaration. */
export const u8 = (number: number) => attribute(number, types.U8);
export const u16be = (number: number) => attribute(number, types.U16_BE);
export const u16ne = (number: number) => attribute(number, types.U16_NE);
export const u32be = (number: number) => attribute(number, types.U32_BE);
export const u32ne = (number: number) => attribute(number, types.U32_NE);
export const s32be = (number: number) => attribute(number, types.S32_BE);
export const s32ne = (number: number) => attribute(number, types.S32_NE);
export const u64be = (number: number) => attribute(number, types.U64_BE);
export const u64ne = (number: number) => attribute(number, types.U64_NE);
export const flag = (number: number) => attribute(number, types.FLAG);
export const string = (number: number, max: number) => attribute(number, types.text(max));
export const bytes = (number: number, size?: { min?: number; max?: number }) =>
  attribute(number, types.byteString(size));
export const nested = <T>(number: number, table: Type<T>) => attribute(number, table);
export const list = <T>(number: number, elementNumber: number, element: Type<T>) =>
  attribute(number, listOf(elementNumber, element));

/** How attributes follow each other: netlink's way, or the short one of nf_tables user data. */
export interface Framing {
  readonly headerLength: number;
  begin(writer: Writer, type: number): number;
  end(writer: Writer, start: number): void;
  each(source: Source, start: number, end: number, visit: (type: number, start: number, end: number) => void): void;
}

const NETLINK_FRAMING: Framing = {
  headerLength: NLA_HDRLEN,
  begin: (writer, type) => writer.beginAttribute(type),
  end: (writer, start) => writer.endAttribute(start),
  each: eachAttribute,
};

export interface TableOptions {
  framing?: Framing;
  /** Fields of the object that are no attributes: they stand in the message's header, and whoever writes that takes care of them. */
  header?: readonly string[];
}

interface Field {
  readonly key: string;
  readonly number: number;
  readonly type: Type<unknown>;
  readonly need: Need;
  /** Nests carry NLA_F_NESTED when written; strict parsers of newer kernels insist on it. */
  readonly wireType: number;
}

type Fields = Record<string, unknown>;

function keep(value: Fields, ...attributes: UnknownAttribute[]): void {
  value.unknown ??= [];
  (value.unknown as UnknownAttribute[]).push(...attributes);
}

/** A nest of attributes, declared once: the TypeScript type, the encoder, the decoder and the paths of errors follow from it. */
export class AttributeTable<T> implements Type<T> {
  /** 'nest' puts NLA_F_NESTED on the attribute that holds it; user data is plain bytes to the kernel. */
  readonly kind: 'nest' | 'userdata';
  /** The prefix of the kernel's names for these attributes: 'NFTA_RULE'. */
  readonly name: string;
  readonly fields: readonly Field[];
  readonly #byNumber: readonly (Field | undefined)[];
  readonly #framing: Framing;
  readonly #header: readonly string[];

  constructor(name: string, schema: Schema, options: TableOptions = {}) {
    this.name = name;
    this.#framing = options.framing ?? NETLINK_FRAMING;
    this.kind = this.#framing === NETLINK_FRAMING ? 'nest' : 'userdata';
    this.#header = options.header ?? [];
    this.fields = Object.entries(schema).map(([key, { number, type, need }]) => {
      const nest = type.kind === 'nest' || type.kind === 'list';
      return { key, number, type, need, wireType: nest ? number | NLA_F_NESTED : number };
    });
    const byNumber: (Field | undefined)[] = [];
    for (const field of this.fields) byNumber[field.number] = field;
    this.#byNumber = Array.from(byNumber);
  }

  /** The same attributes, none of them required: what identifies an object, or what a patch holds. */
  partial(): AttributeTable<Partial<T>> {
    const rows = this.fields.map(({ key, number, type, need }) => {
      const row: Attribute<unknown> = { number, type, need: need === 'required' ? 'optional' : need };
      return [key, row] as const;
    });
    return new AttributeTable<Partial<T>>(this.name, Object.fromEntries(rows), {
      framing: this.#framing,
      header: this.#header,
    });
  }

  write(writer: Writer, value: T, context: Context): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw typeError([], 'an object', value);
    let written = this.#writeFields(writer, value as Fields, context, false);
    for (const key of this.#header) if ((value as Fields)[key] !== undefined) written++;
    let given = 0;
    for (const key in value) if ((value as Fields)[key] !== undefined) given++;
    if (given !== written) this.#refuseStrangers(value as Fields);
  }

  /** Writes the fields that are there; returns how many of the object's keys that took care of. */
  #writeFields(writer: Writer, value: Fields, context: Context, inlined: boolean): number {
    let written = 0;
    if (value.unknown !== undefined) this.#writeUnknown(writer, value.unknown, inlined, true);
    for (const field of this.fields) {
      if (field.need === 'inline') {
        const start = this.#framing.begin(writer, field.wireType);
        written += (field.type as AttributeTable<unknown>).#writeFields(writer, value, context, true);
        if (writer.length > start + this.#framing.headerLength) this.#framing.end(writer, start);
        else writer.length = start;
        continue;
      }
      const item = value[field.key];
      if (item === undefined) {
        if (field.need === 'required' && !inlined && !this.#isKept(value, field.number, false)) {
          throw typeError([field.key], 'a value', undefined, 'ERR_MISSING');
        }
        continue;
      }
      written++;
      try {
        const start = this.#framing.begin(writer, field.wireType);
        field.type.write(writer, item, context);
        this.#framing.end(writer, start);
      } catch (error) {
        throw within(error, [field.key]);
      }
    }
    if (value.unknown !== undefined) {
      this.#writeUnknown(writer, value.unknown, inlined, false);
      if (!inlined) written++;
    }
    return written;
  }

  /** Unknown attributes follow the known ones, or come before them; those of an inlined nest are written by that nest's table. */
  #writeUnknown(writer: Writer, unknown: unknown, inlined: boolean, before: boolean): void {
    if (!Array.isArray(unknown)) throw typeError(['unknown'], 'an array of { type, bytes }', unknown);
    for (const [i, item] of (unknown as Partial<UnknownAttribute>[]).entries()) {
      const raw = types.toBytes(item?.bytes);
      if (typeof item?.type !== 'number' || raw === undefined) throw typeError(['unknown', i], '{ type, bytes }', item);
      if (!inlined && item.in !== undefined && !this.#inlines(item.in))
        throw rangeError(['unknown', i, 'in'], 'the name of a nest whose fields stand here', item.in);
      if (item.in !== (inlined ? this.name : undefined) || (item.before === true) !== before) continue;
      const max = this.kind === 'userdata' ? 0xff : NLA_TYPE_MASK;
      if (!Number.isInteger(item.type) || item.type < 0 || item.type > max)
        throw rangeError(['unknown', i, 'type'], `an integer 0 to ${max}`, item.type);
      const start = this.#framing.begin(writer, item.type);
      writer.raw(raw);
      this.#framing.end(writer, start);
    }
  }

  #inlines(name: string): boolean {
    return this.fields.some(({ need, type }) => need === 'inline' && (type as AttributeTable<unknown>).name === name);
  }

  #knows(key: string): boolean {
    return this.fields.some(f =>
      f.need === 'inline' ? (f.type as AttributeTable<unknown>).#knows(key) : f.key === key,
    );
  }

  #refuseStrangers(value: Fields): void {
    for (const key in value) {
      if (key === 'unknown' || value[key] === undefined || this.#knows(key) || this.#header.includes(key)) continue;
      const known = this.fields.flatMap(f => (f.need === 'inline' ? (f.type as AttributeTable<unknown>).fields : f));
      throw typeError(
        [key],
        `no such field (known: ${known.map(f => f.key).join(', ')})`,
        value[key],
        'ERR_UNKNOWN_FIELD',
      );
    }
  }

  read(source: Source, start: number, end: number, context: Context): T | undefined {
    const value: Fields = {};
    this.#readFields(source, start, end, context, value, false);
    for (const field of this.fields) if (field.need === 'required' && value[field.key] === undefined) return undefined;
    return value as T;
  }

  /** As `read`, but an attribute that must be there may be malformed: it is kept raw like any other, and the rest can be used. */
  readTolerant(source: Source, start: number, end: number, context: Context): Partial<T> | undefined {
    const value: Fields = {};
    this.#readFields(source, start, end, context, value, false);
    for (const { need, key, number } of this.fields) {
      if (need === 'required' && value[key] === undefined && !this.#isKept(value, number, false)) return undefined;
    }
    return value as Partial<T>;
  }

  #isKept({ unknown }: Fields, number: number, inlined: boolean): boolean {
    const nest = inlined ? this.name : undefined;
    return Array.isArray(unknown) && unknown.some(item => item?.type === number && item.in === nest);
  }

  #readFields(source: Source, start: number, end: number, context: Context, value: Fields, inlined: boolean): void {
    let place = -1;
    this.#framing.each(source, start, end, (type, payload, payloadEnd) => {
      const field = this.#byNumber[type];
      const known = field !== undefined && this.#readField(field, source, payload, payloadEnd, context, value, inlined);
      if (this.kind === 'userdata') {
        // To the kernel these bytes are one value: what cannot be written back in the same order stays as it is.
        const next = known ? this.fields.indexOf(field) : this.fields.length;
        if (next < place) throw new DecodeError('user data in an order of its own');
        place = next;
      }
      if (known) return;
      const kept: UnknownAttribute = { type, bytes: toHex(source.bytes, payload, payloadEnd) };
      if (inlined) kept.in = this.name;
      keep(value, kept);
    });
    // As they are written: what stands before a known attribute comes first.
    const unknown = value.unknown as UnknownAttribute[] | undefined;
    if (unknown?.some(item => item.before)) {
      value.unknown = [...unknown.filter(item => item.before), ...unknown.filter(item => !item.before)];
    }
  }

  #readField(
    field: Field,
    source: Source,
    start: number,
    end: number,
    context: Context,
    value: Fields,
    inlined: boolean,
  ): boolean {
    try {
      if (field.need === 'inline') {
        const table = field.type as AttributeTable<unknown>;
        if (table.#isInlinedIn(value)) return false;
        // Into an object of its own first: a nest that lies halfway must leave nothing behind.
        const inner: Fields = {};
        table.#readFields(source, start, end, context, inner, true);
        const { unknown, ...known } = inner;
        if (Object.keys(inner).length === 0) return false;
        if (value.unknown !== undefined) this.#markEarlier(value, field.number, inlined);
        Object.assign(value, known);
        if (unknown !== undefined) keep(value, ...(unknown as UnknownAttribute[]));
        return true;
      }
      // The same attribute twice: the first stays, the second is kept as unknown, so that both are written back in their order.
      if (value[field.key] !== undefined) return false;
      const item = field.type.read(source, start, end, context);
      if (item === undefined) return false;
      if (value.unknown !== undefined) this.#markEarlier(value, field.number, inlined);
      value[field.key] = item;
      return true;
    } catch (error) {
      // An attribute that lies about its inside is kept raw; the rest of the object is still good.
      if (error instanceof DecodeError) return false;
      throw error;
    }
  }

  /** Malformed attributes of this number came before the one that is read now. */
  #markEarlier({ unknown }: Fields, number: number, inlined: boolean): void {
    const nest = inlined ? this.name : undefined;
    for (const item of unknown as UnknownAttribute[]) if (item.type === number && item.in === nest) item.before = true;
  }

  /** The same nest a second time is kept raw: two must not become one. */
  #isInlinedIn(value: Fields): boolean {
    const kept = value.unknown as UnknownAttribute[] | undefined;
    return this.fields.some(({ key }) => value[key] !== undefined) || (kept?.some(u => u.in === this.name) ?? false);
  }

  locate(source: Source, start: number, end: number, offset: number, context: Context): Path {
    let found: Path = [];
    try {
      this.#framing.each(source, start, end, (type, payload, payloadEnd) => {
        if (offset < payload - this.#framing.headerLength || offset >= Math.max(payloadEnd, payload)) return;
        const field = this.#byNumber[type];
        if (field === undefined) return;
        const own = field.need === 'inline' ? [] : [field.key];
        const inner = offset >= payload ? field.type.locate?.(source, payload, payloadEnd, offset, context) : undefined;
        found = [...own, ...(inner ?? [])];
      });
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
    return found;
  }

  /** The field that has an attribute's number, for the kernel's word that one is missing. */
  fieldName(number: number): string | undefined {
    return this.#byNumber[number]?.key;
  }
}

/** Declares a table. `name` is the prefix of the kernel's names: 'NFTA_RULE'. */
export function attributes<const S extends Schema>(
  name: string,
  schema: S,
  options?: TableOptions,
): AttributeTable<ShapeOf<S>> {
  return new AttributeTable<ShapeOf<S>>(name, schema, options);
}

/** A nest whose attributes all have one number: an array. */
export function listOf<T>(elementNumber: number, element: Type<T>): Type<T[]> {
  const wireType = element.kind === 'nest' || element.kind === 'list' ? elementNumber | NLA_F_NESTED : elementNumber;
  return {
    kind: 'list',
    write(writer, value, context) {
      if (!Array.isArray(value)) throw typeError([], 'an array', value);
      for (let i = 0; i < value.length; i++) {
        try {
          const start = writer.beginAttribute(wireType);
          element.write(writer, value[i] as T, context);
          writer.endAttribute(start);
        } catch (error) {
          throw within(error, [i]);
        }
      }
    },
    read(source, start, end, context) {
      const items: T[] = [];
      let whole = true;
      eachAttribute(source, start, end, (type, payload, payloadEnd) => {
        const item = type === elementNumber ? element.read(source, payload, payloadEnd, context) : undefined;
        if (item === undefined) whole = false;
        else items.push(item);
      });
      return whole ? items : undefined;
    },
    locate(source, start, end, offset, context) {
      let path: Path = [];
      let index = 0;
      eachAttribute(source, start, end, (_type, payload, payloadEnd) => {
        if (offset >= payload - NLA_HDRLEN && offset < payloadEnd) {
          const inner = offset >= payload ? element.locate?.(source, payload, payloadEnd, offset, context) : undefined;
          path = [index, ...(inner ?? [])];
        }
        index++;
      });
      return path;
    },
  };
}
