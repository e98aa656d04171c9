import { checkString } from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { SetKey } from '../../nf_tables/set.ts';
import type { Table, TableKey } from '../../nf_tables/table.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { byName } from '../read/by-name.ts';
import { dumpElements, list, type Ruleset, ruleset, type SetEntry } from '../read/listing.ts';
import { Reading } from '../read/reading.ts';
import type { DesiredRuleset, Given, ModelScope, ScopedObject } from './desired.ts';
import { type TableModel, tableKey } from './model.ts';
import { NameColumn } from './name-column.ts';

/*
 * A part of a ruleset: some chains with their rules, some sets with their elements, or whole tables. Nothing else is read, compared or changed.
 */

/** A part of the desired ruleset that `plan` and `reconcile` are limited to. Other fields of the object are ignored. */
export type PlanScope =
  | {
      /** One chain, with its rules. */
      chain: ChainKey;
    }
  | {
      /** One set. */
      set: SetKey;
    }
  | {
      /** One map. */
      map: SetKey;
    }
  | {
      /** One table. */
      table: TableKey;
    };

type Key = { family: SetKey['family']; table: string; name: string };

/** The parts of one table. */
export interface Part {
  readonly key: TableKey;
  whole: boolean;
  readonly chains: Map<string, Key>;
  readonly sets: Map<string, Key>;
}

const KINDS = ['chain', 'set', 'map', 'table'];
const LONGEST_NAME = 255;

/** The part of a ruleset that is read, compared and changed. */
export class Scope {
  readonly #parts = new Map<string, Part>();
  /** The place that was last asked for, and the part of it: most objects stand behind another one of their table. */
  #asked: { family: unknown; table: string; part: Part | undefined } | undefined;
  /** The names of all chains and sets in it. */
  readonly #names = new Set<unknown>();
  /** A table is compared as a whole. */
  #anyTable = false;

  /** @throws TypeError, RangeError with the path in `only`, or of a table that is not desired */
  constructor(only: readonly PlanScope[], desired: DesiredRuleset) {
    if (!Array.isArray(only)) throw typeError(['only'], 'an array of { chain }, { set }, { map } or { table }', only);
    const tables = new Set(Array.isArray(desired?.tables) ? desired.tables.map(table => tableKey(table)) : []);
    only.forEach((given: unknown, index) => {
      const path = ['only', index];
      const [kind = '', ...others] = typeof given === 'object' && given !== null ? Object.keys(given) : [];
      if (others.length > 0 || !KINDS.includes(kind))
        throw typeError(path, 'an object with one key: chain, set, map or table', given);
      const at = [...path, kind];
      const key: unknown = Reflect.get(Object(given), kind);
      if (typeof key !== 'object' || key === null) throw typeError(at, 'family, table and name', key);
      const { family, table, name } = key as Key;
      familyNumber(family, [...at, 'family']);
      checkString(name, [...at, 'name'], LONGEST_NAME);
      if (kind === 'table') {
        this.#part({ family, name }).whole = true;
        this.#anyTable = true;
        return;
      }
      checkString(table, [...at, 'table'], LONGEST_NAME);
      if (!tables.has(tableKey({ family, name: table })))
        throw typeError([...at, 'table'], 'one of `tables` of the desired ruleset', table);
      const part = this.#part({ family, name: table });
      this.#names.add(name);
      (kind === 'chain' ? part.chains : part.sets).set(name, { family, table, name });
    });
  }

  #part(key: TableKey): Part {
    const name = tableKey(key);
    let part = this.#parts.get(name);
    if (part === undefined) {
      part = { key: { family: key.family, name: key.name }, whole: false, chains: new Map(), sets: new Map() };
      this.#parts.set(name, part);
    }
    return part;
  }

  /** An object by another name is no chain or set of the scope, nor in a chain of it. Undefined where a table is compared as a whole. */
  get names(): ReadonlySet<unknown> | undefined {
    return this.#anyTable ? undefined : this.#names;
  }

  /** The part that an object's place is in: most objects stand behind another one of their table. */
  partOf({ family, table }: Pick<ScopedObject, 'family' | 'table'>): Part | undefined {
    if (this.#asked?.table !== table || this.#asked.family !== family)
      this.#asked = { family, table, part: this.#parts.get(`${family} ${table}`) };
    return this.#asked.part;
  }

  hasTable(key: string): boolean {
    return this.#parts.has(key);
  }

  /** Is the table compared as a whole? */
  isWhole(key: string): boolean {
    return this.#parts.get(key)?.whole === true;
  }

  /** The table with the chains and sets of the scope alone, and the names of all others, which rules may refer to. */
  limited(key: string, model: TableModel): TableModel {
    const part = this.#parts.get(key);
    if (part === undefined || part.whole) return model;
    const { chains, sets } = part;
    return {
      ...model,
      chains: new Map([...model.chains].filter(([name]) => chains.has(name))),
      // Whether a rule outside adds to the set is not known.
      sets: new Map([...model.sets].flatMap(([name, set]) => (sets.has(name) ? [[name, { ...set, fed: true }]] : []))),
      objects: new Map(),
      flowtables: new Map(),
      names: model.names ?? model,
    };
  }

  /** Reads the scope, at one generation. */
  *read(exchange: Exchange, desired: DesiredRuleset): Operation<Ruleset> {
    const source = new KernelSource(exchange);
    return yield* new Reading(exchange).consistent(exchange, generation => this.from(source, generation, desired));
  }

  /** The scope in a source, which is at this generation. Sets and chains of rules' own come with the rules. */
  *from(source: ScopeSource, generation: number, desired: DesiredRuleset): Operation<Ruleset> {
    const named = new Set<string>();
    for (const { family, table, name, flags } of desired?.sets ?? [])
      if (!flags?.includes('anonymous')) named.add(`${family} ${table} ${name}`);
    const found: Ruleset = { generation, tables: [], chains: [], sets: [], rules: [], objects: [], flowtables: [] };
    for (const part of this.#parts.values()) {
      if (part.whole) {
        const whole = yield* source.whole(part.key);
        append(found.tables, whole.tables);
        append(found.chains, whole.chains);
        append(found.sets, whole.sets);
        append(found.rules, whole.rules);
        append(found.objects, whole.objects);
        append(found.flowtables, whole.flowtables);
        continue;
      }
      const head = yield* source.table(part.key);
      if (head === undefined) continue;
      found.tables.push(head);
      for (const key of part.sets.values()) yield* readSet(source, key, found);
      for (const key of part.chains.values()) yield* readChain(source, key, found, named);
    }
    return found;
  }
}

/** Where the present state of a scope is read from: the kernel, or a mirror of it. */
export interface ScopeSource {
  table(key: TableKey): Operation<Table | undefined>;
  chain(key: ChainKey): Operation<Chain | undefined>;
  /** Without its elements. */
  set(key: SetKey): Operation<SetEntry | undefined>;
  elements(key: SetKey): Operation<WireElement[]>;
  /** The rules of a chain. */
  rules(key: ChainKey): Operation<readonly RuleEntry[]>;
  /** All of a table. */
  whole(key: TableKey): Operation<Ruleset>;
}

class KernelSource implements ScopeSource {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }
  table(key: TableKey): Operation<Table | undefined> {
    return byName(this.#exchange, 'table', key);
  }
  chain(key: ChainKey): Operation<Chain | undefined> {
    return byName(this.#exchange, 'chain', key);
  }
  set(key: SetKey): Operation<SetEntry | undefined> {
    return byName(this.#exchange, 'set', key);
  }
  elements(key: SetKey): Operation<WireElement[]> {
    return dumpElements(this.#exchange, key);
  }
  rules({ family, table, name: chain }: ChainKey): Operation<RuleEntry[]> {
    return list(this.#exchange, 'rule', { family, table, chain }, XT_LAYOUTS);
  }
  whole({ family, name: table }: TableKey): Operation<Ruleset> {
    return ruleset(this.#exchange, { family, table, elements: true }, XT_LAYOUTS);
  }
}

function* readSet(source: ScopeSource, key: Key, found: Ruleset): Operation<void> {
  const set = yield* source.set(key);
  if (set !== undefined) found.sets.push({ ...set, elements: yield* source.elements(key) });
}

/** The names in the desired ruleset of the last call. */
export class DesiredNames {
  readonly chains = new NameColumn<ScopedObject | null>(nameOfChain);
  readonly rules = new NameColumn<ScopedObject | null>(chainOfRule);
}

/** Whoever checks the list refuses what is no object. A chain with flags may be one of a rule's own. */
const nameOfChain = (chain: ScopedObject | null): string | undefined =>
  typeof chain === 'object' && typeof chain?.name === 'string' && chain.flags === undefined ? chain.name : undefined;

const chainOfRule = (rule: ScopedObject | null): string | undefined =>
  typeof rule === 'object' && typeof rule?.chain === 'string' ? rule.chain : undefined;

/** The scope in one of the two rulesets that are compared. */
export class ScopedRuleset implements ModelScope {
  readonly #scope: Scope;
  readonly #chains: readonly Chain[];
  readonly #names: DesiredNames;
  #knowsChains = false;
  /** Chains of rules' own, which rules of the scope may lead to: 'inet web __chain1'. */
  readonly #bound = new Set<string>();
  readonly #lists = new Map<string, readonly Given<ScopedObject>[]>();

  constructor(scope: Scope, { chains = [] }: Pick<DesiredRuleset, 'chains'>, names = new DesiredNames()) {
    this.#scope = scope;
    this.#chains = chains;
    this.#names = names;
  }

  hasTable(key: string): boolean {
    return this.#scope.hasTable(key);
  }

  hasChain(key: string, name: string): boolean {
    for (const place of this.#chainPlaces(new Set([name]))) {
      const chain = this.#chains[place]!;
      if (chain.name === name && tableKey({ family: chain.family, name: chain.table }) === key) return true;
    }
    return false;
  }

  #chainPlaces(names: ReadonlySet<unknown>): number[] {
    if (!this.#knowsChains) this.#names.chains.follow(this.#chains);
    this.#knowsChains = true;
    return this.#names.chains.placesOf(names);
  }

  /** Asked for the chains before the rules. */
  given<T extends ScopedObject>(kind: string, list: readonly T[]): readonly Given<T>[] {
    const known = this.#lists.get(kind) as readonly Given<T>[] | undefined;
    if (known !== undefined) return known;
    const found: Given<T>[] = [];
    const add = (index: number) => {
      const whole = list[index]!;
      // Whoever checks the list refuses it.
      const isObject = typeof whole === 'object' && whole !== null;
      const object = isObject ? this.#within(kind, whole) : whole;
      if (object !== undefined) found.push({ object, index });
    };
    // Of a large ruleset nearly all are outside.
    const places = this.#placesIn(kind, list);
    if (places === undefined) for (let index = 0; index < list.length; index++) add(index);
    else for (const place of places) add(place);
    this.#lists.set(kind, found);
    return found;
  }

  /** Of chains and rules, where those stand that may be in the scope; undefined if any may be. */
  #placesIn(kind: string, list: readonly ScopedObject[]): readonly number[] | undefined {
    const { names } = this.#scope;
    if (names === undefined) return undefined;
    if (kind === 'chains') return this.#chainPlaces(names);
    if (kind !== 'rules' || this.#bound.size > 0) return undefined;
    this.#names.rules.follow(list);
    return this.#names.rules.placesOf(names);
  }

  /** The object as it is compared: undefined outside of the scope. Sets outside are still needed to compile rules, but not their elements. */
  #within<T extends ScopedObject>(kind: string, object: T): T | undefined {
    if (kind === 'tables') return object;
    const part = this.#scope.partOf(object);
    if (part === undefined) return undefined;
    if (part.whole) return object;
    const { family, table, name, chain } = object;
    if (kind === 'rules') {
      const isIn = part.chains.has(String(chain));
      return isIn || (this.#bound.size > 0 && this.#bound.has(`${family} ${table} ${chain}`)) ? object : undefined;
    }
    if (kind === 'chains') {
      const isBound = object.flags?.includes('binding') === true;
      if (isBound) this.#bound.add(`${family} ${table} ${name}`);
      return isBound || part.chains.has(String(name)) ? object : undefined;
    }
    if (kind !== 'sets' || part.sets.has(String(name))) return object;
    if (object.flags?.includes('anonymous')) return object;
    const set = { ...object };
    delete set.elements;
    return set;
  }
}

/** A chain with its rules, and the sets and chains that belong to these rules. */
function* readChain(source: ScopeSource, key: Key, found: Ruleset, named: ReadonlySet<string>): Operation<void> {
  const { family, table } = key;
  const chain = yield* source.chain(key);
  if (chain === undefined) return;
  found.chains.push(chain);
  const rules = yield* source.rules(key);
  append(found.rules, rules);
  for (const own of setsOf(rules)) {
    const isKnown = found.sets.some(set => set.family === family && set.table === table && set.name === own);
    if (isKnown || named.has(`${family} ${table} ${own}`)) continue;
    const ofRule = { family, table, name: own };
    if ((yield* source.set(ofRule))?.flags?.includes('anonymous')) yield* readSet(source, ofRule, found);
  }
  for (const target of targetsOf(rules)) {
    if (found.chains.some(each => each.family === family && each.table === table && each.name === target)) continue;
    const ofRule = { family, table, name: target };
    const own = yield* source.chain(ofRule);
    if (own?.flags?.includes('binding')) yield* readChain(source, ofRule, found, named);
  }
}

/** There may be more of them than a call can have arguments. */
export function append<T>(list: T[], more: readonly T[]): void {
  for (const each of more) list.push(each);
}

/** The names that the expressions of rules have in a field. */
function* namesIn(rules: readonly RuleEntry[], name: (fields: object) => unknown): Generator<string> {
  const known = new Set<string>();
  for (const { expressions = [] } of rules)
    for (const expression of expressions)
      for (const fields of Object.values<unknown>(expression)) {
        const found = typeof fields === 'object' && fields !== null ? name(fields) : undefined;
        if (typeof found !== 'string' || known.has(found)) continue;
        known.add(found);
        yield found;
      }
}

const setsOf = (rules: readonly RuleEntry[]) => namesIn(rules, ({ set }: { set?: unknown }) => set);
const targetsOf = (rules: readonly RuleEntry[]) =>
  namesIn(rules, ({ data }: { data?: unknown }) =>
    typeof data === 'object' && data !== null && 'chain' in data ? data.chain : undefined,
  );
