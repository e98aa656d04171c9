import { AF_INET } from '../../linux/socket.ts';
import type { Namespace } from '../machine/state.ts';

/* Kinds of addresses (inet_addr_type, ipv6_addr_type). */

export const isSame = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** As a part of keys. */
export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

export const isLocal = ({ links }: Namespace, address: Uint8Array): boolean =>
  (address.length === 4 && address[0] === 127 && links.some(({ loopback, up }) => loopback && up)) ||
  links.some(({ addresses }) => addresses.some(({ bytes }) => isSame(bytes, address)));

/** Whether a server may have this address: one of a host. IPv6's link-local ones are only taken if they are this host's own. */
export function isServer(namespace: Namespace, address: Uint8Array): boolean {
  if (address.length === 4) return isUnicast4(namespace, address);
  return (isUnicast6(address) && !isLinkLocal(address)) || isLocal(namespace, address);
}

/** Without any address in the namespace the kernel has no table to look into, and takes none. */
function isUnicast4({ links }: Namespace, address: Uint8Array): boolean {
  const isMulticast = (address[0]! & 0xf0) === 0xe0;
  if (isMulticast || address.every(byte => byte === 0) || address.every(byte => byte === 255)) return false;
  const own = links
    .filter(({ up }) => up)
    .flatMap(({ addresses }) => addresses.filter(({ family }) => family === AF_INET));
  return own.length > 0 && !own.some(({ bytes, prefix }) => prefix < 31 && isSame(broadcastOf(bytes, prefix), address));
}

function broadcastOf(address: Uint8Array, prefix: number): Uint8Array {
  const last = address.slice();
  for (let bit = prefix; bit < 32; bit++) last[bit >> 3]! |= 0x80 >> (bit & 7);
  return last;
}

const isLinkLocal = (address: Uint8Array): boolean => address[0] === 0xfe && (address[1]! & 0xc0) === 0x80;

/** Neither the unspecified address, nor multicast, nor an IPv4 address in IPv6's clothes. */
function isUnicast6(address: Uint8Array): boolean {
  if (address[0] === 0xff || address.every(byte => byte === 0)) return false;
  const isMapped = address.subarray(0, 10).every(byte => byte === 0) && address[10] === 255 && address[11] === 255;
  return !isMapped;
}

/** The network of a client: a mask for IPv4 in the order of the wire, the length of a prefix for IPv6. */
export function masked(address: Uint8Array, netmask: number): Uint8Array {
  const network = address.slice();
  if (address.length === 4) for (let i = 0; i < 4; i++) network[i]! &= netmask >>> (8 * i);
  else for (let bit = netmask; bit < 128; bit++) network[bit >> 3]! &= ~(0x80 >> (bit & 7));
  return network;
}
