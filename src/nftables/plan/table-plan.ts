import type { Path } from '../../errors.ts';
import type { Operation } from '../../netlink/index.ts';
import type { Step } from '../../netlink/operation.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { hasFlag, isDormant, type Table } from '../../nf_tables/table.ts';
import type { Rule } from '../../nft/rule.ts';
import type { NewMap } from '../write/new-objects.ts';
import type { TransactionOperation } from '../write/transaction.ts';
import { DESCRIBING } from '../write/wire-set.ts';
import { textOf } from './content.ts';
import { matches } from './difference.ts';
import type { ChainModel, ObjectModel, RuleModel, TableModel } from './model.ts';
import { type ElementModel, FED_SIZE, type SetModel, sameSet } from './set-model.ts';

/** The place in the desired ruleset that an operation comes from; undefined for a removal. */
export interface PlacedOperation {
  readonly operation: TransactionOperation;
  readonly place: { readonly path: Path; readonly rule?: RuleModel } | undefined;
}

export function placed(
  verb: TransactionOperation['verb'],
  subject: object,
  place: PlacedOperation['place'],
): PlacedOperation {
  return { operation: { verb, kind: Object.keys(subject)[0], subject } as TransactionOperation, place };
}

/** What leads to one table, in the order of the transaction. */
export interface TableOperations {
  /** The table itself. */
  first: PlacedOperation[];
  removals: PlacedOperation[];
  /** Flowtables and objects. */
  others: PlacedOperation[];
  /** By name: their order among those of other tables counts. */
  chains: Map<string, PlacedOperation>;
  /** Sets, elements and rules. */
  last: PlacedOperation[];
}

/** Deleting one by one looks each rule up along its chain; above this many in a chain that keeps none, it is emptied at once. */
const FLUSH_FROM = 2;

/** Rules that are compared between two looks at the clock. */
const RULES_IN_A_ROW = 256;

type Contents = Omit<TableModel, 'table' | 'path'>;
const EMPTY: Contents = { chains: new Map(), sets: new Map(), objects: new Map(), flowtables: new Map() };

/** From one table to another. */
export class TablePlan {
  readonly #before: Contents;
  readonly #after: TableModel;
  readonly #place: { family: Family; table: string };
  readonly #first: PlacedOperation[] = [];
  /** 'chain web', 'set blocked' ...: replaced by new ones, so that their users cannot stay either. */
  readonly #recreated = new Set<string>();
  /** The same, and what goes for good. */
  readonly #gone = new Set<string>();
  #ids = { next: 1 };
  /** Taken between parts. */
  #rest: Step | undefined;

  /** The table that is replaced: its sets may keep their elements. */
  readonly #previous: Contents;
  /** The change of the table's flags: it starts or stops all of its base chains. */
  readonly #switch: PlacedOperation | undefined;

  /** `anew`: the table is replaced, whatever it is like. */
  constructor(before: TableModel | undefined, after: TableModel, anew = false) {
    this.#after = after;
    this.#previous = before ?? EMPTY;
    const { table, path } = after;
    this.#place = { family: table.family, table: table.name };
    const stays = before !== undefined && !anew && !mustBeMadeAnew(before, after);
    if (before !== undefined && !stays) this.#first.push(placed('delete', { table: keyOf(table) }, { path }));
    this.#before = stays ? before : EMPTY;
    if (!stays) this.#first.push(placed('create', { table: written(table) }, { path }));
    else if (isDormant(before.table) !== isDormant(table)) {
      // Without any flags, the kernel would leave them as they are.
      const flags = table.flags ?? [];
      this.#switch = placed('add', { table: { ...written(table), flags } }, { path });
    }
    this.#compare();
  }

  /** Whether the chain is made, or replaced, because of its own content. */
  makes(chain: string): boolean {
    return this.#isNew('chain', chain, this.#before.chains);
  }

  /** Whether all base chains of the table begin to see packets now. */
  get wakes(): boolean {
    return this.#switch !== undefined && !isDormant(this.#after.table);
  }

  /**
   * The kernel takes a change of the flags only after new base chains and before those that go. A chain that is replaced is both, so the whole
   * table is replaced.
   */
  cannotSwitch(moved: ReadonlySet<string>): boolean {
    if (this.#switch === undefined) return false;
    const { chains } = this.#before;
    return [...chains].some(
      ([name, { hooks }]) => hooks.length > 0 && (moved.has(name) || this.#isRecreated('chain', name)),
    );
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
    compare('object', this.#before.objects, this.#after.objects, sameObject);
    compare('flowtable', this.#before.flowtables, this.#after.flowtables, sameContent);
  }

  /** `moved`: chains that cannot stay where they stand. `ids` numbers what has no name. */
  *operations(moved: ReadonlySet<string>, ids: { next: number }, rest?: Step): Operation<TableOperations> {
    this.#ids = ids;
    this.#rest = rest;
    for (const chain of moved) {
      this.#gone.add(`chain ${chain}`);
      this.#recreated.add(`chain ${chain}`);
    }
    const removals: PlacedOperation[] = [];
    const rules = yield* this.#ruleOperations(removals);
    if (rest !== undefined) yield rest;
    const elements = this.#elementOperations(removals);
    const { family, table } = this.#place;
    const remove = <T>(kind: string, models: ReadonlyMap<string, T>, subject: (model: T) => object) => {
      for (const [key, model] of models)
        if (this.#gone.has(`${kind} ${key}`)) removals.push(placed('delete', subject(model), undefined));
    };
    const nameOf = (name: string) => ({ family, table, name });
    remove('set', this.#before.sets, ({ set, isMap }) => ({ [isMap ? 'map' : 'set']: nameOf(set.name) }));
    remove('chain', this.#before.chains, ({ chain }) => ({ chain: nameOf(chain.name!) }));
    remove('object', this.#before.objects, ({ object }) => ({ object: { ...nameOf(object.name), type: object.type } }));
    remove('flowtable', this.#before.flowtables, ({ flowtable }) => ({ flowtable: nameOf(flowtable.name) }));
    if (rest !== undefined) yield rest;
    const { others, chains, sets } = this.#additions();
    const first = [...this.#first];
    if (this.#switch !== undefined) {
      for (const [name, operation] of chains) {
        if (operation.operation.verb !== 'create' || this.#isRecreated('chain', name)) continue;
        first.push(operation);
        chains.delete(name);
      }
      first.push(this.#switch);
    }
    return { first, removals, others, chains, last: sets.concat(elements, rules) };
  }

  #isNew(kind: string, key: string, before: ReadonlyMap<string, unknown>): boolean {
    return !before.has(key) || this.#isRecreated(kind, key);
  }

  #isRecreated(kind: string, key: string): boolean {
    return this.#recreated.has(`${kind} ${key}`);
  }

  #additions(): { others: PlacedOperation[]; chains: Map<string, PlacedOperation>; sets: PlacedOperation[] } {
    const others: PlacedOperation[] = [];
    const operations = new Map<string, PlacedOperation>();
    const made: PlacedOperation[] = [];
    const { flowtables, objects, chains, sets } = this.#after;
    for (const [key, { flowtable, path }] of flowtables)
      if (this.#isNew('flowtable', key, this.#before.flowtables))
        others.push(placed('create', { flowtable: written(flowtable) }, { path }));
    for (const [key, { object, path }] of objects)
      if (this.#isNew('object', key, this.#before.objects))
        others.push(placed('create', { object: written(object) }, { path }));
    for (const [key, { chain, policy, hooks, path }] of chains) {
      if (this.#isNew('chain', key, this.#before.chains))
        operations.set(key, placed('create', { chain: written(chain) }, { path }));
      else if (hooks.length > 0 && this.#before.chains.get(key)!.policy !== policy)
        operations.set(key, placed('add', { chain: { ...this.#place, name: key, policy } }, { path }));
    }
    // A map's elements may go to any chain, and may be objects: they come after both.
    for (const [key, model] of sets)
      if (this.#isNew('set', key, this.#before.sets))
        made.push(placed('create', setSubject(this.#carrying(key, model), model.set.name), { path: model.path }));
    return { others, chains: operations, sets: made };
  }

  /** A set of whose elements nothing is said, with those that it had, where they fit. */
  #carrying(key: string, model: SetModel): SetModel {
    const before = this.#previous.sets.get(key);
    if (model.elements !== undefined || before?.elements === undefined || !sameShape(before, model)) return model;
    const kept = [...before.elements].filter(([, element]) => !this.#leadsNowhere(before, element));
    const hasTimeouts = model.form.flags?.includes('timeout') === true;
    const elements = hasTimeouts ? kept : kept.map(([name, element]) => [name, withoutTimeout(element)] as const);
    return { ...model, elements: new Map(elements), leadingEnd: before.leadingEnd };
  }

  /** The chain or object that the element leads to is not wanted. */
  #leadsNowhere({ form }: SetModel, { chain, object }: ElementModel): boolean {
    const { objects, chains } = this.#after.names ?? this.#after;
    if (form.objectType !== undefined) return !objects.has(`${form.objectType} ${object}`);
    return chain !== undefined && !chains.has(chain);
  }

  #leadsToGone(set: SetModel, element: ElementModel): boolean {
    return this.#targets(set, element).some(key => this.#gone.has(key));
  }

  #targets({ form }: SetModel, { chain, object }: ElementModel): string[] {
    const targets = chain === undefined ? [] : [`chain ${chain}`];
    if (form.objectType !== undefined && object !== undefined) targets.push(`object ${form.objectType} ${object}`);
    return targets;
  }

  /** Adds and removes the elements that differ. Those that lead to a replaced chain or object cannot stay. */
  #elementOperations(removals: PlacedOperation[]): PlacedOperation[] {
    const additions: PlacedOperation[] = [];
    for (const [key, model] of this.#after.sets) {
      if (this.#isNew('set', key, this.#before.sets)) continue;
      const present = this.#before.sets.get(key)!;
      const before: ReadonlyMap<string, ElementModel> = present.elements ?? new Map();
      // Where the elements of a set are not given, all of them stay that can.
      const after = model.elements ?? new Map([...before].filter(([, one]) => !this.#leadsNowhere(present, one)));
      const kept = (element: ElementModel, other: ElementModel | undefined) =>
        other?.content === element.content && !this.#leadsToGone(model, element);
      const gone = [...before].filter(([name, element]) => !kept(element, after.get(name)));
      const added = [...after].filter(([name, element]) => !kept(element, before.get(name)));
      const subject = (list: [string, ElementModel][]) => ({
        element: {
          ...this.#place,
          set: key,
          type: described(present.set),
          elements: list.map(([, { value }]) => value),
        },
      });
      if (gone.length > 0) removals.push(placed('delete', subject(gone), undefined));
      if (added.length > 0) additions.push(placed('add', subject(added), { path: model.path }));
    }
    return additions;
  }

  *#ruleOperations(removals: PlacedOperation[]): Operation<PlacedOperation[]> {
    const additions: PlacedOperation[] = [];
    let rules = 0;
    for (const [name, { rules }] of this.#before.chains) {
      if (!this.#after.chains.has(name) || this.#recreated.has(`chain ${name}`))
        this.#emptyChain(name, rules, removals);
    }
    for (const [name, model] of this.#after.chains) {
      const isNew = this.#isNew('chain', name, this.#before.chains);
      this.#chainRules(name, isNew ? [] : this.#before.chains.get(name)!.rules, model, removals, additions);
      rules += 1 + model.rules.length;
      if (this.#rest === undefined || rules < RULES_IN_A_ROW) continue;
      rules = 0;
      yield this.#rest;
    }
    return additions;
  }

  #emptyChain(name: string, rules: readonly RuleModel[], removals: PlacedOperation[]): void {
    if (rules.length > 0) removals.push(placed('flush', { chain: { ...this.#place, name } }, undefined));
  }

  #chainRules(
    name: string,
    before: readonly RuleModel[],
    { rules: after }: ChainModel,
    removals: PlacedOperation[],
    additions: PlacedOperation[],
  ): void {
    // A rule that uses a removed object matches no other.
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
        removals.push(placed('delete', { rule: { ...this.#place, chain: name, handle: handle! } }, undefined));
    // Each new rule stands before the next one that stays.
    const next: (bigint | undefined)[] = [];
    let following: bigint | undefined;
    for (let i = after.length - 1; i >= 0; i--) {
      if (found[i]! >= 0) following = before[found[i]!]!.handle;
      next[i] = following;
    }
    for (const [i, rule] of after.entries()) {
      if (found[i]! >= 0) continue;
      this.#addRule(rule, { chain: name }, additions, next[i]);
    }
  }

  /** A rule, after the sets and chains that are its own. */
  #addRule(
    model: RuleModel,
    chain: { chain: string } | { chainId: number },
    additions: PlacedOperation[],
    position?: bigint,
  ): void {
    const { comment } = model.rule;
    const ids = new Map<string | number, number>();
    const chainIds = new Map<string, number>();
    const place = { path: model.path };
    for (const [name, set] of model.sets) {
      if (!set.anonymous) continue;
      const id = this.#ids.next++;
      ids.set(name, id);
      additions.push(placed('add', setSubject(set, templateOf(set), { ...this.#place, id }), place));
    }
    for (const [name, rules] of model.chains) {
      const chainId = this.#ids.next++;
      chainIds.set(name, chainId);
      additions.push(placed('add', { chain: { ...this.#place, id: chainId, flags: ['binding'] } }, place));
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
    additions.push(placed(position === undefined ? 'add' : 'insert', { rule }, { ...place, rule: model }));
  }
}

/** Whether an object that is there can stay for one that is wanted. */
function sameObject(there: ObjectModel, wanted: ObjectModel): boolean {
  if (there.content !== wanted.content) return false;
  return [...wanted.states].every(([state, seconds]) => textOf(there.states.get(state)) === textOf(seconds));
}

/** The parts of a table that cannot be changed: its owner and its comment. */
function mustBeMadeAnew({ table: before }: TableModel, { table: after }: TableModel): boolean {
  return (
    before.comment !== after.comment ||
    ['owner', 'persist'].some(flag => hasFlag(before, flag) !== hasFlag(after, flag))
  );
}

/** The fields that identify a table. */
export const keyOf = ({ family, name }: Table) => ({ family, name });

/** The object without the fields that only the kernel sets. */
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

/** Whether elements of one set can be those of the other. */
function sameShape({ form: a }: SetModel, { form: b }: SetModel): boolean {
  const shape = ({ flags = [], ...form }: SetModel['form']) => [
    ...SHAPE.map(field => form[field]),
    flags.filter(flag => SHAPE_FLAGS.includes(flag as string)).sort(),
  ];
  return textOf(shape(a)) === textOf(shape(b));
}

const SHAPE = ['keyType', 'keyLength', 'dataType', 'objectType', 'dataInterval'] as const;
const SHAPE_FLAGS = ['interval', 'concatenation', 'map', 'object'];

function withoutTimeout(element: ElementModel): ElementModel {
  const { value } = element;
  if (typeof value !== 'object' || !('key' in value)) return element;
  const { timeoutMilliseconds: _, expirationMilliseconds: __, ...rest } = value;
  return { ...element, value: rest };
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

/** The fields that decide how a set's elements are written. */
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
  if (ids.size === 0 && chains.size === 0) return expression;
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
