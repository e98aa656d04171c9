import { Ipvs } from 'netsteer';
import type { IpvsOperation, VirtualServer } from 'netsteer/ipvs';
import { expect, test } from 'vitest';
import { type Trial, tryFaults } from '../support/fault-runs.ts';
import { useFaultyFfi } from '../support/faulty-ffi.ts';
import { freshIpvsNamespaces, netns, ipvs as probe } from '../support/ipvs-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* As test/kernel/faults.test.ts, for IPVS: one errno at every third system call, by another one each time. */
const ffi = useFaultyFfi();
const EVERY = 3;

const service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const server = (last: number) => ({ address: `10.1.0.${last}`, port: 80, forward: 'direct' }) as const;
const desired: VirtualServer[] = [{ ...service, destinations: [server(1), server(2)] }];
const operations: IpvsOperation[] = [
  { op: 'addService', service },
  ...[1, 2, 3].map((last): IpvsOperation => ({ op: 'addDestination', key: service, destination: server(last) })),
];

kernelSuite('IPVS when one system call fails', () => {
  freshIpvsNamespaces();

  const changes = (operate: (ipvs: Ipvs) => unknown, via: 'netlink' | 'sockopt', prepare = () => {}): Trial<Ipvs> => ({
    reset: () => {
      probe.sync.flush();
      prepare();
    },
    state: () =>
      probe.sync.snapshot().servers.map(({ destinations }) => destinations.map(({ address }) => address).sort()),
    open: () => Ipvs.open({ netns, via }),
    operate,
    close: ipvs => ipvs[Symbol.asyncDispose](),
  });

  const prepared = () => {
    probe.sync.addService(service);
    probe.sync.addDestination(service, server(1));
  };

  test.each(['netlink', 'sockopt'] as const)('keeps its promises over %s, whichever call fails', async via => {
    const trials: Trial<Ipvs>[] = [
      changes(ipvs => ipvs.setService(service), via),
      changes(ipvs => ipvs.setDestination(service, server(2)), via, prepared),
      changes(ipvs => ipvs.services({ destinations: true }), via, prepared),
      // What a batch has done before a call fails stays done: a prefix, which the next one completes.
      {
        ...changes(
          ipvs =>
            ipvs.apply(
              operations.map(
                each =>
                  (each.op === 'addService'
                    ? { op: 'setService', service }
                    : { ...each, op: 'setDestination' }) as IpvsOperation,
              ),
            ),
          via,
        ),
        parts: true,
      },
      { ...changes(ipvs => ipvs.reconcile(desired), via), parts: true },
    ];
    for (const trial of trials) {
      const { calls, runs, completed, refused } = await tryFaults(ffi, trial, { all: false, every: EVERY });
      console.log(
        `IPVS over ${via}: ${runs} faults in ${calls.length} calls, ${completed} completed, ${refused} refused`,
      );
      expect(runs).toBe(Math.ceil(calls.length / EVERY));
    }
  });
});
