import { expect, it } from 'vitest';
import { fuzzNflog } from '../support/nflog-fuzz.ts';
import { isLong, where } from '../support/where.ts';

/** `npm run test:long` on the host runs the number that was asked for; build/fuzz-nflog.js runs any. */
const INPUTS = isLong && where === 'host' ? 10_000_000 : 40_000;

it(`reads ${INPUTS} inputs of NFLOG that are nearly right`, { timeout: isLong ? 3_600_000 : 180_000 }, () => {
  const { inputs, kinds, refused } = fuzzNflog({ inputs: INPUTS, seed: isLong ? Date.now() >>> 0 : 1 });
  expect(inputs).toBe(INPUTS);
  expect(Object.keys(kinds).sort()).toEqual(['answer', 'connection', 'datagram', 'packet', 'record', 'summary']);
  for (const count of Object.values(kinds)) expect(count).toBeGreaterThan(INPUTS / 100);
  expect(refused).toBeGreaterThan(0);
});
