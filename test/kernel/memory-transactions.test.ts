import fc from 'fast-check';
import { UnsupportedError } from 'netsteer';
import { expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { knownModules } from '../support/nf_tables/known-modules.ts';
import { conversation, difference, operationsOf } from '../support/nf_tables/side-by-side.ts';
import { type Step, step } from '../support/nf_tables/transactions.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/** NETSTEER_SEED finds others. */
const SEED = Number(process.env.NETSTEER_SEED ?? 2026);
const OPERATIONS = Number(process.env.NETSTEER_OPERATIONS ?? (isLong ? 100_000 : 2_000));
/** Conversations have 16 on the average. */
const CONVERSATIONS = Math.ceil(OPERATIONS / 15);

kernelSuite('nf_tables of a kernel in memory', () => {
  test.runIf(where === 'host')(
    'answers random transactions, tells and has what this kernel does',
    { timeout: patience(3_600_000) },
    async () => {
      const probe = new KernelSide(NetNs.create());
      const modules = knownModules(probe);
      await probe.close();
      let operations = 0;
      let notModelled = 0;

      const compared = async (steps: readonly Step[]): Promise<void> => {
        const real = new KernelSide(NetNs.create());
        const memory = new KernelSide(MemoryKernel.create({ release: '6.18', modules }).container('memory').netns);
        try {
          const expected = conversation(real, steps);
          const actual = conversation(memory, steps);
          expect(difference(expected, actual, steps)).toBeUndefined();
          operations += operationsOf(steps);
        } catch (error) {
          if (!(error instanceof UnsupportedError)) throw error;
          notModelled++;
        } finally {
          await Promise.all([real.close(), memory.close()]);
        }
      };

      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 10 }), compared), {
        seed: SEED,
        numRuns: CONVERSATIONS,
        // What differs is told with the two answers; smaller is seldom clearer, and takes long.
        endOnFailure: true,
      });
      console.log(`${operations} operations of ${CONVERSATIONS} conversations, ${notModelled} of them not modelled`);
      expect(operations).toBeGreaterThan(OPERATIONS * 0.9);
      expect(notModelled).toBeLessThan(CONVERSATIONS / 100);
    },
  );
});
