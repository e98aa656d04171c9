import { Container, Links, type Redirect } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Agent } from '../support/ipvs-agent.ts';
import { TrafficLab } from '../support/traffic-lab.ts';
import { kernelSuite } from '../support/where.ts';

/** What reaches the router, and nobody else: addresses that nobody has. */
const V4 = { one: '192.0.2.1', near: '192.0.2.2', far: '198.51.100.1' };
const V6 = { one: '2001:db8::1', near: '2001:db8::2', far: '2001:db8:ffff::1' };

kernelSuite('connections to redirects', () => {
  let lab: TrafficLab;
  let container: Container;
  /** Processes of the container itself. */
  let inside: Agent;

  beforeAll(() => {
    lab = new TrafficLab();
    container = lab.keep(Container.open({ netns: lab.router }));
    inside = new Agent(lab.router);
    for (const port of [8080, 8081, 8082, 8083, 9005]) lab.serve(lab.router, `at ${port}`, port);
  });
  afterAll(async () => {
    inside.stop();
    await lab.close();
  });

  /** The server that answers there: what it is called says its port. */
  const answers = async (address: string, port: number) =>
    /^at (\d+)/.exec(await lab.visit(address, port).catch(String))?.[1];
  const own = async (host: string, port: number) => inside.visit({ host, port });

  const REDIRECTS: Redirect[] = [
    { protocol: 'tcp', address: V4.one, port: 80, toPort: 8080 },
    { protocol: 'tcp', address: V6.one, port: 80, toPort: 8080 },
    { protocol: 'tcp', address: '192.0.2.0/24', port: 80, toPort: 8081 },
    { protocol: 'tcp', address: '2001:db8::/48', port: 80, toPort: 8081 },
    { protocol: 'tcp', port: { from: 7000, to: 7010 }, toPort: 8082 },
    { protocol: 'tcp', port: { from: 9000, to: 9010 } },
    { protocol: 'tcp', address: V4.far, port: { from: 80, to: 81 }, toPort: 8083 },
  ];

  it.each([
    ['IPv4', V4],
    ['IPv6', V6],
  ])('match one address, a prefix, several ports and any address, the exact one first: %s', async (_, at) => {
    await container.redirects.set(REDIRECTS);
    expect(await answers(at.one, 80)).toBe('8080');
    expect(await answers(at.near, 80)).toBe('8081');
    expect(await answers(at.far, 7000)).toBe('8082');
    expect(await answers(at.one, 7010)).toBe('8082');
    expect(await answers(at.near, 9005)).toBe('9005');
    if (at === V4) expect(await answers(at.far, 81)).toBe('8083');
    // What lies beside a range goes its way.
    expect(await answers(at.far, 7011)).toBe(undefined);
  });

  it('match any address by one element for both IP versions', async () => {
    await container.redirects.set([{ protocol: 'tcp', port: 80, toPort: 8083 }]);
    expect(await container.redirects.list()).toEqual([{ protocol: 'tcp', port: 80, toPort: 8083 }]);
    expect([await answers(V4.far, 80), await answers(V6.far, 80)]).toEqual(['8083', '8083']);
  });

  it('match from the container itself where that is enabled, to 127.0.0.1 and ::1', async () => {
    // Without a route nothing leaves, and is asked about.
    using links = Links.open({ netns: lab.router });
    links.sync.addRoute({ to: '0.0.0.0/0', via: '10.2.0.2' });
    links.sync.addRoute({ to: '::/0', via: 'fd00:2::2' });
    await container.redirects.set(REDIRECTS, { output: true });
    expect(await own(V4.one, 80)).toMatch(/^at 8080 .* > 127\.0\.0\.1 8080/);
    expect(await own(V6.one, 80)).toMatch(/^at 8080 .* > ::1 8080/);
    expect(await own(V4.near, 80)).toMatch(/^at 8081 .* > 127\.0\.0\.1 8081/);
    expect(await own(V6.near, 80)).toMatch(/^at 8081 .* > ::1 8081/);
    expect(await own(V4.far, 9005)).toMatch(/^at 9005 .* > 127\.0\.0\.1 9005/);
    expect(await answers(V4.one, 80)).toBe('8080');
    await container.redirects.set(REDIRECTS);
    const chains = await container.nftables.chains({ family: 'inet', table: 'netsteer-redirects' });
    expect(chains.map(({ hook }) => hook)).toEqual(['prerouting']);
    for (const to of ['0.0.0.0/0', '::/0']) links.sync.removeRoute({ to });
  });

  it('are redirected before another nat chain that is made later, or after it where that is configured', async () => {
    const theirs = { family: 'ip', table: 'nat' } as const;
    const later = () =>
      new Transaction()
        .destroy({ table: { family: 'ip', name: 'nat' } })
        .add({ table: { family: 'ip', name: 'nat' } })
        .add({ chain: { ...theirs, name: 'PREROUTING', type: 'nat', hook: 'prerouting', priority: -100 } })
        .add({
          rule: {
            ...theirs,
            chain: 'PREROUTING',
            statements: [
              { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 80 } },
              { redirect: { port: 8083 } },
            ],
          },
        });
    await container.redirects.set(REDIRECTS);
    await container.nftables.commit(later());
    expect(await answers(V4.one, 80)).toBe('8080');
    expect(await container.redirects.differences(REDIRECTS)).not.toHaveProperty('differences');

    await container.redirects.set(REDIRECTS, { priority: -90 });
    expect(await answers(V4.one, 80)).toBe('8083');
    const before = { kind: 'order', problem: 'foreign', ...theirs, chain: 'PREROUTING' };
    const found = { hook: 'prerouting', priority: -100 };
    expect((await container.redirects.differences(REDIRECTS, { priority: -90 })).differences).toEqual([
      { ...before, expected: { hook: 'prerouting', priorityAbove: -90 }, found },
    ]);

    // Of equals the one that was made last is asked first: ours, until theirs is made again.
    await container.redirects.set(REDIRECTS, { priority: -100 });
    expect(await answers(V4.one, 80)).toBe('8080');
    expect(await container.redirects.differences(REDIRECTS, { priority: -100 })).not.toHaveProperty('differences');
    await container.nftables.commit(later());
    expect(await answers(V4.one, 80)).toBe('8083');
    expect((await container.redirects.differences(REDIRECTS, { priority: -100 })).differences).toEqual([
      { ...before, expected: { hook: 'prerouting', priorityAbove: -100 }, found },
    ]);
    await container.nftables.commit(new Transaction().delete({ table: { family: 'ip', name: 'nat' } }));
  });
});
