import { formatIPv4, formatIPv6, parseIPv6 } from '../codec/index.ts';
import { hosts } from './addresses.ts';
import { guided, type OptionPlace, refused, type Value } from './extension.ts';
import { lengthOfMask, maskOf, NO_MASK, parseAddress, parseNumber } from './values.ts';

/* Hosts and masks that options of extensions take. iptables reads them with C's getaddrinfo, and those of -s and -d by itself. */

const U32 = 0xffffffff;

/** A host as C's getaddrinfo takes it: IPv4 also with fewer than four parts, and the names of this machine's own file. */
export function parseHost(text: string, place: OptionPlace): string {
  const { family } = place;
  const address = family === 'ipv4' ? fromParts(text) : parseAddress(text, place);
  if (address !== undefined) return address;
  const size = family === 'ipv4' ? 4 : 16;
  const named = hosts()
    .get(text)
    ?.find(({ length }) => length === size);
  if (named !== undefined) return family === 'ipv4' ? formatIPv4(named) : formatIPv6(named);
  throw refused(place, `getaddrinfo: ${unresolved(text, family)}\n`);
}

/** The words of gai_strerror(3) for a host that is in no file, where no name server answers. */
function unresolved(text: string, family: OptionPlace['family']): string {
  const other = family === 'ipv4' ? parseIPv6(text) : fromParts(text);
  if (other !== undefined) return 'Address family for hostname not supported';
  return isHostName(text) ? 'Temporary failure in name resolution' : 'Name or service not known';
}

/** Would a name server be asked? Not for what has other characters, and not for numbers that are no address. */
const isHostName = (text: string): boolean =>
  /^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63})*\.?$/.test(text) && !/^[0-9.]+$/.test(text);

/** 1.2.3 is 1.2.0.3: the last part fills what is left. */
function fromParts(text: string): string | undefined {
  const parts = text.split('.').map(part => (/^\d/.test(part) ? parseNumber(part, U32) : undefined));
  if (parts.length > 4 || parts.some(part => part === undefined)) return undefined;
  const last = parts.pop()!;
  if (parts.some(part => part! > 255) || last >= 2 ** (8 * (4 - parts.length))) return undefined;
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, last);
  for (const [i, part] of parts.entries()) bytes[i] = part!;
  return formatIPv4(bytes);
}

/** A host. Always saved. */
export function host(key: string): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      info[key] = parseHost(text!, place);
    },
    print: info => info[key] as string | undefined,
  };
}

/**
 * The length of a prefix: a number, or a mask. Undefined where none is given, and for a mask of other shape than ones before zeros: iptables
 * sets all bytes of the structure then.
 */
function lengthOf(text: string | undefined, place: OptionPlace): number | undefined {
  if (text === undefined) return undefined;
  const all = place.family === 'ipv4' ? 32 : 128;
  const length = parseNumber(text, all);
  if (length !== undefined) return length;
  const mask = place.family === 'ipv4' ? fromParts(text) : parseAddress(text, place);
  if (mask !== undefined) return lengthOfMask(mask);
  throw guided(
    place,
    `bad value for option "--${place.option}", neither a valid network mask nor valid CIDR (0-${all}).`,
  );
}

/** The mask of a structure for the length of a prefix, or for a mask. */
export function parseMask(text: string | undefined, place: OptionPlace): string {
  const length = lengthOf(text, place);
  return length === undefined ? NO_MASK : maskOf(length, place.family);
}

/** The same where the structure has the length alone. */
export const parseLength = (text: string, place: OptionPlace): number => lengthOf(text, place) ?? 128;

/** `10.0.0.0/8` */
export function parseHostMask(text: string, place: OptionPlace): { address: string; mask: string } {
  const slash = text.indexOf('/');
  const address = parseHost(slash < 0 ? text : text.slice(0, slash), place);
  return { address, mask: parseMask(slash < 0 ? undefined : text.slice(slash + 1), place) };
}

/** The same where the structure has a length in the place of the mask. */
export function parsePrefix(text: string, place: OptionPlace): { address: string; length: number } {
  const { address, mask } = parseHostMask(text, place);
  return { address, length: lengthOfMask(mask, place.family)! };
}

/** A mask that is given as the length of a prefix, or as a mask. Saved as a length. */
export function prefixMask(key: string): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      info[key] = parseMask(text!, place);
    },
    print: (info, { family }) => String(lengthIn(info[key], family)),
  };
}

/** The number of ones that a mask begins with. */
export const lengthIn = (mask: unknown, family?: 'ipv4' | 'ipv6'): number =>
  typeof mask === 'string' ? (lengthOfMask(mask, family) ?? 0) : 0;
