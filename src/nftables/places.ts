import type { Chain } from '../nf_tables/chain.ts';
import type { Family } from '../nf_tables/family.ts';
import type { Flowtable } from '../nf_tables/flowtable.ts';
import type { RuleTarget } from '../nf_tables/rule.ts';
import type { Table } from '../nf_tables/table.ts';
import type { GivenElement } from '../nft/element-forms.ts';
import type { Statement } from '../nft/statements/registry.ts';
import type { NewElements, NewMap, NewObjectOf, NewSet, OBJECT_KINDS } from './write/new-objects.ts';

/*
 * The objects of a transaction by where they stand: `table('inet', 'web').chain('input')` is `{ chain: { family: 'inet', table: 'web', name:
 * 'input' } }`. Each has one field of its own, so it can be added, deleted and flushed as it is. Methods lead to what is inside of it.
 */

interface InTable {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  readonly family: Family;
  /** The name of the table. */
  readonly table: string;
}
interface InChain extends InTable {
  /** The name of the chain. */
  readonly chain: string;
}

type Kinds = typeof OBJECT_KINDS;
/** The fields of an object, which may be left out altogether where none of them is required. */
type Given<F> = Record<never, never> extends F ? [fields?: F] : [fields: F];
type ObjectFields<K extends keyof Kinds> = Omit<NewObjectOf<Kinds[K]>, 'family' | 'table' | 'name'>;

/** The fields of a table beside what names it. */
export type TableFields = Omit<Table, 'family' | 'name'>;
/** The fields of a chain beside what names it. */
export type ChainFields = Omit<Chain, 'family' | 'table' | 'name'>;
/** The fields of a set beside what names it. */
export type SetFields = Omit<NewSet, 'family' | 'table' | 'name'>;
/** The fields of a map beside what names it. */
export type MapFields = Omit<NewMap, 'family' | 'table' | 'name'>;
/** The fields of elements beside their set. */
export type ElementFields = Omit<NewElements, 'family' | 'table' | 'set' | 'setId' | 'elements'>;
/** The fields of a rule beside its place and its statements: a comment, the position in the chain, a handle. */
export type RuleFields = Omit<RuleTarget, 'family' | 'table' | 'chain' | 'chainId'>;
/** A rule in its chain. */
export interface PlacedRule {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the table. */
  table: string;
  /** The name of the chain. */
  chain: string;
  /** The statements of nft's language. */
  statements: Statement[];
}

/**
 * A set and its place; made by `table(...).set(name)`.
 * @example
 * const ports = table('inet', 'web').set('ports', { key: 'inet_service' });
 * tx.add(ports).add(ports.elements([80])).flush(ports);
 */
export class SetPlace {
  /** The set as a transaction takes it. `nft.elements(ports.set)` reads its elements. */
  readonly set: NewSet;

  constructor(set: NewSet) {
    this.set = set;
  }

  /** '@ports': the set in a rule. */
  get reference(): `@${string}` {
    return `@${this.set.name}`;
  }

  /**
   * Returns elements of this set, for `add` and `delete`.
   * @param elements values, ranges, or elements with a timeout, a comment ...
   * @param fields how they are given: `as`, `type`, `leadingEnd`
   * @example
   * const ports = table('inet', 'web').set('ports', { key: 'inet_service' });
   * tx.add(ports).add(ports.elements([80, 443]));
   */
  elements(elements: GivenElement[], fields: ElementFields = {}): { element: NewElements } {
    return elementsOf(this.set, elements, fields);
  }
}

/**
 * A map and its place; made by `table(...).map(name)`.
 * @example
 * const backends = table('ip', 'web').map('backends', { key: 'inet_service', data: 'ipv4_addr' });
 * tx.add(backends).add(table('ip', 'web').rule('in', [dnat({ to: tcp.dport.map(backends.reference) })]));
 */
export class MapPlace {
  /** The map as a transaction takes it. `nft.elements(backends.map)` reads its elements. */
  readonly map: NewMap;

  constructor(map: NewMap) {
    this.map = map;
  }

  /** '@backends': the map in a rule. */
  get reference(): `@${string}` {
    return `@${this.map.name}`;
  }

  /**
   * Returns elements of this map, for `add` and `delete`.
   * @param elements keys with their values; keys alone are enough to delete them
   * @param fields how they are given: `as`, `type`, `leadingEnd`
   * @example
   * const backends = table('ip', 'web').map('backends', { key: 'inet_service', data: 'ipv4_addr' });
   * tx.add(backends).add(backends.elements([{ key: 80, data: '10.0.0.1' }]));
   */
  elements(elements: GivenElement[], fields: ElementFields = {}): { element: NewElements } {
    return elementsOf(this.map, elements, fields);
  }
}

/**
 * A chain and its place; made by `table(...).chain(name)`.
 * @example
 * const input = table('inet', 'web').chain('input');
 * tx.flush(input).add(input.rule([accept()]));
 */
export class ChainPlace {
  /** The chain as a transaction takes it. `nft.chain(input.chain)` reads it. */
  readonly chain: Chain;

  constructor(chain: Chain) {
    this.chain = chain;
  }

  /** Family, table and chain: the place of a rule. `nft.rules(input.place)` reads the rules. */
  get place(): InChain {
    const { family, table, name } = this.chain;
    return { family, table, chain: name };
  }

  /**
   * Returns a rule of this chain, for `add`, `insert` and `replace`. A rule in the kernel's own expressions is
   * `{ rule: { ...input.place, expressions } }`.
   * @param statements what the rule does
   * @param fields a `comment`; the `index` or `position` to stand at; the `handle` of the rule to replace
   * @example
   * const input = table('inet', 'web').chain('input');
   * tx.add(input.rule([tcp.dport.eq(80), accept()], { comment: 'http' }));
   */
  rule<F extends RuleFields = Record<never, never>>(
    statements: Statement[],
    fields?: F,
  ): { rule: PlacedRule & NoInfer<F> } {
    const { family, table, name } = this.chain;
    return { rule: withFields({ family, table, chain: name, statements }, fields as NoInfer<F>) };
  }
}

/**
 * A table, with the way to all that is in it; made by `table(family, name)`.
 * @example
 * const web = table('inet', 'web');
 * tx.destroy(web).add(web).add(web.chain('input'));
 */
export class TablePlace {
  /** The table as a transaction takes it. `nft.table(web.table)` reads it. */
  readonly table: Table;

  constructor(table: Table) {
    this.table = table;
  }

  /** Family and table: the place of the objects in it. `nft.chains(web.place)` reads the chains. */
  get place(): InTable {
    const { family, name } = this.table;
    return { family, table: name };
  }

  #named(name: string): InTable & { name: string } {
    return { family: this.table.family, table: this.table.name, name };
  }

  /**
   * Returns a chain of this table.
   * @param name its name, at most 255 bytes
   * @param fields `type`, `hook`, `priority` and `policy` of a base chain; none for a chain that rules jump to. To delete a chain that has
   * `devices`, name it without fields: with them, only the devices are taken off the chain
   * @example
   * const input = table('inet', 'web').chain('input', { type: 'filter', hook: 'input', priority: 'filter' });
   * tx.add(input).add(input.rule([tcp.dport.eq(80), accept()]));
   */
  chain(name: string, fields: ChainFields = {}): ChainPlace {
    return new ChainPlace(withFields(this.#named(name), fields));
  }

  /**
   * Returns a rule of this table, as `chain(name).rule(...)` does.
   * @param chain the name of its chain
   * @param statements what the rule does
   * @param fields a `comment`; the `index` or `position` to stand at; the `handle` of the rule to replace
   * @example
   * tx.add(table('inet', 'web').rule('input', [tcp.dport.eq(80), accept()]));
   */
  rule<F extends RuleFields = Record<never, never>>(
    chain: string,
    statements: Statement[],
    fields?: F,
  ): { rule: PlacedRule & NoInfer<F> } {
    return this.chain(chain).rule(statements, fields);
  }

  /**
   * Returns a set of this table.
   * @param name its name, at most 255 bytes
   * @param fields the `key` of its elements, `flags`, `elements` ...; none where the set is only named
   * @example
   * const blocked = table('inet', 'web').set('blocked', { key: 'ipv4_addr', flags: ['interval'] });
   * tx.add(blocked).add(blocked.elements(['192.0.2.0/24']));
   */
  set(name: string, fields: SetFields = {}): SetPlace {
    return new SetPlace(withFields(this.#named(name), fields));
  }

  /**
   * Returns a map of this table.
   * @param name its name, at most 255 bytes
   * @param fields the types of its `key` and `data`, `flags`, `elements` ...; none where the map is only named
   * @example
   * const services = table('inet', 'web').map('services', { key: 'inet_service', data: 'verdict' });
   * tx.add(services).add(services.elements([{ key: 22, data: { verdict: 'accept' } }]));
   */
  map(name: string, fields: MapFields = {}): MapPlace {
    return new MapPlace(withFields(this.#named(name), fields));
  }

  /**
   * Returns a flowtable of this table.
   * @param name its name, at most 255 bytes
   * @param fields `hook`, `priority` and `devices`
   * @example
   * tx.add(table('inet', 'web').flowtable('fast', { hook: 'ingress', priority: 0, devices: ['eth0', 'eth1'] }));
   */
  flowtable(name: string, fields: Omit<Flowtable, 'family' | 'table' | 'name'> = {}): { flowtable: Flowtable } {
    return { flowtable: withFields(this.#named(name), fields) };
  }

  /**
   * Returns an object of this table: a counter, a quota, a helper of connections ...
   * @param kind 'counter', 'quota', 'limit', 'connlimit', 'ctHelper', 'ctTimeout', 'ctExpectation', 'synproxy', 'secmark' or 'tunnel'
   * @param name its name, at most 255 bytes
   * @param fields the object's own fields, as a transaction takes them
   * @example
   * const web = table('inet', 'web');
   * tx.add(web.object('counter', 'hits')).add(web.object('quota', 'monthly', { bytes: 10n ** 12n }));
   */
  object<K extends keyof Kinds>(
    kind: K,
    name: string,
    ...[fields]: Given<ObjectFields<K>>
  ): { [P in K]: NewObjectOf<Kinds[P]> } {
    const object: object = withFields(this.#named(name), fields ?? {});
    return { [kind]: object } as { [P in K]: NewObjectOf<Kinds[P]> };
  }
}

/**
 * Adds fields to the object that names a place. It is not spread in a literal with them: the engine gives each object that is made so a shape
 * of its own, and whoever reads a field of thousands of them has to look for it each time.
 */
function withFields<T extends object, F extends object>(named: T, fields: F | undefined): T & F {
  return Object.assign(named, fields);
}

function elementsOf(set: NewSet, elements: GivenElement[], fields: ElementFields): { element: NewElements } {
  const { family, table, name } = set;
  return { element: withFields({ family, table, set: name, elements }, fields) };
}

/**
 * Names a table, and through it the chains, rules, sets, maps and objects in it. Nothing is asked or sent: the results are the objects that
 * transactions, plans and readings take.
 * @param family the family of the table: 'inet' for IPv4 and IPv6, 'ip', 'ip6', 'arp', 'bridge' or 'netdev'
 * @param name its name, at most 255 bytes
 * @param fields `flags` and `comment` of a table that is made
 * @example
 * const web = table('inet', 'web');
 * const input = web.chain('input', { type: 'filter', hook: 'input', priority: 'filter' });
 * tx.add(web).add(input).add(input.rule([tcp.dport.in([80, 443]), accept()]));
 * await nft.rules(input.place);
 */
export function table(family: Family, name: string, fields: TableFields = {}): TablePlace {
  return new TablePlace(withFields({ family, name }, fields));
}
