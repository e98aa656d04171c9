import { parseIPv4, parseIPv6 } from '../codec/index.ts';
import { ETH_P_ARP, ETH_P_IPV6 } from '../linux/if_ether.ts';
import { AF_PACKET, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from '../linux/socket.ts';
import type { NetNs } from '../netns/index.ts';
import type { Links } from '../rtnetlink/index.ts';

/*
 * Neighbours keep the hardware address of an address's former holder for most of a minute, unless the new holder tells them. The kernel does not.
 */

const BROADCAST = 'ffffffffffff';
/** The group of all nodes, ff02::1, on Ethernet (RFC 2464, section 7). */
const ALL_NODES = '333300000001';

/** A gratuitous ARP request (RFC 5227, section 3): neighbours take it at once, unlike the form of a reply, which they may ignore for a second. */
export function gratuitousArp(hardware: string, address: string): Uint8Array {
  const ip = Buffer.from(parseIPv4(address)!).toString('hex');
  return Buffer.from(
    `${BROADCAST}${hardware}080600010800060400 01${hardware}${ip}000000000000${ip}`.replaceAll(' ', ''),
    'hex',
  );
}

/** An unsolicited neighbour advertisement with the override flag (RFC 4861, section 7.2.6). */
export function unsolicitedAdvertisement(hardware: string, address: string): Uint8Array {
  const source = Buffer.from(parseIPv6(address)!);
  const target = Buffer.from(parseIPv6('ff02::1')!);
  const body = Buffer.concat([Buffer.from('8800000020000000', 'hex'), source, Buffer.from(`0201${hardware}`, 'hex')]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const pseudo = Buffer.concat([source, target, length, Buffer.from('0000003a', 'hex'), body]);
  body.writeUInt16BE(checksum(pseudo), 2);
  const header = Buffer.from('6000000000203aff', 'hex');
  return Buffer.concat([Buffer.from(`${ALL_NODES}${hardware}86dd`, 'hex'), header, source, target, body]);
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/**
 * Tells the neighbours of a device that an address is there now.
 * @returns the errno, or 0: a device that is no Ethernet needs no announcement
 */
export async function announce(netns: NetNs, links: Links, device: string, address: string): Promise<number> {
  const link = await links.get(device);
  const hardware = link.address?.replaceAll(':', '');
  if (hardware === undefined || hardware.length !== 12 || /^0+$/.test(hardware)) return 0;
  const isIPv6 = address.includes(':');
  const frame = isIPv6 ? unsolicitedAdvertisement(hardware, address) : gratuitousArp(hardware, address);
  const { ffi } = netns.access;
  const fd = netns.run(() => ffi.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd < 0) return fd;
  try {
    const bound = ffi.bind(fd, packetAddress(link.index, isIPv6 ? ETH_P_IPV6 : ETH_P_ARP));
    return bound < 0 ? bound : Math.min(0, ffi.send(fd, frame, frame.length, 0));
  } finally {
    ffi.close(fd);
  }
}

/** `struct sockaddr_ll`. */
function packetAddress(index: number, protocol: number): Uint8Array {
  const bytes = new Uint8Array(20);
  new Uint16Array(bytes.buffer, 0, 1)[0] = AF_PACKET;
  new DataView(bytes.buffer).setUint16(2, protocol);
  new Int32Array(bytes.buffer, 4, 1)[0] = index;
  return bytes;
}
