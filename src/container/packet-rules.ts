import type { Exchange } from '../netlink/index.ts';
import { Nftables } from '../nftables/nftables.ts';
import { WatchedLogging } from './logging/known-rules.ts';
import { Logging } from './logging/logging.ts';
import { Redirects } from './redirects/redirects.ts';

/** The handles that program the nf_tables of one container, over one socket. */
export class PacketRules {
  readonly nftables: Nftables;
  readonly redirects: Redirects;
  readonly logging: Logging;

  constructor(exchange: Exchange, loggingChanged: () => void = () => {}) {
    this.nftables = new Nftables(exchange);
    this.redirects = new Redirects(exchange);
    this.logging = new Logging(exchange, new WatchedLogging(exchange, loggingChanged));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.nftables, this.redirects, this.logging].map(handle => handle[Symbol.asyncDispose]()));
  }
}
