import { BatchError } from 'netsteer';
import type { IpvsOperation, Service } from 'netsteer/ipvs';
import { expect, it } from 'vitest';
import { freshIpvsNamespaces, ipvs, netns, savedByIpvsadm } from '../support/ipvs-namespace.ts';
import { kernelSuite } from '../support/where.ts';

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const service = (n: number): Service => ({ ...web, address: `10.9.${n >> 8}.${n & 255}` });

kernelSuite('an IPVS batch', () => {
  freshIpvsNamespaces();

  it('creates what ipvsadm then lists', async () => {
    const result = await ipvs.batch(b => {
      b.addService(web).addDestination(key, server(1)).addDestination(key, server(2, 5));
      b.addService({ firewallMark: 7, family: 'ipv6', scheduler: 'rr' });
      b.addDestination(
        { firewallMark: 7, family: 'ipv6' },
        { address: '2001:db8::1', port: 80, forward: 'masquerade' },
      );
      b.setService({ ...web, scheduler: 'rr', persistence: { timeoutSeconds: 60, netmask: 24 } });
      b.setDestination(key, server(3)).editDestination(key, server(2), { weight: 0 });
      b.removeDestination(key, server(1));
      b.editService(key, { scheduler: 'wrr' });
    });
    expect(result).toMatchObject({ outcome: 'all', failures: [] });
    expect(savedByIpvsadm(netns)).toEqual(
      [
        '-A -t 10.0.0.1:80 -s wrr -p 60 -M 255.255.255.0',
        '-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0',
        '-a -t 10.0.0.1:80 -r 10.1.0.3:80 -g -w 1',
        '-A -f 7 -6 -s rr',
        '-a -f 7 -6 -r [2001:db8::1]:80 -m -w 1',
      ].sort(),
    );
  });

  it('reports every failure with its index and the error of the kernel', () => {
    ipvs.sync.addService(web);
    const operations: IpvsOperation[] = [
      { op: 'addService', service: web },
      { op: 'addDestination', key, destination: server(1) },
      { op: 'addDestination', key, destination: { ...server(2), address: '224.0.0.1' } },
      { op: 'addDestination', key: { ...key, port: 81 }, destination: { ...server(2), port: 81 } },
      { op: 'removeDestination', key, destinationKey: server(9) },
      { op: 'setService', service: { ...web, persistence: { timeoutSeconds: 9, engine: 'nosuch' } } },
      { op: 'editDestination', key, destinationKey: server(8), patch: { weight: 3 } },
      { op: 'addDestination', key, destination: server(3) },
    ];
    let error: unknown;
    try {
      ipvs.sync.apply(operations);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(BatchError);
    const { failures, outcome, applied } = error as BatchError;
    expect(failures.map(({ index, code }) => [index, code])).toEqual([
      [0, 'EEXIST'],
      [2, 'EINVAL'],
      [3, 'ESRCH'],
      [4, 'ENOENT'],
      [5, 'ENOENT'],
      [6, 'ENOENT'],
    ]);
    expect(failures[1]?.attribute).toBe('address');
    expect({ outcome, applied }).toEqual({ outcome: 'partial', applied: [1, 7] });
    expect(ipvs.sync.destinations(key)).toHaveLength(2);
  });

  it('is undone as a whole when a part of it fails', () => {
    ipvs.sync.batch(b => {
      b.addService({ ...web, scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: { timeoutSeconds: 77 } });
      b.addDestination(key, { ...server(1, 3), upperThreshold: 10, lowerThreshold: 5 });
      b.addDestination(key, {
        ...server(2),
        forward: 'tunnel',
        tunnel: { type: 'gue', port: 6080, checksum: 'remote' },
      });
      b.addService(service(1)).addDestination(service(1), server(1));
    });
    const before = savedByIpvsadm(netns);
    const timeouts = ipvs.sync.timeouts();
    const result = ipvs.sync.batch(
      b => {
        b.flush().setTimeouts({ tcpSeconds: 5 }).addService(service(5)).addDestination(service(5), server(1));
        b.addService({ ...web, scheduler: 'rr' })
          .addDestination(key, server(7))
          .removeService(service(9));
      },
      { rollback: true, onError: 'collect' },
    );
    expect(result).toMatchObject({ outcome: 'none', applied: [], rolledBack: true, failures: [{ index: 6 }] });
    expect(savedByIpvsadm(netns)).toEqual(before);
    expect(ipvs.sync.timeouts()).toEqual(timeouts);
    expect(ipvs.sync.destinations(key)).toMatchObject([
      { tunnel: { type: 'gue', port: 6080, checksum: 'remote' } },
      { upperThreshold: 10, lowerThreshold: 5, weight: 3 },
    ]);
  });

  it('applies 500 services of 4 servers at once, reports all 2,500 refusals, and reconciles one in a hundred', async () => {
    const operations: IpvsOperation[] = [];
    for (let n = 0; n < 500; n++) {
      operations.push({ op: 'addService', service: service(n) });
      for (let last = 1; last <= 4; last++) {
        operations.push({ op: 'addDestination', key: service(n), destination: server(last) });
      }
    }
    for (let round = 0; round < 2; round++) {
      await ipvs.flush();
      expect((await ipvs.apply(operations)).outcome).toBe('all');
    }
    expect(savedByIpvsadm(netns)).toHaveLength(2500);

    const again = await ipvs.apply(operations, { onError: 'collect' });
    expect(again).toMatchObject({ outcome: 'none', applied: [] });
    expect(again.failures).toHaveLength(2500);
    expect(again.failures.every(({ code, index }, i) => code === 'EEXIST' && index === i)).toBe(true);

    const { servers, stable } = await ipvs.snapshot();
    expect({ stable, count: servers.length }).toEqual({ stable: true, count: 500 });

    // One of a hundred changes.
    for (let n = 0; n < 500; n += 100) servers[n]!.destinations[0]!.weight = 9;
    const { operations: done } = await ipvs.reconcile(servers, { prune: true });
    expect(done).toHaveLength(5);
  });

  it('adds the servers of an mh service before it sets the scheduler', () => {
    const destinations = Array.from({ length: 100 }, (_, i) => server(i + 1));
    for (const first of ['mh', 'rr', 'none'] as const) {
      ipvs.sync.flush();
      ipvs.sync.batch(b => {
        b.addService({ ...web, scheduler: first });
        for (const each of destinations) b.addDestination(key, each);
        if (first !== 'mh') b.setService({ ...web, scheduler: 'mh' });
      });
      expect(ipvs.sync.service(key).scheduler).toBe('mh');
      expect(ipvs.sync.destinations(key)).toHaveLength(100);
    }
    ipvs.sync.flush();
    const { operations } = ipvs.sync.reconcile([{ ...web, scheduler: 'mh', destinations }]);
    expect(operations.at(-1)).toMatchObject({ op: 'setService', service: { scheduler: 'mh' } });
    expect(ipvs.sync.service(key).scheduler).toBe('mh');
    expect(ipvs.sync.destinations(key)).toHaveLength(100);
  });
});
