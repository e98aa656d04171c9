import {
  type AttributeTable,
  type Context,
  eachAttribute,
  type Infer,
  NLA_HDRLEN,
  type Source,
  type Type,
  text,
  toBytes,
  toHex,
  type Writer,
} from '../codec/index.ts';
import { DecodeError, type Path, typeError, within } from '../errors.ts';
import * as C from './constants.ts';
import * as action from './expressions/action.ts';
import * as compare from './expressions/compare.ts';
import * as packet from './expressions/packet.ts';

/** Every expression that is typed, under the kernel's name. One it lacks is kept as `{ unknown }`. */
export const EXPRESSIONS = { ...packet.expressions, ...compare.expressions, ...action.expressions };

type Tables = typeof EXPRESSIONS;
type Known = { [K in keyof Tables]: { [P in K]: Infer<Tables[K]> } }[keyof Tables];

/**
 * One instruction of the kernel's packet machine: an object with one key, the expression's name. What this library does not know, or cannot
 * read, is kept with its bytes and written back unchanged; `bytes` is absent where the kernel sends no data with an expression.
 */
export type Expression = Known | { unknown: { name: string; bytes?: string } };
export type ExpressionName = keyof Tables;

const NAME = text(127);

function tableOf(name: string): AttributeTable<unknown> | undefined {
  return Object.hasOwn(EXPRESSIONS, name)
    ? (EXPRESSIONS[name as ExpressionName] as AttributeTable<unknown>)
    : undefined;
}

/** NFTA_EXPR_NAME and NFTA_EXPR_DATA as one object. */
export const EXPRESSION: Type<Expression> = {
  kind: 'nest',
  write(writer, expression, context) {
    const name = onlyKey(expression);
    if (name === 'unknown') {
      const { unknown } = expression as { unknown: { name: string; bytes?: string } };
      writeName(writer, unknown?.name, context);
      if (unknown.bytes === undefined) return;
      const raw = toBytes(unknown.bytes);
      if (raw === undefined) throw typeError(['unknown', 'bytes'], 'a hex string or Uint8Array', unknown.bytes);
      const start = writer.beginNest(C.NFTA_EXPR_DATA);
      writer.raw(raw);
      writer.endAttribute(start);
      return;
    }
    const table = tableOf(name);
    if (table === undefined) {
      throw typeError(
        [name],
        `no such expression (known: ${Object.keys(EXPRESSIONS).join(', ')}, unknown)`,
        expression,
        'ERR_UNKNOWN_FIELD',
      );
    }
    writeName(writer, name, context);
    try {
      const start = writer.beginNest(C.NFTA_EXPR_DATA);
      table.write(writer, (expression as Record<string, unknown>)[name], context);
      writer.endAttribute(start);
    } catch (error) {
      throw within(error, [name]);
    }
  },
  read(source, start, end, context) {
    let name: string | undefined;
    let data: readonly [number, number] | undefined;
    let strange = false;
    eachAttribute(source, start, end, (type, payload, payloadEnd) => {
      if (type === C.NFTA_EXPR_NAME && name === undefined) name = NAME.read(source, payload, payloadEnd, context);
      else if (type === C.NFTA_EXPR_DATA && data === undefined) data = [payload, payloadEnd];
      else strange = true;
    });
    if (name === undefined || strange) return undefined;
    if (data === undefined) return { unknown: { name } };
    const known = readKnown(name, source, data, context);
    return known ?? { unknown: { name, bytes: toHex(source.bytes, ...data) } };
  },
  locate(source, start, end, offset, context) {
    let path: Path = [];
    let name: string | undefined;
    eachAttribute(source, start, end, (type, payload, payloadEnd) => {
      if (type === C.NFTA_EXPR_NAME) name = NAME.read(source, payload, payloadEnd, context);
      if (name === undefined || offset < payload - NLA_HDRLEN || offset >= payloadEnd) return;
      const inner =
        type === C.NFTA_EXPR_DATA ? tableOf(name)?.locate(source, payload, payloadEnd, offset, context) : undefined;
      path = [name, ...(inner ?? [])];
    });
    return path;
  },
};

function writeName(writer: Writer, name: string, context: Context): void {
  const start = writer.beginAttribute(C.NFTA_EXPR_NAME);
  NAME.write(writer, name, context);
  writer.endAttribute(start);
}

function readKnown(
  name: string,
  source: Source,
  [start, end]: readonly [number, number],
  context: Context,
): Expression | undefined {
  try {
    const value = tableOf(name)?.read(source, start, end, context);
    return value === undefined ? undefined : ({ [name]: value } as Expression);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function onlyKey(expression: unknown): string {
  if (typeof expression !== 'object' || expression === null) throw typeError([], 'an expression', expression);
  const keys = Object.keys(expression);
  if (keys.length !== 1) throw typeError([], "an object with one key, the expression's name", expression);
  return keys[0]!;
}
