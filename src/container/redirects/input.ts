import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  parseIPv4,
  parseIPv6,
  readIPv4,
} from '../../codec/index.ts';
import { type Path, rangeError, typeError } from '../../errors.ts';
import { PROTOCOL_NUMBERS, PROTOCOLS, type Protocol, V4, V6, type Version } from './maps.ts';
import { PortMap } from './port-map.ts';
import { masked, type Range, versionOf } from './ranges.ts';

/** Several ports in a row, both ends among them. */
export interface PortRange {
  /** 1 to 65535. */
  from: number;
  /** `from` to 65535. */
  to: number;
}

/** Connections to a foreign address and port that this container accepts on a port of its own. */
export interface Redirect {
  protocol: Protocol;
  /**
   * The address that clients connect to, IPv4 or IPv6, or a prefix: '10.0.0.0/24', '2001:db8::/64'. Left out, it is any address of both
   * versions.
   */
  address?: string;
  /** 1 to 65535, or several in a row: `{ from: 8000, to: 8010 }`. */
  port: number | PortRange;
  /** The port that the container listens on, 1 to 65535. Left out, each port stays as it is. */
  toPort?: number;
}

/**
 * What names a redirect. There is one for each address, protocol and port; one with an address and a port goes before those with a prefix, any
 * address or several ports, and these must not overlap where they lead to different ports.
 */
export type RedirectKey = Omit<Redirect, 'toPort'>;

/**
 * The port that each redirect leads to, by version. A key is address, protocol and port, each filled up to four bytes, as the kernel puts them
 * into registers.
 */
export type Ports = Readonly<Record<Version['map'], PortMap>>;

export const noPorts = (capacity = 0): Ports => ({
  ipv4: new PortMap(V4.length + 8, capacity),
  ipv6: new PortMap(V6.length + 8),
});

const FIELDS = ['protocol', 'address', 'port', 'toPort'];
const MAX_PORT = 65535;

const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_PORT;

/** Takes each redirect in, as a key of its map or as ranges. The last key that was written to a map is `add`ed with its port by `exact`. */
export class RedirectReader {
  readonly ports: Ports;
  readonly ranges: Range[] = [];

  constructor(capacity: number) {
    this.ports = noPorts(capacity);
  }

  /** The map in which the redirect's key is written as the next one; undefined where it was a range. @throws TypeError, RangeError */
  take(redirect: Redirect, index: number): PortMap | undefined {
    checkFields(redirect, index);
    const { protocol, address, port, toPort } = redirect;
    let which = PROTOCOLS.indexOf(protocol);
    if (which < 0) which = PROTOCOLS.indexOf(checkOneOf(protocol, [index, 'protocol'], PROTOCOLS));
    if (toPort !== undefined && !isPort(toPort)) checkInteger(toPort, [index, 'toPort'], 1, MAX_PORT);
    if (!isPort(port)) return this.#several(redirect, which, index);
    const { ipv4 } = this.ports;
    let map = ipv4;
    let keys = map.room();
    let at = map.length * map.keyLength;
    if (typeof address !== 'string' || !readIPv4(address, keys, at)) {
      if (address === undefined || (typeof address === 'string' && address.includes('/')))
        return this.#several(redirect, which, index);
      const bytes = typeof address === 'string' ? parseIPv6(address) : undefined;
      if (bytes === undefined) checkAddress(address, [index, 'address']);
      map = this.ports.ipv6;
      keys = map.room();
      at = map.length * map.keyLength;
      keys.set(bytes!, at);
    }
    if (keys[at] === 0 && isUnspecified(keys, at, map.keyLength - 8)) throw unspecified(address, [index, 'address']);
    writePort(keys, at + map.keyLength - 8, which, port as number);
    return map;
  }

  #several(redirect: Redirect, which: number, index: number): PortMap | undefined {
    const { address, port, toPort } = redirect;
    const { from, to } = portsOf(port, [index, 'port']);
    const protocol = PROTOCOLS[which]!;
    // One port that leads to itself stays as it is.
    const target = toPort === from && from === to ? undefined : toPort;
    const range = { protocol, from, to, toPort: target, index };
    if (address === undefined) {
      for (const version of [V4, V6])
        this.ranges.push({ ...range, version, address: new Uint8Array(version.length), prefix: 0 });
      return undefined;
    }
    const { bytes, prefix } = prefixIn(address, [index, 'address']);
    const version = versionOf(bytes);
    if (prefix < bytes.length * 8 || from !== to) {
      this.ranges.push({ ...range, version, address: bytes, prefix });
      return undefined;
    }
    const map = this.ports[version.map];
    const keys = map.room();
    const at = map.length * map.keyLength;
    keys.set(bytes, at);
    writePort(keys, at + map.keyLength - 8, which, from);
    return map;
  }
}

/** Takes in what is left of ranges as single addresses and ports: one that is there already goes before it. */
export function addExact(ports: Ports, ranges: readonly Range[]): void {
  for (const { version, protocol, address, from, toPort = from } of ranges) {
    const map = ports[version.map];
    const keys = map.room();
    const at = map.length * map.keyLength;
    keys.set(address, at);
    writePort(keys, at + version.length, PROTOCOLS.indexOf(protocol), from);
    map.add(toPort);
  }
}

function writePort(keys: Uint8Array, at: number, which: number, port: number): void {
  keys[at] = PROTOCOL_NUMBERS[which]!;
  keys[at + 4] = port >> 8;
  keys[at + 5] = port;
}

function portsOf(port: unknown, path: Path): PortRange {
  if (typeof port === 'number') {
    checkInteger(port, path, 1, MAX_PORT);
    return { from: port, to: port };
  }
  if (typeof port !== 'object' || port === null)
    throw typeError(path, `an integer 1 to ${MAX_PORT}, or { from, to }`, port);
  checkObject(port, path, ['from', 'to']);
  const { from, to } = port as PortRange;
  checkInteger(from, [...path, 'from'], 1, MAX_PORT);
  checkInteger(to, [...path, 'to'], from, MAX_PORT);
  return { from, to };
}

/** An address is a prefix of all its bits. */
function prefixIn(address: unknown, path: Path): { bytes: Uint8Array; prefix: number } {
  if (typeof address !== 'string') throw typeError(path, 'an IP address or a prefix', address);
  const [text, length, ...others] = address.split('/');
  const bytes = parseIPv4(text!) ?? parseIPv6(text!);
  const all = (bytes?.length ?? 0) * 8;
  const prefix = length === undefined ? all : /^(?:0|[1-9]\d{0,2})$/.test(length) ? Number(length) : -1;
  if (bytes === undefined || others.length > 0 || prefix < 0 || prefix > all)
    throw rangeError(path, 'an IPv4 or IPv6 address, or a prefix of some', address, 'ERR_INVALID_ADDRESS');
  if (prefix === all && isUnspecified(bytes, 0, bytes.length)) throw unspecified(address, path);
  const first = masked(bytes, prefix);
  if (Buffer.compare(first, bytes) !== 0) {
    const { format } = versionOf(bytes);
    throw rangeError(path, `${format(first)}/${prefix}, or fewer bits that are 0`, address, 'ERR_INVALID_ADDRESS');
  }
  return { bytes, prefix };
}

function isUnspecified(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

const unspecified = (address: unknown, path: Path): Error =>
  rangeError(path, 'an address that packets are sent to; left out, it is any', address, 'ERR_INVALID_ADDRESS');

function checkFields(redirect: unknown, index: number): void {
  if (typeof redirect === 'object' && redirect !== null && !Array.isArray(redirect)) {
    let known = true;
    for (const field in redirect) if (!FIELDS.includes(field)) known = false;
    // Any address is a wide thing to say: nobody shall say it by a value that is missing.
    if ('address' in redirect && redirect.address === undefined)
      throw typeError([index, 'address'], 'an IP address or a prefix; leave the key out for any address', undefined);
    if (known) return;
  }
  checkObject(redirect, [index], FIELDS);
}
