import { checkObject } from '../codec/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { NETLINK_NETFILTER } from '../transport/constants.ts';
import { Exchange, NetlinkSocket, type Operation, type Synchronous, twoForms } from '../transport/index.ts';
import type { Chain } from './chain.ts';
import { type CommitOptions, type CommitResult, commit } from './commit.ts';
import type { WireElement } from './element.ts';
import { Features } from './features.ts';
import type { Flowtable } from './flowtable.ts';
import type { ListFilter, Ruleset, RulesetFilter } from './listing.ts';
import * as listing from './listing.ts';
import type { NftObject } from './object.ts';
import type { RuleEntry } from './rule.ts';
import type { NftSet, SetKey } from './set.ts';
import type { Table } from './table.ts';
import type { Transaction } from './transaction.ts';

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

/** The operations of nf_tables, each written once. */
export class NftablesOperations {
  readonly #exchange: Exchange;
  readonly #features = new Features();

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Carries out a transaction: all of it or nothing. A large one leaves the main thread. With `echo` it resolves to the new generation and
   * the handles of what was made.
   * @throws BatchError every operation that was refused, with its index and the path to what the kernel points at (nothing is applied then)
   * @throws NetlinkError the transaction as a whole was refused: EPERM, ERESTART (the generation)
   * @throws UnsupportedError it destroys what this kernel can only delete (before Linux 6.3)
   * @throws RangeError the `index` of a rule that is not there, elements that do not fit their set: what only the namespace can tell
   * @throws StateError ERR_TRANSACTION_TOO_LARGE without CAP_NET_ADMIN in the initial user namespace: above twice net.core.wmem_max
   */
  commit(transaction: Transaction, options?: CommitOptions): Operation<CommitResult | undefined> {
    return commit(this.#exchange, this.#features, transaction, options);
  }

  /** The generation of the ruleset: it grows by one with each commit, whoever makes it. */
  generation(): Operation<number> {
    return listing.generation(this.#exchange);
  }

  /**
   * Everything, of one generation: read again, some times, while others commit in between. What this library does not know is kept raw: a
   * foreign table never fails the reading.
   * @throws StateError ERR_DUMP_INTERRUPTED others commit without a pause
   */
  ruleset(filter?: RulesetFilter): Operation<Ruleset> {
    return listing.ruleset(this.#exchange, filter);
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

  /** The elements of a set or map, as the kernel has them: of a range, its beginning and its end. */
  elements(set: SetKey, options?: { signal?: AbortSignal }): Operation<WireElement[]> {
    return listing.elements(this.#exchange, set, options);
  }
}

/** The nf_tables of one network namespace. Needs CAP_NET_ADMIN in the user namespace that owns it; a container's own root has that. */
export class Nftables extends twoForms(NftablesOperations) {
  declare readonly commit: CommitForms['promise'];
  declare readonly sync: Synchronous<NftablesOperations> & { commit: CommitForms['sync'] };

  /** Opens a socket in the namespace and asks nothing yet. */
  static open(options: NftablesOptions = {}): Nftables {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
    return new Nftables(new Exchange(socket, 'nftables', new Observer(options.logger)));
  }
}
