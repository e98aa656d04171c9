import { Ipvs, Links, NetNs } from 'netsteer';
import type { IpvsOperation } from 'netsteer/ipvs';
import { expect, test } from 'vitest';
import { killOften } from '../support/killed.ts';
import { patience } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** Each start of Node takes seconds here. NETSTEER_KILLS says how often. */
const TIMES = Number(process.env.NETSTEER_KILLS ?? 1);
const SERVERS = 250;

const service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const server = (i: number) => ({ address: `10.1.${i >> 8}.${i & 255}`, port: 80, forward: 'direct' }) as const;
const operations: IpvsOperation[] = [
  { op: 'addService', service },
  ...Array.from(
    { length: SERVERS },
    (_, i): IpvsOperation => ({ op: 'addDestination', key: service, destination: server(i + 1) }),
  ),
];
const desired = [{ ...service, destinations: Array.from({ length: SERVERS }, (_, i) => server(i + 1)) }];

kernelSuite('a process that is killed at any moment', () => {
  test('leaves a prefix of its IPVS batch in the kernel, which the next run completes', {
    timeout: patience(3_600_000),
  }, async () => {
    const held = await killOften<NetNs>(
      {
        make() {
          const netns = NetNs.create();
          using links = Links.open({ netns });
          links.sync.set('lo', { up: true });
          return netns;
        },
        unmake: netns => netns.close(),
        given: netns => [`/proc/${process.pid}/fd/${netns.descriptor}`],
        program: `
          import { NetNs } from './netns/index.js';
          import { Ipvs } from './ipvs/index.js';
          const ipvs = Ipvs.open({ netns: NetNs.open({ path: world[0] }) });
          const operations = ${JSON.stringify(operations)};
          for (let i = 0; ; i++) {
            await ipvs.flush();
            await ipvs.apply(operations);
            if (i === 0) began();
          }`,
        check(netns) {
          using ipvs = Ipvs.open({ netns });
          const { servers } = ipvs.sync.snapshot();
          if (servers.length === 0) return 'nothing';
          const there = servers[0]!.destinations.map(({ address }) => address).sort();
          const prefix = Array.from({ length: there.length }, (_, i) => server(i + 1).address).sort();
          expect(servers).toHaveLength(1);
          expect(there).toEqual(prefix);
          return there.length === SERVERS ? 'all' : 'a prefix';
        },
        async next(netns) {
          using ipvs = Ipvs.open({ netns });
          await ipvs.reconcile(desired, { prune: true });
          expect(await ipvs.plan(desired, { prune: true })).toEqual([]);
        },
      },
      TIMES,
      1,
      TIMES,
    );
    console.log(
      `killed ${TIMES} times; then the kernel held: ${[...held].map(([what, count]) => `${what} ${count}`).join(', ')}`,
    );
    expect([...held.values()].reduce((sum, count) => sum + count, 0)).toBe(TIMES);
  });
});
