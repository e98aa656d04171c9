import type { NftSet } from '../../nf_tables/set.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import type { Fields, Verb } from '../write/new-objects.ts';
import type { RangeList } from './range-lists.ts';
import { mergesRanges, RangeSet } from './range-set.ts';

/** A set with ranges that the transaction makes, or makes sure of. */
export interface DeclaredSet {
  /** By family, table and name; one without a name by its number. */
  readonly key: string;
  readonly name: string;
  readonly shape: ElementShape;
  readonly merges: boolean;
  /** The kernel has none of this name when the transaction comes to it: all of its elements are known here. */
  readonly fresh: RangeSet | undefined;
}

/** A set that is emptied between operations on its elements. */
export interface Flush {
  readonly operation: number;
  /** Undefined where it was there before. */
  readonly fresh: DeclaredSet | undefined;
  readonly key: string;
}

/** The elements of an operation, and the set that they are of, where the transaction makes it or makes sure of it. */
export interface WaitingList {
  /** Undefined where it could not be read yet. */
  readonly list: RangeList | undefined;
  readonly declared: DeclaredSet | undefined;
}

export const setKey = (family: unknown, table: unknown, set: unknown): string => `${family} ${table} ${set}`;

const ALL = '*';

/** What a transaction knows of its sets with ranges. */
export class RangedSets {
  readonly #declared = new Map<string, DeclaredSet>();
  /** Families, tables and sets that are not there any longer, or were made here. */
  readonly #gone = new Set<string>();
  /** Elements that must be compared with those of the kernel, by operation. */
  readonly lists = new Map<number, WaitingList>();
  readonly flushes: Flush[] = [];
  #undo: (() => void)[] = [];

  /** Notes what an operation means for sets; `rollBack` undoes what was noted since. */
  begin(): void {
    if (this.#undo.length > 0) this.#undo = [];
  }

  rollBack(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
  }

  #put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
    const before = map.get(key);
    if (value === undefined) map.delete(key);
    else map.set(key, value);
    this.#undo.push(() => {
      if (before === undefined) map.delete(key);
      else map.set(key, before);
    });
  }

  #goes(key: string): void {
    if (this.#gone.has(key)) return;
    this.#gone.add(key);
    this.#undo.push(() => void this.#gone.delete(key));
  }

  /** A set is added or created: `keys` are its name and its number. */
  declare(verb: Verb, set: NftSet, shape: ElementShape): DeclaredSet {
    const { family, table, name, id } = set;
    const [byName, byNumber] = [setKey(family, table, name), setKey(family, table, id)];
    const anonymous = name.endsWith('%d');
    const key = anonymous ? byNumber : byName;
    const before = this.#declared.get(key);
    const places = [ALL, `${family}`, `${family} ${table}`, byName];
    const fresh = verb === 'create' || anonymous || places.some(place => this.#gone.has(place));
    const merges = mergesRanges(set, shape);
    const declared: DeclaredSet =
      before?.fresh !== undefined && verb === 'add'
        ? before
        : { key, name, shape, merges, fresh: fresh ? new RangeSet(shape, merges) : undefined };
    for (const each of [byName, byNumber]) this.#put(this.#declared, each, declared);
    return declared;
  }

  find(family: unknown, table: unknown, set: unknown): DeclaredSet | undefined {
    return this.#declared.get(setKey(family, table, set));
  }

  keep(operation: number, list: RangeList | undefined, declared: DeclaredSet | undefined): void {
    this.#put(this.lists, operation, { list, declared });
  }

  /** The elements of a set go. */
  flush(operation: number, { family, table, name }: Fields): void {
    const key = setKey(family, table, name);
    const declared = this.#declared.get(key);
    const fresh = declared?.fresh === undefined ? undefined : declared;
    this.flushes.push({ operation, fresh, key });
    this.#undo.push(() => void this.flushes.pop());
    fresh?.fresh?.flush();
  }

  /** A table was created: it has no sets yet. */
  created({ family, name }: Fields): void {
    this.#goes(`${family} ${name}`);
  }

  /** Whether a set, or the table that it was in, goes or is made here. */
  isGone(key: string): boolean {
    for (const place of this.#gone) if (place === ALL || place === key || key.startsWith(`${place} `)) return true;
    return false;
  }

  /** A set goes, a table with all of its sets, or all tables (of a family). */
  goes(kind: 'set' | 'table' | 'ruleset', { family, table, name }: Fields): void {
    if (kind !== 'ruleset' && name === undefined) return;
    const key =
      kind === 'set'
        ? setKey(family, table, name)
        : kind === 'table'
          ? `${family} ${name}`
          : family === undefined
            ? ALL
            : `${family}`;
    this.#goes(key);
    for (const known of [...this.#declared.keys()])
      if (key === ALL || known === key || known.startsWith(`${key} `)) this.#put(this.#declared, known, undefined);
  }
}
