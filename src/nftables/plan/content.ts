import { toHex } from '../../codec/index.ts';
import { inside } from '../../errors.ts';
import type { Family } from '../../nf_tables/family.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import { decodeMessage, encodeMessage } from '../../nf_tables/whole-message.ts';

/* Contents of objects as text: that of equal objects is equal. What belongs to the content the tables say (nf_tables/content.ts). */

export type Fields = Record<string, unknown>;

/** Text of a plain value: keys in order, nothing that is undefined or an empty list. */
export function textOf(value: unknown): string {
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(toHex(value));
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = value as Fields;
  const parts: string[] = [];
  for (const key of Object.keys(fields).sort()) {
    const item = fields[key];
    if (item === undefined || (Array.isArray(item) && item.length === 0)) continue;
    parts.push(`${key}:${textOf(item)}`);
  }
  return `{${parts.join(',')}}`;
}

/** A copy of a plain value, down to its bytes. An object of a class stays itself. */
export function copyOf<T>(value: T): T;
export function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(item => copyOf(item));
  if (value instanceof Uint8Array) return value.slice();
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  const copy: Fields = {};
  for (const key of Object.keys(value)) copy[key] = copyOf((value as Fields)[key]);
  return copy;
}

/** The object as the kernel would give it back: names for numbers, hex for bytes. */
export function kernelForm(type: MessageName, object: object): Fields {
  const { family, ...rest } = object as { family: Family } & Fields;
  try {
    return decodeMessage(encodeMessage({ type, family, object: rest })).object;
  } catch (error) {
    throw inside(error, 'object');
  }
}
