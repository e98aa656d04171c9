import { parseIPv4, parseIPv6 } from '../codec/index.ts';
import { rangeError } from '../errors.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import type { Address, Link, Namespace } from './machine/state.ts';

/** A device of a container. */
export interface LinkOptions {
  /** Its name: at most 15 bytes. */
  readonly name: string;
  /** Its addresses with the lengths of their prefixes: '192.168.0.50/24'. An address without one has all its bits. */
  readonly addresses?: readonly string[];
}

const MOST_OF_NAME = 15;
const ETHERNET_MTU = 1500;

/** Gives a namespace a device that is up, as a runtime does with the veth of a container. */
export function addLink(namespace: Namespace, { name, addresses = [] }: LinkOptions): void {
  if (typeof name !== 'string' || name === '' || /[\s/]/.test(name) || Buffer.byteLength(name) > MOST_OF_NAME)
    throw rangeError(['links', 'name'], 'a name of 1 to 15 bytes without slashes and spaces', name);
  if (namespace.links.some(each => each.name === name))
    throw rangeError(['links', 'name'], 'a name that no other device of the container has', name);
  const index = ++namespace.lastIndex;
  const link: Link = {
    index,
    name,
    up: true,
    mtu: ETHERNET_MTU,
    group: 0,
    kind: 'veth',
    hardwareAddress: Uint8Array.of(2, 0, 0, 0, 0, index),
    loopback: false,
    addresses: addresses.map(addressOf),
  };
  namespace.links.push(link);
}

function addressOf(text: string): Address {
  const [, address = '', length] = /^([\d.]+|[\da-fA-F:.]*:[\da-fA-F:.]*)(?:\/(\d{1,3}))?$/.exec(String(text)) ?? [];
  const bytes = address.includes(':') ? parseIPv6(address) : parseIPv4(address);
  const prefix = Number(length ?? (bytes?.length ?? 0) * 8);
  if (bytes === undefined || prefix > bytes.length * 8)
    throw rangeError(
      ['links', 'addresses'],
      "an address with the length of its prefix, such as '192.168.0.50/24'",
      text,
    );
  return { family: bytes.length === 4 ? AF_INET : AF_INET6, bytes, prefix };
}
