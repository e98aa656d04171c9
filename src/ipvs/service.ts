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
  namedBits,
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

const FLAG_BITS = {
  'flag-1': C.IP_VS_SVC_F_SCHED1,
  'flag-2': C.IP_VS_SVC_F_SCHED2,
  'flag-3': C.IP_VS_SVC_F_SCHED3,
} as const;
/** The flags' meaning is the scheduler's: with sh and mh they have names. */
const NAMED_FLAGS: Record<string, readonly ['flag-1' | 'flag-2', string]> = {
  'sh-fallback': ['flag-1', 'sh'],
  'sh-port': ['flag-2', 'sh'],
  'mh-fallback': ['flag-1', 'mh'],
  'mh-port': ['flag-2', 'mh'],
};
export type SchedulerFlag = 'sh-fallback' | 'sh-port' | 'mh-fallback' | 'mh-port' | 'flag-1' | 'flag-2' | 'flag-3';

export interface TransportKey {
  /** A number where the kernel knows a service of a protocol without a name here. */
  protocol: keyof typeof PROTOCOLS | number;
  /** The virtual address, IPv4 or IPv6. */
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
  /** Clients of one network are one client: an IPv4 mask, or a prefix length. Default: each address is its own client. */
  netmask?: string | number;
  /** A persistence engine instead of the client's address: 'sip' (Linux 2.6.37). */
  engine?: string;
}

export interface Scheduling {
  scheduler: Scheduler | (string & {});
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

/** All attributes of a service: the kernel takes no partial update, so that each request carries everything. */
export function writeService(service: Service): WireService {
  const wire = writeKey(service);
  const { persistence } = service;
  const scheduler = checkOneOf(service.scheduler, ['scheduler'], SCHEDULERS);
  let bits = schedulerFlags(service);
  if (service.onePacket !== undefined && typeof service.onePacket !== 'boolean') {
    throw typeError(['onePacket'], 'a boolean', service.onePacket);
  }
  if (service.onePacket) {
    const udp = 'firewallMark' in service || wire.protocol === PROTOCOLS.udp;
    if (!udp) throw rangeError(['onePacket'], 'a UDP service or a firewall mark for one-packet scheduling', true);
    bits |= C.IP_VS_SVC_F_ONEPACKET;
  }
  if (wire.port === 0 && persistence === undefined)
    throw rangeError(['port'], 'a port (0, every port, needs persistence)', 0);
  if (persistence !== undefined) {
    checkObject(persistence, ['persistence'], ['timeoutSeconds', 'netmask', 'engine']);
    bits |= C.IP_VS_SVC_F_PERSISTENT;
    if (persistence.engine !== undefined) {
      wire.engine = checkString(persistence.engine, ['persistence', 'engine'], C.IP_VS_PENAME_MAXLEN - 1);
    }
  }
  wire.scheduler = scheduler;
  wire.flags = { flags: bits, mask: 0xffffffff };
  wire.timeout = persistence
    ? checkInteger(persistence.timeoutSeconds, ['persistence', 'timeoutSeconds'], 1, MAX_TIMEOUT)
    : 0;
  wire.netmask = netmaskBytes(persistence?.netmask, wire.family);
  return wire;
}

/** Another scheduler and its flags, in a service that is otherwise as it is. */
export function writeScheduler(service: Service, { flags }: WireService): Pick<WireService, 'scheduler' | 'flags'> {
  const kept = (flags?.flags ?? 0) & (C.IP_VS_SVC_F_PERSISTENT | C.IP_VS_SVC_F_ONEPACKET);
  const scheduler = checkOneOf(service.scheduler, ['scheduler'], SCHEDULERS);
  return { scheduler, flags: { flags: kept | schedulerFlags(service), mask: 0xffffffff } };
}

function schedulerFlags({ schedulerFlags: given, scheduler }: Service): number {
  if (given === undefined) return 0;
  if (!Array.isArray(given)) throw typeError(['schedulerFlags'], 'an array of flags', given);
  let bits = 0;
  for (const [i, flag] of given.entries()) {
    const path = ['schedulerFlags', i];
    if (typeof flag === 'number') {
      bits |= checkInteger(flag, path, 0, 0xffffffff);
      continue;
    }
    const [plain, owner] = NAMED_FLAGS[flag] ?? [flag, scheduler];
    if (!Object.hasOwn(FLAG_BITS, plain))
      throw rangeError(path, `one of ${[...Object.keys(NAMED_FLAGS), ...Object.keys(FLAG_BITS)].join(', ')}`, flag);
    if (owner !== scheduler) throw rangeError(path, `a flag of the scheduler ${scheduler}`, flag);
    bits |= FLAG_BITS[plain as keyof typeof FLAG_BITS];
  }
  return bits;
}

/** The masks that make each address its own client. */
const WHOLE_IPV4 = 'ffffffff';
const WHOLE_IPV6 = HOST_IS_LITTLE_ENDIAN ? '80000000' : '00000080';

/** IPv4 wants the mask's bytes, IPv6 a prefix length as a number in host order; both want one always. */
function netmaskBytes(netmask: unknown, family: number): string {
  if (netmask === undefined) return family === AF_INET6 ? WHOLE_IPV6 : WHOLE_IPV4;
  const path = ['persistence', 'netmask'];
  const bits = family === AF_INET6 ? 128 : 32;
  let prefix = bits;
  if (typeof netmask === 'string') {
    const mask = family === AF_INET ? parseIPv4(netmask) : undefined;
    const number = mask === undefined ? 0 : sourceOf(mask).view.getUint32(0);
    prefix = Math.clz32(~number);
    const contiguous = number === (prefix === 32 ? 0xffffffff : ~(0xffffffff >>> prefix) >>> 0);
    if (mask === undefined || number === 0 || !contiguous)
      throw rangeError(path, 'an IPv4 mask such as 255.255.255.0, or a prefix length', netmask);
  } else prefix = checkInteger(netmask, path, 1, bits);
  const writer = new Writer(4);
  if (family === AF_INET6) writer.u32(prefix, HOST_IS_LITTLE_ENDIAN);
  else writer.u32(prefix === 32 ? 0xffffffff : ~(0xffffffff >>> prefix) >>> 0, false);
  return toHex(writer.bytes, 0, 4);
}

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
  // HASHED is the kernel's own mark and says nothing about the service.
  const flags = bits & ~(C.IP_VS_SVC_F_PERSISTENT | C.IP_VS_SVC_F_HASHED | C.IP_VS_SVC_F_ONEPACKET);
  if (flags !== 0) entry.schedulerFlags = namedBits(flags, FLAG_BITS).map(flag => nameFlag(flag, scheduler));
  if ((bits & C.IP_VS_SVC_F_ONEPACKET) !== 0) entry.onePacket = true;
  if ((bits & C.IP_VS_SVC_F_PERSISTENT) !== 0) {
    entry.persistence = { timeoutSeconds: wire.timeout ?? 0 };
    const netmask = readNetmask(wire);
    if (netmask !== undefined) entry.persistence.netmask = netmask;
    if (wire.engine !== undefined) entry.persistence.engine = wire.engine;
  }
  return entry;
}

function nameFlag(flag: keyof typeof FLAG_BITS | number, scheduler: string): SchedulerFlag | number {
  const name = Object.keys(NAMED_FLAGS).find(
    key => NAMED_FLAGS[key]![0] === flag && NAMED_FLAGS[key]![1] === scheduler,
  );
  return (name as SchedulerFlag | undefined) ?? flag;
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
