import { DecodeError, formatPath, type Path } from '../errors.ts';
import { AttributeTable } from './attributes.ts';
import { stepsTo } from './path.ts';
import type { Field } from './rows.ts';
import { type Context, NO_CONTEXT, type Type } from './types.ts';
import { HOST_IS_LITTLE_ENDIAN, NLA_HDRLEN, NLA_TYPE_MASK, type Source } from './wire.ts';

/**
 * Other things that a walk met besides the fields of its view, as bits of one number; 0 is nothing.
 *
 * - `unknown`: an attribute that no row of the table describes.
 * - `other`: an attribute whose row is not in the view.
 * - `malformed`: an attribute that is not as its row says, or comes a second time. It is passed over, as the table does.
 * - `lacking`: an attribute that its row requires is not there. The table reads no object then.
 * - `broken`: a length that is not possible. The fields before it are there.
 */
export const MET = {
  /** An attribute that no row describes. */
  unknown: 1,
  /** An attribute that is not looked for. */
  other: 2,
  /** An attribute whose bytes are no value of its type. */
  malformed: 4,
  /** A required attribute is missing. */
  lacking: 8,
  /** The attributes have impossible lengths. */
  broken: 16,
} as const;

/** One attribute number of a nest. */
interface Row {
  /** The index in the view's columns; -1 if the view does not have the row. */
  slot: number;
  min: number;
  max: number;
  /** The length alone decides whether the bytes are a value. */
  byLength: boolean;
  /** Reads the bytes to decide whether they are a value, if the length alone cannot. */
  type: Type<unknown> | undefined;
  nest: Nest | undefined;
  inline: boolean;
  /** Its bit among the rows that the nest requires, or 0. */
  bit: number;
}

/** A nest that the view walks, with its rows by number. */
interface Nest {
  /** The rows by number. Numbers that the table does not have are NO_ROW, so that there is no gap. */
  readonly rows: Row[];
  readonly required: number;
  /** The slots of all rows in the nest, and of all rows in the nests in it. */
  readonly slots: number[];
}

/**
 * A few fields of many messages, without an object for each message. It walks over a message's attributes once and notes where each field
 * stands: in the column `starts`, by the field's slot. The offsets are valid until the next walk. The view takes the same attribute for a
 * field as the table: the first well-formed one of its number, in a well-formed nest.
 *
 * The walk does not look inside a nest or a list, unless the view has fields in it or the table requires it.
 *
 * Made by `view`.
 * @example
 * const flows = attributes('CTA', { mark: opt(u32be(8)) });
 * const marks: View<'mark'> = view(flows, { mark: ['mark'] });
 * const source = sourceOf(new Uint8Array(0));
 * marks.read(source, 0, source.bytes.length);
 * marks.number(marks.slots.mark, 0); // 0: the message has none
 */
export class View<Name extends string = string> {
  /** The slot of each field. */
  readonly slots: Readonly<Record<Name, number>>;
  /** The offset of the payload of each field; 0 if the field is not there. */
  readonly starts: Int32Array;
  /** The other things that the last walk met, see `MET`. */
  met = 0;
  readonly #root: Nest;
  readonly #types: readonly Type<unknown>[];
  /** The integer form of each field, see `formOf`. */
  readonly #forms: Uint8Array;
  /** The values of fields whose bytes had to be read to know whether they are a value. */
  readonly #values: unknown[] = [];
  #source: Source = NOWHERE;
  #context: Context = NO_CONTEXT;
  /** The row of the first field, for `find`. */
  readonly #first: Row | undefined;
  readonly #firstNumber: number;

  constructor(table: AttributeTable<unknown>, fields: Readonly<Record<Name, Path>>) {
    const plan = new Plan(table);
    const slots = Object.entries<Path>(fields).map(([name, path]) => [name, plan.add(path)] as const);
    plan.finish();
    this.slots = Object.fromEntries(slots) as Record<Name, number>;
    this.#root = plan.root;
    this.#types = plan.types;
    this.#forms = Uint8Array.from(plan.types, formOf);
    this.starts = new Int32Array(plan.types.length);
    this.#firstNumber = plan.root.rows.findIndex(row => row.slot === slots[0]?.[1]);
    const first = plan.root.rows[this.#firstNumber];
    this.#first = first?.type === undefined && first?.nest === undefined ? first : undefined;
  }

  /**
   * Notes where the fields stand. Returns the other things that it met, see `MET`.
   *
   * @param source - the bytes that hold the message
   * @param start - the offset of the first attribute
   * @param end - the offset behind the last one
   * @param context - the surroundings of the message; only types whose bytes depend on them need it
   * @throws DecodeError an attribute at the top has an impossible length; the table throws then, too
   * @example
   * const marks = view(attributes('CTA', { mark: opt(u32be(8)) }), { mark: ['mark'] });
   * const source = sourceOf(Uint8Array.of(8, 0, 8, 0, 0, 0, 0, 7));
   * const isPlain = marks.read(source, 0, 8) === 0;
   */
  read(source: Source, start: number, end: number, context: Context = NO_CONTEXT): number {
    const met = this.walk(source, start, end, context);
    if ((met & MET.broken) !== 0) throw new DecodeError('an attribute has a length that is not possible');
    return met;
  }

  /**
   * Walks as `read` does, but never throws. The walk ends at an impossible length, and the fields before it are there.
   *
   * @param source - the bytes that hold the message
   * @param start - the offset of the first attribute
   * @param end - the offset behind the last one
   * @param context - the surroundings of the message
   * @example
   * const marks = view(attributes('CTA', { mark: opt(u32be(8)) }), { mark: ['mark'] });
   * const source = sourceOf(Uint8Array.of(8, 0, 8, 0, 0, 0, 0, 7));
   * if ((marks.walk(source, 0, 8) & MET.broken) !== 0) throw new Error('cut off');
   */
  walk(source: Source, start: number, end: number, context: Context = NO_CONTEXT): number {
    if (this.#source !== source) this.#source = source;
    if (this.#context !== context) this.#context = context;
    const { starts } = this;
    // There are few slots, and a loop is faster than `fill` for few.
    for (let slot = 0; slot < starts.length; slot++) starts[slot] = 0;
    this.met = 0;
    const seen = this.#walk(source.view, this.#root, start, end);
    if (seen < 0) this.met |= MET.broken;
    else if ((seen & this.#root.required) !== this.#root.required) this.met |= MET.lacking;
    return this.met;
  }

  /** Walks over a nest. Returns the required rows that it has seen, as bits; negative for an impossible length. */
  #walk(view: DataView, nest: Nest, start: number, end: number): number {
    const { starts } = this;
    const { rows } = nest;
    let seen = 0;
    let met = 0;
    let at = start;
    for (; end - at >= NLA_HDRLEN; ) {
      const length = view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
      if (length < NLA_HDRLEN || length > end - at) {
        if (met !== 0) this.met |= met;
        return -1;
      }
      const number = view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK;
      const row = number < rows.length ? rows[number]! : NO_ROW;
      const { slot } = row;
      const size = length - NLA_HDRLEN;
      if (slot < 0) met |= slot === UNKNOWN ? MET.unknown : MET.other;
      else if (
        starts[slot] === 0 &&
        size >= row.min &&
        size <= row.max &&
        (row.byLength || this.#isValue(view, row, at + NLA_HDRLEN, at + length))
      ) {
        starts[slot] = at + NLA_HDRLEN;
        seen |= row.bit;
      } else met |= MET.malformed;
      at += (length + 3) & ~3;
    }
    if (met !== 0) this.met |= met;
    return at < end ? -1 : seen;
  }

  /** Returns whether the bytes are a value. A nest that its table would reject is passed over, with all fields found in it. */
  #isValue(view: DataView, row: Row, start: number, end: number): boolean {
    const { nest } = row;
    if (nest === undefined) return this.#reads(row, start, end);
    const seen = this.#walk(view, nest, start, end);
    if (seen >= 0 && (row.inline || (seen & nest.required) === nest.required)) return true;
    for (const slot of nest.slots) this.starts[slot] = 0;
    return false;
  }

  #reads({ type, slot }: Row, start: number, end: number): boolean {
    try {
      const value = type!.read(this.#source, start, end, this.#context);
      this.#values[slot] = value;
      return value !== undefined;
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
  }

  /**
   * Returns where the payload of the view's first field stands, and reads nothing behind it. The field must be one of the table itself, not
   * of a nest in it. Returns 0 if the field is not there, or stands behind an impossible length. The column does not change.
   *
   * @param source - the bytes that hold the message
   * @param start - the offset of the first attribute
   * @param end - the offset behind the last one
   * @throws TypeError the first field is in a nest, or is a nest, or is text
   * @example
   * const marks = view(attributes('CTA', { mark: opt(u32be(8)) }), { mark: ['mark'] });
   * const source = sourceOf(Uint8Array.of(8, 0, 8, 0, 0, 0, 0, 7));
   * source.view.getUint32(marks.find(source, 0, 8)); // 7
   */
  find(source: Source, start: number, end: number): number {
    const { view } = source;
    if (this.#first === undefined)
      throw new TypeError('the first field of the view is not one that a length decides about');
    const { min, max } = this.#first;
    const number = this.#firstNumber;
    for (let at = start; end - at >= NLA_HDRLEN; ) {
      const length = view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
      if (length < NLA_HDRLEN || length > end - at) return 0;
      if ((view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK) === number) {
        const size = length - NLA_HDRLEN;
        if (size >= min && size <= max) return at + NLA_HDRLEN;
      }
      at += (length + 3) & ~3;
    }
    return 0;
  }

  /**
   * Returns where the payload of a field ends. The field must be there.
   *
   * @param slot - the field's slot
   * @example
   * const names = view(attributes('CTA_HELP', { name: opt(string(1, 16)) }), { name: ['name'] });
   * const source = sourceOf(Uint8Array.of(8, 0, 1, 0, 0x66, 0x74, 0x70, 0));
   * names.read(source, 0, 8);
   * source.bytes.subarray(names.starts[names.slots.name], names.end(names.slots.name));
   */
  end(slot: number): number {
    const header = this.starts[slot]! - NLA_HDRLEN;
    return header + this.#source.view.getUint16(header, HOST_IS_LITTLE_ENDIAN);
  }

  /**
   * Returns the number of an integer field, or `otherwise` if the field is not there.
   *
   * @param slot - the field's slot
   * @param otherwise - the number of a field that is not there
   * @throws TypeError the field is no integer of at most 32 bits
   * @example
   * const marks = view(attributes('CTA', { mark: opt(u32be(8)) }), { mark: ['mark'] });
   * marks.walk(sourceOf(new Uint8Array(0)), 0, 0);
   * marks.number(marks.slots.mark, 0); // 0
   */
  number(slot: number, otherwise: number): number {
    const at = this.starts[slot]!;
    if (at === 0) return otherwise;
    const { view } = this.#source;
    const form = this.#forms[slot]!;
    const littleEndian = (form & LITTLE) !== 0;
    switch (form & ~LITTLE) {
      case 1:
        return view.getUint8(at);
      case 2:
        return view.getUint16(at, littleEndian);
      case 4:
        return view.getUint32(at, littleEndian);
      case 4 | SIGNED:
        return view.getInt32(at, littleEndian);
      default:
        throw new TypeError('the field is no integer');
    }
  }

  /**
   * Returns the value that the table would read for the field; undefined if it is not there.
   *
   * @param slot - the field's slot
   * @example
   * const marks = view(attributes('CTA', { mark: opt(u32be(8)) }), { mark: ['mark'] });
   * marks.walk(sourceOf(Uint8Array.of(8, 0, 8, 0, 0, 0, 0, 7)), 0, 8);
   * marks.value(marks.slots.mark); // 7
   */
  value(slot: number): unknown {
    const at = this.starts[slot]!;
    if (at === 0) return undefined;
    const type = this.#types[slot]!;
    if (type.lengths === undefined && !isNest(type)) return this.#values[slot];
    return type.read(this.#source, at, this.end(slot), this.#context);
  }
}

const LITTLE = 16;
const SIGNED = 8;

/** Returns an integer's size in bytes, with bits for its byte order and its sign. Other types have no form: 0. */
function formOf({ number }: Type<unknown>): number {
  return number === undefined ? 0 : number.size | (number.littleEndian ? LITTLE : 0) | (number.min < 0 ? SIGNED : 0);
}

const NOWHERE: Source = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) };

/** The slot of a number that has no row in the table. */
const UNKNOWN = -2;

function newRow(slot: number): Row {
  return { slot, min: 0, max: 0, byLength: true, type: undefined, nest: undefined, inline: false, bit: 0 };
}

const NO_ROW = newRow(UNKNOWN);

/** Makes the rows of a view from the paths of its fields. */
class Plan {
  /** The types of the fields, by slot. */
  readonly types: Type<unknown>[] = [];
  readonly root: Nest;
  readonly #table: AttributeTable<unknown>;

  constructor(table: AttributeTable<unknown>) {
    this.#table = table;
    this.root = this.#nest(table);
  }

  /** Adds the field at `path`, and returns its slot. */
  add(path: Path): number {
    const { rows } = stepsTo(this.#table, path);
    let nest = this.root;
    for (const [i, field] of rows.entries()) {
      const row = nest.rows[field.number]!;
      if (row.slot < 0) this.#include(row, field);
      if (i === rows.length - 1) {
        if (stepsTo(this.#table, path).type !== field.type) throw noField(path, 'it is a part of an attribute');
        if (field.need === 'inline') throw noField(path, 'it is no field of its own');
        if (isNest(field.type) && field.need !== 'required') row.type = undefined;
        return row.slot;
      }
      nest = row.nest ??= this.#enter(row, field, path);
    }
    throw noField(path, 'it is the message itself');
  }

  #include(row: Row, { type, key }: Field): void {
    if (type.contextual) throw noField([key], 'another attribute decides what it means');
    row.slot = this.types.push(type) - 1;
    row.min = type.lengths?.min ?? 0;
    row.max = type.lengths?.max ?? MAX_PAYLOAD;
    row.type = type.lengths === undefined ? type : undefined;
  }

  #enter(row: Row, { type, need }: Field, path: Path): Nest {
    const table = type instanceof AttributeTable ? type : type.inside;
    if (!(table instanceof AttributeTable) || table.kind !== 'nest') throw noField(path, `it is in a ${type.kind}`);
    row.type = undefined;
    row.inline = need === 'inline';
    // An empty inlined nest is no value: the table keeps it raw.
    if (row.inline) row.min = NLA_HDRLEN;
    return this.#nest(table);
  }

  #nest({ fields, name }: AttributeTable<unknown>): Nest {
    const rows: Row[] = [];
    const most = Math.max(-1, ...fields.map(({ number }) => number));
    for (let number = 0; number <= most; number++) rows.push(NO_ROW);
    let required = 0;
    for (const field of fields) {
      const row = newRow(-1);
      rows[field.number] = row;
      if (field.need !== 'required') continue;
      row.bit = required + 1;
      required |= row.bit;
      if (required < 0) throw new TypeError(`table ${name} requires more rows than a view can count`);
      this.#include(row, field);
    }
    return { rows, required, slots: [] };
  }

  /** Completes the rows. All fields must have been added. */
  finish(nest = this.root): number[] {
    for (const row of nest.rows) {
      if (row.slot < 0) continue;
      row.byLength = row.type === undefined && row.nest === undefined;
      nest.slots.push(row.slot);
      if (row.nest !== undefined) nest.slots.push(...this.finish(row.nest));
    }
    return nest.slots;
  }
}

const MAX_PAYLOAD = 0xffff;
const isNest = ({ kind }: Type<unknown>): boolean => kind === 'nest' || kind === 'list';

function noField(path: Path, why: string): TypeError {
  return new TypeError(`a view cannot have '${formatPath(path)}': ${why}`);
}

/**
 * Makes a view of a table. It has the fields at these paths, under these names. It follows the table's rows when they change.
 *
 * @param table - the table of the messages, or of a nest in them
 * @param fields - the path of each field, in the shape of the table's objects: `['original', 'protocol']`
 * @throws TypeError the table has no such path, or the path leads into a value that is no nest of attributes
 * @example
 * const tuple = attributes('CTA_TUPLE', { port: opt(u16be(2)) });
 * const table = attributes('CTA', { original: opt(nested(1, tuple)), mark: opt(u32be(8)) });
 * const flows = view(table, { port: ['original', 'port'], mark: ['mark'] });
 * const { port, mark } = flows.slots;
 * const source = sourceOf(new Uint8Array(0));
 * flows.read(source, 0, source.bytes.length);
 * if (flows.number(port, -1) === 443) console.log(flows.number(mark, 0));
 */
export function view<const Name extends string>(
  // biome-ignore lint/suspicious/noExplicitAny: a table of any object
  table: AttributeTable<any>,
  fields: Readonly<Record<Name, Path>>,
): View<Name> {
  return new View(table, fields);
}
