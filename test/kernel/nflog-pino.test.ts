import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { NetNs, Nflog } from '../../src/index.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const loaded = () =>
  Object.keys(createRequire(import.meta.url).cache).some(file => file.includes('/node_modules/pino/'));

kernelSuite('pino', () => {
  test('is loaded by log.to() without a logger, and by nothing else', async () => {
    using netns = NetNs.create();
    using log = Nflog.open({ netns, groups: [5] });
    const logger = { info: () => {}, warn: () => {} };
    await log.to(logger as never).end();
    await turn();
    expect(loaded()).toBe(false);
    const sink = log.to();
    await until(loaded);
    await sink.end();
  });
});
