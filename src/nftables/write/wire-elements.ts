import { NLA_HDRLEN, type Writer } from '../../codec/index.ts';
import { type Path, rangeError, within } from '../../errors.ts';
import * as C from '../../linux/nf_tables.ts';
import { withAcceptedExpressions } from '../../nf_tables/accepted.ts';
import { elementTable, type WireElement, writableWire } from '../../nf_tables/element.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import type { WiredElements } from '../../nft/element-values.ts';
import { MAX_NEST } from './element-template.ts';
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
export class ElementMessages {
  readonly #list: MessageList;
  readonly #head: ElementsHead;
  #message = 0;
  #nest = 0;
  /** The values that the message's elements came from. */
  #origins = new Origins();

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
    this.#origins = new Origins();
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
    for (let i = 0; i < elements; i++) this.#origins.push(origin + i * step);
  }

  close(): void {
    const { name, family, operation, translate } = this.#head;
    this.#list.writer.endAttribute(this.#nest);
    const origins = this.#origins;
    this.#list.end(this.#message, name, family, operation, path => {
      const [first, index, ...rest] = path;
      const from = first === 'elements' && typeof index === 'number' ? origins.at(index) : undefined;
      const own = from === undefined ? path : from < 0 ? ['elements'] : ['elements', from, ...rest];
      return translate?.(own) ?? own;
    });
  }
}

/** The value of each element. Where each value is one element, as in large sets, only the first one is noted. */
class Origins {
  #first = 0;
  #length = 0;
  #others: number[] | undefined;

  push(origin: number): void {
    if (this.#length === 0) this.#first = origin;
    if (this.#others === undefined && origin !== this.#first + this.#length)
      this.#others = Array.from({ length: this.#length }, (_, i) => this.#first + i);
    this.#others?.push(origin);
    this.#length++;
  }

  at(index: number): number | undefined {
    if (index >= this.#length) return undefined;
    return this.#others === undefined ? this.#first + index : this.#others[index];
  }
}

function writeText(writer: Writer, type: number, text: string): void {
  const start = writer.beginAttribute(type);
  writer.string(text);
  writer.endAttribute(start);
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

export function writeOne(writer: Writer, element: WireElement, family: number, index: number): void {
  const start = writer.beginNest(C.NFTA_LIST_ELEM);
  try {
    elementTable.write(writer, withAcceptedExpressions(writableWire(element)), { family });
    writer.endAttribute(start);
  } catch (error) {
    throw within(error, [index]);
  }
}
