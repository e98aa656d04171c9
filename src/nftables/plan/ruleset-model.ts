import { elsewhere, type Path, rangeError, typeError } from '../../errors.ts';
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
import type { SetEntry } from '../read/listing.ts';
import type { NewMap } from '../write/new-objects.ts';
import { hooksOf } from './chain-order.ts';
import { type Fields, kernelForm, textOf } from './content.ts';
import { at, checkDesired, type DesiredRuleset, twice } from './desired.ts';
import {
  type ChainModel,
  type FlowtableModel,
  type Given,
  type ModelOptions,
  type ObjectModel,
  type RuleModel,
  type TableModel,
  tableKey,
} from './model.ts';
import { FED_SIZE, type SetModel, setModel } from './set-model.ts';

/* That what is named is there: the kernel would say so by a number of the plan, which the caller has not written. */

type Kind = 'chain' | 'set' | 'object' | 'flowtable';
export type Names = Readonly<Record<`${Kind}s`, { has(name: string): boolean }>>;

/** @throws RangeError with the place in the rule */
export function checkRule(model: RuleModel, names: Names): void {
  for (const rules of model.chains.values()) for (const rule of rules) checkRule(rule, names);
  for (const use of model.uses) {
    const space = use.indexOf(' ');
    const kind = use.slice(0, space) as Kind;
    const key = use.slice(space + 1);
    if (names[`${kind}s`].has(key)) continue;
    // An object's key begins with its type.
    const name = kind === 'object' ? key.slice(key.indexOf(' ') + 1) : key;
    throw unknownName([...model.path, ...placeInRule(model, kind, name)], kind, name);
  }
}

/** @throws RangeError with the place in the set */
export function checkElements({ elements, form, given, path }: SetModel, names: Names): void {
  for (const { chain, object } of elements?.values() ?? []) {
    const isObject = form.objectType !== undefined && object !== undefined;
    const missing = isObject
      ? !names.objects.has(`${form.objectType} ${object}`)
      : chain !== undefined && !names.chains.has(chain);
    if (!missing) continue;
    const name = isObject ? object : chain!;
    const place = path.length === 0 ? [] : ['elements', ...(placeIn(given, isNamed(name)) ?? [])];
    throw unknownName([...path, ...place], isObject ? 'object' : 'chain', name);
  }
}

const unknownName = (path: Path, kind: Kind, name: string): RangeError =>
  rangeError(path, `the name of one of \`${kind}s\` in this table`, name, CODES[kind]);

const CODES: Readonly<Record<Kind, string>> = {
  chain: 'ERR_UNKNOWN_CHAIN',
  set: 'ERR_UNKNOWN_SET',
  object: 'ERR_UNKNOWN_OBJECT',
  flowtable: 'ERR_UNKNOWN_FLOWTABLE',
};

type Test = (value: unknown, key: string | number) => boolean;

function placeInRule({ rule }: RuleModel, kind: Kind, name: string): Path {
  const { statements, expressions } = rule as { statements?: unknown; expressions?: unknown };
  const list = statements !== undefined ? 'statements' : 'expressions';
  return [list, ...(placeIn(statements ?? expressions, TESTS[kind](name)) ?? [])];
}

const isNamed =
  (name: string): Test =>
  (value, key) =>
    value === name && (key === 'chain' || key === 'object' || key === 'data' || key === 'name');

/** By kind: what a place looks like that names one. In nft's JSON, sets have an @ before their names. */
const TESTS: Readonly<Record<Kind, (name: string) => Test>> = {
  chain: name => (value, key) => value === name && (key === 'target' || key === 'chain'),
  set: name => (value, key) => value === `@${name}` || (value === name && key === 'set'),
  flowtable: name => (value, key) => value === name || (value === `@${name}` && key === 'flowtable'),
  object: name => (value, key) => value === name && key !== 'prefix' && key !== 'comment',
};

/** The first place inside a value that passes. */
function placeIn(value: unknown, test: Test, key: string | number = ''): Path | undefined {
  if (test(value, key)) return [];
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [inner, item] of entries as Iterable<[string | number, unknown]>) {
    const place = placeIn(item, test, inner);
    if (place !== undefined) return [inner, ...place];
  }
  return undefined;
}

/**
 * Tables by their family and name.
 * @throws TypeError, RangeError with the path of an object that is malformed, given twice, or refers to one that is missing
 */
export function modelOf(ruleset: DesiredRuleset, options: ModelOptions = {}): Map<string, TableModel> {
  if (options.isThere !== true) checkDesired(ruleset);
  const models = new Map<string, TableModel>();
  const known = new Set(ruleset.tables.map(tableKey));
  const inTable = <T extends { family: Family; table: string }>(kind: string, list: readonly T[] = []) => {
    const groups = new Map<string, Given<T>[]>();
    for (const [index, whole] of list.entries()) {
      const key = tableKey({ family: whole.family, name: whole.table });
      if (!known.has(key)) throw typeError([kind, index, 'table'], 'one of `tables`', whole.table);
      const object = options.scope === undefined ? whole : options.scope.within(kind, whole);
      if (object === undefined) continue;
      const group = groups.get(key);
      if (group !== undefined) group.push({ object, index });
      else groups.set(key, [{ object, index }]);
    }
    return (key: string) => groups.get(key) ?? [];
  };
  const chains = inTable('chains', ruleset.chains);
  const sets = inTable('sets', ruleset.sets);
  const rules = inTable('rules', ruleset.rules as readonly (RuleEntry | (Rule & { chain: string }))[] | undefined);
  const objects = inTable('objects', ruleset.objects);
  const flowtables = inTable('flowtables', ruleset.flowtables);
  for (const [index, table] of ruleset.tables.entries()) {
    const key = tableKey(table);
    if (models.has(key)) throw twice(['tables', index, 'name'], table.name);
    if (options.scope?.hasTable(key) === false) continue;
    const contents = {
      chains: chains(key),
      sets: sets(key),
      rules: rules(key),
      objects: objects(key),
      flowtables: flowtables(key),
    };
    models.set(key, new TableReader(contents, options).model(table, ['tables', index]));
  }
  return models;
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

  constructor(contents: TableContents, options: ModelOptions) {
    this.#contents = contents;
    this.#options = options;
    for (const { object, index } of contents.sets) {
      const path = ['sets', index];
      if (this.#sets.has(object.name)) throw twice([...path, 'name'], object.name);
      this.#sets.set(
        object.name,
        at(path, () => setModel(object, path, options)),
      );
    }
    for (const { object } of contents.chains) if (object.flags?.includes('binding')) this.#bound.add(object.name!);
    for (const given of contents.rules) {
      const name = given.object.chain as string;
      const list = this.#rules.get(name);
      if (list === undefined) this.#rules.set(name, [given]);
      else list.push(given);
    }
  }

  model(table: Table, path: Path): TableModel {
    const chains = this.#chains();
    for (const [name, [first]] of this.#rules) {
      if (!chains.has(name) && !this.#bound.has(name))
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
    if (this.#options.isThere !== true) this.#checkReferences(model);
    return model;
  }

  #chains(): Map<string, ChainModel> {
    const chains = new Map<string, ChainModel>();
    const names = new Set<unknown>();
    for (const { object, index } of this.#contents.chains) {
      const path = ['chains', index];
      if (names.has(object.name)) throw twice([...path, 'name'], object.name);
      names.add(object.name);
      if (this.#bound.has(object.name!)) continue;
      const model = at(path, () => chainModel(object));
      chains.set(object.name!, { ...model, rules: this.#rulesOf(object.name!), path });
    }
    return chains;
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

  #checkReferences({ chains, sets, objects, flowtables }: TableModel): void {
    const names: Names = { chains, sets, objects, flowtables };
    for (const { rules } of chains.values()) for (const rule of rules) checkRule(rule, names);
    for (const set of sets.values()) checkElements(set, names);
  }

  #rulesOf(chain: string): RuleModel[] {
    return (this.#rules.get(chain) ?? []).map(({ object, index }) => {
      const path = ['rules', index];
      return at(path, () => this.#rule(object, path));
    });
  }

  #rule(rule: Rule | RuleEntry, path: Path): RuleModel {
    let own: readonly CompiledSet[] = [];
    let { expressions } = rule;
    let origin: RuleModel['origin'];
    const { statements } = rule as Rule;
    if (statements !== undefined) {
      if (expressions !== undefined) throw typeError(['expressions'], 'either statements or expressions', expressions);
      const { interfaces } = this.#options;
      const compiled = compileRule(rule as never, {
        sets: name => this.#sets.get(name)?.form,
        table: rule.table,
        ...(interfaces !== undefined && { interfaces }),
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
    const { expressions: read = [], ...rest } = kernelForm('newrule', written) as Fields & {
      expressions?: Expression[];
    };
    const sets = this.#ownSets(rule, own);
    const named = read.map(expression => byName(expression, sets));
    const chains = new Map<string, readonly RuleModel[]>();
    const uses = new Set<string>();
    const content = named.map(expression => this.#resolved(expressionContent(expression), sets, chains, uses));
    return {
      content: textOf([content, { ...contentOf(ruleTable, rest), chain: undefined, table: undefined }]),
      rule,
      expressions: named,
      origin,
      handle: 'handle' in rule ? rule.handle : undefined,
      sets,
      chains,
      uses,
      path,
    };
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
  #resolved(
    expression: Fields,
    sets: Map<string | number, SetModel>,
    chains: Map<string, readonly RuleModel[]>,
    uses: Set<string>,
  ): unknown {
    const [name, value] = Object.entries(expression)[0] as [string, Fields];
    const { set, setId, data, type } = value;
    if (value.timeoutMilliseconds !== undefined && this.#options.timeouts !== undefined)
      value.timeoutMilliseconds = this.#options.timeouts(value.timeoutMilliseconds as bigint);
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
      if (name === 'dynset') this.#fed.add(set);
      uses.add(`set ${set}`);
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

function chainModel(chain: Chain): Omit<ChainModel, 'rules' | 'path'> {
  const form = kernelForm('newchain', chain) as Fields & Partial<Chain>;
  const { policy, device, devices, flags = [], ...rest } = form;
  const isBase = form.hook !== undefined;
  const content = textOf({
    ...contentOf(chainTable, rest),
    type: isBase ? (form.type ?? 'filter') : form.type,
    devices: [...(devices ?? (device === undefined ? [] : [device]))].sort(),
    flags: flags.filter(flag => flag !== 'base'),
  });
  const hooks = isBase ? hooksOf({ ...form, family: chain.family } as Chain) : [];
  return { chain, content, policy: policy ?? 'accept', hooks };
}
