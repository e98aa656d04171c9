import { isEligible, leastBy, mostBy, overhead } from './load.ts';
import type { Arrival, Scheduler } from './scheduler.ts';
import type { Destination, LocalityEntry, Service } from './state.ts';

/*
 * Schedulers that keep an address at its server: lblc, and lblcr, which has a set of servers for each address (net/netfilter/ipvs/ip_vs_lblc.c,
 * ip_vs_lblcr.c).
 */

const CHECK_INTERVAL = 60_000;
/** One look through the table in so many removes what has not been used for the time of the setting. */
const FULL_CHECK = 30;
/** Above this many entries each look removes some: a test that comes here wants more than this has. */
const MAX_ENTRIES = 16 * 1024;

function expirationOf({ sysctls }: Arrival['namespace'], scheduler: string): number {
  return Number(sysctls.get(`net/ipv4/vs/${scheduler}_expiration`) ?? '86400') * 1000;
}

const keyOf = (address: Uint8Array): string => Buffer.from(address).toString('hex');

/** Whether it has more connections than its weight, and another one has less than half of its own. */
const isOverloaded = ({ active, weight }: Destination, { destinations }: Service): boolean =>
  active > weight && destinations.some(each => each.active * 2 < each.weight);

function begin({ scheduling }: Service, now: number): void {
  scheduling.entries = new Map();
  scheduling.check = now + CHECK_INTERVAL;
  scheduling.checks = 1;
}

/** Looks through the table as often as the kernel's timer would have. */
function collect(service: Service, { namespace, now }: Arrival): Map<string, LocalityEntry> {
  const { scheduling } = service;
  const entries = scheduling.entries!;
  for (; scheduling.check! <= now; scheduling.check! += CHECK_INTERVAL) {
    if (scheduling.checks! % FULL_CHECK !== 0) {
      scheduling.checks!++;
      continue;
    }
    scheduling.checks = 1;
    const oldest = scheduling.check! - expirationOf(namespace, service.scheduler);
    for (const [key, { lastUse, servers }] of entries) {
      if (lastUse > oldest) continue;
      entries.delete(key);
      for (const each of servers) each.references--;
    }
  }
  return entries;
}

function remember(service: Service, arrival: Arrival, machine: Parameters<Scheduler['choose']>[2]): LocalityEntry {
  const entries = service.scheduling.entries!;
  if (entries.size >= MAX_ENTRIES) machine.notModelled(`${service.scheduler} with more than ${MAX_ENTRIES} addresses`);
  const entry = { servers: [], lastUse: arrival.now, lastChange: arrival.now };
  entries.set(keyOf(arrival.destination), entry);
  return entry;
}

export const locality: Scheduler = {
  begin,
  choose(service, arrival, machine) {
    const entry = collect(service, arrival).get(keyOf(arrival.destination));
    const cached = entry?.servers[0];
    if (entry !== undefined) entry.lastUse = arrival.now;
    if (cached?.available && cached.weight > 0 && !isOverloaded(cached, service)) return cached;
    const chosen = leastBy(service.destinations, overhead);
    if (chosen === undefined || chosen === cached) return chosen;
    if (cached !== undefined) cached.references--;
    remember(service, arrival, machine).servers.push(chosen);
    chosen.references++;
    return chosen;
  },
};

export const localityWithReplication: Scheduler = {
  begin,
  choose(service, arrival, machine) {
    const { now, namespace } = arrival;
    const entry = collect(service, arrival).get(keyOf(arrival.destination));
    if (entry !== undefined) {
      entry.lastUse = now;
      const least = leastAvailable(entry.servers);
      const isOld = now > entry.lastChange + expirationOf(namespace, service.scheduler);
      if (entry.servers.length > 1 && isOld) drop(entry, mostBy(entry.servers, overhead), now);
      if (least !== undefined && !isOverloaded(least, service)) return least;
    }
    const chosen = leastBy(service.destinations, overhead);
    if (chosen === undefined) return undefined;
    const { servers } = entry ?? remember(service, arrival, machine);
    if (servers.includes(chosen)) return chosen;
    servers.unshift(chosen);
    chosen.references++;
    if (entry !== undefined) entry.lastChange = now;
    return chosen;
  },
};

/** Of a set: servers that were taken away may still be in it. */
const leastAvailable = (servers: readonly Destination[]): Destination | undefined =>
  leastBy(
    servers.filter(each => each.available && isEligible(each)),
    overhead,
  );

function drop(entry: LocalityEntry, server: Destination | undefined, now: number): void {
  if (server === undefined) return;
  entry.servers.splice(entry.servers.indexOf(server), 1);
  entry.lastChange = now;
  server.references--;
}
