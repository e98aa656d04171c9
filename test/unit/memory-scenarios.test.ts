import { expect, test } from 'vitest';
import { SCENARIOS } from '../support/memory-scenarios.ts';

test.each(Object.entries(SCENARIOS))('%s', async (_, run) => {
  await expect(run()).resolves.toBeUndefined();
});
