import { isInstance, noField, objectOf, oneOf, type Path, rangeError, typeError } from '../errors.ts';
import { addressVersion } from './address.ts';

/* Checks of a caller's arguments, before anything is encoded. Each error has the path to the value. */

/**
 * Checks that a value is an object with no other keys, because a misspelt option must not be silently ignored.
 * @param value the given value
 * @param path its path in the caller's arguments
 * @param keys the allowed keys
 * @throws TypeError the value is no object, or has another key
 * @example
 * checkObject({ port: 80 }, [], ['port', 'address']);
 */
export function checkObject(value: unknown, path: Path, keys: readonly string[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw typeError(path, objectOf(keys), value);
  let empty = true;
  for (const key in value) {
    empty = false;
    if (keys.includes(key) || (value as Record<string, unknown>)[key] === undefined) continue;
    if (isInstance(value)) throw typeError(path, objectOf(keys), value);
    throw typeError([...path, key], noField(key, keys), (value as Record<string, unknown>)[key], 'ERR_UNKNOWN_FIELD');
  }
  // A promise or a handle has no fields to be seen, and would count as no options at all.
  if (empty && isInstance(value)) throw typeError(path, objectOf(keys), value);
}

/**
 * Checks that a value is an integer within bounds, and returns it.
 * @param value the given value
 * @param path its path in the caller's arguments
 * @param min the smallest allowed value
 * @param max the largest allowed value
 * @throws TypeError the value is no number, RangeError it is out of the bounds
 * @example
 * const port = checkInteger(80, ['port'], 0, 65_535);
 */
export function checkInteger(value: unknown, path: Path, min: number, max: number): number {
  if (typeof value !== 'number') throw typeError(path, `an integer ${min} to ${max}`, value);
  if (!Number.isInteger(value) || value < min || value > max)
    throw rangeError(path, `an integer ${min} to ${max}`, value);
  return value;
}

/**
 * Checks that a value is one of a list of names, and returns it.
 * @param value the given value
 * @param path its path in the caller's arguments
 * @param names the allowed names
 * @throws TypeError the value is no text, RangeError it is none of the names
 * @example
 * const protocol = checkOneOf('tcp', ['protocol'], ['tcp', 'udp']);
 */
export function checkOneOf<T extends string>(value: unknown, path: Path, names: readonly T[]): T {
  if (typeof value !== 'string') throw typeError(path, oneOf(names, value), value);
  if (!names.includes(value as T)) throw rangeError(path, oneOf(names, value), value);
  return value as T;
}

/**
 * Checks that a value is text that is not empty and not too long, and returns it.
 * @param value the given value
 * @param path its path in the caller's arguments
 * @param maxBytes the most bytes in UTF-8
 * @throws TypeError the value is no text, RangeError it is too long or empty
 * @example
 * const name = checkString('eth0', ['name'], 15);
 */
export function checkString(value: unknown, path: Path, maxBytes: number): string {
  if (typeof value !== 'string') throw typeError(path, 'a string', value);
  if (value === '' || value.includes('\0') || Buffer.byteLength(value) > maxBytes) {
    throw rangeError(path, `1 to ${maxBytes} bytes without NUL`, value);
  }
  return value;
}

/**
 * Checks that a value is an IPv4 or IPv6 address. Returns its version.
 * @param value the given value
 * @param path its path in the caller's arguments
 * @throws TypeError the value is no text, RangeError it is no address
 * @example
 * const version = checkAddress('10.0.0.1', ['address']);
 */
export function checkAddress(value: unknown, path: Path): 4 | 6 {
  if (typeof value !== 'string') throw typeError(path, 'an IP address', value);
  const version = addressVersion(value);
  if (version === undefined) throw rangeError(path, 'an IPv4 or IPv6 address', value, 'ERR_INVALID_ADDRESS');
  return version;
}
