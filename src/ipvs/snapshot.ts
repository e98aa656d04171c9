import type { WireDestination, WireService } from '../ip_vs/attributes.ts';
import {
  type DestinationEntry,
  readDestination,
  readDestinationSettings,
  type VirtualServer,
} from '../ip_vs/destination.ts';
import { readService, readServiceSettings, type ServiceEntry } from '../ip_vs/service.ts';
import { destinationId, destinationSettings, isSameDestination, serviceId, serviceSettings } from '../ip_vs/wire.ts';
import * as C from '../linux/ip_vs.ts';
import type { Operation } from '../netlink/index.ts';
import type { Backends } from './backends/automatic.ts';
import type { Backend } from './backends/backend.ts';
import { isOptionable, type SockoptBackend } from './backends/sockopt.ts';

/** A service and its destinations as the kernel has them. */
export interface ServiceState {
  service: WireService;
  destinations: WireDestination[];
}

/** The services of a namespace with their destinations, as they were at one moment. */
export interface Snapshot {
  /** In the kernel's order, which has no meaning. */
  servers: (ServiceEntry & {
    /** The real servers of the service. */
    destinations: DestinationEntry[];
  })[];
  /** Two readings in a row agreed, so this was the state at one moment. False if five readings did not agree because other programs kept writing. */
  stable: boolean;
}

/** How often to read at most until two readings agree. */
const READINGS = 5;

/** Which services to read, and how much of each. */
interface Reading {
  /** Which services; default all. */
  wanted?: (service: WireService) => boolean;
  /** Their counters too. */
  stats?: boolean;
}

/** The services, each once. While other programs write, the kernel's listing repeats and skips entries and does not say so. */
export function* readServices(backend: Backend, stats = false): Operation<WireService[]> {
  return unique(yield* backend.services(stats), serviceId);
}

/** The destinations of a service, each once; an empty list if there is no such service. */
export function* readDestinations(backend: Backend, service: WireService, stats = false): Operation<WireDestination[]> {
  const destinations = yield* backend.destinations(service, stats);
  return destinations.length < 2 ? destinations : unique(destinations, each => destinationId(each, service.family));
}

/** The services with their destinations, read once. */
export function* readServiceStates(backends: Backends, reading: Reading = {}): Operation<ServiceState[]> {
  return (yield* readOnce(backends, reading)).servers;
}

/**
 * Reads the table once. A dump over netlink is three system calls. The socket options list the IPv4 destinations of a service in one call, under the
 * kernel's mutex, so they are tried first. `whole` is false if netlink and the socket options did not list the same services.
 */
function* readOnce(
  { backend, options }: Backends,
  { wanted, stats = false }: Reading,
): Operation<{ servers: ServiceState[]; whole: boolean; empty: boolean }> {
  const services = yield* readServices(backend, stats);
  const short = services.some(isOptionable) ? options() : undefined;
  const counts = short && countDestinations(short);
  const servers: ServiceState[] = [];
  let counted = 0;
  for (const service of services) {
    const count = counts?.get(serviceId(service));
    if (count !== undefined) counted++;
    if (wanted !== undefined && !wanted(service)) continue;
    let destinations = short && count !== undefined ? readShort(short, service, count, stats) : undefined;
    if (destinations === undefined) destinations = yield* readDestinations(backend, service, stats);
    else yield short!.turn;
    servers.push({ service, destinations });
  }
  return { servers, whole: counts === undefined || counted === counts.size, empty: services.length === 0 };
}

/** The number of destinations of each IPv4 service; undefined if the socket options do not work here. */
function countDestinations(options: SockoptBackend): Map<string, number> | undefined {
  try {
    return new Map(options.counted(false).map(({ service, destinations }) => [serviceId(service), destinations]));
  } catch {
    return undefined;
  }
}

/** The destinations of a service over the socket options; undefined if these cannot tell everything about them. */
function readShort(
  options: SockoptBackend,
  service: WireService,
  count: number,
  stats: boolean,
): WireDestination[] | undefined {
  if (count === 0) return [];
  if (!isOptionable(service)) return undefined;
  let servers: WireDestination[] | undefined;
  try {
    servers = options.servers(service, stats, count);
  } catch {
    // The dump, which is tried next, reports the error.
    return undefined;
  }
  // Destinations of the other family are counted, but not listed.
  return servers?.length === count && servers.every(isWhole) ? servers : undefined;
}

/**
 * Have the socket options told everything? They leave out the type of a tunnel, and give only 32 bits of each counter except bytes. A packet has more
 * than one byte, so below 2^32 bytes no other counter has wrapped.
 */
function isWhole({ forward, counters }: WireDestination): boolean {
  if (forward === C.IP_VS_CONN_F_TUNNEL) return false;
  return counters === undefined || (counters.inBytes < WRAPS && counters.outBytes < WRAPS);
}

const WRAPS = 1n << 32n;

function unique<T>(items: T[], id: (item: T) => string): T[] {
  const seen = new Set<string>();
  return items.filter(item => seen.size !== seen.add(id(item)).size);
}

/** Reads until two readings in a row agree: their content was the state of the table between them. */
export function* readStable(
  backends: Backends,
  reading: Reading = {},
): Operation<{ servers: ServiceState[]; stable: boolean }> {
  let before = yield* readOnce(backends, { ...reading, stats: false });
  // An empty listing is made in one go under the kernel's mutex, so it needs no second reading.
  if (before.empty) return { servers: [], stable: true };
  for (let count = 1; count < READINGS; count++) {
    const now = yield* readOnce(backends, reading);
    if (before.whole && now.whole && agree(before.servers, now.servers)) return { servers: now.servers, stable: true };
    before = now;
  }
  return { servers: before.servers, stable: false };
}

export function toSnapshot({ servers, stable }: { servers: ServiceState[]; stable: boolean }): Snapshot {
  return {
    servers: servers.map(({ service, destinations }) => ({
      ...readService(service),
      destinations: destinations.map(destination => readDestination(destination, service.family)),
    })),
    stable,
  };
}

/** As above, without counters and what else only the kernel changes. */
export function toVirtualServers(servers: readonly ServiceState[]): VirtualServer[] {
  return servers.map(({ service, destinations }) => ({
    ...readServiceSettings(service),
    destinations: destinations.map(destination => readDestinationSettings(destination, service.family)),
  }));
}

/** Do two readings have the same content? Usually they have the same order, too, which is compared first. */
function agree(a: readonly ServiceState[], b: readonly ServiceState[]): boolean {
  if (a.length !== b.length) return false;
  const same = a.every(({ service, destinations }, i) => {
    const other = b[i]!;
    if (serviceId(service) !== serviceId(other.service)) return false;
    if (serviceSettings(service) !== serviceSettings(other.service)) return false;
    if (destinations.length !== other.destinations.length) return false;
    return destinations.every((each, j) => isSameDestination(each, other.destinations[j]!, service.family));
  });
  return same || equal(settingsOf(a), settingsOf(b));
}

function settingsOf(servers: readonly ServiceState[]): Map<string, string> {
  const settings = new Map<string, string>();
  for (const { service, destinations } of servers) {
    const id = serviceId(service);
    settings.set(id, serviceSettings(service));
    for (const destination of destinations) {
      settings.set(`${id} ${destinationId(destination, service.family)}`, destinationSettings(destination));
    }
  }
  return settings;
}

function equal(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
