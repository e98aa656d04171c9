import { ipv4Number, readIPv4, type Writer } from '../../codec/index.ts';
import { typeError, within } from '../../errors.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { TYPES } from '../../nft/data/datatypes.ts';
import type { GivenElement } from '../../nft/element-forms.ts';
import { type ElementValue, type WireOptions, wireElement } from '../../nft/element-values.ts';
import { CATCH_ALL, type ElementKey, type FieldRange, type FieldValue, putScalar } from '../../nft/field-values.ts';
import { type ElementShape, type Field, idsOf } from '../../nft/set-types.ts';
import { PackedElements } from '../packed-elements.ts';
import { type ElementTemplate, elementTemplate, MAX_NEST } from './element-template.ts';
import type { MessageList } from './encoded.ts';
import { ElementMessages, type ElementsHead, writeOne } from './wire-elements.ts';

/** Writes values of a set without ranges as messages of at most 64 KiB of elements. */
export function writeElements(
  list: MessageList,
  head: ElementsHead,
  values: readonly GivenElement[] | PackedElements,
  shape: ElementShape,
  options: WireOptions = {},
): void {
  if (values instanceof PackedElements) {
    writePacked(list, head, values, elementTemplate(shape, options.keysOnly === true)!);
    return;
  }
  if (!Array.isArray(values)) throw typeError(['elements'], 'an array', values);
  const messages = new ElementMessages(list, head);
  const { writer } = list;
  try {
    const plain = new PlainElements(shape, options.keysOnly === true);
    expectElements(writer, values.length, plain.size);
    for (let i = 0; i < values.length; i++) {
      const start = writer.length;
      const value = values[i] as ElementValue;
      if (!plain.write(writer, value)) {
        let element: WireElement;
        try {
          element = wireElement(value, shape, options.keysOnly === true);
        } catch (error) {
          throw within(error, [i]);
        }
        writeOne(writer, element, head.family, i);
      }
      messages.wrote(start, 1, i);
    }
  } catch (error) {
    throw within(error, ['elements']);
  }
  messages.close();
}

/** A table and a set with names of 255 bytes, with the headers of their message. */
const LONGEST_HEAD = 600;
/** For the operations behind the elements: most need less. */
const BEHIND = 16 * 1024;

/** Makes room for elements at once, and for all around them: a large buffer that lacks a few bytes at the end would be copied for them. */
function expectElements(writer: Writer, count: number, size: number): void {
  const bytes = count * size;
  const around = bytes < MAX_NEST ? 0 : Math.ceil(bytes / (MAX_NEST - size)) * LONGEST_HEAD + BEHIND;
  writer.expect(bytes + around);
}

/** Types whose values nft's JSON has as they are here: addresses as texts, and ports as numbers. */
const PLAIN: ReadonlySet<number> = /* @__PURE__ */ new Set([TYPES.ipv4_addr.id, TYPES.inet_service.id]);

/** Has the set only keys and values whose bytes follow from nft's JSON without its compiler? */
function isPlain({ keyType = 0, dataType, expression, expressions }: NftSet, { values }: ElementShape): boolean {
  if (expression !== undefined || expressions !== undefined) return false;
  const types = [...idsOf(keyType), ...(values === 'data' ? idsOf(dataType ?? 0) : [])];
  return types.every(type => PLAIN.has(type));
}

/** Writes elements in nft's JSON. Returns false, and writes nothing, if one of them or their set is more than addresses and ports. */
export function writePlainJson(
  list: MessageList,
  head: ElementsHead,
  members: readonly unknown[],
  set: NftSet,
  shape: ElementShape,
): boolean {
  const { length } = list;
  const start = list.writer.length;
  const plain = new PlainElements(shape, false);
  if (plain.size === 0 || !isPlain(set, shape)) return false;
  const isMap = shape.values === 'data';
  const messages = new ElementMessages(list, head);
  const { writer } = list;
  expectElements(writer, members.length, plain.size);
  for (let i = 0; i < members.length; i++) {
    const member = members[i];
    const at = writer.length;
    let key: ElementKey | undefined;
    let data: ElementKey | undefined;
    if (!isMap) key = plainKey(member, shape.key);
    else if (Array.isArray(member) && member.length === 2) {
      key = plainKey(member[0], shape.key);
      data = plainKey(member[1], shape.data);
    }
    if (key === undefined || (isMap && data === undefined) || !plain.put(writer, key, data)) {
      list.truncate(length, start);
      return false;
    }
    messages.wrote(at, 1, i);
  }
  messages.close();
  return true;
}

/** A key or value of nft's JSON as values are given; undefined if it is anything else than addresses and ports. */
function plainKey(json: unknown, fields: readonly Field[]): ElementKey | undefined {
  if (fields.length === 1) return isPlainValue(json, fields[0]!) ? (json as ElementKey) : undefined;
  if (typeof json !== 'object' || json === null) return undefined;
  const { concat } = json as { concat?: unknown };
  if (!Array.isArray(concat) || concat.length !== fields.length) return undefined;
  for (let i = 0; i < fields.length; i++) if (!isPlainValue(concat[i], fields[i]!)) return undefined;
  return concat as ElementKey;
}

const isPlainValue = (json: unknown, { form }: Field): boolean =>
  form === 'ipv4' ? typeof json === 'string' && ipv4Number(json) >= 0 : form === 'integer' && typeof json === 'number';

function writePacked(list: MessageList, head: ElementsHead, elements: PackedElements, template: ElementTemplate): void {
  const size = template.message.bytes.length;
  const most = PackedElements.perMessage(template);
  expectElements(list.writer, elements.length, size);
  const messages = new ElementMessages(list, head);
  for (let first = 0; first < elements.length; first += most) {
    const count = Math.min(most, elements.length - first);
    if (first > 0) messages.next();
    const start = list.writer.reserve(count * size);
    elements.write(list.writer.bytes, start, template, first, count);
    messages.wrote(start, count, first, 1);
  }
  messages.close();
}

/**
 * Writes the elements of large sets: a key, and bytes as its value. They all look the same but for those bytes, which are put into a copy of
 * one that is ready.
 */
class PlainElements {
  readonly #shape: ElementShape;
  readonly #template: ElementTemplate | undefined;

  constructor(shape: ElementShape, keysOnly: boolean) {
    this.#shape = keysOnly ? { ...shape, values: 'none' } : shape;
    this.#template = elementTemplate(shape, keysOnly);
  }

  /** Bytes of each. */
  get size(): number {
    return this.#template?.message.bytes.length ?? 0;
  }

  /** False where the element is not plain, or is malformed: the general way writes it then, or says what is wrong. */
  write(writer: Writer, value: ElementValue): boolean {
    if (this.#template === undefined) return false;
    if (this.#shape.values !== 'data') return this.put(writer, value as ElementKey);
    if (typeof value !== 'object' || value === null) return false;
    for (const field in value) if (field !== 'key' && field !== 'data') return false;
    const { key, data } = value as { key: ElementKey; data: ElementKey };
    return data !== undefined && this.put(writer, key, data);
  }

  /** The same for a key and its value. */
  put(writer: Writer, key: ElementKey, data?: ElementKey): boolean {
    const template = this.#template;
    if (template === undefined) return false;
    const { key: keyFields, data: dataFields } = this.#shape;
    const start = writer.length;
    const { message } = template;
    message.write(writer);
    const { bytes } = writer;
    const { holes } = message;
    if (putFields(key, keyFields, bytes, start + holes.key.at)) {
      if (data === undefined || putFields(data, dataFields, bytes, start + holes.data.at)) return true;
    }
    writer.length = start;
    return false;
  }
}

function putFields(value: ElementKey, fields: readonly Field[], bytes: Uint8Array, start: number): boolean {
  if (fields.length === 1) return putField(value as FieldValue, fields[0]!, bytes, start);
  if (!Array.isArray(value) || value.length !== fields.length) return false;
  let at = start;
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i]!;
    if (!putField(value[i]!, field, bytes, at)) return false;
    at += (field.bytes + 3) & ~3;
  }
  return true;
}

function putField(value: FieldValue | FieldRange, field: Field, bytes: Uint8Array, at: number): boolean {
  const { form } = field;
  if (typeof value === 'string') {
    if (form === 'ipv4') return readIPv4(value, bytes, at);
    return value !== CATCH_ALL && form !== 'string' && putScalar(value, field, bytes, at);
  }
  return typeof value === 'number' && putScalar(value, field, bytes, at);
}
