import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseIPv4, toHex } from '../../src/codec/index.ts';
import { BatchError, NetlinkError } from '../../src/errors.ts';
import { ipv4Bytes } from '../../src/ip_vs/address.ts';
import type { BatchOptions, IpvsOperation } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { errorOf } from '../support/error-of.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { type MemoryIpvs, openIpvs } from '../support/memory-ipvs.ts';

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const service = (n: number) => ({ ...web, address: `10.9.${n >> 8}.${n & 255}` });

/** A kernel without the scheduler twos. */
const WITHOUT_TWOS = ['ip_vs', 'ip_vs_wlc', 'ip_vs_rr'];

/** The state as one comparable value. */
const state = (kernel: MemoryIpvs) => structuredClone(kernel.services);

test('the library asks once about a missing service, and twice about a full table', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.info();
  const sentBy = (call: () => unknown) => {
    const before = kernel.sent.length;
    call();
    return kernel.sent.length - before;
  };
  expect(sentBy(() => expect(ipvs.sync.snapshot()).toEqual({ servers: [], stable: true }))).toBe(1);
  ipvs.sync.addService(web);
  const one = sentBy(() => ipvs.sync.services({ destinations: true }));
  expect(sentBy(() => expect(ipvs.sync.snapshot()).toMatchObject({ servers: [{}], stable: true }))).toBe(2 * one);
});

test('many operations go in few datagrams', () => {
  const { ipvs, kernel } = openIpvs();
  const operations: IpvsOperation[] = [];
  for (let n = 0; n < 500; n++) {
    operations.push({ op: 'addService', service: service(n) });
    for (const last of [1, 2, 3, 4])
      operations.push({ op: 'addDestination', key: service(n), destination: server(last) });
  }
  const result = ipvs.sync.apply(operations);
  expect(result).toMatchObject({ failures: [], outcome: 'all', rolledBack: false });
  expect(result.applied).toHaveLength(2500);
  expect(kernel.services).toHaveLength(500);
  expect(kernel.sent.length).toBeLessThan(20);
});

test('a batch has the same effect as single calls, in both forms', async () => {
  const { ipvs, kernel } = openIpvs();
  const result = await ipvs.batch(b => {
    b.addService(web).addDestination(key, server(1)).setDestination(key, server(1, 5)).setDestination(key, server(2));
    b.editDestination(key, server(1), { weight: 0 }).editService(key, { scheduler: 'rr' });
    b.removeDestination(key, server(2)).zero(key).zero().setTimeouts({ udpSeconds: 9 });
  });
  expect(result).toMatchObject({ outcome: 'all', failures: [], applied: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });
  expect(ipvs.sync.destinations(key)).toMatchObject([{ ...server(1), weight: 0 }]);
  expect(ipvs.sync.service(key).scheduler).toBe('rr');
  expect(kernel.timeouts.udp).toBe(9);
  expect(ipvs.sync.batch(b => b.flush().addService(web)).outcome).toBe('all');
  await expect(ipvs.batch(async () => {})).rejects.toThrow('synchronous');
});

test('an empty batch sends nothing', () => {
  const { ipvs, kernel } = openIpvs();
  expect(ipvs.sync.apply([])).toEqual({ failures: [], applied: [], outcome: 'all', rolledBack: false });
  expect(kernel.sent).toEqual([]);
});

test('a batch rejects with ERR_BATCH, which has every failure with its index', async () => {
  const { ipvs } = openIpvs('auto', { modules: WITHOUT_TWOS });
  const operations: IpvsOperation[] = [
    { op: 'addService', service: web },
    { op: 'addService', service: web },
    { op: 'addDestination', key: { ...key, port: 81 }, destination: { ...server(1), port: 81 } },
    { op: 'addDestination', key, destination: server(1) },
    { op: 'removeDestination', key, destinationKey: server(2) },
    { op: 'setService', service: { ...web, scheduler: 'twos' } },
    { op: 'editDestination', key, destinationKey: server(3), patch: { weight: 1 } },
    { op: 'editService', key: { ...key, port: 81 }, patch: { scheduler: 'rr' } },
  ];
  const error = errorOf(BatchError, () => ipvs.sync.apply(operations));
  expect(error).toMatchObject({ outcome: 'partial', applied: [0, 3], code: 'ERR_BATCH' });
  expect(error.failures.map(({ index, code }) => [index, code])).toEqual([
    [1, 'EEXIST'],
    [2, 'ESRCH'],
    [4, 'ENOENT'],
    [5, 'ENOENT'],
    [6, 'ENOENT'],
    [7, 'ESRCH'],
  ]);
  expect(error.failures[0]).toMatchObject({ subject: web, syscall: 'IPVS_CMD_NEW_SERVICE', operation: 'ipvs.apply' });
  expect(error.failures[3]).toMatchObject({ attribute: 'scheduler', hint: expect.stringContaining('twos') });
  await ipvs.flush();
  const collected = await ipvs.apply(operations, { onError: 'collect' });
  expect(collected).toMatchObject({ outcome: 'partial', applied: [0, 3] });
  expect(collected.failures).toHaveLength(6);
  expect(ipvs.sync.apply(operations.slice(1, 2), { onError: 'collect' }).outcome).toBe('none');
});

test('operations are checked before anything is sent', () => {
  const { ipvs, kernel } = openIpvs();
  const attribute = (...operations: unknown[]) => {
    try {
      ipvs.sync.apply(operations as IpvsOperation[]);
    } catch (error) {
      return (error as { attribute?: string }).attribute;
    }
    return undefined;
  };
  const good = { op: 'addService', service: web };
  expect(attribute(good, { op: 'addService', service: { ...web, scheduler: 'best' } })).toBe(
    'operations[1].service.scheduler',
  );
  expect(attribute(good, { op: 'addDestination', key, destination: { ...server(1), weight: 1.5 } })).toBe(
    'operations[1].destination.weight',
  );
  expect(attribute(good, { op: 'removeService', key: { ...key, port: 70000 } })).toBe('operations[1].key.port');
  expect(attribute(good, { op: 'removeDestination', key, destinationKey: { address: 'x', port: 1 } })).toBe(
    'operations[1].destinationKey.address',
  );
  expect(attribute(good, { op: 'editDestination', key, destinationKey: server(1), patch: { wieght: 1 } })).toBe(
    'operations[1].patch.wieght',
  );
  expect(attribute(good, { op: 'setTimeouts', timeouts: { tcpSeconds: 0 } })).toBe('operations[1].timeouts.tcpSeconds');
  expect(attribute(good, { op: 'explode' })).toBe('operations[1].op');
  expect(attribute(good, { op: 'flush', key })).toBe('operations[1].key');
  expect(attribute(good, 7)).toBe('operations[1]');
  expect(() => ipvs.sync.apply({} as never)).toThrow(TypeError);
  expect(() => ipvs.sync.apply([], { onError: 'ignore' as never })).toThrow(RangeError);
  expect(() => ipvs.sync.apply([], { rollback: 1 as never })).toThrow(TypeError);
  expect(kernel.sent).toEqual([]);
});

test('an edit that is wrong only beside the present state is rejected as a whole where nothing was sent yet', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.batch(b => b.addService(web).addDestination(key, { ...server(1), upperThreshold: 10 }));
  const before = state(kernel);
  const edit: IpvsOperation = { op: 'editDestination', key, destinationKey: server(1), patch: { lowerThreshold: 11 } };
  expect(() => ipvs.sync.apply([edit, { op: 'removeService', key }])).toThrow('operations[0].patch.lowerThreshold');
  expect(state(kernel)).toEqual(before);
  const later = ipvs.sync.apply(
    [{ op: 'setDestination', key, destination: { ...server(1), upperThreshold: 5 } }, edit],
    { onError: 'collect' },
  );
  expect(later).toMatchObject({ applied: [0], failures: [{ index: 1, code: 'EINVAL' }] });
});

const rollback: BatchOptions = { rollback: true };

test('a rollback restores the state from before, whatever the batch and whatever fails', () => {
  fc.assert(
    fc.property(virtualServers, virtualServers, fc.boolean(), (before, desired, flush) => {
      const { ipvs, kernel } = openIpvs();
      ipvs.sync.apply(ipvs.sync.plan(before));
      Object.assign(kernel.timeouts, { tcp: 1, tcpFin: 2, udp: 3 });
      const was = JSON.stringify(ipvs.sync.plan(before, { prune: true }));
      const operations: IpvsOperation[] = [
        ...(flush ? [{ op: 'flush' } as const] : []),
        ...ipvs.sync.plan(desired, { prune: true }),
        { op: 'setTimeouts', timeouts: { tcpSeconds: 77 } },
        { op: 'removeService', key: { firewallMark: 4242, family: 'ipv4' } },
      ];
      const error = errorOf(BatchError, () => ipvs.sync.apply(operations, rollback));
      expect(error).toMatchObject({ outcome: 'none', applied: [] });
      expect(JSON.stringify(ipvs.sync.plan(before, { prune: true }))).toBe(was);
      expect(kernel.timeouts).toEqual({ tcp: 1, tcpFin: 2, udp: 3 });
    }),
  );
});

test('a rollback is reported in the result, and touches no other service', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.addService(service(1));
  const [untouched] = kernel.services;
  const before = structuredClone(untouched);
  const operations: IpvsOperation[] = [
    { op: 'addService', service: web },
    { op: 'addDestination', key, destination: server(1) },
    { op: 'addDestination', key, destination: server(1) },
  ];
  const result = ipvs.sync.apply(operations, { rollback: true, onError: 'collect' });
  expect(result).toMatchObject({
    rolledBack: true,
    outcome: 'none',
    applied: [],
    failures: [{ index: 2, code: 'EEXIST' }],
  });
  expect(kernel.services).toHaveLength(1);
  expect(kernel.services[0]).toBe(untouched);
  expect(untouched).toEqual(before);
  expect(ipvs.sync.apply(operations.slice(0, 2), rollback)).toMatchObject({ outcome: 'all', rolledBack: false });
});

test('a rollback that fails is reported as unknown', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.addService(web);
  const operations: IpvsOperation[] = [
    { op: 'removeService', key },
    { op: 'removeService', key },
  ];
  using others = kernel.open();
  let removed = 0;
  kernel.before = command => {
    // Somebody else adds the service just before it is given back.
    if (command === C.IPVS_CMD_DEL_SERVICE) removed++;
    if (removed === 2 && command === C.IPVS_CMD_NEW_SERVICE) {
      removed = 0;
      others.sync.addService({ ...web, scheduler: 'rr' });
    }
  };
  expect(ipvs.sync.apply(operations, { rollback: true, onError: 'collect' })).toMatchObject({
    rolledBack: false,
    outcome: 'unknown',
  });
});

test('lost replies lead to a known state', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.apply([
    { op: 'addService', service: web },
    { op: 'addDestination', key, destination: server(1, 7) },
  ]);
  const operations: IpvsOperation[] = [];
  for (let n = 0; n < 150; n++) operations.push({ op: 'addService', service: service(n) });
  operations.push({ op: 'addDestination', key, destination: server(1) });
  operations.push({ op: 'removeDestination', key, destinationKey: server(9) });
  operations.push({ op: 'addDestination', key: { ...key, port: 81 }, destination: { ...server(1), port: 81 } });
  for (let n = 0; n < 150; n++) operations.push({ op: 'addService', service: { ...service(n), scheduler: 'rr' } });
  kernel.answersKept = () => 2;
  const result = ipvs.sync.apply(operations, { onError: 'collect' });
  kernel.answersKept = undefined;
  expect(kernel.waiting).toBe(0);
  expect(result.outcome).toBe('partial');
  expect(result.failures.slice(0, 3).map(({ index, code }) => [index, code])).toEqual([
    [150, 'EEXIST'],
    [151, 'ENOENT'],
    [152, 'ESRCH'],
  ]);
  // None of the 150 that are there already with another scheduler was taken for applied.
  expect(result.failures).toHaveLength(153);
  expect(result.applied).toHaveLength(150);
  expect(kernel.services).toHaveLength(151);
});

test('lost replies of removals, replacements and edits lead to a known state', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.batch(b => b.addService(web).addDestination(key, server(1)).addDestination(key, server(2)));
  ipvs.sync.addService(service(5));
  const { sync } = ipvs;
  const apply = (operations: IpvsOperation[]) => {
    // Reading must work again, as it does when the receive buffer was read empty.
    kernel.answersKept = ({ length }) => (length > 400 ? 0 : Number.POSITIVE_INFINITY);
    return sync.apply(operations, { onError: 'collect' });
  };
  const result = apply([
    { op: 'setService', service: { ...web, scheduler: 'rr' } },
    { op: 'setDestination', key, destination: server(1, 9) },
    { op: 'editDestination', key, destinationKey: server(2), patch: { weight: 3 } },
    { op: 'addService', service: service(6) },
    { op: 'removeService', key: service(6) },
    { op: 'removeService', key: service(5) },
    { op: 'removeService', key: service(7) },
    { op: 'zero', key: service(7) },
    { op: 'setTimeouts', timeouts: { udpSeconds: 4 } },
    { op: 'removeDestination', key, destinationKey: server(8) },
    { op: 'addDestination', key, destination: server(3) },
  ]);
  expect(result.failures.map(({ index, code }) => [index, code])).toEqual([[7, 'ESRCH']]);
  expect(
    sync
      .destinations(key)
      .map(({ address, weight }) => [address, weight])
      .sort(),
  ).toEqual([
    ['10.1.0.1', 9],
    ['10.1.0.2', 3],
    ['10.1.0.3', 1],
  ]);
});

test('an edit is repeated when another program changes the object in between', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.batch(b => b.addService(web).addDestination(key, server(1)));
  let meddled = 0;
  using others = kernel.open();
  kernel.before = command => {
    // After it was read and before it is written, another program sets the upper threshold.
    if (command !== C.IPVS_CMD_SET_DEST || meddled++ > 0) return;
    kernel.before = undefined;
    others.sync.setDestination(key, { ...server(1), upperThreshold: 50, lowerThreshold: 5 });
  };
  ipvs.sync.editDestination(key, server(1), { weight: 4 });
  expect(ipvs.sync.destinations(key)[0]).toMatchObject({ weight: 4 });
});

test('an edit that others undo again and again is rejected with ERR_DUMP_INTERRUPTED', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.batch(b => b.addService(web).addDestination(key, server(1)));
  kernel.before = command => {
    if (command !== C.IPVS_CMD_GET_DEST && command !== C.IPVS_CMD_GET_SERVICE) return;
    for (const each of kernel.services) each.scheduler = 'wlc';
    for (const each of kernel.destinations) each.weight = 1;
  };
  expect(() => ipvs.sync.editDestination(key, server(1), { weight: 4 })).toThrow('ERR_DUMP_INTERRUPTED');
  expect(() => ipvs.sync.editService(key, { scheduler: 'rr' })).toThrow('ERR_DUMP_INTERRUPTED');
  const result = ipvs.sync.batch(b => b.editService(key, { scheduler: 'rr' }), { onError: 'collect' });
  expect(result).toMatchObject({ outcome: 'none', failures: [{ index: 0, code: 'EAGAIN' }] });
});

test('one reading serves the edits of many services', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.batch(b => {
    for (let n = 0; n < 40; n++)
      b.addService(service(n)).addDestination(service(n), server(1)).addDestination(service(n), server(2));
  });
  const sent = kernel.sent.length;
  ipvs.sync.batch(b => {
    for (let n = 0; n < 40; n++) for (const last of [1, 2]) b.editDestination(service(n), server(last), { weight: 0 });
  });
  // Twice a dump of the services, whose servers the socket options tell, and once the edits.
  expect(kernel.sent.length - sent).toBe(2 + 1);
});

test('a signal stops a batch before it is sent, and not after', async () => {
  const { ipvs, kernel } = openIpvs();
  const aborted = AbortSignal.abort(new Error('no more'));
  await expect(ipvs.apply([{ op: 'addService', service: web }], { signal: aborted })).rejects.toThrow('no more');
  expect(kernel.services).toEqual([]);
  const controller = new AbortController();
  const operations: IpvsOperation[] = [];
  for (let n = 0; n < 2000; n++) operations.push({ op: 'addService', service: service(n) });
  operations.push({ op: 'editService', key: service(1), patch: { scheduler: 'rr' } });
  const running = ipvs.apply(operations, { signal: controller.signal });
  controller.abort();
  expect(await running).toMatchObject({ outcome: 'all' });
});

test('a signal stops a restore before anything is sent', async () => {
  const { ipvs, kernel } = openIpvs();
  const signal = AbortSignal.abort(new Error('no more'));
  await expect(ipvs.restore('-A -t 10.0.0.1:80 -s wlc', { signal })).rejects.toThrow('no more');
  expect(kernel.services).toEqual([]);
});

test('a restore reports the line of each failure, for both parsers', () => {
  const { ipvs, kernel } = openIpvs();
  const text = [
    '# saved',
    '-A -t 10.0.0.1:80 -s wlc',
    '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 1',
    '',
    '-a -t 10.0.0.2:80 -r 10.1.0.1:80 -m -w 1',
    '  --add-server --tcp-service 10.0.0.3:80 --real-server 10.1.0.1',
    '-A -t 10.0.0.1:80 -s wlc',
  ].join('\r\n');
  const { failures, applied, outcome } = ipvs.sync.restore(text, { onError: 'collect', rollback: false });
  expect(failures.map(({ line, index, code }) => [line, index, code])).toEqual([
    [5, 2, 'ESRCH'],
    [6, 3, 'ESRCH'],
    [7, 4, 'EEXIST'],
  ]);
  expect({ applied, outcome }).toEqual({ applied: [0, 1], outcome: 'partial' });
  expect(kernel.services).toHaveLength(1);
});

test('a refusal of every operation is a NetlinkError each, and not one of the call', () => {
  const { kernel, ipvs } = openIpvs('netlink', { userNamespace: true });
  kernel.optionsDenied = true;
  const error = errorOf(BatchError, () => ipvs.sync.batch(b => b.addService(web).addDestination(key, server(1))));
  expect(error.failures).toHaveLength(2);
  expect(error.failures[0]).toBeInstanceOf(NetlinkError);
  expect(error).toMatchObject({ outcome: 'none', failures: [{ code: 'EPERM' }, { code: 'EPERM' }] });
});

test('the fast path for the bytes of an IPv4 address equals the codec', () => {
  const part = fc.oneof(
    fc.integer({ min: 0, max: 300 }).map(String),
    fc.constantFrom('', '00', '01', '0', ' 1', '-1', '1e1'),
  );
  const text = fc.oneof(
    fc.ipV4(),
    fc.array(part, { minLength: 3, maxLength: 5 }).map(parts => parts.join('.')),
    fc.string({ maxLength: 16 }),
  );
  fc.assert(
    fc.property(text, each => {
      const bytes = parseIPv4(each);
      expect(ipv4Bytes(each)).toBe(bytes && toHex(bytes).padEnd(32, '0'));
    }),
    { numRuns: 2000 },
  );
});
