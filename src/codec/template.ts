import { formatPath, type Path } from '../errors.ts';
import { stepsTo } from './path.ts';
import { type Context, NO_CONTEXT, type NumberForm, type Type } from './types.ts';
import { fromHex, hexByte } from './wire.ts';
import { Writer } from './writer.ts';

/**
 * A place in a template's bytes for a value that differs from message to message. Its length is fixed.
 * @example
 * const servers = attributes('SERVER', { port: u16be(2) });
 * const { port } = template(servers, { port: 0 }, { port: ['port'] }).holes;
 * port.size; // 2
 */
export class Hole {
  /** The offset of the place in the template's bytes. */
  readonly at: number;
  /** Its length in bytes. */
  readonly size: number;
  /* The range of an integer. For bytes it is empty, so that no number fits. */
  readonly #min: number;
  readonly #max: number;
  readonly #littleEndian: boolean;
  readonly #byName: ReadonlyMap<unknown, number> | undefined;

  /** @internal */
  constructor(at: number, size: number, form: NumberForm | undefined) {
    this.at = at;
    this.size = size;
    this.#min = form?.min ?? 0;
    this.#max = form?.max ?? -1;
    this.#littleEndian = form?.littleEndian ?? false;
    this.#byName = form?.byName;
  }

  /**
   * Writes an integer, or its name, into a copy of the template. Returns false and writes nothing if the row does not take the value.
   *
   * @param view - the bytes that the copy is in
   * @param start - the offset of the copy in them
   * @param value - the number, or its name
   * @example
   * const servers = attributes('SERVER', { port: u16be(2), weight: u32be(3) });
   * const add = template(servers, { port: 0, weight: 0 }, { port: ['port'], weight: ['weight'] });
   * const writer = new Writer();
   * const start = add.write(writer);
   * add.holes.port.putNumber(writer.view, start, 8080);
   */
  putNumber(view: DataView, start: number, value: unknown): boolean {
    const number = typeof value === 'number' ? value : this.#byName?.get(value);
    // Bit operations tell integers of 32 bits from all other values.
    if (number === undefined || ((number | 0) !== number && number >>> 0 !== number)) return false;
    if (number < this.#min || number > this.#max) return false;
    const at = start + this.at;
    if (this.size === 4) view.setUint32(at, number, this.#littleEndian);
    else if (this.size === 2) view.setUint16(at, number, this.#littleEndian);
    else view.setUint8(at, number);
    return true;
  }

  /**
   * Writes bytes into a copy of the template. Returns false if their number is not the hole's; some may have been written then.
   *
   * @param bytes - the bytes that the copy is in
   * @param start - the offset of the copy in them
   * @param value - the bytes, as an array or as hex
   * @example
   * const servers = attributes('SERVER', { address: bytes(1, { min: 4, max: 16 }) });
   * const add = template(servers, { address: '00000000' }, { address: ['address'] });
   * const writer = new Writer();
   * add.holes.address.putBytes(writer.bytes, add.write(writer), '0a000001');
   */
  putBytes(bytes: Uint8Array, start: number, value: string | Uint8Array): boolean {
    const { at, size } = this;
    if (typeof value === 'string') {
      if (value.length !== 2 * size) return false;
      for (let i = 0; i < size; i++) {
        const byte = hexByte(value, 2 * i);
        if (byte < 0) return false;
        bytes[start + at + i] = byte;
      }
      return true;
    }
    if (value.length !== size) return false;
    bytes.set(value, start + at);
    return true;
  }
}

/**
 * A message that is sent often, with other values in a few places. Its table encodes it once. Each further message is a copy of these
 * bytes, with the values written over them. Made by `template`.
 * @example
 * const servers = attributes('SERVER', { port: u16be(2) });
 * const add: Template<'port'> = template(servers, { port: 0 }, { port: ['port'] });
 */
export class Template<Name extends string = string> {
  /** The encoded sample. */
  readonly bytes: Uint8Array;
  /** A view of the same bytes. */
  readonly view: DataView;
  /** The places of the values that change, by name. */
  readonly holes: Readonly<Record<Name, Hole>>;

  /** @internal */
  constructor(bytes: Uint8Array, holes: Readonly<Record<Name, Hole>>) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.holes = holes;
  }

  /**
   * Returns the same template over bytes of its own, for values that stay the same in many messages.
   * @example
   * const servers = attributes('SERVER', { port: u16be(2), weight: u32be(3) });
   * const add = template(servers, { port: 0, weight: 0 }, { port: ['port'], weight: ['weight'] });
   * const ofPort80 = add.copy();
   * ofPort80.holes.port.putNumber(ofPort80.view, 0, 80);
   */
  copy(): Template<Name> {
    return new Template(this.bytes.slice(), this.holes);
  }

  /**
   * Writes a message. Returns the offset where it begins, which the holes need.
   *
   * @param writer - the writer that the message goes to
   * @example
   * const servers = attributes('SERVER', { port: u16be(2), weight: u32be(3) });
   * const add = template(servers, { port: 0, weight: 0 }, { port: ['port'], weight: ['weight'] });
   * const writer = new Writer();
   * add.holes.weight.putNumber(writer.view, add.write(writer), 5);
   */
  write(writer: Writer): number {
    const start = writer.length;
    writer.raw(this.bytes);
    return start;
  }

  /**
   * Writes messages one behind the other. The values of each hole come from a column.
   *
   * @param into - the bytes that they are written to
   * @param at - the offset of the first message in them
   * @param columns - the values of each hole for all messages, each with as many bytes as the hole has
   * @param first - the index in the columns of the first message's values
   * @param count - how many messages are written
   * @example
   * const servers = attributes('SERVER', { port: u16be(2), weight: u32be(3) });
   * const add = template(servers, { port: 0, weight: 0 }, { port: ['port'], weight: ['weight'] });
   * const into = new Uint8Array(2 * add.bytes.length);
   * add.writeMany(into, 0, { port: Uint8Array.of(0, 80, 1, 187) }, 0, 2);
   */
  writeMany(
    into: Uint8Array,
    at: number,
    columns: Partial<Record<Name, Uint8Array>>,
    first: number,
    count: number,
  ): void {
    const stride = this.bytes.length;
    into.set(this.bytes, at);
    for (let done = 1; done < count; done *= 2)
      into.copyWithin(at + done * stride, at, at + Math.min(done, count - done) * stride);
    for (const name in columns) {
      const { at: place, size } = this.holes[name as Name];
      putColumn(into, at + place, stride, columns[name as Name]!, size, first, count);
    }
  }
}

function putColumn(
  into: Uint8Array,
  start: number,
  stride: number,
  column: Uint8Array,
  size: number,
  first: number,
  count: number,
): void {
  let at = start;
  let from = first * size;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < size; j++) into[at + j] = column[from + j]!;
    from += size;
    at += stride;
  }
}

/** The parts of a template's message that its table does not write. */
export interface TemplateOptions {
  /** Writes the bytes before and behind the table's; `body` makes the table write. By default there are none. */
  frame?: (writer: Writer, body: () => void) => void;
  /** The surroundings of the message. Only types whose bytes depend on them need this. */
  context?: Context;
}

/**
 * Makes a template of a table. It encodes the sample, and then once more for each field with another value. The bytes that differ belong to
 * the field. So nothing about the layout is written down twice, and the template follows when a row changes.
 *
 * @param type - the table, or a list of one
 * @param sample - a message that has all the fields, as the table writes it
 * @param fields - the path of each field that will differ: an integer, or bytes of the sample's length
 * @param options - `frame` writes the bytes around the message, `context` is the surroundings of the message
 * @throws TypeError the table has no such path, the field's length may vary, or bytes of other fields depend on it
 * @example
 * const servers = attributes('SERVER', { port: u16be(2), weight: u32be(3) });
 * const add = template(servers, { port: 0, weight: 0 }, { port: ['port'], weight: ['weight'] });
 * const writer = new Writer();
 * const start = add.write(writer);
 * add.holes.port.putNumber(writer.view, start, 8080);
 */
export function template<T, const Name extends string>(
  type: Type<T>,
  sample: T,
  fields: Readonly<Record<Name, Path>>,
  options: TemplateOptions = {},
): Template<Name> {
  const { frame, context = NO_CONTEXT } = options;
  const encode = (value: T): Uint8Array => {
    const writer = new Writer(256);
    const body = () => type.write(writer, value, context);
    if (frame === undefined) body();
    else frame(writer, body);
    return writer.copy();
  };
  const bytes = encode(sample);
  const holes: Record<string, Hole> = {};
  const check = bytes.slice();
  const checkView = new DataView(check.buffer);
  let all = sample;
  for (const [name, path] of Object.entries<Path>(fields)) {
    const form = stepsTo(type as Type<unknown>, path).type.number;
    const { other, size } = otherValue(valueAt(sample, path), form, path);
    const places = placesOf(bytes, encode(replaced(sample, path, other)), size);
    if (places?.length !== 1) throw noHole(path, 'its bytes are not in one place of a fixed length');
    const hole = new Hole(places[0]!, size, form);
    const put = form ? hole.putNumber(checkView, 0, other) : hole.putBytes(check, 0, other as string | Uint8Array);
    if (!put) throw noHole(path, 'it is neither an integer nor bytes');
    holes[name] = hole;
    all = replaced(all, path, other);
  }
  if (Buffer.compare(check, encode(all)) !== 0)
    throw new TypeError(`no template: ${Object.keys(fields).join(', ')} depend on each other`);
  return new Template(bytes, holes as Record<Name, Hole>);
}

/** Returns a value of the same length that differs in each byte. */
function otherValue(
  value: unknown,
  form: NumberForm | undefined,
  path: Path,
): { other: number | string | Uint8Array; size: number } {
  if (typeof value === 'number' && form !== undefined) {
    const bits = ~value;
    return { other: form.min < 0 ? bits : (bits & (form.max | 0)) >>> 0, size: form.size };
  }
  if (value instanceof Uint8Array) return { other: value.map(byte => ~byte), size: value.length };
  const bytes = typeof value === 'string' ? fromHex(value) : undefined;
  if (form !== undefined || bytes === undefined || bytes.length === 0) throw noHole(path, 'its length is not fixed');
  return { other: Buffer.from(bytes.map(byte => ~byte)).toString('hex'), size: bytes.length };
}

/**
 * Compares two encodings of a message with different values of `size` bytes in some places. Returns the offsets of these places; undefined
 * if the encodings differ anywhere else. The two values must differ in their first byte.
 * @param first one encoding
 * @param second the other one
 * @param size the bytes of the value
 * @example
 * const port = placesOf(Uint8Array.of(0, 0, 80), Uint8Array.of(0, 31, 144), 2); // [1]
 */
export function placesOf(first: Uint8Array, second: Uint8Array, size: number): number[] | undefined {
  if (first.length !== second.length) return undefined;
  const places: number[] = [];
  for (let at = 0; at < first.length; at++) {
    if (first[at] === second[at]) continue;
    if (at + size > first.length) return undefined;
    places.push(at);
    at += size - 1;
  }
  return places;
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const key of path) at = (at as Record<string | number, unknown> | undefined)?.[key];
  return at;
}

function replaced<T>(value: T, path: Path, other: unknown): T {
  const [key, ...rest] = path;
  if (key === undefined) return other as T;
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string | number, unknown>;
  copy[key] = replaced(copy[key], rest, other);
  return copy as T;
}

function noHole(path: Path, why: string): TypeError {
  return new TypeError(`a template cannot vary '${formatPath(path)}': ${why}`);
}
