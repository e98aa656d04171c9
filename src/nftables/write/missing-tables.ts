import { NetlinkError } from '../../errors.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES } from '../../nf_tables/message.ts';
import { readGeneration, requestFor } from '../request.ts';
import type { Fields } from './new-objects.ts';
import type { Transaction } from './transaction.ts';

/** Operations that have nothing to do. */
export interface Idle {
  readonly operations: ReadonlySet<number>;
  /** The ruleset's generation for which that holds; undefined where the transaction itself has removed the tables. */
  readonly generation: number | undefined;
}

/**
 * The `destroy` operations on objects of tables that are not there. The kernel refuses them with ENOENT for the table. But the object is not there
 * afterwards, as the caller wants, so they have nothing to do. The transaction's own changes of tables are followed; others are asked for, one request a
 * table.
 */
export function* idleDestroys(exchange: Exchange, transaction: Transaction): Operation<Idle> {
  const operations = new Set<number>();
  const tables = new Tables(exchange);
  for (const [index, { verb, kind, subject }] of transaction.operations.entries()) {
    const object = ((subject as Record<string, Fields>)[kind] ?? {}) as Fields;
    if (kind === 'ruleset') tables.flush(object.family);
    else if (kind !== 'table') {
      if (verb === 'destroy' && !(yield* tables.has(object.family, object.table))) operations.add(index);
    } else if (typeof object.name === 'string' && verb !== 'flush') {
      tables.set(object.family, object.name, verb === 'add' || verb === 'create');
    }
  }
  return { operations, generation: tables.generation };
}

/** Which tables are there, at some place of a transaction. */
class Tables {
  readonly #exchange: Exchange;
  #known = new Map<string, boolean>();
  /** Families that the transaction has emptied; undefined is all. */
  readonly #flushed = new Set<unknown>();
  /** From before the first question. */
  generation: number | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  set(family: unknown, name: string, isThere: boolean): void {
    this.#known.set(`${family} ${name}`, isThere);
  }

  flush(family: unknown): void {
    this.#flushed.add(family);
    for (const key of this.#known.keys())
      if (family === undefined || key.startsWith(`${family} `)) this.#known.set(key, false);
  }

  *has(family: unknown, name: unknown): Operation<boolean> {
    const key = `${family} ${name}`;
    let isThere = this.#known.get(key);
    if (isThere === undefined) {
      isThere = !this.#flushed.has(undefined) && !this.#flushed.has(family) && (yield* this.#ask(family, name));
      this.#known.set(key, isThere);
    }
    return isThere;
  }

  *#ask(family: unknown, name: unknown): Operation<boolean> {
    this.generation ??= yield* readGeneration(this.#exchange);
    try {
      const request = requestFor('gettable', familyNumber(family, ['family']), { name });
      return yield* this.#exchange.get(request, ({ type }) => (type === MESSAGES.newtable.number ? true : undefined));
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'ENOENT') return false;
      throw error;
    }
  }
}
