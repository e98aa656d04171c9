import type { Chain, DesiredRuleset, NftSet, RuleEntry, SetEntry, Table } from '../../nftables/index.ts';
import type { Interfaces } from '../../nftables/interfaces.ts';
import { textOf } from '../../nftables/plan/content.ts';
import { matches } from '../../nftables/plan/difference.ts';
import { type ChainModel, type TableModel, tableKey } from '../../nftables/plan/model.ts';
import { modelOf } from '../../nftables/plan/ruleset-model.ts';
import { type SetModel, sameSet } from '../../nftables/plan/set-model.ts';
import { MAX_LISTED, type OwnedDifference } from './difference.ts';
import type { TableContents, TableReading } from './reading.ts';
import { FAMILY } from './table.ts';

/** How many texts of right tables are remembered. Containers with the same state have the same text. */
const MAX_KNOWN = 64;

/** A table of ours as it is wanted, in the form in which `nft.plan` compares tables. */
export class WantedTable {
  readonly desired: DesiredRuleset;
  readonly model: TableModel;
  readonly #known = new Set<string>();

  constructor(desired: DesiredRuleset, interfaces?: Interfaces['interfaces']) {
    this.desired = desired;
    this.model = [...modelOf(desired, { interfaces }).values()][0]!;
  }

  /** Whether the table is as wanted. A text that was right before is not decoded again. `own` are the anonymous sets of its rules. */
  isAsWanted(reading: TableReading, own: readonly SetEntry[] = []): boolean {
    const text = own.length === 0 ? reading.text : '';
    if (text !== '' && this.#known.has(text)) return true;
    const same = this.differences(reading, own).length === 0;
    if (same && text !== '') {
      if (this.#known.size === MAX_KNOWN) this.#known.clear();
      this.#known.add(text);
    }
    return same;
  }

  /** All differences. `contents` is everything in the table, if it was read. */
  differences(reading: TableReading, own: readonly SetEntry[], contents?: TableContents): OwnedDifference[] {
    const { table } = this.model;
    const place = { family: FAMILY, table: table.name } as const;
    const there = reading.entry;
    if (there === undefined) return [{ ...place, kind: 'table', problem: 'missing', expected: shown(table) }];
    const found: OwnedDifference[] = [];
    const changed = changes(shown(table), shown(there));
    if (changed !== undefined) found.push({ ...place, kind: 'table', problem: 'changed', ...changed });
    const present = presentModel(reading, own);
    if (present === undefined) return [...found, { ...place, kind: 'table', problem: 'changed', found: shown(there) }];
    this.#chains(place, present, reading, found);
    this.#sets(place, present, reading, found);
    // The kernel's count leaves out the anonymous sets of rules.
    const surplus = (there.use ?? 0) - (present.chains.size + present.sets.size);
    if (contents !== undefined) foreign(place, this.model, own, contents, found);
    // An object whose name was not asked for: it is known only by the count.
    else if (surplus > 0) found.push({ ...place, kind: 'table', problem: 'changed', found: { use: there.use! } });
    const unlisted = reading.ruleCount - MAX_LISTED;
    if (unlisted > 0) found.push({ ...place, kind: 'more', problem: 'foreign', what: 'rules', count: unlisted });
    return found;
  }

  #chains(place: Named, present: TableModel, reading: TableReading, found: OwnedDifference[]): void {
    for (const [chain, model] of this.model.chains) {
      const other = present.chains.get(chain);
      if (other === undefined) {
        found.push({ ...place, kind: 'chain', problem: 'missing', chain, expected: chainShown(model.chain) });
      } else if (other.content !== model.content || other.policy !== model.policy) {
        const differing = changes(chainShown(model.chain), chainShown(other.chain)) ?? {};
        found.push({ ...place, kind: 'chain', problem: 'changed', chain, ...differing });
      }
      rules(place, chain, other, model, found);
    }
    // Chains of ours that are not wanted with these settings.
    for (const { name, ...chain } of reading.chains)
      if (!this.model.chains.has(name))
        found.push({ ...place, kind: 'chain', problem: 'foreign', chain: name, found: chainShown({ name, ...chain }) });
  }

  #sets(place: Named, present: TableModel, reading: TableReading, found: OwnedDifference[]): void {
    for (const [set, model] of this.model.sets) {
      const other = present.sets.get(set);
      const kind = model.isMap ? 'map' : 'set';
      if (other === undefined) found.push({ ...place, kind, problem: 'missing', set, expected: setShown(model) });
      else if (!sameSet(other, model))
        found.push({ ...place, kind, problem: 'changed', set, ...(changes(setShown(model), setShown(other)) ?? {}) });
    }
    for (const { name } of reading.sets) {
      const other = present.sets.get(name);
      if (other === undefined || this.model.sets.has(name)) continue;
      const kind = other.isMap ? 'map' : 'set';
      found.push({ ...place, kind, problem: 'foreign', set: name, found: setShown(other) });
    }
  }
}

type Named = { family: 'inet'; table: string };

/**
 * The model of a table that was read; undefined if it cannot be modelled. Rules of chains that were not asked for are left out: such a
 * chain is a difference by itself.
 */
function presentModel(reading: TableReading, own: readonly SetEntry[]): TableModel | undefined {
  const { table } = reading;
  const { chains } = reading;
  const names = new Set(chains.map(({ name }) => name));
  const desired: DesiredRuleset = {
    tables: [{ family: FAMILY, name: table }],
    chains,
    sets: [...reading.sets, ...own],
    rules: reading.rules.filter(({ chain }) => names.has(chain)).map(unplaced),
  };
  try {
    return modelOf(desired, { isThere: true }).get(tableKey({ family: FAMILY, name: table }));
  } catch {
    // Somebody has made objects that the model does not accept, so the table is not as wanted.
    return undefined;
  }
}

/** A rule without its place in the chain, which is not compared. */
function unplaced(rule: RuleEntry): RuleEntry {
  const { position: _, ...rest } = rule as RuleEntry & { position?: bigint };
  return rest as RuleEntry;
}

function rules(
  place: Named,
  chain: string,
  before: ChainModel | undefined,
  { rules: after }: ChainModel,
  found: OwnedDifference[],
): void {
  const there = before?.rules ?? [];
  const kept = matches(
    there.map(({ content }) => content),
    after.map(({ content }) => content),
  );
  const stays = new Set(kept);
  const gone = there.flatMap((_, i) => (stays.has(i) ? [] : [i]));
  for (const [index, { expressions, rule }] of after.entries()) {
    if (kept[index]! >= 0) continue;
    const at = gone.indexOf(index);
    const comment = rule.comment === undefined ? {} : { comment: rule.comment };
    const wanted = { ...place, kind: 'rule', chain, index, ...comment, expected: expressions } as const;
    if (at < 0) {
      found.push({ ...wanted, problem: 'missing' });
      continue;
    }
    gone.splice(at, 1);
    const { handle, expressions: other } = there[index]!;
    found.push({ ...wanted, problem: 'changed', ...(handle !== undefined && { handle }), found: other });
  }
  for (const index of gone) {
    const { handle, expressions, rule } = there[index]!;
    const comment = rule.comment === undefined ? {} : { comment: rule.comment };
    const number = handle === undefined ? {} : { handle };
    found.push({ ...place, kind: 'rule', problem: 'foreign', chain, index, ...number, ...comment, found: expressions });
  }
}

function foreign(
  place: Named,
  wanted: TableModel,
  own: readonly SetEntry[],
  { chains, sets, objects, flowtables }: TableContents,
  found: OwnedDifference[],
): void {
  const listed = new Set(
    found.map(each => `${each.kind} ${'chain' in each ? each.chain : 'set' in each ? each.set : ''}`),
  );
  const some = <T>(list: readonly T[]) => list.slice(0, MAX_LISTED);
  for (const chain of some(chains.filter(({ name }) => !wanted.chains.has(name) && !listed.has(`chain ${name}`))))
    found.push({ ...place, kind: 'chain', problem: 'foreign', chain: chain.name, found: chainShown(chain) });
  for (const set of some(sets)) {
    const isOwn = own.some(({ name }) => name === set.name) || wanted.sets.has(set.name);
    const kind = set.flags?.includes('map') || set.flags?.includes('object') ? 'map' : 'set';
    if (isOwn || listed.has(`${kind} ${set.name}`)) continue;
    const { family: _, table: __, handle: ___, elements: ____, ...rest } = set;
    found.push({ ...place, kind, problem: 'foreign', set: set.name, found: rest });
  }
  for (const { name, type } of some(objects)) found.push({ ...place, kind: 'object', problem: 'foreign', name, type });
  for (const { name } of some(flowtables)) found.push({ ...place, kind: 'flowtable', problem: 'foreign', name });
}

/** The fields of a table that are compared. */
function shown({ flags = [], comment, ...rest }: Table): Partial<Table> {
  const { family: _, name: __, use: ___, handle: ____, ...others } = rest;
  return { ...others, flags: [...flags].sort(), ...(comment !== undefined && { comment }) };
}

function chainShown(chain: Chain): Partial<Chain> {
  const {
    family: _,
    table: __,
    name: ___,
    handle: ____,
    use: _____,
    flags = [],
    ...rest
  } = chain as Chain & {
    use?: number;
  };
  const { policy = rest.hook === undefined ? undefined : 'accept' } = rest;
  return {
    ...rest,
    ...(policy !== undefined && { policy }),
    flags: flags.filter(flag => flag !== 'base'),
  } as Partial<Chain>;
}

function setShown({ form, size }: SetModel): Partial<NftSet> {
  const { family: _, table: __, name: ___, description, flags = [], ...rest } = form;
  const {
    handle: ____,
    use: _____,
    backend: ______,
    count: _______,
    ...others
  } = rest as typeof rest & {
    use?: unknown;
  };
  const described = { ...(description?.fields && { fields: description.fields }), ...(size !== undefined && { size }) };
  return { ...others, flags: [...flags].sort() as never, description: described };
}

/** The fields in which the two differ. */
function changes<T extends object>(expected: T, found: T): { expected: Partial<T>; found: Partial<T> } | undefined {
  const keys = [...new Set([...Object.keys(expected), ...Object.keys(found)])] as (keyof T)[];
  const differing = keys.filter(key => textOf(expected[key] ?? null) !== textOf(found[key] ?? null));
  if (differing.length === 0) return undefined;
  const pick = (from: T) =>
    Object.fromEntries(differing.filter(key => from[key] !== undefined).map(key => [key, from[key]])) as Partial<T>;
  return { expected: pick(expected), found: pick(found) };
}
