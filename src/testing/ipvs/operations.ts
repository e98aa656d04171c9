import * as Vs from '../../linux/ip_vs.ts';
import { AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import { hasModule, type Namespace } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, ERANGE, refuse } from '../refusal.ts';
import { isSame, isServer } from './address.ts';
import { flushWithoutServer, throwAway } from './connections.ts';
import { settle, zeroCounters } from './estimator.ts';
import { bindScheduler, destinationsChanged, hasScheduler } from './schedule.ts';
import { schedulerLoaded } from './settings.ts';
import { type Destination, newCounters, type Service } from './state.ts';

/*
 * The operations on services and destinations (net/netfilter/ipvs/ip_vs_ctl.c), with the checks in the kernel's order. Netlink and socket
 * options use the same ones.
 */

const ENGINES = new Set(['sip']);
/** HZ of the distributions' kernels. */
const HZ = 250;
const MAX_SECONDS = Math.floor(0x7fffffff / HZ);

export type ServiceKey = Pick<Service, 'family' | 'mark' | 'protocol' | 'address' | 'port'>;
export type ServiceSettings = Pick<Service, 'scheduler' | 'flags' | 'netmask' | 'engine'> & {
  readonly seconds: number;
};
export type DestinationKey = Pick<Destination, 'family' | 'address' | 'port'>;
export type DestinationSettings = DestinationKey &
  Pick<Destination, 'flags' | 'weight' | 'upper' | 'lower' | 'tunnelType' | 'tunnelPort' | 'tunnelFlags'>;

/** A service by its mark, or by protocol, address and port. */
export function findService({ ipvs }: Namespace, key: ServiceKey): Service | undefined {
  return ipvs.services.find(each => {
    if (each.family !== key.family || each.mark !== key.mark) return false;
    if (key.mark !== 0) return true;
    return each.protocol === key.protocol && each.port === key.port && isSame(each.address, key.address);
  });
}

function checkNames({ release }: Machine, { scheduler, engine }: ServiceSettings): void {
  const isKnown = hasScheduler(scheduler) && (scheduler === 'none' || hasModule(release, `ip_vs_${scheduler}`));
  if (!isKnown) refuse(ENOENT);
  if (engine !== undefined && !(ENGINES.has(engine) && hasModule(release, `ip_vs_pe_${engine}`))) refuse(ENOENT);
}

function check(machine: Machine, family: number, settings: ServiceSettings): void {
  checkNames(machine, settings);
  if (family === AF_INET6 && (settings.netmask < 1 || settings.netmask > 128)) refuse(EINVAL);
}

/** As the kernel's 32 bits hold it. */
const jiffies = (seconds: number): number => Number((BigInt(seconds) * BigInt(HZ)) & 0xffff_ffffn);
export const secondsOf = ({ timeout }: Service): number => Math.floor(timeout / HZ);

export function addService(machine: Machine, namespace: Namespace, key: ServiceKey, settings: ServiceSettings): void {
  if (findService(namespace, key) !== undefined) refuse(EEXIST);
  check(machine, key.family, settings);
  const { scheduler, netmask, engine, flags, seconds } = settings;
  const now = Number(machine.state.now);
  const service: Service = {
    ...key,
    scheduler,
    netmask,
    engine,
    flags: (flags | Vs.IP_VS_SVC_F_HASHED) >>> 0,
    timeout: jiffies(seconds),
    destinations: [],
    counters: newCounters(now),
    scheduling: {},
  };
  bindScheduler(service, now);
  schedulerLoaded(machine, scheduler);
  namespace.ipvs.services.push(service);
}

export function editService(machine: Machine, service: Service, settings: ServiceSettings): void {
  check(machine, service.family, settings);
  const { scheduler, netmask, engine, flags, seconds } = settings;
  if (scheduler !== service.scheduler) {
    service.scheduler = scheduler;
    bindScheduler(service, Number(machine.state.now));
    schedulerLoaded(machine, scheduler);
  }
  Object.assign(service, { netmask, engine, timeout: jiffies(seconds) });
  service.flags = (flags | Vs.IP_VS_SVC_F_HASHED) >>> 0;
}

export function removeService({ state }: Machine, namespace: Namespace, service: Service): void {
  const { services } = namespace.ipvs;
  services.splice(services.indexOf(service), 1);
  const now = Number(state.now);
  const { destinations } = service;
  service.destinations = [];
  service.scheduler = 'none';
  bindScheduler(service, now);
  for (const each of destinations) takeAway(namespace, each, now);
}

export function flush(machine: Machine, namespace: Namespace): void {
  for (const each of [...namespace.ipvs.services]) removeService(machine, namespace, each);
}

function takeAway(namespace: Namespace, destination: Destination, now: number): void {
  destination.available = false;
  throwAway(namespace, destination, now);
  if (namespace.sysctls.get('net/ipv4/vs/expire_nodest_conn') !== '0') flushWithoutServer(namespace);
}

const isAt = (destination: Destination, { family, address, port }: DestinationKey): boolean =>
  destination.family === family && destination.port === port && isSame(destination.address, address);

/** Thresholds are compared with counters that have a sign. */
const MOST_CONNECTIONS = 0x7fff_ffff;

function checkSettings({ weight, lower, upper, tunnelType, tunnelPort }: DestinationSettings): void {
  if (weight < 0) refuse(ERANGE);
  if (lower > upper) refuse(ERANGE);
  // Since Linux 7.1, and in the stable 6.12.117 and 6.1.192 [measured]. 6.1.176 takes them.
  if (upper > MOST_CONNECTIONS) refuse(EINVAL);
  if (tunnelType === Vs.IP_VS_CONN_F_TUNNEL_TYPE_GUE && tunnelPort === 0) refuse(EINVAL);
}

export function addDestination(
  { state }: Machine,
  namespace: Namespace,
  service: Service,
  settings: DestinationSettings,
): void {
  checkSettings(settings);
  if (service.destinations.some(each => isAt(each, settings))) refuse(EEXIST);
  const now = Number(state.now);
  const destination = fromTrash(namespace, service, settings, now) ?? newDestination(namespace, service, settings, now);
  update(destination, settings);
  destination.lastWeight = settings.weight;
  service.destinations.unshift(destination);
  destinationsChanged(service, { kind: 'added' });
}

function newDestination(
  namespace: Namespace,
  service: Service,
  settings: DestinationSettings,
  now: number,
): Destination {
  if (!isServer(namespace, settings.address)) refuse(EINVAL);
  return {
    ...settings,
    service,
    lastWeight: 0,
    active: 0,
    inactive: 0,
    persistent: 0,
    overloaded: false,
    available: true,
    references: 0,
    idleSince: undefined,
    counters: newCounters(now),
  };
}

/** One that was taken away from the same service not long ago has its connections still, and its counters if the service is the very same. */
function fromTrash(namespace: Namespace, service: Service, key: DestinationKey, now: number): Destination | undefined {
  const { ipvs } = namespace;
  const at = ipvs.trash.findIndex(each => isAt(each, key) && hasServed(each, service));
  if (at < 0) return undefined;
  const [found] = ipvs.trash.splice(at, 1);
  if (found!.service !== service) {
    settle(namespace, found!.counters, now);
    zeroCounters(found!.counters);
    found!.service = service;
  }
  return found;
}

function hasServed({ service: old }: Destination, service: Service): boolean {
  if (old.mark !== service.mark || old.protocol !== service.protocol) return false;
  return service.mark !== 0 || (old.port === service.port && isSame(old.address, service.address));
}

/** As __ip_vs_update_dest: what is over its threshold stays so unless the threshold rises or goes. */
function update(destination: Destination, settings: DestinationSettings): void {
  const { flags, upper, lower, weight, tunnelType, tunnelPort, tunnelFlags } = settings;
  if (weight !== 0) destination.lastWeight = weight;
  if (upper === 0 || upper > destination.upper) destination.overloaded = false;
  Object.assign(destination, { weight, upper, lower, tunnelType, tunnelPort, tunnelFlags, available: true });
  const isMasqueraded = (flags & Vs.IP_VS_CONN_F_FWD_MASK) === Vs.IP_VS_CONN_F_MASQ;
  destination.flags = flags | Vs.IP_VS_CONN_F_INACTIVE | (isMasqueraded ? 0 : Vs.IP_VS_CONN_F_NOOUTPUT);
}

export function editDestination(service: Service, settings: DestinationSettings): void {
  checkSettings(settings);
  const destination = service.destinations.find(each => isAt(each, settings)) ?? refuse(ENOENT);
  update(destination, settings);
  destinationsChanged(service, { kind: 'edited' });
}

export function removeDestination(
  { state }: Machine,
  namespace: Namespace,
  service: Service,
  key: DestinationKey,
): void {
  const at = service.destinations.findIndex(each => isAt(each, key));
  const destination = service.destinations[at] ?? refuse(ENOENT);
  service.destinations.splice(at, 1);
  destinationsChanged(service, { kind: 'removed', destination, at });
  takeAway(namespace, destination, Number(state.now));
}

/** Seconds; 0 leaves one as it is. */
export function setTimeouts({ ipvs }: Namespace, { tcp, tcpFin, udp }: Namespace['ipvs']['timeouts']): void {
  if ([tcp, tcpFin, udp].some(seconds => seconds < 0 || seconds > MAX_SECONDS)) refuse(EINVAL);
  const { timeouts } = ipvs;
  ipvs.timeouts = { tcp: tcp || timeouts.tcp, tcpFin: tcpFin || timeouts.tcpFin, udp: udp || timeouts.udp };
}

/** Of one service, or of all and of the namespace. */
export function zero({ state }: Machine, namespace: Namespace, service: Service | undefined): void {
  const now = Number(state.now);
  const { ipvs } = namespace;
  const all = (service === undefined ? ipvs.services : [service]).flatMap(each => [
    each.counters,
    ...each.destinations.map(({ counters }) => counters),
  ]);
  if (service === undefined) all.push(ipvs.counters);
  for (const each of all) {
    settle(namespace, each, now);
    zeroCounters(each);
  }
}
