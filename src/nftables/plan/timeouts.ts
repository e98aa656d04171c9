/** Gives all timeouts that the kernel may take for one the same value. */
export type Timeouts = (milliseconds: bigint | undefined) => bigint | undefined;

/** The longest tick of a kernel (CONFIG_HZ=100): the kernel cuts a timeout to ticks, at least one. */
const LONGEST_TICK = 10n;

/** Each timeout is itself. */
export const EXACT: Timeouts = milliseconds => milliseconds || undefined;

/**
 * Timeouts that are less than a tick apart are one: what was asked for as 1003 milliseconds is read as 1000 from a kernel that has 250 ticks a
 * second. `all` has those that are there and those that are wanted.
 */
export function ticksOf(all: Iterable<bigint>): Timeouts {
  const first = new Map<bigint, bigint>();
  let begin: bigint | undefined;
  let last = 0n;
  for (const milliseconds of [...new Set(all)].sort((a, b) => (a < b ? -1 : 1))) {
    if (begin === undefined || milliseconds - last >= LONGEST_TICK) begin = milliseconds;
    last = milliseconds;
    first.set(milliseconds, begin);
  }
  return milliseconds =>
    milliseconds === undefined ? undefined : (first.get(milliseconds) ?? milliseconds) || undefined;
}
