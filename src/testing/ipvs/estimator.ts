import type { Namespace } from '../machine/state.ts';
import type { Counters, Totals } from './state.ts';

/*
 * Counters and rates (net/netfilter/ipvs/ip_vs_est.c). Each estimator of the kernel has a moment of its own within two seconds. Here it runs two
 * seconds after its service or destination was made, and then every two seconds.
 */

const PERIOD = 2000;
const KEYS = ['connections', 'inPackets', 'outPackets', 'inBytes', 'outBytes'] as const;
const isBytes = (key: keyof Totals): boolean => key === 'inBytes' || key === 'outBytes';
/** Rates are back at 0 after fewer steps than this. */
const ALL_STEPS = 400;

/** Lets the estimator come as often as it has had to until now: before anything is counted, and before anything is read. */
export function settle({ sysctls }: Namespace, counters: Counters, now: number): void {
  if (counters.next > now) return;
  const isOn = sysctls.get('net/ipv4/vs/run_estimation') !== '0';
  const steps = Math.floor((now - counters.next) / PERIOD) + 1;
  counters.next += steps * PERIOD;
  if (!isOn) return;
  for (let step = 0; step < Math.min(steps, ALL_STEPS); step++) estimate(counters);
}

function estimate({ live, taken, rates }: Counters): void {
  for (const key of KEYS) {
    const rate = (live[key] - taken[key]) * (isBytes(key) ? 2 ** 4 : 2 ** 9);
    // As >> 2 of the kernel, which rounds down.
    rates[key] += Math.floor((rate - rates[key]) / 4);
    taken[key] = live[key];
  }
}

/** The values for programs: totals since they were set to zero, and rates in whole units. */
export function read({ taken, zero, rates }: Counters): { readonly totals: Totals; readonly rates: Totals } {
  const all = (value: (key: keyof Totals) => number): Totals => ({
    connections: value('connections'),
    inPackets: value('inPackets'),
    outPackets: value('outPackets'),
    inBytes: value('inBytes'),
    outBytes: value('outBytes'),
  });
  return {
    totals: all(key => taken[key] - zero[key]),
    rates: all(key =>
      isBytes(key) ? Math.floor((rates[key] + 0xf) / 2 ** 5) : Math.floor((rates[key] + 0x1ff) / 2 ** 10),
    ),
  };
}

/** Sets the counters to zero: what has not been taken over yet is still to come (ip_vs_zero_stats). */
export function zeroCounters({ taken, zero, rates }: Counters): void {
  for (const key of KEYS) {
    zero[key] = taken[key];
    rates[key] = 0;
  }
}
