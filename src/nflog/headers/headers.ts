import type { Source } from '../../codec/index.ts';
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP } from '../../linux/if_ether.ts';
import type { Redactor } from '../address.ts';
import { type ArpFields, arp } from './arp.ts';
import { isTag, tagsOf } from './ethernet.ts';
import { type IpFields, ipv4 } from './ipv4.ts';
import { ipv6 } from './ipv6.ts';
import type { Network, NetworkFields } from './network.ts';

/** The headers at the front of a packet, as far as they were captured. The packet's sender wrote all of it. */
export interface Headers extends NetworkFields, IpFields, ArpFields {}

/** By EtherType. */
export const NETWORKS: ReadonlyMap<number | undefined, Network<Headers>> = new Map<number, Network<Headers>>([
  [ETH_P_IP, ipv4],
  [ETH_P_IPV6, ipv6],
  [ETH_P_ARP, arp],
  [ETH_P_RARP, arp],
]);

/**
 * Reads the headers of what begins at `start`, never past `end`. Undefined if it is of no network known here, or cut
 * off within the network header. `show` prints the addresses.
 */
export function readHeaders(
  source: Source,
  start: number,
  end: number,
  etherType: number | undefined,
  show: Redactor,
): Headers | undefined {
  let network = NETWORKS.get(etherType);
  // Further VLAN tags, which the kernel leaves in the packet: two bytes, and the type of what is behind them.
  for (; network === undefined && isTag(etherType) && end - start >= 4; start += 4) {
    etherType = source.view.getUint16(start + 2);
    network = NETWORKS.get(etherType);
  }
  return network?.read(source, start, end, show);
}

/** The properties of a packet that tell its network protocol. */
interface Framed {
  readonly family: string | number;
  readonly etherType: number | undefined;
  readonly linkHeader: Uint8Array | undefined;
}

/**
 * The protocol that the payload begins with. Rules of 'bridge' and 'netdev' see all protocols, behind tags in the
 * link-layer header.
 */
export function networkProtocol(packet: Framed): number | undefined {
  const { family, etherType } = packet;
  if (family === 'ip') return ETH_P_IP;
  if (family === 'ip6') return ETH_P_IPV6;
  if (family === 'arp') return ETH_P_ARP;
  // Only a header that can have a tag is read.
  const linkHeader = isTag(etherType) ? packet.linkHeader : undefined;
  return (linkHeader && tagsOf(linkHeader).at(-1)?.next) ?? etherType;
}
