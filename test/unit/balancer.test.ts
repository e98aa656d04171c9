import { expect, test } from 'vitest';
import { BalancerError, formatBalancerPlan, LoadBalancer } from '../../src/balancer/index.ts';
import { tcp } from '../../src/testing/index.ts';
import { deployment, weightsOf } from '../support/balanced-deployment.ts';
import { until } from '../support/wait.ts';

test('one declaration programs the whole deployment, a second apply changes nothing, and removal leaves nothing', async () => {
  const { lvs, webs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const planned = await lb.plan(services);
  expect(
    formatBalancerPlan(await lb.apply(services))
      .split('\n')
      .sort(),
  ).toEqual(
    formatBalancerPlan(planned.filter(({ kind }) => kind !== 'rules'))
      .split('\n')
      .sort(),
  );
  expect(await lb.plan(services)).toEqual([]);
  expect(await lb.apply(services)).toEqual([]);
  const syn = tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80' });
  expect(lvs.receive(syn, { on: 'eth0' }).forwardedTo).toMatchObject({ address: '192.168.0.51', method: 'direct' });
  expect(webs[1]!.receive(syn, { on: 'eth0' })).toMatchObject({
    verdict: 'accept',
    logs: [{ group: 2, prefix: 'web2 ' }],
  });
  await lb.close({ remove: true });
  expect(await lvs.ipvs.services()).toEqual([]);
  expect(lvs.netns.sysctl.get('net.ipv4.ip_forward')).toBe('0');
  for (const { redirects, logging } of webs) expect([await redirects.list(), await logging.list()]).toEqual([[], []]);
  for (const { nftables } of [lvs, ...webs])
    expect(
      (await nftables.tables()).map(({ name }) => name).filter(name => name.startsWith('netsteer-balancer')),
    ).toEqual([]);
});

test('another process takes over what is there, changes no weight, and removes what is no longer declared', async () => {
  const { lvs, webs, services } = deployment();
  const first = LoadBalancer.open({ balancers: [lvs] });
  await first.apply(services);
  await first.setWeight('web', 'web1', 0);
  await first.close();
  const health = { exec: () => new Promise<boolean>(() => {}), intervalMs: 60_000 };
  await using second = LoadBalancer.open({ balancers: [lvs] });
  expect(await second.apply(services.map(service => ({ ...service, health })))).toEqual([]);
  expect(await weightsOf(lvs)).toEqual({ 50: 0, 51: 1 });
  await second.apply(services.map(service => ({ ...service, servers: service.servers.slice(1) })));
  expect(await weightsOf(lvs)).toEqual({ 51: 1 });
  expect(await webs[0]!.redirects.list()).toEqual([]);
  expect(await webs[0]!.logging.list()).toEqual([]);
});

test("what is somebody else's is refused with ERR_FOREIGN before anything is changed, and stays after a removal", async () => {
  const { lvs, webs, services } = deployment();
  const other = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
  await lvs.ipvs.addService({ ...other, port: 81, scheduler: 'rr' });
  await lvs.ipvs.addService({ ...other, scheduler: 'rr' });
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await expect(lb.apply(services)).rejects.toThrow('ERR_FOREIGN');
  expect(await webs[0]!.redirects.list()).toEqual([]);
  await lb.apply(services, { adopt: true });
  await lb.close({ remove: true });
  expect((await lvs.ipvs.services()).map(service => 'port' in service && service.port)).toEqual([81]);
});

test('a failing server gets weight 0 after `fall` checks, and comes back after `rise`', async () => {
  const { lvs, services } = deployment();
  let bad = '';
  const health = {
    exec: ({ name }: { name: string }) => name !== bad,
    intervalMs: 50,
    timeoutMs: 40,
    rise: 2,
    fall: 2,
  };
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const events: string[] = [];
  void (async () => {
    for await (const event of lb.events())
      events.push('server' in event ? `${event.type} ${event.server}` : event.type);
  })();
  await lb.apply(services.map(service => ({ ...service, health })));
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 1 });
  bad = 'web1';
  await until(async () => (await weightsOf(lvs))[50] === 0);
  bad = '';
  await until(async () => (await weightsOf(lvs))[50] === 1);
  // The kernel in memory has no packet sockets: the address cannot be announced.
  expect(events.filter(type => type !== 'error')).toEqual(['applied', 'down web1', 'up web1']);
});

test('the fallback serves while the quorum is lost, and without one the servers that fail all at once are kept', async () => {
  const { lvs, services } = deployment();
  let good = true;
  const health = { exec: () => good, intervalMs: 50, timeoutMs: 40, rise: 1, fall: 1 };
  const fallback = { name: 'sorry', address: '192.168.0.99' };
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(services.map(service => ({ ...service, health, fallback })));
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 1 });
  good = false;
  await until(async () => (await weightsOf(lvs))[99] === 1);
  expect(await weightsOf(lvs)).toEqual({ 50: 0, 51: 0, 99: 1 });
  good = true;
  // One of the two is enough for the fallback to go; the next step needs both.
  await until(async () => {
    const weights = await weightsOf(lvs);
    return weights[50] === 1 && weights[51] === 1 && weights[99] === undefined;
  });
  // Both fail in the same moment: each waits until the other is checked, too.
  const asked = new Set<string>();
  let fail = (_verdict: boolean) => {};
  const verdict = new Promise<boolean>(resolve => {
    fail = resolve;
  });
  const exec = ({ name }: { name: string }) => {
    if (asked.add(name).size === 2) fail(false);
    return verdict;
  };
  await lb.apply(services.map(service => ({ ...service, health: { ...health, exec, timeoutMs: 60_000 } })));
  await until(async () => (await lb.status()).balancers[0]!.services[0]!.panic);
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 1 });
});

test('a change that fails is named with ERR_PARTIAL, and with `rollback` the others are taken back', async () => {
  const { lvs, webs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const wrong = services.map(service => ({ ...service, device: 'eth9' }));
  const error = await lb.apply(wrong, { rollback: true }).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(BalancerError);
  expect((error as BalancerError).failures.map(({ change }) => change)).toMatchObject([
    { kind: 'address', device: 'eth9' },
  ]);
  expect(await lvs.ipvs.services()).toEqual([]);
  for (const { redirects, logging } of webs) expect([await redirects.list(), await logging.list()]).toEqual([[], []]);
  await expect(lb.apply(wrong)).rejects.toThrow('ERR_PARTIAL');
  expect((await lvs.ipvs.services()).length).toBe(1);
  await lb.apply(services);
  expect(await lb.plan(services)).toEqual([]);
});

test('a drained server keeps its connections and gets no new ones, also from the next process', async () => {
  const { lvs, services } = deployment();
  const lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(services);
  lvs.receive(tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
  expect(await lb.drain('web', 'web2', { timeoutMs: 30, pollMs: 10 })).toBe(1);
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 0 });
  await lb.close();
  await using next = LoadBalancer.open({ balancers: [lvs] });
  expect(await next.apply(services)).toEqual([]);
  expect((await next.status()).balancers[0]!.services[0]!.servers.map(({ condition }) => condition)).toEqual([
    'healthy',
    'drained',
  ]);
  await next.setWeight('web', 'web2', 3);
  expect(await weightsOf(lvs)).toEqual({ 50: 1, 51: 3 });
});

test('a service of a firewall mark balances many ports as one, by one map', async () => {
  const { lvs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const { port: _, ...web } = services[0]!;
  const marked = [
    {
      ...web,
      firewallMark: [80, 443, { from: 8000, to: 8010 }],
      persistence: { timeoutSeconds: 60 },
      servers: web.servers.map(({ toPort: _to, log: _log, ...server }) => server),
    },
  ];
  await lb.apply(marked);
  expect(await lb.plan(marked)).toEqual([]);
  const to = [80, 443, 8005].map(
    port => lvs.receive(tcp({ from: '10.10.0.9:40000', to: `10.10.0.100:${port}` }), { on: 'eth0' }).forwardedTo,
  );
  expect(to.map(server => server?.address)).toEqual(Array(3).fill(to[0]!.address));
  expect(to.map(server => server?.port)).toEqual([80, 443, 8005]);
  expect(
    lvs.receive(tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:81' }), { on: 'eth0' }).forwardedTo,
  ).toBeUndefined();
});

test('bad declarations are refused with the place', async () => {
  const { lvs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const refused = async (change: object) => {
    const error = await lb.plan([{ ...services[0]!, ...change }]).then(
      () => undefined,
      (cause: { attribute: string; code: string }) => cause,
    );
    return `${error?.attribute} ${error?.code}`;
  };
  await expect(
    Promise.all([
      refused({ name: 'a b' }),
      refused({ port: 0 }),
      refused({ firewallMark: [80] }),
      refused({ servers: [{ address: '192.168.0.50', port: 81 }] }),
      refused({ servers: [{ address: '192.168.0.50', toPort: 81 }] }),
      refused({ servers: [{ address: '192.168.0.50' }, { address: '192.168.0.50' }] }),
      refused({ servers: [{ address: '10.0.0.1', container: lvs }] }),
      refused({ health: { tcp: true, http: true } }),
      refused({ scheduler: 'mh', health: { tcp: true, slowStartMs: 1000 } }),
      refused({ label: 'eth0:x', device: undefined }),
    ]),
  ).resolves.toEqual([
    '[0].name ERR_OUT_OF_RANGE',
    '[0].port ERR_OUT_OF_RANGE',
    '[0] ERR_INVALID_ARG_TYPE',
    '[0].servers[0].port ERR_OUT_OF_RANGE',
    '[0].servers[0].toPort ERR_INVALID_ARG_TYPE',
    '[0].servers[1].name ERR_DUPLICATE',
    '[0].servers[0].container ERR_CONFLICT',
    '[0].health ERR_INVALID_ARG_TYPE',
    '[0].health.slowStartMs ERR_OUT_OF_RANGE',
    '[0].device ERR_INVALID_ARG_TYPE',
  ]);
});
