import { NLA_HDRLEN, readIPv4, type Writer } from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import * as C from '../../linux/nf_tables.ts';
import { withAcceptedExpressions } from '../../nf_tables/accepted.ts';
import { elementTable, type WireElement } from '../../nf_tables/element.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import { type GivenElement, writableWire } from '../../nft/element-forms.ts';
import { type ElementValue, type WiredElements, type WireOptions, wireElement } from '../../nft/element-values.ts';
import { CATCH_ALL, type ElementKey, type FieldRange, type FieldValue, putScalar } from '../../nft/field-values.ts';
import type { ElementShape, Field } from '../../nft/set-types.ts';
import { PackedElements } from '../packed-elements.ts';
import { type ElementTemplate, elementTemplate, MAX_NEST } from './element-template.ts';
import type { MessageList } from './encoded.ts';

/** The set that the elements are of, and what is done with them. */
export interface ElementsHead {
  readonly name: MessageName;
  readonly flags: number;
  readonly family: number;
  readonly operation: number;
  readonly table: string;
  readonly set: string | undefined;
  readonly setId: number | undefined;
  /** Makes a path of the caller's object from one that begins with 'elements' and the index of a value. */
  readonly translate?: (path: Path) => Path;
}

/** Messages with elements of one set: a new one whenever the list is full. */
class ElementMessages {
  readonly #list: MessageList;
  readonly #head: ElementsHead;
  #message = 0;
  #nest = 0;
  /** The value that each element of the message came from. */
  #origin: number[] = [];

  constructor(list: MessageList, head: ElementsHead) {
    this.#list = list;
    this.#head = head;
    this.#open();
  }

  #open(): void {
    const { name, flags, family, table, set, setId } = this.#head;
    this.#message = this.#list.begin(name, flags, family);
    const { writer } = this.#list;
    writeText(writer, C.NFTA_SET_ELEM_LIST_TABLE, table);
    if (set !== undefined) writeText(writer, C.NFTA_SET_ELEM_LIST_SET, set);
    if (setId !== undefined) writer.attribute32(C.NFTA_SET_ELEM_LIST_SET_ID, setId, false);
    this.#nest = writer.beginNest(C.NFTA_SET_ELEM_LIST_ELEMENTS);
    this.#origin = [];
  }

  /** Ends this message, which is full, and begins another one. */
  next(): void {
    this.close();
    this.#open();
  }

  /**
   * Says that elements have been written, from `start` on: they go to a message of their own if this one is full. They came from the value
   * `origin`, or with `step` 1 from it and those behind it.
   */
  wrote(start: number, elements: number, origin: number, step: 0 | 1 = 0): void {
    const { writer } = this.#list;
    if (writer.length - this.#nest > MAX_NEST) {
      const moved = writer.bytes.slice(start, writer.length);
      if (moved.length > MAX_NEST - NLA_HDRLEN)
        throw rangeError([origin], `at most ${MAX_NEST} encoded bytes`, moved.length, 'ERR_ATTRIBUTE_TOO_LONG');
      writer.length = start;
      this.next();
      writer.raw(moved);
    }
    for (let i = 0; i < elements; i++) this.#origin.push(origin + i * step);
  }

  close(): void {
    const { name, family, operation, translate } = this.#head;
    this.#list.writer.endAttribute(this.#nest);
    const origin = this.#origin;
    this.#list.end(this.#message, name, family, operation, path => {
      const [first, index, ...rest] = path;
      const from = first === 'elements' && typeof index === 'number' ? origin[index] : undefined;
      const own = from === undefined ? path : from < 0 ? ['elements'] : ['elements', from, ...rest];
      return translate?.(own) ?? own;
    });
  }
}

function writeText(writer: Writer, type: number, text: string): void {
  const start = writer.beginAttribute(type);
  writer.string(text);
  writer.endAttribute(start);
}

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
    writer.expect(values.length * plain.size);
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

/** Writes elements in the kernel's own form. The elements of one value stay in one message. */
export function writeWired(list: MessageList, head: ElementsHead, wired: WiredElements): void {
  const messages = new ElementMessages(list, head);
  try {
    writeAll(messages, list.writer, wired, head.family);
  } catch (error) {
    const own: Path = ['elements'];
    throw within(error, head.translate?.(own) ?? own);
  }
  messages.close();
}

function writePacked(list: MessageList, head: ElementsHead, elements: PackedElements, template: ElementTemplate): void {
  const size = template.message.bytes.length;
  const most = PackedElements.perMessage(template);
  list.writer.expect(elements.length * size);
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

function writeAll(
  messages: ElementMessages,
  writer: Writer,
  { elements, origin }: { elements: WireElement[]; origin: number[] },
  family: number,
): void {
  for (let i = 0; i < elements.length; ) {
    const start = writer.length;
    const from = origin[i]!;
    let count = 0;
    // A beginning and its end stay together.
    do writeOne(writer, elements[i + count++]!, family, from);
    while (i + count < elements.length && origin[i + count] === from && from >= 0);
    messages.wrote(start, count, from);
    i += count;
  }
}

/** Elements in the kernel's own form: those of the sets that rules bring with them. */
export function writeWireElements(list: MessageList, head: ElementsHead, elements: readonly WireElement[]): void {
  const messages = new ElementMessages(list, head);
  for (const [i, element] of elements.entries()) {
    const start = list.writer.length;
    writeOne(list.writer, element, head.family, i);
    messages.wrote(start, 1, i);
  }
  messages.close();
}

function writeOne(writer: Writer, element: WireElement, family: number, index: number): void {
  const start = writer.beginNest(C.NFTA_LIST_ELEM);
  try {
    elementTable.write(writer, withAcceptedExpressions(writableWire(element)), { family });
    writer.endAttribute(start);
  } catch (error) {
    throw within(error, [index]);
  }
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
    const template = this.#template;
    if (template === undefined) return false;
    const { key: keyFields, data: dataFields, values } = this.#shape;
    const start = writer.length;
    let key = value as ElementKey;
    let data: ElementKey | undefined;
    if (values === 'data') {
      if (typeof value !== 'object' || value === null) return false;
      for (const field in value) if (field !== 'key' && field !== 'data') return false;
      ({ key, data } = value as { key: ElementKey; data: ElementKey });
      if (data === undefined) return false;
    }
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
