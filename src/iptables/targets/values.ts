import { formatIPv4, parseIPv4, parseIPv6 } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { guided, type OptionPlace, refused, type Value } from '../extension.ts';
import { hex, lengthOfMask, maskOf, parseAddress, parseNumber } from '../values.ts';
import { quoted } from '../words.ts';

/* The kinds of values that only options of targets have. */

const U32 = 0xffffffff;

/** Text of a field of C: what does not fit is cut off, as iptables does. `size` counts the final NUL. */
export function cut(key: string, size: number): Value {
  return {
    words: 1,
    parse(info, [word]) {
      info[key] = cutText(word!, size);
    },
    print(info) {
      const value = info[key] as string | undefined;
      return value === undefined || value === '' ? undefined : quoted(value);
    },
  };
}

/** The beginning of a text that fits in `size` bytes with its final NUL. */
export const cutText = (text: string, size: number): string =>
  Buffer.byteLength(text) < size
    ? text
    : Buffer.from(text)
        .subarray(0, size - 1)
        .toString();

/** Text for a log: not empty, and of one line. */
export function logged(key: string, size: number): Value {
  const inner = cut(key, size);
  return {
    words: 1,
    parse(info, words, place) {
      if (words[0] === '') throw refused(place, 'Argument must have a minimum length of 1 characters\n');
      if (words[0]!.includes('\n')) throw refused(place, 'Newlines not allowed in --log-prefix');
      inner.parse(info, words, place);
    },
    print: inner.print,
  };
}

/** One of some words; the first one that begins with what is given counts, in upper or lower case. */
export function beginningOf(
  key: string,
  words: readonly (readonly [word: string, value: string])[],
  bad: (word: string) => string,
): Value {
  return {
    words: 1,
    parse(info, [given], place) {
      const found = words.find(([word]) => word.startsWith(given!.toLowerCase()));
      if (found === undefined) throw refused(place, bad(given!));
      info[key] = found[1];
    },
    print: info => (info[key] === undefined ? undefined : String(info[key])),
  };
}

/** Reads one number; `apply` puts it where it belongs. Saved by another option. */
export function numberFor(apply: (info: Info, value: number) => void, { min = 0, max = U32 } = {}): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      apply(info, parseBounded(text!, place, min, max));
    },
    print: () => undefined,
  };
}

/** A number within bounds, or the refusal that names them. */
export function parseBounded(text: string, place: OptionPlace, min: number, max: number): number {
  const value = parseNumber(text, max);
  if (value === undefined || value < min)
    throw guided(place, `bad value for option "--${place.option}", or out of range (${min}-${max}).`);
  return value;
}

/** A mark, and the bits of it that count. Both are saved, always. */
export function markAndMask(
  apply: (info: Info, mark: number, mask: number) => void,
  print: Value['print'] = () => undefined,
): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      const [value, bits, ...more] = text!.split('/');
      const mark = parseNumber(value!, U32);
      const mask = bits === undefined ? U32 : parseNumber(bits, U32);
      if (mark === undefined || mask === undefined || more.length > 0)
        throw guided(place, `bad integer value for option "--${place.option}", or out of range.`);
      apply(info, mark, mask);
    },
    print,
  };
}

/** `0x1/0xff` of two members. */
export const slashed = (info: Info, value: string, mask: string): string =>
  `${hex((info[value] as number | undefined) ?? 0)}/${hex((info[mask] as number | undefined) ?? 0)}`;

/** An address of a host as C's getaddrinfo takes it: IPv4 also with fewer than four parts. Names are not looked up. */
export function parseHost(text: string, place: OptionPlace): string {
  const address = place.family === 'ipv4' ? fromParts(text) : parseAddress(text, place);
  if (address !== undefined) return address;
  const other = place.family === 'ipv4' ? parseIPv6(text) : parseIPv4(text);
  if (other !== undefined) throw refused(place, 'getaddrinfo: Address family for hostname not supported\n');
  throw refused(
    place,
    `getaddrinfo: ${text === '' ? 'Name or service not known' : 'Temporary failure in name resolution'}\n`,
  );
}

/** 1.2.3 is 1.2.0.3: the last part fills what is left. */
function fromParts(text: string): string | undefined {
  const parts = text.split('.').map(part => parseNumber(part, U32));
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

/** The length of a prefix: a number, or a mask. iptables takes everything else as all bits, ip6tables refuses it. */
export function parseLength(text: string | undefined, place: OptionPlace): number {
  const all = place.family === 'ipv4' ? 32 : 128;
  if (text === undefined) return all;
  const mask = parseAddress(text, place);
  const length = parseNumber(text, all) ?? (mask === undefined ? undefined : lengthOfMask(mask));
  if (length !== undefined) return length;
  if (place.family === 'ipv4') return all;
  throw guided(place, `bad value for option "--${place.option}", neither a valid network mask nor valid CIDR (0-128).`);
}

/** A host and the length of its prefix. */
export function parsePrefix(text: string, place: OptionPlace): { address: string; length: number } {
  const slash = text.indexOf('/');
  const length = parseLength(slash < 0 ? undefined : text.slice(slash + 1), place);
  return { address: parseHost(slash < 0 ? text : text.slice(0, slash), place), length };
}

/** The number of ones that a mask begins with. */
export const lengthIn = (mask: unknown): number => (typeof mask === 'string' ? (lengthOfMask(mask) ?? 0) : 0);

/** A mask that is given as the length of a prefix. */
export function prefixMask(key: string): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      info[key] = maskOf(parseLength(text!, place), place.family);
    },
    print: info => String(lengthIn(info[key])),
  };
}
