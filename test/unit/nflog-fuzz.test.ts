import { expect, it } from 'vitest';
import { fuzz } from '../support/fuzz/run.ts';
import { patience } from '../support/wait.ts';
import { isLong, where } from '../support/where.ts';

/** `npm run test:long` on the host runs the number that was asked for; `node build/fuzz.js --only NFLOG` runs any. */
const INPUTS = isLong && where === 'host' ? 10_000_000 : 40_000;

it(
  `${INPUTS} mutated inputs of NFLOG are read within the rules`,
  isLong ? { timeout: patience(3_600_000) } : {},
  async () => {
    const { inputs, kinds, refused } = await fuzz({
      inputs: INPUTS,
      seed: isLong ? Date.now() >>> 0 : 1,
      only: 'NFLOG',
    });
    expect(inputs).toBe(INPUTS);
    expect(Object.keys(kinds).sort()).toEqual([
      ...['answer', 'connection', 'datagram', 'packet', 'record', 'summary'].map(kind => `NFLOG ${kind}`),
      'proc files about NFLOG groups',
    ]);
    for (const count of Object.values(kinds)) expect(count).toBeGreaterThan(INPUTS / 100);
    expect(refused).toBeGreaterThan(0);
  },
);
