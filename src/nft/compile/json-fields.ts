import { oneOf, typeError } from '../../errors.ts';
import { Place, refuse } from '../tree.ts';

/* The fields of JSON objects. Each is checked, and an error names its path. */

export type Fields = Record<string, unknown>;

/** Returns the only key of an object. */
export function onlyKey(json: unknown, place: Place | undefined, expected = 'an object with one key'): string {
  let only: string | undefined;
  if (typeof json === 'object' && json !== null) {
    for (const key in json) {
      if (only !== undefined) {
        only = undefined;
        break;
      }
      only = key;
    }
  }
  if (only === undefined) throw typeError(place?.path ?? [], expected, json);
  return only;
}

export function fieldsOf(json: unknown, place: Place | undefined): Fields {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw typeError(place?.path ?? [], 'an object', json);
  return json as Fields;
}

export function textOf(fields: Fields, name: string, place: Place | undefined): string {
  const text = fields[name];
  if (typeof text !== 'string') throw typeError([...(place?.path ?? []), name], 'a string', text);
  return text;
}

export function numberOf(fields: Fields, name: string, place: Place | undefined, maximum = 0xffffffff): number {
  const number = fields[name];
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > maximum)
    throw refuse(new Place(place, name), `a whole number, 0 to ${maximum}`, number);
  return number;
}

const SECOND = 1000;
const LONGEST_SECONDS = Number.MAX_SAFE_INTEGER / SECOND;

/** Returns the milliseconds of a time in seconds, which may have a fraction; undefined if there is none. */
export function millisecondsOf(fields: Fields, name: string, place: Place | undefined): bigint | undefined {
  const seconds = fields[name];
  if (seconds === undefined) return undefined;
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= LONGEST_SECONDS))
    throw refuse(new Place(place, name), 'a number of seconds that is not negative', seconds);
  return BigInt(Math.round(seconds * SECOND));
}

/** Returns the table's entry of a name. */
export function entryOf<T>(
  table: Readonly<Record<string, T>>,
  name: unknown,
  place: Place | undefined,
  nftMessage?: string,
): T {
  if (typeof name !== 'string' || !Object.hasOwn(table, name))
    throw refuse(place, oneOf(Object.keys(table), name), name, nftMessage);
  return table[name]!;
}

/** Returns the sum of flags, given by one name or a list of names. */
export function flagsOf(table: Readonly<Record<string, number>>, json: unknown, place: Place | undefined): number {
  if (json === undefined || json === null) return 0;
  if (!Array.isArray(json)) return entryOf(table, json, place);
  return json.reduce<number>((all, flag, i) => all | entryOf(table, flag, new Place(place, i)), 0);
}

/** Returns the table's entries of flags, given by one name or a list of names. They come in the table's order. */
export function flagNames<T>(table: Readonly<Record<string, T>>, json: unknown, place: Place): T[] {
  if (json === undefined || json === null) return [];
  if (!Array.isArray(json)) return [entryOf(table, json, place)];
  const given = json.map((flag, i) => entryOf(table, flag, new Place(place, i)));
  return Object.values(table).filter(flag => given.includes(flag));
}

/** Returns a whole number of any size. Numbers above 2^53 are given as a bigint. */
export function wholeOf(json: unknown, place: Place): bigint {
  if (typeof json === 'bigint' ? json >= 0n : Number.isSafeInteger(json) && Number(json) >= 0)
    return BigInt(json as number | bigint);
  throw refuse(place, 'a whole number that is not negative', json);
}
