import * as Vs from '../../linux/ip_vs.ts';
import { AF_INET6 } from '../../linux/socket.ts';
import { greatestDivisor, isEligible } from './load.ts';
import type { Arrival, Scheduler } from './scheduler.ts';
import { hsiphash } from './siphash.ts';
import type { Destination, Service } from './state.ts';

/* Schedulers that go by a hash of an address: dh, sh and mh (net/netfilter/ipvs/ip_vs_sh.c and its like). */

/** hash_32(value, 8) of linux/hash.h. */
const hash32 = (value: number): number => Math.imul(value, 0x61c88647) >>> 24;
const BUCKETS = 256;

/** An address as one word: that of IPv6 is folded. */
function wordOf(family: number, address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  if (family !== AF_INET6) return view.getUint32(0);
  return (view.getUint32(0) ^ view.getUint32(4) ^ view.getUint32(8) ^ view.getUint32(12)) >>> 0;
}

const usesPort = ({ flags }: Service): boolean => (flags & Vs.IP_VS_SVC_F_SCHED2) !== 0;
const fallsBack = ({ flags }: Service): boolean => (flags & Vs.IP_VS_SVC_F_SCHED1) !== 0;

/** Goes round and round the list, with so many slots for each. */
function filled(
  destinations: readonly Destination[],
  turns: (destination: Destination) => number,
): (Destination | undefined)[] {
  const table = new Array<Destination | undefined>(BUCKETS).fill(undefined);
  for (let slot = 0; destinations.length > 0 && slot < BUCKETS; )
    for (const each of destinations)
      for (let turn = 0; turn < turns(each) && slot < BUCKETS; turn++) table[slot++] = each;
  return table;
}

/** Tables are made when they are first asked for after a change. */
const forget = ({ scheduling }: Service): void => {
  scheduling.table = undefined;
};

export const destinationHash: Scheduler = {
  changed: forget,
  choose({ family, destinations, scheduling }, { destination }) {
    scheduling.table ??= filled(destinations, () => 1);
    const chosen = scheduling.table[hash32(wordOf(family, destination))];
    return chosen !== undefined && isEligible(chosen) ? chosen : undefined;
  },
};

export const sourceHash: Scheduler = {
  changed: forget,
  choose(service, arrival) {
    const { destinations, scheduling } = service;
    scheduling.table ??= filled(destinations, ({ weight }) => Math.max(1, weight));
    const hash = hash32(numberFor(service, arrival));
    return chosenFrom(service, hash, offset => (hash + ((offset + hash) % BUCKETS)) % BUCKETS, BUCKETS);
  },
};

function numberFor(service: Service, { source, sourcePort }: Arrival): number {
  return (wordOf(service.family, source) + (usesPort(service) ? sourcePort : 0)) >>> 0;
}

/** The server of a slot; if it may not have the connection, and the service has the flag for it, that of another slot. */
function chosenFrom(
  service: Service,
  first: number,
  other: (offset: number) => number,
  size: number,
): Destination | undefined {
  const table = service.scheduling.table!;
  const chosen = table[first];
  if (chosen === undefined || isEligible(chosen)) return chosen;
  if (!fallsBack(service)) return undefined;
  for (let offset = 0; offset < size; offset++) {
    const next = table[other(offset)];
    if (next === undefined || isEligible(next)) return next;
  }
  return undefined;
}

/** The prime number of CONFIG_IP_VS_MH_TAB_INDEX, and the bits that weights may take. */
const SLOTS = 4093;
const WEIGHT_BITS = 6;
const HASH1 = 2_654_435_761n;
const HASH2 = 2_654_446_892n;

function permuted({ family, destinations }: Service): (Destination | undefined)[] {
  const table = new Array<Destination | undefined>(SLOTS).fill(undefined);
  const weights = destinations.map(({ lastWeight }) => lastWeight).filter(weight => weight > 0);
  if (weights.length === 0) return table;
  const divisor = weights.reduce(greatestDivisor);
  const most = Math.floor(weights.reduce((a, b) => Math.max(a, b)) / divisor);
  const shift = Math.max(0, 32 - Math.clz32(most) - WEIGHT_BITS);
  const all = destinations.map(destination => {
    const word = (wordOf(family, destination.address) + destination.port) >>> 0;
    const share = Math.floor(destination.lastWeight / divisor) >> shift;
    return {
      destination,
      at: hsiphash(word, HASH1) % SLOTS,
      skip: (hsiphash(word, HASH2) % (SLOTS - 1)) + 1,
      turns: share === 0 ? Number(destination.lastWeight !== 0) : share,
    };
  });
  for (let left = SLOTS; ; )
    for (const each of all)
      for (let turn = 0; turn < each.turns; turn++) {
        while (table[each.at] !== undefined) each.at = (each.at + each.skip) % SLOTS;
        table[each.at] = each.destination;
        if (--left === 0) return table;
      }
}

/** Maglev hashing (net/netfilter/ipvs/ip_vs_mh.c). */
export const maglev: Scheduler = {
  changed: forget,
  choose(service, arrival) {
    service.scheduling.table ??= permuted(service);
    const value = numberFor(service, arrival);
    const first = hsiphash(value, HASH1) % SLOTS;
    return chosenFrom(
      service,
      first,
      offset => hsiphash((value + ((offset + first) % SLOTS)) >>> 0, HASH1) % SLOTS,
      SLOTS,
    );
  },
};
