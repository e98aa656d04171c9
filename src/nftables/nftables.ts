import { checkObject } from '../codec/index.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import { NFNLGRP_NFTABLES, NFNLGRP_NFTRACE } from '../linux/nfnetlink.ts';
import {
  Exchange,
  NetlinkSocket,
  type Operation,
  openWatcher,
  type Synchronous,
  syncAndAsync,
} from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import type { Chain, ChainKey } from '../nf_tables/chain.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Flowtable, FlowtableKey } from '../nf_tables/flowtable.ts';
import type { NftObject, ObjectKey } from '../nf_tables/object.ts';
import type { RuleEntry, RuleKey } from '../nf_tables/rule.ts';
import type { NftSet, SetKey } from '../nf_tables/set.ts';
import type { Table, TableKey } from '../nf_tables/table.ts';
import type { ElementValue } from '../nft/element-values.ts';
import type { RulesetJson } from '../nft/ruleset-json.ts';
import { type Logger, Observer } from '../observe.ts';
import { asRefusalOf, compileDocument, type NftDocument } from './commands.ts';
import { Features } from './features.ts';
import type { DesiredRuleset } from './plan/desired.ts';
import type { RulesetPlan } from './plan/plan.ts';
import { plan, type ReconcileOptions, reconcile } from './plan/reconcile.ts';
import { type NftQuery, queriesIn } from './queries.ts';
import { RangeMemory } from './ranges/range-memory.ts';
import type { NamedObjectOf } from './read/by-name.ts';
import * as byName from './read/by-name.ts';
import type { ElementsOptions, ListFilter, Ruleset } from './read/listing.ts';
import * as listing from './read/listing.ts';
import { answer } from './read/query-reply.ts';
import { type ResetReference, type ResetValues, reset } from './read/reset.ts';
import { type RulesetOptions, ruleset } from './read/ruleset.ts';
import { readGeneration } from './request.ts';
import { checkMonitorOptions, MONITOR_BUFFER_BYTES, Monitor, type MonitorOptions } from './watch/monitor.ts';
import { checkTraceOptions, Trace, type TraceOptions } from './watch/tracing.ts';
import { type CommitOptions, type CommitResult, commit } from './write/commit.ts';
import type { Transaction } from './write/transaction.ts';

export interface NftablesOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  logger?: Logger;
}

/** `commit` resolves to something only where that is asked for. */
interface CommitForms {
  promise: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): Promise<CommitResult>;
    (transaction: Transaction, options?: CommitOptions): Promise<CommitResult | undefined>;
  };
  sync: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): CommitResult;
    (transaction: Transaction, options?: CommitOptions): CommitResult | undefined;
  };
}

/** `apply` resolves to the answer where the document asks something. */
interface ApplyForms {
  promise: {
    (document: NftQuery): Promise<RulesetJson>;
    (document: NftDocument, options?: CommitOptions): Promise<CommitResult | undefined>;
    (document: NftDocument | NftQuery, options?: CommitOptions): Promise<CommitResult | RulesetJson | undefined>;
  };
  sync: {
    (document: NftQuery): RulesetJson;
    (document: NftDocument, options?: CommitOptions): CommitResult | undefined;
    (document: NftDocument | NftQuery, options?: CommitOptions): CommitResult | RulesetJson | undefined;
  };
}

/** `ruleset` resolves to objects, or to JSON or text where that is asked for. */
interface RulesetForms {
  promise: {
    (options: RulesetOptions & { as: 'json' }): Promise<RulesetJson>;
    (options: RulesetOptions & { as: 'text' }): Promise<string>;
    (options?: RulesetOptions & { as?: 'objects' }): Promise<Ruleset>;
    (options?: RulesetOptions): Promise<Ruleset | RulesetJson | string>;
  };
  sync: {
    (options: RulesetOptions & { as: 'json' }): RulesetJson;
    (options: RulesetOptions & { as: 'text' }): string;
    (options?: RulesetOptions & { as?: 'objects' }): Ruleset;
    (options?: RulesetOptions): Ruleset | RulesetJson | string;
  };
}

/** What `elements` resolves to depends on the form that is asked for. */
interface ElementsForms {
  promise: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): Promise<ElementValue[]>;
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): Promise<WireElement[]>;
  };
  sync: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): ElementValue[];
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): WireElement[];
  };
}

/** The operations of nf_tables, each written once. */
export class NftablesOperations {
  readonly #exchange: Exchange;
  readonly #features: Features;
  readonly #memory = new RangeMemory();

  /** What is known of the kernel may be shared by those that ask the same one. */
  constructor(exchange: Exchange, features = new Features()) {
    this.#exchange = exchange;
    this.#features = features;
  }

  /**
   * Carries out a transaction: all of it or nothing. A large one leaves the main thread. With `echo` it resolves to the new generation and
   * the handles of what was made.
   * @throws BatchError every operation that was refused, with its index and the path to what the kernel points at (nothing is applied then)
   * @throws NetlinkError the transaction as a whole was refused: EPERM, ERESTART (the generation)
   * @throws UnsupportedError this kernel is too old: to destroy more than tables, chains and counters (6.3), for bitwise with a second register (6.13)
   * @throws RangeError the `index` of a rule that is not there, elements that do not fit their set: what only the namespace can tell
   * @throws RangeError ERR_OVERLAP a range of an element overlaps one that the set has, or gets in this transaction
   * @throws StateError ERR_TRANSACTION_TOO_LARGE without CAP_NET_ADMIN in the initial user namespace: above twice net.core.wmem_max
   */
  commit(transaction: Transaction, options?: CommitOptions): Operation<CommitResult | undefined> {
    return commit(this.#exchange, this.#features, transaction, options, { memory: this.#memory });
  }

  /**
   * Carries out commands in nft's own JSON, libnftables-json(5), all of them or none: what `nft -j -f` takes, and what `nft -j list ruleset`
   * prints. An object without a command is added. Rules are compiled as `compileRule` does. A document of the commands list and reset is
   * answered with what `nft -j` prints for them, from reset the values from before; these stand alone.
   * @throws TypeError, RangeError with the path in the document
   * @throws NetlinkError ENOENT: what one of list and reset names is not there
   * @throws BatchError as `commit` does, with the index of the command and the path in the document
   */
  *apply(document: NftDocument | NftQuery, options?: CommitOptions): Operation<CommitResult | RulesetJson | undefined> {
    const queries = queriesIn(document);
    if (queries !== undefined) return yield* answer(this.#exchange, queries);
    return yield* this.#change(document as NftDocument, options);
  }

  *#change(document: NftDocument, options?: CommitOptions): Operation<CommitResult | undefined> {
    const compiled = compileDocument(document);
    try {
      return yield* commit(this.#exchange, this.#features, compiled.transaction, options, { memory: this.#memory });
    } catch (error) {
      throw asRefusalOf(compiled, error, document);
    }
  }

  /** The generation of the ruleset: it grows by one with each commit, whoever makes it. */
  generation(): Operation<number> {
    return readGeneration(this.#exchange);
  }

  /**
   * Everything, of one generation: read again, some times, while others commit in between. What this library does not know is kept raw: a
   * foreign table never fails the reading. With `as: 'json'`, what `nft -j list ruleset` shows; with `as: 'text'`, what `nft list ruleset` does,
   * of that `version`. Our part takes some 6 us a rule, and as text or JSON 20 us more; the kernel's grows with the square of a chain's length.
   * @throws StateError ERR_DUMP_INTERRUPTED others commit without a pause: after `attempts` readings, or `timeoutMs`
   * @throws RangeError ERR_NO_TEXT with `as: 'text'` and `unwritable: 'refuse'`
   * @example
   * const text = await nft.ruleset({ as: 'text', version: '1.0.6', timeoutMs: 1000 });
   */
  ruleset(options?: RulesetOptions): Operation<Ruleset | RulesetJson | string> {
    return ruleset(this.#exchange, options);
  }

  /** The tables of the namespace. */
  tables(filter?: ListFilter): Operation<Table[]> {
    return listing.list(this.#exchange, 'table', filter);
  }

  /** The chains of the namespace, base chains and others. */
  chains(filter?: ListFilter): Operation<Chain[]> {
    return listing.list(this.#exchange, 'chain', filter);
  }

  /** The rules, in their order within each chain; `chain` needs `table`, and that `family`. */
  rules(filter?: ListFilter & { chain?: string }): Operation<RuleEntry[]> {
    return listing.list(this.#exchange, 'rule', filter);
  }

  /** Sets and maps, anonymous ones too, without their elements. */
  sets(filter?: ListFilter): Operation<NftSet[]> {
    return listing.list(this.#exchange, 'set', filter);
  }

  /** Counters, quotas, limits and other objects with a name. */
  objects(filter?: ListFilter): Operation<NftObject[]> {
    return listing.list(this.#exchange, 'object', filter);
  }

  flowtables(filter?: ListFilter): Operation<Flowtable[]> {
    return listing.list(this.#exchange, 'flowtable', filter);
  }

  /** The table of this name, or undefined. */
  table(reference: TableKey): Operation<Table | undefined> {
    return byName.byName(this.#exchange, 'table', reference);
  }

  /** The chain of this name, or undefined; its rules are in `rules`. */
  chain(reference: ChainKey): Operation<Chain | undefined> {
    return byName.byName(this.#exchange, 'chain', reference);
  }

  /** The rule with this handle, or undefined. */
  rule(reference: RuleKey): Operation<RuleEntry | undefined> {
    return byName.byName(this.#exchange, 'rule', reference);
  }

  /** The set or map of this name, or undefined; its elements are in `elements`. */
  set(reference: SetKey): Operation<NftSet | undefined> {
    return byName.byName(this.#exchange, 'set', reference);
  }

  /** The map of this name, or undefined: a set of this name is none. */
  map(reference: SetKey): Operation<NftSet | undefined> {
    return byName.mapByName(this.#exchange, reference);
  }

  /** The flowtable of this name, or undefined. */
  flowtable(reference: FlowtableKey): Operation<Flowtable | undefined> {
    return byName.byName(this.#exchange, 'flowtable', reference);
  }

  /**
   * The object of this name, or undefined, as `objects` gives it: its fields are in `data`. Objects of different types may have one name: then
   * `type` says which.
   * @example
   * const hits = nft.sync.object({ family: 'ip', table: 'web', name: 'hits', type: 'counter' });
   * @throws TypeError ERR_MISSING several have the name, and there is no `type`
   */
  object(reference: ObjectKey & { type?: NftObject['type'] }): Operation<NftObject | undefined> {
    return byName.objectByName(this.#exchange, reference);
  }

  /**
   * The counter of this name, or undefined, as `{ counter }` is written: packets and bytes stand beside its name.
   * @example
   * const { packets = 0n } = nft.sync.counter({ family: 'ip', table: 'web', name: 'hits' }) ?? {};
   */
  counter(reference: ObjectKey): Operation<NamedObjectOf<'counter'> | undefined> {
    return byName.namedObject(this.#exchange, 'counter', reference);
  }

  /** The quota of this name, or undefined, as `{ quota }` is written. */
  quota(reference: ObjectKey): Operation<NamedObjectOf<'quota'> | undefined> {
    return byName.namedObject(this.#exchange, 'quota', reference);
  }

  /** The limit of this name, or undefined, as `{ limit }` is written. */
  limit(reference: ObjectKey): Operation<NamedObjectOf<'limit'> | undefined> {
    return byName.namedObject(this.#exchange, 'limit', reference);
  }

  /** The limit of connections of this name, or undefined. */
  connlimit(reference: ObjectKey): Operation<NamedObjectOf<'connlimit'> | undefined> {
    return byName.namedObject(this.#exchange, 'connlimit', reference);
  }

  /** The connections' helper of this name, or undefined. */
  ctHelper(reference: ObjectKey): Operation<NamedObjectOf<'ctHelper'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctHelper', reference);
  }

  /** The connections' timeouts of this name, or undefined. */
  ctTimeout(reference: ObjectKey): Operation<NamedObjectOf<'ctTimeout'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctTimeout', reference);
  }

  /** The connections' expectation of this name, or undefined. */
  ctExpectation(reference: ObjectKey): Operation<NamedObjectOf<'ctExpectation'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctExpectation', reference);
  }

  /** The synproxy of this name, or undefined. */
  synproxy(reference: ObjectKey): Operation<NamedObjectOf<'synproxy'> | undefined> {
    return byName.namedObject(this.#exchange, 'synproxy', reference);
  }

  /** The security mark of this name, or undefined. */
  secmark(reference: ObjectKey): Operation<NamedObjectOf<'secmark'> | undefined> {
    return byName.namedObject(this.#exchange, 'secmark', reference);
  }

  /** The tunnel of this name, or undefined. */
  tunnel(reference: ObjectKey): Operation<NamedObjectOf<'tunnel'> | undefined> {
    return byName.namedObject(this.#exchange, 'tunnel', reference);
  }

  /**
   * The elements of a set or map: as the kernel has them, or with `as: 'values'` as ranges, prefixes and concatenations, which can be written
   * back.
   */
  elements(set: SetKey, options: ElementsOptions & { as: 'values' }): Operation<ElementValue[]>;
  elements(set: SetKey, options?: ElementsOptions & { as?: 'wire' }): Operation<WireElement[]>;
  elements(set: SetKey, options?: ElementsOptions): Operation<WireElement[] | ElementValue[]> {
    return listing.elements(this.#exchange, set, options);
  }

  /**
   * Lets counters and quotas begin anew; resolves to their values from before.
   * @throws UnsupportedError rules before Linux 6.2, elements before 6.5
   */
  reset(reference: ResetReference): Operation<ResetValues> {
    return reset(this.#exchange, reference);
  }

  /**
   * What must be done so that the owner's tables are as desired: the smallest transaction, as data. Rules are matched by content, so that those
   * that stay keep their counters; elements go and come one by one. Tables of others are never touched.
   * @throws TypeError, RangeError with the path of what is wrong: 'rules[3].statements[1].jump.target'
   * @throws StateError ERR_FOREIGN_TABLE: a table of a name that is wanted is there, and not the owner's
   * @example
   *     const plan = await nft.plan({ tables: [{ family: 'inet', name: 'web' }] }, { comment: 'ours' });
   *     console.log(formatPlan(plan));
   */
  plan(desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
    return plan(this.#exchange, desired, options);
  }

  /**
   * Plans, and commits if nothing changed since; else plans anew. Resolves to what was done: nothing where all was as desired.
   * @throws as `plan` and `commit`; what the kernel refuses has its path in `desired`
   */
  reconcile(desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
    return reconcile(this.#exchange, this.#features, desired, options);
  }
}

/** The nf_tables of one network namespace. Needs CAP_NET_ADMIN in the user namespace that owns it; a container's own root has that. */
export class Nftables extends syncAndAsync(NftablesOperations) {
  declare readonly apply: ApplyForms['promise'];
  declare readonly commit: CommitForms['promise'];
  declare readonly ruleset: RulesetForms['promise'];
  declare readonly elements: ElementsForms['promise'];
  declare readonly sync: Omit<Synchronous<NftablesOperations>, 'apply' | 'commit' | 'elements' | 'ruleset'> & {
    apply: ApplyForms['sync'];
    commit: CommitForms['sync'];
    elements: ElementsForms['sync'];
    ruleset: RulesetForms['sync'];
  };
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    super(exchange);
    this.#exchange = exchange;
  }

  /** Opens a socket in the namespace and asks nothing yet. */
  static open(options: NftablesOptions = {}): Nftables {
    return new Nftables(openExchange(options));
  }

  /**
   * What others, and this handle, change from now on: transaction by transaction, in a socket of its own. When events were lost for want of
   * room, the state is read again and comes as an item of type 'state'. It is open until its iteration is left, `close()`, the signal, or the
   * end of this handle.
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   */
  monitor(options: MonitorOptions = {}): Monitor {
    checkMonitorOptions(options);
    const source = {
      ruleset: (filter: ListFilter) => this.ruleset({ ...filter, elements: true }),
      order: async (chain: ListFilter & { chain: string }) => (await this.rules(chain)).map(({ handle }) => handle),
    };
    return openWatcher(
      this.#exchange,
      [NFNLGRP_NFTABLES],
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new Monitor(reader, source, options, closed),
    );
  }

  /**
   * The way through the rules of packets that a rule with `meta nftrace set 1` has marked, step by step. It is open until its iteration is left,
   * `close()`, the signal, or the end of this handle.
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   */
  trace(options: TraceOptions = {}): Trace {
    checkTraceOptions(options);
    return openWatcher(
      this.#exchange,
      [NFNLGRP_NFTRACE],
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new Trace(reader, options, closed),
    );
  }
}

/** The socket by itself, for those that build more than one handle on it. @internal */
export function openExchange(options: NftablesOptions): Exchange {
  checkObject(options, [], ['netns', 'logger']);
  const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
  return new Exchange(socket, 'nftables', new Observer(options.logger));
}
