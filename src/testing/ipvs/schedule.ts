import * as Vs from '../../linux/ip_vs.ts';
import type { Destination, Service } from './state.ts';

/*
 * The schedulers (net/netfilter/ipvs/ip_vs_rr.c and its like). A list of destinations has the newest first; of equal ones the first wins.
 */

/** A client: what the hashing schedulers go by. */
export interface Client {
  readonly address: Uint8Array;
  readonly port: number;
}

const isEligible = ({ weight, overloaded }: Destination): boolean => weight > 0 && !overloaded;
/** A connection that is in use counts for 256 idle ones. */
const overhead = ({ active, inactive }: Destination): number => active * 257 + inactive;

/** The server of a new connection; undefined where none may have it. */
export function schedule(service: Service, client: Client): Destination | undefined {
  return SCHEDULERS[service.scheduler]?.(service, client);
}

type Scheduler = (service: Service, client: Client) => Destination | undefined;

const roundRobin: Scheduler = service => {
  const { destinations, memory } = service;
  const last = memory.last ?? -1;
  for (let i = 1; i <= destinations.length; i++) {
    const at = (last + i) % destinations.length;
    if (!isEligible(destinations[at]!)) continue;
    memory.last = at;
    return destinations[at];
  }
  return undefined;
};

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/** The destinations of a service have changed (ip_vs_wrr_dest_changed, ip_vs_rr's dest_del). */
export function destinationsChanged(
  service: Service,
  change: { readonly added?: number; readonly removed?: number },
): void {
  const { memory, destinations } = service;
  // The place of the last one moves with what is put in front of it, or taken away.
  if (memory.last !== undefined) {
    if (change.added !== undefined && change.added <= memory.last) memory.last++;
    if (change.removed !== undefined && change.removed <= memory.last) memory.last--;
  }
  if (service.scheduler !== 'wrr') return;
  const weights = destinations.map(({ weight }) => weight).filter(weight => weight > 0);
  const divisor = weights.length === 0 ? 1 : weights.reduce(greatestDivisor);
  const most = Math.max(0, ...weights) - (divisor - 1);
  let current = memory.current ?? 0;
  if (current > most || current === 0) current = most;
  else if (divisor > 1) current = Math.floor(current / divisor) * divisor + 1;
  Object.assign(memory, { at: -1, divisor, most, current });
}

const weightedRoundRobin: Scheduler = service => {
  const { destinations, memory } = service;
  if (memory.most === undefined) destinationsChanged(service, {});
  if (memory.most === 0) return undefined;
  let restarted = false;
  for (;;) {
    for (let at = memory.at! + 1; at < destinations.length; at++) {
      const destination = destinations[at]!;
      if (destination.overloaded || destination.weight === 0 || destination.weight < memory.current!) continue;
      memory.at = at;
      return destination;
    }
    memory.at = -1;
    memory.current! -= memory.divisor!;
    if (memory.current! > 0) continue;
    // A whole round without anybody who may have it.
    if (restarted) return undefined;
    restarted = true;
    memory.current = memory.most!;
  }
};

/** The one with the least load for its weight: `load` over weight, compared without a division. */
function leastLoaded(service: Service, load: (destination: Destination) => number): Destination | undefined {
  let least: Destination | undefined;
  for (const destination of service.destinations) {
    if (!isEligible(destination)) continue;
    if (least === undefined || load(least) * destination.weight > load(destination) * least.weight) least = destination;
  }
  return least;
}

const leastConnections: Scheduler = ({ destinations }) => {
  let least: Destination | undefined;
  for (const destination of destinations)
    if (isEligible(destination) && (least === undefined || overhead(destination) < overhead(least)))
      least = destination;
  return least;
};

const expected = ({ active }: Destination): number => active + 1;

const neverQueue: Scheduler = service =>
  service.destinations.find(each => isEligible(each) && each.active === 0) ?? leastLoaded(service, expected);

const heaviest = (service: Service, fits: (destination: Destination) => boolean): Destination | undefined => {
  let best: Destination | undefined;
  for (const destination of service.destinations)
    if (isEligible(destination) && fits(destination) && (best === undefined || destination.weight > best.weight))
      best = destination;
  return best;
};

/** hash_32(value, 8) of linux/hash.h. */
const hash32 = (value: number): number => Math.imul(value, 0x61c88647) >>> 24;
const BUCKETS = 256;

function wordOf(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  let word = 0;
  for (let at = 0; at < address.length; at += 4) word ^= view.getUint32(at);
  return word >>> 0;
}

const destinationHash: Scheduler = ({ destinations, address }) => {
  if (destinations.length === 0) return undefined;
  const chosen = destinations[hash32(wordOf(address)) % destinations.length];
  return chosen !== undefined && isEligible(chosen) ? chosen : undefined;
};

const sourceHash: Scheduler = ({ destinations, flags }, client) => {
  if (destinations.length === 0) return undefined;
  const turns = destinations.flatMap(each => new Array<Destination>(Math.max(1, each.weight)).fill(each));
  const bucket = (at: number) => turns[at % turns.length]!;
  const port = (flags & Vs.IP_VS_SVC_F_SCHED2) === 0 ? 0 : client.port;
  const value = (wordOf(client.address) + port) >>> 0;
  const first = hash32(value);
  const chosen = bucket(first);
  if (isEligible(chosen)) return chosen;
  if ((flags & Vs.IP_VS_SVC_F_SCHED1) === 0) return undefined;
  for (let offset = 0; offset < BUCKETS; offset++) {
    const next = bucket((first + offset + hash32((value + offset) >>> 0)) % BUCKETS);
    if (isEligible(next)) return next;
  }
  return undefined;
};

const SCHEDULERS: Record<string, Scheduler> = {
  rr: roundRobin,
  wrr: weightedRoundRobin,
  lc: leastConnections,
  wlc: service => leastLoaded(service, overhead),
  sed: service => leastLoaded(service, expected),
  nq: neverQueue,
  fo: service => heaviest(service, () => true),
  ovf: service => heaviest(service, ({ active, weight }) => active <= weight),
  dh: destinationHash,
  sh: sourceHash,
};

export const isModelled = (scheduler: string): boolean => SCHEDULERS[scheduler] !== undefined;
