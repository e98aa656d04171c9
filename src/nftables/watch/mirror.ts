import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { SetKey } from '../../nf_tables/set.ts';
import type { Table, TableKey } from '../../nf_tables/table.ts';
import type { Ruleset, SetEntry } from '../read/listing.ts';
import type { MonitorItem, RulesetEvent } from './monitor.ts';

interface TableState {
  table: Table;
  /** By handle: chains can be renamed. */
  chains: Map<bigint | string, Chain>;
  /** By the chain's name. */
  rules: Map<string, RuleEntry[]>;
  sets: Map<string, SetState>;
  objects: Map<string, NftObject>;
  flowtables: Map<string, Flowtable>;
}

type NewRule = Extract<RulesetEvent, { kind: 'rule'; action: 'new' }>;

interface SetState {
  set: SetEntry;
  elements: Map<string, WireElement>;
  /** The set with its elements, until one of them changes. */
  entry?: SetEntry | undefined;
}

/** The state of a mirror itself: nobody may change it. An object is the same one as long as no event has told otherwise. */
export let presentOf: (mirror: RulesetMirror) => Ruleset;

/** Parts of that state, by what names them. */
export let partsOf: (mirror: RulesetMirror) => MirrorParts;

/** A mirror by the names of its objects, without a list of all. */
export class MirrorParts {
  readonly #tables: ReadonlyMap<string, TableState>;
  readonly #generation: number;

  constructor(tables: ReadonlyMap<string, TableState>, generation: number) {
    this.#tables = tables;
    this.#generation = generation;
  }

  #in({ family, table }: { family: string; table: string }): TableState | undefined {
    return this.#tables.get(`${family} ${table}`);
  }

  table({ family, name }: TableKey): Table | undefined {
    return this.#in({ family, table: name })?.table;
  }

  chain(key: ChainKey): Chain | undefined {
    for (const chain of this.#in(key)?.chains.values() ?? []) if (chain.name === key.name) return chain;
    return undefined;
  }

  set(key: SetKey): SetEntry | undefined {
    return this.#in(key)?.sets.get(key.name)?.set;
  }

  elements(key: SetKey): WireElement[] {
    return [...(this.#in(key)?.sets.get(key.name)?.elements.values() ?? [])];
  }

  /** The rules of a chain. */
  rules(key: ChainKey): readonly RuleEntry[] {
    return this.#in(key)?.rules.get(key.name) ?? [];
  }

  /** All of a table. */
  whole({ family, name }: TableKey): Ruleset {
    const state = this.#in({ family, table: name });
    return rulesetOf(this.#generation, state === undefined ? [] : [state], rule => rule);
  }
}

/**
 * The ruleset as events change it: give it each item of a monitor that was opened with `initial`.
 * `ruleset` is then what a new reading would show, but for what the kernel tells nobody: the values of counters, use counts, and elements that
 * packets add or that time out.
 * @example
 * const mirror = new RulesetMirror();
 * for await (const item of nft.monitor({ initial: true })) {
 *   mirror.apply(item);
 *   console.log(mirror.ruleset.tables.length);
 * }
 */
export class RulesetMirror {
  static {
    presentOf = mirror => mirror.#present(rule => rule);
    partsOf = mirror => new MirrorParts(mirror.#tables, mirror.#generation);
  }

  #tables = new Map<string, TableState>();
  #generation = 0;

  /** The ruleset to begin with; an item of type 'state' replaces it. */
  constructor(ruleset?: Ruleset) {
    if (ruleset !== undefined) this.#load(ruleset);
  }

  /** Of the last transaction or state that was applied. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Applies the events of one transaction, or a state that was read anew.
   * @param item an item of the monitor, in order
   * @example
   * const mirror = new RulesetMirror(await nft.ruleset({ elements: true }));
   * for await (const item of nft.monitor()) mirror.apply(item);
   */
  apply(item: MonitorItem): void {
    if (item.type === 'state') {
      this.#load(item.ruleset);
      return;
    }
    this.#generation = item.generation;
    for (const event of item.events) {
      if (event.kind !== 'rule') this.#applyOther(event);
      else if (event.action === 'new') this.#place(event);
      else this.#deleteRule(event.object);
    }
  }

  /** The present state, as `ruleset({ elements: true })` gives it; a copy that later events leave alone. */
  get ruleset(): Ruleset {
    // Of each rule the place that the kernel's listing gives: behind which rule.
    return structuredClone(
      this.#present(({ previousHandle: _, ...rule }, before) =>
        before === undefined ? rule : { ...rule, previousHandle: before.handle },
      ),
    );
  }

  #present(listed: (rule: RuleEntry, before: RuleEntry | undefined) => object): Ruleset {
    return rulesetOf(this.#generation, [...this.#tables.values()], listed);
  }

  #load(ruleset: Ruleset): void {
    this.#tables = new Map();
    this.#generation = ruleset.generation;
    const new_ = 'new' as const;
    for (const object of ruleset.tables) this.#applyOther({ action: new_, kind: 'table', object });
    for (const object of ruleset.chains) this.#applyOther({ action: new_, kind: 'chain', object });
    for (const { elements = [], ...object } of ruleset.sets) {
      this.#applyOther({ action: new_, kind: 'set', object });
      const { family, table, name } = object;
      this.#applyOther({ action: new_, kind: 'element', object: { family, table, set: name, as: 'wire', elements } });
    }
    for (const object of ruleset.objects) this.#applyOther({ action: new_, kind: 'object', object });
    for (const object of ruleset.flowtables) this.#applyOther({ action: new_, kind: 'flowtable', object });
    for (const rule of ruleset.rules) this.#rulesOf(rule).push(rule);
  }

  #tableOf({ family, table }: { family: string; table: string }): TableState {
    const key = `${family} ${table}`;
    let state = this.#tables.get(key);
    if (state === undefined) {
      // Events of one table only, or of some kinds: what is around them was never told.
      state = {
        table: { family, name: table } as Table,
        chains: new Map(),
        rules: new Map(),
        sets: new Map(),
        objects: new Map(),
        flowtables: new Map(),
      };
      this.#tables.set(key, state);
    }
    return state;
  }

  #rulesOf(rule: RuleEntry): RuleEntry[] {
    const { rules } = this.#tableOf(rule);
    const list = rules.get(rule.chain) ?? [];
    rules.set(rule.chain, list);
    return list;
  }

  #place({ object, placement }: NewRule): void {
    const list = this.#rulesOf(object);
    if (placement === 'same') {
      const at = list.findIndex(({ handle }) => handle === object.handle);
      if (at >= 0) {
        dropBound(this.#tableOf(object), list[at]!);
        list[at] = object;
        return;
      }
    }
    // From the end: most rules are appended. Behind one that we do not know is at the end, too.
    const before = typeof placement === 'bigint' ? list.findLastIndex(({ handle }) => handle === placement) : -1;
    const at = placement === 'first' ? 0 : before < 0 ? list.length : before + 1;
    list.splice(at, 0, object);
  }

  #deleteRule(rule: RuleEntry): void {
    const list = this.#rulesOf(rule);
    const at = list.findIndex(({ handle }) => handle === rule.handle);
    if (at >= 0) for (const gone of list.splice(at, 1)) dropBound(this.#tableOf(gone), gone);
  }

  #applyOther(event: Exclude<RulesetEvent, { kind: 'rule' }>): void {
    const isNew = event.action === 'new';
    switch (event.kind) {
      case 'table': {
        const { family, name } = event.object;
        if (isNew) this.#tableOf({ family, table: name }).table = event.object;
        else this.#tables.delete(`${family} ${name}`);
        break;
      }
      case 'chain':
        this.#applyChain(this.#tableOf(event.object), event.object, isNew);
        break;
      case 'set': {
        const { sets } = this.#tableOf(event.object);
        const { name } = event.object;
        if (isNew) sets.set(name, { set: event.object, elements: sets.get(name)?.elements ?? new Map() });
        else sets.delete(name);
        break;
      }
      case 'element': {
        const state = this.#tableOf(event.object).sets.get(event.object.set);
        if (state === undefined) break;
        const { elements } = state;
        state.entry = undefined;
        for (const element of event.object.elements) {
          const key = JSON.stringify([element.key, element.keyEnd, element.flags]);
          if (isNew) elements.set(key, element);
          else elements.delete(key);
        }
        break;
      }
      case 'object': {
        const { objects } = this.#tableOf(event.object);
        // Objects of different types may have one name.
        const key = `${event.object.type} ${event.object.name}`;
        if (isNew) objects.set(key, event.object);
        else objects.delete(key);
        break;
      }
      case 'flowtable': {
        const { flowtables } = this.#tableOf(event.object);
        const { name } = event.object;
        const merged = withDevices(flowtables.get(name), event.object, isNew);
        if (merged === undefined) flowtables.delete(name);
        else flowtables.set(name, merged);
        break;
      }
    }
  }

  #applyChain(state: TableState, chain: Chain, isNew: boolean): void {
    const key = chain.handle ?? chain.name;
    const before = state.chains.get(key);
    const after = withDevices(before, chain, isNew);
    if (after === undefined) {
      state.chains.delete(key);
      state.rules.delete(chain.name);
      return;
    }
    state.chains.set(key, after);
    if (before !== undefined && before.name !== after.name) rename(state, before.name, after.name);
  }
}

/** Tables as lists. Those of the kernel have the rules in the order of their chains. */
function rulesetOf(
  generation: number,
  states: readonly TableState[],
  listed: (rule: RuleEntry, before: RuleEntry | undefined) => object,
): Ruleset {
  const of = <T>(list: (state: TableState) => Iterable<T>): T[] => states.flatMap(state => [...list(state)]);
  const rules: object[] = [];
  for (const state of states)
    for (const chain of state.chains.values()) {
      const ofChain = state.rules.get(chain.name);
      for (let i = 0; ofChain !== undefined && i < ofChain.length; i++) rules.push(listed(ofChain[i]!, ofChain[i - 1]));
    }
  return {
    generation,
    tables: states.map(({ table }) => table),
    chains: of(({ chains }) => chains.values()),
    sets: of(({ sets }) => sets.values()).map(state => {
      state.entry ??= { ...state.set, elements: [...state.elements.values()] };
      return state.entry;
    }),
    rules: rules as RuleEntry[],
    objects: of(({ objects }) => objects.values()),
    flowtables: of(({ flowtables }) => flowtables.values()),
  };
}

/**
 * Of a chain or flowtable that has devices, an event tells those that came, or those that went: it goes itself with the last of them.
 */
function withDevices<T extends { devices?: string[] }>(before: T | undefined, told: T, isNew: boolean): T | undefined {
  if (before?.devices === undefined || told.devices === undefined) return isNew ? told : undefined;
  const { devices } = told;
  const others = before.devices.filter(device => !devices.includes(device));
  if (isNew) return { ...told, devices: [...others, ...devices] };
  return others.length > 0 ? { ...before, devices: others } : undefined;
}

/** Verdicts name the chain that they go to. Objects that change are made anew: a plan takes one for what it was. */
function rename(state: TableState, from: string, to: string): void {
  const data = <T extends { data?: unknown }>(value: T): T =>
    typeof value.data === 'object' && value.data !== null && Reflect.get(value.data, 'chain') === from
      ? { ...value, data: { ...value.data, chain: to } }
      : value;
  const renamed = (rule: RuleEntry): RuleEntry => ({
    ...rule,
    chain: rule.chain === from ? to : rule.chain,
    ...(rule.expressions !== undefined && {
      expressions: rule.expressions.map(one => ('immediate' in one ? { immediate: data(one.immediate) } : one)),
    }),
  });
  const rules = [...state.rules];
  state.rules.clear();
  for (const [chain, list] of rules) state.rules.set(chain === from ? to : chain, list.map(renamed));
  for (const set of state.sets.values()) {
    for (const [key, element] of set.elements) set.elements.set(key, data(element));
    set.entry = undefined;
  }
}

/** Chains without a name of their own go with the rule that jumps to them, and nothing is said of it. */
function dropBound(state: TableState, { expressions }: RuleEntry): void {
  for (const expression of expressions ?? []) {
    const data = immediateOf(expression) as { chain?: string } | undefined;
    if (data?.chain === undefined) continue;
    for (const [key, chain] of state.chains) {
      if (chain.name !== data.chain || !chain.flags?.includes('binding')) continue;
      state.chains.delete(key);
      const rules = state.rules.get(chain.name) ?? [];
      state.rules.delete(chain.name);
      for (const rule of rules) dropBound(state, rule);
    }
  }
}

function immediateOf(expression: Expression): unknown {
  return 'immediate' in expression ? expression.immediate.data : undefined;
}
