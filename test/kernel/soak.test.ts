import { expect, test } from 'vitest';
import { type Sample, soak } from '../support/soak.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/** `npm run test:long` on the host: half an hour with 500 containers; NETSTEER_SOAK_MINUTES says how long. */
const IN_FULL = isLong && where === 'host';
const MINUTES = Number(process.env.NETSTEER_SOAK_MINUTES ?? 30);
const SECONDS = IN_FULL ? MINUTES * 60 : 2;
const CONTAINERS = IN_FULL ? 500 : where === 'host' ? 20 : 5;

const most = (samples: readonly Sample[], key: keyof Sample): number => Math.max(...samples.map(each => each[key]));

kernelSuite('a fleet whose containers come and go', () => {
  test(`grows nothing and leaves nothing behind: ${CONTAINERS} containers for ${SECONDS} seconds`, {
    timeout: SECONDS * 1000 + patience(600_000),
  }, async () => {
    const { samples, left, limit, ...counts } = await soak({ containers: CONTAINERS, seconds: SECONDS });
    const { failed, drifts, runs, started, programmed, gone } = counts;
    // What is compiled and cached on the way is there after the first quarter.
    const early = samples.slice(Math.floor(samples.length / 4), Math.ceil(samples.length / 2));
    const late = samples.slice(Math.floor((samples.length * 3) / 4));
    const grown = (['descriptors', 'processes', 'heapMegabytes', 'residentMegabytes'] as const).map(
      key => `${key} ${most(early, key)} -> ${most(late, key)}`,
    );
    console.log(
      `${runs} runs over ${CONTAINERS} containers in ${samples.at(-1)!.second} s, ${started} started, ${programmed} times programmed, ${gone} found gone, ` +
        `${failed.length} failed, ${drifts} drifted; ${grown.join(', ')}; left: ${JSON.stringify(left)}`,
    );
    expect(failed).toEqual([]);
    expect(drifts).toBe(0);
    expect(runs).toBeGreaterThanOrEqual(3);
    expect(started).toBeGreaterThan(CONTAINERS);
    // Three for each container: its process, its namespace and its socket; those that are being closed come on top.
    expect(most(samples, 'descriptors')).toBeLessThan(CONTAINERS * 3.5 + 100);
    expect(most(late, 'descriptors')).toBeLessThanOrEqual(most(early, 'descriptors') + CONTAINERS / 10 + 10);
    if (IN_FULL) expect(most(late, 'heapMegabytes')).toBeLessThan(most(early, 'heapMegabytes') * 1.25 + 5);
    expect(left).toEqual({ descriptors: 0, processes: left.processes, namespaces: limit - 1 });
    // This program itself, and what started it.
    expect(left.processes).toBeLessThanOrEqual(2);
  });
});
