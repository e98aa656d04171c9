import { checkObject, checkOneOf } from '../codec/index.ts';
import { isNotFound, StateError, typeError } from '../errors.ts';
import { type Exchange, type Message, type Operation, Turn } from '../transport/index.ts';
import type { Chain } from './chain.ts';
import type { WireElement } from './element.ts';
import { noteLeadingEnd } from './element-forms.ts';
import { type ElementValue, elementValues } from './element-values.ts';
import { type Family, familyNumber } from './family.ts';
import type { Flowtable } from './flowtable.ts';
import { MESSAGES, type MessageName, readObject } from './message.ts';
import type { NftObject } from './object.ts';
import { type PackedForm, readPacked } from './packed-elements.ts';
import { readGeneration, readSet, requestFor } from './request.ts';
import type { RuleEntry } from './rule.ts';
import { ownChainsFirst } from './rule-places.ts';
import type { NftSet, SetKey } from './set.ts';
import { shapeOf } from './set-types.ts';
import type { Table } from './table.ts';

export interface ListFilter {
  family?: Family;
  /** With `family`: only what is in this table. */
  table?: string;
  signal?: AbortSignal;
}

export interface RulesetFilter extends ListFilter {
  /** Also the elements of named sets and maps; those of anonymous sets, which are part of their rules, always come. Default false. */
  elements?: boolean;
}

/** A set or map, with its elements where they were read. */
export type SetEntry = NftSet & { elements?: WireElement[] };

/** The objects of a namespace, all of one generation. */
export interface Ruleset {
  generation: number;
  tables: Table[];
  chains: Chain[];
  sets: SetEntry[];
  rules: RuleEntry[];
  /** Counters, quotas, limits and other objects with a name. */
  objects: NftObject[];
  flowtables: Flowtable[];
}

/** A ruleset that others change faster than it can be read this many times in a row will not be read. */
const READ_ATTEMPTS = 100;

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

/** A commit came while something was read that has several parts: it is read again. */
export class Disturbed extends Error {}

/** Everything, consistent: see NftablesOperations.ruleset. */
export function* ruleset(exchange: Exchange, filter: RulesetFilter = {}): Operation<Ruleset> {
  checkFilter(filter, ['family', 'table', 'elements', 'signal']);
  return yield* consistent(exchange, function* (generation) {
    const tables = yield* dump(exchange, 'table', filter, generation);
    const chains = yield* dump(exchange, 'chain', filter, generation);
    const sets: SetEntry[] = yield* dump(exchange, 'set', filter, generation);
    for (const set of sets) {
      if (filter.elements !== true && !set.flags?.includes('anonymous')) continue;
      // A name whose bytes are no text was kept raw: its set cannot be asked for, and must not fail the reading of all others.
      if (typeof set.table !== 'string' || typeof set.name !== 'string') continue;
      set.elements = yield* dumpElements(exchange, set as SetKey, generation);
    }
    const rules = yield* dump(exchange, 'rule', filter, generation);
    const objects = yield* dump(exchange, 'object', filter, generation);
    const flowtables = yield* dump(exchange, 'flowtable', filter, generation);
    // Whoever adds them in this order finds what each of them refers to.
    return { generation, tables, chains, flowtables, objects, sets, rules: ownChainsFirst(rules) };
  });
}

/** The objects of one kind. */
export function* list<K extends keyof Kinds>(exchange: Exchange, kind: K, filter: Filter = {}): Operation<Kinds[K][]> {
  checkFilter(filter, kind === 'rule' ? ['family', 'table', 'chain', 'signal'] : ['family', 'table', 'signal']);
  const found = yield* undisturbed(() => dump(exchange, kind, filter));
  return kind === 'rule' ? (ownChainsFirst(found as RuleEntry[]) as Kinds[K][]) : found;
}

export interface ElementsOptions {
  /** wire (the default): as the kernel has them; of a range, its beginning and its end. values: addresses, ranges, concatenations. */
  as?: 'wire' | 'values';
  signal?: AbortSignal;
}

/** The elements of a set or map: see NftablesOperations.elements. */
export function* elements(
  exchange: Exchange,
  set: SetKey,
  options: ElementsOptions = {},
): Operation<WireElement[] | ElementValue[]> {
  checkObject(options, [], ['as', 'signal']);
  const { as = 'wire' } = options;
  checkOneOf(as, ['as'], ['wire', 'values']);
  const { family, table, name } = setKey(set);
  if (as === 'wire') return yield* undisturbed(() => dumpElements(exchange, { family, table, name }));
  return yield* consistent(exchange, function* (generation) {
    const found = yield* readSet(exchange, familyNumber(family, ['family']), table, name);
    const wire = yield* dumpElements(exchange, { family, table, name }, generation);
    const { elements, leadingEnd } = elementValues(wire, shapeOf(found));
    return leadingEnd ? noteLeadingEnd(elements) : elements;
  });
}

/** What names a set; more than that may stand in the object, as it does in listings. */
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
  generation?: number,
): Operation<Kinds[K][]> {
  const family = filter.family === undefined ? 0 : familyNumber(filter.family, ['family']);
  // The kernel filters by the table where there may be many; tables and chains are few, and are filtered here.
  const object: Record<string, unknown> = {};
  if (filter.table !== undefined && kind !== 'table' && kind !== 'chain') object.table = filter.table;
  if (filter.chain !== undefined) object.chain = filter.chain;
  const { number } = MESSAGES[LISTS[kind].new];
  const tableField = kind === 'table' ? 'name' : 'table';
  const check = checker(generation);
  try {
    return (yield* exchange.dump(requestFor(LISTS[kind].get, family, object), message => {
      if (message.type !== number) return undefined;
      check(message);
      const found = readObject(LISTS[kind].new, message);
      return filter.table === undefined || found[tableField] === filter.table ? found : undefined;
    })) as unknown as Kinds[K][];
  } catch (error) {
    // The table is not there: then nothing is in it. (Some kernels say so, others give an empty list.)
    if (filter.table !== undefined && isNotFound(error)) return [];
    throw error;
  }
}

/** The elements of a set, as the kernel has them at a generation. @throws Disturbed it is past */
export function* dumpElements(exchange: Exchange, set: SetKey, generation?: number): Operation<WireElement[]> {
  const elements: WireElement[] = [];
  yield* dumpSet(exchange, set, generation, message => {
    const part = readObject('newsetelem', message).elements as WireElement[] | undefined;
    if (part !== undefined) for (const element of part) elements.push(element);
  });
  return elements;
}

/** Elements of plain keys and values, as bytes: `begin` is called at the start, and again when others have changed them meanwhile. @internal */
export function* packedElements(exchange: Exchange, set: SetKey, begin: () => PackedForm): Operation<void> {
  yield* undisturbed(() => {
    const form = begin();
    return dumpSet(exchange, set, undefined, message => readPacked(message, form));
  });
}

function* dumpSet(
  exchange: Exchange,
  { family, table, name }: SetKey,
  generation: number | undefined,
  read: (message: Message) => void,
): Operation<void> {
  const check = checker(generation);
  let begun = generation !== undefined;
  try {
    yield* exchange.dump(requestFor('getsetelem', familyNumber(family, ['family']), { table, set: name }), message => {
      if (message.type !== MESSAGES.newsetelem.number) return undefined;
      check(message);
      begun = true;
      read(message);
      return undefined;
    });
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

/** Several dumps make one state only if no commit came between the first and the last. */
function* consistent<T>(exchange: Exchange, read: (generation: number) => Operation<T>): Operation<T> {
  return yield* undisturbed(function* () {
    const before = yield* readGeneration(exchange);
    const value = yield* read(before);
    if ((yield* readGeneration(exchange)) !== before) throw new Disturbed();
    return value;
  });
}

/** Reads until it was not disturbed. */
function* undisturbed<T>(read: () => Operation<T>): Operation<T> {
  const turn = new Turn();
  for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    try {
      return yield* read();
    } catch (error) {
      if (!(error instanceof Disturbed)) throw error;
    }
    yield turn;
  }
  throw new StateError('ERR_DUMP_INTERRUPTED', `the ruleset changed ${READ_ATTEMPTS} times in a row while it was read`);
}
