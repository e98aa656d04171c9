import { NFNLGRP_NFTABLES, NFNLGRP_NFTRACE } from '../linux/nfnetlink.ts';
import { type Exchange, openWatcher, type Synchronous, syncAndAsync } from '../netlink/index.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { SetKey } from '../nf_tables/set.ts';
import { XT_LAYOUTS } from '../nf_tables/xt/layouts.ts';
import type { ElementValue } from '../nft/element-values.ts';
import type { NftDocument } from '../nft/json-commands.ts';
import type { RulesetJson } from '../nft/ruleset-json.ts';
import { NftablesOperations } from './nftables-operations.ts';
import { type NftablesOptions, openSocket } from './open.ts';
import type { NftQuery } from './queries.ts';
import type { ElementsOptions } from './read/elements.ts';
import type { ListFilter, Ruleset } from './read/listing.ts';
import { type RuleFilter, RuleIteration } from './read/rule-iteration.ts';
import type { RulesetOptions } from './read/ruleset.ts';
import type { TextOptions } from './script.ts';
import { checkMonitorOptions, MONITOR_BUFFER_BYTES, Monitor, type MonitorOptions } from './watch/monitor.ts';
import { checkTraceOptions, Trace, type TraceOptions } from './watch/tracing.ts';
import type { CommitOptions, CommitResult } from './write/commit.ts';
import { hintFor } from './write/hints.ts';
import type { Transaction } from './write/transaction.ts';

/*
 * The methods of `Nftables` whose result depends on what is asked for: their overloads, as promises and at once.
 */

/** `commit` resolves to something only where that is asked for. */
export interface CommitForms {
  promise: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): Promise<CommitResult>;
    (transaction: Transaction, options?: CommitOptions): Promise<CommitResult | undefined>;
  };
  sync: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): CommitResult;
    (transaction: Transaction, options?: CommitOptions): CommitResult | undefined;
  };
}

/** `apply` resolves to the reply where the document asks something. */
export interface ApplyForms {
  promise: {
    (document: NftQuery): Promise<RulesetJson>;
    (document: NftDocument, options?: CommitOptions): Promise<CommitResult | undefined>;
    (document: string | NftDocument | NftQuery, options?: TextOptions): Promise<CommitResult | RulesetJson | undefined>;
  };
  sync: {
    (document: NftQuery): RulesetJson;
    (document: NftDocument, options?: CommitOptions): CommitResult | undefined;
    (document: string | NftDocument | NftQuery, options?: TextOptions): CommitResult | RulesetJson | undefined;
  };
}

/** `ruleset` resolves to objects, or to JSON or text where that is asked for. */
export interface RulesetForms {
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
export interface ElementsForms {
  promise: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): Promise<ElementValue[]>;
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): Promise<WireElement[]>;
  };
  sync: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): ElementValue[];
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): WireElement[];
  };
}

/**
 * The nf_tables of one network namespace.
 * Needs CAP_NET_ADMIN in the user namespace that owns it; a container's own root has that.
 * @example
 * using nft = Nftables.open({ netns });
 * const tables = await nft.tables();
 */
export class Nftables extends syncAndAsync(NftablesOperations) {
  declare readonly apply: ApplyForms['promise'];
  declare readonly commit: CommitForms['promise'];
  declare readonly ruleset: RulesetForms['promise'];
  declare readonly elements: ElementsForms['promise'];
  declare readonly sync: Omit<Synchronous<NftablesOperations>, 'apply' | 'commit' | 'elements' | 'ruleset'> & {
    /** As the promise form, done when it returns: carries out commands of nft. */
    apply: ApplyForms['sync'];
    /** As the promise form, done when it returns: carries out a transaction, all of it or nothing. */
    commit: CommitForms['sync'];
    /** As the promise form, done when it returns: the elements of a set or map. */
    elements: ElementsForms['sync'];
    /** As the promise form, done when it returns: the whole ruleset, of one generation. */
    ruleset: RulesetForms['sync'];
  };
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    super(exchange);
    this.#exchange = exchange;
  }

  /**
   * Opens a socket in the namespace and asks nothing yet.
   * @param options `netns`, the namespace, default the process's own; `logger`
   * @throws StateError ERR_CLOSED the namespace's handle is closed; NetNsError it cannot be entered
   * @example
   * using nft = Nftables.open({ netns });
   */
  static open(options: NftablesOptions = {}): Nftables {
    return new Nftables(openExchange(options));
  }

  /**
   * Gives the rules one after the other, by `for await` or, on this thread, by `for`: memory does not grow with their number, as it does with
   * `rules`. Each iteration asks the kernel anew, in a socket of its own.
   * @param filter `family`, `table`, `chain`: only the rules there; `chain` needs `table`, and that `family`; default: all; `signal`
   * @throws TypeError or RangeError with the path of a wrong field; StateError ERR_CLOSED; of the iteration: NetlinkError EPERM without
   * CAP_NET_ADMIN over the namespace, StateError ERR_DUMP_INTERRUPTED others have committed in between, and rules may be missing: begin again
   * @example
   * const comments = new Set<string>();
   * for await (const { comment } of nft.eachRule({ family: 'inet', table: 'web' })) if (comment !== undefined) comments.add(comment);
   */
  eachRule(filter: RuleFilter = {}): RuleIteration {
    this.#exchange.lifetime.checkOpen();
    return new RuleIteration(this.#exchange, filter, XT_LAYOUTS);
  }

  /**
   * Follows what others, and this handle, change from now on: transaction by transaction, in a socket of its own.
   * When events were lost for want of room, the state is read again and comes as an item of type 'state'. It is open until its iteration is left,
   * `close()`, the signal, or the end of this handle.
   * @param options what to follow, the size of the buffer in bytes, `signal`
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   * @example
   * for await (const item of nft.monitor()) console.log(item.type);
   */
  monitor(options: MonitorOptions = {}): Monitor {
    checkMonitorOptions(options);
    const source = {
      ruleset: (filter: ListFilter) => this.ruleset({ ...filter, elements: true }),
      order: async (chain: ListFilter & { chain: string }) => (await this.rules(chain)).map(({ handle }) => handle),
      generation: () => this.generation(),
    };
    return openWatcher(
      this.#exchange,
      [NFNLGRP_NFTABLES],
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new Monitor(reader, source, options, closed),
    );
  }

  /**
   * Follows packets through the rules, step by step: those that a rule with `meta nftrace set 1` has marked.
   * It is open until its iteration is left, `close()`, the signal, or the end of this handle.
   * @param options which steps, the size of the buffer in bytes, `signal`
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   * @example
   * for await (const step of nft.trace()) console.log(step);
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
  return openSocket(options, (code, path) => hintFor({ code, path }));
}
