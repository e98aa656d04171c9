import { Transaction } from 'netsteer/nftables';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fetchFrom } from '../../examples/deployment/fetch.ts';
import { Lab } from '../../examples/deployment/lab.ts';
import { type BalancedService, LoadBalancer } from '../../src/balancer/index.ts';
import { AskingClient } from '../support/load-client.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('a load balancer', () => {
  const lab = new Lab();
  let lb: LoadBalancer;
  let services: BalancedService[];

  beforeAll(async () => {
    await lab.build(() => {});
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
      },
    ];
  });

  afterAll(async () => {
    await lb?.close();
    await lab.close();
  });

  const ask = async (times: number) =>
    (await fetchFrom(lab.client, 'http://10.10.0.100', times)).map(answer => answer.replace('HELLO,This is ', ''));

  it('makes the whole deployment of one declaration, and traffic flows and is logged', async () => {
    const lines: string[][] = [[], []];
    const logs = lab.webs.map(({ container }, i) => container.nflog({ groups: [i + 1] }));
    const reading = logs.map(async (log, i) => {
      for await (const packet of log) lines[i]!.push(packet.summary());
    });
    await lb.apply(services);
    const answers = await ask(6);
    expect(answers.filter(name => name === 'web1')).toHaveLength(3);
    expect(new Set(answers)).toEqual(new Set(['web1', 'web2']));
    // The rule logs each packet of the service; the first of a connection has SYN alone.
    const begun = (each: readonly string[]) => each.filter(line => / SYN /.test(line));
    await until(() => lines.every(each => begun(each).length === 3));
    for (const [i, each] of lines.entries())
      for (const line of begun(each))
        expect(line).toMatch(new RegExp(`^web${i + 1} IN=eth0 .*DST=10\\.10\\.0\\.100 .*DPT=80 `));
    await Promise.all([...logs.map(log => log.close()), ...reading]);
    expect(await lb.plan(services)).toEqual([]);
  });

  const weights = async () => (await lb.status()).balancers[0]!.services[0]!.servers.map(({ weight }) => weight);

  it('takes a server out that fails its checks under load, with no failed request after that, and back when it is healthy', async () => {
    const { container } = lab.webs[0]!;
    const table = { family: 'inet', name: 'broken' } as const;
    const load = new AskingClient(lab.client, '10.10.0.100');
    await until(() => load.answers.length > 3);
    await container.nftables.apply(
      'table inet broken { chain in { type filter hook input priority 10; tcp dport 8080 reject with tcp reset; }; }',
    );
    await until(async () => (await weights())[0] === 0);
    const outMs = Date.now();
    const after = () => load.answers.filter(([beganMs]) => beganMs > outMs).map(([, text]) => text);
    await until(() => after().length >= 10);
    expect(new Set(after())).toEqual(new Set(['HELLO,This is web2']));
    await container.nftables.commit(new Transaction().delete({ table }));
    await until(async () => (await weights())[0] === 1);
    await until(() => after().includes('HELLO,This is web1'));
    expect(after().filter(text => text.startsWith('failed'))).toEqual([]);
    await load.stop();
    console.log(
      `${load.answers.length} requests, ${load.answers.filter(([, text]) => text.startsWith('failed')).length} failed, none of the ${after().length} after the last check`,
    );
  });
});
