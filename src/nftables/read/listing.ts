import { checkObject } from '../../codec/index.ts';
import { isNotFound, typeError } from '../../errors.ts';
import type { Exchange, Message, Operation } from '../../netlink/index.ts';
import type { Step } from '../../netlink/operation.ts';
import { Disturbed } from '../../netlink/retry.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { type Family, familyNumber } from '../../nf_tables/family.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import { MESSAGES, type MessageName, readObject } from '../../nf_tables/message.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { RuleReader } from '../../nf_tables/rule-reader.ts';
import type { NftSet, SetKey } from '../../nf_tables/set.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { XtLayouts } from '../../nf_tables/xt/layout.ts';
import { requestFor } from '../request.ts';
import { ownChainsFirst } from '../write/rule-places.ts';
import type { DumpMemory, ElementsMemory, RulesetMemory } from './dump-memory.ts';
import { READING_OPTIONS, Reading, type ReadingOptions } from './reading.ts';

/** Where to look; what is left out does not narrow it. */
export interface ListFilter extends ReadingOptions {
  /** Only tables of this family. */
  family?: Family;
  /** With `family`: only what is in this table. */
  table?: string;
}

/** What of the ruleset is read. */
export interface RulesetFilter extends ListFilter {
  /** Also the elements of named sets and maps; those of anonymous sets, which are part of their rules, always come. Default false. */
  elements?: boolean;
}

/** A set or map, with its elements where they were read. */
export type SetEntry = NftSet & {
  /** The elements, where they were asked for. */
  elements?: WireElement[];
};

/** The objects of a namespace, all of one generation. */
export interface Ruleset {
  /** The generation of the ruleset. */
  generation: number;
  /** The tables. */
  tables: Table[];
  /** The chains. */
  chains: Chain[];
  /** The sets and maps. */
  sets: SetEntry[];
  /** The rules, in their order within each chain. */
  rules: RuleEntry[];
  /** Counters, quotas, limits and other objects with a name. */
  objects: NftObject[];
  /** The flowtables. */
  flowtables: Flowtable[];
}

const LISTS = {
  table: { get: 'gettable', new: 'newtable' },
  chain: { get: 'getchain', new: 'newchain' },
  rule: { get: 'getrule', new: 'newrule' },
  set: { get: 'getset', new: 'newset' },
  object: { get: 'getobj', new: 'newobj' },
  flowtable: { get: 'getflowtable', new: 'newflowtable' },
} as const satisfies Record<string, { get: MessageName; new: MessageName }>;

interface Kinds {
  table: Table;
  chain: Chain;
  rule: RuleEntry;
  set: NftSet;
  object: NftObject;
  flowtable: Flowtable;
}

type Filter = ListFilter & { chain?: string };

/**
 * Everything, consistent: see NftablesOperations.ruleset.
 * @param xt the structures of xtables' matches and targets: rules have their bytes without them
 * @param memory what such readings have read: what says what it said then is the same object, which nobody may change
 */
export function* ruleset(
  exchange: Exchange,
  filter: RulesetFilter = {},
  xt: XtLayouts | undefined,
  memory?: RulesetMemory,
): Operation<Ruleset> {
  checkFilter(filter, ['family', 'table', 'elements', ...READING_OPTIONS]);
  const reading = new Reading(exchange, filter);
  return yield* reading.consistent(exchange, function* (generation) {
    const all = <K extends keyof Kinds>(kind: K, layouts?: XtLayouts) =>
      dump(
        exchange,
        kind,
        filter,
        reading,
        generation,
        layouts,
        memory?.kinds[kind] as DumpMemory<Kinds[K]> | undefined,
      );
    memory?.begin();
    const tables = yield* all('table');
    const chains = yield* all('chain');
    const sets: SetEntry[] = yield* all('set');
    for (const [i, set] of sets.entries()) {
      if (filter.elements !== true && !set.flags?.includes('anonymous')) continue;
      // A name whose bytes are no text was kept raw: its set cannot be asked for, and must not fail the reading of all others.
      if (typeof set.table !== 'string' || typeof set.name !== 'string') continue;
      const known = memory?.elementsOf(set);
      const elements = yield* dumpElements(exchange, set as SetKey, reading, generation, known);
      if (known === undefined) set.elements = elements;
      else sets[i] = known.entry(elements);
    }
    const rules = yield* all('rule', xt);
    const objects = yield* all('object');
    const flowtables = yield* all('flowtable');
    memory?.end();
    // In this order each object comes after those that it refers to, so that all of them can be added again.
    return { generation, tables, chains, flowtables, objects, sets, rules: ownChainsFirst(rules) };
  });
}

/** The objects of one kind. */
export function list<K extends Exclude<keyof Kinds, 'rule'>>(
  exchange: Exchange,
  kind: K,
  filter?: Filter,
): Operation<Kinds[K][]>;
/** @param xt the structures of xtables' matches and targets: rules have their bytes without them */
export function list(
  exchange: Exchange,
  kind: 'rule',
  filter: Filter | undefined,
  xt: XtLayouts | undefined,
): Operation<RuleEntry[]>;
export function* list<K extends keyof Kinds>(
  exchange: Exchange,
  kind: K,
  filter: Filter = {},
  xt?: XtLayouts,
): Operation<Kinds[K][]> {
  checkFilter(filter, [...(kind === 'rule' ? ['chain'] : []), 'family', 'table', ...READING_OPTIONS]);
  const reading = new Reading(exchange, filter);
  const found = yield* reading.undisturbed(() => dump(exchange, kind, filter, reading, undefined, xt));
  return kind === 'rule' ? (ownChainsFirst(found as RuleEntry[]) as Kinds[K][]) : found;
}

/** The fields that name a set. The object may have more, as those of listings do. */
export function setKey(set: SetKey): SetKey {
  if (typeof set !== 'object' || set === null) throw typeError([], 'a set: { family, table, name }', set);
  const { family, table, name } = set;
  familyNumber(family, ['family']);
  if (typeof table !== 'string') throw typeError(['table'], "the table's name", table);
  if (typeof name !== 'string') throw typeError(['name'], "the set's name", name);
  return { family, table, name };
}

function checkFilter(filter: Filter, keys: readonly string[]): void {
  checkObject(filter, [], keys);
  if (filter.family !== undefined) familyNumber(filter.family, ['family']);
  if (filter.table !== undefined && filter.family === undefined)
    throw typeError(['family'], 'a family with a table', undefined, 'ERR_MISSING');
  if (filter.chain !== undefined && filter.table === undefined)
    throw typeError(['table'], 'a table with a chain', undefined, 'ERR_MISSING');
}

/**
 * One dump. Every message carries the generation that it was made at (its lower 16 bits): a second one among them, or another than the
 * expected, throws. The kernel's own mark, NLM_F_DUMP_INTR, is missing in dumps of elements.
 */
function* dump<K extends keyof Kinds>(
  exchange: Exchange,
  kind: K,
  filter: Filter,
  reading: Reading,
  generation?: number,
  xt?: XtLayouts,
  memory?: DumpMemory<Kinds[K]>,
): Operation<Kinds[K][]> {
  const family = filter.family === undefined ? 0 : familyNumber(filter.family, ['family']);
  // The kernel filters by the table where there may be many; tables and chains are few, and are filtered here.
  const object: Record<string, unknown> = {};
  if (filter.table !== undefined && kind !== 'table' && kind !== 'chain') object.table = filter.table;
  if (filter.chain !== undefined) object.chain = filter.chain;
  const { number } = MESSAGES[LISTS[kind].new];
  const tableField = kind === 'table' ? 'name' : 'table';
  const check = checker(generation);
  const rules = kind === 'rule' ? new RuleReader(xt) : undefined;
  const decode = (message: Message) =>
    (rules?.read(message) ?? readObject(LISTS[kind].new, message, xt)) as unknown as Kinds[K];
  try {
    memory?.begin();
    const read = (message: Message) => {
      if (message.type !== number) return undefined;
      check(message);
      const found = memory === undefined ? decode(message) : memory.read(message, decode);
      return filter.table === undefined || Reflect.get(found, tableField) === filter.table ? found : undefined;
    };
    const request = requestFor(LISTS[kind].get, family, object);
    const found = yield* exchange.dump(request, read, { budget: reading.budget, attempts: 1 });
    memory?.end();
    return found;
  } catch (error) {
    // The table is not there: then nothing is in it. (Some kernels say so, others give an empty list.)
    if (filter.table !== undefined && isNotFound(error)) return [];
    throw error;
  }
}

/**
 * Gives the messages of rules to `visit`, as the kernel has them at a generation, or at one and the same.
 * @param rest taken between the parts of the dump
 * @throws Disturbed it is past
 */
export function* eachRule(
  exchange: Exchange,
  filter: Pick<Filter, 'family' | 'table' | 'chain'>,
  rest: Step,
  generation: number | undefined,
  visit: (message: Message) => void,
): Operation<void> {
  const { family, table, chain } = filter;
  const check = checker(generation);
  const read = (message: Message) => {
    if (message.type !== MESSAGES.newrule.number) return undefined;
    check(message);
    visit(message);
    return undefined;
  };
  const object = { ...(table !== undefined && { table }), ...(chain !== undefined && { chain }) };
  const request = requestFor('getrule', family === undefined ? 0 : familyNumber(family, ['family']), object);
  yield* exchange.dump(request, read, { budget: rest, attempts: 1 });
}

/** @throws TypeError, RangeError with the path in the filter */
export const checkRuleFilter = (filter: Filter): void => checkFilter(filter, ['family', 'table', 'chain', 'signal']);

/** The elements of a set, as the kernel has them at a generation. @throws Disturbed it is past */
export function* dumpElements(
  exchange: Exchange,
  set: SetKey,
  reading: Reading = new Reading(exchange),
  generation?: number,
  memory?: ElementsMemory,
): Operation<WireElement[]> {
  const elements: WireElement[] = [];
  const decode = (message: Message) => readObject('newsetelem', message).elements ?? [];
  memory?.begin();
  yield* dumpSet(exchange, set, reading, generation, message => {
    const part = memory === undefined ? decode(message) : memory.read(message, decode);
    for (const element of part) elements.push(element);
  });
  return elements;
}

function* dumpSet(
  exchange: Exchange,
  { family, table, name }: SetKey,
  reading: Reading,
  generation: number | undefined,
  read: (message: Message) => void,
): Operation<void> {
  const check = checker(generation);
  let begun = generation !== undefined;
  try {
    const visit = (message: Message) => {
      if (message.type !== MESSAGES.newsetelem.number) return undefined;
      check(message);
      begun = true;
      read(message);
      return undefined;
    };
    const request = requestFor('getsetelem', familyNumber(family, ['family']), { table, set: name });
    yield* exchange.dump(request, visit, { budget: reading.budget, attempts: 1 });
  } catch (error) {
    // The set went while it was read, or between the list of sets and now.
    if (isNotFound(error) && begun) throw new Disturbed();
    throw error;
  }
}

function checker(generation: number | undefined): (message: Message) => void {
  let expected = generation === undefined ? undefined : generation & 0xffff;
  return ({ source, payload }) => {
    const resource = source.view.getUint16(payload + 2, false);
    expected ??= resource;
    if (resource !== expected) throw new Disturbed();
  };
}
