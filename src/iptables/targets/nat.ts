import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, type OptionPlace, type OptionRow, refused, type Value } from '../extension.ts';
import { parsePrefix } from '../option-hosts.ts';
import { add, lengthOfMask, listed, maskOf, parseAddress, parseNumber, present } from '../values.ts';

/* The targets that translate addresses and ports. */

/** ICMP, TCP, UDP, DCCP and SCTP. */
const WITH_PORTS: readonly number[] = [1, 6, 17, 33, 132];

function portOf(word: string, place: OptionPlace): number | undefined {
  return place.names.services().byName.get(word);
}

/** `80`, `80-90`, `http`, or `80-90/100`, where 100 is the port that 80 becomes. */
function parsePorts(info: Info, text: string, place: OptionPlace): void {
  if (!WITH_PORTS.includes(place.protocol)) throw refused(place, 'Need TCP, UDP, SCTP or DCCP with port specification');
  add(info, 'flags', 'ports-specified');
  const [first, rest] = leadingPort(text, place);
  info.port = first;
  info.lastPort = first;
  if (rest === '') return;
  if (rest.startsWith(':')) throw refused(place, 'Invalid port:port syntax - use dash');
  if (!rest.startsWith('-')) throw refused(place, `Garbage after port value: \`${rest}'`);
  // The end of a range has no name.
  if (!/^\s*\+?\d/.test(rest.slice(1))) throw refused(place, `Port \`${rest.slice(1)}' not valid`);
  const [last, more] = leadingPort(rest.slice(1), place);
  if (last < first) throw refused(place, `Port range \`${rest.slice(1)}' funky`);
  info.lastPort = last;
  if (more === '') return;
  if (!more.startsWith('/')) throw refused(place, `Garbage after port range: \`${more}'`);
  const base = more.slice(1).split('/')[0]!;
  const port = parseNumber(base, 0xffff) ?? portOf(base, place);
  if (port === undefined || port === 0) throw refused(place, `Port \`${more.slice(1)}' not valid`);
  add(info, 'flags', 'port-offset');
  info.basePort = port;
}

/** A number at the beginning and what follows it, or a whole word that names a service. */
function leadingPort(text: string, place: OptionPlace): [port: number, rest: string] {
  const digits = /^\s*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)/.exec(text);
  const number = digits && parseNumber(digits[1]!, 0xffff);
  if (digits && number !== undefined) return [number!, text.slice(digits[0].length)];
  const service = portOf(text, place);
  if (service === undefined) throw refused(place, `Port \`${text}' not valid`);
  return [service, ''];
}

function printPorts(info: Info): string {
  const flags = (info.flags as readonly string[] | undefined) ?? [];
  const { port = 0, lastPort = 0, basePort = 0 } = info;
  return `${port === lastPort ? port : `${port}-${lastPort}`}${flags.includes('port-offset') ? `/${basePort}` : ''}`;
}

const has = (info: Info, flag: string): boolean =>
  (info.flags as readonly string[] | undefined)?.includes(flag) === true;

/** The ports that REDIRECT and MASQUERADE choose from. */
const toPorts: Value = {
  words: 1,
  parse(info, [text], place) {
    parsePorts(info, text!, place);
    if (has(info, 'port-offset')) throw refused(place, 'Shifted portmap ranges not supported with this kernel');
  },
  print: info => (has(info, 'ports-specified') ? printPorts(info) : undefined),
};

/** `1.1.1.1`, `1.1.1.1-1.1.1.9:80-90`, `[::1]:80`, `:80` */
const toAddress: Value = {
  words: 1,
  parse(info, [text], place) {
    const { addresses, ports } = splitAddress(text!, place);
    if (ports !== undefined) parsePorts(info, ports, place);
    // The structure of SNAT has no place for it.
    if (place.extension === 'SNAT') delete info.basePort;
    if (ports !== undefined && addresses === '') return;
    const [first, last] = addresses.includes('-') ? halves(addresses) : [addresses, addresses];
    add(info, 'flags', 'map-addresses');
    info.address = addressOf(first, place);
    info.lastAddress = addressOf(last, place);
  },
  print(info, { family }) {
    let addresses = '';
    if (has(info, 'map-addresses')) {
      const any = family === 'ipv4' ? '0.0.0.0' : '::';
      const [first, last] = [info.address ?? any, info.lastAddress ?? any];
      addresses = first === last ? String(first) : `${first}-${last}`;
    }
    if (!has(info, 'ports-specified')) return addresses;
    return `${family === 'ipv6' && addresses !== '' ? `[${addresses}]` : addresses}:${printPorts(info)}`;
  },
};

function halves(range: string): [string, string] {
  const dash = range.indexOf('-');
  return [range.slice(0, dash), range.slice(dash + 1)];
}

/** One colon separates the ports; addresses of IPv6 have several, and need brackets. */
function splitAddress(text: string, place: OptionPlace): { addresses: string; ports?: string } {
  const open = text.indexOf('[');
  if (open < 0) {
    const colon = text.indexOf(':');
    if (colon < 0 || text.includes(':', colon + 1)) return { addresses: text };
    return { addresses: text.slice(0, colon), ports: text.slice(colon + 1) };
  }
  const close = text.indexOf(']', open);
  if (close < 0 || place.family === 'ipv4') throw refused(place, 'Invalid address format');
  const addresses = text.slice(open + 1, close);
  const colon = text.indexOf(':', close);
  return colon < 0 ? { addresses } : { addresses, ports: text.slice(colon + 1) };
}

function addressOf(text: string, place: OptionPlace): string {
  const address = parseAddress(text, place);
  if (address === undefined) throw refused(place, `Bad IP address "${text}"`);
  return address;
}

/** NETMAP: the first and the last address of a prefix. */
const toPrefix: Value = {
  words: 1,
  parse(info, [text], place) {
    const { address, length } = parsePrefix(text!, place);
    const bytes = bytesOf(address);
    const mask = bytesOf(maskOf(length, place.family));
    const format = place.family === 'ipv4' ? formatIPv4 : formatIPv6;
    info.flags = ['map-addresses'];
    info.address = format(bytes.map((byte, i) => byte & mask[i]!));
    info.lastAddress = format(bytes.map((byte, i) => byte | (~mask[i]! & 0xff)));
  },
  print(info, { family }) {
    const any = family === 'ipv4' ? '0.0.0.0' : '::';
    const first = bytesOf((info.address as string | undefined) ?? any);
    const last = bytesOf((info.lastAddress as string | undefined) ?? any);
    const mask = first.map((byte, i) => ~(byte ^ last[i]!) & 0xff);
    const shown = family === 'ipv4' ? formatIPv4(mask) : formatIPv6(mask);
    return `${info.address ?? any}/${lengthOfMask(shown) ?? shown}`;
  },
};

const bytesOf = (address: string): Uint8Array => (parseIPv4(address) ?? parseIPv6(address))!;

const RANDOM: OptionRow = { name: 'random', value: present(listed('flags', 'random')) };
const RANDOM_FULLY: OptionRow = { name: 'random-fully', value: present(listed('flags', 'fully-random')) };
const PERSISTENT: OptionRow = { name: 'persistent', value: present(listed('flags', 'persistent')) };

const toSource: readonly OptionRow[] = [
  { name: 'to-source', value: toAddress, required: true },
  RANDOM,
  RANDOM_FULLY,
  PERSISTENT,
];

export const NAT_TARGETS: readonly ExtensionRow[] = [
  { name: 'REDIRECT', revision: 0, options: [{ name: 'to-ports', value: toPorts }, RANDOM] },
  { name: 'MASQUERADE', revision: 0, options: [{ name: 'to-ports', value: toPorts }, RANDOM, RANDOM_FULLY] },
  {
    name: 'DNAT',
    revision: 2,
    options: [{ name: 'to-destination', value: toAddress, required: true }, RANDOM, PERSISTENT],
  },
  { name: 'SNAT', revision: 0, families: ['ipv4'], options: toSource },
  { name: 'SNAT', revision: 1, families: ['ipv6'], options: toSource },
  { name: 'NETMAP', revision: 0, options: [{ name: 'to', value: toPrefix, required: true }] },
];
