import { typeError } from '../../errors.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { Dialect } from '../data/dialects.ts';
import type { NamedObject } from '../objects.ts';
import type { ListedSet } from '../tree.ts';
import type { InParts } from './in-parts.ts';
import { Sets } from './sets.ts';

/** The objects of a listing, as `nft.ruleset()` returns them. */
export interface ListedRuleset {
  /** The tables. */
  readonly tables: readonly Table[];

  /** The chains. */
  readonly chains?: readonly Chain[] | undefined;

  /** The rules, in their order within each chain. */
  readonly rules?: readonly RuleEntry[] | undefined;
  /** Sets whose `elements` were not read are shown without elements. */
  readonly sets?: readonly ListedSet[] | undefined;

  /** The named objects: counters, quotas, limits and others. */
  readonly objects?: readonly NftObject[] | undefined;

  /** The flowtables. */
  readonly flowtables?: readonly Flowtable[] | undefined;
}

/** One table with its content. */
export interface TableContent {
  readonly table: Table;
  /** The chains with a name of their own. */
  readonly chains: readonly Chain[];
  readonly rules: ReadonlyMap<string, readonly RuleEntry[]>;
  /** Chains without a name: they are shown in the place of the jump. */
  readonly nested: ReadonlySet<string>;
  readonly sets: readonly ListedSet[];
  readonly lookup: Sets;
  readonly objects: readonly NamedObject[];
  readonly flowtables: readonly Flowtable[];
}

/** Items between two yields. */
const IN_A_ROW = 256;

/** The objects of each table. Each object is looked at once. */
export function* contents(ruleset: ListedRuleset, dialect: Dialect): InParts<TableContent[]> {
  if (!Array.isArray(ruleset?.tables)) throw typeError([], 'a ruleset, as nft.ruleset() returns', ruleset);
  const chains = yield* groups(ruleset.chains);
  const rules = yield* groups(ruleset.rules);
  const sets = yield* groups(ruleset.sets);
  const objects = yield* groups(ruleset.objects);
  const flowtables = yield* groups(ruleset.flowtables);
  const all: TableContent[] = [];
  for (const table of ruleset.tables) {
    const key = keyOf(table.family, table.name);
    const own = chains.get(key) ?? [];
    const nested = new Set(own.filter(chain => chain.flags?.includes('binding')).map(({ name }) => name));
    const byChain = new Map<string, RuleEntry[]>();
    let looked = 0;
    for (const rule of rules.get(key) ?? []) {
      if (++looked % IN_A_ROW === 0) yield;
      const list = byChain.get(rule.chain);
      if (list === undefined) byChain.set(rule.chain, [rule]);
      else list.push(rule);
    }
    const mine = sets.get(key) ?? [];
    all.push({
      table,
      chains: own.filter(({ name }) => !nested.has(name)),
      rules: byChain,
      nested,
      sets: mine.filter(({ flags }) => !flags?.includes('anonymous')),
      lookup: new Sets(finderOf(mine), dialect),
      objects: (objects.get(key) ?? []) as NamedObject[],
      flowtables: flowtables.get(key) ?? [],
    });
  }
  return all;
}

function finderOf(sets: readonly ListedSet[]): (name: string) => ListedSet | undefined {
  const byName = new Map(sets.map(set => [set.name, set]));
  return name => byName.get(name);
}

const keyOf = (family: string, table: string): string => `${family} ${table}`;

function* groups<T extends { family: string; table: string }>(
  list: readonly T[] | undefined,
): InParts<Map<string, T[]>> {
  const found = new Map<string, T[]>();
  let looked = 0;
  for (const item of list ?? []) {
    if (++looked % IN_A_ROW === 0) yield;
    const key = keyOf(item.family, item.table);
    const group = found.get(key);
    if (group === undefined) found.set(key, [item]);
    else group.push(item);
  }
  return found;
}

/** In alphabetical order, as nft shows them. */
export function devicesOf({
  device,
  devices,
}: {
  device?: string | undefined;
  devices?: string[] | undefined;
}): string[] {
  return [...(devices ?? (device === undefined ? [] : [device]))].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

export function isBaseChain({ type, hook, priority }: Chain): boolean {
  return type !== undefined && hook !== undefined && priority !== undefined;
}
