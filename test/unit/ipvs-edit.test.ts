import { describe, expect, test } from 'vitest';
import type { Destination, DestinationPatch, Ipvs, Scheduling, Service, ServicePatch } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const to = { address: '10.1.0.1', port: 80 } as const;

/** The ways to edit, which all do the same. */
const ways = ['call', 'batch', 'apply'] as const;
type Way = (typeof ways)[number];

function editService(ipvs: Ipvs, way: Way, patch: ServicePatch): void {
  if (way === 'call') ipvs.sync.editService(key, patch);
  else if (way === 'batch') ipvs.sync.batch(b => b.editService(key, patch));
  else ipvs.sync.apply([{ op: 'editService', key, patch }], { rollback: true });
}

function editDestination(ipvs: Ipvs, way: Way, patch: DestinationPatch): void {
  if (way === 'call') ipvs.sync.editDestination(key, to, patch);
  else if (way === 'batch') ipvs.sync.batch(b => b.editDestination(key, to, patch));
  else ipvs.sync.apply([{ op: 'editDestination', key, destinationKey: to, patch }], { rollback: true });
}

const persistence = { timeoutSeconds: 60, netmask: '255.255.0.0', engine: 'sip' } as const;
const plainPersistence = { timeoutSeconds: 60, netmask: '255.255.0.0' } as const;

const services: [before: Scheduling, patch: ServicePatch, after: Scheduling][] = [
  [
    { scheduler: 'rr', persistence: plainPersistence },
    { persistence: { timeoutSeconds: 90 } },
    { scheduler: 'rr', persistence: { ...plainPersistence, timeoutSeconds: 90 } },
  ],
  [
    { scheduler: 'rr', persistence: plainPersistence },
    { persistence: { netmask: '0.0.0.0' } },
    { scheduler: 'rr', persistence: { timeoutSeconds: 60, netmask: '0.0.0.0' } },
  ],
  [
    { scheduler: 'rr', persistence: plainPersistence },
    { persistence: { netmask: undefined } },
    { scheduler: 'rr', persistence: { timeoutSeconds: 60 } },
  ],
  [{ scheduler: 'rr', persistence: plainPersistence }, { persistence: undefined }, { scheduler: 'rr' }],
  [
    { scheduler: 'rr' },
    { persistence: { timeoutSeconds: 5 } },
    { scheduler: 'rr', persistence: { timeoutSeconds: 5 } },
  ],
  [{ scheduler: 'sh', schedulerFlags: ['sh-fallback', 'sh-port'] }, { scheduler: 'wlc' }, { scheduler: 'wlc' }],
  [{ scheduler: 'sh', schedulerFlags: ['sh-fallback'] }, { scheduler: 'mh' }, { scheduler: 'mh' }],
  [{ scheduler: 'wrr', schedulerFlags: ['flag-1'] }, { scheduler: 'sh' }, { scheduler: 'sh' }],
  [
    { scheduler: 'sh', schedulerFlags: ['sh-fallback'] },
    { scheduler: 'mh', schedulerFlags: ['mh-port'] },
    { scheduler: 'mh', schedulerFlags: ['mh-port'] },
  ],
  [
    { scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: plainPersistence },
    { scheduler: 'sh' },
    { scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: plainPersistence },
  ],
  [{ scheduler: 'sh', schedulerFlags: ['sh-port'] }, { schedulerFlags: undefined }, { scheduler: 'sh' }],
  [{ scheduler: 'rr' }, { schedulerFlags: [0x18] }, { scheduler: 'rr', schedulerFlags: ['flag-1', 'flag-2'] }],
];

const gue = { type: 'gue', port: 6080, checksum: 'required' } as const;
const tunneled = { forward: 'tunnel', weight: 5 } as const;
const destinations: [
  before: Omit<Destination, 'address' | 'port'>,
  patch: DestinationPatch,
  after: Omit<Destination, 'address' | 'port'>,
][] = [
  [{ ...tunneled, tunnel: gue }, { tunnel: { port: 6081 } }, { ...tunneled, tunnel: { ...gue, port: 6081 } }],
  [
    { ...tunneled, tunnel: gue },
    { tunnel: { checksum: 'remote' } },
    { ...tunneled, tunnel: { ...gue, checksum: 'remote' } },
  ],
  [
    { ...tunneled, tunnel: gue },
    { tunnel: { checksum: undefined } },
    { ...tunneled, tunnel: { type: 'gue', port: 6080 } },
  ],
  // What the new type has not, goes.
  [
    { ...tunneled, tunnel: gue },
    { tunnel: { type: 'gre' } },
    { ...tunneled, tunnel: { type: 'gre', checksum: 'required' } },
  ],
  [
    { ...tunneled, tunnel: { ...gue, checksum: 'remote' } },
    { tunnel: { type: 'gre' } },
    { ...tunneled, tunnel: { type: 'gre' } },
  ],
  [{ ...tunneled, tunnel: gue }, { tunnel: { type: 'ipip' } }, { ...tunneled, tunnel: { type: 'ipip' } }],
  [
    { ...tunneled, tunnel: gue },
    { tunnel: { type: 2 } },
    { ...tunneled, tunnel: { type: 'gre', checksum: 'required' } },
  ],
  [{ ...tunneled, tunnel: gue }, { tunnel: undefined }, { ...tunneled, tunnel: { type: 'ipip' } }],
  [{ ...tunneled, tunnel: gue }, { forward: 'direct' }, { forward: 'direct', weight: 5 }],
  [{ ...tunneled, tunnel: gue }, { forward: 0 }, { forward: 'masquerade', weight: 5 }],
  [{ ...tunneled, tunnel: gue }, { weight: 0 }, { ...tunneled, weight: 0, tunnel: gue }],
  [
    { forward: 'direct', weight: 5 },
    { forward: 'tunnel', tunnel: { type: 'gue', port: 1 } },
    { ...tunneled, tunnel: { type: 'gue', port: 1 } },
  ],
  // A lower threshold that is above the new upper one goes.
  [
    { forward: 'direct', weight: 5, upperThreshold: 100, lowerThreshold: 60 },
    { upperThreshold: 50 },
    { forward: 'direct', weight: 5, upperThreshold: 50 },
  ],
  [
    { forward: 'direct', weight: 5, upperThreshold: 100, lowerThreshold: 60 },
    { upperThreshold: undefined },
    { forward: 'direct', weight: 5 },
  ],
  [
    { forward: 'direct', weight: 5, upperThreshold: 100, lowerThreshold: 60 },
    { upperThreshold: 90 },
    { forward: 'direct', weight: 5, upperThreshold: 90, lowerThreshold: 60 },
  ],
];

describe.each(ways)('an edit by %s', way => {
  test.each(services)('turns the service %j with %j into %j', (before, patch, after) => {
    for (const via of ['netlink', 'sockopt'] as const) {
      const { ipvs } = openIpvs(via);
      ipvs.sync.addService({ ...key, ...before } as Service);
      editService(ipvs, way, patch);
      const { stats: _, ...now } = ipvs.sync.service(key);
      expect(now).toEqual({ ...key, ...after });
      editService(ipvs, way, patch);
      expect(ipvs.sync.plan([{ ...key, ...after, destinations: [] } as never])).toEqual([]);
    }
  });

  test.each(destinations)('turns the server %j with %j into %j', (before, patch, after) => {
    const { ipvs } = openIpvs('netlink');
    ipvs.sync.addService({ ...key, scheduler: 'rr' });
    ipvs.sync.addDestination(key, { ...to, ...before });
    editDestination(ipvs, way, patch);
    editDestination(ipvs, way, patch);
    const [now] = ipvs.sync.destinations(key);
    expect(now).toMatchObject(after);
    expect(now?.tunnel).toEqual(after.tunnel);
    expect(ipvs.sync.plan([{ ...key, scheduler: 'rr', destinations: [{ ...to, ...after }] }])).toEqual([]);
  });

  test('keeps the persistence engine, and what socket options cannot report', () => {
    const { ipvs } = openIpvs('netlink');
    ipvs.sync.addService({ ...key, scheduler: 'rr', persistence });
    editService(ipvs, way, { persistence: { timeoutSeconds: 5 } });
    expect(ipvs.sync.service(key).persistence).toEqual({ ...persistence, timeoutSeconds: 5 });
    editService(ipvs, way, { persistence: { engine: undefined } });
    expect(ipvs.sync.service(key).persistence).toEqual({ ...plainPersistence, timeoutSeconds: 5 });
  });

  test('rejects wrong input with ERR_OUT_OF_RANGE or ERR_INVALID_ARG_TYPE', () => {
    const BAD = /^(ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE)$/;
    const { ipvs, kernel } = openIpvs('netlink');
    ipvs.sync.addService({ ...key, scheduler: 'sh', schedulerFlags: ['sh-port'] });
    ipvs.sync.addDestination(key, { ...to, forward: 'direct', upperThreshold: 5 });
    kernel.log.length = 0;
    const bad: [ServicePatch, string][] = [
      [{ schedulerFlags: ['mh-port'] }, 'schedulerFlags[0]'],
      [{ scheduler: 'wlc', schedulerFlags: ['sh-port'] }, 'schedulerFlags[0]'],
      [{ schedulerFlags: [1] }, 'schedulerFlags[0]'],
      [{ scheduler: 'best' }, 'scheduler'],
      [{ onePacket: true }, 'onePacket'],
      [{ persistence: { netmask: '255.0.0.0' } }, 'persistence.timeoutSeconds'],
      [{ persistence: null as never }, 'persistence'],
    ];
    for (const [patch, path] of bad) {
      expect(() => editService(ipvs, way, patch)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(BAD), attribute: expect.stringContaining(path) }),
      );
    }
    const badServers: [DestinationPatch, string][] = [
      [{ lowerThreshold: 9 }, 'lowerThreshold'],
      [{ tunnel: { type: 'gre' } }, 'tunnel'],
      [{ forward: 'tunnel', tunnel: { type: 'gue' } }, 'tunnel.port'],
      [{ forward: 'tunnel', tunnel: { type: 'gre', port: 1 } }, 'tunnel.port'],
      [{ weight: -1 }, 'weight'],
      [{ tunnel: null as never }, 'tunnel'],
    ];
    for (const [patch, path] of badServers) {
      expect(() => editDestination(ipvs, way, patch)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(BAD), attribute: expect.stringContaining(path) }),
      );
    }
    expect(kernel.log).toEqual([]);
  });
});

test('a service of every port keeps its persistence, which an edit may remove only where there is none', () => {
  const { ipvs, kernel } = openIpvs('netlink');
  const all = { ...key, port: 0 };
  ipvs.sync.addService({ ...all, scheduler: 'rr', persistence: { timeoutSeconds: 5 } });
  expect(() => ipvs.sync.editService(all, { persistence: undefined })).toThrow('needs persistence');
  for (const service of kernel.services) service.flags &= ~C.IP_VS_SVC_F_PERSISTENT;
  ipvs.sync.editService(all, { persistence: undefined, scheduler: 'wlc' });
  expect(ipvs.sync.service(all).scheduler).toBe('wlc');
});

test('a port that the kernel ignores because of persistence by firewall mark is logged as a warning', () => {
  const warned: object[] = [];
  const logger = { debug() {}, info() {}, error() {}, warn: (fields: object) => warned.push(fields) };
  const { ipvs } = openIpvs(undefined, { logger });
  const mark = { firewallMark: 7, family: 'ipv4', scheduler: 'rr' } as const;
  const server = { address: '10.1.0.1', port: 8080, forward: 'masquerade' } as const;
  ipvs.sync.reconcile([{ ...mark, destinations: [server] }]);
  expect(warned).toEqual([]);
  const persistent = { ...mark, persistence: { timeoutSeconds: 5 } };
  ipvs.sync.reconcile([{ ...persistent, destinations: [server] }]);
  expect(warned).toMatchObject([{ operation: 'ipvs.plan', destination: { address: '10.1.0.1', port: 8080 } }]);
  ipvs.sync.reconcile([{ ...persistent, destinations: [server] }]);
  expect(warned).toHaveLength(1);
  ipvs.sync.addDestination(persistent, { ...server, address: '10.1.0.2' });
  expect(warned).toHaveLength(2);
  ipvs.sync.addDestination(persistent, { ...server, address: '10.1.0.3', port: 0 });
  expect(warned).toHaveLength(2);
});
