import type { Features } from '../nftables/features.ts';
import { type Family, Transaction } from '../nftables/index.ts';
import { ruleset } from '../nftables/listing.ts';
import { NftablesOperations } from '../nftables/nftables.ts';
import { type Exchange, type Operation, twoForms } from '../transport/index.ts';
import { LOGGING, LoggingOperations } from './logging.ts';
import { FAMILY, isClash } from './owned-table.ts';
import { REDIRECTS } from './redirect-set.ts';
import { RedirectsOperations } from './redirects.ts';
import type { Drift, PreparedState } from './state.ts';

const OURS = [REDIRECTS, LOGGING];

/** What a fleet does to the packet rules of one container: each in one operation, so that what is short costs no promise. */
export class SeatOperations {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  readonly #redirects: RedirectsOperations;
  readonly #logging: LoggingOperations;

  constructor(exchange: Exchange, features?: Features) {
    this.#exchange = exchange;
    this.#nft = new NftablesOperations(exchange, features);
    this.#redirects = new RedirectsOperations(exchange, this.#nft);
    this.#logging = new LoggingOperations(exchange, this.#nft);
  }

  /** Redirects, log rules and the transaction; virtual servers are another subsystem's. */
  *program(prepared: PreparedState): Operation<void> {
    const { redirects, logging } = prepared;
    const { transaction } = prepared.state;
    const owned = redirects !== undefined || logging !== undefined;
    if (owned && !(yield* this.#begun(prepared))) {
      if (redirects !== undefined) yield* this.#redirects.set(redirects);
      if (logging !== undefined) yield* this.#logging.set(logging);
    }
    if (transaction !== undefined) yield* this.#nft.commit(transaction);
  }

  /** A container that has none of it yet gets all of it at once: one look, one commit. */
  *#begun(prepared: PreparedState): Operation<boolean> {
    const tables = yield* this.#nft.tables({ family: FAMILY });
    if (tables.some(({ name }) => OURS.includes(name))) return false;
    try {
      yield* this.#nft.commit(prepared.fresh);
      return true;
    } catch (error) {
      // Somebody else has made one of the tables meanwhile.
      if (isClash(error)) return false;
      throw error;
    }
  }

  /** Redirects and log rules whoever made them, and the tables of `transaction`. */
  *unprogram(transaction: Transaction | undefined): Operation<void> {
    yield* this.#redirects.release();
    yield* this.#logging.release();
    const tables = named(transaction, ['table']);
    if (tables.length === 0) return;
    const removal = new Transaction();
    for (const { object } of tables) removal.destroy({ table: { family: object.family, name: object.name } });
    yield* this.#nft.commit(removal);
  }

  /** What is not as it should be. */
  *drift({ redirects, logging, state: { transaction } }: PreparedState): Operation<Drift> {
    const drift: Drift = {};
    if (redirects !== undefined) {
      const found = yield* this.#redirects.differences(redirects);
      if (Object.values(found).some(list => list.length > 0)) drift.redirects = found;
    }
    if (logging !== undefined) {
      const found = yield* this.#logging.differences(logging);
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
export class SeatRules extends twoForms(SeatOperations) {}

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
