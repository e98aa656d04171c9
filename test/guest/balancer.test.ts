import { Links } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fetchFrom } from '../../examples/deployment/fetch.ts';
import { Lab } from '../../examples/deployment/lab.ts';
import {
  type BalancedService,
  formatBalancerPlan,
  formatBalancerStatus,
  LoadBalancer,
} from '../../src/balancer/index.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('a load balancer', () => {
  const lab = new Lab();
  let lb: LoadBalancer;
  let services: BalancedService[];

  beforeAll(async () => {
    await lab.build(() => {});
    await using links = Links.open({ netns: lab.balancer.netns });
    await links.removeAddress('eth0', '10.10.0.100/32');
    lb = LoadBalancer.open({ balancers: [lab.balancer] });
    services = [
      {
        name: 'web',
        protocol: 'tcp',
        address: '10.10.0.100',
        port: 80,
        scheduler: 'rr',
        forward: 'direct',
        device: 'eth0',
        label: 'eth0:web',
        servers: lab.webs.map(({ name, address, container }, i) => ({
          name,
          address,
          container,
          toPort: 8080,
          log: { group: i + 1, prefix: `${name} ` },
        })),
        health: { http: { body: 'HELLO' }, intervalMs: 300, timeoutMs: 2500, rise: 2, fall: 2 },
        drain: { timeoutMs: 20_000, pollMs: 100 },
      },
    ];
  });

  afterAll(async () => {
    await lb?.close();
    await lab.close();
  });

  const ask = async (times: number) =>
    (await fetchFrom(lab.client, 'http://10.10.0.100', times)).map(answer => answer.replace('HELLO,This is ', ''));
  const conditions = async () =>
    (await lb.status()).balancers[0]!.services[0]!.servers.map(({ condition }) => condition);

  it('makes the whole deployment of one declaration, and traffic flows and is logged', async () => {
    const logs = lab.webs.map(({ container }, i) => container.nflog({ groups: [i + 1] }));
    console.log(formatBalancerPlan(await lb.apply(services)));
    const answers = await ask(6);
    expect(answers.filter(name => name === 'web1')).toHaveLength(3);
    expect(new Set(answers)).toEqual(new Set(['web1', 'web2']));
    for (const log of logs) {
      await until(() => log.stats.received > 0);
      log.close();
    }
    expect(await lb.plan(services)).toEqual([]);
    console.log(formatBalancerStatus(await lb.status()));
  });

  it('takes a server out that fails its checks, with no failed request after that, and back when it is healthy', async () => {
    const { container } = lab.webs[0]!;
    const table = { family: 'inet', name: 'broken' } as const;
    await container.nftables.apply(
      'table inet broken { chain in { type filter hook input priority 10; tcp dport 8080 reject with tcp reset; }; }',
    );
    await until(async () => (await conditions()).includes('failed'));
    expect(await ask(10)).toEqual(Array(10).fill('web2'));
    await container.nftables.commit(new Transaction().delete({ table }));
    await until(async () => !(await conditions()).includes('failed'));
    expect(new Set(await ask(4))).toEqual(new Set(['web1', 'web2']));
  });

  it('is taken over by another process without a change', async () => {
    await lb.close();
    expect(await ask(2)).toHaveLength(2);
    lb = LoadBalancer.open({ balancers: [lab.balancer] });
    expect(await lb.apply(services)).toEqual([]);
  });

  it('drains a server', async () => {
    await ask(4);
    expect(await lb.drain('web', 'web1')).toBe(0);
    expect(await ask(4)).toEqual(Array(4).fill('web2'));
    await lb.setWeight('web', 'web1', 1);
    expect(new Set(await ask(4))).toEqual(new Set(['web1', 'web2']));
  });

  it('removes what it has made', async () => {
    await lb.close({ remove: true });
    expect(await lab.balancer.ipvs.services()).toEqual([]);
    await using links = Links.open({ netns: lab.balancer.netns });
    expect((await links.addresses()).map(({ address }) => address)).not.toContain('10.10.0.100/32');
  });
});
