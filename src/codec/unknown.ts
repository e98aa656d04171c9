import { DecodeError } from '../errors.ts';
import type { UnknownAttribute } from './rows.ts';
import type { Context, Type } from './types.ts';
import type { Source } from './wire.ts';

/* Attributes that no row describes. */

/** The fields of an object. */
export type Fields = Record<string, unknown> & {
  /** Attributes that no row describes, kept as they came. */
  unknown?: UnknownAttribute[];
};

/** Adds unknown attributes to an object, which keeps them as they are. */
export function keep(value: Fields, ...attributes: UnknownAttribute[]): void {
  value.unknown ??= [];
  value.unknown.push(...attributes);
}

/** Sorts unknown attributes in the order in which they are written: those before a known attribute come first. */
export function sortUnknown(value: Fields): void {
  const { unknown } = value;
  if (unknown?.some(item => item.before)) {
    value.unknown = [...unknown.filter(item => item.before), ...unknown.filter(item => !item.before)];
  }
}

/** Returns undefined if the bytes are no value of the type. The caller keeps such an attribute raw, and reads the others. */
export function readItem(type: Type<unknown>, source: Source, start: number, end: number, context: Context): unknown {
  try {
    return type.read(source, start, end, context);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
