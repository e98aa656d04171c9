import type { UnknownAttribute } from './rows.ts';

/* Attributes that no row describes. */

/** The fields of an object. */
export type Fields = Record<string, unknown> & { unknown?: UnknownAttribute[] };

/** Adds attributes to those that an object keeps as they are. */
export function keep(value: Fields, ...attributes: UnknownAttribute[]): void {
  value.unknown ??= [];
  value.unknown.push(...attributes);
}

/** As they are written: what stands before a known attribute comes first. */
export function sortUnknown(value: Fields): void {
  const { unknown } = value;
  if (unknown?.some(item => item.before)) {
    value.unknown = [...unknown.filter(item => item.before), ...unknown.filter(item => !item.before)];
  }
}
