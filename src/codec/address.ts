/**
 * Returns the four bytes of a dotted IPv4 address, or undefined. The octal and short forms that inet_aton takes are rejected.
 * @param text '10.0.0.1'
 * @example
 * console.log(parseIPv4('10.0.0.1'));
 */
export function parseIPv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  return readIPv4(text, bytes, 0) ? bytes : undefined;
}

/**
 * Writes the four bytes of a dotted IPv4 address. Returns false if the text is none; nothing is written then.
 * @param text '10.0.0.1'
 * @param into the array that the bytes are written to
 * @param at the offset of the first byte
 * @example
 * const bytes = new Uint8Array(4);
 * if (!readIPv4('10.0.0.1', bytes, 0)) throw new Error('no address');
 */
export function readIPv4(text: string, into: Uint8Array, at: number): boolean {
  const bits = ipv4Bits(text, 0, text.length);
  if (bits === NO_BITS) return false;
  into[at] = bits >>> 24;
  into[at + 1] = bits >>> 16;
  into[at + 2] = bits >>> 8;
  into[at + 3] = bits;
  return true;
}

/**
 * Returns a dotted IPv4 address as a number, or -1 if the text is none. It takes the same texts as `parseIPv4`.
 * @param text '10.0.0.1'
 * @example
 * console.log(ipv4Number('10.0.0.1').toString(16)); // 'a000001'
 */
export function ipv4Number(text: string): number {
  const bits = ipv4Bits(text, 0, text.length);
  return bits === NO_BITS ? -1 : bits >>> 0;
}

/**
 * Returns a dotted IPv4 address between two places of a text as an integer of 32 bits with a sign: V8 keeps these without memory of their own. NO_BITS if
 * there is none.
 * @param text the text
 * @param from where the address begins
 * @param end where it ends
 * @example
 * console.log(ipv4Bits('-t 10.0.0.1:80', 3, 11) === 0x0a000001); // true
 */
export function ipv4Bits(text: string, from: number, end: number): number {
  let dots = 0;
  let bits = 0;
  let value = -1;
  for (let i = from; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit >= 0 && digit <= 9) {
      // A leading zero would be octal to some readers and decimal to others.
      if (value === 0) return NO_BITS;
      value = value < 0 ? digit : value * 10 + digit;
      if (value > 255) return NO_BITS;
    } else {
      if (digit !== DOT || value < 0 || dots === 3) return NO_BITS;
      bits = (bits << 8) | value;
      dots++;
      value = -1;
    }
  }
  return value < 0 || dots !== 3 ? NO_BITS : (bits << 8) | value;
}

/** What `ipv4Bits` returns for a text that is no address. No integer with 32 bits is the same. */
export const NO_BITS = 2 ** 32;

/** The value of '.' after the code of '0' was subtracted, as it is for digits. */
const DOT = 0x2e - 0x30;

/**
 * Formats four bytes as a dotted IPv4 address.
 * @param bytes the array that holds the address
 * @param at the offset of its first byte
 * @example
 * console.log(formatIPv4(new Uint8Array([10, 0, 0, 1])));
 */
export function formatIPv4(bytes: Uint8Array, at = 0): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/**
 * Returns the sixteen bytes of an IPv6 address (RFC 4291, 2.2), or undefined. An address may not have a zone ('%eth0').
 * @param text '2001:db8::1'
 * @example
 * console.log(parseIPv6('2001:db8::1'));
 */
export function parseIPv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = readGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? readGroups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

function readGroups(text: string, mayEndInIPv4: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (group.includes('.')) {
      const v4 = mayEndInIPv4 && i === groups.length - 1 ? parseIPv4(group) : undefined;
      if (v4 === undefined) return undefined;
      bytes.push(...v4);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes.length <= 16 ? bytes : undefined;
}

/**
 * Formats sixteen bytes as an IPv6 address, in the form of RFC 5952:
 * lower case, no leading zeros, and '::' for the first longest run of two or more zero groups.
 * @param bytes the array that holds the address
 * @param at the offset of its first byte
 * @example
 * console.log(formatIPv6(new Uint8Array(16)));
 */
export function formatIPv6(bytes: Uint8Array, at = 0): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[at + i]! << 8) | bytes[at + i + 1]!);
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) [best, bestLength] = [i, length];
    if (length > 0) i += length;
  }
  // IPv4-mapped addresses end in their dotted form (RFC 5952, 5), as inet_ntop prints them.
  if (best === 0 && bestLength === 5 && groups[5] === 0xffff) return `::ffff:${formatIPv4(bytes, at + 12)}`;
  const hex = (part: number[]) => part.map(group => group.toString(16)).join(':');
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`;
}

/**
 * Returns 4 or 6 for an address in text form, and undefined for anything else.
 * @param text any text
 * @example
 * console.log(addressVersion('2001:db8::1'));
 */
export function addressVersion(text: string): 4 | 6 | undefined {
  if (parseIPv4(text) !== undefined) return 4;
  return parseIPv6(text) === undefined ? undefined : 6;
}
