import type { Exchange, Operation } from '../netlink/index.ts';
import type { Chain, ChainKey } from '../nf_tables/chain.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Flowtable, FlowtableKey } from '../nf_tables/flowtable.ts';
import type { NftObject, ObjectKey } from '../nf_tables/object.ts';
import type { RuleEntry, RuleKey } from '../nf_tables/rule.ts';
import type { NftSet, SetKey } from '../nf_tables/set.ts';
import type { Table, TableKey } from '../nf_tables/table.ts';
import { XT_LAYOUTS } from '../nf_tables/xt/layouts.ts';
import type { ElementValue } from '../nft/element-values.ts';
import type { NftDocument } from '../nft/json-commands.ts';
import type { RulesetJson } from '../nft/ruleset-json.ts';
import { asRefusalOf, compileDocument } from './commands.ts';
import { Features } from './features.ts';
import type { DesiredRuleset } from './plan/desired.ts';
import type { RulesetPlan } from './plan/plan.ts';
import { Planner, plan, type ReconcileOptions, reconcile } from './plan/reconcile.ts';
import { type NftQuery, queriesIn } from './queries.ts';
import { RangeMemory } from './ranges/range-memory.ts';
import type { NamedObjectOf } from './read/by-name.ts';
import * as byName from './read/by-name.ts';
import { type ElementsOptions, elements } from './read/elements.ts';
import type { ListFilter, Ruleset } from './read/listing.ts';
import * as listing from './read/listing.ts';
import { queryReply } from './read/query-reply.ts';
import { type ResetReference, type ResetValues, reset } from './read/reset.ts';
import { type RulesetOptions, ruleset } from './read/ruleset.ts';
import { readGeneration } from './request.ts';
import { applyText, type TextOptions } from './script.ts';
import { type CommitOptions, type CommitResult, commit } from './write/commit.ts';
import type { Transaction } from './write/transaction.ts';

/** The operations of nf_tables, each written once. */
export class NftablesOperations {
  readonly #exchange: Exchange;
  readonly #features: Features;
  readonly #knowledge = { memory: new RangeMemory() };
  readonly #planner = new Planner();

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
    return commit(this.#exchange, this.#features, transaction, options, this.#knowledge);
  }

  /**
   * Carries out a text of nft's language, as `nft -f` does, or commands in nft's own JSON, libnftables-json(5): all of it or nothing. The JSON is what
   * `nft -j -f` takes, and what `nft -j list ruleset` prints. An object without a command is added. Rules are compiled as `compileRule` does. A document of the commands list and reset is
   * answered with what `nft -j` prints for them, from reset the values from before; these stand alone.
   * @throws TypeError, RangeError with the path in the document
   * @throws NetlinkError ENOENT: what one of list and reset names is not there
   * @throws BatchError as `commit` does, with the index of the command and the path in the document; of a text, the errors have its `source`, `line`, `column`
   * and `endColumn`, too, and show the line
   * @throws NftSyntaxError the text is wrong, or refers to what is not there: all errors, up to ten
   */
  *apply(
    document: string | NftDocument | NftQuery,
    options?: TextOptions,
  ): Operation<CommitResult | RulesetJson | undefined> {
    if (typeof document === 'string')
      return yield* applyText(this.#exchange, this.#features, this.#knowledge, document, options);
    const queries = queriesIn(document);
    if (queries !== undefined) return yield* queryReply(this.#exchange, queries);
    return yield* this.#change(document as NftDocument, options);
  }

  *#change(document: NftDocument, options?: CommitOptions): Operation<CommitResult | undefined> {
    const compiled = compileDocument(document);
    try {
      return yield* commit(this.#exchange, this.#features, compiled.transaction, options, this.#knowledge);
    } catch (error) {
      throw asRefusalOf(compiled, error, document);
    }
  }

  /**
   * Returns the generation of the ruleset: it grows by one with each commit, by whichever process.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace
   * @example
   * const before = await nft.generation();
   */
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

  /**
   * Lists the tables of the namespace.
   * @param filter `family`: only its tables; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * for (const { family, name } of await nft.tables()) console.log(family, name);
   */
  tables(filter?: ListFilter): Operation<Table[]> {
    return listing.list(this.#exchange, 'table', filter);
  }

  /**
   * Lists the chains of the namespace, base chains and others.
   * @param filter `family`, `table`: only what is there; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const chains = await nft.chains({ family: 'inet', table: 'web' });
   */
  chains(filter?: ListFilter): Operation<Chain[]> {
    return listing.list(this.#exchange, 'chain', filter);
  }

  /**
   * Lists the rules, in their order within each chain.
   * @param filter `family`, `table`, `chain`: only the rules there; `chain` needs `table`, and that `family`; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const rules = await nft.rules({ family: 'inet', table: 'web', chain: 'input' });
   */
  rules(filter?: ListFilter & { chain?: string }): Operation<RuleEntry[]> {
    return listing.list(this.#exchange, 'rule', filter, XT_LAYOUTS);
  }

  /**
   * Lists sets and maps, anonymous ones too, without their elements.
   * @param filter `family`, `table`: only what is there; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const sets = await nft.sets({ family: 'inet', table: 'web' });
   */
  sets(filter?: ListFilter): Operation<NftSet[]> {
    return listing.list(this.#exchange, 'set', filter);
  }

  /**
   * Lists counters, quotas, limits and other objects with a name.
   * @param filter `family`, `table`: only what is there; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const objects = await nft.objects({ family: 'inet', table: 'web' });
   */
  objects(filter?: ListFilter): Operation<NftObject[]> {
    return listing.list(this.#exchange, 'object', filter);
  }

  /**
   * Lists the flowtables of the namespace.
   * @param filter `family`, `table`: only what is there; default: all
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const flowtables = await nft.flowtables();
   */
  flowtables(filter?: ListFilter): Operation<Flowtable[]> {
    return listing.list(this.#exchange, 'flowtable', filter);
  }

  /**
   * Returns the table of this name, or undefined.
   * @param reference family and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * if ((await nft.table({ family: 'inet', name: 'web' })) === undefined) console.log('not programmed');
   */
  table(reference: TableKey): Operation<Table | undefined> {
    return byName.byName(this.#exchange, 'table', reference);
  }

  /**
   * Returns the chain of this name, or undefined; `rules` lists what is in it.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const chain = await nft.chain({ family: 'inet', table: 'web', name: 'input' });
   */
  chain(reference: ChainKey): Operation<Chain | undefined> {
    return byName.byName(this.#exchange, 'chain', reference);
  }

  /**
   * Returns the rule with this handle, or undefined.
   * @param reference family, table, chain and handle
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const rule = await nft.rule({ family: 'inet', table: 'web', chain: 'input', handle: 4n });
   */
  rule(reference: RuleKey): Operation<RuleEntry | undefined> {
    return byName.byName(this.#exchange, 'rule', reference);
  }

  /**
   * Returns the set or map of this name, or undefined; `elements` lists what is in it.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const set = await nft.set({ family: 'inet', table: 'web', name: 'blocked' });
   */
  set(reference: SetKey): Operation<NftSet | undefined> {
    return byName.byName(this.#exchange, 'set', reference);
  }

  /**
   * Returns the map of this name, or undefined; a set of that name is not returned.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const map = await nft.map({ family: 'inet', table: 'web', name: 'backends' });
   */
  map(reference: SetKey): Operation<NftSet | undefined> {
    return byName.mapByName(this.#exchange, reference);
  }

  /**
   * Returns the flowtable of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const flowtable = await nft.flowtable({ family: 'inet', table: 'web', name: 'fast' });
   */
  flowtable(reference: FlowtableKey): Operation<Flowtable | undefined> {
    return byName.byName(this.#exchange, 'flowtable', reference);
  }

  /**
   * Returns the object of this name, or undefined, as `objects` gives it: its fields are in `data`.
   * @param reference family, table and name; `type`, where objects of different types have the name
   * @throws TypeError ERR_MISSING several have the name, and there is no `type`
   * @example
   * const hits = nft.sync.object({ family: 'ip', table: 'web', name: 'hits', type: 'counter' });
   */
  object(reference: ObjectKey & { type?: NftObject['type'] }): Operation<NftObject | undefined> {
    return byName.objectByName(this.#exchange, reference);
  }

  /**
   * Returns the counter of this name, or undefined, as `{ counter }` is written: packets and bytes stand beside its name.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const { packets = 0n } = nft.sync.counter({ family: 'ip', table: 'web', name: 'hits' }) ?? {};
   */
  counter(reference: ObjectKey): Operation<NamedObjectOf<'counter'> | undefined> {
    return byName.namedObject(this.#exchange, 'counter', reference);
  }

  /**
   * Returns the quota of this name, or undefined, as `{ quota }` is written.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const quota = await nft.quota({ family: 'ip', table: 'web', name: 'monthly' });
   */
  quota(reference: ObjectKey): Operation<NamedObjectOf<'quota'> | undefined> {
    return byName.namedObject(this.#exchange, 'quota', reference);
  }

  /**
   * Returns the limit of this name, or undefined, as `{ limit }` is written.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const limit = await nft.limit({ family: 'ip', table: 'web', name: 'logging' });
   */
  limit(reference: ObjectKey): Operation<NamedObjectOf<'limit'> | undefined> {
    return byName.namedObject(this.#exchange, 'limit', reference);
  }

  /**
   * Returns the limit of connections of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const most = await nft.connlimit({ family: 'ip', table: 'web', name: 'clients' });
   */
  connlimit(reference: ObjectKey): Operation<NamedObjectOf<'connlimit'> | undefined> {
    return byName.namedObject(this.#exchange, 'connlimit', reference);
  }

  /**
   * Returns the connection tracking helper of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const helper = await nft.ctHelper({ family: 'ip', table: 'web', name: 'ftp-standard' });
   */
  ctHelper(reference: ObjectKey): Operation<NamedObjectOf<'ctHelper'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctHelper', reference);
  }

  /**
   * Returns the connection timeouts of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const timeout = await nft.ctTimeout({ family: 'ip', table: 'web', name: 'short' });
   */
  ctTimeout(reference: ObjectKey): Operation<NamedObjectOf<'ctTimeout'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctTimeout', reference);
  }

  /**
   * Returns the connection expectation of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const expectation = await nft.ctExpectation({ family: 'ip', table: 'web', name: 'second' });
   */
  ctExpectation(reference: ObjectKey): Operation<NamedObjectOf<'ctExpectation'> | undefined> {
    return byName.namedObject(this.#exchange, 'ctExpectation', reference);
  }

  /**
   * Returns the SYN proxy of this name, or undefined. Linux 5.4.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const proxy = await nft.synproxy({ family: 'ip', table: 'web', name: 'front' });
   */
  synproxy(reference: ObjectKey): Operation<NamedObjectOf<'synproxy'> | undefined> {
    return byName.namedObject(this.#exchange, 'synproxy', reference);
  }

  /**
   * Returns the security mark of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const mark = await nft.secmark({ family: 'ip', table: 'web', name: 'ssh' });
   */
  secmark(reference: ObjectKey): Operation<NamedObjectOf<'secmark'> | undefined> {
    return byName.namedObject(this.#exchange, 'secmark', reference);
  }

  /**
   * Returns the tunnel of this name, or undefined.
   * @param reference family, table and name
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const tunnel = await nft.tunnel({ family: 'netdev', table: 'web', name: 'overlay' });
   */
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
    return elements(this.#exchange, set, options);
  }

  /**
   * Lets counters and quotas begin anew, and returns their values from before.
   * @param reference a rule, an element, an object, or all of a kind in a table or chain
   * @throws UnsupportedError rules before Linux 6.2, elements before 6.5
   * @example
   * const before = await nft.reset({ counter: { family: 'ip', table: 'web', name: 'hits' } });
   */
  reset(reference: ResetReference): Operation<ResetValues> {
    return reset(this.#exchange, reference);
  }

  /**
   * Plans what must be done so that the owner's tables are as desired: the smallest transaction, as data. Sends nothing that changes.
   * Rules are matched by content, so that those that stay keep their counters; elements go and come one by one. Tables of others are never touched.
   * @param desired the tables, with all that shall be in them
   * @param options whose tables they are: a `comment` or a `prefix` of the name, or the kernel's owner `flag`; `only`, the chains, sets, maps and
   * tables to compare, default all; `mirror`, to compare with what a monitor has told instead of reading; `signal`
   * @throws TypeError, RangeError with the path of what is wrong: 'rules[3].statements[1].jump.target'
   * @throws StateError ERR_FOREIGN_TABLE: a table of a name that is wanted is there, and not the owner's
   * @example
   * const plan = await nft.plan({ tables: [{ family: 'inet', name: 'web' }] }, { comment: 'ours' });
   * console.log(formatPlan(plan));
   */
  plan(desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
    return plan(this.#exchange, this.#planner, desired, options);
  }

  /**
   * Plans, and commits if nothing changed since; else plans anew. Returns what was done: no operations where all was as desired.
   * @param desired the tables, with all that shall be in them
   * @param options as for `plan`
   * @throws as `plan` and `commit`; what the kernel refuses has its path in `desired`
   * @example
   * const { operations } = await nft.reconcile({ tables: [{ family: 'inet', name: 'web' }] }, { comment: 'ours' });
   */
  reconcile(desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
    return reconcile(this.#exchange, this.#features, this.#planner, desired, options);
  }
}
