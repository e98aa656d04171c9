import { LOGGING } from '../container/logging/set.ts';
import { LogTable } from '../container/logging/table.ts';
import { readTables, TablesInquiry } from '../container/owned/reading.ts';
import { FAMILY, foreignTable, nextGeneration, retryWhileMoved, settingsOf } from '../container/owned/table.ts';
import { REDIRECTS } from '../container/redirects/maps.ts';
import { RedirectShapes, RedirectTable } from '../container/redirects/table.ts';
import { type Exchange, type Operation, syncAndAsync } from '../netlink/index.ts';
import { Features } from '../nftables/features.ts';
import { type Family, Transaction } from '../nftables/index.ts';
import { NftablesOperations } from '../nftables/nftables.ts';
import { ruleset } from '../nftables/read/listing.ts';
import { readGeneration } from '../nftables/request.ts';
import type { Drift, PreparedState } from './desired-state.ts';

/** As long as an operation takes without a fleet. */
const MOST_TURN = 3;

/** What all containers of a fleet have in common. */
export class SharedRules {
  readonly features = new Features();
  readonly shapes = new RedirectShapes();
  /** How long one container's operation may keep the event loop between two rests. */
  readonly turnMilliseconds: number;
  #tablesInquiry: TablesInquiry | undefined;

  constructor(turnMilliseconds = MOST_TURN) {
    this.turnMilliseconds = Math.min(turnMilliseconds, MOST_TURN);
  }

  /** Asks for both tables. */
  get tablesInquiry(): TablesInquiry {
    this.#tablesInquiry ??= new TablesInquiry([REDIRECTS, LOGGING]);
    return this.#tablesInquiry;
  }
}

const remedy = (verb: string) => `fleet.${verb}(containers, desired, { force: true })`;

/** What a fleet does to the packet rules of one container: each in one operation, so that what is short costs no promise. */
export class SessionRulesOperations {
  readonly #exchange: Exchange;
  readonly #shared: SharedRules;
  readonly #nft: NftablesOperations;
  readonly #redirects: RedirectTable;
  readonly #logging: LogTable;
  /** What was programmed last: the digest of it. */
  #settled: string | undefined;
  /** At this generation all of it was there. */
  #good: number | undefined;

  constructor(exchange: Exchange, shared = new SharedRules()) {
    this.#exchange = exchange;
    exchange.budget.milliseconds = shared.turnMilliseconds;
    this.#shared = shared;
    this.#nft = new NftablesOperations(exchange, shared.features);
    this.#redirects = new RedirectTable(exchange, this.#nft, shared.shapes);
    this.#logging = new LogTable(exchange, this.#nft);
  }

  /** Redirects, log rules and the transaction; virtual servers are another subsystem's. */
  *program(prepared: PreparedState, force = false): Operation<void> {
    const { redirects, logging } = prepared;
    const { transaction } = prepared.state;
    if (redirects !== undefined || logging !== undefined)
      yield* retryWhileMoved(() => this.#programOnce(prepared, force));
    if (transaction !== undefined) yield* this.#nft.commit(transaction);
  }

  *#programOnce(prepared: PreparedState, force: boolean): Operation<void> {
    const { redirects, logging, digest } = prepared;
    // Where nothing at all was changed in the namespace since, all is as it was.
    if (this.#good !== undefined && this.#settled === digest)
      if ((yield* readGeneration(this.#exchange)) === this.#good) return;
    const isNew = this.#settled === undefined;
    this.#good = undefined;
    if (isNew && (yield* this.#begun(prepared, force))) return;
    if (redirects !== undefined) {
      yield* this.#redirects.set(redirects, force, `${remedy('apply')} replaces it by one of ours`);
      this.#good = this.#redirects.good;
    }
    if (logging !== undefined) {
      yield* this.#logging.set(logging, force, `${remedy('apply')} replaces it by one of ours`);
      this.#good = redirects === undefined || this.#good === this.#logging.before ? this.#logging.good : undefined;
    }
    this.#settled = prepared.digest;
  }

  /** A container that has none of it yet gets all of it at once: one look, one commit. */
  *#begun(prepared: PreparedState, force: boolean): Operation<boolean> {
    const { generation, tables } = yield* readTables(this.#exchange, prepared.tablesInquiry);
    // One that cannot be taken is told before the other one is touched.
    for (const { name, comment } of tables)
      if (!force && settingsOf(comment) === undefined)
        throw foreignTable(name, `${remedy('apply')} replaces it by one of ours`);
    if (tables.length > 0) return false;
    yield* this.#nft.commit(prepared.fresh, { generation });
    this.#settled = prepared.digest;
    this.#good = nextGeneration(generation);
    return true;
  }

  /** Redirects and log rules whoever made them, and the tables of `transaction`: one look, one commit. */
  *unprogram(transaction: Transaction | undefined, force = false): Operation<void> {
    this.#settled = undefined;
    yield* retryWhileMoved(() => this.#unprogramOnce(transaction, force));
  }

  *#unprogramOnce(transaction: Transaction | undefined, force: boolean): Operation<void> {
    const { generation, tables } = yield* readTables(this.#exchange, this.#shared.tablesInquiry);
    const removal = new Transaction();
    for (const { name, comment } of tables) {
      if (!force && settingsOf(comment) === undefined) throw foreignTable(name, `${remedy('remove')} removes it`);
      removal.delete({ table: { family: FAMILY, name } });
    }
    for (const { object } of named(transaction, ['table']))
      removal.destroy({ table: { family: object.family, name: object.name } });
    // The kernel goes through all elements of the maps, and any number may be there.
    this.#exchange.heavy = tables.length > 0;
    if (removal.length > 0) yield* this.#nft.commit(removal, { generation });
  }

  /** What is not as it should be. */
  *drift({ redirects, logging, state: { transaction } }: PreparedState, force: boolean): Operation<Drift> {
    const drift: Drift = {};
    const told = `${remedy('verify')} tells it as a difference`;
    if (redirects !== undefined) {
      const found = yield* retryWhileMoved(() => this.#redirects.differences(redirects, force, told));
      if (Object.values(found).some(list => list.length > 0)) drift.redirects = found;
    }
    if (logging !== undefined) {
      const found = yield* retryWhileMoved(() => this.#logging.differences(logging, force, told));
      if (Object.values(found).some(list => list.length > 0)) drift.logging = found;
    }
    if (transaction !== undefined) {
      const missing = yield* this.#missing(transaction);
      if (missing.length > 0) drift.missing = missing;
    }
    return drift;
  }

  *#missing(transaction: Transaction): Operation<object[]> {
    const { tables, chains, sets } = yield* ruleset(this.#exchange, {});
    const there = (kind: string): readonly Named[] => (kind === 'table' ? tables : kind === 'chain' ? chains : sets);
    return named(transaction, KINDS)
      .filter(({ kind, object: { family, table, name } }) =>
        there(kind).every(each => each.family !== family || each.name !== name || each.table !== table),
      )
      .map(({ subject }) => subject);
  }
}

/** The packet rules of one container, as a fleet programs them. */
export class SessionRules extends syncAndAsync(SessionRulesOperations) {}

interface Named {
  family: Family;
  name: string;
  table?: string;
}

const KINDS = ['table', 'chain', 'set', 'map'];

/** Objects with a name that a transaction adds. */
const named = (transaction: Transaction | undefined, kinds: readonly string[]) =>
  (transaction?.operations ?? [])
    .filter(({ verb, kind }) => (verb === 'add' || verb === 'create') && kinds.includes(kind))
    .map(({ kind, subject }) => ({ subject, kind, object: (subject as Record<string, Named>)[kind]! }));
