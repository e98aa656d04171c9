import { type Path, rangeError, typeError } from '../errors.ts';
import { addressVersion } from './address.ts';

/* Checks of what a caller hands in, before anything is encoded. Each throws with the path to the value. */

/**
 * An object with none but these keys: a misspelt option must not be silently ignored.
 * @param value what was given
 * @param path where it was given
 * @param keys the keys that it may have
 * @throws TypeError it is no object, or has another key
 * @example
 * checkObject({ port: 80 }, [], ['port', 'address']);
 */
export function checkObject(value: unknown, path: Path, keys: readonly string[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw typeError(path, 'an object', value);
  for (const key in value) {
    if (keys.includes(key) || (value as Record<string, unknown>)[key] === undefined) continue;
    throw typeError(
      [...path, key],
      `no such field (known: ${keys.join(', ')})`,
      (value as Record<string, unknown>)[key],
      'ERR_UNKNOWN_FIELD',
    );
  }
}

/**
 * An integer within bounds.
 * @param value what was given
 * @param path where it was given
 * @param min the smallest that is taken
 * @param max the largest that is taken
 * @throws TypeError it is no number, RangeError it is out of the bounds
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
 * One of a list of names.
 * @param value what was given
 * @param path where it was given
 * @param names those that are taken
 * @throws TypeError it is no text, RangeError it is another one
 * @example
 * const protocol = checkOneOf('tcp', ['protocol'], ['tcp', 'udp']);
 */
export function checkOneOf<T extends string>(value: unknown, path: Path, names: readonly T[]): T {
  if (typeof value !== 'string') throw typeError(path, `one of ${names.join(', ')}`, value);
  if (!names.includes(value as T)) throw rangeError(path, `one of ${names.join(', ')}`, value);
  return value as T;
}

/**
 * Text that is not empty and not too long.
 * @param value what was given
 * @param path where it was given
 * @param maxBytes in UTF-8
 * @throws TypeError it is no text, RangeError it is too long or empty
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
 * An IPv4 or IPv6 address; returns which.
 * @param value what was given
 * @param path where it was given
 * @throws TypeError it is no text, RangeError it is no address
 * @example
 * const version = checkAddress('10.0.0.1', ['address']);
 */
export function checkAddress(value: unknown, path: Path): 4 | 6 {
  if (typeof value !== 'string') throw typeError(path, 'an IP address', value);
  const version = addressVersion(value);
  if (version === undefined) throw rangeError(path, 'an IPv4 or IPv6 address', value, 'ERR_INVALID_ADDRESS');
  return version;
}
