import {
  checkInteger,
  formatIPv4,
  formatIPv6,
  fromHex,
  HOST_IS_LITTLE_ENDIAN,
  hexByte,
  ipv4Bits,
  NO_BITS,
  parseIPv4,
  parseIPv6,
  sourceOf,
  toHex,
  Writer,
} from '../codec/index.ts';
import { type Path, rangeError } from '../errors.ts';
import { AF_INET6 } from '../linux/socket.ts';

/* Addresses and masks as IPVS has them: sixteen bytes for an address of either family, four for a mask or a prefix length. */

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const REST = '0'.repeat(24);

/** As `addressBytes`, for IPv4 only; undefined for any other text. Makes no typed array, which would cost a batch as much as a message. */
export function ipv4Bytes(text: string): string | undefined {
  const bits = typeof text === 'string' ? ipv4Bits(text, 0, text.length) : NO_BITS;
  if (bits === NO_BITS) return undefined;
  return `${HEX[bits >>> 24]}${HEX[(bits >>> 16) & 0xff]}${HEX[(bits >>> 8) & 0xff]}${HEX[bits & 0xff]}${REST}`;
}

/** The address as the kernel wants it: sixteen bytes, an IPv4 address in the first four. */
export function addressBytes(text: string): string {
  const bytes = parseIPv4(text) ?? parseIPv6(text) ?? new Uint8Array(0);
  return toHex(bytes).padEnd(32, '0');
}

export function addressText(hex: string, family: number): string {
  if (family !== AF_INET6 && hex.length >= 8) {
    return `${hexByte(hex, 0)}.${hexByte(hex, 2)}.${hexByte(hex, 4)}.${hexByte(hex, 6)}`;
  }
  const bytes = fromHex(hex.padEnd(32, '0')) ?? new Uint8Array(16);
  return family === AF_INET6 ? formatIPv6(bytes) : formatIPv4(bytes);
}

/** Can a packet have this address as its destination? Not 0.0.0.0, ::, a multicast or the broadcast address. */
export function isReachable(address: string): boolean {
  if (address.charCodeAt(0) === ONE) return true;
  if (address.includes(':')) return !/^(ff|0*$)/.test(addressBytes(address));
  return isReachableIPv4(ipv4Bits(address, 0, address.length));
}
/** As above, of an IPv4 address as `ipv4Bits` returns it. A text that is no address is refused elsewhere. */
export function isReachableIPv4(bits: number): boolean {
  return bits === NO_BITS || (bits !== 0 && bits !== -1 && bits >>> 28 !== MULTICAST);
}
/** The first four bits of 224.0.0.0/4. */
const MULTICAST = 0xe;
/** None of these addresses begins with it, and most others do. */
const ONE = 0x31;

/** The masks that make each address its own client. */
const WHOLE_IPV4 = 'ffffffff';
const WHOLE_IPV6 = HOST_IS_LITTLE_ENDIAN ? '80000000' : '00000080';

/**
 * Encodes the mask of persistence, which the kernel always wants: for IPv4 the bytes of the mask, for IPv6 a prefix length as a number in host order. An
 * IPv4 mask may have holes, and 0.0.0.0 makes all clients one. The kernel refuses an IPv6 prefix of 0 with EINVAL.
 */
export function encodeNetmask(netmask: unknown, path: Path, family: number): string {
  if (netmask === undefined) return family === AF_INET6 ? WHOLE_IPV6 : WHOLE_IPV4;
  if (family === AF_INET6) {
    const writer = new Writer(4);
    writer.u32(checkInteger(netmask, path, 1, 128), HOST_IS_LITTLE_ENDIAN);
    return toHex(writer.bytes, 0, 4);
  }
  const mask = typeof netmask === 'string' ? parseIPv4(netmask) : undefined;
  if (mask !== undefined) return toHex(mask);
  if (typeof netmask === 'string')
    throw rangeError(path, 'an IPv4 mask such as 255.255.255.0, or a prefix length', netmask);
  return (prefixMask(checkInteger(netmask, path, 0, 32)) >>> 0).toString(16).padStart(8, '0');
}

/** An IPv4 prefix as a mask: '255.255.255.0'. */
export function dottedMask(prefix: number): string {
  const mask = prefixMask(prefix);
  return [24, 16, 8, 0].map(shift => (mask >>> shift) & 0xff).join('.');
}

const prefixMask = (prefix: number): number => (prefix === 0 ? 0 : ~(2 ** (32 - prefix) - 1) >>> 0);

/** The mask as a caller sees it; undefined if each address is its own client. */
export function decodeNetmask(netmask: string, family: number): string | number | undefined {
  const bytes = fromHex(netmask);
  if (bytes?.length !== 4) return undefined;
  if (family === AF_INET6) {
    const prefix = sourceOf(bytes).view.getUint32(0, HOST_IS_LITTLE_ENDIAN);
    return prefix === 128 ? undefined : prefix;
  }
  return bytes.every(byte => byte === 255) ? undefined : formatIPv4(bytes);
}
