import { rangeError, typeError } from '../../errors.ts';
import type { Expression } from '../expression.ts';
import type { Family } from '../family.ts';
import type { Interfaces } from '../interfaces.ts';
import type { Ruleset } from '../listing.ts';
import type { NewMap } from '../new-objects.ts';
import type { Rule } from '../rule.ts';
import type { Table } from '../table.ts';
import { Transaction, type TransactionOperation } from '../transaction.ts';
import { DESCRIBING } from '../wire-set.ts';
import { matches } from './difference.ts';
import {
  type ChainModel,
  type DesiredRuleset,
  type ElementModel,
  FED_SIZE,
  modelOf,
  type RuleModel,
  type SetModel,
  sameSet,
  type TableModel,
  tableKey,
} from './model.ts';

/**
 * Whose tables these are. `comment`: tables with this comment; those that are wanted get it. `prefix`: tables whose names begin so; '' is all of
 * them. `flag`: tables that this socket owns (Linux 5.12): nobody else can change them, and they go when it is closed.
 */
export type TableOwner =
  | { comment: string; prefix?: never; flag?: never }
  | { prefix: string; comment?: never; flag?: never }
  | { flag: true; comment?: never; prefix?: never };

/** What leads from what is there to what is wanted, as data. */
export interface RulesetPlan {
  /** The generation that it starts from. */
  generation: number;
  /** In the order in which a transaction has them. */
  operations: TransactionOperation[];
}

/** Deleting one by one looks each rule up along its chain; above this many in a chain that keeps none, it is emptied at once. */
const FLUSH_FROM = 2;

/** The plan's operations as a transaction. */
export function transactionOf({ operations }: Pick<RulesetPlan, 'operations'>): Transaction {
  const transaction = new Transaction();
  for (const { verb, subject } of operations)
    (transaction[verb] as (subject: object) => Transaction).call(transaction, subject);
  return transaction;
}

/** What the handle knows that plans. */
export interface PlanContext {
  port?: number | undefined;
  interfaces?: Interfaces['interfaces'];
}

/** @throws TypeError, RangeError what is wanted is not well formed, or concerns a table that is another's */
export function planOf(
  present: Ruleset,
  desired: DesiredRuleset,
  owner: TableOwner,
  { port, interfaces }: PlanContext = {},
): RulesetPlan {
  const owns = ownership(owner, port);
  const tables = desired.tables.map((table, i) => claimed(table, owner, i));
  const wanted = modelOf({ ...desired, tables }, interfaces);
  // A name whose bytes are no text was kept raw: such a table can neither be asked for nor be named.
  const owned = present.tables.filter(table => isText(table.name) && owns(table));
  for (const [i, table] of desired.tables.entries()) {
    const key = tableKey(table);
    if (present.tables.some(other => tableKey(other) === key) && !owned.some(other => tableKey(other) === key))
      throw rangeError(
        ['tables', i, 'name'],
        "a table that is not there yet, or is this owner's",
        table.name,
        'ERR_FOREIGN_TABLE',
      );
  }
  const unnameable = unnameableIn(present);
  const isInOwned = ({ family, table }: { family: Family; table: string }) =>
    owned.some(other => other.family === family && other.name === table) &&
    !unnameable.has(tableKey({ family, name: table }));
  const there = modelOf({
    tables: owned,
    chains: present.chains.filter(isInOwned),
    sets: present.sets.filter(isInOwned as (set: Ruleset['sets'][number]) => boolean),
    rules: present.rules.filter(isInOwned),
    objects: present.objects.filter(isInOwned),
    flowtables: present.flowtables.filter(isInOwned),
  });
  const operations: TransactionOperation[] = [];
  const ids = { next: 1 };
  for (const [key, model] of there)
    if (!wanted.has(key)) operations.push(operation('delete', { table: keyOf(model.table) }));
  for (const [key, model] of wanted) {
    const before = there.get(key);
    const anew = before !== undefined && unnameable.has(key);
    if (anew) operations.push(operation('delete', { table: keyOf(before.table) }));
    operations.push(...new TablePlan(anew ? undefined : before, model, ids).operations());
  }
  return { generation: present.generation, operations };
}

const isText = (name: unknown): boolean => typeof name === 'string';

/** Tables with something in them that no transaction can name, which only somebody else can have put there: they are made anew. */
function unnameableIn({ chains, sets, objects, flowtables }: Ruleset): Set<string> {
  const all: { family: unknown; table: string; name: unknown }[] = [...chains, ...sets, ...objects, ...flowtables];
  return new Set(
    all
      .filter(({ name }) => !isText(name))
      .map(({ family, table }) => tableKey({ family: String(family), name: table })),
  );
}

function ownership(owner: TableOwner, port: number | undefined): (table: Table) => boolean {
  const { comment, prefix, flag } = owner ?? {};
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

const keyOf = ({ family, name }: Table) => ({ family, name });

function operation(verb: TransactionOperation['verb'], subject: object): TransactionOperation {
  return { verb, kind: Object.keys(subject)[0] as TransactionOperation['kind'], subject };
}

const EMPTY: Omit<TableModel, 'table'> = {
  chains: new Map(),
  sets: new Map(),
  objects: new Map(),
  flowtables: new Map(),
};

/** From one table to another. */
class TablePlan {
  readonly #before: Omit<TableModel, 'table'>;
  readonly #after: TableModel;
  readonly #place: { family: Family; table: string };
  readonly #ids: { next: number };
  readonly #tableOperations: TransactionOperation[] = [];
  /** 'chain web', 'set blocked' ...: made anew, so what uses them cannot stay. */
  readonly #recreated = new Set<string>();
  /** The same, and what goes for good. */
  readonly #gone = new Set<string>();

  constructor(before: TableModel | undefined, after: TableModel, ids: { next: number }) {
    this.#after = after;
    this.#ids = ids;
    const { table } = after;
    this.#place = { family: table.family, table: table.name };
    const stays =
      before !== undefined && before.table.comment === table.comment && isOwned(before.table) === isOwned(table);
    if (before !== undefined && !stays) this.#tableOperations.push(operation('delete', { table: keyOf(table) }));
    this.#before = stays ? before : EMPTY;
    if (!stays) this.#tableOperations.push(operation('create', { table: written(table) }));
    else if (isDormant(before.table) !== isDormant(table))
      this.#tableOperations.push(operation('add', { table: written(table) }));
    this.#compare();
  }

  #compare(): void {
    const compare = <T>(
      kind: string,
      before: ReadonlyMap<string, T>,
      after: ReadonlyMap<string, T>,
      same: (before: T, after: T) => boolean,
    ) => {
      for (const [key, model] of before) {
        const other = after.get(key);
        if (other !== undefined && same(model, other)) continue;
        this.#gone.add(`${kind} ${key}`);
        if (other !== undefined) this.#recreated.add(`${kind} ${key}`);
      }
    };
    const sameContent = (before: { content: string }, after: { content: string }) => before.content === after.content;
    compare('chain', this.#before.chains, this.#after.chains, sameContent);
    compare('set', this.#before.sets, this.#after.sets, sameSet);
    compare('object', this.#before.objects, this.#after.objects, sameContent);
    compare('flowtable', this.#before.flowtables, this.#after.flowtables, sameContent);
  }

  operations(): TransactionOperation[] {
    const removals: TransactionOperation[] = [];
    const rules = this.#ruleOperations(removals);
    const elements = this.#elementOperations(removals);
    const { family, table } = this.#place;
    const remove = <T>(kind: string, models: ReadonlyMap<string, T>, subject: (model: T) => object) => {
      for (const [key, model] of models)
        if (this.#gone.has(`${kind} ${key}`)) removals.push(operation('delete', subject(model)));
    };
    const nameOf = (name: string) => ({ family, table, name });
    remove('set', this.#before.sets, ({ set, isMap }) => ({ [isMap ? 'map' : 'set']: nameOf(set.name) }));
    remove('chain', this.#before.chains, ({ chain }) => ({ chain: nameOf(chain.name) }));
    remove('object', this.#before.objects, ({ object }) => ({ object: { ...nameOf(object.name), type: object.type } }));
    remove('flowtable', this.#before.flowtables, ({ flowtable }) => ({ flowtable: nameOf(flowtable.name) }));
    return [...this.#tableOperations, ...removals, ...this.#additions(), ...elements, ...rules];
  }

  #isNew(kind: string, key: string, before: ReadonlyMap<string, unknown>): boolean {
    return !before.has(key) || this.#recreated.has(`${kind} ${key}`);
  }

  #additions(): TransactionOperation[] {
    const additions: TransactionOperation[] = [];
    const { flowtables, objects, chains, sets } = this.#after;
    for (const [key, { flowtable }] of flowtables)
      if (this.#isNew('flowtable', key, this.#before.flowtables))
        additions.push(operation('create', { flowtable: written(flowtable) }));
    for (const [key, { object }] of objects)
      if (this.#isNew('object', key, this.#before.objects))
        additions.push(operation('create', { object: written(object) }));
    for (const [key, { chain, policy }] of chains) {
      if (this.#isNew('chain', key, this.#before.chains))
        additions.push(operation('create', { chain: written(chain) }));
      else if (this.#before.chains.get(key)!.policy !== policy && chain.type !== undefined)
        additions.push(operation('add', { chain: { ...this.#place, name: key, policy } }));
    }
    // A map's elements may go to any chain, and may be objects: they come after both.
    for (const [key, model] of sets)
      if (this.#isNew('set', key, this.#before.sets))
        additions.push(operation('create', setSubject(model, model.set.name)));
    return additions;
  }

  /** Elements by difference; those that lead to what is made anew cannot stay. */
  #elementOperations(removals: TransactionOperation[]): TransactionOperation[] {
    const additions: TransactionOperation[] = [];
    for (const [key, { elements, set }] of this.#after.sets) {
      const before = this.#before.sets.get(key)?.elements;
      if (this.#isNew('set', key, this.#before.sets) || elements === undefined) continue;
      const kept = (element: ElementModel, other: ElementModel | undefined) =>
        other?.content === element.content &&
        !this.#gone.has(`chain ${element.chain}`) &&
        !(set.objectType !== undefined && this.#gone.has(`object ${set.objectType} ${element.object}`));
      const gone = [...(before ?? [])].filter(([name, element]) => !kept(element, elements.get(name)));
      const added = [...elements].filter(([name, element]) => !kept(element, before?.get(name)));
      const type = this.#before.sets.get(key)!.set;
      const subject = (list: [string, ElementModel][]) => ({
        element: {
          ...this.#place,
          set: key,
          type: described(type),
          elements: list.map(([, { value }]) => value),
        },
      });
      if (gone.length > 0) removals.push(operation('delete', subject(gone)));
      if (added.length > 0) additions.push(operation('add', subject(added)));
    }
    // Sets whose elements nobody decides about may still lead to what goes.
    return additions;
  }

  #ruleOperations(removals: TransactionOperation[]): TransactionOperation[] {
    const additions: TransactionOperation[] = [];
    for (const [name, { rules }] of this.#before.chains) {
      if (!this.#after.chains.has(name) || this.#recreated.has(`chain ${name}`))
        this.#emptyChain(name, rules, removals);
    }
    for (const [name, model] of this.#after.chains) {
      const isNew = this.#isNew('chain', name, this.#before.chains);
      this.#chainRules(name, isNew ? [] : this.#before.chains.get(name)!.rules, model, removals, additions);
    }
    return additions;
  }

  #emptyChain(name: string, rules: readonly RuleModel[], removals: TransactionOperation[]): void {
    if (rules.length > 0) removals.push(operation('flush', { chain: { ...this.#place, name } }));
  }

  #chainRules(
    name: string,
    before: readonly RuleModel[],
    { rules: after }: ChainModel,
    removals: TransactionOperation[],
    additions: TransactionOperation[],
  ): void {
    // A rule that uses what goes is like no other.
    const stays = ({ uses }: RuleModel) => ![...uses].some(use => this.#gone.has(use));
    const found = matches(
      before.map((rule, i) => (stays(rule) ? rule.content : `-${i}`)),
      after.map((rule, i) => (stays(rule) ? rule.content : `+${i}`)),
    );
    const kept = new Set(found);
    const gone = before.filter((_, i) => !kept.has(i));
    if (gone.length === before.length && gone.length >= FLUSH_FROM) this.#emptyChain(name, before, removals);
    else
      for (const { handle } of gone)
        removals.push(operation('delete', { rule: { ...this.#place, chain: name, handle: handle! } }));
    // Each new rule stands before the next one that stays.
    const next: (bigint | undefined)[] = [];
    let following: bigint | undefined;
    for (let i = after.length - 1; i >= 0; i--) {
      if (found[i]! >= 0) following = before[found[i]!]!.handle;
      next[i] = following;
    }
    for (const [i, rule] of after.entries()) {
      if (found[i]! >= 0) continue;
      const position = next[i];
      this.#addRule(rule, { chain: name }, additions, position);
    }
  }

  /** A rule, after the sets and chains that are its own. */
  #addRule(
    model: RuleModel,
    chain: { chain: string } | { chainId: number },
    additions: TransactionOperation[],
    position?: bigint,
  ): void {
    const { comment } = model.rule;
    const ids = new Map<string | number, number>();
    const chainIds = new Map<string, number>();
    for (const [name, set] of model.sets) {
      const id = this.#ids.next++;
      ids.set(name, id);
      additions.push(operation('add', setSubject(set, templateOf(set), { ...this.#place, id })));
    }
    for (const [name, rules] of model.chains) {
      const chainId = this.#ids.next++;
      chainIds.set(name, chainId);
      additions.push(operation('add', { chain: { ...this.#place, id: chainId, flags: ['binding'] } }));
      for (const rule of rules) this.#addRule(rule, { chainId }, additions);
    }
    const { ebtablesPolicy, compat, unknown } = model.rule as Rule;
    const rule = {
      ...this.#place,
      ...chain,
      expressions: model.expressions.map(one => referring(one, model, ids, chainIds)),
      ...(comment !== undefined && { comment }),
      ...(ebtablesPolicy !== undefined && { ebtablesPolicy }),
      ...(compat !== undefined && { compat }),
      ...(unknown !== undefined && { unknown }),
      ...(position !== undefined && { position }),
    };
    additions.push(operation(position === undefined ? 'add' : 'insert', { rule }));
  }
}

const isDormant = ({ flags }: Table): boolean => flags?.includes('dormant') ?? false;
const isOwned = ({ flags }: Table): boolean => flags?.includes('owner') ?? false;

/** Without what the kernel says of an object that is there. */
function written<T extends object>(object: T): T {
  const { handle: _handle, use: _use, owner: _owner, ...rest } = object as T & Record<string, unknown>;
  return rest as unknown as T;
}

function setSubject(model: SetModel, name: string, others: object = {}): object {
  const { set, isMap, elements, leadingEnd } = model;
  const values = [...(elements?.values() ?? [])].map(({ value }) => value);
  const subject = { ...set, ...others, name, ...(values.length > 0 && { elements: values, leadingEnd }) };
  return { [isMap ? 'map' : 'set']: isSizedByKernel(model) ? withoutSize(subject) : subject };
}

/** With a size, the kernel would choose a hash table for it that rules cannot add to, unless flags say that they will. */
function isSizedByKernel({ size, fed, form: { flags = [] } }: SetModel): boolean {
  return fed && size === FED_SIZE && !flags.includes('dynamic') && !flags.includes('timeout');
}

function withoutSize<T extends NewMap>(set: T): T {
  const { size: _, description, ...rest } = set;
  const { size: __, ...others } = description ?? {};
  return { ...rest, ...(description !== undefined && { description: others }) } as T;
}

/** The kernel numbers it: '__set3' was made from '__set%d'. Only nft's meters are anonymous and have names. */
function templateOf({ set, isMap }: SetModel): string {
  const { name = '', flags } = set;
  const template = name.replace(/^(__\w*?)\d+$/, '$1%d');
  if (template.endsWith('%d') || (name !== '' && flags?.includes('dynamic'))) return template;
  return isMap ? '__map%d' : '__set%d';
}

/** What decides how a set's elements are written. */
function described(set: SetModel['set']): object {
  const type: Record<string, unknown> = {};
  for (const field of ['flags', 'key', 'data', ...DESCRIBING] as const)
    if (set[field] !== undefined) type[field] = set[field];
  return type;
}

/** The expression with the numbers that the sets and chains of its rule have in this transaction. */
function referring(
  expression: Expression,
  { sets, chains }: RuleModel,
  ids: ReadonlyMap<string | number, number>,
  chainIds: ReadonlyMap<string, number>,
): Expression {
  if (sets.size === 0 && chains.size === 0) return expression;
  const [name, value] = Object.entries(expression)[0] as [string, Record<string, unknown>];
  const key = (value.setId ?? value.set) as string | number | undefined;
  const id = key === undefined ? undefined : ids.get(key);
  if (id !== undefined) {
    const set = templateOf(sets.get(key!)!);
    return { [name]: { ...value, set, setId: id } } as unknown as Expression;
  }
  const data = value.data as { chain?: string } | undefined;
  const chainId = typeof data === 'object' && data?.chain !== undefined ? chainIds.get(data.chain) : undefined;
  if (chainId === undefined) return expression;
  const { chain: _, ...verdict } = data!;
  return { [name]: { ...value, data: { ...verdict, chainId } } } as unknown as Expression;
}
