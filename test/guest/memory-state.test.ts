import fc from 'fast-check';
import { UnsupportedError } from 'netsteer';
import { expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { MemoryKernel, type MemoryKernelOptions } from '../../src/testing/index.ts';
import { connectionRequest, described, header } from '../support/connection-requests.ts';
import { ConnectionSide } from '../support/connection-side.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { knownModules } from '../support/nf_tables/known-modules.ts';
import { conversation, difference, operationsOf } from '../support/nf_tables/side-by-side.ts';
import { type Step, step } from '../support/nf_tables/transactions.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/* The kernel in memory as the release of the guest, beside its kernel. */

const release = where as NonNullable<MemoryKernelOptions['release']>;
/** A seed of its own each time is for the long run, which somebody watches. */
const seed = isLong ? {} : { seed: 2026 };
const CONVERSATIONS = isLong ? 1000 : 40;
const SEQUENCES = isLong ? 1000 : 30;

kernelSuite('nf_tables and connections of a kernel in memory', () => {
  test('answers random transactions, tells and has what this kernel does', async () => {
    const probe = new KernelSide(NetNs.create());
    const modules = knownModules(probe);
    await probe.close();
    let operations = 0;
    let notModelled = 0;
    const compared = async (steps: readonly Step[]): Promise<void> => {
      const real = new KernelSide(NetNs.create());
      const memory = new KernelSide(MemoryKernel.create({ release, modules }).container('memory').netns);
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
    const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 10 }), compared);
    await fc.assert(property, { numRuns: CONVERSATIONS, endOnFailure: true, ...seed });
    expect(operations).toBeGreaterThan(CONVERSATIONS * 10);
    expect(notModelled).toBeLessThan(CONVERSATIONS / 20);
  });

  test('answers, tells and lists connections as this kernel does, whatever is asked', () => {
    const netns = NetNs.create();
    const sides = [netns, MemoryKernel.create({ release }).container('memory').netns].map(
      one => new ConnectionSide(one),
    );
    let compared = 0;
    const property = fc.property(
      fc.array(connectionRequest, { minLength: 1, maxLength: 25, size: 'max' }),
      requests => {
        for (const side of sides) side.empty();
        const begun = performance.now();
        for (const [i, one] of requests.entries()) {
          const [real, memory] = sides.map(side => side.take(one.type, one.flags, header(one), one.parts));
          // Seconds would count by then.
          if (performance.now() - begun > 2000) return;
          expect(memory, `request ${i} of ${requests.length}: ${described(one)}`).toEqual(real);
          compared++;
        }
      },
    );
    fc.assert(property, { numRuns: SEQUENCES, endOnFailure: true, ...seed });
    expect(compared).toBeGreaterThan(SEQUENCES * 5);
    for (const side of sides) side.close();
    netns.close();
  });
});
