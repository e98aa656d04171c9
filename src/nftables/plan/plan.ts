import { checkObject } from '../../codec/index.ts';
import { printable, rangeError, StateError, typeError } from '../../errors.ts';
import type { EventLoopBudget, Operation } from '../../netlink/index.ts';
import { runNow, type Step } from '../../netlink/operation.ts';
import type { Family } from '../../nf_tables/family.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { Interfaces } from '../interfaces.ts';
import type { Ruleset } from '../read/listing.ts';
import { Transaction, type TransactionOperation } from '../write/transaction.ts';
import { inOrder, misplaced } from './chain-order.ts';
import { type Fields, textOf } from './content.ts';
import { checkDesired, type DesiredRuleset, type ScopedObject } from './desired.ts';
import { type TableModel, tableKey } from './model.ts';
import type { ModelMemory } from './model-memory.ts';
import { modelInParts } from './ruleset-model.ts';
import { append, type DesiredNames, type Scope, ScopedRuleset } from './scope.ts';
import { keyOf, type PlacedOperation, placed, type TableOperations, TablePlan } from './table-plan.ts';
import { ticksOf } from './timeouts.ts';

const SIGNS: Partial<Record<TransactionOperation['verb'], string>> = {
  delete: '-',
  destroy: '-',
  flush: '-',
  replace: '~',
};
/** What a line says of an object besides its name. */
const SHOWN = ['type', 'hook', 'priority', 'policy', 'flags', 'comment'] as const;
const MANY = 8;

/**
 * Prints a plan as text for people, one operation a line: `+` adds, `~` changes, `-` removes.
 *
 *     + chain ip web prerouting type nat hook prerouting priority -100
 *     - rule ip web prerouting handle 7
 *     + rule ip web prerouting before handle 9: payload cmp counter redir
 * @example
 * console.log(formatPlan(await nft.plan({ tables: [] }, { comment: 'ours' })));
 */
export function formatPlan({
  operations,
}: {
  /** The operations, in their order. */
  operations: readonly TransactionOperation[];
}): string {
  return operations.map(operation => `${printable(line(operation))}\n`).join('');
}

function line({ verb, kind, subject }: TransactionOperation): string {
  const object = (subject as Record<string, Fields>)[kind]!;
  const { family, table, chain, chainId, set, name, id, handle, position, expressions, elements } = object;
  // Adding a chain or table that is there changes it.
  const sign =
    SIGNS[verb] ?? (verb === 'add' && (kind === 'chain' || kind === 'table') && id === undefined ? '~' : '+');
  const parts = [sign, verb === 'flush' ? `rules of ${kind}` : kind, family, table];
  parts.push(
    chain ?? (chainId === undefined ? undefined : `#${chainId}`),
    set,
    name ?? (id === undefined ? undefined : `#${id}`),
  );
  if (verb !== 'delete' && kind !== 'rule' && kind !== 'element') {
    for (const field of SHOWN)
      if (object[field] !== undefined) parts.push(field, [object[field]].flat().map(plain).join(',') || 'none');
  }
  if (position !== undefined) parts.push('before handle', position);
  if (handle !== undefined) parts.push('handle', handle);
  let text = parts.filter(part => part !== undefined).join(' ');
  if (Array.isArray(expressions)) text += `: ${expressions.flatMap(one => Object.keys(one as object)).join(' ')}`;
  if (Array.isArray(elements)) text += `: ${shortList(elements)}`;
  return text;
}

function shortList(elements: readonly unknown[]): string {
  const shown = elements.slice(0, MANY).map(element => {
    const { key, data } = (
      typeof element === 'object' && element !== null && 'key' in element ? element : { key: element }
    ) as Fields;
    return data === undefined ? plain(key) : `${plain(key)} : ${plain(data)}`;
  });
  return elements.length > MANY ? `${shown.join(', ')}, ... (${elements.length})` : shown.join(', ');
}

function plain(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(plain).join(' . ');
  const { from, to } = (value ?? {}) as Fields;
  return from !== undefined && to !== undefined ? `${plain(from)}-${plain(to)}` : textOf(value);
}

/**
 * Whose tables these are. `comment`: tables with this comment; those that are wanted get it. `prefix`: tables whose names begin so; '' is all of
 * them. `flag`: tables that this socket owns (Linux 5.12): nobody else can change them, and they go when it is closed.
 */
export type TableOwner =
  | {
      /** The owner's tables have this comment. */
      comment: string;
      /** The owner's tables have names that begin so. */
      prefix?: never;
      /** The owner's tables are those of this socket (flag owner). */
      flag?: never;
    }
  | {
      /** The owner's tables have names that begin so. */
      prefix: string;
      /** The owner's tables have this comment. */
      comment?: never;
      /** The owner's tables are those of this socket (flag owner). */
      flag?: never;
    }
  | {
      /** The owner's tables are those of this socket (flag owner). */
      flag: true;
      /** The owner's tables have this comment. */
      comment?: never;
      /** The owner's tables have names that begin so. */
      prefix?: never;
    };

/** The operations that make the tables as desired, as data. */
export interface RulesetPlan {
  /** The generation that it starts from. */
  generation: number;
  /** In the order in which a transaction has them. */
  operations: TransactionOperation[];
}

/**
 * Makes a transaction of a plan's operations.
 * @example
 * const plan = await nft.plan({ tables: [] }, { comment: 'ours' });
 * await nft.commit(transactionOf(plan), { generation: plan.generation });
 */
export function transactionOf({ operations }: Pick<RulesetPlan, 'operations'>): Transaction {
  const transaction = new Transaction();
  for (const operation of operations) addTo(transaction, operation);
  return transaction;
}

export function addTo(transaction: Transaction, { verb, subject }: TransactionOperation): void {
  (transaction[verb] as (subject: object) => Transaction).call(transaction, subject);
}

/** What plans have found out of the two sides. */
export interface PlanMemory {
  readonly wanted: ModelMemory;
  readonly there: ModelMemory;
}

/** What the handle that plans knows of its namespace and its socket. */
export interface PlanContext {
  memory?: PlanMemory | undefined;
  /** The present ruleset was just read: see ModelOptions. */
  isDecoded?: boolean;
  /** Taken between parts. */
  budget?: EventLoopBudget | undefined;
  port?: number | undefined;
  /** The part that is compared; default: all of the owner's tables. */
  scope?: Scope | undefined;
  /** The names of the last call that had a scope. */
  names?: DesiredNames | undefined;
  interfaces?: Interfaces['interfaces'];
}

/** A plan, and where in what is wanted each of its operations comes from. */
export interface PlacedPlan extends RulesetPlan {
  places: PlacedOperation['place'][];
}

/**
 * @throws TypeError, RangeError the desired ruleset is not well formed: with the path in it
 * @throws StateError ERR_FOREIGN_TABLE a table of a name that is wanted is another's
 */
export const planOf = (present: Ruleset, desired: DesiredRuleset, owner: TableOwner): PlacedPlan =>
  runNow(planInParts(present, desired, owner, {}));

/** The same, with what the handle knows. The event loop may run between its parts. */
export function* planInParts(
  present: Ruleset,
  desired: DesiredRuleset,
  owner: TableOwner,
  { port, interfaces, scope, names, memory, isDecoded = false, budget }: PlanContext,
): Operation<PlacedPlan> {
  const owns = ownership(owner, port);
  const wantedScope = scope && new ScopedRuleset(scope, desired ?? {}, names);
  checkDesired(desired, wantedScope);
  const rest: Step | undefined = budget?.measured;
  if (rest !== undefined) yield rest;
  // A name whose bytes are no text was kept raw: such a table can neither be asked for nor be named.
  const owned = present.tables.filter(table => isText(table.name) && owns(table));
  const ownedKeys = new Set(owned.map(tableKey));
  const isInScope = (key: string) => scope?.hasTable(key) !== false;
  const unnameable = unnameableIn(present);
  // A table that is compared in part is not replaced because of the rest.
  if (scope !== undefined) for (const key of unnameable) if (!scope.isWhole(key)) unnameable.delete(key);
  let asked: { family: Family; table: string; isIn: boolean } | undefined;
  const isInOwned = ({ family, table, name = '' }: { family: Family; table: string; name?: unknown }) => {
    if (asked === undefined || asked.table !== table || asked.family !== family) {
      const key = tableKey({ family, name: table });
      asked = { family, table, isIn: ownedKeys.has(key) && isInScope(key) && !unnameable.has(key) };
    }
    return asked.isIn && isText(name);
  };
  const thereAsRead: DesiredRuleset = {
    tables: owned.filter(table => isInScope(tableKey(table))),
    chains: present.chains.filter(isInOwned),
    sets: present.sets.filter(isInOwned),
    rules: present.rules.filter(isInOwned),
    objects: present.objects.filter(isInOwned),
    flowtables: present.flowtables.filter(isInOwned),
  };
  if (rest !== undefined) yield rest;
  const compared = (kind: 'sets' | 'rules') =>
    wantedScope?.given<ScopedObject>(kind, desired[kind] ?? []).map(({ object }) => object) ?? desired[kind];
  const timing = { sets: compared('sets'), rules: compared('rules') } as Pick<DesiredRuleset, 'sets' | 'rules'>;
  const timeouts = ticksOf([...timeoutsIn(timing), ...timeoutsIn(thereAsRead)]);
  if (rest !== undefined) yield rest;
  const tables = desired.tables.map((table, i) => claimed(table, owner, i));
  const wanted = yield* modelInParts(
    { ...desired, tables },
    { interfaces, timeouts, scope: wantedScope, memory: memory?.wanted, budget },
  );
  refuseForeign(desired, present, ownedKeys);
  const there = yield* modelInParts(thereAsRead, {
    isThere: true,
    isDecoded,
    timeouts,
    scope: scope && new ScopedRuleset(scope, thereAsRead),
    memory: memory?.there,
    budget,
  });
  if (scope !== undefined) limit(scope, wanted, there);
  const all = yield* joined(wanted, there, unnameable, rest);
  return {
    generation: present.generation,
    operations: all.map(({ operation }) => operation),
    places: all.map(({ place }) => place),
  };
}

/** Leaves only the scope to be compared. The head of a table that is not compared as a whole stays as it is. */
function limit(scope: Scope, wanted: Map<string, TableModel>, there: Map<string, TableModel>): void {
  for (const [key, model] of wanted) {
    if (scope.isWhole(key)) continue;
    const limited = scope.limited(key, model);
    const before = there.get(key);
    const nothing = { ...limited, chains: new Map(), sets: new Map() };
    there.set(key, before === undefined ? nothing : scope.limited(key, before));
    wanted.set(key, before === undefined ? limited : { ...limited, table: before.table });
  }
}

/** All tables in one transaction: first the removals, then the additions, so that every object comes after those that it refers to. */
function* joined(
  wanted: ReadonlyMap<string, TableModel>,
  there: ReadonlyMap<string, TableModel>,
  unnameable: ReadonlySet<string>,
  rest: Step | undefined,
): Operation<PlacedOperation[]> {
  const all: PlacedOperation[] = [];
  for (const [key, model] of there)
    if (!wanted.has(key)) all.push(placed('delete', { table: keyOf(model.table) }, undefined));
  const { plans, moved } = tablePlans(wanted, there, unnameable);
  const ids = { next: 1 };
  const parts: (TableOperations & { key: string })[] = [];
  for (const [key, plan] of plans) {
    if (rest !== undefined) yield rest;
    parts.push({ key, ...(yield* plan.operations(moved.get(key) ?? new Set(), ids, rest)) });
  }
  for (const { first, removals } of parts) {
    append(all, first);
    append(all, removals);
  }
  for (const { others } of parts) append(all, others);
  const chains = new Map(parts.map(part => [part.key, part.chains]));
  for (const { table, chain } of inOrder(wanted)) {
    const operation = chains.get(table)?.get(chain);
    if (operation !== undefined) all.push(operation);
  }
  for (const { last } of parts) append(all, last);
  return all;
}

/** A plan for each table, and the chains that cannot stay because of where they stand. */
function tablePlans(
  wanted: ReadonlyMap<string, TableModel>,
  there: ReadonlyMap<string, TableModel>,
  unnameable: ReadonlySet<string>,
): { plans: Map<string, TablePlan>; moved: Map<string, Set<string>> } {
  const plans = new Map<string, TablePlan>();
  for (const [key, model] of wanted) plans.set(key, new TablePlan(there.get(key), model, unnameable.has(key)));
  for (;;) {
    const moved = misplaced(wanted, there, plans);
    const stuck = [...plans].find(([key, plan]) => plan.cannotSwitch(moved.get(key) ?? new Set()));
    if (stuck === undefined) return { plans, moved };
    const [key] = stuck;
    plans.set(key, new TablePlan(there.get(key), wanted.get(key)!, true));
  }
}

function refuseForeign(desired: DesiredRuleset, present: Ruleset, owned: ReadonlySet<string>): void {
  const foreign = new Set(present.tables.map(tableKey).filter(key => !owned.has(key)));
  for (const [i, table] of desired.tables.entries())
    if (foreign.has(tableKey(table)))
      throw new StateError(
        'ERR_FOREIGN_TABLE',
        `tables[${i}].name: the table ${table.family} ${table.name} is there, and is not this owner's`,
      );
}

/** Every timeout that a ruleset says something about: of sets, of elements, of rules that add them. */
function timeoutsIn({ sets = [], rules = [] }: Pick<DesiredRuleset, 'sets' | 'rules'>): bigint[] {
  const found: bigint[] = [];
  const add = (value: unknown) => {
    if (typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value)))
      found.push(BigInt(value));
  };
  for (const set of sets) {
    add(set.timeoutMilliseconds);
    if (!Array.isArray(set.elements)) continue;
    for (const element of set.elements as readonly unknown[]) {
      if (typeof element !== 'object' || element === null) continue;
      add(
        (('wire' in element ? element.wire : element) as { timeoutMilliseconds?: unknown } | null)?.timeoutMilliseconds,
      );
    }
  }
  for (const { expressions } of rules) {
    if (!Array.isArray(expressions)) continue;
    for (const expression of expressions) {
      if (typeof expression !== 'object' || expression === null || !('dynset' in expression)) continue;
      add((expression.dynset as { timeoutMilliseconds?: unknown } | undefined)?.timeoutMilliseconds);
    }
  }
  return found;
}

const isText = (name: unknown): boolean => typeof name === 'string';

/** Tables that hold an object which no transaction can name; another program has put it there. They are replaced. */
function unnameableIn({ chains, sets, objects, flowtables }: Ruleset): Set<string> {
  const all: { family: unknown; table: string; name: unknown }[] = [...chains, ...sets, ...objects, ...flowtables];
  return new Set(
    all
      .filter(({ name }) => !isText(name))
      .map(({ family, table }) => tableKey({ family: String(family), name: table })),
  );
}

function ownership(owner: TableOwner, port: number | undefined): (table: Table) => boolean {
  checkObject(owner, ['owner'], ['comment', 'prefix', 'flag', 'only', 'mirror', 'signal']);
  const { comment, prefix, flag } = owner;
  if ([comment, prefix, flag].filter(value => value !== undefined).length !== 1)
    throw typeError(['owner'], '{ comment }, { prefix } or { flag: true }', owner);
  if (flag !== undefined) {
    if (flag !== true) throw typeError(['owner', 'flag'], 'true', flag);
    return table => table.owner !== undefined && table.owner === port;
  }
  if (typeof (comment ?? prefix) !== 'string')
    throw typeError(['owner', comment === undefined ? 'prefix' : 'comment'], 'a string', comment ?? prefix);
  return comment === undefined ? ({ name }) => name.startsWith(prefix!) : table => table.comment === comment;
}

/** The table with what makes it the owner's. */
function claimed(table: Table, { comment, prefix, flag }: TableOwner, index: number): Table {
  if (prefix !== undefined && !table.name.startsWith(prefix))
    throw rangeError(['tables', index, 'name'], `a name that begins with the owner's prefix ${prefix}`, table.name);
  if (comment !== undefined) {
    if (table.comment !== undefined && table.comment !== comment)
      throw rangeError(['tables', index, 'comment'], "the owner's comment, or none", table.comment);
    return { ...table, comment };
  }
  if (flag === undefined || table.flags?.includes('owner')) return table;
  return { ...table, flags: [...(table.flags ?? []), 'owner'] };
}
