import { readFileSync } from 'node:fs';
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../codec/index.ts';
import { IptablesError } from './error.ts';
import type { IptablesAddress, IptablesFamily } from './model.ts';
import { lengthOfMask, maskOf, parseNumber } from './values.ts';

/* Devices and addresses of rules: `10.1/16`, `10.0.0.1/255.0.0.255`, `localhost`, and several of them between commas. */

const FULL: Record<IptablesFamily, string> = {
  ipv4: '255.255.255.255',
  ipv6: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
};

/** One address as iptables-save writes it. */
const USUAL_IPV4 = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}\/32$/;

/** The addresses of -s or -d. Those that are the same with their masks stand once. */
export function parseAddresses(text: string, family: IptablesFamily, invert: boolean): IptablesAddress[] {
  if (family === 'ipv4' && !invert && text.endsWith('/32') && USUAL_IPV4.test(text))
    return [{ address: text.slice(0, -3) }];
  const parts = text.split(',');
  return parts.flatMap(part => parseOne(part, family, invert));
}

/** An address and its mask as bytes. */
function parseMasked(text: string, family: IptablesFamily): { bytes: Uint8Array; mask: Uint8Array }[] {
  const slash = text.indexOf('/');
  const mask = slash < 0 ? bytesOf(FULL[family]) : parseMask(text.slice(slash + 1), family);
  let host = slash < 0 ? text : text.slice(0, slash);
  // Without a bit that counts the name does not matter: `any/0`.
  if (mask.every(byte => byte === 0)) host = family === 'ipv4' ? '0.0.0.0' : '::';
  const found = parseHost(host, family);
  if (found === undefined) throw new IptablesError(`host/network \`${host}' not found`, { argument: text });
  return found.map(bytes => ({ bytes, mask }));
}

function parseOne(text: string, family: IptablesFamily, invert: boolean): IptablesAddress[] {
  const list: IptablesAddress[] = [];
  for (const { bytes, mask } of parseMasked(text, family)) {
    const address: IptablesAddress = { address: formatBytes(bytes.map((byte, i) => byte & mask[i]!)) };
    const bits = formatBytes(mask);
    if (bits !== FULL[family]) address.mask = bits;
    if (invert) address.invert = true;
    if (!list.some(one => one.address === address.address)) list.push(address);
  }
  return list;
}

function parseMask(text: string, family: IptablesFamily): Uint8Array {
  const dotted = family === 'ipv4' ? fullIPv4(text) : parseIPv6(text);
  if (dotted !== undefined) return dotted;
  const length = parseNumber(text, family === 'ipv4' ? 32 : 128);
  if (length === undefined) throw new IptablesError(`invalid mask \`${text}' specified`, { argument: text });
  return bytesOf(maskOf(length, family));
}

const bytesOf = (address: string): Uint8Array => (parseIPv4(address) ?? parseIPv6(address))!;
const formatBytes = (bytes: Uint8Array): string => (bytes.length === 4 ? formatIPv4(bytes) : formatIPv6(bytes));

/** Four numbers, each as C reads it. */
function fullIPv4(text: string): Uint8Array | undefined {
  return text.split('.').length === 4 ? networkIPv4(text) : undefined;
}

/** Up to four numbers: what is left out at the end is zero. */
function networkIPv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length > 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    const byte = parseNumber(part, 255);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function parseHost(text: string, family: IptablesFamily): Uint8Array[] | undefined {
  const numeric = family === 'ipv4' ? networkIPv4(text) : parseIPv6(text);
  if (numeric !== undefined) return [numeric];
  const named = hosts().get(text);
  const length = family === 'ipv4' ? 4 : 16;
  const fitting = named?.filter(bytes => bytes.length === length);
  return fitting === undefined || fitting.length === 0 ? undefined : fitting;
}

/** A numeric address, of which an IPv4 one may be cut short. */
export function parseHostAddress(text: string, family: IptablesFamily): string | undefined {
  const bytes = family === 'ipv4' ? networkIPv4(text) : parseIPv6(text);
  return bytes && formatBytes(bytes);
}

/** The hosts of this machine's own file: no question leaves it. */
export function hosts(): Map<string, Uint8Array[]> {
  const found = new Map<string, Uint8Array[]>();
  let content = '127.0.0.1 localhost\n';
  try {
    content = readFileSync('/etc/hosts', 'utf8');
  } catch {
    // The machine has no such file: then it has one name.
  }
  for (const line of content.split('\n')) {
    const [address, ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    const bytes = address === undefined ? undefined : (parseIPv4(address) ?? parseIPv6(address));
    if (bytes !== undefined) for (const name of names) found.set(name, [...(found.get(name) ?? []), bytes]);
  }
  return found;
}

/** An address as iptables saves it: with its mask; undefined where it matches everything. */
export function formatAddress({ address, mask, invert }: IptablesAddress, family: IptablesFamily): string | undefined {
  const bits = mask ?? FULL[family];
  const length = lengthOfMask(bits);
  if (length === 0 && !invert) return undefined;
  return `${address}/${length ?? bits}`;
}

const LONGEST_INTERFACE = 15;

/** Refuses a name that no device can have; a strange one is a warning. */
export function checkInterface(name: string, warnings: string[]): void {
  if (Buffer.byteLength(name) > LONGEST_INTERFACE)
    throw new IptablesError(`interface name \`${name}' must be shorter than IFNAMSIZ (${LONGEST_INTERFACE})`, {
      argument: name,
    });
  if (/[/ ]/.test(name))
    warnings.push(`Warning: weird character in interface \`${name}' ('/' and ' ' are not allowed by the kernel).`);
}
