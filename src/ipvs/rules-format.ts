import { checkAddress, checkInteger } from '../codec/index.ts';
import { type Path, rangeError } from '../errors.ts';
import type { Destination } from './destination.ts';
import { sortDestinations, sortServices } from './order.ts';
import type { Service, VirtualServer } from './service.ts';

/** The three bits of a scheduler's flags, under the names that each scheduler gives them. */
const FLAG_BITS: Readonly<Record<string, number>> = {
  'flag-1': 0x8,
  'flag-2': 0x10,
  'flag-3': 0x20,
  'sh-fallback': 0x8,
  'sh-port': 0x10,
  'mh-fallback': 0x8,
  'mh-port': 0x10,
};
const NAMES: Readonly<Record<string, readonly string[]>> = {
  sh: ['sh-fallback', 'sh-port', 'flag-3'],
  mh: ['mh-fallback', 'mh-port', 'flag-3'],
};
const PLAIN_NAMES = ['flag-1', 'flag-2', 'flag-3'];
const KNOWN_BITS = 0x38;

const PROTOCOL_OPTION: Readonly<Record<string, string>> = {
  tcp: '-t',
  udp: '-u',
  sctp: '--sctp-service',
  6: '-t',
  17: '-u',
  132: '--sctp-service',
};
/** What the kernel forwards locally by itself has no option: ipvsadm saves it as -g too. */
const FORWARD_OPTION: Readonly<Record<string, string>> = { masquerade: '-m', tunnel: '-i', direct: '-g', local: '-g' };
const CHECKSUM_OPTION: Readonly<Record<string, string>> = {
  none: '--tun-nocsum',
  required: '--tun-csum',
  remote: '--tun-remcsum',
};
const IPVSADM_TUNNELS: readonly unknown[] = ['ipip', 'gue', 'gre'];

export const endpoint = (address: string, port: number): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`;

function flagBits({ schedulerFlags = [] }: Service): number {
  return schedulerFlags.reduce<number>(
    (bits, flag) => bits | (typeof flag === 'number' ? flag : (FLAG_BITS[flag] ?? 0)),
    0,
  );
}

/** The names of a service's scheduler flags, in the order of their bits; bits without a name are left out. */
export function flagNames(service: Service): string[] {
  const bits = flagBits(service);
  return (NAMES[service.scheduler] ?? PLAIN_NAMES).filter((_, i) => (bits & (0x8 << i)) !== 0);
}

/** The flags that ipvsadm lists: it forgets the third of a scheduler whose flags have names of their own. */
export function listedFlags(service: Service): string[] {
  return flagNames(service).filter(flag => flag !== 'flag-3' || !Object.hasOwn(NAMES, service.scheduler));
}

/** The mask of persistence as ipvsadm writes it: dotted for IPv4, a prefix length for IPv6; undefined where each address is its own client. */
export function maskText(service: Service): string | undefined {
  const netmask = service.persistence?.netmask;
  if (netmask === undefined) return undefined;
  if ('firewallMark' in service ? service.family === 'ipv6' : service.address.includes(':')) {
    return netmask === 128 ? undefined : String(netmask);
  }
  if (typeof netmask === 'string') return netmask === '255.255.255.255' ? undefined : netmask;
  if (netmask === 32) return undefined;
  const mask = ~(0xffffffff >>> netmask) >>> 0;
  return [24, 16, 8, 0].map(shift => (mask >>> shift) & 0xff).join('.');
}

/**
 * The text of `ipvsadm -Sn`, which `ipvsadm -R` and `parseRules` read: each service in a line, then its servers, sorted as ipvsadm sorts. It
 * says more than ipvsadm's own where that forgets something: thresholds (-x, -y), the third flag of sh and mh, and firewall marks from 2^31 on.
 * A server with forward 'local' is written -g, as ipvsadm does: the kernel delivers locally by itself.
 * @throws RangeError what ipvsadm has no option for: another protocol, 'bypass', an unknown tunnel or flag.
 */
export function formatRules(servers: readonly VirtualServer[]): string {
  const lines: string[] = [];
  const places = new Map(servers.map((server, i) => [server, i]));
  for (const server of sortServices(servers)) {
    const path = [places.get(server)!];
    const name = serviceOptions(server, path);
    lines.push(`-A ${name}${scheduling(server, path)}`);
    const destinations = server.destinations ?? [];
    const indexes = new Map(destinations.map((destination, i) => [destination, i]));
    for (const destination of sortDestinations(destinations)) {
      const at = [...path, 'destinations', indexes.get(destination)!];
      lines.push(`-a ${name} ${destinationOptions(destination, at)}`);
    }
  }
  return lines.map(line => `${line}\n`).join('');
}

function serviceOptions(service: Service, path: Path): string {
  if ('firewallMark' in service) {
    const mark = integer(service.firewallMark, [...path, 'firewallMark']);
    return `-f ${mark}${service.family === 'ipv6' ? ' -6' : ''}`;
  }
  const option = optionOf(PROTOCOL_OPTION, service.protocol, [...path, 'protocol']);
  return `${option} ${checkedEndpoint(service.address, service.port, path)}`;
}

/** In the order of ipvsadm 1.31. */
function scheduling(service: Service, path: Path): string {
  const { persistence } = service;
  const parts = ['', '-s', word(service.scheduler, [...path, 'scheduler'])];
  if (persistence !== undefined) {
    const at = [...path, 'persistence'];
    parts.push('-p', String(integer(persistence.timeoutSeconds, [...at, 'timeoutSeconds'])));
    const mask = maskText(service);
    if (mask !== undefined) parts.push('-M', word(mask, [...at, 'netmask']));
    if (persistence.engine !== undefined) parts.push('--pe', word(persistence.engine, [...at, 'engine']));
  }
  if (service.onePacket) parts.push('-o');
  const flags = flagNames(service);
  if ((flagBits(service) & ~KNOWN_BITS) !== 0) {
    throw rangeError([...path, 'schedulerFlags'], 'flags that ipvsadm has names for', service.schedulerFlags);
  }
  if (flags.length > 0) parts.push('-b', flags.join(','));
  return parts.join(' ');
}

function destinationOptions(destination: Destination, path: Path): string {
  const parts = ['-r', checkedEndpoint(destination.address, destination.port, path)];
  parts.push(optionOf(FORWARD_OPTION, destination.forward, [...path, 'forward']));
  parts.push('-w', String(integer(destination.weight ?? 1, [...path, 'weight'])));
  const { upperThreshold, lowerThreshold, tunnel } = destination;
  if (upperThreshold) parts.push('-x', String(integer(upperThreshold, [...path, 'upperThreshold'])));
  if (lowerThreshold) parts.push('-y', String(integer(lowerThreshold, [...path, 'lowerThreshold'])));
  if (destination.forward !== 'tunnel') return parts.join(' ');
  const { type = 'ipip', port, checksum = 'none' } = tunnel ?? {};
  if (!IPVSADM_TUNNELS.includes(type)) throw rangeError([...path, 'tunnel', 'type'], 'ipip, gue or gre', type);
  parts.push('--tun-type', String(type));
  if (type === 'gue') parts.push('--tun-port', String(integer(port ?? 0, [...path, 'tunnel', 'port'])));
  if (type !== 'ipip') parts.push(optionOf(CHECKSUM_OPTION, checksum, [...path, 'tunnel', 'checksum']));
  return parts.join(' ');
}

function optionOf(options: Readonly<Record<string, string>>, value: string | number, path: Path): string {
  const option = Object.hasOwn(options, value) ? options[value] : undefined;
  if (option === undefined) throw rangeError(path, 'what ipvsadm has an option for', value, 'ERR_NO_OPTION');
  return option;
}

function checkedEndpoint(address: string, port: number, path: Path): string {
  checkAddress(address, [...path, 'address']);
  return endpoint(address, integer(port, [...path, 'port']));
}

function integer(value: number, path: Path): number {
  return checkInteger(value, path, 0, 0xffffffff);
}

/** A name that stays one word of one line when it is read again. */
function word(value: string, path: Path): string {
  if (typeof value !== 'string' || !/^[\w.-]+$/.test(value)) throw rangeError(path, 'one word', value);
  return value;
}
