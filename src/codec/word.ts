import type { Type } from './types.ts';
import type { Writer } from './writer.ts';

/** A number of 32 bits. */
export interface Word {
  /** The smallest number. */
  readonly min: number;
  /** The largest number. */
  readonly max: number;
  /** Its byte order. */
  readonly littleEndian: boolean;
  /** Numbers by name. */
  readonly byName: ReadonlyMap<unknown, number> | undefined;
  /** Names by number. */
  readonly byNumber: ReadonlyMap<number, string> | undefined;
}

/** Copies the form, so that all words have one hidden class. Otherwise V8 would look up each property in each attribute. */
export function wordOf({ number }: Type<unknown>): Word | undefined {
  if (number?.size !== 4) return undefined;
  const { min, max, littleEndian, byName, byNumber } = number;
  return { min, max, littleEndian, byName, byNumber };
}

/** Writes an attribute. Returns false if the value is invalid; the type's own `write` then throws the reason. */
export function writeWord(writer: Writer, wireType: number, word: Word, value: unknown): boolean {
  const number = typeof value === 'string' ? word.byName?.get(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < word.min || number > word.max) return false;
  writer.attribute32(wireType, number >>> 0, word.littleEndian);
  return true;
}

export function readWord({ min, littleEndian, byNumber }: Word, view: DataView, at: number): number | string {
  const number = min < 0 ? view.getInt32(at, littleEndian) : view.getUint32(at, littleEndian);
  return byNumber?.get(number) ?? number;
}
