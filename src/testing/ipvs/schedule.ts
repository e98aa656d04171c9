import type { Machine } from '../machine/machine.ts';
import { destinationHash, maglev, sourceHash } from './hashing.ts';
import { greatestDivisor, isEligible, leastBy, overhead } from './load.ts';
import { locality, localityWithReplication } from './locality.ts';
import type { Arrival, Change, Scheduler } from './scheduler.ts';
import type { Destination, Service } from './state.ts';

/*
 * The schedulers (net/netfilter/ipvs/ip_vs_rr.c and its like). A list of destinations has the newest first; of equal ones the first wins.
 */

const roundRobin: Scheduler = {
  choose({ destinations, scheduling }) {
    const { last } = scheduling;
    const start = last === undefined ? 0 : destinations.indexOf(last) + 1;
    // From behind the last one to the end, and then from the beginning up to the last one.
    const order = [...destinations.slice(start), ...destinations.slice(0, start)];
    const chosen = order.find(isEligible);
    if (chosen !== undefined) scheduling.last = chosen;
    return chosen;
  },
  changed({ destinations, scheduling }, change) {
    if (change.kind === 'removed' && scheduling.last === change.destination)
      scheduling.last = destinations[change.at - 1];
  },
};

function weigh({ destinations, scheduling }: Service): void {
  const weights = destinations.map(({ weight }) => weight).filter(weight => weight > 0);
  const divisor = weights.length === 0 ? 1 : weights.reduce(greatestDivisor);
  const most = weights.reduce((a, b) => Math.max(a, b), 0) - (divisor - 1);
  Object.assign(scheduling, { last: undefined, divisor, most });
}

const weightedRoundRobin: Scheduler = {
  begin(service) {
    weigh(service);
    service.scheduling.current = service.scheduling.most!;
  },
  changed(service) {
    const { scheduling } = service;
    weigh(service);
    const { most = 0, divisor = 1, current = 0 } = scheduling;
    if (current > most || current === 0) scheduling.current = most;
    else if (divisor > 1) scheduling.current = Math.floor(current / divisor) * divisor + 1;
  },
  choose({ destinations, scheduling }) {
    const { most = 0, divisor = 1, last } = scheduling;
    if (most === 0) return undefined;
    const start = last === undefined ? -1 : destinations.indexOf(last);
    let at = start;
    let stop: number | undefined;
    let isLastPass = false;
    let restarted = false;
    for (;;) {
      while (++at < destinations.length) {
        const destination = destinations[at]!;
        if (!destination.overloaded && destination.weight >= scheduling.current!) {
          scheduling.last = destination;
          return destination;
        }
        if (at !== stop) continue;
        scheduling.last = destination;
        return undefined;
      }
      at = -1;
      scheduling.current! -= divisor;
      if (scheduling.current! <= 0) {
        scheduling.current = most;
        // All have been asked for a weight of at least 1.
        if (isLastPass || start < 0) {
          scheduling.last = undefined;
          return undefined;
        }
        restarted = true;
      }
      isLastPass = scheduling.current! <= divisor;
      // The first pass was only for those behind the last one.
      if (isLastPass && restarted && start >= 0) stop = start;
    }
  },
};

const leastConnections: Scheduler = {
  choose({ destinations }) {
    let least: Destination | undefined;
    for (const each of destinations)
      if (isEligible(each) && (least === undefined || overhead(each) < overhead(least))) least = each;
    return least;
  },
};

/** How many connections it would have. */
const expected = ({ active }: Destination): number => active + 1;

const heaviest = ({ destinations }: Service, fits: (destination: Destination) => boolean): Destination | undefined => {
  let best: Destination | undefined;
  for (const each of destinations)
    if (isEligible(each) && fits(each) && (best === undefined || each.weight > best.weight)) best = each;
  return best;
};

const twos: Scheduler = {
  choose({ destinations }, _, machine) {
    const eligible = destinations.filter(isEligible);
    if (eligible.length > 1) return machine.notModelled('the random choices of the scheduler twos');
    return eligible[0];
  },
};

const SCHEDULERS: Readonly<Record<string, Scheduler>> = {
  rr: roundRobin,
  wrr: weightedRoundRobin,
  lc: leastConnections,
  wlc: { choose: ({ destinations }) => leastBy(destinations, overhead) },
  sed: { choose: ({ destinations }) => leastBy(destinations, expected) },
  nq: {
    choose: ({ destinations }) =>
      destinations.find(each => isEligible(each) && each.active === 0) ?? leastBy(destinations, expected),
  },
  fo: { choose: service => heaviest(service, () => true) },
  ovf: { choose: service => heaviest(service, ({ active, weight }) => active <= weight) },
  dh: destinationHash,
  sh: sourceHash,
  mh: maglev,
  lblc: locality,
  lblcr: localityWithReplication,
  twos,
  none: { choose: () => undefined },
};

export const hasScheduler = (name: string): boolean => Object.hasOwn(SCHEDULERS, name);

/** The server of a new connection; undefined where none may have it. */
export const schedule = (service: Service, arrival: Arrival, machine: Machine): Destination | undefined =>
  SCHEDULERS[service.scheduler]!.choose(service, arrival, machine);

/** Binds a service to its scheduler: what another one remembered is forgotten. */
export function bindScheduler(service: Service, now: number): void {
  for (const { servers } of service.scheduling.entries?.values() ?? []) for (const each of servers) each.references--;
  service.scheduling = {};
  SCHEDULERS[service.scheduler]!.begin?.(service, now);
}

export const destinationsChanged = (service: Service, change: Change): void =>
  SCHEDULERS[service.scheduler]!.changed?.(service, change);
