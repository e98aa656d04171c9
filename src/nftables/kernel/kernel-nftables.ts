import { checkInteger, checkObject } from '../../codec/index.ts';
import { BatchError, typeError, UnsupportedError } from '../../errors.ts';
import { ackError, type Exchange, type Operation, syncAndAsync } from '../../netlink/index.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { NftSet, SetKey } from '../../nf_tables/set.ts';
import type { Table } from '../../nf_tables/table.ts';
import { Features } from '../features.ts';
import { type NftablesOptions, openSocket } from '../open.ts';
import {
  dumpElements,
  type ListFilter,
  list,
  type Ruleset,
  type RulesetFilter,
  ruleset,
  setKey,
} from '../read/listing.ts';
import { Reading } from '../read/reading.ts';
import { readGeneration } from '../request.ts';
import { carryOut } from '../write/carry-out.ts';
import { messageOf } from '../write/encoded.ts';
import { failureOf } from '../write/failure.ts';
import { KernelTransaction } from './transaction.ts';

/** How a transaction is carried out. */
export interface KernelCommitOptions {
  /** Commit only if the ruleset is still at this generation; else NetlinkError ERESTART. */
  generation?: number;
  /** Have the kernel check everything and change nothing. */
  dryRun?: boolean;
  /** Acts before the send; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
}

/** The operations, each written once. */
class KernelOperations {
  readonly #exchange: Exchange;
  readonly #features = new Features();

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Carries out a transaction: all of it or nothing. A large one leaves the main thread.
   * @param transaction the operations
   * @param options `generation`, `dryRun`, `signal`
   * @throws BatchError every operation that was refused, with its index and the path to what the kernel points at (nothing is applied then)
   * @throws NetlinkError the transaction as a whole was refused: EPERM, ERESTART (the generation)
   * @throws UnsupportedError this kernel cannot destroy what is to be destroyed (Linux 6.3)
   * @example
   * using nft = KernelNftables.open({ netns });
   * await nft.commit(new KernelTransaction().add({ table: { family: 'inet', name: 'web' } }));
   */
  *commit(transaction: KernelTransaction, options: KernelCommitOptions = {}): Operation<void> {
    if (!(transaction instanceof KernelTransaction)) throw typeError([], 'a KernelTransaction', transaction);
    checkObject(options, [], ['generation', 'dryRun', 'signal']);
    const { generation, dryRun } = options;
    if (generation !== undefined) checkInteger(generation, ['generation'], 0, 0xffffffff);
    const { operations } = transaction;
    const encoded = transaction.encode();
    const [destroyed] = encoded.destroys;
    if (destroyed !== undefined && !(yield* this.#features.destroys(this.#exchange)))
      throw new UnsupportedError(`destroy ${operations[destroyed.operation]!.kind}`, '6.3');
    const { refused } = yield* carryOut(this.#exchange, this.#features, encoded, { generation, dryRun });
    if (refused.length === 0) return;
    const failures = refused.map(({ sequence, ack }) => {
      const message = messageOf(encoded, sequence);
      if (message === undefined) throw ackError({ syscall: 'NFNL_MSG_BATCH_BEGIN' }, ack, 'nftables.commit');
      return failureOf(operations, encoded, { message, ack });
    });
    throw new BatchError({ failures, outcome: 'none', applied: [] });
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
   * Everything, of one generation: read again, some times, while others commit in between.
   * @param filter `family`, `table`: only what is there; `elements`: also those of named sets
   * @throws StateError ERR_DUMP_INTERRUPTED others commit without a pause
   * @example
   * const { tables, rules } = await nft.ruleset();
   */
  ruleset(filter?: RulesetFilter): Operation<Ruleset> {
    return ruleset(this.#exchange, filter, undefined);
  }

  /**
   * Lists the tables of the namespace.
   * @param filter `family`: only its tables
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * for (const { family, name } of await nft.tables()) console.log(family, name);
   */
  tables(filter?: ListFilter): Operation<Table[]> {
    return list(this.#exchange, 'table', filter);
  }

  /**
   * Lists the chains.
   * @param filter `family`, `table`: only what is there
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const chains = await nft.chains({ family: 'inet', table: 'web' });
   */
  chains(filter?: ListFilter): Operation<Chain[]> {
    return list(this.#exchange, 'chain', filter);
  }

  /**
   * Lists the rules, in their order within each chain.
   * @param filter `family`, `table`, `chain`: only the rules there
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const rules = await nft.rules({ family: 'inet', table: 'web', chain: 'input' });
   */
  rules(filter?: ListFilter & { chain?: string }): Operation<RuleEntry[]> {
    return list(this.#exchange, 'rule', filter, undefined);
  }

  /**
   * Lists sets and maps, without their elements.
   * @param filter `family`, `table`: only what is there
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const sets = await nft.sets({ family: 'inet', table: 'web' });
   */
  sets(filter?: ListFilter): Operation<NftSet[]> {
    return list(this.#exchange, 'set', filter);
  }

  /**
   * Lists the elements of a set or map, as the kernel has them.
   * @param set family, table and name
   * @throws NetlinkError ENOENT there is no such set
   * @example
   * const elements = await nft.elements({ family: 'inet', table: 'web', name: 'blocked' });
   */
  elements(set: SetKey): Operation<WireElement[]> {
    const reading = new Reading(this.#exchange);
    return reading.undisturbed(() => dumpElements(this.#exchange, setKey(set), reading));
  }

  /**
   * Lists counters, quotas, limits and other objects with a name.
   * @param filter `family`, `table`: only what is there
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const objects = await nft.objects({ family: 'inet', table: 'web' });
   */
  objects(filter?: ListFilter): Operation<NftObject[]> {
    return list(this.#exchange, 'object', filter);
  }

  /**
   * Lists the flowtables.
   * @param filter `family`, `table`: only what is there
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace; TypeError or RangeError with the path of a wrong field
   * @example
   * const flowtables = await nft.flowtables();
   */
  flowtables(filter?: ListFilter): Operation<Flowtable[]> {
    return list(this.#exchange, 'flowtable', filter);
  }
}

/**
 * The nf_tables of one network namespace, in the kernel's own terms. It is `Nftables` of netsteer/nftables without nft's language: without
 * statements, values of elements, text, JSON, plans, monitor and hints. So a bundle with it is a fourth as large.
 * @example
 * using nft = KernelNftables.open({ netns });
 * const tables = await nft.tables();
 */
export class KernelNftables extends syncAndAsync(KernelOperations) {
  /**
   * Opens a socket in the namespace and asks nothing yet.
   * @param options `netns`, the namespace, default the process's own; `logger`
   * @throws StateError ERR_CLOSED the namespace's handle is closed; NetNsError it cannot be entered
   * @example
   * using nft = KernelNftables.open({ netns });
   */
  static open(options: NftablesOptions = {}): KernelNftables {
    return new KernelNftables(openSocket(options));
  }
}
