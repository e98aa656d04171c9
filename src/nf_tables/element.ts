import {
  AttributeTable,
  attribute,
  attributes,
  type Context,
  eachAttribute,
  flags,
  type Infer,
  inline,
  list,
  listOf,
  NLA_TYPE_MASK,
  opt,
  type ShapeOf,
  type Source,
  string,
  type Type,
  U32_BE,
  u32be,
  u64be,
  type Writer,
} from '../codec/index.ts';
import { within } from '../errors.ts';
import * as C from '../linux/nf_tables.ts';
import { DATA } from './data.ts';
import { EXPRESSION } from './expression.ts';
import { state } from './facets.ts';
import { elementUserdata } from './userdata.ts';

export const elementTable = attributes('NFTA_SET_ELEM', () => ({
  /** Absent in the catch-all element. */
  key: opt(attribute(C.NFTA_SET_ELEM_KEY, DATA)),
  /** Of a concatenation of ranges: the last key that belongs to it. */
  keyEnd: opt(attribute(C.NFTA_SET_ELEM_KEY_END, DATA)),
  /** Of a map: the key's value. */
  data: opt(attribute(C.NFTA_SET_ELEM_DATA, DATA)),
  /** interval-end: the first key that does not belong to the range before it. catch-all: every key that has no element. */
  flags: opt(
    attribute(
      C.NFTA_SET_ELEM_FLAGS,
      flags(U32_BE, { 'interval-end': C.NFT_SET_ELEM_INTERVAL_END, 'catch-all': C.NFT_SET_ELEM_CATCHALL }),
    ),
  ),
  /** 0 never times out; the set's own where left out. */
  timeoutMilliseconds: opt(u64be(C.NFTA_SET_ELEM_TIMEOUT)),
  /** How much of that is left. */
  expirationMilliseconds: state(opt(u64be(C.NFTA_SET_ELEM_EXPIRATION))),
  userdata: inline(C.NFTA_SET_ELEM_USERDATA, elementUserdata),
  /** Counters and the like of this element. */
  expression: opt(attribute(C.NFTA_SET_ELEM_EXPR, EXPRESSION)),
  /** Of a map of objects: the name of the key's object. */
  object: opt(string(C.NFTA_SET_ELEM_OBJREF, 255)),
  /** As `expression`, where there are several. */
  expressions: opt(list(C.NFTA_SET_ELEM_EXPRESSIONS, C.NFTA_LIST_ELEM, EXPRESSION)),
}));

/** One element of a set or map as the kernel has it: of a range, its beginning or its end. */
export type WireElement = Infer<typeof elementTable>;

interface NumberedContext extends Context {
  numbered?: boolean;
}

const plainList = listOf(C.NFTA_LIST_ELEM, elementTable);

/** libnftnl numbers elements from 1 on; the kernel calls each NFTA_LIST_ELEM, and takes either. */
const ELEMENTS: Type<WireElement[]> = {
  kind: 'list',
  write(writer, elements, context) {
    if (!(context as NumberedContext).numbered || !Array.isArray(elements)) {
      plainList.write(writer, elements, context);
      return;
    }
    for (const [i, element] of elements.entries()) {
      try {
        const start = writer.beginNest((i + 1) & NLA_TYPE_MASK);
        elementTable.write(writer, element, context);
        writer.endAttribute(start);
      } catch (error) {
        throw within(error, [i]);
      }
    }
  },
  read(source, start, end, context) {
    const elements: WireElement[] = [];
    let plain = true;
    let numbered = true;
    let whole = true;
    eachAttribute(source, start, end, (type, payload, payloadEnd) => {
      const element = elementTable.read(source, payload, payloadEnd, context);
      if (element === undefined) whole = false;
      else elements.push(element);
      plain &&= type === C.NFTA_LIST_ELEM;
      numbered &&= type === (elements.length & NLA_TYPE_MASK);
    });
    if (!whole || !(plain || numbered)) return undefined;
    if (!plain) (context as NumberedContext).numbered = true;
    return elements;
  },
  locate: (...place) => plainList.locate!(...place),
};

const schema = {
  /** The name of the set's table. */
  table: string(C.NFTA_SET_ELEM_LIST_TABLE, 255),
  /** By its name, or by `setId`. */
  set: opt(string(C.NFTA_SET_ELEM_LIST_SET, 255)),
  /** The set by the number that it has within its own transaction. */
  setId: opt(u32be(C.NFTA_SET_ELEM_LIST_SET_ID)),
  /** Absent in requests that concern all of them. */
  elements: opt(attribute(C.NFTA_SET_ELEM_LIST_ELEMENTS, ELEMENTS)),
};

/** Elements of one set. */
export type WireElements = ShapeOf<typeof schema> & {
  /** The elements' attributes are numbered from 1 on, as libnftnl does it: only to write back what was read. */
  numbered?: true;
};

class ElementsTable extends AttributeTable<WireElements> {
  override write(writer: Writer, value: WireElements, { family }: Context): void {
    super.write(writer, value, { family, numbered: value?.numbered } as Context);
  }

  override read(source: Source, start: number, end: number, { family }: Context): WireElements | undefined {
    const context: NumberedContext = { family };
    return withNumbering(super.read(source, start, end, context), context);
  }

  override readTolerant(source: Source, start: number, end: number, { family }: Context, value: object = {}) {
    const context: NumberedContext = { family };
    return withNumbering(super.readTolerant(source, start, end, context, value), context);
  }
}

function withNumbering<T extends { numbered?: true }>(value: T | undefined, context: NumberedContext): T | undefined {
  if (value !== undefined && context.numbered) value.numbered = true;
  return value;
}

export const elementsTable = new ElementsTable('NFTA_SET_ELEM_LIST', schema, { header: ['family', 'numbered'] });

/** A listed element in the form that the kernel accepts: it lists ends of ranges with a lifetime, and refuses one in requests. */
export function writableWire(element: WireElement): WireElement {
  if (!element.flags?.includes('interval-end')) return element;
  const { timeoutMilliseconds: _, expirationMilliseconds: __, ...rest } = element;
  return rest;
}
