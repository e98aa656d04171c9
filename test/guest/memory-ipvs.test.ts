import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { differences } from '../support/ipvs-bytes.ts';
import { ipvsRequest } from '../support/ipvs-requests.ts';
import { type Traffic, TrafficTwins } from '../support/ipvs-traffic.ts';
import { IpvsTwins } from '../support/ipvs-twins.ts';
import { isLong, kernelSuite } from '../support/where.ts';

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh'];
/** Of one run: each must be over before the kernel ends what it began with, after a minute. */
const CONNECTIONS = isLong ? 250 : 60;
const LONG_RUNS = 40;

/** Ways to use a scheduler: each has its own run. */
const WAYS: Record<string, Omit<Traffic, 'scheduler' | 'connections' | 'seed'>> = {
  'IPv4 and masquerading': {},
  IPv6: { family: 'ipv6' },
  UDP: { protocol: 'udp' },
  'direct routing': { forward: 'direct' },
  'a tunnel': { forward: 'tunnel' },
  persistence: { persistence: { timeoutSeconds: 300, netmask: '255.255.255.0' } },
};

kernelSuite('IPVS of a kernel in memory', () => {
  let twins: IpvsTwins;
  let traffic: TrafficTwins;
  beforeAll(() => {
    twins = new IpvsTwins();
    traffic = new TrafficTwins(twins);
  });
  afterAll(async () => {
    await traffic?.close();
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
      // Shrinking takes hours in a guest.
      // A seed of its own each time is for the long run, which somebody watches.
      { numRuns: isLong ? 4000 : 50, endOnFailure: true, ...(!isLong && { seed: 2026 }) },
    );
    expect(count).toBeGreaterThan(500);
  });

  it('sends what the kernel sends, by masquerading, direct routing and tunnels, and brings back what servers and routers answer', () => {
    twins.reset();
    const { cases, differences: found } = differences(twins);
    expect(found).toEqual([]);
    expect(cases).toBeGreaterThan(100);
  });

  it.each(SCHEDULERS)('chooses the servers that the kernel chooses, with the scheduler %s', scheduler => {
    twins.reset();
    const port = scheduler === 'sh' || scheduler === 'mh' ? scheduler : undefined;
    const flagged: Record<string, Traffic['flags']> =
      port === undefined
        ? {}
        : { fallback: [`${port}-fallback`], port: [`${port}-port`], both: [`${port}-fallback`, `${port}-port`] };
    const ways = [...Object.values(WAYS), ...Object.values(flagged).map(flags => ({ flags }))];
    for (let seed = 0; seed < (isLong ? LONG_RUNS : ways.length); seed++) {
      const way = { ...ways[seed % ways.length], scheduler, connections: CONNECTIONS, seed };
      expect(traffic.run(way).difference, JSON.stringify(way)).toBeUndefined();
    }
  });
});
