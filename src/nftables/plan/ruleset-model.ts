import { elsewhere, type Path, typeError } from '../../errors.ts';
import type { EventLoopBudget, Operation } from '../../netlink/index.ts';
import { runNow } from '../../netlink/operation.ts';
import { type Chain, chainTable } from '../../nf_tables/chain.ts';
import { contentOf, expressionContent } from '../../nf_tables/content.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { type Flowtable, flowtableTable } from '../../nf_tables/flowtable.ts';
import { type NftObject, objectTable } from '../../nf_tables/object.ts';
import { type RuleEntry, ruleTable } from '../../nf_tables/rule.ts';
import type { Table } from '../../nf_tables/table.ts';
import { type CompiledSet, compileRule } from '../../nft/compile/compile.ts';
import type { Rule } from '../../nft/rule.ts';
import { withReadableTypeof } from '../../nft/typeof.ts';
import type { Interfaces } from '../interfaces.ts';
import type { SetEntry } from '../read/listing.ts';
import type { NewMap } from '../write/new-objects.ts';
import { hooksOf } from './chain-order.ts';
import { type Fields, kernelForm, textOf } from './content.ts';
import { at, checkDesired, type DesiredRuleset, type Given, type ModelScope, twice } from './desired.ts';
import {
  type ChainModel,
  type FlowtableModel,
  type ObjectModel,
  type RuleModel,
  type TableModel,
  tableKey,
} from './model.ts';
import type { ChainFacts, ModelMemory, RuleFacts, TableMemory } from './model-memory.ts';
import { FED_SIZE, hasTimeouts, type SetModel, setModel } from './set-model.ts';
import type { Timeouts } from './timeouts.ts';
import { checkElements, checkRule, type Names } from './unknown-names.ts';

export interface ModelOptions {
  interfaces?: Interfaces['interfaces'] | undefined;
  timeouts?: Timeouts | undefined;
  /** It was read: nothing in it is to be refused. */
  isThere?: boolean;
  /** All objects are as the codec has decoded them: they have the form that the kernel gives them. */
  isDecoded?: boolean;
  /** What was found out of the same objects before. */
  memory?: ModelMemory | undefined;
  /** Taken between parts; default: it is done in one go. */
  budget?: EventLoopBudget | undefined;
  /** Only this part of the ruleset becomes a model. */
  scope?: ModelScope | undefined;
}

/**
 * Tables by their family and name.
 * @throws TypeError, RangeError with the path of an object that is malformed, given twice, or refers to one that is missing
 */
export function modelOf(ruleset: DesiredRuleset, options: ModelOptions = {}): Map<string, TableModel> {
  if (options.isThere !== true) checkDesired(ruleset);
  return runNow(modelInParts(ruleset, options));
}

/** The same of a ruleset that `checkDesired` has passed, or that was read. The event loop may run between its parts. */
export function* modelInParts(ruleset: DesiredRuleset, options: ModelOptions): Operation<Map<string, TableModel>> {
  const models = new Map<string, TableModel>();
  const known = new Set(ruleset.tables.map(tableKey));
  const chains = inTables('chains', ruleset.chains, known, options);
  const sets = inTables('sets', ruleset.sets, known, options);
  const all = ruleset.rules as readonly (RuleEntry | (Rule & { chain: string }))[] | undefined;
  const rules = inTables('rules', all, known, options);
  const objects = inTables('objects', ruleset.objects, known, options);
  const flowtables = inTables('flowtables', ruleset.flowtables, known, options);
  const rest = options.budget?.measured;
  for (const [index, table] of ruleset.tables.entries()) {
    if (rest !== undefined) yield rest;
    const key = tableKey(table);
    if (models.has(key)) throw twice(['tables', index, 'name'], table.name);
    if (options.scope?.hasTable(key) === false) continue;
    const contents = {
      chains: chains.get(key) ?? [],
      sets: sets.get(key) ?? [],
      rules: rules.get(key) ?? [],
      objects: objects.get(key) ?? [],
      flowtables: flowtables.get(key) ?? [],
    };
    const reader = new TableReader(contents, options, options.memory?.table(key));
    models.set(key, yield* reader.model(table, ['tables', index]));
  }
  options.memory?.end();
  return models;
}

/** The objects of a list by their tables. */
function inTables<T extends { family: Family; table: string; name?: unknown }>(
  kind: string,
  list: readonly T[] | undefined,
  known: ReadonlySet<string>,
  { scope }: ModelOptions,
): Map<string, Given<T>[]> {
  const groups = new Map<string, Given<T>[]>();
  if (list === undefined) return groups;
  let group: Given<T>[] = [];
  let last: T | undefined;
  const given: Iterable<Given<T>> = scope?.given(kind, list) ?? list.map((object, index) => ({ object, index }));
  for (const each of given) {
    const { object, index } = each;
    // Most stand behind another one of their table.
    if (last === undefined || object.table !== last.table || object.family !== last.family) {
      const key = tableKey({ family: object.family, name: object.table });
      if (!known.has(key)) throw typeError([kind, index, 'table'], 'one of `tables`', object.table);
      group = groups.get(key) ?? [];
      groups.set(key, group);
      last = object;
    }
    group.push(each);
  }
  return groups;
}

interface TableContents {
  readonly chains: readonly Given<Chain>[];
  readonly sets: readonly Given<NewMap | SetEntry>[];
  readonly rules: readonly Given<Rule | RuleEntry>[];
  readonly objects: readonly Given<NftObject>[];
  readonly flowtables: readonly Given<Flowtable>[];
}

/** Makes the model of one table: rules with the sets and chains that are theirs. */
class TableReader {
  readonly #contents: TableContents;
  readonly #options: ModelOptions;
  readonly #sets = new Map<string, SetModel>();
  /** Chains of rules' own. */
  readonly #bound = new Set<string>();
  /** Sets that rules add to. */
  readonly #fed = new Set<unknown>();
  readonly #rules = new Map<string, Given<Rule | RuleEntry>[]>();
  readonly #memory: TableMemory | undefined;
  readonly #keyOf: NonNullable<ModelOptions['memory']>['keyOf'];

  constructor(contents: TableContents, options: ModelOptions, memory: TableMemory | undefined) {
    this.#contents = contents;
    this.#options = options;
    this.#memory = memory;
    this.#keyOf = (object, leftOut) => options.memory?.keyOf(object, leftOut);
    for (const { object } of contents.chains) if (object.flags?.includes('binding')) this.#bound.add(object.name!);
    for (const given of contents.rules) {
      const name = given.object.chain as string;
      const list = this.#rules.get(name);
      if (list === undefined) this.#rules.set(name, [given]);
      else list.push(given);
    }
  }

  *model(table: Table, path: Path): Operation<TableModel> {
    yield* this.#readSets();
    const { chains, names } = yield* this.#chains();
    for (const [name, [first]] of this.#rules) {
      if (!names.has(name))
        throw typeError(['rules', first!.index, 'chain'], 'one of `chains`', name, 'ERR_UNKNOWN_CHAIN');
    }
    const named = [...this.#sets]
      .filter(([, { anonymous }]) => !anonymous)
      .map(([name, model]) => [name, { ...model, fed: this.#fed.has(name) }] as const);
    const model: TableModel = {
      table,
      chains,
      sets: new Map(named),
      objects: this.#objects(),
      flowtables: this.#flowtables(),
      path,
    };
    const { scope } = this.#options;
    const key = tableKey(table);
    if (scope !== undefined)
      model.names = { chains: { has: name => scope.hasChain(key, name) }, objects: model.objects };
    const rest = this.#options.budget?.measured;
    if (rest !== undefined) yield rest;
    if (this.#options.isThere !== true) this.#checkReferences(model);
    return model;
  }

  *#readSets(): Operation<void> {
    for (const { object, index } of this.#contents.sets) {
      const path = ['sets', index];
      if (this.#sets.has(object.name)) throw twice([...path, 'name'], object.name);
      this.#sets.set(
        object.name,
        at(path, () => this.#setModel(object, path)),
      );
      const { budget } = this.#options;
      if (budget !== undefined) yield object.elements === undefined ? budget : budget.measured;
    }
  }

  #setModel(object: NewMap | SetEntry, path: Path): SetModel {
    const memory = this.#memory?.sets;
    const key = memory && this.#keyOf(object, []);
    const known = key === undefined ? undefined : memory!.get(key);
    if (known !== undefined) {
      memory!.set(key, known);
      const { elements: given, leadingEnd: _, handle: __, ...set } = object as NewMap;
      return { ...known, set: set as NewMap, given, path };
    }
    const model = setModel(object, path, this.#options);
    // Which timeouts are one depends on all of a plan.
    if (key !== undefined && !hasTimeouts(model)) memory!.set(key, model);
    return model;
  }

  /** The chains, and the names of all: also of those that are rules' own. */
  *#chains(): Operation<{ chains: Map<string, ChainModel>; names: Set<string> }> {
    const chains = new Map<string, ChainModel>();
    const names = new Set<string>();
    const { budget } = this.#options;
    let steps = 0;
    for (const { object, index } of this.#contents.chains) {
      const path = ['chains', index];
      const name = object.name!;
      if (names.has(name)) throw twice([...path, 'name'], name);
      names.add(name);
      if (this.#bound.has(name)) continue;
      const { content, policy, hooks } = at(path, () => this.#chainFacts(object));
      const rules: RuleModel[] = [];
      for (const rule of this.#rules.get(name) ?? []) {
        rules.push(this.#ruleModel(rule));
        if (budget !== undefined && ++steps % STEPS_IN_A_ROW === 0) yield budget;
      }
      chains.set(name, { chain: object, content, policy, hooks, rules, path });
      if (budget !== undefined && ++steps % STEPS_IN_A_ROW === 0) yield budget;
    }
    return { chains, names };
  }

  #chainFacts(chain: Chain): ChainFacts {
    const memory = this.#memory?.chains;
    const key = memory && this.#keyOf(chain, TOLD_OF_CHAIN);
    const known = key === undefined ? undefined : memory!.get(key);
    const facts = known ?? chainFacts(chain, this.#options);
    if (key !== undefined) memory!.set(key, facts);
    return facts;
  }

  #objects(): Map<string, ObjectModel> {
    const objects = new Map<string, ObjectModel>();
    for (const { object, index } of this.#contents.objects) {
      const path = ['objects', index];
      const key = `${object.type} ${object.name}`;
      if (objects.has(key)) throw twice([...path, 'name'], object.name);
      objects.set(key, { ...at(path, () => objectModel(object)), path });
    }
    return objects;
  }

  #flowtables(): Map<string, FlowtableModel> {
    const flowtables = new Map<string, FlowtableModel>();
    for (const { object, index } of this.#contents.flowtables) {
      const path = ['flowtables', index];
      if (flowtables.has(object.name)) throw twice([...path, 'name'], object.name);
      const content = at(path, () => {
        const { devices = [], ...rest } = kernelForm('newflowtable', object) as Fields & { devices?: string[] };
        return textOf({ ...contentOf(flowtableTable, rest), devices: [...devices].sort() });
      });
      flowtables.set(object.name, { flowtable: object, content, path });
    }
    return flowtables;
  }

  #checkReferences({ chains, sets, objects, flowtables, names: all }: TableModel): void {
    const names: Names = { chains: all?.chains ?? chains, sets, objects, flowtables };
    for (const { rules } of chains.values()) for (const rule of rules) checkRule(rule, names);
    for (const set of sets.values()) checkElements(set, names);
  }

  #rulesOf(chain: string): RuleModel[] {
    return (this.#rules.get(chain) ?? []).map(given => this.#ruleModel(given));
  }

  #ruleModel({ object: rule, index }: Given<Rule | RuleEntry>): RuleModel {
    const path = ['rules', index];
    const { content, expressions, origin, sets, chains, uses, feeds } = at(path, () => this.#ruleFacts(rule));
    for (const set of feeds) this.#fed.add(set);
    const handle = 'handle' in rule ? rule.handle : undefined;
    return { content, rule, expressions, origin, handle, sets, chains, uses, path };
  }

  #ruleFacts(rule: Rule | RuleEntry): RuleFacts {
    const memory = this.#memory?.rules;
    const key = memory && this.#keyOf(rule, NOT_OF_RULE);
    const known = key === undefined ? undefined : memory!.get(key);
    if (known !== undefined && this.#stillHolds(known)) {
      memory!.set(key, known);
      return known;
    }
    const { facts, holdsFor } = this.#factsOf(rule);
    if (key !== undefined && holdsFor === 'good') memory!.set(key, facts);
    return facts;
  }

  /** Whether what was found out of a rule is true of this ruleset: the sets that it refers to are the same. */
  #stillHolds({ sets, named, compiledWith, uses }: RuleFacts): boolean {
    if (sets.size > 0)
      for (const [name, model] of sets) {
        const now = typeof name === 'string' ? this.#sets.get(name) : model;
        if (now?.form !== model.form || now.elements !== model.elements) return false;
      }
    if (named.size > 0) for (const name of named) if (this.#sets.get(name)?.anonymous) return false;
    if (compiledWith.size > 0)
      for (const [name, form] of compiledWith) if (this.#sets.get(name)?.form !== form) return false;
    if (this.#bound.size > 0) for (const use of uses) if (use.startsWith('chain ')) return false;
    return true;
  }

  #factsOf(rule: Rule | RuleEntry): { facts: RuleFacts; holdsFor: 'good' | 'now' } {
    let own: readonly CompiledSet[] = [];
    let { expressions } = rule;
    let origin: RuleModel['origin'];
    let holdsFor: 'good' | 'now' = 'good';
    const compiledWith = new Map<string, SetModel['form'] | undefined>();
    const { statements } = rule as Rule;
    if (statements !== undefined) {
      if (expressions !== undefined) throw typeError(['expressions'], 'either statements or expressions', expressions);
      const { interfaces } = this.#options;
      const compiled = compileRule(rule as never, {
        sets: name => {
          const form = this.#sets.get(name)?.form;
          compiledWith.set(name, form);
          return form;
        },
        table: rule.table,
        ...(interfaces !== undefined && {
          interfaces: (name: string) => {
            holdsFor = 'now';
            return interfaces(name);
          },
        }),
      });
      ({ expressions, origin } = compiled);
      own = compiled.sets ?? [];
    } else if (!Array.isArray(expressions)) {
      const code = expressions === undefined ? 'ERR_MISSING' : undefined;
      throw typeError(['expressions'], 'an array of expressions (or statements)', expressions, code);
    }
    const { family, table, comment } = rule;
    const { ebtablesPolicy, unknown } = rule as Rule;
    const written = { family, table, chain: 'c', expressions, comment, ebtablesPolicy, unknown };
    const form = this.#options.isDecoded ? written : kernelForm('newrule', written);
    const { expressions: read = [], ...rest } = form as Fields & { expressions?: Expression[] };
    const sets = this.#ownSets(rule, own);
    const named = read.map(expression => byName(expression, sets));
    const found: References = { sets, chains: new Map(), uses: new Set(), feeds: [], named: new Set() };
    const content = named.map(expression => this.#resolved(expressionContent(expression), found));
    // A meter becomes a set of the table. Which timeouts are one depends on all of a plan.
    const isOfNow = own.some(({ set }) => !sets.get(set.id)?.anonymous || hasTimeouts(sets.get(set.id)!));
    if (found.chains.size > 0 || found.hasTimeout || isOfNow) holdsFor = 'now';
    const facts: RuleFacts = {
      content: textOf([content, { ...contentOf(ruleTable, rest), chain: undefined, table: undefined }]),
      expressions: named,
      origin,
      sets,
      chains: found.chains,
      uses: found.uses,
      feeds: found.feeds,
      named: found.named,
      compiledWith,
    };
    return { facts, holdsFor };
  }

  /** The sets that the statements of a rule have made. A meter has a name: it becomes one of the table's. */
  #ownSets({ family, table }: Rule | RuleEntry, own: readonly CompiledSet[]): Map<string | number, SetModel> {
    const sets = new Map<string | number, SetModel>();
    for (const { set, elements } of own) {
      const wire = elements.map(element => ({ wire: element }));
      const { id, ...rest } = withReadableTypeof(set);
      const given = { ...rest, family, table, ...(wire.length > 0 && { elements: wire }) } as NewMap;
      let model: SetModel;
      try {
        model = setModel(given, [], { ...this.#options, isOwn: true });
      } catch (error) {
        throw elsewhere(error, () => ['statements']);
      }
      sets.set(id, model);
      if (!model.anonymous) this.#sets.set(model.set.name, model);
    }
    return sets;
  }

  /** The expression with the content of the rule's own sets and chains in place of their names. */
  #resolved(expression: Fields, found: References): unknown {
    const { sets, chains, uses } = found;
    const [name, value] = Object.entries(expression)[0] as [string, Fields];
    const { set, setId, data, type } = value;
    if (value.timeoutMilliseconds !== undefined && this.#options.timeouts !== undefined) {
      value.timeoutMilliseconds = this.#options.timeouts(value.timeoutMilliseconds as bigint);
      found.hasTimeout = true;
    }
    if (setId !== undefined || typeof set === 'string') {
      const key = (setId ?? set) as string | number;
      const model = sets.get(key) ?? (typeof set === 'string' ? this.#sets.get(set) : undefined);
      if (model?.anonymous) {
        sets.set(key, model);
        for (const element of model.elements?.values() ?? []) addUses(element, model, uses);
        const members = [...(model.elements?.values() ?? [])].map(element => element.content).sort();
        // Of a set that never changes, its size is nothing but a hint.
        const size = name === 'dynset' ? (model.size ?? FED_SIZE) : undefined;
        return { [name]: { ...value, set: [model.content, size, members], setId: undefined } };
      }
      if (name === 'dynset') found.feeds.push(set);
      uses.add(`set ${set}`);
      found.named.add(String(set));
      delete value.setId;
    }
    if (name === 'objref' && value.name !== undefined) uses.add(`object ${type} ${value.name}`);
    if (name === 'flow_offload') uses.add(`flowtable ${value.flowtable}`);
    const chain = typeof data === 'object' && data !== null ? (data as { chain?: string }).chain : undefined;
    if (chain === undefined) return expression;
    if (!this.#bound.has(chain)) {
      uses.add(`chain ${chain}`);
      return expression;
    }
    const rules = this.#rulesOf(chain);
    chains.set(chain, rules);
    for (const rule of rules) for (const use of rule.uses) uses.add(use);
    return { [name]: { ...value, data: { ...(data as object), chain: rules.map(rule => rule.content) } } };
  }
}

/** The things that the expressions of a rule refer to. */
interface References {
  readonly sets: Map<string | number, SetModel>;
  readonly chains: Map<string, readonly RuleModel[]>;
  readonly uses: Set<string>;
  readonly feeds: unknown[];
  readonly named: Set<string>;
  hasTimeout?: boolean;
}

const TOLD_OF_CHAIN = ['handle', 'use', 'counters'];
/** Where a rule stands. */
const NOT_OF_RULE = ['family', 'table', 'chain', 'handle', 'previousHandle', 'compat'];
/** The rules or chains between two looks at the clock. */
const STEPS_IN_A_ROW = 8;

/** Adds the chains and objects that an element of a rule's own map leads to. */
function addUses(
  { chain, object }: { chain: string | undefined; object: string | undefined },
  { form }: SetModel,
  uses: Set<string>,
): void {
  if (chain !== undefined) uses.add(`chain ${chain}`);
  if (form.objectType !== undefined && object !== undefined) uses.add(`object ${form.objectType} ${object}`);
}

/** The expression with the name of a set that has one, in place of its number in the compiled rule. */
function byName(expression: Expression, sets: ReadonlyMap<string | number, SetModel>): Expression {
  const [name, value] = Object.entries(expression)[0] as [string, Fields];
  const model = typeof value?.setId === 'number' ? sets.get(value.setId) : undefined;
  if (model === undefined || model.anonymous) return expression;
  const { setId: _, ...rest } = value;
  return { [name]: { ...rest, set: model.set.name } } as unknown as Expression;
}

function objectModel(object: NftObject): Omit<ObjectModel, 'path'> {
  const { data = {}, ...rest } = contentOf(objectTable, kernelForm('newobj', object)) as Fields & { data?: Fields };
  const { stateSeconds, ...said } = data as Fields & { stateSeconds?: Fields };
  const states = new Map(Object.entries(stateSeconds ?? {}));
  return { object, content: textOf({ ...rest, data: said }), states };
}

function chainFacts(chain: Chain, { isDecoded }: ModelOptions): ChainFacts {
  const form = (isDecoded ? chain : kernelForm('newchain', chain)) as Fields & Partial<Chain>;
  const { policy, device, devices, flags = [], ...rest } = form;
  const isBase = form.hook !== undefined;
  const content = textOf({
    ...contentOf(chainTable, rest),
    type: isBase ? (form.type ?? 'filter') : form.type,
    devices: [...(devices ?? (device === undefined ? [] : [device]))].sort(),
    flags: flags.filter(flag => flag !== 'base'),
  });
  const hooks = isBase ? hooksOf({ ...form, family: chain.family } as Chain) : [];
  return { content, policy: policy ?? 'accept', hooks };
}
