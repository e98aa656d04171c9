import { describe, expect, test } from 'vitest';
import type { Drain, ReconcileProgress, ServiceKey, VirtualServer } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { type MemoryIpvs, openIpvs } from '../support/memory-ipvs.ts';
import { until } from '../support/wait.ts';

const LONG = 600_000;
const server = (last: number, port = 80) => ({ address: `10.1.0.${last}`, port, forward: 'direct' }) as const;
const tcp = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const udp = { protocol: 'udp', address: '10.0.0.1', port: 80 } as const;
const sctp = { protocol: 'sctp', address: '10.0.0.1', port: 80 } as const;
const mark = { firewallMark: 7, family: 'ipv4' } as const;
const gre = { protocol: 47, address: '10.0.0.1', port: 80 } as const;

function open(...keys: ServiceKey[]) {
  const { kernel, ipvs } = openIpvs();
  const with2 = (...last: number[]) =>
    keys.map(key => ({ ...key, scheduler: 'wlc', destinations: last.map(each => server(each)) }) as VirtualServer);
  ipvs.sync.reconcile(with2(1, 2));
  return { kernel, ipvs, after: with2(1), none: with2() };
}

/** Gives the servers that go connections. */
function connect(kernel: MemoryIpvs, active: number, inactive: number, only?: number): void {
  for (const each of kernel.servers(2))
    if (only === undefined || each.service.protocol === only) Object.assign(each, { active, inactive });
}

const removalsOf = (kernel: MemoryIpvs) =>
  kernel.log.filter(({ command }) => command === C.IPVS_CMD_DEL_DEST || command === C.IPVS_CMD_DEL_SERVICE);

describe('a drain policy', () => {
  test("with until 'active', the default, does not wait for connections that the kernel counts as inactive", async () => {
    for (const drain of [{ timeoutMs: LONG }, { until: 'active', timeoutMs: LONG, pollMs: LONG }] as const) {
      const { ipvs, kernel, after } = open(tcp);
      connect(kernel, 0, 9);
      const { drained } = await ipvs.reconcile(after, { drain });
      expect(drained).toEqual([{ key: tcp, destinationKey: { address: '10.1.0.2', port: 80 }, connections: 9 }]);
    }
  });

  test("with until 'active' waits for established connections", async () => {
    const { ipvs, kernel, after } = open(tcp);
    connect(kernel, 1, 9);
    const seen: ReconcileProgress[] = [];
    const running = ipvs.reconcile(after, { drain: { timeoutMs: LONG, pollMs: 10 }, onProgress: p => seen.push(p) });
    await until(() => seen.filter(({ phase }) => phase === 'draining').length > 2);
    expect(removalsOf(kernel)).toEqual([]);
    expect(seen.at(-1)).toMatchObject({ draining: 1, connections: 10 });
    connect(kernel, 0, 10);
    expect((await running).drained).toMatchObject([{ connections: 10 }]);
  });

  test("with until 'all' waits for inactive connections too, up to its timeout", async () => {
    const { ipvs, kernel, after } = open(udp);
    connect(kernel, 0, 1);
    const started = performance.now();
    const { drained } = await ipvs.reconcile(after, { drain: { until: 'all', timeoutMs: 80, pollMs: 10 } });
    expect(performance.now() - started).toBeGreaterThan(75);
    expect(drained).toMatchObject([{ connections: 1 }]);
  });

  test("with until 'none' removes at once, together with the other changes", async () => {
    const { ipvs, kernel, after } = open(tcp, udp);
    connect(kernel, 5, 5);
    kernel.log.length = 0;
    const result = await ipvs.reconcile(after, { drain: { until: 'none' } });
    expect(result.drained).toEqual([]);
    expect(kernel.log.map(({ command }) => command)).toEqual([C.IPVS_CMD_DEL_DEST, C.IPVS_CMD_DEL_DEST]);
    expect(result.operations.map(({ op }) => op)).toEqual(['removeDestination', 'removeDestination']);
  });
});

describe('several drain policies', () => {
  const waitedFor = async (drain: Drain, ...keys: ServiceKey[]) => {
    const { ipvs, kernel, after } = open(...keys);
    connect(kernel, 3, 3);
    const { drained, operations } = await ipvs.reconcile(after, { drain });
    expect(operations.filter(({ op }) => op === 'removeDestination')).toHaveLength(keys.length);
    expect(ipvs.sync.plan(after)).toEqual([]);
    return drained.map(({ key }) => ('protocol' in key ? key.protocol : 'mark'));
  };
  const soon = { timeoutMs: 0 };

  test('apply by protocol, with the default for the rest', async () => {
    const all = [tcp, udp, sctp, mark, gre];
    expect(await waitedFor({ tcp: soon }, ...all)).toEqual(['tcp']);
    expect(await waitedFor({ udp: soon, sctp: soon }, ...all)).toEqual(['udp', 'sctp']);
    expect(await waitedFor({ firewallMark: soon }, ...all)).toEqual(['mark']);
    expect(await waitedFor({ default: soon }, ...all)).toEqual(['tcp', 'udp', 'sctp', 'mark', 47]);
    expect(await waitedFor({ udp: { until: 'none' }, default: soon }, ...all)).toEqual(['tcp', 'sctp', 'mark', 47]);
    expect(await waitedFor({ tcp: soon }, { ...tcp, protocol: 6 })).toEqual(['tcp']);
  });

  test('apply by a function, which is called once for each service', async () => {
    const asked: ServiceKey[] = [];
    const policy = (key: ServiceKey) => {
      asked.push(key);
      return 'protocol' in key && key.protocol === 'udp' ? undefined : soon;
    };
    expect(await waitedFor(policy, tcp, udp, mark)).toEqual(['tcp', 'mark']);
    expect(asked).toEqual([tcp, udp, mark]);
  });

  test('have timeouts of their own: a finished service is removed while others wait', async () => {
    const { ipvs, kernel } = open(tcp, udp, sctp);
    connect(kernel, 3, 3);
    const seen: ReconcileProgress[] = [];
    const running = ipvs.reconcile([], {
      prune: true,
      drain: { tcp: { timeoutMs: LONG, pollMs: 20 }, udp: { timeoutMs: 30, pollMs: 10 }, default: { until: 'none' } },
      onProgress: each => seen.push(each),
    });
    await expect.poll(() => kernel.services.length).toBe(1);
    expect(ipvs.sync.services()).toMatchObject([tcp]);
    connect(kernel, 0, 6);
    const { drained, operations } = await running;
    expect(kernel.services.length).toBe(0);
    // Servers without connections go at once, the others at their time.
    const order = drained.map(({ key, connections }) => [(key as typeof tcp).protocol, connections]);
    expect(order.slice(0, 2).sort()).toEqual([
      ['tcp', 0],
      ['udp', 0],
    ]);
    expect(order.slice(2)).toEqual([
      ['udp', 6],
      ['tcp', 6],
    ]);
    expect(operations.filter(({ op }) => op === 'removeService')).toHaveLength(3);
    expect(operations[0]).toMatchObject({ op: 'editDestination', patch: { weight: 0 } });
  });

  test('apply to the draining of another thread', () => {
    const { ipvs, kernel, after } = open(tcp, udp);
    connect(kernel, 1, 1);
    const drain = { tcp: { timeoutMs: 40, pollMs: 10 }, udp: { until: 'all', timeoutMs: 20, pollMs: 10 } } as const;
    const { drained } = ipvs.sync.reconcile(after, { drain });
    expect(drained.map(({ key }) => (key as typeof tcp).protocol)).toEqual(['udp', 'tcp']);
  });

  test.each<[unknown, string]>([
    [{ until: 'never', timeoutMs: 1 }, 'options.drain.until'],
    [{ until: 'active' }, 'options.drain.timeoutMs'],
    [{}, 'options.drain.timeoutMs'],
    [{ until: 'none', timeoutMs: -1 }, 'options.drain.timeoutMs'],
    [{ timeoutMs: 1, pollMs: 9 }, 'options.drain.pollMs'],
    [{ tcp: { timeoutMs: 2 ** 31 } }, 'options.drain.tcp.timeoutMs'],
    [{ tcp: { timeoutMs: 1 }, timeoutMs: 1 }, 'options.drain.timeoutMs'],
    [{ icmp: { timeoutMs: 1 } }, 'options.drain.icmp'],
    [{ timeoutMs: 1, connections: 'drop' }, 'options.drain.connections'],
    [5, 'options.drain'],
    [() => ({ until: 'soon' }), 'options.drain.policy.until'],
  ])('reject %j at its path', async (drain, attribute) => {
    const { ipvs, kernel, after } = open(tcp);
    kernel.log.length = 0;
    const error = await ipvs.reconcile(after, { drain: drain as Drain }).catch(each => each);
    expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_/), attribute });
    expect(kernel.log).toEqual([]);
  });
});
