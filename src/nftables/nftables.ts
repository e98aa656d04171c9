import { checkObject } from '../codec/index.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import { NFNLGRP_NFTABLES, NFNLGRP_NFTRACE } from '../linux/nfnetlink.ts';
import { Exchange, NetlinkSocket, openWatcher, type Synchronous, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import type { ApplyForms, CommitForms, ElementsForms, RulesetForms } from './forms.ts';
import { NftablesOperations } from './nftables-operations.ts';
import type { ListFilter } from './read/listing.ts';
import { checkMonitorOptions, MONITOR_BUFFER_BYTES, Monitor, type MonitorOptions } from './watch/monitor.ts';
import { checkTraceOptions, Trace, type TraceOptions } from './watch/tracing.ts';

/** What a handle is opened with. */
export interface NftablesOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  logger?: Logger;
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
  checkObject(options, [], ['netns', 'logger']);
  const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
  return new Exchange(socket, 'nftables', new Observer(options.logger));
}
