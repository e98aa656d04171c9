import type { Conntrack } from 'netsteer/conntrack';
import {
  dnat,
  fib,
  ip,
  masquerade,
  type Nftables,
  type Statement,
  type TablePlace,
  Transaction,
  table,
  tcp,
  udp,
} from 'netsteer/nftables';

/** Where a container listens. */
export interface Target {
  address: string;
  port: number;
}

/** What a port of the host is published as. */
export interface PublishedPortOptions {
  protocol: 'tcp' | 'udp';
  /** The port of the host, at all of its addresses. */
  port: number;
}

/**
 * A port of the host that leads to a container, as docker publishes one: for connections that arrive, for those of the host itself, and for those of the
 * container to its own published port (hairpin). The rules stand in a table of their own.
 */
export class PublishedPort {
  readonly #nft: Nftables;
  readonly #ct: Conntrack;
  readonly #options: PublishedPortOptions;
  readonly #table: TablePlace;
  #target: Target | undefined;

  /** Both handles work in the namespace of the host, which must forward packets (net.ipv4.ip_forward). */
  constructor(nft: Nftables, ct: Conntrack, options: PublishedPortOptions) {
    this.#nft = nft;
    this.#ct = ct;
    this.#options = options;
    this.#table = table('ip', `published-${options.protocol}-${options.port}`);
  }

  /**
   * Makes the port lead to this container, in one transaction, and ends the UDP flows that led to the one before.
   * @returns how many flows were ended
   */
  async leadTo(target: Target): Promise<number> {
    const { protocol, port } = this.#options;
    const isPublished = (protocol === 'tcp' ? tcp : udp).dport.eq(port);
    const toContainer: Statement[] = [
      fib('daddr').type.eq('local'),
      isPublished,
      dnat({ to: target.address, port: target.port }),
    ];
    // The container would answer itself past the host, and not understand the answer: it is to come from the host.
    const isHairpin: Statement[] = [ip.saddr.eq(target.address), ip.daddr.eq(target.address), masquerade()];
    const arriving = this.#table.chain('arriving', { type: 'nat', hook: 'prerouting', priority: 'dstnat' });
    const own = this.#table.chain('own', { type: 'nat', hook: 'output', priority: 'dstnat' });
    const leaving = this.#table.chain('leaving', { type: 'nat', hook: 'postrouting', priority: 'srcnat' });
    await this.#nft.commit(
      new Transaction()
        .destroy(this.#table)
        .add(this.#table)
        .add(arriving)
        .add(own)
        .add(leaving)
        .add(arriving.rule(toContainer))
        .add(own.rule(toContainer))
        .add(leaving.rule(isHairpin)),
    );
    return this.#endFlows(target);
  }

  /** Takes the rules away, and ends the flows that they have translated, of TCP too: nothing leads back any more. */
  async close(): Promise<number> {
    await this.#nft.commit(new Transaction().destroy(this.#table));
    return this.#endFlows(undefined);
  }

  /** Behind the commit: before it, the next packet would make the same entry again. */
  async #endFlows(next: Target | undefined): Promise<number> {
    const { protocol, port } = this.#options;
    const before = this.#target;
    this.#target = next;
    const isSame = before?.address === next?.address && before?.port === next?.port;
    // A TCP connection goes on as long as there is a container that answers.
    if (before === undefined || isSame || (protocol === 'tcp' && next !== undefined)) return 0;
    return this.#ct.flush({
      protocol,
      destinationPort: port,
      nat: 'destination',
      reply: { source: before.address, sourcePort: before.port },
    });
  }
}
