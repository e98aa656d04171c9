import fc from 'fast-check';
import { NetNs } from 'netsteer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MemoryKernel } from '../../src/testing/index.ts';
import { connectionRequest, described, header } from '../support/connection-requests.ts';
import { ConnectionSide } from '../support/connection-side.ts';
import { isLong } from '../support/where.ts';

/*
 * Random requests of ctnetlink to the real kernel and to the kernel in memory: the same answers, the same events, the same table behind each.
 */

describe('connections of a kernel in memory', () => {
  let netns: NetNs;
  let sides: ConnectionSide[];

  beforeAll(() => {
    netns = NetNs.create();
    sides = [netns, MemoryKernel.create({ release: '6.18' }).container('memory').netns].map(
      one => new ConnectionSide(one),
    );
  });
  afterAll(() => {
    for (const side of sides) side.close();
    netns.close();
  });

  test('are answered, told and listed as by the real kernel, whatever is asked', () => {
    fc.assert(
      fc.property(fc.array(connectionRequest, { minLength: 1, maxLength: 25, size: 'max' }), requests => {
        for (const side of sides) side.empty();
        const begun = performance.now();
        for (const [i, one] of requests.entries()) {
          const [real, memory] = sides.map(side => side.take(one.type, one.flags, header(one), one.parts));
          // Seconds would count by then.
          if (performance.now() - begun > 2000) return;
          expect(memory, `request ${i} of ${requests.length}: ${described(one)}`).toEqual(real);
        }
      }),
      { numRuns: isLong ? 4000 : 40, ...(!isLong && { seed: 2026 }) },
    );
  });
});
