import { ETH_P_IP, ETH_P_IPV6 } from '../../linux/if_ether.ts';
import type { Tracked, Zone } from '../conntrack/state.ts';
import type { Link } from '../machine/state.ts';

/** A packet on its way through the hooks of a namespace. */
export interface Packet {
  /** What traces call it. */
  readonly id: number;
  /** From the network header on. */
  bytes: Uint8Array;
  /** The link header, where there is one: received packets keep theirs, also on the way out. */
  link: Uint8Array | undefined;
  /** The EtherType. */
  protocol: number;
  /** Where the transport header begins in `bytes`; undefined where there is none. */
  transport: number | undefined;
  /** The number of the transport protocol; undefined where there is none. */
  transportProtocol: number | undefined;
  /** 0 for whole packets and first fragments. */
  fragmentOffset: number;
  mark: number;
  priority: number;
  inDevice: Link | undefined;
  outDevice: Link | undefined;
  /** pkt_type: 0 for this host, 1 broadcast, 2 multicast, 3 another host, 5 loopback. */
  packetType: number;
  /** Of the socket that has sent it. */
  user: number | undefined;
  group: number | undefined;
  trace: boolean;
  /** What connection tracking says of it; undefined where it has not seen it, or holds it for invalid. */
  tracked: Tracked | undefined;
  /** The zone in which its connection is to be, where a rule has said so. */
  zone?: Zone;
  /** A rule has taken it out of connection tracking. */
  untracked: boolean;
  /** IPVS has seen to it: its hooks leave it alone from then on. */
  balanced?: boolean;
}

/** Extension headers of IPv6 behind which the search for the transport header goes on: hop by hop, routing, fragment, destination options. */
const EXTENSIONS = new Set([0, 43, 44, 60]);
const FRAGMENT = 44;
const AUTHENTICATION = 51;

export const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
export const u32 = (bytes: Uint8Array, at: number): number => (u16(bytes, at) * 0x10000 + u16(bytes, at + 2)) >>> 0;
export function setU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

/** A packet of which nothing but the bytes is known. */
export const newPacket = (bytes: Uint8Array, protocol: number): Packet => ({
  id: Math.floor(Math.random() * 0x1_0000_0000),
  bytes,
  link: undefined,
  protocol,
  transport: undefined,
  transportProtocol: undefined,
  fragmentOffset: 0,
  mark: 0,
  priority: 0,
  inDevice: undefined,
  outDevice: undefined,
  packetType: 0,
  user: undefined,
  group: undefined,
  trace: false,
  tracked: undefined,
  untracked: false,
});

/** Finds the transport header anew: each chain does so at its beginning (nft_set_pktinfo_ipv4, nft_set_pktinfo_ipv6). */
export function parse(packet: Packet, mayBeMalformed = false): void {
  const { bytes, protocol } = packet;
  packet.transport = undefined;
  packet.transportProtocol = undefined;
  packet.fragmentOffset = 0;
  if (mayBeMalformed && !isWhole(packet)) return;
  if (protocol === ETH_P_IP && bytes.length >= 20) {
    packet.transport = (bytes[0]! & 15) * 4;
    packet.transportProtocol = bytes[9]!;
    packet.fragmentOffset = u16(bytes, 6) & 0x1fff;
  } else if (protocol === ETH_P_IPV6 && bytes.length >= 40) parseSix(packet);
}

/** Whether a frame has all of the packet that its header tells of: before IPv4 and IPv6 have looked at it (nft_set_pktinfo_ipv4_validate). */
export function isWhole({ bytes, protocol }: Packet): boolean {
  if (protocol === ETH_P_IP) {
    const header = (bytes[0]! & 15) * 4;
    if (bytes.length < 20 || bytes[0]! >> 4 !== 4 || header < 20) return false;
    const length = u16(bytes, 2);
    return length <= bytes.length && length >= header;
  }
  return bytes.length >= 40 && bytes[0]! >> 4 === 6 && 40 + u16(bytes, 4) <= bytes.length;
}

/** ipv6_find_hdr: behind the extension headers, of which an authentication header is the last that is looked at. */
function parseSix(packet: Packet): void {
  const { bytes } = packet;
  let next = bytes[6]!;
  let at = 40;
  while (EXTENSIONS.has(next)) {
    if (at + (next === FRAGMENT ? 4 : 2) > bytes.length) return;
    const following = bytes[at]!;
    if (next === FRAGMENT) {
      const offset = u16(bytes, at + 2) & 0xfff8;
      if (offset > 0) {
        if (EXTENSIONS.has(following) || following === AUTHENTICATION) return;
        // The kernel leaves the place of the header at 0.
        packet.fragmentOffset = offset;
        packet.transportProtocol = following;
        packet.transport = 0;
        return;
      }
      at += 8;
    } else at += (bytes[at + 1]! + 1) * 8;
    next = following;
  }
  if (next === AUTHENTICATION && at + 2 > bytes.length) return;
  packet.transportProtocol = next;
  packet.transport = at;
}

/** The Internet checksum of bytes, begun with a sum (RFC 1071). */
export function checksum(bytes: Uint8Array, start: number, end: number, begun = 0): number {
  let sum = begun;
  for (let at = start; at + 1 < end; at += 2) sum += u16(bytes, at);
  if ((end - start) % 2 === 1) sum += bytes[end - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** What the pseudo header of TCP and UDP adds to their sum. */
export function pseudoSum(packet: Packet, protocol: number, length: number): number {
  const { bytes } = packet;
  const [start, end] = packet.protocol === ETH_P_IP ? [12, 20] : [8, 40];
  let sum = protocol + length;
  for (let at = start; at < end; at += 2) sum += u16(bytes, at);
  return sum;
}

/** AF_INET or AF_INET6. */
export const familyOf = ({ protocol }: Packet): number => (protocol === ETH_P_IP ? 2 : 10);
export const sourceOf = ({ bytes, protocol }: Packet): Uint8Array =>
  protocol === ETH_P_IP ? bytes.subarray(12, 16) : bytes.subarray(8, 24);
export const destinationOf = ({ bytes, protocol }: Packet): Uint8Array =>
  protocol === ETH_P_IP ? bytes.subarray(16, 20) : bytes.subarray(24, 40);
