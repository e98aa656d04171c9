import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BatchError } from '../../src/errors.ts';
import type { ReconcileProgress, VirtualServer } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { be16, nest, u16, u32 } from '../support/ipvs-raw.ts';
import { IpvsWire } from '../support/ipvs-wire.ts';
import { type MemoryIpvs, openIpvs } from '../support/memory-ipvs.ts';
import { until } from '../support/wait.ts';

const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const web = (...servers: number[]): VirtualServer => ({
  ...key,
  scheduler: 'wlc',
  destinations: servers.map(last => server(last)),
});

/** The server as the kernel has it, to give it connections. */
function find(kernel: MemoryIpvs, last: number) {
  const [found] = kernel.servers(last);
  if (found === undefined) throw new Error(`no server ${last}`);
  return found;
}

test('reconcile turns any state into any other, and does nothing the second time', async () => {
  await fc.assert(
    fc.asyncProperty(virtualServers, virtualServers, fc.boolean(), async (before, desired, drain) => {
      const { ipvs } = openIpvs();
      ipvs.sync.reconcile(before);
      const options = { prune: true, ...(drain && { drain: { timeoutMs: 0 } }) };
      await ipvs.reconcile(desired, options);
      expect(ipvs.sync.plan(desired, { prune: true })).toEqual([]);
      expect(await ipvs.reconcile(desired, options)).toEqual({ operations: [], drained: [] });
    }),
    { numRuns: 250 },
  );
});

test('a removed server is drained: weight 0, watched until its connections end, removed', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2, 3)]);
  Object.assign(find(kernel, 2), { active: 3, inactive: 1 });
  const progress: ReconcileProgress[] = [];
  const running = ipvs.reconcile([web(1, 4)], {
    drain: { timeoutMs: 60_000, pollMs: 10 },
    onProgress: each => progress.push(each),
  });
  await until(() => progress.filter(({ phase }) => phase === 'draining').length > 2);
  // Without connections there is nothing to wait for.
  expect((await ipvs.destinations(key)).map(({ address, weight }) => [address, weight])).toEqual([
    ['10.1.0.4', 1],
    ['10.1.0.2', 0],
    ['10.1.0.1', 1],
  ]);
  // Meanwhile other operations of the same handle go on.
  await ipvs.editDestination(key, server(1), { weight: 9 });
  Object.assign(find(kernel, 2), { active: 0, inactive: 0 });
  const { drained, operations } = await running;
  expect(drained.map(({ destinationKey, connections }) => [destinationKey.address, connections]).sort()).toEqual([
    ['10.1.0.2', 0],
    ['10.1.0.3', 0],
  ]);
  expect(operations.map(({ op }) => op)).toEqual([
    'addDestination',
    'editDestination',
    'editDestination',
    'removeDestination',
    'removeDestination',
  ]);
  expect(progress[0]).toEqual({ phase: 'planned', operations: 3, draining: 0, connections: 0 });
  expect(progress).toContainEqual({ phase: 'draining', operations: 3, draining: 1, connections: 4 });
  expect(progress.at(-1)).toEqual({ phase: 'done', operations: 3, draining: 0, connections: 0 });
  expect(ipvs.sync.destinations(key)).toHaveLength(2);
});

test('a server is removed with its connections after the timeout', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  find(kernel, 2).active = 5;
  const started = performance.now();
  const { drained } = ipvs.sync.reconcile([web(1)], { drain: { timeoutMs: 60, pollMs: 20 } });
  expect(performance.now() - started).toBeGreaterThan(55);
  expect(drained).toEqual([{ key, destinationKey: { address: '10.1.0.2', port: 80 }, connections: 5 }]);
  expect(ipvs.sync.destinations(key)).toHaveLength(1);
});

test('a pruned service loses its servers first', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  find(kernel, 1).inactive = 2;
  const { drained, operations } = await ipvs.reconcile([], { prune: true, drain: { timeoutMs: 30, pollMs: 10 } });
  expect(drained.map(({ connections }) => connections).sort()).toEqual([0, 2]);
  expect(operations.at(-1)).toMatchObject({ op: 'removeService' });
  expect(kernel.services).toEqual([]);
});

test('a server that another program gives weight again is left alone', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  find(kernel, 2).active = 5;
  const { drained } = await ipvs.reconcile([web(1)], {
    drain: { timeoutMs: 60_000, pollMs: 10 },
    onProgress: ({ phase }) => {
      if (phase === 'draining') find(kernel, 2).weight = 7;
    },
  });
  expect(drained).toEqual([]);
  expect(ipvs.sync.destinations(key)).toHaveLength(2);
});

test('a server that another program has set in a way that is rejected here can be drained', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  // Direct routing to another port than the service's.
  const other = new IpvsWire(kernel.netns);
  const { errno } = other.ask(
    '05010000' +
      nest(1, { 1: u16(2), 2: u16(6), 3: '0a000001'.padEnd(32, '0'), 4: be16(80) }) +
      nest(2, { 1: '0a010002'.padEnd(32, '0'), 2: be16(81), 3: u32(3), 4: u32(1), 5: u32(0), 6: u32(0) }),
  );
  expect(errno).toBe(0);
  await other.close();
  const odd = { address: '10.1.0.2', port: 81 };
  ipvs.sync.editDestination(key, odd, { upperThreshold: 7 });
  kernel.log.length = 0;
  using others = kernel.open();
  let last: object | undefined;
  kernel.before = command => {
    if (command === C.IPVS_CMD_DEL_DEST) last = others.sync.destinations(key).find(({ port }) => port === 81);
  };
  const { drained } = await ipvs.reconcile([web(1, 2)], { drain: { timeoutMs: 0 } });
  expect(drained).toEqual([{ key, destinationKey: odd, connections: 0 }]);
  expect(kernel.log.map(change => [change.command, change.errno])).toEqual([
    [C.IPVS_CMD_SET_DEST, 0],
    [C.IPVS_CMD_DEL_DEST, 0],
  ]);
  expect(last).toMatchObject({ port: 81, forward: 'direct', weight: 0, upperThreshold: 7 });
  expect(ipvs.sync.destinations(key)).toHaveLength(2);
});

test('an abort leaves draining servers at weight 0', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  find(kernel, 2).active = 5;
  const controller = new AbortController();
  const running = ipvs.reconcile([web(1)], {
    drain: { timeoutMs: 60_000, pollMs: 60_000 },
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phase === 'draining') setImmediate(() => controller.abort(new Error('stop')));
    },
  });
  await expect(running).rejects.toThrow('stop');
  expect(find(kernel, 2).weight).toBe(0);
  await expect(ipvs.reconcile([], { signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never');
});

test('a closed handle ends the draining: rejects it with ERR_CLOSED', async () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  find(kernel, 2).active = 5;
  const running = ipvs.reconcile([web(1)], {
    drain: { timeoutMs: 60_000, pollMs: 20 },
    onProgress: ({ phase }) => {
      if (phase === 'draining') ipvs.close();
    },
  });
  await expect(running).rejects.toThrow('ERR_CLOSED');
});

test('reconcile plans again when others come in between, and stops at a refusal', async () => {
  const { ipvs, kernel } = openIpvs();
  let meddled = 0;
  using others = kernel.open();
  kernel.before = command => {
    if (command !== C.IPVS_CMD_NEW_SERVICE || meddled++ > 0) return;
    kernel.before = undefined;
    others.sync.addService({ ...key, scheduler: 'rr' });
  };
  const { operations } = await ipvs.reconcile([web(1, 2)]);
  expect(operations.map(({ op }) => op)).toContain('setService');
  expect(ipvs.sync.service(key).scheduler).toBe('wlc');
  const multicast = { ...web(1), destinations: [{ ...server(1), address: '224.0.0.1' }] };
  const error = await ipvs.reconcile([multicast]).catch(each => each);
  expect(error).toBeInstanceOf(BatchError);
  expect(error).toMatchObject({ failures: [{ code: 'EINVAL', attribute: 'address' }], outcome: 'partial' });
});

test('a snapshot that others disturb is repeated, and is marked as unstable when they never stop', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1, 2)]);
  let changes = 2;
  kernel.before = command => {
    if (command !== C.IPVS_CMD_GET_SERVICE || changes-- <= 0) return;
    find(kernel, 1).weight = 100 + changes;
  };
  expect(ipvs.sync.snapshot()).toMatchObject({ stable: true, servers: [{ destinations: [{}, { weight: 100 }] }] });
  changes = Number.POSITIVE_INFINITY;
  let weight = 0;
  kernel.before = () => {
    find(kernel, 1).weight = ++weight;
  };
  expect(ipvs.sync.snapshot().stable).toBe(false);
});

test('the servers of IPv4 are read over socket options, the rest by dumps', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([web(1), { ...web(2), port: 81, destinations: [{ ...server(2), port: 81 }] }]);
  let sent = kernel.sent.length;
  expect(ipvs.sync.snapshot().stable).toBe(true);
  expect(kernel.sent.length - sent).toBe(2);
  ipvs.sync.addService({ protocol: 'tcp', address: '2001:db8::1', port: 80, scheduler: 'rr' });
  sent = kernel.sent.length;
  expect(ipvs.sync.snapshot().stable).toBe(true);
  expect(kernel.sent.length - sent).toBe(4);
  kernel.optionsDenied = true;
  ipvs.sync.removeService({ protocol: 'tcp', address: '2001:db8::1', port: 80 });
  sent = kernel.sent.length;
  expect(ipvs.sync.snapshot().stable).toBe(true);
  expect(kernel.sent.length - sent).toBe(6);
});

test('wrong options are rejected', async () => {
  const { sync } = openIpvs().ipvs;
  expect(() => sync.reconcile([], { drain: { timeoutMs: -1 } })).toThrow('options.drain.timeoutMs');
  expect(() => sync.reconcile([], { drain: { timeoutMs: 1, pollMs: 1 } })).toThrow('options.drain.pollMs');
  expect(() => sync.reconcile([], { onProgress: 1 as never })).toThrow('options.onProgress');
  expect(() => sync.reconcile([], { purge: true } as never)).toThrow('options.purge');
  expect(() => sync.snapshot({ deep: true } as never)).toThrow('options.deep');
  await expect(openIpvs().ipvs.reconcile(7 as never)).rejects.toThrow('desired');
});
