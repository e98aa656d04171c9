import type { WireDestination, WireService } from '../ip_vs/attributes.ts';
import { type DestinationEntry, readDestination } from '../ip_vs/destination.ts';
import { readService, type ServiceEntry } from '../ip_vs/service.ts';
import { destinationId, destinationSettings, isSameDestination, serviceId, serviceSettings } from '../ip_vs/wire.ts';
import * as C from '../linux/ip_vs.ts';
import type { Operation } from '../netlink/index.ts';
import type { Backends } from './backends/automatic.ts';
import type { Backend } from './backends/backend.ts';
import { isOptionable, type SockoptBackend } from './backends/sockopt.ts';

/** A service and its servers as the kernel has them. */
export interface ServiceState {
  service: WireService;
  destinations: WireDestination[];
}

/** The services of a namespace with their destinations, as they were at one moment. */
export interface Snapshot {
  /** In the kernel's order, which is none. */
  servers: (ServiceEntry & { destinations: DestinationEntry[] })[];
  /** Two readings in a row agreed: so it was at one moment. False after several that did not, because others never stopped writing. */
  stable: boolean;
}

/** Readings until two of them agree. */
const READINGS = 5;

/** What of the table is wanted, and how much of each entry. */
interface Reading {
  /** Which services; default all. */
  wanted?: (service: WireService) => boolean;
  /** Their counters too. */
  stats?: boolean;
}

/** The services, each once: while others write, the kernel's cursor skips and repeats, and never says so. */
export function* readServices(backend: Backend, stats = false): Operation<WireService[]> {
  return unique(yield* backend.services(stats), serviceId);
}

/** The servers of a service, each once; none where there is no such service. */
export function* readDestinations(backend: Backend, service: WireService, stats = false): Operation<WireDestination[]> {
  const destinations = yield* backend.destinations(service, stats);
  return destinations.length < 2 ? destinations : unique(destinations, each => destinationId(each, service.family));
}

/** The services with their servers, read once. */
export function* readServiceStates(backends: Backends, reading: Reading = {}): Operation<ServiceState[]> {
  return (yield* readOnce(backends, reading)).servers;
}

/**
 * One reading. Each dump is three calls of the kernel, and the socket options tell the IPv4 servers of a service in one, under the kernel's mutex;
 * what they cannot tell is asked for by a dump. `whole` is false where the two ways do not have the same services.
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

/** How many servers each IPv4 service has; undefined where the socket options do not work. */
function countDestinations(options: SockoptBackend): Map<string, number> | undefined {
  try {
    return new Map(options.counted(false).map(({ service, destinations }) => [serviceId(service), destinations]));
  } catch {
    return undefined;
  }
}

/** The servers of a service over the socket options; undefined if those cannot tell all that is wanted of them. */
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
    // What is the matter, the dump will say.
    return undefined;
  }
  // Servers of the other family are counted and not listed.
  return servers?.length === count && servers.every(isWhole) ? servers : undefined;
}

/** Their types of tunnels are not told, and of their counters, but for those of bytes, only 32 bits. A packet has more than one byte. */
function isWhole({ forward, counters }: WireDestination): boolean {
  if (forward === C.IP_VS_CONN_F_TUNNEL) return false;
  return counters === undefined || (counters.inBytes < WRAPS && counters.outBytes < WRAPS);
}

const WRAPS = 1n << 32n;

function unique<T>(items: T[], id: (item: T) => string): T[] {
  const seen = new Set<string>();
  return items.filter(item => seen.size !== seen.add(id(item)).size);
}

/** Reads until two readings in a row agree: what was the same in both was so between them. */
export function* readStable(
  backends: Backends,
  reading: Reading = {},
): Operation<{ servers: ServiceState[]; stable: boolean }> {
  let before = yield* readOnce(backends, { ...reading, stats: false });
  // The kernel says at once, under its mutex, that there is nothing: so it was at that moment.
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

/** Do two readings say the same? As a rule in the same order, too. */
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
