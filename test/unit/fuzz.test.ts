import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzz, replay } from '../support/fuzz/run.ts';
import { patience } from '../support/wait.ts';
import { isLong, where } from '../support/where.ts';

/** `npm run test:long` on the host runs the number that was asked for; build/fuzz.js runs any. */
const INPUTS = isLong && where === 'host' ? 10_000_000 : 20_000;
const TARGETS = 29;

it(
  `${INPUTS} mutated replies and packets are read within the rules`,
  isLong ? { timeout: patience(14_400_000) } : {},
  async () => {
    const { inputs, kinds, refused, kept } = await fuzz({ inputs: INPUTS, seed: isLong ? Date.now() >>> 0 : 1 });
    expect(inputs).toBe(INPUTS);
    expect(Object.keys(kinds)).toHaveLength(TARGETS);
    for (const count of Object.values(kinds)) expect(count).toBeGreaterThan(INPUTS / 100);
    expect(refused).toBeGreaterThan(0);
    expect(kept).toBeGreaterThan(0);
  },
);

it('every input that broke a rule once is read within the rules', async () => {
  expect(await replay()).toBeGreaterThanOrEqual(0);
});

it.each(['', 'NFLOG '])('an input that breaks a rule is kept and tried again: targets "%s"', async only => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-fuzz-'));
  const broken = { toString: Object.getOwnPropertyDescriptor(Object.prototype, 'toString') };
  try {
    const said: string[] = [];
    // A rule that is broken on purpose: something has been added to what all objects inherit.
    Object.defineProperty(Object.prototype, 'polluted', { value: 1, configurable: true });
    const { inputs } = await fuzz({
      seconds: 0.001,
      seed: 7,
      only,
      keepIn: folder,
      onFailure: ({ message }) => said.push(message),
    });
    expect(inputs).toBe(500);
    const [kept] = fs.readdirSync(folder);
    expect(kept).toMatch(/^[\w-]+-[0-9a-f]{12}\.json$/);
    expect(kept).toContain(only.trim());
    expect(said.at(-1)).toContain(`kept in ${join(folder, kept!)}`);
    await expect(replay(folder)).rejects.toThrow('prototypes have been changed');
    delete (Object.prototype as { polluted?: unknown }).polluted;
    expect(await replay(folder)).toBe(1);
  } finally {
    delete (Object.prototype as { polluted?: unknown }).polluted;
    fs.rmSync(folder, { recursive: true });
  }
  expect(Object.getOwnPropertyDescriptor(Object.prototype, 'toString')).toEqual(broken.toString);
});
