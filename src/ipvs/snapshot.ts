import { AF_INET } from '../ffi/constants.ts';
import type { Operation } from '../transport/index.ts';
import type { WireDestination, WireService } from './attributes.ts';
import * as C from './constants.ts';
import { type DestinationEntry, readDestination } from './destination.ts';
import type { Carriers } from './ipvs-carrier.ts';
import { destinationId, destinationSettings, keyPart, serviceId, serviceSettings } from './ipvs-wire.ts';
import { type Carrier, describe } from './netlink.ts';
import { readKey, readService, type ServiceEntry } from './service.ts';
import type { SockoptCarrier } from './sockopt.ts';

/** A service and its servers as the kernel has them. */
export interface WireServer {
  service: WireService;
  destinations: WireDestination[];
}

export interface Snapshot {
  /** In the kernel's order, which is none. */
  servers: (ServiceEntry & { destinations: DestinationEntry[] })[];
  /** Two readings in a row agreed: so it was at one moment. False after several that did not, because others never stopped writing. */
  stable: boolean;
}

/** Readings until two of them agree. */
const READINGS = 5;

/** The services, each once: while others write, the kernel's cursor skips and repeats, and never says so. */
export function* readServices(carrier: Carrier): Operation<WireService[]> {
  const command = describe('IPVS_CMD_GET_SERVICE', C.IPVS_CMD_GET_SERVICE, undefined, {});
  const services = yield* carrier.dump(command, ({ service }) => service);
  return unique(services, serviceId);
}

/** The servers of a service, each once; none where there is no such service. */
export function* readDestinations(carrier: Carrier, service: WireService): Operation<WireDestination[]> {
  const key = keyPart(service);
  const command = describe('IPVS_CMD_GET_DEST', C.IPVS_CMD_GET_DEST, readKey(key), { service: key });
  const destinations = yield* carrier.dump(command, ({ destination }) => destination);
  return destinations.length < 2 ? destinations : unique(destinations, each => destinationId(each, service.family));
}

export function* readServers(
  carrier: Carrier,
  wanted: (service: WireService) => boolean = () => true,
): Operation<WireServer[]> {
  const servers: WireServer[] = [];
  for (const service of yield* readServices(carrier)) {
    if (wanted(service)) servers.push({ service, destinations: yield* readDestinations(carrier, service) });
  }
  return servers;
}

function unique<T>(items: T[], id: (item: T) => string): T[] {
  const seen = new Set<string>();
  return items.filter(item => seen.size !== seen.add(id(item)).size);
}

/** Reads until two readings in a row agree: what was the same in both was so between them. */
export function* readStable({ carrier, witness }: Carriers): Operation<{ servers: WireServer[]; stable: boolean }> {
  let servers = yield* readServers(carrier);
  let settings = settingsOf(servers);
  for (let reading = 1; reading < READINGS; reading++) {
    // The socket options cost one call for each service, a dump three; and each call is the truth of one moment.
    const testimony = servers.every(isPlain) ? testify(witness(), servers) : undefined;
    // They do not tell of IPv6 services, which the first dump may have skipped.
    if (testimony && (yield* readServices(carrier)).length === servers.length) return { servers, stable: true };
    const again = yield* readServers(carrier);
    const before = settings;
    settings = settingsOf(again);
    servers = again;
    if (testimony === undefined && equal(before, settings)) return { servers, stable: true };
  }
  return { servers, stable: false };
}

export function toSnapshot({ servers, stable }: { servers: WireServer[]; stable: boolean }): Snapshot {
  return {
    servers: servers.map(({ service, destinations }) => ({
      ...readService(service),
      destinations: destinations.map(destination => readDestination(destination, service.family)),
    })),
    stable,
  };
}

/** The socket options can tell all of it, but for engines and tunnel types. */
function isPlain({ service, destinations }: WireServer): boolean {
  return service.family === AF_INET && destinations.every(({ family }) => (family || AF_INET) === AF_INET);
}

/** Does the other interface say the same? Undefined where it says nothing. */
function testify(witness: SockoptCarrier | undefined, servers: readonly WireServer[]): boolean | undefined {
  if (witness === undefined) return undefined;
  let seen: ReturnType<SockoptCarrier['services']>;
  try {
    seen = witness.services();
  } catch {
    return undefined;
  }
  if (seen.length !== servers.length) return false;
  const byId = new Map(seen.map(entry => [serviceId(entry.service), entry]));
  for (const { service, destinations } of servers) {
    const entry = byId.get(serviceId(service));
    if (entry === undefined || entry.destinations !== destinations.length) return false;
    if (visible(service) !== visible(entry.service)) return false;
    if (destinations.length === 0) continue;
    const listed = witness.destinations({ syscall: 'IPVS_CMD_GET_DEST', value: { service: keyPart(service) } }) ?? [];
    const settings = new Map(listed.map(each => [destinationId(each, AF_INET), visibleDestination(each)]));
    if (settings.size !== destinations.length) return false;
    if (destinations.some(each => settings.get(destinationId(each, AF_INET)) !== visibleDestination(each)))
      return false;
  }
  return true;
}

const visible = ({ engine: _, ...service }: WireService): string => serviceSettings(service);

const visibleDestination = ({ tunnelType: _, tunnelPort: __, tunnelFlags: ___, ...rest }: WireDestination): string =>
  destinationSettings(rest);

function settingsOf(servers: readonly WireServer[]): Map<string, string> {
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
