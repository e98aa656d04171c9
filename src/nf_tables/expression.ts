import {
  type AttributeTable,
  attributeLength,
  attributeType,
  type Context,
  eachAttribute,
  type Infer,
  NLA_HDRLEN,
  NO_CONTEXT,
  nextAttribute,
  refuseStray,
  type Source,
  type Type,
  text,
  toBytes,
  toHex,
  Writer,
} from '../codec/index.ts';
import { lazy } from '../codec/lazy.ts';
import { DecodeError, type Path, typeError, within } from '../errors.ts';
import * as C from '../linux/nf_tables.ts';
import * as action from './expressions/action.ts';
import * as compare from './expressions/compare.ts';
import * as load from './expressions/load.ts';
import { type DynamicSet, type Inner, type NestedTables, nestedTables } from './expressions/nested.ts';
import * as packet from './expressions/packet.ts';
import * as stateful from './expressions/stateful.ts';
import * as xt from './expressions/xt.ts';

type PlainTables = typeof packet.expressions &
  typeof compare.expressions &
  typeof load.expressions &
  typeof stateful.expressions &
  typeof action.expressions &
  typeof xt.expressions;
type Plain = { [K in keyof PlainTables]: { [P in K]: Infer<PlainTables[K]> } }[keyof PlainTables];
type Known =
  | Plain
  | {
      /** Changes a set while packets pass. */
      dynset: DynamicSet<Expression>;
    }
  | {
      /** Looks into a tunnel's packet. Linux 6.2. */
      inner: Inner<Expression>;
    };
type Tables = PlainTables & NestedTables<Expression>;

/**
 * One instruction of the kernel's packet machine: an object with one key, the expression's name. What this library does not know, or cannot
 * read, is kept with its bytes and written back unchanged; `bytes` is absent where the kernel sends no data with an expression.
 */
export type Expression =
  | Known
  | {
      /** An expression that this library does not know, or whose bytes it cannot read. */
      unknown: {
        /** The kernel's name of the expression. */
        name: string;
        /** Its attributes, as hex. */
        bytes?: string;
      };
    };
export type ExpressionName = keyof Tables;
/** The fields of an expression, by its name. */
export type ContentOf<K extends string> = Extract<Expression, Record<K, unknown>>[K &
  keyof Extract<Expression, Record<K, unknown>>];

/** Those that come without NFTA_EXPR_DATA. Any other without it is not understood, and kept as it is. */
const WITHOUT_DATA: ReadonlySet<string> = new Set<ExpressionName>(['notrack']);

const NAME = text(127);

/** NFTA_EXPR_NAME and NFTA_EXPR_DATA as one object. */
export const EXPRESSION: Type<Expression> = {
  kind: 'nest',
  write(writer, expression, context) {
    const name = onlyKey(expression);
    if (name === 'unknown') {
      writeUnknown(writer, (expression as { unknown: { name: string; bytes?: string } }).unknown, context);
      return;
    }
    const entry = ENTRIES().get(name);
    if (entry === undefined) {
      throw typeError(
        [name],
        `no such expression (known: ${Object.keys(EXPRESSIONS).join(', ')}, unknown)`,
        expression,
        'ERR_UNKNOWN_FIELD',
      );
    }
    writer.raw(entry.nameAttribute);
    try {
      const start = writer.beginNest(C.NFTA_EXPR_DATA);
      entry.table.write(writer, (expression as Record<string, unknown>)[name], context);
      if (writer.length === start + NLA_HDRLEN && WITHOUT_DATA.has(name)) writer.length = start;
      else writer.endAttribute(start);
    } catch (error) {
      throw within(error, [name]);
    }
  },
  read(source, start, end, context) {
    let names = 0;
    let name: string | undefined;
    let data = -1;
    let dataEnd = -1;
    let strange = false;
    const { view } = source;
    let at = start;
    for (; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
      const length = attributeLength(view, at, end);
      const type = attributeType(view, at);
      if (type === C.NFTA_EXPR_NAME && names++ === 0) {
        name = NAME.read(source, at + NLA_HDRLEN, at + length, context);
      } else if (type === C.NFTA_EXPR_DATA && data < 0) {
        data = at + NLA_HDRLEN;
        dataEnd = at + length;
      } else {
        strange = true;
      }
    }
    refuseStray(at, end);
    if (name === undefined || strange) return undefined;
    if (data < 0) return WITHOUT_DATA.has(name) ? named(name, {}) : { unknown: { name } };
    // Empty data where none belongs: to leave it out would be to lose it.
    const known =
      data === dataEnd && WITHOUT_DATA.has(name) ? undefined : readKnown(name, source, data, dataEnd, context);
    return known ?? { unknown: { name, bytes: toHex(source.bytes, data, dataEnd) } };
  },
  locate(source, start, end, offset, context) {
    let path: Path = [];
    let name: string | undefined;
    eachAttribute(source, start, end, (type, payload, payloadEnd) => {
      if (type === C.NFTA_EXPR_NAME) name = NAME.read(source, payload, payloadEnd, context);
      if (name === undefined || offset < payload - NLA_HDRLEN || offset >= payloadEnd) return;
      const inner =
        type === C.NFTA_EXPR_DATA
          ? ENTRIES().get(name)?.table.locate(source, payload, payloadEnd, offset, context)
          : undefined;
      path = [name, ...(inner ?? [])];
    });
    return path;
  },
};

/** Every expression that is typed, under the kernel's name. One it lacks is kept as `{ unknown }`. */
export const EXPRESSIONS: Tables = {
  ...packet.expressions,
  ...compare.expressions,
  ...load.expressions,
  ...stateful.expressions,
  ...action.expressions,
  ...xt.expressions,
  ...nestedTables(EXPRESSION),
};

/** The table of an expression, and its name as an encoded attribute. */
interface Entry {
  readonly table: AttributeTable<unknown>;
  readonly nameAttribute: Uint8Array;
}

const ENTRIES = lazy(
  (): ReadonlyMap<string, Entry> =>
    new Map(
      Object.entries(EXPRESSIONS).map(([name, table]) => {
        const writer = new Writer(32);
        writeName(writer, name, NO_CONTEXT);
        return [name, { table, nameAttribute: writer.copy() }];
      }),
    ),
);

/** The table of an expression's fields; undefined where the expression is not typed. */
export const tableOf = (name: string): AttributeTable<unknown> | undefined => ENTRIES().get(name)?.table;

function writeName(writer: Writer, name: string, context: Context): void {
  const start = writer.beginAttribute(C.NFTA_EXPR_NAME);
  NAME.write(writer, name, context);
  writer.endAttribute(start);
}

function writeUnknown(writer: Writer, unknown: { name: string; bytes?: string }, context: Context): void {
  if (typeof unknown?.name !== 'string') throw typeError(['unknown'], '{ name, bytes? }', unknown);
  writeName(writer, unknown.name, context);
  if (unknown.bytes === undefined) return;
  const raw = toBytes(unknown.bytes);
  if (raw === undefined) throw typeError(['unknown', 'bytes'], 'a hex string or Uint8Array', unknown.bytes);
  const start = writer.beginNest(C.NFTA_EXPR_DATA);
  writer.raw(raw);
  writer.endAttribute(start);
}

function readKnown(name: string, source: Source, start: number, end: number, context: Context): Expression | undefined {
  try {
    const value = ENTRIES().get(name)?.table.read(source, start, end, context);
    return value === undefined ? undefined : named(name, value);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function named(name: string, value: unknown): Expression {
  // Not a literal with a computed key: the engine takes ten times as long for one.
  const expression: Record<string, unknown> = {};
  expression[name] = value;
  return expression as Expression;
}

function onlyKey(expression: unknown): string {
  if (typeof expression !== 'object' || expression === null) throw typeError([], 'an expression', expression);
  let only: string | undefined;
  for (const key in expression) {
    if (only !== undefined) throw typeError([], "an object with one key, the expression's name", expression);
    only = key;
  }
  if (only === undefined) throw typeError([], "an object with one key, the expression's name", expression);
  return only;
}
