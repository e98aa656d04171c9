import type { Destination } from './state.ts';

/** Whether it may have new connections. */
export const isEligible = ({ weight, overloaded }: Destination): boolean => weight > 0 && !overloaded;

/** A connection that is in use counts for 256 idle ones (ip_vs_dest_conn_overhead). */
export const overhead = ({ active, inactive }: Destination): number => active * 256 + inactive;

/** Whether a · b > c · d, as the kernel's 64 bits say. */
function isMore(a: number, b: number, c: number, d: number): boolean {
  const [left, right] = [a * b, c * d];
  if (left <= Number.MAX_SAFE_INTEGER && right <= Number.MAX_SAFE_INTEGER) return left > right;
  return BigInt(a) * BigInt(b) > BigInt(c) * BigInt(d);
}

/** The one with the least load for its weight, compared without a division. */
export function leastBy(
  destinations: readonly Destination[],
  load: (destination: Destination) => number,
): Destination | undefined {
  let least: Destination | undefined;
  for (const each of destinations)
    if (isEligible(each) && (least === undefined || isMore(load(least), each.weight, load(each), least.weight)))
      least = each;
  return least;
}

/** The one with the most load for its weight: of lblcr, which asks the overloaded ones, too. */
export function mostBy(
  destinations: readonly Destination[],
  load: (destination: Destination) => number,
): Destination | undefined {
  let most: Destination | undefined;
  for (const each of destinations)
    if (each.weight > 0 && (most === undefined || isMore(load(each), most.weight, load(most), each.weight)))
      most = each;
  return most;
}

export const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));
