import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { formatTable, Ipvs } from '../../src/ipvs/index.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

/* The table of docs/ipvs.md, "What is refused before the kernel sees it": every row of it is so, and there is no other. */

const { sync } = openIpvs().ipvs;
const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const web6 = { ...web, address: '2001:db8::1' } as const;
const server = { address: '10.1.0.1', port: 80, forward: 'masquerade' } as const;
const start = { state: 'master', interface: 'eth0', syncId: 1 } as const;

const service = (changes: object, base: object = web) => sync.addService({ ...base, ...changes } as never);
const destination = (changes: object, base: object = server) =>
  sync.addDestination(web, { ...base, ...changes } as never);
const persistent = (changes: object, base: object = web) =>
  service({ persistence: { timeoutSeconds: 60, ...changes } }, base);
const tunnel = (changes: object, base: object = { ...server, forward: 'tunnel' }) =>
  destination({ tunnel: changes }, base);

type Case = readonly [path: string, call: () => unknown];

/** So many that most are copies of templates; the last is the bad one. */
function many(bad: object, server?: object): never {
  const good = Array.from({ length: 19 }, (_, n) => ({ op: 'addService', service: { ...web, port: 1000 + n } }));
  const last =
    server === undefined ? { op: 'addService', service: bad } : { op: 'addDestination', key: bad, destination: server };
  return [...good, last] as never;
}

const ROWS: Readonly<Record<string, readonly Case[]>> = {
  '`address`': [
    ...[
      'www.example.org',
      '10.1',
      '010.0.0.1',
      '0x0a.0.0.1',
      '10.0.0.1/32',
      'fe80::1%eth0',
      '::1::',
      '',
      7,
      undefined,
    ].map((address): Case => ['address', () => service({ address })]),
    ['address', () => destination({ address: '10.1' })],
    // Of a service: what no packet is sent to.
    ...[
      '0.0.0.0',
      '255.255.255.255',
      '224.0.0.1',
      '239.255.255.255',
      '::',
      '0:0:0:0:0:0:0:0',
      'ff02::1',
      'ffff::',
    ].flatMap((address): Case[] => [
      ['address', () => service({ address })],
      ['address', () => sync.setService({ ...web, address })],
      ['operations[0].service.address', () => sync.batch(b => b.addService({ ...web, address }))],
      ['operations[19].service.address', () => sync.apply(many({ ...web, address }))],
      ['desired[0].address', () => sync.plan([{ ...web, address, destinations: [] }])],
      [`line 2.address`, () => sync.restore(`-C\n-A -t ${address.includes(':') ? `[${address}]` : address}:80 -s rr`)],
    ]),
  ],
  'service `port` 0': [['port', () => service({ port: 0 })]],
  '`protocol`': [
    ['protocol', () => service({ protocol: 'icmp' })],
    ['protocol', () => service({ protocol: 'TCP' })],
  ],
  '`firewallMark`': [['firewallMark', () => service({ firewallMark: 0, family: 'ipv4', scheduler: 'rr' }, {})]],
  '`scheduler`': [
    ['scheduler', () => service({ scheduler: 'best' })],
    ['scheduler', () => service({ scheduler: 'RR' })],
    ['scheduler', () => service({ scheduler: '' })],
  ],
  '`schedulerFlags`': [
    // Other fields' bits, the kernel's own, none, and those of no scheduler.
    ...[1, 4, 5, 2, 0x9, 0, 0x40, 0x48, 0xffffffff, -8, 1.5].map(
      (flag): Case => ['schedulerFlags[1]', () => service({ scheduler: 'wrr', schedulerFlags: ['flag-1', flag] })],
    ),
    ['schedulerFlags[0]', () => service({ scheduler: 'mh', schedulerFlags: ['sh-port'] })],
    ['schedulerFlags[1]', () => service({ scheduler: 'sh', schedulerFlags: ['sh-port', 'mh-fallback'] })],
  ],
  '`onePacket`': [
    ['onePacket', () => service({ onePacket: true })],
    ['onePacket', () => service({ onePacket: true, protocol: 'sctp' })],
  ],
  '`persistence.timeoutSeconds`': [0, -1, 2_678_401, 1.5].map(
    (timeoutSeconds): Case => ['persistence.timeoutSeconds', () => persistent({ timeoutSeconds })],
  ),
  '`persistence.netmask`': [
    ...['255.0.255', '24', 'all', -1, 33, 1.5].map(
      (netmask): Case => ['persistence.netmask', () => persistent({ netmask })],
    ),
    ...[0, 129, '255.255.255.0'].map((netmask): Case => ['persistence.netmask', () => persistent({ netmask }, web6)]),
  ],
  '`weight`': [-1, 2 ** 31, 1.5, '1'].map((weight): Case => ['weight', () => destination({ weight })]),
  thresholds: [
    ['upperThreshold', () => destination({ upperThreshold: 2 ** 31 })],
    ['lowerThreshold', () => destination({ upperThreshold: 1, lowerThreshold: 2 })],
    ['lowerThreshold', () => destination({ lowerThreshold: 1 })],
  ],
  'destination of the other family': [
    ['address', () => destination({ address: '2001:db8::9' })],
    ['address', () => destination({ address: '2001:db8::9', forward: 'direct' })],
  ],
  "destination `port` other than the service's": [
    ['port', () => destination({ port: 81, forward: 'direct' })],
    ['port', () => destination({ port: 81, forward: 'tunnel' })],
    ['port', () => sync.addDestination({ ...web, port: 0 }, server)],
    ['operations[19].destination.port', () => sync.apply(many({ ...web, port: 0 }, server))],
  ],
  '`tunnel`': [
    ['tunnel', () => tunnel({ type: 'gre' }, server)],
    ['tunnel.port', () => tunnel({ type: 'gue' })],
    ['tunnel.port', () => tunnel({ type: 'gre', port: 6080 })],
    ['tunnel.checksum', () => tunnel({ type: 'ipip', checksum: 'required' })],
    ['tunnel.checksum', () => tunnel({ type: 'gre', checksum: 'remote' })],
  ],
  timeouts: [
    ['tcpSeconds', () => sync.setTimeouts({ tcpSeconds: 0 })],
    ['udpSeconds', () => sync.setTimeouts({ udpSeconds: 2_147_484 })],
  ],
  '`syncId`': [['syncId', () => sync.startSync({ ...start, syncId: 256 })]],
  'sync `group`': [
    ['group', () => sync.startSync({ ...start, group: '10.0.0.1' })],
    ['group', () => sync.startSync({ ...start, group: '2001:db8::1' })],
  ],
  'sync `maxLength`, `port`, `ttl`': [
    ['maxLength', () => sync.startSync({ ...start, maxLength: 0 })],
    ['maxLength', () => sync.startSync({ ...start, maxLength: 65508 })],
    ['port', () => sync.startSync({ ...start, port: 0 })],
    ['ttl', () => sync.startSync({ ...start, ttl: 256 })],
  ],
};

test('the table in the docs has these rows', () => {
  const text = fs.readFileSync(new URL('../../docs/ipvs.md', import.meta.url), 'utf8');
  const [, section = ''] = /## What is refused before the kernel sees it\n([\s\S]*?)\n## /.exec(text) ?? [];
  const rows = [...section.matchAll(/^\| (.+?) \|/gm)].map(([, first]) => first);
  expect(rows.slice(1)).toEqual(Object.keys(ROWS));
});

describe.each(Object.entries(ROWS))('%s', (_, cases) => {
  test.each(cases.map(([path, call], i) => [path, i, call] as const))(
    'is rejected with a code at %s (%i)',
    (path, _i, call) => {
      let error: unknown;
      try {
        call();
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toSatisfy(thrown => thrown instanceof TypeError || thrown instanceof RangeError);
      expect(error).toMatchObject({ attribute: path, code: expect.stringMatching(/^ERR_/) });
    },
  );
});

test('null, misspelt fields and undefined namespaces are rejected by every method', () => {
  const calls: (() => unknown)[] = [
    () => service({ sheduler: 'rr' }),
    () => service({ port: null }),
    () => destination({ wieght: 1 }),
    ...['weight', 'upperThreshold', 'lowerThreshold', 'tunnel', 'forward', 'address'].map(
      field => () => destination({ [field]: null }),
    ),
    ...['scheduler', 'schedulerFlags', 'persistence', 'onePacket'].map(field => () => service({ [field]: null })),
    ...['netmask', 'engine', 'timeoutSeconds'].map(field => () => persistent({ [field]: null })),
    ...['port', 'checksum', 'type'].map(field => () => tunnel({ type: 'gre', [field]: null })),
    ...['maxLength', 'group', 'port', 'ttl'].map(field => () => sync.startSync({ ...start, [field]: null } as never)),
    ...['onError', 'rollback'].map(field => () => sync.apply([], { [field]: null } as never)),
    ...['onError', 'rollback', 'replace', 'names'].map(field => () => sync.restore('', { [field]: null } as never)),
    ...['drain', 'prune', 'onProgress'].map(field => () => sync.reconcile([], { [field]: null } as never)),
    () => sync.reconcile([], { drain: { timeoutMs: 1, pollMs: null } } as never),
    () => sync.reconcile([], { drain: { until: null, timeoutMs: 1 } } as never),
    () => sync.reconcile([], { drain: { tcp: null } } as never),
    () => sync.reconcile([], { drain: { tcp: { timeoutMs: 1 }, timeoutMs: 1 } } as never),
    () => sync.reconcile([], { drain: { icmp: { timeoutMs: 1 } } } as never),
    () => sync.plan([], { prune: null } as never),
    () => sync.setTimeouts({ tcpSeconds: null } as never),
    () => formatTable([], 'stats', { exact: null } as never),
    () => Ipvs.open({ via: null } as never),
    () => tunnel({ type: 'gre', sum: 'none' }),
    () => persistent({ seconds: 3 }),
    () => sync.setTimeouts({ tcp: 3 } as never),
    () => sync.startSync({ ...start, name: 'x' } as never),
    () => sync.addService(null as never),
    () => sync.apply(null as never),
    () => Ipvs.open({ netns: undefined } as never),
    () => Ipvs.open({ netns: null } as never),
  ];
  for (const call of calls) {
    expect(call, String(call)).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ERR_/) }));
  }
});

test('nothing was sent by the tests above', () => {
  const { kernel, ipvs } = openIpvs();
  const own = ipvs.sync;
  expect(() => own.addService({ ...web, port: 0 })).toThrow(RangeError);
  expect(() =>
    own.apply([
      { op: 'addService', service: web },
      { op: 'addDestination', key: web, destination: { ...server, weight: -1 } },
    ]),
  ).toThrow('operations[1].destination.weight');
  expect(() => own.restore('-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1 -w -1\n')).toThrow(RangeError);
  expect(() => own.reconcile([{ ...web, destinations: [{ ...server, weight: -1 }] }])).toThrow('desired[0]');
  expect(kernel.sent).toEqual([]);
});
