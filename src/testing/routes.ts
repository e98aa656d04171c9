import type { Address, Link, Namespace } from './machine/state.ts';

/* Where packets go: what the addresses and the routes of a namespace say of an address. */

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
export function isInside(address: Uint8Array, network: Uint8Array, prefix: number): boolean {
  if (address.length !== network.length) return false;
  for (let bit = 0; bit < prefix; bit += 8) {
    const mask = prefix - bit >= 8 ? 0xff : (0xff << (8 - (prefix - bit))) & 0xff;
    if (((address[bit >> 3]! ^ network[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

export type AddressType = 'unicast' | 'local' | 'broadcast' | 'multicast';
/** RTN_UNICAST and its like. */
export const RTN: Record<AddressType, number> = { unicast: 1, local: 2, broadcast: 3, multicast: 5 };

export function typeOfAddress({ links }: Namespace, address: Uint8Array): AddressType {
  if (address.length === 4) {
    if ((address[0]! & 0xf0) === 0xe0) return 'multicast';
    if (address.every(byte => byte === 255)) return 'broadcast';
    if (address[0] === 127) return 'local';
  } else if (address[0] === 0xff) return 'multicast';
  for (const { addresses } of links) for (const { bytes } of addresses) if (equal(bytes, address)) return 'local';
  return 'unicast';
}

/** The device through which an address is reached. */
export const route = (namespace: Namespace, destination: Uint8Array): Link | undefined =>
  wayTo(namespace, destination)?.link;

/** The neighbour to which a packet goes: the gateway of the route, or the destination itself. */
export const nextHop = (namespace: Namespace, destination: Uint8Array): Uint8Array =>
  wayTo(namespace, destination)?.via ?? destination;

/** The longest prefix wins. */
function wayTo({ links, routes }: Namespace, destination: Uint8Array): { link: Link; via?: Uint8Array } | undefined {
  let best: { link: Link; prefix: number; via?: Uint8Array } | undefined;
  const offer = (link: Link | undefined, prefix: number, via?: Uint8Array) => {
    if (link?.up && (best === undefined || prefix > best.prefix)) best = { link, prefix, ...(via && { via }) };
  };
  for (const link of links)
    for (const { bytes, prefix } of link.addresses) if (isInside(destination, bytes, prefix)) offer(link, prefix);
  for (const { to, prefix, device, via } of routes)
    if (isInside(destination, to, prefix))
      offer(
        links.find(each => each.index === device),
        prefix,
        via,
      );
  return best;
}

/** Of the addresses of a device that with which it speaks to another: one of the same network, or the first. */
export function ownAddress(addresses: readonly Address[], other: Uint8Array): Uint8Array | undefined {
  const own = addresses.filter(({ bytes }) => bytes.length === other.length);
  return (own.find(({ bytes, prefix }) => isInside(other, bytes, prefix)) ?? own[0])?.bytes;
}

/** The address of this host that a packet to a destination gets. */
export function sourceTowards(namespace: Namespace, destination: Uint8Array): Uint8Array | undefined {
  return ownAddress(route(namespace, destination)?.addresses ?? [], destination);
}
