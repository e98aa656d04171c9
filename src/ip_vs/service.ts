import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  formatIPv4,
  formatIPv6,
  fromHex,
  HOST_IS_LITTLE_ENDIAN,
  hexByte,
  parseIPv4,
  parseIPv6,
  sourceOf,
  toHex,
  Writer,
} from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import { AF_INET, AF_INET6 } from '../ffi/constants.ts';
import type { WireService } from './attributes.ts';
import * as C from './constants.ts';
import type { Destination } from './destination.ts';
import { checkFlags, encodeFlags, readFlags, type SchedulerFlag } from './scheduler-flags.ts';
import { readStats, type Stats } from './stats.ts';

export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
const PROTOCOL_BY_NUMBER: ReadonlyMap<number, keyof typeof PROTOCOLS> = new Map([
  [PROTOCOLS.tcp, 'tcp'],
  [PROTOCOLS.udp, 'udp'],
  [PROTOCOLS.sctp, 'sctp'],
]);
const PROTOCOL_NAMES = Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[];

/**
 * The schedulers of the kernel (net/netfilter/ipvs): each is a module of its own, loaded when first used. 'none' schedules nothing. Load
 * ip_vs_lblc and ip_vs_lblcr on the host beforehand if you use them: the kernel loads a scheduler with the mutex of IPVS held, these two register
 * per-namespace state, and when a namespace that used IPVS ends at that moment both wait for ever (seen on 6.12; docs/ipvs.md).
 */
export const SCHEDULERS = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
  'none',
] as const;
export type Scheduler = (typeof SCHEDULERS)[number];

export interface TransportKey {
  /** A number where the kernel knows a service of a protocol without a name here. */
  protocol: keyof typeof PROTOCOLS | number;
  /** The virtual address, IPv4 or IPv6. No packet matches 0.0.0.0, ::, multicast and 255.255.255.255: new services with these are refused. */
  address: string;
  /** The virtual port; 0 is every port, and needs persistence. */
  port: number;
}

export interface FirewallMarkKey {
  /** Packets that carry this mark (1 to 2^32-1), whatever their addresses. */
  firewallMark: number;
  /** The kernel keeps two services for one mark, one a family. */
  family: 'ipv4' | 'ipv6';
}

/** What identifies a virtual service. */
export type ServiceKey = TransportKey | FirewallMarkKey;

export interface Persistence {
  /** How long a client keeps its server after its last connection: 1 to 2,678,400 seconds (31 days). */
  timeoutSeconds: number;
  /**
   * Clients whose addresses are the same in these bits are one client: an IPv4 mask, which may have holes, or a prefix length (IPv4 0 to 32,
   * IPv6 1 to 128). 0 or 0.0.0.0 makes all clients one. Default: each address is its own client.
   */
  netmask?: string | number;
  /** A persistence engine instead of the client's address: 'sip' (Linux 2.6.37). */
  engine?: string;
}

export interface Scheduling {
  scheduler: Scheduler | (string & {});
  /** By name, or as bits 0x8, 0x10 and 0x20. A service that another program made may have others, which come as a number and can stay. */
  schedulerFlags?: (SchedulerFlag | number)[];
  persistence?: Persistence;
  /** Each packet is scheduled on its own; for UDP and firewall marks. */
  onePacket?: boolean;
}

/** A virtual service: what clients connect to. */
export type Service = ServiceKey & Scheduling;

/** A service as the kernel has it. */
export type ServiceEntry = Service & { stats: Stats };

/** A virtual service and the real servers behind it. */
export type VirtualServer = Service & { destinations: Destination[] };

/** ipvsadm's limit. The kernel multiplies by HZ in 32 bits, and more than 49 days would wrap silently. */
const MAX_TIMEOUT = 31 * 24 * 60 * 60;

const PERSISTENCE_FIELDS = ['timeoutSeconds', 'netmask', 'engine'];
const KEY_FIELDS = ['protocol', 'address', 'port', 'firewallMark', 'family'];
export const SERVICE_FIELDS: readonly string[] = [
  ...KEY_FIELDS,
  'scheduler',
  'schedulerFlags',
  'persistence',
  'onePacket',
  'destinations',
  'stats',
];

/** AF_INET or AF_INET6, with the key checked. */
export function familyOf(key: ServiceKey): number {
  return 'firewallMark' in key
    ? key.family === 'ipv6'
      ? AF_INET6
      : AF_INET
    : key.address.includes(':')
      ? AF_INET6
      : AF_INET;
}

/** The attributes that identify a service. A whole service may be given: what does not identify it is ignored. */
export function writeKey(key: ServiceKey, path: Path = []): WireService {
  checkObject(key, path, SERVICE_FIELDS);
  if ('firewallMark' in key) {
    if ('protocol' in key || 'address' in key || 'port' in key) {
      throw typeError(
        [...path, 'firewallMark'],
        'either a firewall mark or protocol, address and port',
        key.firewallMark,
      );
    }
    const family = checkOneOf(key.family, [...path, 'family'], ['ipv4', 'ipv6']);
    const firewallMark = checkInteger(key.firewallMark, [...path, 'firewallMark'], 1, 0xffffffff);
    return { family: family === 'ipv4' ? AF_INET : AF_INET6, firewallMark };
  }
  const address = ipv4Bytes(key.address);
  if (address === undefined) checkAddress(key.address, [...path, 'address']);
  return {
    family: address === undefined ? AF_INET6 : AF_INET,
    protocol: protocolNumber(key.protocol, [...path, 'protocol']),
    address: address ?? addressBytes(key.address),
    port: checkInteger(key.port, [...path, 'port'], 0, 65535),
  };
}

function protocolNumber(protocol: unknown, path: Path): number {
  if (typeof protocol === 'number') return checkInteger(protocol, path, 0, 65535);
  return PROTOCOLS[checkOneOf(protocol, path, PROTOCOL_NAMES)];
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const REST = '0'.repeat(24);

/** As `addressBytes` of an IPv4 address; undefined for anything else. A batch has thousands, and each typed array costs as much as a message. */
export function ipv4Bytes(text: string): string | undefined {
  let hex = '';
  let value = -1;
  let count = 0;
  if (typeof text !== 'string' || text.length > 15) return undefined;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0x2e;
    if (code === 0x2e) {
      if (value < 0 || ++count > 4) return undefined;
      hex += HEX[value];
      value = -1;
    } else {
      // What begins with a zero would be octal to some readers.
      if (code < 0x30 || code > 0x39 || value === 0) return undefined;
      value = (value < 0 ? 0 : value * 10) + code - 0x30;
      if (value > 255) return undefined;
    }
  }
  return count === 4 ? hex + REST : undefined;
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

/**
 * What an object may keep although it would be refused from a caller: all that the given one has, which is how the kernel holds it, or anything
 * at all ('anything'). Without it the object is new.
 */
export type Kept<T> = T | 'anything' | undefined;

/**
 * All attributes of a service: the kernel takes no partial update, so that each request carries everything.
 * @throws TypeError, RangeError what the kernel cannot hold, and of what differs from `kept`, what it should not be made to hold.
 */
export function writeService(service: Service, kept?: Kept<WireService>): WireService {
  const wire = encodeService(service);
  if (kept !== 'anything') checkService(service, wire, kept);
  return wire;
}

/** Everything that a service can be read with. */
function encodeService(service: Service): WireService {
  const wire = writeKey(service);
  const { persistence } = service;
  wire.scheduler = schedulerName(service.scheduler);
  let bits = encodeFlags(service);
  if (service.onePacket !== undefined && typeof service.onePacket !== 'boolean') {
    throw typeError(['onePacket'], 'a boolean', service.onePacket);
  }
  if (service.onePacket) bits |= C.IP_VS_SVC_F_ONEPACKET;
  if (persistence !== undefined) {
    checkObject(persistence, ['persistence'], PERSISTENCE_FIELDS);
    bits |= C.IP_VS_SVC_F_PERSISTENT;
    if (persistence.engine !== undefined) {
      wire.engine = checkString(persistence.engine, ['persistence', 'engine'], C.IP_VS_PENAME_MAXLEN - 1);
    }
  }
  wire.flags = { flags: bits >>> 0, mask: 0xffffffff };
  wire.timeout = persistence
    ? checkInteger(persistence.timeoutSeconds, ['persistence', 'timeoutSeconds'], 0, 0xffffffff)
    : 0;
  wire.netmask = netmaskBytes(persistence?.netmask, wire.family);
  return wire;
}

function schedulerName(scheduler: unknown): string {
  // Known names need not be measured: a batch has thousands.
  return SCHEDULERS.includes(scheduler as Scheduler)
    ? (scheduler as string)
    : checkString(scheduler, ['scheduler'], C.IP_VS_SCHEDNAME_MAXLEN - 1);
}

/** Refuses what the kernel takes and does not work, unless the service is like that already. */
function checkService(service: Service, wire: WireService, kept: WireService | undefined): void {
  if (wire.scheduler !== kept?.scheduler) checkOneOf(service.scheduler, ['scheduler'], SCHEDULERS);
  const bits = wire.flags?.flags ?? 0;
  const before = kept?.flags?.flags ?? 0;
  checkFlags(service, before);
  if (
    (bits & ~before & C.IP_VS_SVC_F_ONEPACKET) !== 0 &&
    !('firewallMark' in service) &&
    wire.protocol !== PROTOCOLS.udp
  )
    throw rangeError(['onePacket'], 'a UDP service or a firewall mark for one-packet scheduling', true);
  const persists = (bits & C.IP_VS_SVC_F_PERSISTENT) !== 0;
  const persisted = (before & C.IP_VS_SVC_F_PERSISTENT) !== 0;
  if (wire.port === 0 && !persists && (persisted || kept === undefined)) {
    throw rangeError(['port'], 'a port (0, every port, needs persistence)', 0);
  }
  if (persists && !(persisted && wire.timeout === kept?.timeout)) {
    checkInteger(wire.timeout, ['persistence', 'timeoutSeconds'], 1, MAX_TIMEOUT);
  }
  if (kept === undefined && 'address' in service && !isReachable(wire)) {
    throw rangeError(['address'], 'an address that packets are sent to (none matches this service)', service.address);
  }
}

/** Can a packet have this address? IPVS looks at none for 0.0.0.0, ::, a multicast or the broadcast address. */
export function isReachable({ family, address = '' }: Pick<WireService, 'family' | 'address'>): boolean {
  if (family === AF_INET6) return !address.startsWith('ff') && !/^0*$/.test(address);
  const first = address.charCodeAt(0);
  // Hexadecimal: 224.0.0.0/4 begins with e.
  return first !== 0x65 && !(first === 0x30 && address.startsWith('00000000')) && !address.startsWith('ffffffff');
}

/** The masks that make each address its own client. */
const WHOLE_IPV4 = 'ffffffff';
const WHOLE_IPV6 = HOST_IS_LITTLE_ENDIAN ? '80000000' : '00000080';

/**
 * IPv4 wants the mask's bytes, IPv6 a prefix length as a number in host order; both want one always. A mask may have holes, and 0.0.0.0 makes all
 * clients one; an IPv6 prefix of 0 is EINVAL.
 */
function netmaskBytes(netmask: unknown, family: number): string {
  if (netmask === undefined) return family === AF_INET6 ? WHOLE_IPV6 : WHOLE_IPV4;
  const path = ['persistence', 'netmask'];
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

export function readKey(wire: WireService): ServiceKey {
  if (wire.firewallMark) return { firewallMark: wire.firewallMark, family: wire.family === AF_INET6 ? 'ipv6' : 'ipv4' };
  const { protocol = 0 } = wire;
  return {
    protocol: PROTOCOL_BY_NUMBER.get(protocol) ?? protocol,
    address: addressText(wire.address ?? '', wire.family),
    port: wire.port ?? 0,
  };
}

export function readService(wire: WireService): ServiceEntry {
  const bits = wire.flags?.flags ?? 0;
  const scheduler = wire.scheduler ?? 'none';
  const entry: ServiceEntry = Object.assign(readKey(wire), { scheduler, stats: readStats(wire) });
  // The kernel's own mark says nothing about the service.
  const flags = readFlags(bits, scheduler);
  if (flags.length > 0) entry.schedulerFlags = flags;
  if ((bits & C.IP_VS_SVC_F_ONEPACKET) !== 0) entry.onePacket = true;
  if ((bits & C.IP_VS_SVC_F_PERSISTENT) !== 0) {
    entry.persistence = { timeoutSeconds: wire.timeout ?? 0 };
    const netmask = readNetmask(wire);
    if (netmask !== undefined) entry.persistence.netmask = netmask;
    if (wire.engine !== undefined) entry.persistence.engine = wire.engine;
  }
  return entry;
}

/** The mask, unless it is the one that makes each address its own client. */
function readNetmask(wire: WireService): string | number | undefined {
  const bytes = fromHex(wire.netmask ?? '');
  if (bytes?.length !== 4) return undefined;
  if (wire.family === AF_INET6) {
    const prefix = sourceOf(bytes).view.getUint32(0, HOST_IS_LITTLE_ENDIAN);
    return prefix === 128 ? undefined : prefix;
  }
  return bytes.every(byte => byte === 255) ? undefined : formatIPv4(bytes);
}
