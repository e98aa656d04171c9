import { LOGGING } from '../container/logging/set.ts';
import { LogTable } from '../container/logging/table.ts';
import { readTables, TablesInquiry } from '../container/owned/reading.ts';
import {
  FAMILY,
  foreignTable,
  isClash,
  nextGeneration,
  retryWhileMoved,
  settingsOf,
} from '../container/owned/table.ts';
import { type ConnectionPolicy, StaleConnections } from '../container/redirects/connections.ts';
import { REDIRECTS } from '../container/redirects/maps.ts';
import { RedirectShapes, RedirectTable } from '../container/redirects/table.ts';
import { type Exchange, type Operation, OVER, syncAndAsync } from '../netlink/index.ts';
import { Disturbed, isMoved } from '../netlink/retry.ts';
import { Features } from '../nftables/features.ts';
import { type Family, Transaction } from '../nftables/index.ts';
import { NftablesOperations } from '../nftables/nftables-operations.ts';
import { ruleset } from '../nftables/read/listing.ts';
import { readGeneration } from '../nftables/request.ts';
import type { Drift, PreparedState } from './desired-state.ts';

/** The default of EventLoopBudget, which a fleet may shorten. */
const MAX_TURN_MILLISECONDS = 3;

/** The caches that all containers of a fleet share. */
export class SharedRules {
  readonly features = new Features();
  readonly shapes = new RedirectShapes();
  /** How long one container's operation may keep the event loop between two rests. */
  readonly turnMilliseconds: number;
  #tablesInquiry: TablesInquiry | undefined;
  /** The generation of the last container that had no table of ours, and whether the one before had the same. */
  #freshGeneration: number | undefined;
  #agreed = false;

  constructor(turnMilliseconds = MAX_TURN_MILLISECONDS) {
    this.turnMilliseconds = Math.min(turnMilliseconds, MAX_TURN_MILLISECONDS);
  }

  /**
   * The generation that a container without tables of ours is expected to have, because the last two had it. A commit that is bound to it and
   * creates the tables needs no question before it: the kernel refuses it if the generation is another one, or a table is there.
   */
  get expectedGeneration(): number | undefined {
    return this.#agreed ? this.#freshGeneration : undefined;
  }

  /** Notes the generation of a container without tables of ours; undefined if the expected one was wrong. */
  noteFresh(generation: number | undefined): void {
    this.#agreed = generation !== undefined && generation === this.#freshGeneration;
    this.#freshGeneration = generation;
  }

  /** Asks for both tables. */
  get tablesInquiry(): TablesInquiry {
    this.#tablesInquiry ??= new TablesInquiry([REDIRECTS, LOGGING]);
    return this.#tablesInquiry;
  }
}

const remedy = (verb: string) => `fleet.${verb}(containers, desired, { force: true })`;

/** The operations of a fleet on the packet rules of one container. Each is a single operation, so that a short one needs no promise. */
export class SessionRulesOperations {
  readonly #exchange: Exchange;
  readonly #shared: SharedRules;
  readonly #nft: NftablesOperations;
  // Made when they are needed: most containers are programmed once, and have none of our tables before.
  #redirectTable: RedirectTable | undefined;
  #logTable: LogTable | undefined;
  /** The digest of the state that was programmed last. */
  #settled: string | undefined;
  /** The generation at which all of that state was there. */
  #good: number | undefined;

  constructor(exchange: Exchange, shared = new SharedRules()) {
    this.#exchange = exchange;
    exchange.turnMilliseconds = shared.turnMilliseconds;
    this.#shared = shared;
    this.#nft = new NftablesOperations(exchange, shared.features);
  }

  get #redirects(): RedirectTable {
    this.#redirectTable ??= new RedirectTable(this.#exchange, this.#nft, this.#shared.shapes);
    return this.#redirectTable;
  }

  get #logging(): LogTable {
    this.#logTable ??= new LogTable(this.#exchange, this.#nft);
    return this.#logTable;
  }

  /** Programs redirects, log rules and the transaction. IPVS has its own socket. */
  program(prepared: PreparedState, force = false, connections?: ConnectionPolicy): Operation<void> {
    const { redirects, logging } = prepared;
    const { transaction } = prepared.state;
    if (redirects === undefined && logging === undefined)
      return transaction === undefined ? OVER : this.#committed(transaction);
    const policy = prepared.connections ?? connections;
    const { expectedGeneration: generation } = this.#shared;
    if (this.#settled !== undefined || generation === undefined || prepared.endsConnections(policy))
      return this.#programTables(prepared, force, policy);
    const committing = this.#nft.commit(prepared.fresh, { generation });
    if (committing !== OVER) return this.#programGuessed(committing, generation, prepared, force, policy);
    this.#noteMade(prepared, generation);
    return transaction === undefined ? OVER : this.#committed(transaction);
  }

  /** Goes on with a commit that expects a container without tables of ours, with this generation. */
  *#programGuessed(
    committing: Operation<unknown>,
    generation: number,
    prepared: PreparedState,
    force: boolean,
    connections?: ConnectionPolicy,
  ): Operation<void> {
    try {
      yield* committing;
    } catch (error) {
      if (!isMoved(error) && !isClash(error)) throw error;
      this.#shared.noteFresh(undefined);
      yield* this.#programTables(prepared, force, connections);
      return;
    }
    this.#noteMade(prepared, generation);
    const { transaction } = prepared.state;
    if (transaction !== undefined) yield* this.#nft.commit(transaction);
  }

  /** The container had none of our tables at this generation, and has got those of the state. */
  #noteMade(prepared: PreparedState, generation: number): void {
    this.#settled = prepared.digest;
    this.#good = nextGeneration(generation);
  }

  #committed(transaction: Transaction): Operation<void> {
    const committing = this.#nft.commit(transaction);
    return committing === OVER ? OVER : withoutResult(committing);
  }

  *#programTables(prepared: PreparedState, force: boolean, connections?: ConnectionPolicy): Operation<void> {
    yield* retryWhileMoved(() => this.#programOnce(prepared, force, connections));
    const { transaction } = prepared.state;
    if (transaction !== undefined) yield* this.#nft.commit(transaction);
  }

  *#programOnce(prepared: PreparedState, force: boolean, connections?: ConnectionPolicy): Operation<void> {
    const { redirects, logging, digest } = prepared;
    // If the generation is the same, nobody has changed anything since.
    if (this.#good !== undefined && this.#settled === digest)
      if ((yield* readGeneration(this.#exchange)) === this.#good) return;
    const isNew = this.#settled === undefined;
    this.#good = undefined;
    const stale = new StaleConnections(connections);
    if (isNew && (yield* this.#begun(prepared, force, stale))) return;
    if (redirects !== undefined) {
      yield* this.#redirects.set(redirects, force, `${remedy('apply')} replaces it`, stale);
      this.#good = this.#redirects.good;
    }
    if (logging !== undefined) {
      yield* this.#logging.set(logging, force, `${remedy('apply')} replaces it`);
      this.#good = redirects === undefined || this.#good === this.#logging.before ? this.#logging.good : undefined;
    }
    this.#settled = prepared.digest;
  }

  /** Programs a container that has none of our tables, by one request and one commit. False if it has some. */
  *#begun(prepared: PreparedState, force: boolean, stale: StaleConnections): Operation<boolean> {
    const { generation, tables } = yield* readTables(this.#exchange, prepared.tablesInquiry);
    // Check all tables before the first is touched.
    for (const { name, comment } of tables)
      if (!force && settingsOf(comment) === undefined) throw foreignTable(name, `${remedy('apply')} replaces it`);
    if (tables.length > 0) return false;
    yield* this.#nft.commit(prepared.fresh, { generation });
    this.#shared.noteFresh(generation);
    this.#noteMade(prepared, generation);
    if (prepared.redirects === undefined || !stale.concernAny(prepared.redirects)) return true;
    yield* stale.noteAllMade(prepared.redirects, this.#exchange.budget);
    yield* stale.end(this.#exchange);
    return true;
  }

  /** Removes all redirects and log rules, and the tables of `transaction`, by one request and one commit. */
  *unprogram(transaction: Transaction | undefined, force = false, connections?: ConnectionPolicy): Operation<void> {
    this.#settled = undefined;
    yield* retryWhileMoved(() => this.#unprogramOnce(transaction, force, new StaleConnections(connections)));
  }

  *#unprogramOnce(transaction: Transaction | undefined, force: boolean, stale: StaleConnections): Operation<void> {
    const { generation, tables } = yield* readTables(this.#exchange, this.#shared.tablesInquiry);
    const removal = new Transaction();
    for (const { name, comment } of tables) {
      if (!force && settingsOf(comment) === undefined) throw foreignTable(name, `${remedy('remove')} removes it`);
      removal.delete({ table: { family: FAMILY, name } });
    }
    for (const { object } of named(transaction, ['table']))
      removal.destroy({ table: { family: object.family, name: object.name } });
    const read = tables.some(({ name }) => name === REDIRECTS) ? yield* this.#redirects.noteAllGone(stale) : undefined;
    if (read !== undefined && read !== generation) throw new Disturbed();
    // The kernel removes each element, and there may be any number, so the commit leaves the thread.
    this.#exchange.heavy = tables.length > 0;
    if (removal.length > 0) yield* this.#nft.commit(removal, { generation });
    yield* stale.end(this.#exchange);
  }

  /** The differences from the wanted state. */
  *drift({ redirects, logging, state: { transaction } }: PreparedState, force: boolean): Operation<Drift> {
    const drift: Drift = {};
    const reports = `${remedy('verify')} reports it as a difference`;
    if (redirects !== undefined) {
      const found = yield* retryWhileMoved(() => this.#redirects.differences(redirects, force, reports));
      if (Object.values(found).some(list => list.length > 0)) drift.redirects = found;
    }
    if (logging !== undefined) {
      const found = yield* retryWhileMoved(() => this.#logging.differences(logging, force, reports));
      if (Object.values(found).some(list => list.length > 0)) drift.logging = found;
    }
    if (transaction !== undefined) {
      const missing = yield* this.#missing(transaction);
      if (missing.length > 0) drift.missing = missing;
    }
    return drift;
  }

  *#missing(transaction: Transaction): Operation<object[]> {
    const { tables, chains, sets } = yield* ruleset(this.#exchange, {}, undefined);
    const there = (kind: string): readonly Named[] => (kind === 'table' ? tables : kind === 'chain' ? chains : sets);
    return named(transaction, KINDS)
      .filter(({ kind, object: { family, table, name } }) =>
        there(kind).every(each => each.family !== family || each.name !== name || each.table !== table),
      )
      .map(({ subject }) => subject);
  }
}

function* withoutResult(operation: Operation<unknown>): Operation<void> {
  yield* operation;
}

/** The packet rules of one container, as a fleet programs them. */
export class SessionRules extends syncAndAsync(SessionRulesOperations) {}

interface Named {
  family: Family;
  name: string;
  table?: string;
}

const KINDS = ['table', 'chain', 'set', 'map'];

/** The objects of these kinds that a transaction adds. */
const named = (transaction: Transaction | undefined, kinds: readonly string[]) =>
  (transaction?.operations ?? [])
    .filter(({ verb, kind }) => (verb === 'add' || verb === 'create') && kinds.includes(kind))
    .map(({ kind, subject }) => ({ subject, kind, object: (subject as Record<string, Named>)[kind]! }));
