import { parseIPv4, parseIPv6, type Source } from '../codec/index.ts';
import { type FlowSelection, flushMatching } from '../conntrack/flush.ts';
import { countFlows } from '../conntrack/requests.ts';
import type { ByteSpan, FlowView } from '../conntrack/view.ts';
import type { DestinationKey } from '../ip_vs/destination.ts';
import { PROTOCOLS, type ServiceKey } from '../ip_vs/service.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import { IPS_DST_NAT } from '../linux/nf_conntrack_common.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import { Exchange, NetlinkSocket, type Operation, syncAndAsync } from '../netlink/index.ts';
import type { NetNs } from '../netns/netns.ts';
import type { Observer } from '../observe.ts';

/*
 * With `settings.conntrack`, the kernel also tracks the connections that IPVS masquerades. Such an entry names the real server as the source of
 * answers. With `settings.expire_nodest_conn`, Linux 5.9 and newer end it by themselves when the server is removed. Otherwise it stays for the
 * whole timeout, and the first packet that IPVS would schedule anew is dropped (ip_vs_conn_uses_old_conntrack, ip_vs_core.c).
 */

/** A masqueraded destination that was removed, and its service. */
export interface Served {
  readonly key: ServiceKey;
  readonly destinationKey: DestinationKey;
}

class TrackedOperations {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** Ends the tracked connections of a destination, and no others. @returns how many there were */
  *end(served: Served): Operation<number> {
    if ((yield* countFlows(this.#exchange)) === 0) return 0;
    return yield* flushMatching(this.#exchange, new ServedFlows(served), this.#exchange.sendingBudget);
  }
}

/** The connections that the kernel tracks, as far as IPVS has made them. */
export class TrackedConnections extends syncAndAsync(TrackedOperations) {
  static open(netns: NetNs, observer: Observer): TrackedConnections {
    return new TrackedConnections(
      new Exchange(new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }), 'conntrack', observer),
    );
  }
}

class ServedFlows implements FlowSelection {
  /** Of a firewall mark's service any protocol, address and port are meant. */
  readonly #service: { protocol: number; address: Uint8Array; port: number } | undefined;
  readonly #server: Uint8Array;
  readonly #port: number;

  constructor({ key, destinationKey: { address, port } }: Served) {
    this.#server = bytesOf(address);
    this.#port = port;
    if ('firewallMark' in key) return;
    const { protocol } = key;
    const number = typeof protocol === 'number' ? protocol : PROTOCOLS[protocol];
    this.#service = { protocol: number, address: bytesOf(key.address), port: key.port };
  }

  request() {
    return { family: this.#server.length === 4 ? AF_INET : AF_INET6, wire: {} };
  }

  matches(source: Source, { original, reply, status }: FlowView): boolean {
    // DNAT rules have the flag, IPVS has not.
    if ((status & IPS_DST_NAT) !== 0 || !isAt(source, reply.source, this.#server)) return false;
    const service = this.#service;
    // Port 0 of a server, and of a service, stands for the port that the client has asked for.
    const port = this.#port === 0 ? original.destinationPort : this.#port;
    if (reply.sourcePort !== port) return false;
    // A client that has asked the server itself has nothing to do with IPVS.
    if (service === undefined) return !isAt(source, original.destination, this.#server);
    return (
      original.protocol === service.protocol &&
      (service.port === 0 || original.destinationPort === service.port) &&
      isAt(source, original.destination, service.address)
    );
  }
}

const bytesOf = (address: string): Uint8Array => parseIPv4(address) ?? parseIPv6(address)!;

function isAt({ bytes }: Source, { start, end }: ByteSpan, address: Uint8Array): boolean {
  return start >= 0 && end - start === address.length && address.every((byte, i) => bytes[start + i] === byte);
}
