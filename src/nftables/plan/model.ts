import { typeError, within } from '../../errors.ts';
import type { Chain } from '../chain.ts';
import type { WireElement } from '../element.ts';
import { type ElementValue, elementValues, wireElements } from '../element-values.ts';
import type { Expression } from '../expression.ts';
import type { Family } from '../family.ts';
import type { Flowtable } from '../flowtable.ts';
import type { Interfaces } from '../interfaces.ts';
import { type CompiledSet, compileRule } from '../language/compile/compile.ts';
import { withReadableTypeof } from '../language/compile/typeof.ts';
import { VERDICT_DATA_TYPE } from '../language/tables/datatypes.ts';
import type { SetEntry } from '../listing.ts';
import { decodeMessage, encodeMessage, type MessageName } from '../message.ts';
import type { NewMap } from '../new-objects.ts';
import type { NftObject } from '../object.ts';
import type { Rule, RuleEntry } from '../rule.ts';
import type { NftSet } from '../set.ts';
import { type ElementShape, shapeOf } from '../set-types.ts';
import type { Table } from '../table.ts';
import { wireSet } from '../wire-set.ts';
import { contentOf, type Fields, normal, normalExpressions, textOf } from './content.ts';

/**
 * What there should be. Each object is written as for a transaction, or as it was read: what `ruleset({ elements: true })` gives can be kept and
 * wanted again. Sets without `elements` keep those that they have.
 */
export interface DesiredRuleset {
  tables: readonly Table[];
  chains?: readonly Chain[];
  /** A set that was read has a `handle`: its elements are then in the kernel's form. */
  sets?: readonly (NewMap | SetEntry)[];
  /** In their order within each chain. */
  rules?: readonly (Rule | RuleEntry)[];
  objects?: readonly NftObject[];
  flowtables?: readonly Flowtable[];
}

/** One element, by its key. */
export interface ElementModel {
  readonly content: string;
  readonly value: ElementValue;
  /** The chain or object that its value is. */
  readonly chain: string | undefined;
  readonly object: string | undefined;
}

export interface SetModel {
  /** Without its size: see `sameSet`. */
  readonly content: string;
  readonly size: number | undefined;
  /** A rule of the table adds to it. */
  readonly fed: boolean;
  readonly set: NewMap;
  /** As the kernel would give it back. */
  readonly form: NftSet;
  readonly isMap: boolean;
  readonly anonymous: boolean;
  /** By key; undefined where nothing is said of them. */
  readonly elements: ReadonlyMap<string, ElementModel> | undefined;
  readonly leadingEnd: boolean;
}

export interface RuleModel {
  readonly content: string;
  readonly rule: Rule | RuleEntry;
  readonly expressions: readonly Expression[];
  readonly handle: bigint | undefined;
  /** Sets and chains of its own, by the name or number that its expressions have for them. */
  readonly sets: ReadonlyMap<string | number, SetModel>;
  readonly chains: ReadonlyMap<string, readonly RuleModel[]>;
  /** What it names: 'chain web', 'set blocked', 'object counter hits', 'flowtable f'. */
  readonly uses: ReadonlySet<string>;
}

export interface ChainModel {
  readonly chain: Chain;
  /** Without its policy, which can be changed. */
  readonly content: string;
  readonly policy: unknown;
  readonly rules: readonly RuleModel[];
}

export interface TableModel {
  readonly table: Table;
  readonly chains: ReadonlyMap<string, ChainModel>;
  /** Those with a name. */
  readonly sets: ReadonlyMap<string, SetModel>;
  readonly objects: ReadonlyMap<string, { object: NftObject; content: string }>;
  readonly flowtables: ReadonlyMap<string, { flowtable: Flowtable; content: string }>;
}

/** What the kernel gives a set without a size as soon as a rule adds to it (net/netfilter/nft_dynset.c). */
export const FED_SIZE = 0xffff;

/** Whether a set that is there can stay for one that is wanted. */
export function sameSet(there: SetModel, wanted: SetModel): boolean {
  if (there.content !== wanted.content) return false;
  return there.size === wanted.size || (wanted.size === undefined && wanted.fed && there.size === FED_SIZE);
}

export const tableKey = ({ family, name }: { family: string; name: string }): string => `${family} ${name}`;

/** Tables by their family and name. */
export function modelOf(ruleset: DesiredRuleset, interfaces?: Interfaces['interfaces']): Map<string, TableModel> {
  const models = new Map<string, TableModel>();
  const inTable = <T extends { family: Family; table: string }>(kind: string, list: readonly T[] = []) => {
    const groups = new Map<string, { object: T; index: number }[]>();
    for (const [index, object] of list.entries()) {
      const key = tableKey({ family: object.family, name: object.table });
      const group = groups.get(key);
      if (group !== undefined) group.push({ object, index });
      else groups.set(key, [{ object, index }]);
    }
    for (const [key, [first]] of groups) {
      if (!ruleset.tables.some(table => tableKey(table) === key))
        throw typeError([kind, first!.index, 'table'], 'one of `tables`', first!.object.table);
    }
    return (key: string) => groups.get(key) ?? [];
  };
  const chains = inTable('chains', ruleset.chains);
  const sets = inTable('sets', ruleset.sets as readonly (NewMap & { family: Family })[] | undefined);
  const rules = inTable('rules', ruleset.rules as readonly (RuleEntry | (Rule & { chain: string }))[] | undefined);
  const objects = inTable('objects', ruleset.objects);
  const flowtables = inTable('flowtables', ruleset.flowtables);
  for (const [index, table] of ruleset.tables.entries()) {
    const key = tableKey(table);
    if (models.has(key)) throw typeError(['tables', index, 'name'], 'each table once', table.name);
    models.set(
      key,
      new TableReader(sets(key), chains(key), rules(key), interfaces).model(table, objects(key), flowtables(key)),
    );
  }
  return models;
}

interface Given<T> {
  object: T;
  index: number;
}

/** Makes the model of one table: rules with the sets and chains that are theirs. */
class TableReader {
  readonly #sets = new Map<string, SetModel>();
  readonly #chains: readonly Given<Chain>[];
  readonly #bound = new Set<string>();
  /** Sets that rules add to. */
  readonly #fed = new Set<unknown>();
  readonly #rules = new Map<string, Given<Rule | RuleEntry>[]>();

  readonly #interfaces: Interfaces['interfaces'] | undefined;

  constructor(
    sets: Given<NewMap>[],
    chains: Given<Chain>[],
    rules: Given<Rule | RuleEntry>[],
    interfaces?: Interfaces['interfaces'],
  ) {
    this.#interfaces = interfaces;
    for (const { object, index } of sets)
      this.#sets.set(
        object.name,
        at(['sets', index], () => setModel(object)),
      );
    this.#chains = chains;
    for (const { object } of chains) if (object.flags?.includes('binding')) this.#bound.add(object.name);
    for (const given of rules) {
      const name = given.object.chain as string;
      const list = this.#rules.get(name);
      if (list === undefined) this.#rules.set(name, [given]);
      else list.push(given);
    }
  }

  model(table: Table, objects: Given<NftObject>[], flowtables: Given<Flowtable>[]): TableModel {
    const chains = new Map<string, ChainModel>();
    for (const { object, index } of this.#chains) {
      if (this.#bound.has(object.name)) continue;
      chains.set(object.name, {
        ...at(['chains', index], () => chainContent(object)),
        rules: this.#rulesOf(object.name),
      });
    }
    for (const [name, [first]] of this.#rules) {
      if (!chains.has(name) && !this.#bound.has(name))
        throw typeError(['rules', first!.index, 'chain'], 'one of `chains`', name);
    }
    const objectModels = objects.map(({ object, index }) => {
      const content = at(['objects', index], () => {
        const { data, ...rest } = kernelForm('newobj', object) as Fields & { data?: unknown };
        return textOf({ ...contentOf(rest), data: normal(String(object.type), data) });
      });
      return [`${object.type} ${object.name}`, { object, content }] as const;
    });
    const flowtableModels = flowtables.map(({ object, index }) => {
      const content = at(['flowtables', index], () => {
        const { devices = [], ...rest } = kernelForm('newflowtable', object) as Fields & { devices?: string[] };
        return textOf({ ...contentOf(rest), devices: [...devices].sort() });
      });
      return [object.name, { flowtable: object, content }] as const;
    });
    const named = [...this.#sets]
      .filter(([, { anonymous }]) => !anonymous)
      .map(([name, model]) => [name, { ...model, fed: this.#fed.has(name) }] as const);
    return {
      table,
      chains,
      sets: new Map(named),
      objects: new Map(objectModels),
      flowtables: new Map(flowtableModels),
    };
  }

  #rulesOf(chain: string): RuleModel[] {
    return (this.#rules.get(chain) ?? []).map(({ object, index }) => at(['rules', index], () => this.#rule(object)));
  }

  #rule(rule: Rule | RuleEntry): RuleModel {
    let own: readonly CompiledSet[] = [];
    let { expressions } = rule;
    if (expressions === undefined) {
      const compiled = compileRule(rule as never, {
        sets: name => this.#sets.get(name)?.form,
        table: rule.table,
        ...(this.#interfaces !== undefined && { interfaces: this.#interfaces }),
      });
      expressions = compiled.expressions;
      own = compiled.sets ?? [];
    }
    const { family, table } = rule;
    const written = { table, chain: 'c', expressions, comment: rule.comment };
    const { object } = decodeMessage(encodeMessage({ type: 'newrule', family, object: written }));
    const { expressions: read = [], ...rest } = object as { expressions?: Expression[] } & Fields;
    const sets = new Map<string | number, SetModel>();
    for (const { set, elements } of own) {
      const wire = elements.map(element => ({ wire: element }));
      sets.set(set.id, setModel({ ...withReadableTypeof(set), family, table, elements: wire } as NewMap));
    }
    const chains = new Map<string, readonly RuleModel[]>();
    const uses = new Set<string>();
    const content = normalExpressions(read).map(expression => this.#resolved(expression, sets, chains, uses));
    return {
      content: textOf([content, contentOf(rest, 'chain', 'table')]),
      rule,
      expressions: read,
      handle: 'handle' in rule ? rule.handle : undefined,
      sets,
      chains,
      uses,
    };
  }

  /** The expression with what it refers to, where that is the rule's own, in place of a name. */
  #resolved(
    expression: Fields,
    sets: Map<string | number, SetModel>,
    chains: Map<string, readonly RuleModel[]>,
    uses: Set<string>,
  ): unknown {
    const [name, value] = Object.entries(expression)[0] as [string, Fields];
    const { set, setId, data, type } = value;
    if (setId !== undefined || typeof set === 'string') {
      const key = (setId ?? set) as string | number;
      const model = sets.get(key) ?? (typeof set === 'string' ? this.#sets.get(set) : undefined);
      if (model?.anonymous) {
        sets.set(key, model);
        const members = [...(model.elements?.values() ?? [])].map(element => element.content).sort();
        const size = model.size ?? (name === 'dynset' ? FED_SIZE : undefined);
        return { [name]: { ...value, set: [model.content, size, members], setId: undefined } };
      }
      if (name === 'dynset') this.#fed.add(set);
      uses.add(`set ${set}`);
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

function at<T>(path: (string | number)[], make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw within(error, path);
  }
}

/** The object as the kernel would give it back: names for numbers, hex for bytes. */
function kernelForm(type: MessageName, object: object): Fields {
  const { family, ...rest } = object as { family: Family } & Fields;
  return decodeMessage(encodeMessage({ type, family, object: rest })).object;
}

function chainContent(chain: Chain): Omit<ChainModel, 'rules'> {
  const form = kernelForm('newchain', chain) as Fields & Partial<Chain>;
  const {
    policy,
    device,
    devices,
    flags = [],
    counters: _,
    ...rest
  } = form as Fields & Partial<Chain> & { counters?: unknown };
  const content = textOf({
    ...contentOf(rest),
    devices: [...(devices ?? (device === undefined ? [] : [device]))].sort(),
    flags: flags.filter(flag => flag !== 'base'),
  });
  return { chain, content, policy: policy ?? 'accept' };
}

export function setModel(given: NewMap): SetModel {
  const { elements, leadingEnd, handle, ...set } = given;
  const isMap = 'data' in set || set.dataType !== undefined || set.objectType !== undefined;
  const wire = wireSet(set as NewMap, isMap, 1);
  // Without the number that it has in one transaction: rules refer to it by its name.
  const { id: _, ...form } = kernelForm('newset', {
    ...wire,
    family: given.family,
    table: given.table,
    name: 'set',
  }) as Fields & Partial<NftSet>;
  const { expression, expressions, flags = [], description, ...rest } = form;
  const all = expressions ?? (expression === undefined ? [] : [expression]);
  const content = textOf({
    ...contentOf(rest, 'policy', 'gcIntervalMilliseconds'),
    policy: form.policy === 'memory' ? 'memory' : undefined,
    // The kernel says how large it thinks a verdict is.
    dataLength: form.dataType === VERDICT_DATA_TYPE ? undefined : form.dataLength,
    description: { fields: description?.fields },
    flags: flags.filter(flag => flag !== 'expressions' && flag !== 'map' && flag !== 'object').sort(),
    expressions: normalExpressions(all),
  });
  const shape = shapeOf(form as NftSet);
  const values = at(['elements'], () => valuesOf(elements, shape, handle !== undefined));
  return {
    content,
    size: description?.size,
    fed: false,
    set: set as NewMap,
    form: { ...form, family: given.family, table: given.table, name: given.name } as NftSet,
    isMap,
    anonymous: flags.includes('anonymous'),
    elements: values && new Map(values.elements.map(value => elementModel(value, shape))),
    leadingEnd: leadingEnd ?? values?.leadingEnd ?? false,
  };
}

/** Elements in the one form that both sides have. */
function valuesOf(elements: unknown[] | undefined, shape: ElementShape, wasRead: boolean) {
  if (elements === undefined) return undefined;
  const wire = wasRead ? (elements as WireElement[]) : wireElements(elements as ElementValue[], shape).elements;
  return elementValues(wire, shape);
}

function elementModel(value: ElementValue, _shape: ElementShape): readonly [string, ElementModel] {
  const whole = typeof value === 'object' && 'wire' in value;
  const fields: Fields = whole
    ? (value.wire as Fields)
    : typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array) && 'key' in value
      ? (value as Fields)
      : { key: value };
  const {
    expressions = [],
    expression,
    ...rest
  } = fields as Fields & { expressions?: Expression[]; expression?: Expression };
  const data = fields.data as { chain?: string } | undefined;
  const all = expression === undefined ? expressions : [expression];
  return [
    textOf([whole, fields.key, whole ? fields.flags : undefined]),
    {
      content: textOf([contentOf(rest), normalExpressions(all)]),
      value,
      chain: typeof data === 'object' ? data?.chain : undefined,
      object: (typeof fields.data === 'string' ? fields.data : undefined) ?? (fields.object as string | undefined),
    },
  ];
}
