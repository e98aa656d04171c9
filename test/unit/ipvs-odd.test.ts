import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { WireDestination, WireService } from '../../src/ip_vs/attributes.ts';
import { destinationId, destinationSettings, serviceId, serviceSettings } from '../../src/ip_vs/wire.ts';
import { type Destination, parseRules, type VirtualServer } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { type IpvsKernel, openIpvs } from '../support/ipvs-kernel.ts';
import { oddTable } from '../support/ipvs-odd.ts';

/* What another program has set, and this library would refuse from a caller: it can be read, wanted again, saved, restored, and changed elsewhere. */

type Table = readonly { service: WireService; destinations: WireDestination[] }[];

function open(via: 'netlink' | 'sockopt' = 'netlink') {
  const made = openIpvs(via);
  made.kernel.schedulers.add('custom').add('my-own_2');
  return made;
}

function fill(kernel: IpvsKernel, table: Table): void {
  for (const { service, destinations } of table) {
    expect(kernel.execute(C.IPVS_CMD_NEW_SERVICE, { service })).toBe(0);
    for (const destination of destinations) {
      expect(kernel.execute(C.IPVS_CMD_NEW_DEST, { service, destination })).toBe(0);
    }
  }
  kernel.log.length = 0;
}

/** All that a table has, in an order of its own. */
function settingsOf(kernel: IpvsKernel): string[] {
  return [...kernel.services.values()]
    .map(({ service, destinations }) => {
      const servers = [...destinations.values()].map(
        each => `${destinationId(each, service.family)} ${destinationSettings(each)}`,
      );
      return `${serviceId(service)} ${serviceSettings(service)}: ${servers.sort().join(', ')}`;
    })
    .sort();
}

const withoutStats = (servers: VirtualServer[]): VirtualServer[] =>
  servers.map(server => {
    const { stats: _, ...service } = server as VirtualServer & { stats?: unknown };
    const destinations = server.destinations.map(each => {
      const { address, port, forward, weight, upperThreshold, lowerThreshold, tunnel } = each;
      const fields = { address, port, forward, weight, upperThreshold, lowerThreshold, tunnel };
      return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
    });
    return { ...service, destinations } as VirtualServer;
  });

describe('any table that another program can make', () => {
  test('is read, and desired unchanged leaves nothing to plan, with and without counters', () => {
    fc.assert(
      fc.property(oddTable, table => {
        const { kernel, ipvs } = open();
        fill(kernel, table);
        const { servers } = ipvs.sync.snapshot();
        expect(servers).toHaveLength(kernel.services.size);
        expect(ipvs.sync.plan(servers, { prune: true })).toEqual([]);
        expect(ipvs.sync.plan(withoutStats(servers), { prune: true })).toEqual([]);
        expect(ipvs.sync.reconcile(structuredClone(servers), { prune: true }).operations).toEqual([]);
        for (const { destinations, ...service } of withoutStats(servers)) {
          ipvs.sync.setService(service);
          for (const destination of destinations) ipvs.sync.setDestination(service, destination);
        }
        ipvs.sync.apply(
          withoutStats(servers).flatMap(({ destinations, ...service }) => [
            { op: 'setService' as const, service },
            ...destinations.map(destination => ({ op: 'setDestination' as const, key: service, destination })),
          ]),
        );
        expect(ipvs.sync.plan(servers)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  test('is restored from its own text, in an empty and in a full namespace', () => {
    fc.assert(
      fc.property(oddTable, oddTable, (table, other) => {
        const { kernel, ipvs } = open();
        fill(kernel, table);
        const text = ipvs.sync.save();
        const empty = open();
        empty.ipvs.sync.restore(text);
        expect(settingsOf(empty.kernel)).toEqual(settingsOf(kernel));
        expect(empty.ipvs.sync.save().split('\n').sort()).toEqual(text.split('\n').sort());
        const full = open();
        fill(full.kernel, other);
        full.ipvs.sync.restore(text, { replace: true });
        expect(settingsOf(full.kernel)).toEqual(settingsOf(kernel));
        expect(full.ipvs.sync.plan(parseRules(text) as VirtualServer[])).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  test('changes by an edit only in the given fields', () => {
    fc.assert(
      fc.property(oddTable, table => {
        const { kernel, ipvs } = open();
        fill(kernel, table);
        const { servers } = ipvs.sync.snapshot();
        for (const { destinations, stats: _, ...before } of servers) {
          ipvs.sync.editService(before, { scheduler: 'lc' });
          const { stats: __, ...after } = ipvs.sync.service(before);
          expect({ ...after, scheduler: 0, schedulerFlags: 0 }).toEqual({ ...before, scheduler: 0, schedulerFlags: 0 });
          for (const destination of destinations) {
            ipvs.sync.batch(b => b.editDestination(before, destination, { weight: 3 }));
            const now = ipvs.sync.destinations(before).find(each => sameKey(each, destination));
            expect(now).toEqual({ ...destination, weight: 3 });
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('takes new servers beside present ones: the plan has only what the caller adds', () => {
    fc.assert(
      fc.property(oddTable, table => {
        const { kernel, ipvs } = open();
        fill(kernel, table);
        const { servers } = ipvs.sync.snapshot();
        const desired = servers.map(server => {
          const added: Destination = {
            address: isIPv6(server) ? '2001:db8:9::1' : '239.255.0.1',
            port: 'port' in server ? server.port : 80,
            forward: 'direct',
          };
          return {
            ...server,
            destinations: [...server.destinations, { ...added, address: added.address.replace('239', '10') }],
          };
        });
        const planned = ipvs.sync.plan(desired);
        expect(planned.map(({ op }) => op)).toEqual(servers.map(() => 'addDestination'));
        ipvs.sync.reconcile(desired);
        expect(ipvs.sync.plan(desired)).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test('is the same over socket options, as far as these report it', () => {
    fc.assert(
      fc.property(oddTable, table => {
        const { kernel, ipvs } = open('sockopt');
        const told = table
          .filter(({ service: { family, protocol = 6 } }) => family === 2 && [6, 17, 132].includes(protocol))
          .map(({ service: { engine: _, ...service }, destinations }) => ({
            service,
            destinations: destinations
              .filter(each => each.family === 2)
              .map(({ tunnelType: _t, tunnelPort: _p, tunnelFlags: _f, ...each }) => each),
          }));
        fill(kernel, told);
        const { servers } = ipvs.sync.snapshot();
        expect(ipvs.sync.plan(servers, { prune: true })).toEqual([]);
        for (const { destinations, stats: _, ...service } of servers) {
          ipvs.sync.setService(service);
          ipvs.sync.editService(service, { scheduler: 'wrr' });
          for (const destination of destinations) ipvs.sync.editDestination(service, destination, { weight: 0 });
        }
        const text = ipvs.sync.save();
        const empty = open('sockopt');
        empty.ipvs.sync.restore(text);
        expect(settingsOf(empty.kernel)).toEqual(settingsOf(kernel));
      }),
      { numRuns: 50 },
    );
  });
});

const sameKey = (a: Destination, b: Destination): boolean => a.address === b.address && a.port === b.port;
const isIPv6 = (server: VirtualServer): boolean =>
  'family' in server ? server.family === 'ipv6' : server.address.includes(':');

describe('values that only other programs can set', () => {
  const allPorts = { protocol: 'tcp', address: '10.0.0.1', port: 0, scheduler: 'rr' } as const;

  function odd() {
    const made = open();
    made.kernel.execute(C.IPVS_CMD_NEW_SERVICE, {
      service: {
        family: 2,
        protocol: 6,
        address: '0a000001'.padEnd(32, '0'),
        port: 0,
        scheduler: 'custom',
        flags: { flags: 0x44, mask: 0xffffffff },
        timeout: 0,
        netmask: 'ffffffff',
      },
    });
    return made;
  }
  const wish = (changes: object) =>
    [
      { ...allPorts, scheduler: 'custom', schedulerFlags: [0x40], onePacket: true, destinations: [], ...changes },
    ] as VirtualServer[];

  test('are rejected at their path when a caller adds or changes them', () => {
    const { ipvs, kernel } = odd();
    expect(ipvs.sync.plan(wish({}))).toEqual([]);
    expect(ipvs.sync.plan(wish({ scheduler: 'rr' }))).toHaveLength(1);
    expect(ipvs.sync.plan(wish({ onePacket: false }))).toHaveLength(1);
    const refused: [object, string][] = [
      [{ schedulerFlags: [0x80] }, 'desired[0].schedulerFlags[0]'],
      [{ schedulerFlags: [0x40, 0x100] }, 'desired[0].schedulerFlags[1]'],
      [{ scheduler: 'nosuch' }, 'desired[0].scheduler'],
      [{ persistence: { timeoutSeconds: 0 } }, 'desired[0].persistence.timeoutSeconds'],
      [{ destinations: [{ address: '10.1.0.1', port: 80, forward: 'direct' }] }, 'desired[0].destinations[0].port'],
      [{ destinations: [{ address: '10.1.0.1', port: 80, forward: 'masquerade' }] }, 'desired[0].destinations[0].port'],
    ];
    for (const [changes, attribute] of refused) {
      expect(() => ipvs.sync.plan(wish(changes))).toThrow(expect.objectContaining({ attribute, name: 'RangeError' }));
      expect(() => ipvs.sync.reconcile(wish(changes))).toThrow(expect.objectContaining({ attribute }));
    }
    expect(kernel.log.map(({ command }) => command)).toEqual([C.IPVS_CMD_NEW_SERVICE]);
  });

  test('are rejected where the kernel holds no such value', () => {
    const { ipvs, kernel } = open();
    expect(() => ipvs.sync.plan(wish({}))).toThrow(RangeError);
    expect(() => ipvs.sync.setService(allPorts)).toThrow(expect.objectContaining({ attribute: 'port' }));
    expect(() => ipvs.sync.apply([{ op: 'setService', service: allPorts }])).toThrow(
      expect.objectContaining({ attribute: 'operations[0].service.port' }),
    );
    expect(kernel.log).toEqual([]);
  });

  test('may be set where the kernel holds them already, in single calls and in a batch', () => {
    const { ipvs } = odd();
    const [service] = wish({ scheduler: 'rr' });
    ipvs.sync.setService(service!);
    expect(ipvs.sync.service(allPorts)).toMatchObject({ scheduler: 'rr', onePacket: true, schedulerFlags: [0x40] });
    ipvs.sync.apply([{ op: 'setService', service: { ...service!, scheduler: 'lc' } }]);
    expect(ipvs.sync.service(allPorts).scheduler).toBe('lc');
  });
});
