import { expect, it } from 'vitest';
import { fuzz } from '../support/fuzz/run.ts';
import { isLong, where } from '../support/where.ts';

/** `npm run test:long` on the host runs the number that was asked for; build/fuzz.js runs any. */
const INPUTS = isLong && where === 'host' ? 10_000_000 : 20_000;
const TARGETS = 17;

it(`reads ${INPUTS} answers of kernels and runtimes that are nearly right`, {
  timeout: isLong ? 14_400_000 : 180_000,
}, async () => {
  const { inputs, kinds, refused, kept } = await fuzz({ inputs: INPUTS, seed: isLong ? Date.now() >>> 0 : 1 });
  expect(inputs).toBe(INPUTS);
  expect(Object.keys(kinds)).toHaveLength(TARGETS);
  for (const count of Object.values(kinds)) expect(count).toBeGreaterThan(INPUTS / 100);
  expect(refused).toBeGreaterThan(0);
  expect(kept).toBeGreaterThan(0);
});
