import { toHex } from '../../codec/index.ts';
import type { ChainModel, RuleModel } from './model.ts';
import type { SetModel } from './set-model.ts';

/** What is known of a rule, wherever it stands. */
export interface RuleFacts extends Pick<RuleModel, 'content' | 'expressions' | 'origin' | 'sets' | 'chains' | 'uses'> {
  /** The named sets that it adds elements to. */
  readonly feeds: readonly unknown[];
  /** Names of sets in its expressions that are not its own. */
  readonly named: ReadonlySet<string>;
  /** The sets that it was compiled with, by name. */
  readonly compiledWith: ReadonlyMap<string, SetModel['form'] | undefined>;
}

/** What is known of a chain, whatever stands in it. */
export type ChainFacts = Omit<ChainModel, 'chain' | 'rules' | 'path'>;

/** The results for the objects that the last plan met, by what names an object. */
class Results<V> {
  #last: ReadonlyMap<unknown, V> = new Map();
  #met = new Map<unknown, V>();

  get(key: unknown): V | undefined {
    return this.#met.get(key) ?? this.#last.get(key);
  }

  set(key: unknown, value: V): void {
    this.#met.set(key, value);
  }

  /** What was not met since the last time is forgotten. */
  end(): void {
    this.#last = this.#met;
    this.#met = new Map();
  }
}

/** Of one table: what was found out of objects that come again. */
export class TableMemory {
  readonly rules = new Results<RuleFacts>();
  readonly chains = new Results<ChainFacts>();
  readonly sets = new Results<SetModel>();

  end(): void {
    this.rules.end();
    this.chains.end();
    this.sets.end();
  }
}

/**
 * What plans have found out of one side, so that the next one need not. `keyOf` names an object so that two with one key have one content:
 * the object itself where nobody changes it, otherwise its text.
 */
export class ModelMemory {
  readonly keyOf: (object: object, leftOut: readonly string[]) => unknown;
  #tables = new Map<string, TableMemory>();
  #met = new Map<string, TableMemory>();

  constructor(keyOf: (object: object, leftOut: readonly string[]) => unknown) {
    this.keyOf = keyOf;
  }

  table(key: string): TableMemory {
    const memory = this.#tables.get(key) ?? new TableMemory();
    this.#met.set(key, memory);
    return memory;
  }

  /** A plan has ended. */
  end(): void {
    this.#tables = this.#met;
    this.#met = new Map();
    for (const table of this.#tables.values()) table.end();
  }
}

/**
 * The fields of a plain value as text, but for some at the top: two values with one text are the same. Undefined where something in it is not
 * plain data, such as an object of a class.
 */
export function textOfPlain(object: object, leftOut: readonly string[]): string | undefined {
  let text = '';
  for (const key of Object.keys(object)) {
    if (leftOut.includes(key)) continue;
    const value = plain((object as Record<string, unknown>)[key]);
    if (value === undefined) return undefined;
    text += `${key}:${value},`;
  }
  return text;
}

function plain(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return `${value.length}"${value}`;
    case 'number':
      return Object.is(value, -0) ? '-0' : `${value}`;
    case 'bigint':
      return `${value}n`;
    case 'boolean':
    case 'undefined':
      return `${value}`;
    case 'object':
      return value === null ? 'null' : plainObject(value);
    default:
      return undefined;
  }
}

function plainObject(value: object): string | undefined {
  if (Array.isArray(value)) {
    let text = '[';
    for (const item of value) {
      const inner = plain(item);
      if (inner === undefined) return undefined;
      text += `${inner},`;
    }
    return `${text}]`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Uint8Array.prototype) return `#${toHex(value as Uint8Array)}`;
  if (prototype !== Object.prototype && prototype !== null) return undefined;
  let text = '{';
  for (const key in value) {
    const inner = plain((value as Record<string, unknown>)[key]);
    if (inner === undefined) return undefined;
    text += `${key.length}"${key}:${inner},`;
  }
  return `${text}}`;
}
