import { expect, test } from 'vitest';
import { SCENARIOS } from '../support/memory-scenarios.ts';

test.each(Object.entries(SCENARIOS))('a kernel in memory shows that %s', async (_, run) => {
  await expect(run()).resolves.toBeUndefined();
});
