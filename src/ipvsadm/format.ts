import { checkAddress, checkInteger } from '../codec/index.ts';
import { isArgumentError, type Path, rangeError, typeError } from '../errors.ts';
import { dottedMask } from '../ip_vs/address.ts';
import {
  DESTINATION,
  type Destination,
  type Tunnel,
  type VirtualServer,
  writeDestination,
} from '../ip_vs/destination.ts';
import type { FieldTable } from '../ip_vs/fields.ts';
import { familyOf, SERVICE, type Service, writeService } from '../ip_vs/service.ts';
import { optionName } from './options.ts';
import { Sorter } from './order.ts';
import { plainServer, plainServiceName } from './plain-lines.ts';

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
/** ipvsadm has no option for 'local', which it saves as -g, too: the kernel delivers locally by itself. */
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

/** The flags that ipvsadm lists. It leaves out the third flag of sh and mh. */
export function listedFlags(service: Service): string[] {
  return flagNames(service).filter(flag => flag !== 'flag-3' || !Object.hasOwn(NAMES, service.scheduler));
}

/** The mask of persistence as ipvsadm writes it: dotted for IPv4, a prefix length for IPv6; undefined if each address is its own client. */
export function maskText(service: Service): string | undefined {
  const netmask = service.persistence?.netmask;
  if (netmask === undefined) return undefined;
  if ('firewallMark' in service ? service.family === 'ipv6' : service.address.includes(':')) {
    return netmask === 128 ? undefined : String(netmask);
  }
  if (typeof netmask === 'string') return netmask === '255.255.255.255' ? undefined : netmask;
  return netmask === 32 ? undefined : dottedMask(netmask);
}

/**
 * The text of `ipvsadm -Sn`, which `ipvsadm -R` and `parseRules` read: each service in a line, then its destinations, in ipvsadm's order. It has more than
 * ipvsadm's own text, which leaves out thresholds (-x, -y), the third flag of sh and mh, and firewall marks from 2^31 on. A destination whose forward
 * is 'local' is written as -g, as ipvsadm does: the kernel delivers locally by itself.
 * @param servers services with their destinations
 * @throws RangeError ipvsadm has no option for it: another protocol, 'bypass', an unknown tunnel or flag.
 * @example
 * const text = formatRules((await ipvs.snapshot()).servers);
 */
export function formatRules(servers: readonly VirtualServer[]): string {
  if (!Array.isArray(servers))
    throw typeError([], 'an array of virtual servers, as ipvs.services({ destinations: true }) returns', servers);
  return format(servers, false);
}

/**
 * As above, for everything that a kernel can hold. Values that ipvsadm has no option for, or that -R would refuse or change, are written with options of
 * this library's own: --protocol-service, --forward, --tun-flags, and --as-is, by which `restore` knows them.
 */
export function saveRules(servers: readonly VirtualServer[]): string {
  return format(servers, true);
}

function format(servers: readonly VirtualServer[], own: boolean): string {
  const sorter = new Sorter();
  let text = '';
  for (const index of sorter.services(servers)) {
    const server = servers[index]!;
    const plainName = plainServiceName(server);
    const path = [index];
    const name = plainName ?? serviceOptions(server, path, own);
    if (plainName === undefined) {
      text += `-A ${name}${scheduling(server, path, own)}${own && isOdd(server) ? AS_IS : ''}\n`;
    } else text += `-A ${name} -s ${server.scheduler}\n`;
    const destinations = server.destinations ?? [];
    const family = own ? familyOf(server) : 0;
    for (const at of sorter.destinations(destinations)) {
      const destination = destinations[at]!;
      const options =
        (plainName === undefined ? undefined : plainServer(server, destination)) ??
        destinationOptions(
          destination,
          [index, 'destinations', at],
          own && isOddDestination(server, destination, family),
        );
      text += `-a ${name} ${options}\n`;
    }
  }
  return text;
}

const AS_IS = ' --as-is';

/** Would the line of this service be refused without --as-is? */
function isOdd(service: Service): boolean {
  try {
    writeService(service);
    return false;
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    return true;
  }
}

/** As above, of a destination; or would -R change it? */
function isOddDestination(service: Service, destination: Destination, family: number): boolean {
  const { forward, tunnel } = destination;
  if (forward !== 'masquerade' && forward !== 'tunnel' && forward !== 'direct') return true;
  if (tunnel !== undefined && (typeof tunnel.checksum === 'number' || !IPVSADM_TUNNELS.includes(tunnel.type)))
    return true;
  try {
    // Masquerade cannot change the port for a service of every port; ipvsadm takes any port nevertheless.
    const plain = forward === 'masquerade' ? { ...destination, port: 0 } : destination;
    writeDestination(service, plain, family);
    return false;
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    return true;
  }
}

function serviceOptions(service: Service, path: Path, own: boolean): string {
  if ('firewallMark' in service) {
    const mark = integer(service.firewallMark, [...path, 'firewallMark']);
    return `-f ${mark}${service.family === 'ipv6' ? ' -6' : ''}`;
  }
  const { protocol } = service;
  const name = checkedEndpoint(service.address, service.port, path);
  if (own && typeof protocol === 'number' && !Object.hasOwn(PROTOCOL_OPTION, protocol)) {
    return `--protocol-service ${protocol}/${name}`;
  }
  return `${optionOf(PROTOCOL_OPTION, protocol, [...path, 'protocol'])} ${name}`;
}

/** In the order of ipvsadm 1.31. */
function scheduling(service: Service, path: Path, own: boolean): string {
  const { persistence } = service;
  const parts = ['', '-s', word(service.scheduler, [...path, 'scheduler'])];
  if (persistence !== undefined) {
    const at = [...path, 'persistence'];
    parts.push('-p', String(integer(persistence.timeoutSeconds, [...at, 'timeoutSeconds'])));
    const mask = maskText(service);
    if (mask !== undefined) parts.push('-M', word(mask, [...at, 'netmask']));
    if (persistence.engine !== undefined) parts.push('--pe', word(persistence.engine, [...at, 'engine']));
    parts.push(...numberOptions(SERVICE, service, path, 'persistence'));
  }
  parts.push(...numberOptions(SERVICE, service, path));
  if (service.onePacket) parts.push('-o');
  const flags = flagNames(service);
  const others = (flagBits(service) & ~KNOWN_BITS) >>> 0;
  if (others !== 0) {
    if (!own) throw rangeError([...path, 'schedulerFlags'], 'flags that ipvsadm has names for', service.schedulerFlags);
    flags.push(`0x${others.toString(16)}`);
  }
  if (flags.length > 0) parts.push('-b', flags.join(','));
  return parts.join(' ');
}

function destinationOptions(destination: Destination, path: Path, odd: boolean): string {
  const { forward } = destination;
  const parts = ['-r', checkedEndpoint(destination.address, destination.port, path)];
  const named = forward === 'masquerade' || forward === 'tunnel' || forward === 'direct';
  if (odd && !named) parts.push('--forward', String(forward));
  else parts.push(optionOf(FORWARD_OPTION, forward, [...path, 'forward']));
  parts.push(...numberOptions(DESTINATION, destination, path));
  if (forward === 'tunnel') {
    parts.push(...tunnelOptions(destination.tunnel ?? { type: 'ipip' }, path, odd));
    parts.push(...numberOptions(DESTINATION, destination, path, 'tunnel'));
  }
  return odd ? `${parts.join(' ')}${AS_IS}` : parts.join(' ');
}

/** The settings that are plain numbers: -w 1 -x 100. Those that are 0 are left out, unless ipvsadm always writes them. */
function numberOptions<W extends object>(fields: FieldTable<W>, object: object, path: Path, group?: string): string[] {
  return fields.numbers.flatMap(({ setting, option }) => {
    if (setting.group !== group) return [];
    const value = fields.valueOf(object, setting) ?? setting.byDefault?.(0) ?? 0;
    if (value === 0 && !setting.always) return [];
    return [optionName(option), String(integer(value, [...path, ...setting.path]))];
  });
}

function tunnelOptions({ type, port, checksum = 'none' }: Tunnel, path: Path, odd: boolean): string[] {
  if (!odd && !IPVSADM_TUNNELS.includes(type)) throw rangeError([...path, 'tunnel', 'type'], 'ipip, gue or gre', type);
  const parts = ['--tun-type', String(type)];
  if (type === 'gue' || (odd && port))
    parts.push('--tun-port', String(integer(port ?? 0, [...path, 'tunnel', 'port'])));
  if (odd && typeof checksum === 'number') parts.push('--tun-flags', String(checksum));
  else if (type !== 'ipip' || (odd && checksum !== 'none')) {
    parts.push(optionOf(CHECKSUM_OPTION, checksum, [...path, 'tunnel', 'checksum']));
  }
  return parts;
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

function integer(value: unknown, path: Path): number {
  return checkInteger(value, path, 0, 0xffffffff);
}

/** A name that stays one word of one line when it is read again. */
function word(value: string, path: Path): string {
  if (typeof value !== 'string' || !/^[\w.-]+$/.test(value)) throw rangeError(path, 'one word', value);
  return value;
}
