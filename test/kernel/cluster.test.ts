import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, EtcdError } from '../../src/cluster/index.ts';
import { Host, web } from '../support/cluster-host.ts';
import { transpileSource } from '../support/compiled.ts';
import { EtcdServer } from '../support/etcd.ts';
import { AsyncFunction, SnippetsOf } from '../support/snippets.ts';
import { until } from '../support/wait.ts';

const page = new SnippetsOf('test/kernel/cluster.test.ts');

describe('a cluster of three hosts', () => {
  let etcd: EtcdServer;
  beforeAll(async () => {
    etcd = await EtcdServer.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  let clusters = 0;
  async function run(test: (hosts: Host[]) => Promise<void>): Promise<void> {
    const hosts = [1, 2, 3].map(i => new Host(i));
    try {
      const prefix = `/test${++clusters}`;
      await Promise.all(hosts.map(host => host.join(etcd, prefix)));
      await test(hosts);
    } finally {
      await Promise.all(hosts.map(host => host.cluster?.leave()));
      for (const host of hosts) host.close();
    }
  }
  const holders = async (hosts: Host[]) =>
    (await Promise.all(hosts.map(async host => ((await host.hasAddress()) ? [host.number] : [])))).flat();

  it('programs each host with its part, and one of the balancers with the address', () =>
    run(async hosts => {
      await hosts[0]!.cluster.services.put(web);
      await until(async () => (await holders(hosts)).length === 1);
      await until(async () =>
        (await Promise.all(hosts.map(host => host.weights()))).every(
          weights => Object.values(weights).join() === '1,1,1',
        ),
      );
      for (const host of hosts)
        expect(await host.web.redirects.list()).toEqual([
          { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
        ]);
      const { services } = await hosts[2]!.cluster.status();
      expect(services).toEqual([
        { name: 'web', holder: `host${(await holders(hosts))[0]}`, container: `lvs${(await holders(hosts))[0]}` },
      ]);
      await hosts[1]!.cluster.services.delete('web');
      await until(async () => (await holders(hosts)).length === 0);
      await until(async () => (await hosts[0]!.web.redirects.list()).length === 0);
    }));

  it('gives the address of a host that leaves to another at once, and its servers no new connections', () =>
    run(async hosts => {
      await hosts[0]!.cluster.services.put(web);
      await until(async () => (await holders(hosts)).length === 1);
      const [first] = await holders(hosts);
      const rest = hosts.filter(({ number }) => number !== first);
      await hosts[first! - 1]!.cluster.leave();
      await until(async () => (await holders(rest)).length === 1);
      expect(await hosts[first! - 1]!.hasAddress()).toBe(false);
      await until(async () => (await rest[0]!.weights())[`192.168.0.${50 + first!}`] === 0);
    }));

  it('keeps traffic as it was while etcd is stopped, gives the address up before another can have it, and goes on after', () =>
    run(async hosts => {
      await hosts[0]!.cluster.services.put(web);
      await until(async () => (await holders(hosts)).length === 1);
      await until(async () => Object.keys(await hosts[0]!.weights()).length === 3);
      etcd.kill('SIGSTOP');
      await until(async () => (await holders(hosts)).length === 0);
      for (const host of hosts)
        expect(await host.weights()).toEqual({ '192.168.0.51': 1, '192.168.0.52': 1, '192.168.0.53': 1 });
      etcd.kill('SIGCONT');
      await until(async () => (await holders(hosts)).length === 1);
      await until(async () =>
        (await Promise.all(hosts.map(host => host.weights()))).every(
          weights => Object.values(weights).join() === '1,1,1',
        ),
      );
    }));

  it('rejects a bad declaration with ERR_OUT_OF_RANGE and its path when it is put, and one that somebody else has changed', () =>
    run(async hosts => {
      const { cluster } = hosts[0]!;
      await expect(cluster.services.put({ ...web, port: 0 })).rejects.toMatchObject({
        attribute: 'port',
        code: 'ERR_OUT_OF_RANGE',
      });
      const revision = await cluster.services.put(web, { revision: 0n });
      await expect(cluster.services.put(web, { revision: 0n })).rejects.toBeInstanceOf(EtcdError);
      expect((await cluster.services.list()).map(({ revision: at }) => at)).toEqual([revision]);
      await until(async () => (await holders(hosts)).length === 1);
    }));

  it("is joined by docs/cluster.md's example, which declares a service", async () => {
    const { code } = page.take('Cluster.join');
    const body = transpileSource(code.replaceAll(/^import .*$/gm, ''));
    const printed: unknown[] = [];
    const join = (options: Parameters<typeof Cluster.join>[0]) =>
      Cluster.join({ ...options, etcd: { endpoints: [etcd.endpoint] }, prefix: '/docs' });
    await new AsyncFunction('Cluster', 'console', body)({ join }, { log: (value: unknown) => printed.push(value) });
    expect(printed).toMatchObject([{ host: 'a', connected: true, hosts: [{ name: 'a', alive: true }] }]);
    expect(page.left).toEqual([]);
  });
});
