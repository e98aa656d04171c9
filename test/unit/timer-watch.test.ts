import { describe, expect, it } from 'vitest';
import { TimerWatches } from '../../src/ffi/timer-watch.ts';
import { until } from '../support/wait.ts';

/** POLLIN in the upper half, where poll(2) says which events are there. */
const READABLE = 1 << 16;

/** Watches over descriptors of which those in `readable` have something to read. */
function watches() {
  const readable = new Set<number>();
  let polls = 0;
  const made = new TimerWatches((descriptors, count) => {
    polls++;
    let ready = 0;
    for (let i = 0; i < count; i++) {
      if (!readable.has(descriptors[2 * i]!)) continue;
      descriptors[2 * i + 1]! |= READABLE;
      ready++;
    }
    return ready;
  });
  return { made, readable, polls: () => polls };
}

describe('watches by a timer', () => {
  it('tell a descriptor again and again while it is readable, and others not', async () => {
    const { made, readable } = watches();
    const told: number[] = [];
    const open = [3, 4].map(fd => made.watch(fd, () => told.push(fd)));
    readable.add(4);
    await until(() => told.length >= 3);
    expect(new Set(told)).toEqual(new Set([4]));
    for (const each of open) each.close();
  });

  it('tell nothing of a descriptor that another one has closed in the same turn', async () => {
    const { made, readable } = watches();
    const told: number[] = [];
    const first = made.watch(3, () => {
      told.push(3);
      second.close();
      first.close();
    });
    const second = made.watch(4, () => told.push(4));
    readable.add(3).add(4);
    await until(() => told.length > 0);
    expect(told).toEqual([3]);
  });

  it('ask no more once all are closed', async () => {
    const { made, polls } = watches();
    const watch = made.watch(3, () => {});
    await until(() => polls() > 1);
    watch.close();
    const before = polls();
    // Six questions of another one take longer than the longest time between two.
    const clock = watches();
    const other = clock.made.watch(3, () => {});
    await until(() => clock.polls() >= 6);
    other.close();
    expect(polls()).toBe(before);
  });
});
