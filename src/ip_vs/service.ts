import { checkAddress, checkInteger, checkOneOf } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import * as C from '../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import { addressBytes, addressText, ipv4Bytes, isReachable } from './address.ts';
import type { WireService } from './attributes.ts';
import { FieldTable } from './fields.ts';
import { checkFlags, encodeFlags, readFlags, type SchedulerFlag } from './scheduler-flags.ts';
import { type Scheduler, serviceRows } from './service-rows.ts';
import { readStats, type Stats } from './stats.ts';

export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
const PROTOCOL_BY_NUMBER: ReadonlyMap<number, keyof typeof PROTOCOLS> = new Map([
  [PROTOCOLS.tcp, 'tcp'],
  [PROTOCOLS.udp, 'udp'],
  [PROTOCOLS.sctp, 'sctp'],
]);
const PROTOCOL_NAMES = Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[];

/** The key of a service for packets to one address and port. */
export interface TransportKey {
  /** A number, 0 to 65535, for a protocol without a name here. */
  protocol: keyof typeof PROTOCOLS | number;
  /** The virtual address, IPv4 or IPv6. No packet matches 0.0.0.0, ::, multicast and 255.255.255.255, so new services with these are refused. */
  address: string;
  /** The virtual port, 0 to 65535. 0 is every port, and needs persistence. */
  port: number;
}

/** The key of a service for packets that carry a mark, which a firewall rule has set. */
export interface FirewallMarkKey {
  /** Packets that carry this mark (1 to 2^32-1), whatever their addresses. */
  firewallMark: number;
  /** The kernel keeps one service for each family of a mark. */
  family: 'ipv4' | 'ipv6';
}

/** What identifies a virtual service in its namespace. */
export type ServiceKey = TransportKey | FirewallMarkKey;

/** How long, and by which part of its address, a client keeps the destination that it got. */
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

/** How a service distributes its connections. */
export interface Scheduling {
  /** How connections are spread: 'rr', 'wrr', 'lc', 'wlc', 'mh' and others. */
  scheduler: Scheduler | (string & {});
  /** By name, or as the bits 0x8, 0x10 and 0x20. Other bits, which another program has set, are read as a number and may stay. */
  schedulerFlags?: (SchedulerFlag | number)[];
  /** Connections of one client go to one server. */
  persistence?: Persistence;
  /** Schedule each packet on its own (default false). For UDP and firewall marks. */
  onePacket?: boolean;
}

/** A virtual service: what clients connect to. */
export type Service = ServiceKey & Scheduling;

/** A service as the kernel has it, with its counters. */
export type ServiceEntry = Service & {
  /** What the service got and sent. */
  stats: Stats;
};

/** The settings of a service, and what follows from them. */
export const SERVICE = new FieldTable<WireService>(
  serviceRows,
  { persistence: ({ flags }) => ((flags?.flags ?? 0) & C.IP_VS_SVC_F_PERSISTENT) !== 0 },
  ['destinations'],
);
const TRANSPORT: WireService = { family: AF_INET, protocol: 0, address: '', port: 0 };
const FLAGS = { flags: 0, mask: 0xffffffff };
const DEFAULTS4 = SERVICE.withDefaults({ ...TRANSPORT, flags: FLAGS }, AF_INET);
const DEFAULTS6 = SERVICE.withDefaults({ ...TRANSPORT, flags: FLAGS }, AF_INET6);

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
export function writeKey(key: ServiceKey): WireService {
  SERVICE.checkNames(key);
  return 'firewallMark' in key ? encodeMark(key) : encodeTransport(key, { ...TRANSPORT });
}

function encodeMark(key: FirewallMarkKey): WireService {
  if ('protocol' in key || 'address' in key || 'port' in key) {
    throw typeError(['firewallMark'], 'either a firewall mark or protocol, address and port', key.firewallMark);
  }
  const family = checkOneOf(key.family, ['family'], ['ipv4', 'ipv6']);
  const firewallMark = checkInteger(key.firewallMark, ['firewallMark'], 1, 0xffffffff);
  return { family: family === 'ipv4' ? AF_INET : AF_INET6, firewallMark };
}

function encodeTransport({ protocol, address, port }: TransportKey, wire: WireService): WireService {
  const ipv4 = ipv4Bytes(address);
  if (ipv4 === undefined) checkAddress(address, ['address']);
  wire.family = ipv4 === undefined ? AF_INET6 : AF_INET;
  wire.protocol = protocolNumber(protocol);
  wire.address = ipv4 ?? addressBytes(address);
  wire.port = checkInteger(port, ['port'], 0, 65535);
  return wire;
}

function protocolNumber(protocol: unknown): number {
  if (typeof protocol === 'number') return checkInteger(protocol, ['protocol'], 0, 65535);
  return PROTOCOLS[checkOneOf(protocol, ['protocol'], PROTOCOL_NAMES)];
}

/**
 * Values that an object may have although they are refused from a caller: those of the given object, which is the one in the kernel, or any
 * ('anything'). Undefined: the object is new.
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

/** The key of a service, and the defaults of its settings. */
function encodeKey(service: Service): WireService {
  if ('firewallMark' in service) {
    const key = encodeMark(service);
    return SERVICE.withDefaults(key, key.family);
  }
  const { address } = service;
  return encodeTransport(service, {
    ...(typeof address === 'string' && address.includes(':') ? DEFAULTS6 : DEFAULTS4),
  });
}

/** Encodes every value that a service can be read with. */
function encodeService(service: Service): WireService {
  SERVICE.checkNames(service);
  const wire = encodeKey(service);
  const { onePacket, persistence } = service;
  let bits = encodeFlags(service);
  if (onePacket !== undefined && typeof onePacket !== 'boolean') throw typeError(['onePacket'], 'a boolean', onePacket);
  if (onePacket) bits |= C.IP_VS_SVC_F_ONEPACKET;
  if (persistence !== undefined) bits |= C.IP_VS_SVC_F_PERSISTENT;
  wire.flags = { flags: bits >>> 0, mask: 0xffffffff };
  SERVICE.encode(service, wire, wire.family);
  return wire;
}

/** Refuses values that the kernel takes although they do not work, unless the service has them already. */
function checkService(service: Service, wire: WireService, kept: WireService | undefined): void {
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
  SERVICE.checkNew(service, wire, kept);
  if (kept === undefined && 'address' in service && !isReachable(service.address)) {
    throw rangeError(['address'], 'an address that packets are sent to (none matches this service)', service.address);
  }
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
  return Object.assign(readServiceSettings(wire), { stats: readStats(wire) });
}

/** As above, without the counters. */
export function readServiceSettings(wire: WireService): Service {
  const bits = wire.flags?.flags ?? 0;
  const { scheduler = 'none', family } = wire;
  const service: Service = Object.assign(readKey(wire), { scheduler });
  const flags = readFlags(bits, scheduler);
  if (flags.length > 0) service.schedulerFlags = flags;
  if ((bits & C.IP_VS_SVC_F_ONEPACKET) !== 0) service.onePacket = true;
  SERVICE.decode(service, wire, family);
  return service;
}
