import { ETH_P_IP } from '../../linux/if_ether.ts';
import { incremental } from '../conntrack/rewrite.ts';
import type { Engine } from '../nf_tables/expressions/type.ts';
import { checksum, type Packet, setU16, u16 } from './packet.ts';

/* What IPv4 and IPv6 do with a packet besides the hooks: the checks before them, and the count of hops. */

const IHL_UNIT = 4;
const FOUR_HEADER = 20;
const SIX_HEADER = 40;
const HOP_BY_HOP = 0;
const DONT_FRAGMENT = 0x40;
/** Options of IPv4 that routers write into, or that choose the way: record route, timestamps, source routes. */
const CHANGING = new Set([7, 68, 131, 137]);

/** Whether a received packet gets to the hooks (ip_rcv_core, ip6_rcv_core); what is behind it is cut off. @returns what is wrong with it */
export function admit(packet: Packet, engine: Engine): string | undefined {
  return packet.protocol === ETH_P_IP ? admitFour(packet, engine) : admitSix(packet);
}

function admitFour(packet: Packet, engine: Engine): string | undefined {
  const { bytes } = packet;
  if (bytes.length < FOUR_HEADER) return 'it is shorter than the header of IPv4';
  const header = (bytes[0]! & 15) * IHL_UNIT;
  if (bytes[0]! >> 4 !== 4 || header < FOUR_HEADER || header > bytes.length) return 'the header of IPv4 is malformed';
  if (checksum(bytes, 0, header) !== 0) return 'the checksum of the IPv4 header is wrong';
  const length = u16(bytes, 2);
  if (length > bytes.length) return 'it is cut off: the IPv4 header tells of more bytes';
  if (length < header) return 'the header of IPv4 is malformed';
  if (bytes.length > length) packet.bytes = bytes.slice(0, length);
  for (let at = FOUR_HEADER; at < header; ) {
    const kind = bytes[at]!;
    if (kind === 0) break;
    if (CHANGING.has(kind)) return engine.notModelled('options of IPv4 that routers write into, and source routes');
    at += kind === 1 ? 1 : Math.max(2, bytes[at + 1] ?? 2);
  }
  return undefined;
}

function admitSix(packet: Packet): string | undefined {
  const { bytes } = packet;
  if (bytes.length < SIX_HEADER) return 'it is shorter than the header of IPv6';
  if (bytes[0]! >> 4 !== 6) return 'the header of IPv6 is malformed';
  const isLoopbackAddress = (start: number) =>
    bytes.subarray(start, start + 16).every((byte, i) => byte === (i === 15 ? 1 : 0));
  if (packet.inDevice?.loopback === false && (isLoopbackAddress(8) || isLoopbackAddress(24)))
    return 'loopback addresses are martian on other devices';
  if (bytes[8] === 0xff) return 'its source is a multicast address';
  const length = u16(bytes, 4);
  if (length > 0 || bytes[6] !== HOP_BY_HOP) {
    if (SIX_HEADER + length > bytes.length) return 'it is cut off: the IPv6 header tells of more bytes';
    if (SIX_HEADER + length < bytes.length) packet.bytes = bytes.slice(0, SIX_HEADER + length);
  }
  return undefined;
}

/** One hop less. A checksum that a rule has made wrong stays wrong, unless it is made anew. @returns whether one was left */
export function lowerHops(packet: Packet, isCopy: boolean): boolean {
  const { bytes } = packet;
  if (packet.protocol !== ETH_P_IP) {
    if (bytes[7]! <= 1 && !isCopy) return false;
    bytes[7]!--;
    return true;
  }
  if (bytes[8]! <= 1 && !isCopy) return false;
  if (isCopy) {
    bytes[6]! |= DONT_FRAGMENT;
    bytes[8]!--;
    setU16(bytes, 10, 0);
    setU16(bytes, 10, checksum(bytes, 0, (bytes[0]! & 15) * IHL_UNIT));
    return true;
  }
  const old = bytes.slice(8, 10);
  bytes[8]!--;
  setU16(bytes, 10, incremental(u16(bytes, 10), old, bytes.subarray(8, 10)));
  return true;
}
