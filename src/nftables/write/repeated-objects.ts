import type { MessageName } from '../../nf_tables/message.ts';
import type { MessageList } from './encoded.ts';
import type { Fields } from './new-objects.ts';

/** An object whose message is kept. */
interface Repeated {
  readonly name: MessageName;
  readonly flags: number;
  readonly family: number;
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
  readonly bytes: Uint8Array;
}

/** How many messages are kept. A transaction for a container has a table and a few chains. */
const MOST = 8;
/** After so many objects in a row that are no copies, only each of so many is kept. */
const MANY_MISSES = 8;

/**
 * The messages of the tables and chains that were made last. Thousands of containers get the same ones: such a message is a copy of the
 * last one. Only objects of plain values are kept: these have the same bytes whenever they have the same fields.
 */
export class RepeatedObjects {
  readonly #kept: Repeated[] = [];
  /** The index of the one that is expected next: objects come in the same order. */
  #next = 0;
  #misses = 0;
  /** The fields of the object that is looked at. */
  readonly #keys: string[] = [];
  readonly #values: unknown[] = [];
  #length = 0;

  /** Writes a copy of the message of an equal object. False, and nothing is written, if there is none. */
  copy(
    list: MessageList,
    name: MessageName,
    flags: number,
    family: number,
    object: Fields,
    operation: number,
  ): boolean {
    if (!this.#read(object)) return false;
    const kept = this.#kept;
    for (let i = 0; i < kept.length; i++) {
      const index = (this.#next + i) % kept.length;
      const each = kept[index]!;
      if (each.name !== name || each.flags !== flags || each.family !== family || !this.#equals(each)) continue;
      const { writer } = list;
      const start = writer.length;
      writer.raw(each.bytes);
      list.appended(start, name, family, operation);
      this.#next = index + 1;
      this.#misses = 0;
      return true;
    }
    this.#misses++;
    return false;
  }

  /** Keeps the message of the object that `copy` has just looked for in vain. It begins at `start` and is the last one in the list. */
  keep(list: MessageList, name: MessageName, flags: number, family: number, start: number): void {
    if (this.#length < 0 || (this.#misses >= MANY_MISSES && this.#misses % MANY_MISSES !== 0)) return;
    const { bytes, length } = list.writer;
    const keys = this.#keys.slice(0, this.#length);
    const values = this.#values.slice(0, this.#length);
    if (this.#kept.length >= MOST) this.#kept.shift();
    this.#kept.push({ name, flags, family, keys, values, bytes: bytes.slice(start, length) });
    this.#next = this.#kept.length;
  }

  /** Reads the fields in one pass: see `writePlain`. False if one of them is no plain value. */
  #read(object: Fields): boolean {
    this.#length = -1;
    if (Object.getPrototypeOf(object) !== Object.prototype) return false;
    let length = 0;
    for (const key in object) {
      const value = object[key];
      if (typeof value === 'object' || typeof value === 'function') return false;
      this.#keys[length] = key;
      this.#values[length++] = value;
    }
    this.#length = length;
    return true;
  }

  #equals({ keys, values }: Repeated): boolean {
    const length = this.#length;
    if (keys.length !== length) return false;
    // Names differ, and stand behind what all objects of a table have in common.
    for (let i = length - 1; i >= 0; i--) if (this.#values[i] !== values[i] || this.#keys[i] !== keys[i]) return false;
    return true;
  }
}
