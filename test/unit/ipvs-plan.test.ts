import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import { writeService } from '../../src/ip_vs/service.ts';
import { serviceId } from '../../src/ip_vs/wire.ts';
import { formatPlan, type IpvsOperation, type VirtualServer } from '../../src/ipvs/index.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const kinds = (operations: readonly IpvsOperation[]) => operations.map(({ op }) => op);

test('a second plan is empty for any present and desired state', () => {
  fc.assert(
    fc.property(virtualServers, virtualServers, (before, desired) => {
      const { ipvs } = openIpvs();
      ipvs.sync.apply(ipvs.sync.plan(before));
      const plan = ipvs.sync.plan(desired, { prune: true });
      const result = ipvs.sync.apply(plan);
      expect(result).toMatchObject({ failures: [], outcome: 'all' });
      expect(ipvs.sync.plan(desired, { prune: true })).toEqual([]);
      expect(ipvs.sync.snapshot().servers).toHaveLength(desired.length);
    }),
    { numRuns: 200 },
  );
});

test('the plan for a snapshot of the present state is empty', () => {
  fc.assert(
    fc.property(virtualServers, before => {
      const { ipvs } = openIpvs();
      ipvs.sync.apply(ipvs.sync.plan(before));
      const { servers, stable } = ipvs.sync.snapshot();
      expect(stable).toBe(true);
      expect(ipvs.sync.plan(servers, { prune: true })).toEqual([]);
    }),
  );
});

test('a plan survives JSON, and prints a line for each operation', () => {
  fc.assert(
    fc.property(virtualServers, virtualServers, (before, desired) => {
      const { ipvs } = openIpvs();
      ipvs.sync.apply(ipvs.sync.plan(before));
      const plan = ipvs.sync.plan(desired, { prune: true });
      expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
      expect(formatPlan(plan).split('\n')).toHaveLength(plan.length + 1);
    }),
  );
});

test('a service always has a server while one is replaced', () => {
  let seen = 0;
  fc.assert(
    fc.property(virtualServers, virtualServers, (before, desired) => {
      const { ipvs, kernel } = openIpvs();
      ipvs.sync.apply(ipvs.sync.plan(before));
      // A service that shall have none ends without one; it is not among those of which servers are replaced.
      const wanted = new Set(
        desired.filter(each => each.destinations.length > 0).map(each => serviceId(writeService(each))),
      );
      const watched = kernel.services.filter(({ family, mark, protocol, address, port, destinations }) => {
        const id = { family, protocol, address: toHex(address).padEnd(32, '0'), port, firewallMark: mark };
        return destinations.length > 0 && wanted.has(serviceId(id));
      });
      seen += watched.length;
      let empty = 0;
      kernel.before = () => {
        for (const { destinations } of watched) if (destinations.length === 0) empty++;
      };
      ipvs.sync.apply(ipvs.sync.plan(desired));
      expect(empty).toBe(0);
    }),
  );
  expect(seen).toBeGreaterThan(10);
});

test('new servers are added before old ones are removed', () => {
  const { ipvs } = openIpvs();
  ipvs.sync.apply(ipvs.sync.plan([{ ...web, destinations: [server(1)] }]));
  const plan = ipvs.sync.plan([{ ...web, destinations: [server(2)] }]);
  expect(kinds(plan)).toEqual(['addDestination', 'removeDestination']);
});

test('a server comes up before the one that it replaces gets weight 0', () => {
  const { ipvs } = openIpvs();
  ipvs.sync.apply(ipvs.sync.plan([{ ...web, destinations: [server(1, 1), server(2, 0)] }]));
  const plan = ipvs.sync.plan([{ ...web, destinations: [server(1, 0), server(2, 1)] }]);
  expect(plan).toMatchObject([
    { op: 'setDestination', destination: { address: '10.1.0.2', weight: 1 } },
    { op: 'setDestination', destination: { address: '10.1.0.1', weight: 0 } },
  ]);
});

test('the servers of an mh service are added before the scheduler is set', () => {
  const { ipvs } = openIpvs();
  const desired: VirtualServer[] = [
    { ...web, scheduler: 'mh', schedulerFlags: ['mh-port'], destinations: [server(1), server(2)] },
  ];
  const plan = ipvs.sync.plan(desired);
  expect(kinds(plan)).toEqual(['addService', 'addDestination', 'addDestination', 'setService']);
  expect(plan[0]).toMatchObject({ service: { scheduler: 'none' } });
  expect(plan[3]).toMatchObject({ service: { scheduler: 'mh', schedulerFlags: ['mh-port'] } });
  ipvs.sync.apply(plan);
  expect(kinds(ipvs.sync.plan([{ ...desired[0]!, destinations: [server(1), server(3)] }]))).toEqual([
    'addDestination',
    'removeDestination',
  ]);
});

test('a change to mh comes last, a change to another scheduler first, and no change is left out', () => {
  const { ipvs } = openIpvs();
  ipvs.sync.apply(ipvs.sync.plan([{ ...web, destinations: [server(1)] }]));
  const destinations = [server(1), server(2)];
  expect(kinds(ipvs.sync.plan([{ ...web, scheduler: 'mh', destinations }]))).toEqual(['addDestination', 'setService']);
  expect(kinds(ipvs.sync.plan([{ ...web, scheduler: 'rr', destinations }]))).toEqual(['setService', 'addDestination']);
  expect(kinds(ipvs.sync.plan([{ ...web, destinations }]))).toEqual(['addDestination']);
});

test('what is not desired stays, unless prune is set; then it is removed last', () => {
  const { ipvs } = openIpvs();
  ipvs.sync.apply(ipvs.sync.plan([{ ...web, destinations: [server(1)] }]));
  const other = { ...web, port: 81, destinations: [] };
  expect(kinds(ipvs.sync.plan([other]))).toEqual(['addService']);
  expect(ipvs.sync.plan([other], { prune: true })).toEqual([
    { op: 'addService', service: { protocol: 'tcp', address: '10.0.0.1', port: 81, scheduler: 'wlc' } },
    { op: 'removeService', key: { protocol: 'tcp', address: '10.0.0.1', port: 80 } },
  ]);
});

test('defaults are no differences', () => {
  const { ipvs } = openIpvs();
  const spare = { ...web, persistence: { timeoutSeconds: 300 }, destinations: [{ ...server(1), weight: undefined }] };
  const full = {
    ...web,
    schedulerFlags: [],
    onePacket: false,
    persistence: { timeoutSeconds: 300, netmask: 32 },
    destinations: [{ ...server(1), upperThreshold: 0, lowerThreshold: 0 }],
  };
  ipvs.sync.apply(ipvs.sync.plan([spare as never]));
  expect(ipvs.sync.plan([full])).toEqual([]);
  const tunnel = { address: '10.1.0.7', port: 80, forward: 'tunnel' } as const;
  ipvs.sync.apply(ipvs.sync.plan([{ ...full, destinations: [tunnel] }]));
  expect(ipvs.sync.plan([{ ...full, destinations: [{ ...tunnel, tunnel: { type: 'ipip' } }] }])).toEqual([]);
});

test('errors in the desired state have their path', () => {
  const { sync } = openIpvs().ipvs;
  const plan = (...desired: unknown[]) => {
    try {
      sync.plan(desired as VirtualServer[]);
    } catch (error) {
      return (error as { attribute?: string }).attribute;
    }
    return undefined;
  };
  expect(plan({ ...web, scheduler: 'best', destinations: [] })).toBe('desired[0].scheduler');
  expect(plan({ ...web })).toBe('desired[0].destinations');
  expect(plan({ ...web, destinations: [server(1), { ...server(2), weight: -1 }] })).toBe(
    'desired[0].destinations[1].weight',
  );
  expect(plan({ ...web, destinations: [] }, { ...web, scheduler: 'rr', destinations: [] })).toBe('desired[1]');
  expect(plan({ ...web, destinations: [server(1), server(1, 5)] })).toBe('desired[0].destinations[1]');
  expect(() => sync.plan('all' as never)).toThrow(TypeError);
  expect(() => sync.plan([], { prune: 'yes' as never })).toThrow(TypeError);
});

test('a plan prints readable lines', () => {
  const operations: IpvsOperation[] = [
    { op: 'addService', service: { ...web, persistence: { timeoutSeconds: 300, netmask: 24 } } },
    { op: 'addDestination', key: web, destination: { address: '10.1.0.1', port: 80, forward: 'direct' } },
    {
      op: 'setDestination',
      key: { protocol: 'tcp', address: '2001:db8::1', port: 80 },
      destination: {
        address: '2001:db8::2',
        port: 80,
        forward: 'tunnel',
        weight: 5,
        tunnel: { type: 'gue', port: 6080 },
      },
    },
    { op: 'editDestination', key: web, destinationKey: server(1), patch: { weight: 0 } },
    { op: 'removeDestination', key: { firewallMark: 7, family: 'ipv4' }, destinationKey: server(1) },
    { op: 'removeService', key: web },
    { op: 'flush' },
  ];
  expect(formatPlan(operations)).toBe(`\
+ service tcp 10.0.0.1:80 wlc persistent 300 mask 24
+ destination tcp 10.0.0.1:80 -> 10.1.0.1:80 direct weight 1
~ destination tcp [2001:db8::1]:80 -> [2001:db8::2]:80 tunnel type gue port 6080 weight 5
~ destination tcp 10.0.0.1:80 -> 10.1.0.1:80 weight 0
- destination mark 7 ipv4 -> 10.1.0.1:80
- service tcp 10.0.0.1:80
- all services
`);
});
