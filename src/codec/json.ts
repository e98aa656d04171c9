import { type Path, rangeError, typeError } from '../errors.ts';
import { fromHex, toHex } from './wire.ts';

/*
 * JSON has no 64-bit integers and no bytes. They are written as objects with one special key, which no value of this library has. An object
 * of the caller that happens to look like one of them is wrapped in a third such object.
 */
const BIGINT = '$bigint';
const BYTES = '$bytes';
const PLAIN = '$plain';
const SPECIAL: readonly (string | undefined)[] = [BIGINT, BYTES, PLAIN];
const DECIMAL = /^-?\d+$/;

/**
 * Writes a value of this library as JSON text: services, rulesets, operations, events. It keeps values that `JSON.stringify` refuses or
 * loses: a bigint as `{"$bigint":"1"}`, a Uint8Array as `{"$bytes":"0a00"}`. `fromJson` gives the value back.
 *
 * @param space the indentation, as for `JSON.stringify`; default none
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for undefined, a function or a symbol, which JSON cannot hold
 * @param value an object, a list or a plain value
 * @example
 * console.log(toJson(await ipvs.services(), 2));
 */
export function toJson(value: unknown, space?: number): string {
  const text: string | undefined = JSON.stringify(value, replace, space);
  if (text === undefined) throw typeError([], 'a value', value);
  return text;
}

/** An object of the caller that looks like one of the special objects. */
class Wrapped {
  readonly [PLAIN]: object;
  constructor(object: object) {
    this[PLAIN] = object;
  }
}

function replace(this: object, key: string, converted: unknown): unknown {
  // Reads the value before its own toJSON, which Buffers have, has changed it.
  const value = (this as Record<string, unknown>)[key];
  if (typeof value === 'bigint') return { [BIGINT]: value.toString() };
  if (value instanceof Uint8Array) return { [BYTES]: toHex(value) };
  if (isSpecial(converted) && !(this instanceof Wrapped)) return new Wrapped(converted);
  return converted;
}

function isSpecial(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || value instanceof Wrapped) return false;
  const keys = Object.keys(value);
  return keys.length === 1 && SPECIAL.includes(keys[0]);
}

/**
 * Reads the value that `toJson` was given from its text.
 * @throws SyntaxError the text is no JSON; RangeError `ERR_OUT_OF_RANGE` with the path of a special object that has no number or bytes
 * @param text the text that `toJson` has returned, or any other JSON
 * @example
 * const services = fromJson<Service[]>('[{"protocol":"tcp","address":"10.0.0.1","port":80,"scheduler":"rr"}]');
 */
export function fromJson<T = unknown>(text: string): T {
  return revive(JSON.parse(text), []) as T;
}

/** Revives the outer objects first, because the content of a wrapped object must stay as it is. A reviver of JSON.parse starts inside. */
function revive(value: unknown, path: Path): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (isSpecial(value)) {
    const [[key, content]] = Object.entries(value) as [[string, unknown]];
    if (key === BIGINT) return readBigint(content, path);
    if (key === BYTES) return readBytes(content, path);
    return typeof content === 'object' && content !== null ? reviveInside(content, path) : content;
  }
  return reviveInside(value, path);
}

function reviveInside(object: object, path: Path): object {
  const holder = object as Record<string, unknown>;
  for (const key of Object.keys(holder)) {
    const content = holder[key];
    if (typeof content !== 'object' || content === null) continue;
    holder[key] = revive(content, [...path, Array.isArray(object) ? Number(key) : key]);
  }
  return object;
}

function readBigint(text: unknown, path: Path): bigint {
  if (typeof text !== 'string' || !DECIMAL.test(text)) throw rangeError(path, 'decimal digits', text);
  return BigInt(text);
}

function readBytes(text: unknown, path: Path): Uint8Array {
  const bytes = typeof text === 'string' ? fromHex(text) : undefined;
  if (bytes === undefined) throw rangeError(path, 'pairs of hex digits', text);
  return bytes;
}
