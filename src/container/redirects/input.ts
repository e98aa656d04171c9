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

/** A range of ports, both ends included. */
export interface PortRange {
  /** 1 to 65535. */
  from: number;
  /** `from` to 65535. */
  to: number;
}

/** Connections to another address and port that the container accepts on a port of its own. */
export interface Redirect {
  /** The transport protocol: 'tcp', 'udp', 'sctp', 'dccp' or 'udplite'. */
  protocol: Protocol;
  /**
   * The address that clients connect to, IPv4 or IPv6, or a prefix: '10.0.0.0/24', '2001:db8::/64'. Default any address of both versions.
   */
  address?: string;
  /** The port that clients connect to, 1 to 65535, or a range: `{ from: 8000, to: 8010 }`. */
  port: number | PortRange;
  /** The port that the container listens on, 1 to 65535. Default the port that the client connects to. */
  toPort?: number;
}

/**
 * The fields that identify a redirect. There is one redirect for each address, protocol and port. One with a single address and port wins
 * over ranges. Ranges (a prefix, any address, or several ports) must not overlap if they lead to different ports.
 */
export type RedirectKey = Omit<Redirect, 'toPort'>;

/**
 * The target ports of exact redirects, by IP version. A key is address, protocol and port, each padded to four bytes, as in the kernel's
 * registers.
 */
export type Ports = Readonly<Record<Version['map'], PortMap>>;

export const noPorts = (capacity = 0): Ports => ({
  ipv4: new PortMap(V4.length + 8, capacity),
  ipv6: new PortMap(V6.length + 8),
});

const FIELDS = ['protocol', 'address', 'port', 'toPort'];
const MAX_PORT = 65535;

const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_PORT;

/** Reads redirects into maps and ranges. */
export class RedirectReader {
  readonly ports: Ports;
  readonly ranges: Range[] = [];

  constructor(capacity: number) {
    this.ports = noPorts(capacity);
  }

  /**
   * Reads one redirect. An exact one is written as the next key of the map that is returned, and the caller inserts it with its port. A
   * range is added to `ranges`, and the result is undefined.
   * @throws TypeError, RangeError with the place in the list
   */
  take(redirect: Redirect, index: number): PortMap | undefined {
    checkFields(redirect, index);
    const { protocol, address, port, toPort } = redirect;
    let which = PROTOCOLS.indexOf(protocol);
    if (which < 0) which = PROTOCOLS.indexOf(checkOneOf(protocol, [index, 'protocol'], PROTOCOLS));
    if (toPort !== undefined && !isPort(toPort)) checkInteger(toPort, [index, 'toPort'], 1, MAX_PORT);
    if (!isPort(port)) return this.#several(redirect, which, index);
    const { ipv4 } = this.ports;
    let map = ipv4;
    let keys = map.reserve();
    let at = map.length * map.keyLength;
    if (typeof address !== 'string' || !readIPv4(address, keys, at)) {
      if (address === undefined || (typeof address === 'string' && address.includes('/')))
        return this.#several(redirect, which, index);
      const bytes = typeof address === 'string' ? parseIPv6(address) : undefined;
      if (bytes === undefined) checkAddress(address, [index, 'address']);
      map = this.ports.ipv6;
      keys = map.reserve();
      at = map.length * map.keyLength;
      keys.set(bytes!, at);
    }
    if (keys[at] === 0 && isUnspecified(keys, at, map.keyLength - 8)) throw unspecified(address, [index, 'address']);
    writePort(keys, at + map.keyLength - 8, which, port);
    return map;
  }

  #several(redirect: Redirect, which: number, index: number): PortMap | undefined {
    const { address, port, toPort } = redirect;
    const { from, to } = portsOf(port, [index, 'port']);
    const protocol = PROTOCOLS[which]!;
    // A single port that is its own target counts as one without `toPort`.
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
    const keys = map.reserve();
    const at = map.length * map.keyLength;
    keys.set(bytes, at);
    writePort(keys, at + map.keyLength - 8, which, from);
    return map;
  }
}

/** Adds ranges of one address and one port to the maps, unless the map has that key. */
export function addExact(ports: Ports, ranges: readonly Range[]): void {
  for (const { version, protocol, address, from, toPort = from } of ranges) {
    const map = ports[version.map];
    const keys = map.reserve();
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

/** Reads an address or a prefix. An address is a prefix of all its bits. */
function prefixIn(address: unknown, path: Path): { bytes: Uint8Array; prefix: number } {
  if (typeof address !== 'string') throw typeError(path, 'an IP address or a prefix', address);
  const [text, length, ...others] = address.split('/');
  const bytes = parseIPv4(text!) ?? parseIPv6(text!);
  const all = (bytes?.length ?? 0) * 8;
  const prefix = length === undefined ? all : /^(?:0|[1-9]\d{0,2})$/.test(length) ? Number(length) : -1;
  if (bytes === undefined || others.length > 0 || prefix < 0 || prefix > all)
    throw rangeError(path, 'an IPv4 or IPv6 address, or a prefix such as 10.0.0.0/8', address, 'ERR_INVALID_ADDRESS');
  if (prefix === all && isUnspecified(bytes, 0, bytes.length)) throw unspecified(address, path);
  const first = masked(bytes, prefix);
  if (Buffer.compare(first, bytes) !== 0) {
    const { format } = versionOf(bytes);
    throw rangeError(path, `${format(first)}/${prefix}, or a longer prefix`, address, 'ERR_INVALID_ADDRESS');
  }
  return { bytes, prefix };
}

function isUnspecified(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

const unspecified = (address: unknown, path: Path): Error =>
  rangeError(
    path,
    'an address that packets are sent to (leave it out for any address)',
    address,
    'ERR_INVALID_ADDRESS',
  );

function checkFields(redirect: unknown, index: number): void {
  if (typeof redirect === 'object' && redirect !== null && !Array.isArray(redirect)) {
    let known = true;
    for (const field in redirect) if (!FIELDS.includes(field)) known = false;
    // `undefined` is often a mistake, and any address would be a dangerous meaning of it.
    if ('address' in redirect && redirect.address === undefined)
      throw typeError([index, 'address'], 'an IP address or a prefix; leave the key out for any address', undefined);
    if (known) return;
  }
  checkObject(redirect, [index], FIELDS);
}
