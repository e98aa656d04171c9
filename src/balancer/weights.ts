import type { DestinationEntry } from '../ipvs/index.ts';

/** Weights that a function computes from the kernel's statistics. */
export interface WeightPolicy {
  /** How often weights are computed, in milliseconds: 100 to 2^31-1. Default 10,000. */
  intervalMs?: number;
  /** How much a weight changes at once, as a part of the declared weight: above 0, to 1. Default 0.1. */
  maximumStep?: number;
  /**
   * The weight that a server should have.
   * @param server the server as IPVS has it, with its counters and its connections
   * @param declared the weight that was declared
   */
  weightOf(server: DestinationEntry, declared: number): number;
}

export const DEFAULT_WEIGHT_INTERVAL_MS = 10_000;
export const DEFAULT_STEP = 0.1;

/** The next weight on the way from `now` to `wanted`. A server that has a weight never gets 0 by this: only drains and failures do that. */
export function stepTo(now: number, wanted: number, declared: number, maximumStep: number): number {
  if (declared === 0 || !Number.isFinite(wanted)) return now;
  const step = Math.max(1, Math.round(declared * maximumStep));
  const goal = Math.min(65_535, Math.max(1, Math.round(wanted)));
  return goal > now ? Math.min(goal, now + step) : Math.max(goal, now - step);
}
