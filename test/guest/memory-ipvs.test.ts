import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ipvsRequest } from '../support/ipvs-requests.ts';
import { IpvsTwins } from '../support/ipvs-twins.ts';
import { isLong, kernelSuite } from '../support/where.ts';

kernelSuite('IPVS of a kernel in memory', () => {
  let twins: IpvsTwins;
  beforeAll(() => {
    twins = new IpvsTwins();
  });
  afterAll(async () => {
    await twins?.close();
  });

  it('answers random requests as the kernel does, and has the same state after them', () => {
    let count = 0;
    fc.assert(
      fc.property(fc.array(ipvsRequest, { minLength: 10, maxLength: 40, size: 'max' }), requests => {
        twins.reset();
        for (const request of requests) {
          const [real, memory] = twins.ask(request);
          expect(memory, JSON.stringify(request)).toEqual(real);
          count++;
        }
        const [real, memory] = twins.state();
        expect(memory).toEqual(real);
      }),
      { numRuns: isLong ? 2000 : 60 },
    );
    console.log(`${count} random requests to IPVS were answered alike`);
  });
});
