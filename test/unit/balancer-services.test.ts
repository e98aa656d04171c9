import { expect, test } from 'vitest';
import { type BalancedService, type BalancerEvent, LoadBalancer } from '../../src/balancer/index.ts';
import { tcp, udp } from '../../src/testing/index.ts';
import { deployment, weightsOf } from '../support/balanced-deployment.ts';
import { until } from '../support/wait.ts';

/** The service without what only a service of one port has. */
function markedOf({ port: _, ...service }: BalancedService): BalancedService {
  return { ...service, servers: service.servers.map(({ toPort: _to, log: _log, ...server }) => server) };
}

test('a service of a firewall mark takes several addresses, at the balancer and at the servers', async () => {
  const { lvs, webs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const marked = [
    { ...markedOf(services[0]!), firewallMark: [80, 443], moreAddresses: ['10.10.0.101', '10.10.0.102'] },
  ];
  await lb.apply(marked);
  expect(await lb.plan(marked)).toEqual([]);
  const servers = ['10.10.0.100:80', '10.10.0.101:443', '10.10.0.102:80', '10.10.0.100:443'].map(
    (to, i) => lvs.receive(tcp({ from: `10.10.0.9:${40_000 + i}`, to }), { on: 'eth0' }).forwardedTo?.address,
  );
  // One service: its servers take turns over all addresses and ports.
  expect(servers[0]).toBe(servers[2]);
  expect(servers[1]).toBe(servers[3]);
  expect(new Set(servers).size).toBe(2);
  const web = webs[0]!;
  for (const to of ['10.10.0.101:443', '10.10.0.102:80'])
    expect(web.receive(tcp({ from: '10.10.0.9:50000', to }), { on: 'eth0' }).verdict).toBe('accept');
  expect((await web.redirects.list()).map(({ address, port }) => `${address}:${port}`).sort()).toEqual([
    '10.10.0.100:443',
    '10.10.0.100:80',
    '10.10.0.101:443',
    '10.10.0.101:80',
    '10.10.0.102:443',
    '10.10.0.102:80',
  ]);
});

test('more addresses are rejected with ERR_DUPLICATE if they are there twice, and ERR_OUT_OF_RANGE without a mark', async () => {
  const { lvs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const plan = (change: object) => lb.plan([{ ...markedOf(services[0]!), firewallMark: [80], ...change }]);
  await expect(plan({ moreAddresses: ['10.10.0.101', '10.10.0.101'] })).rejects.toMatchObject({
    code: 'ERR_DUPLICATE',
    attribute: '[0].moreAddresses[1]',
  });
  await expect(plan({ moreAddresses: ['fd00::1'] })).rejects.toMatchObject({ attribute: '[0].moreAddresses[0]' });
  await expect(plan({ firewallMark: undefined, port: 80, moreAddresses: ['10.10.0.101'] })).rejects.toMatchObject({
    code: 'ERR_OUT_OF_RANGE',
    attribute: '[0].moreAddresses',
  });
});

test('a server that is no longer declared keeps its connections until they end, and then it is removed', async () => {
  const { lvs, services } = deployment();
  const draining = services.map(service => ({ ...service, drain: { tcp: { timeoutMs: 60_000, pollMs: 10 } } }));
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const events: BalancerEvent[] = [];
  void (async () => {
    for await (const event of lb.events()) events.push(event);
  })();
  await lb.apply(draining);
  expect(lvs.netns.sysctl.get('net.ipv4.vs.expire_nodest_conn')).toBe('1');
  const syn = tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80' });
  expect(lvs.receive(syn, { on: 'eth0' }).forwardedTo?.address).toBe('192.168.0.51');
  const rest = draining.map(service => ({ ...service, servers: service.servers.slice(0, 1) }));
  await lb.apply(rest);
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 0 });
  expect(
    lvs.receive(tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80', flags: ['ack'] }), { on: 'eth0' }).forwardedTo
      ?.address,
  ).toBe('192.168.0.51');
  expect((await lb.status()).balancers[0]!.services[0]!.servers.map(({ condition }) => condition)).toEqual([
    'healthy',
    'leaving',
  ]);
  // The client resets its connection.
  lvs.receive(tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80', flags: ['rst'] }), { on: 'eth0' });
  await until(async () => (await weightsOf(lvs))[51] === undefined);
  expect(events.filter(({ type }) => type === 'drained')).toMatchObject([{ server: '192.168.0.51:80' }]);
  await lb.close({ remove: true });
  expect(lvs.netns.sysctl.get('net.ipv4.vs.expire_nodest_conn')).toBe('0');
});

test('a UDP server that is drained is taken out at the end, so that clients of one port go elsewhere, and back by a weight', async () => {
  const { lvs, services } = deployment();
  const dns = services.map(service => ({ ...service, protocol: 'udp' as const }));
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(dns.map(service => ({ ...service, drain: { udp: { timeoutMs: 20, pollMs: 10 } } })));
  const ask = () =>
    lvs.receive(udp({ from: '10.10.0.9:40000', to: '10.10.0.100:80' }), { on: 'eth0' }).forwardedTo?.address;
  expect([ask(), ask()]).toEqual(['192.168.0.51', '192.168.0.51']);
  await lb.drain('web', 'web2');
  expect(await weightsOf(lvs)).toEqual({ 50: 1 });
  ask();
  expect(ask()).toBe('192.168.0.50');
  await lb.setWeight('web', 'web2', 1);
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 1 });
});

test('the quorum is lost and gained with its hysteresis, by the sum of the weights of healthy servers', async () => {
  const { lvs, services } = deployment();
  const bad = new Set<string>();
  const health = {
    exec: ({ name }: { name: string }) => !bad.has(name),
    intervalMs: 50,
    timeoutMs: 40,
    rise: 1,
    fall: 1,
  };
  const [web1, web2] = services[0]!.servers;
  const quorate = services.map(service => ({
    ...service,
    health,
    servers: [
      { ...web1!, weight: 3 },
      { ...web2!, weight: 2 },
    ],
    fallback: { name: 'sorry', address: '192.168.0.99' },
    quorum: 3,
    hysteresis: 1,
  }));
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const quorums: string[] = [];
  void (async () => {
    for await (const event of lb.events()) if (event.type.startsWith('quorum')) quorums.push(event.type);
  })();
  await lb.apply(quorate);
  const settles = (weights: object) =>
    until(async () => JSON.stringify(await weightsOf(lvs)) === JSON.stringify(weights));
  bad.add('web1');
  // 2 is not below 3 - 1.
  await settles({ 50: 0, 51: 2 });
  bad.add('web2');
  await settles({ 50: 0, 51: 0, 99: 1 });
  bad.delete('web1');
  // 3 is below 3 + 1.
  await until(async () => (await lb.status()).balancers[0]!.services[0]!.servers[0]!.condition === 'healthy');
  expect(await weightsOf(lvs)).toEqual({ 50: 0, 51: 0, 99: 1 });
  bad.delete('web2');
  await settles({ 50: 3, 51: 2 });
  expect(quorums).toEqual(['quorum-lost', 'quorum-gained']);
});

test('the weight of a server that comes back rises in steps, and that of one that was there does not', async () => {
  const { lvs, services } = deployment();
  let bad = '';
  const health = {
    exec: ({ name }: { name: string }) => name !== bad,
    intervalMs: 50,
    timeoutMs: 40,
    rise: 1,
    fall: 1,
    slowStartMs: 400,
  };
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(services.map(service => ({ ...service, scheduler: 'wlc', health })));
  expect(await weightsOf(lvs)).toEqual({ 50: 100, 51: 100 });
  bad = 'web1';
  await until(async () => (await weightsOf(lvs))[50] === 0);
  bad = '';
  const seen = new Set<number>();
  await until(async () => {
    const weights = await weightsOf(lvs);
    expect(weights[51]).toBe(100);
    seen.add(weights[50]!);
    return weights[50] === 100;
  });
  expect([...seen].filter(weight => weight > 0 && weight < 100).length).toBeGreaterThan(0);
  expect([...seen]).toEqual([...seen].sort((a, b) => a - b));
});

test('weights by a function move in bounded steps, never to 0, and only where the server has a weight', async () => {
  const { lvs, services } = deployment();
  const wanted = new Map([
    ['192.168.0.50', 0],
    ['192.168.0.51', 1000],
  ]);
  const seen: number[][] = [];
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  void (async () => {
    for await (const event of lb.events())
      if (event.type === 'weight') seen.push([event.server === 'web1' ? 1 : 2, event.weight]);
  })();
  await lb.apply(
    services.map(service => ({
      ...service,
      servers: service.servers.map(server => ({ ...server, weight: 10 })),
      weights: {
        intervalMs: 100,
        maximumStep: 0.3,
        weightOf: ({ address }: { address: string }) => wanted.get(address)!,
      },
    })),
  );
  await until(() => seen.filter(([server]) => server === 1).length >= 3);
  expect(
    seen
      .filter(([server]) => server === 1)
      .map(([, weight]) => weight)
      .slice(0, 3),
  ).toEqual([7, 4, 1]);
  expect(
    seen
      .filter(([server]) => server === 2)
      .map(([, weight]) => weight)
      .slice(0, 3),
  ).toEqual([13, 16, 19]);
  await until(async () => (await weightsOf(lvs))[50] === 1);
});

test('never more checks run at once than `maximumChecks`, and a check that still runs is not begun again', async () => {
  const { lvs, services } = deployment();
  let running = 0;
  let most = 0;
  let finished = 0;
  const exec = async () => {
    most = Math.max(most, ++running);
    await new Promise(setImmediate);
    running--;
    finished++;
    return true;
  };
  const many = services.map(service => ({
    ...service,
    health: { exec, intervalMs: 50, timeoutMs: 10_000 },
    servers: Array.from({ length: 40 }, (_, i) => ({ address: `192.168.0.${100 + i}` })),
  }));
  await using lb = LoadBalancer.open({ balancers: [lvs], maximumChecks: 3 });
  await lb.apply(many);
  await until(() => finished > 200);
  expect(most).toBe(3);
});

test('the metrics are OpenMetrics text with health, weights, checks and reconciliations', async () => {
  const { lvs, services } = deployment();
  const exec = ({ name }: { name: string }) => name === 'web1';
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(
    services.map(service => ({ ...service, health: { exec, intervalMs: 50, timeoutMs: 40, rise: 1, fall: 1 } })),
  );
  await until(async () => (await weightsOf(lvs))[51] === 0);
  const text = await lb.metrics();
  expect(text).toMatch(/^netsteer_server_up\{balancer="\w+",service="web",server="web1"\} 1$/m);
  expect(text).toMatch(/^netsteer_server_up\{balancer="\w+",service="web",server="web2"\} 0$/m);
  expect(text).toMatch(/^netsteer_server_weight\{.*server="web2"\} 0$/m);
  expect(text).toMatch(/^netsteer_checks_total\{.*server="web2",result="bad"\} [1-9]/m);
  expect(text).toMatch(/^netsteer_reconciliations_total\{.*result="good"\} [2-9]/m);
  // Each family is one block, counters are named without `_total` in it, and nothing follows the end.
  const types = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  expect(new Set(types).size).toBe(types.length);
  expect(types.filter(type => type.includes('_total'))).toEqual([]);
  expect(text.endsWith('\n# EOF\n')).toBe(true);
});
