import * as Vs from '../../linux/ip_vs.ts';
import type { Machine } from '../machine/machine.ts';
import { hasModule, type Namespace } from '../machine/state.ts';
import { EEXIST, EINVAL, ENODEV, ENOENT, ERANGE, ESRCH, refuse } from '../refusal.ts';
import { destinationsChanged } from './schedule.ts';
import { type Daemon, type Destination, newCounters, type Service } from './state.ts';

/*
 * What can be done with services and destinations (net/netfilter/ipvs/ip_vs_ctl.c). Netlink and socket options come here alike.
 */

const SCHEDULERS = new Set([
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
]);
const ENGINES = new Set(['sip']);
const MAX_SECONDS = Math.floor(0x7fffffff / 250);

export type ServiceKey = Pick<Service, 'family' | 'mark' | 'protocol' | 'address' | 'port'>;
export type ServiceSettings = Pick<Service, 'scheduler' | 'flags' | 'timeout' | 'netmask' | 'engine'> & {
  readonly mask: number;
};
export type DestinationSettings = Pick<
  Destination,
  'family' | 'address' | 'port' | 'method' | 'weight' | 'upper' | 'lower' | 'tunnelType' | 'tunnelPort' | 'tunnelFlags'
>;

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

const isSame = (service: Service, key: ServiceKey): boolean =>
  service.family === key.family &&
  service.mark === key.mark &&
  service.protocol === key.protocol &&
  service.port === key.port &&
  equal(service.address, key.address);

export const findService = ({ ipvs }: Namespace, key: ServiceKey): Service =>
  ipvs.services.find(each => isSame(each, key)) ?? refuse(ESRCH);

function checkNames({ release }: Machine, { scheduler, engine }: ServiceSettings): void {
  const isKnown = SCHEDULERS.has(scheduler) && (scheduler === 'none' || hasModule(release, `ip_vs_${scheduler}`));
  if (!isKnown) refuse(ENOENT);
  if (engine !== undefined && !(ENGINES.has(engine) && hasModule(release, `ip_vs_pe_${engine}`))) refuse(ENOENT);
}

export function addService(machine: Machine, { ipvs }: Namespace, key: ServiceKey, settings: ServiceSettings): void {
  if (ipvs.services.some(each => isSame(each, key))) refuse(EEXIST);
  checkNames(machine, settings);
  ipvs.services.push({
    ...key,
    ...pick(settings),
    flags: (settings.flags & settings.mask) | Vs.IP_VS_SVC_F_HASHED,
    destinations: [],
    counters: newCounters(),
    memory: {},
  });
}

const pick = ({ scheduler, timeout, netmask, engine }: ServiceSettings) => ({ scheduler, timeout, netmask, engine });

export function editService(machine: Machine, service: Service, settings: ServiceSettings): void {
  checkNames(machine, settings);
  if (settings.scheduler !== service.scheduler) service.memory = {};
  Object.assign(service, pick(settings));
  service.flags = ((service.flags & ~settings.mask) | (settings.flags & settings.mask) | Vs.IP_VS_SVC_F_HASHED) >>> 0;
}

export function removeService({ ipvs }: Namespace, service: Service): void {
  ipvs.services.splice(ipvs.services.indexOf(service), 1);
}

export function flush({ ipvs }: Namespace): void {
  ipvs.services.length = 0;
}

function destinationAt(service: Service, { family, address, port }: DestinationSettings): Destination | undefined {
  return service.destinations.find(
    each => each.family === family && each.port === port && equal(each.address, address),
  );
}

/** The address of a server must be one. */
function checkAddress(address: Uint8Array): void {
  if (address.length === 4) {
    const isNone = address.every(byte => byte === 0);
    const isMulticast = (address[0]! & 0xf0) === 0xe0;
    if (isNone || isMulticast || address.every(byte => byte === 255)) refuse(EINVAL);
  } else if (
    address.every(byte => byte === 0) ||
    address[0] === 0xff ||
    (address[0] === 0xfe && (address[1]! & 0xc0) === 0x80)
  )
    refuse(EINVAL);
}

function check(namespace: Namespace, service: Service, settings: DestinationSettings): void {
  if (settings.weight < 0) refuse(ERANGE);
  if (settings.lower > settings.upper) refuse(ERANGE);
  if (
    settings.method === Vs.IP_VS_CONN_F_TUNNEL &&
    settings.tunnelType === Vs.IP_VS_CONN_F_TUNNEL_TYPE_GUE &&
    settings.tunnelPort === 0
  )
    refuse(EINVAL);
  if (settings.family !== service.family) {
    if (settings.method !== Vs.IP_VS_CONN_F_TUNNEL || namespace.ipvs.daemons.length > 0) refuse(EINVAL);
  }
  checkAddress(settings.address);
}

/** An address of this namespace itself is served here, whatever was asked for. */
function methodOf({ links }: Namespace, { address, method }: DestinationSettings): number {
  const isOwn = links.some(({ addresses }) => addresses.some(({ bytes }) => equal(bytes, address)));
  return isOwn || (address.length === 4 && address[0] === 127) ? Vs.IP_VS_CONN_F_LOCALNODE : method;
}

export function addDestination(namespace: Namespace, service: Service, settings: DestinationSettings): void {
  check(namespace, service, settings);
  if (destinationAt(service, settings) !== undefined) refuse(EEXIST);
  service.destinations.unshift({
    ...settings,
    method: methodOf(namespace, settings),
    lastWeight: settings.weight,
    active: 0,
    inactive: 0,
    persistent: 0,
    overloaded: false,
    counters: newCounters(),
  });
  destinationsChanged(service, { added: 0 });
}

export function editDestination(namespace: Namespace, service: Service, settings: DestinationSettings): void {
  check(namespace, service, settings);
  const destination = destinationAt(service, settings) ?? refuse(ENOENT);
  const { family: _, address: __, port: ___, ...changed } = settings;
  Object.assign(destination, changed, { method: methodOf(namespace, settings) });
  if (settings.weight > 0) destination.lastWeight = settings.weight;
  destinationsChanged(service, {});
}

export function removeDestination(service: Service, settings: DestinationSettings): void {
  const destination = destinationAt(service, settings) ?? refuse(ENOENT);
  const at = service.destinations.indexOf(destination);
  service.destinations.splice(at, 1);
  destinationsChanged(service, { removed: at });
}

export function setTimeouts({ ipvs }: Namespace, { tcp, tcpFin, udp }: Namespace['ipvs']['timeouts']): void {
  if ([tcp, tcpFin, udp].some(seconds => seconds > MAX_SECONDS)) refuse(EINVAL);
  const { timeouts } = ipvs;
  // 0 leaves one as it is.
  ipvs.timeouts = { tcp: tcp || timeouts.tcp, tcpFin: tcpFin || timeouts.tcpFin, udp: udp || timeouts.udp };
}

export function zero({ ipvs }: Namespace, service: Service | undefined): void {
  const services = service === undefined ? ipvs.services : [service];
  for (const each of services) {
    Object.assign(each.counters, newCounters());
    for (const { counters } of each.destinations) Object.assign(counters, newCounters());
  }
  if (service === undefined) Object.assign(ipvs.counters, newCounters());
}

/** 224.0.0.81, port 8848. */
const DEFAULT_GROUP = Uint8Array.of(224, 0, 0, 81);
const DEFAULT_PORT = 8848;
const MAX_LENGTH = 1460;

export function startDaemon(
  namespace: Namespace,
  daemon: Omit<Daemon, 'group'> & { readonly group: Uint8Array | undefined },
): void {
  const { ipvs, links } = namespace;
  if (daemon.state !== Vs.IP_VS_STATE_MASTER && daemon.state !== Vs.IP_VS_STATE_BACKUP) refuse(EINVAL);
  const { group = DEFAULT_GROUP } = daemon;
  const isMulticast = group.length === 4 ? (group[0]! & 0xf0) === 0xe0 : group[0] === 0xff;
  if (!isMulticast) refuse(EINVAL);
  if (ipvs.services.some(({ family, destinations }) => destinations.some(each => each.family !== family)))
    refuse(EINVAL);
  if (ipvs.daemons.some(({ state }) => state === daemon.state)) refuse(EEXIST);
  if (!links.some(({ name }) => name === daemon.interface)) refuse(ENODEV);
  const started = {
    ...daemon,
    group,
    maxLength: daemon.maxLength === 0 ? MAX_LENGTH : Math.min(daemon.maxLength, MAX_LENGTH),
    port: daemon.port === 0 ? DEFAULT_PORT : daemon.port,
    ttl: daemon.ttl === 0 ? 1 : daemon.ttl,
  };
  ipvs.daemons.push(started);
  ipvs.daemons.sort((a, b) => a.state - b.state);
}

export function stopDaemon({ ipvs }: Namespace, state: number): void {
  if (state === 0) refuse(EINVAL);
  const at = ipvs.daemons.findIndex(each => each.state === state);
  if (at < 0) refuse(ESRCH);
  ipvs.daemons.splice(at, 1);
}
