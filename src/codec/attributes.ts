import { DecodeError, noField, type Path, rangeError, typeError, within } from '../errors.ts';
import { type Framing, NETLINK_FRAMING } from './framing.ts';
import type { Field, Schema, ShapeOf, UnknownAttribute } from './rows.ts';
import { partialRows, type Rows } from './schema.ts';
import type { Context, Type } from './types.ts';
import * as types from './types.ts';
import { type Fields, keep, readItem, sortUnknown } from './unknown.ts';
import {
  attributeLength,
  attributeType,
  NLA_F_NESTED,
  NLA_HDRLEN,
  NLA_TYPE_MASK,
  nextAttribute,
  refuseStray,
  type Source,
  toHex,
} from './wire.ts';
import { readWord, wordOf, writeWord } from './word.ts';
import type { Writer } from './writer.ts';

/** Options of a table of attributes. */
export interface TableOptions {
  /** How attributes are framed: as netlink has them, or as user data. */
  framing?: Framing;
  /** Fields of the object that are no attributes. They stand in the message's header, and the caller writes them. */
  header?: readonly string[];
  /**
   * Called with each object before it is written. The returned object is written in its place. It completes or rejects values that the
   * kernel would take for something else.
   */
  before?: (value: Readonly<Fields>) => Readonly<Fields>;
  /** Further facts, for the code that declares the table. */
  facets?: object;
}

/**
 * A nest of attributes, declared once. The TypeScript type, the encoder, the decoder and the paths of errors follow from it.
 * @example
 * const links = attributes('IFLA', { name: string(3, 15), mtu: opt(u32ne(4)) });
 */
export class AttributeTable<T> implements Type<T> {
  /** 'nest' sets NLA_F_NESTED on the attribute around it. User data has no such flag: it is plain bytes to the kernel. */
  readonly kind: 'nest' | 'userdata';
  /** The prefix of the kernel's names for these attributes: 'NFTA_RULE'. */
  readonly name: string;

  readonly #schema: Schema | (() => Schema);
  #rows: Rows | undefined;
  readonly #framing: Framing;
  /** The fields of the object that are no attributes. */
  readonly header: readonly string[];

  /** Further facts, for the code that declares the table. */
  readonly facets: object | undefined;
  readonly #before: TableOptions['before'];

  constructor(name: string, schema: Schema | (() => Schema), options: TableOptions = {}) {
    this.name = name;
    this.#schema = schema;
    this.#framing = options.framing ?? NETLINK_FRAMING;
    this.kind = this.#framing === NETLINK_FRAMING ? 'nest' : 'userdata';
    this.header = options.header ?? [];
    this.facets = options.facets;
    this.#before = options.before;
  }

  /** The rows, in the order in which they are written. */
  get fields(): readonly Field[] {
    return (this.#rows ?? this.#layOut()).fields;
  }

  /** At the first use: a program uses few of the tables that it imports. */
  #layOut(): Rows {
    const schema = typeof this.#schema === 'function' ? this.#schema() : this.#schema;
    const fields = Object.entries(schema).map(([key, { number, type, need, facets }], i) => {
      const nest = type.kind === 'nest' || type.kind === 'list';
      const wireType = nest ? number | NLA_F_NESTED : number;
      return {
        key,
        number,
        type,
        need,
        wireType,
        bit: i < 32 ? 1 << i : 0,
        word: wordOf(type),
        facets,
      };
    });
    const bits = new Map<string, number>();
    let required = 0;
    const sparse: (Field | undefined)[] = [];
    for (const field of fields) {
      if (field.need === 'required') required |= field.bit;
      const keys = field.need === 'inline' ? (field.type as AttributeTable<unknown>).#keys() : [field.key];
      for (const key of keys) bits.set(key, field.bit);
      sparse[field.number] = field;
    }
    for (const key of this.header) bits.set(key, 0);
    this.#rows = { fields, byNumber: Array.from(sparse), bits, required };
    return this.#rows;
  }

  /**
   * Returns a table of the same attributes in which none is required, for the identity of an object or for a patch.
   * @param options `before` in the place of this table's
   * @example
   * const patch = table.partial();
   */
  partial(options: Pick<TableOptions, 'before'> = {}): AttributeTable<Partial<T>> {
    return new AttributeTable<Partial<T>>(this.name, () => partialRows(this.fields), {
      framing: this.#framing,
      header: this.header,
      ...(this.#before !== undefined && { before: this.#before }),
      ...(this.facets !== undefined && { facets: this.facets }),
      ...options,
    });
  }

  /**
   * Writes the attributes of an object, in the order of the rows.
   * @param writer the writer that they go to
   * @param given the object
   * @param context the surroundings that the attributes' types depend on
   * @throws TypeError, RangeError a field is missing, not known or out of range; the error has its path
   * @example
   * table.write(writer, { name: 'eth0', mtu: 1500 }, { family: 2 });
   */
  write(writer: Writer, given: T, context: Context): void {
    if (typeof given !== 'object' || given === null || Array.isArray(given)) throw typeError([], 'an object', given);
    const value = (this.#before === undefined ? given : this.#before(given as Fields)) as Fields;
    const rows = this.#rows ?? this.#layOut();
    const present = rows.fields.length > 32 ? undefined : this.#present(value, rows);
    if (present === undefined) this.#writeAny(writer, value, context);
    else this.#writePresent(writer, value, present, context, rows.fields);
  }

  /**
   * Returns the fields that are there, as bits; undefined if bits do not suffice. It loops over the keys, which are fewer than the rows.
   */
  #present(value: Fields, { bits, required }: Rows): number | undefined {
    let present = 0;
    for (const key in value) {
      if (value[key] === undefined) continue;
      const bit = bits.get(key);
      if (bit === undefined) return undefined;
      present |= bit;
    }
    return (present & required) === required ? present : undefined;
  }

  /** A fast path for objects that have all required fields and no unknown ones. */
  #writePresent(writer: Writer, value: Fields, present: number, context: Context, fields: readonly Field[]): void {
    const framing = this.#framing;
    const netlink = framing === NETLINK_FRAMING;
    for (let i = 0, left = present; left !== 0; i++, left >>>= 1) {
      if ((left & 1) === 0) continue;
      const field = fields[i]!;
      if (field.need === 'inline') {
        this.#writeInline(writer, field, value, context);
        continue;
      }
      const item = value[field.key];
      if (field.word !== undefined && netlink && writeWord(writer, field.wireType, field.word, item)) continue;
      try {
        const start = netlink ? writer.beginAttribute(field.wireType) : framing.begin(writer, field.wireType);
        field.type.write(writer, item, context);
        if (netlink) writer.endAttribute(start);
        else framing.end(writer, start);
      } catch (error) {
        throw within(error, [field.key]);
      }
    }
  }

  #writeInline(writer: Writer, field: Field, value: Fields, context: Context): number {
    const start = this.#framing.begin(writer, field.wireType);
    const written = (field.type as AttributeTable<unknown>).#writeFields(writer, value, context, true);
    if (writer.length > start + this.#framing.headerLength) this.#framing.end(writer, start);
    else writer.length = start;
    return written;
  }

  #writeAny(writer: Writer, value: Fields, context: Context): void {
    let written = this.#writeFields(writer, value, context, false);
    for (const key of this.header) if (value[key] !== undefined) written++;
    let given = 0;
    for (const key in value) if (value[key] !== undefined) given++;
    if (given !== written) this.#refuseStrangers(value);
  }

  /** Returns the keys of this table and of the nests that are inlined in it. */
  #keys(): string[] {
    return [...(this.#rows ?? this.#layOut()).bits.keys()];
  }

  /** Writes the fields that are there. Returns how many of the object's keys were written. */
  #writeFields(writer: Writer, value: Fields, context: Context, inlined: boolean): number {
    let written = 0;
    if (value.unknown !== undefined) this.#writeUnknown(writer, value.unknown, inlined, true);
    for (const field of this.fields) {
      if (field.need === 'inline') {
        written += this.#writeInline(writer, field, value, context);
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

  /** Writes the unknown attributes that stand before or after the known ones. The table of an inlined nest writes those of the nest. */
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
      if (key === 'unknown' || value[key] === undefined || this.#knows(key) || this.header.includes(key)) continue;
      const known = this.fields.flatMap(f => (f.need === 'inline' ? (f.type as AttributeTable<unknown>).fields : f));
      const names = known.map(each => each.key);
      throw typeError([key], noField(key, names), value[key], 'ERR_UNKNOWN_FIELD');
    }
  }

  /**
   * Reads the attributes between two offsets. Returns undefined if a required one is missing or malformed.
   * @param source the bytes of the message
   * @param start where the attributes begin
   * @param end where they end
   * @param context the surroundings that the attributes' types depend on
   * @throws DecodeError an attribute has an impossible length
   * @example
   * console.log(table.read(source, 20, source.bytes.length, { family: 2 })?.name);
   */
  read(source: Source, start: number, end: number, context: Context): T | undefined {
    const value: Fields = {};
    const seen = this.#readFields(source, start, end, context, value, false);
    if (this.#lacks(seen, value, false)) return undefined;
    return value as T;
  }

  /**
   * Reads as `read` does, but keeps malformed attributes raw. This includes required ones, so that the rest can be used.
   * @param source the bytes of the message
   * @param start where the attributes begin
   * @param end where they end
   * @param context the surroundings that the attributes' types depend on
   * @param value the object that the fields go into
   * @throws DecodeError an attribute has an impossible length
   * @example
   * console.log(table.readTolerant(source, 20, source.bytes.length, { family: 2 })?.mtu);
   */
  readTolerant(
    source: Source,
    start: number,
    end: number,
    context: Context,
    value: object = {},
  ): Partial<T> | undefined {
    const seen = this.#readFields(source, start, end, context, value as Fields, false);
    return this.#lacks(seen, value as Fields, true) ? undefined : (value as Partial<T>);
  }

  #lacks(seen: number, value: Fields, orKept: boolean): boolean {
    const { fields, required } = this.#rows ?? this.#layOut();
    if ((seen & required) === required && fields.length <= 32) return false;
    return fields.some(
      ({ need, key, number }) =>
        need === 'required' && value[key] === undefined && !(orKept && this.#isKept(value, number, false)),
    );
  }

  #isKept({ unknown }: Fields, number: number, inlined: boolean): boolean {
    const nest = inlined ? this.name : undefined;
    return Array.isArray(unknown) && unknown.some(item => item?.type === number && item.in === nest);
  }

  /** Reads the fields. Returns those that it has found, as bits. */
  #readFields(source: Source, start: number, end: number, context: Context, value: Fields, inlined: boolean): number {
    if (this.#framing !== NETLINK_FRAMING) return this.#readFramed(source, start, end, context, value, inlined);
    const { view } = source;
    const { byNumber } = this.#rows ?? this.#layOut();
    let seen = 0;
    let strange = false;
    let at = start;
    for (; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
      const length = attributeLength(view, at, end);
      const type = attributeType(view, at);
      const payload = at + NLA_HDRLEN;
      const field = byNumber[type];
      // If an attribute comes twice, the first is the field and the second is kept as unknown. So both are written back in their order.
      if (field !== undefined && !(field.bit === 0 ? value[field.key] !== undefined : (seen & field.bit) !== 0)) {
        if (strange || field.need === 'inline') {
          if (this.#readField(field, source, payload, at + length, context, value, inlined)) {
            strange ||= value.unknown !== undefined;
            seen |= field.bit;
            continue;
          }
        } else {
          const isWord = field.word !== undefined && length === NLA_HDRLEN + 4;
          const item = isWord
            ? readWord(field.word, view, payload)
            : readItem(field.type, source, payload, at + length, context);
          if (item !== undefined) {
            value[field.key] = item;
            seen |= field.bit;
            continue;
          }
        }
      }
      const kept: UnknownAttribute = { type, bytes: toHex(source.bytes, payload, at + length) };
      if (inlined) kept.in = this.name;
      keep(value, kept);
      strange = true;
    }
    refuseStray(at, end);
    if (strange) sortUnknown(value);
    return seen;
  }

  /** Reads user data. These bytes are one value to the kernel, so they stay raw if they could not be written back in the same order. */
  #readFramed(source: Source, start: number, end: number, context: Context, value: Fields, inlined: boolean): number {
    const { fields, byNumber } = this.#rows ?? this.#layOut();
    let seen = 0;
    let place = -1;
    this.#framing.each(source, start, end, (type, payload, payloadEnd) => {
      const field = byNumber[type];
      const again = field !== undefined && (seen & field.bit) !== 0;
      const known =
        field !== undefined && !again && this.#readField(field, source, payload, payloadEnd, context, value, inlined);
      const next = known ? fields.indexOf(field) : fields.length;
      if (next < place) throw new DecodeError('user data in an order of its own');
      place = next;
      if (known) {
        seen |= field.bit;
        return;
      }
      const kept: UnknownAttribute = { type, bytes: toHex(source.bytes, payload, payloadEnd) };
      if (inlined) kept.in = this.name;
      keep(value, kept);
    });
    sortUnknown(value);
    return seen;
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
    if (field.need !== 'inline') {
      const item = readItem(field.type, source, start, end, context);
      if (item === undefined) return false;
      if (value.unknown !== undefined) this.#markEarlier(value, field.number, inlined);
      value[field.key] = item;
      return true;
    }
    const table = field.type as AttributeTable<unknown>;
    if (table.#isInlinedIn(value)) return false;
    // A malformed nest must not leave half its fields in the outer object, so they go into an object of their own first.
    const inner: Fields = {};
    try {
      table.#readFields(source, start, end, context, inner, true);
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
    const { unknown, ...known } = inner;
    if (Object.keys(inner).length === 0) return false;
    if (value.unknown !== undefined) this.#markEarlier(value, field.number, inlined);
    Object.assign(value, known);
    if (unknown !== undefined) keep(value, ...unknown);
    return true;
  }

  /** Marks the malformed attributes of a number that came before the one that is now read. */
  #markEarlier({ unknown }: Fields, number: number, inlined: boolean): void {
    const nest = inlined ? this.name : undefined;
    for (const item of unknown ?? []) if (item.type === number && item.in === nest) item.before = true;
  }

  /** Returns whether the nest was read already. A second one is kept raw, because two must not become one. */
  #isInlinedIn(value: Fields): boolean {
    return (
      this.fields.some(({ key }) => value[key] !== undefined) ||
      (value.unknown?.some(each => each.in === this.name) ?? false)
    );
  }

  /**
   * Returns the path of the field whose attribute stands at an offset, for an error in which the kernel points at it.
   * @param source the bytes of the message
   * @param start where the attributes begin
   * @param end where they end
   * @param offset the offset that the kernel points at
   * @param context the surroundings that the attributes' types depend on
   * @throws DecodeError an attribute has an impossible length
   * @example
   * console.log(table.locate(source, 20, source.bytes.length, 24, { family: 2 }));
   */
  locate(source: Source, start: number, end: number, offset: number, context: Context): Path {
    let found: Path = [];
    const { byNumber } = this.#rows ?? this.#layOut();
    try {
      this.#framing.each(source, start, end, (type, payload, payloadEnd) => {
        if (offset < payload - this.#framing.headerLength || offset >= Math.max(payloadEnd, payload)) return;
        const field = byNumber[type];
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

  /**
   * Returns the field that has an attribute's number, for an error in which the kernel says that it is missing.
   * @param number the attribute's number
   * @example
   * console.log(table.fieldName(1));
   */
  fieldName(number: number): string | undefined {
    return (this.#rows ?? this.#layOut()).byNumber[number]?.key;
  }
}

/**
 * Declares a table. `name` is the prefix of the kernel's names: 'NFTA_RULE'.
 * @param schema the rows, by field, or a function that returns them. It is called when the table is first used.
 * @param options the framing, the fields of the header, and the function that completes an object before it is written
 * @example
 * const links = attributes('IFLA', { name: string(3, 15), mtu: opt(u32ne(4)) });
 */
export function attributes<const S extends Schema>(
  name: string,
  schema: S | (() => S),
  options?: TableOptions,
): AttributeTable<ShapeOf<S>> {
  return new AttributeTable<ShapeOf<S>>(name, schema, options);
}
