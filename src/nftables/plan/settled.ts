import type { EventLoopBudget, Operation } from '../../netlink/index.ts';
import type { Ruleset } from '../read/listing.ts';
import type { DesiredRuleset } from './desired.ts';

/*
 * A plan that had nothing to do has nothing to do again, as long as the ruleset that was read and the desired one are the same. That is seen
 * without a model of either: what was read by the identity of its objects, which nobody changes, and what is desired by a copy of it.
 */

const LISTS = ['tables', 'chains', 'sets', 'rules', 'objects', 'flowtables'] as const;
/** Objects that are compared or copied between two looks at the clock. */
const OBJECTS_IN_A_ROW = 128;

/** Copies of a plain object, an array and bytes; other plain values are their own copies. */
class ObjectCopy {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];

  constructor(keys: readonly string[], values: readonly unknown[]) {
    this.keys = keys;
    this.values = values;
  }
}
class ListCopy {
  readonly items: readonly unknown[];

  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}
class BytesCopy {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** The value holds something that is not plain data, such as a function or an object of a class. */
class NotPlain extends Error {}

function copyOf(value: unknown): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') throw new NotPlain();
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return new ListCopy(Array.from(value, copyOf));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Uint8Array.prototype) return new BytesCopy(Uint8Array.from(value as Uint8Array));
  if (prototype !== Object.prototype && prototype !== null) throw new NotPlain();
  const keys = Object.keys(value);
  return new ObjectCopy(
    keys,
    keys.map(key => copyOf((value as Record<string, unknown>)[key])),
  );
}

/** Whether a value has the content of a copy, in the same order. */
function isLike(value: unknown, copy: unknown): boolean {
  if (typeof value !== 'object' || value === null) return Object.is(value, copy);
  if (copy instanceof ObjectCopy) {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return false;
    const { keys, values } = copy;
    let count = 0;
    for (const key in value) {
      if (key !== keys[count] || !isLike((value as Record<string, unknown>)[key], values[count])) return false;
      count++;
    }
    return count === keys.length;
  }
  if (copy instanceof ListCopy) {
    const { items } = copy;
    if (!Array.isArray(value) || value.length !== items.length) return false;
    for (let i = 0; i < items.length; i++) if (!isLike(value[i], items[i])) return false;
    return true;
  }
  return (
    copy instanceof BytesCopy &&
    Object.getPrototypeOf(value) === Uint8Array.prototype &&
    Buffer.compare(value as Uint8Array, copy.bytes) === 0
  );
}

/** A plan without operations, with all that it depends on. */
export class Settled {
  readonly #present: Ruleset;
  readonly #desired: ReadonlyMap<string, readonly unknown[] | undefined>;
  readonly #port: number | undefined;

  private constructor(present: Ruleset, desired: ReadonlyMap<string, readonly unknown[] | undefined>, port?: number) {
    this.#present = present;
    this.#desired = desired;
    this.#port = port;
  }

  /** Keeps what a plan was made of. Undefined if the desired ruleset is more than plain data. */
  static *of(
    present: Ruleset,
    desired: DesiredRuleset,
    port: number | undefined,
    budget: EventLoopBudget,
  ): Operation<Settled | undefined> {
    const lists = new Map<string, readonly unknown[] | undefined>();
    for (const kind of LISTS) {
      const list: readonly unknown[] | undefined = desired[kind];
      const copies = list && new Array<unknown>(list.length);
      for (let i = 0; list !== undefined && i < list.length; i++) {
        try {
          copies![i] = copyOf(list[i]);
        } catch (error) {
          if (error instanceof NotPlain) return undefined;
          throw error;
        }
        if (i % OBJECTS_IN_A_ROW === 0) yield budget.measured;
      }
      lists.set(kind, copies);
    }
    return new Settled(present, lists, port);
  }

  /** Whether a plan from these would be the same. */
  *holds(
    present: Ruleset,
    desired: DesiredRuleset,
    port: number | undefined,
    budget: EventLoopBudget,
  ): Operation<boolean> {
    if (port !== this.#port || typeof desired !== 'object' || desired === null) return false;
    for (const kind of LISTS) {
      const [now, before] = [present[kind], this.#present[kind]];
      if (now.length !== before.length) return false;
      for (let i = 0; i < now.length; i++) if (now[i] !== before[i]) return false;
    }
    for (const key in desired) if (key !== 'generation' && !this.#desired.has(key)) return false;
    for (const kind of LISTS) {
      const list: unknown = desired[kind];
      const copies = this.#desired.get(kind);
      if (list === undefined && copies === undefined) continue;
      if (!Array.isArray(list) || copies === undefined || list.length !== copies.length) return false;
      for (let i = 0; i < copies.length; i++) {
        if (!isLike(list[i], copies[i])) return false;
        if (i % OBJECTS_IN_A_ROW === 0) yield budget.measured;
      }
    }
    return true;
  }
}
