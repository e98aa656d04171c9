import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Etcd } from '../../src/cluster/etcd.ts';
import { checkEtcd } from '../../src/cluster/etcd-options.ts';
import type { ClusterService } from '../../src/cluster/index.ts';
import { Host, web } from '../support/cluster-host.ts';
import { EtcdServer } from '../support/etcd.ts';
import { until } from '../support/wait.ts';

describe('records of a cluster that somebody else has put', () => {
  let server: EtcdServer;
  let etcd: Etcd;
  beforeAll(async () => {
    server = await EtcdServer.start();
    etcd = new Etcd(checkEtcd({ endpoints: [server.endpoint] }, []));
  });
  afterAll(async () => {
    etcd.close();
    await server[Symbol.asyncDispose]();
  });

  let clusters = 0;
  async function run(test: (hosts: [Host, Host], prefix: string) => Promise<void>): Promise<void> {
    const hosts: [Host, Host] = [new Host(1), new Host(2)];
    const prefix = `/records${++clusters}`;
    try {
      await Promise.all(hosts.map(host => host.join(server, prefix)));
      await test(hosts, prefix);
    } finally {
      await Promise.all(hosts.map(host => host.cluster?.leave()));
      for (const host of hosts) host.close();
    }
  }
  const two: ClusterService = { ...web, balancers: ['lvs1', 'lvs2'], servers: web.servers.slice(0, 2) };
  const put = (key: string, value: unknown) =>
    etcd.transaction([], [{ put: key, value: typeof value === 'string' ? value : JSON.stringify(value) }]);
  const problems = async (host: Host) => (await host.cluster.status()).problems;
  const ports = async (host: Host) =>
    (await host.lvs.ipvs.services()).map(service => 'port' in service && service.port);
  const held = async (hosts: readonly Host[]) =>
    (await Promise.all(hosts.map(async host => ((await host.hasAddress()) ? [host.number] : [])))).flat();

  it('harm only themselves: no JSON, another schema, too large, another name, hosts and holders that are none', () =>
    run(async (hosts, prefix) => {
      await hosts[0].cluster.services.put(two);
      await until(async () => (await held(hosts)).length === 1);
      await put(`${prefix}/services/broken`, '{');
      await put(`${prefix}/services/newer`, { schema: 2, service: two });
      await put(`${prefix}/services/large`, 'x'.repeat(1024 * 1024));
      await put(`${prefix}/services/other`, { schema: 1, service: two });
      await put(`${prefix}/services/deep`, `{"schema":1,"service":${'['.repeat(100_000)}${']'.repeat(100_000)}}`);
      await put(`${prefix}/services/${'long'.repeat(1000)}`, '{}');
      await put(`${prefix}/hosts/odd`, '[1,2');
      await put(`${prefix}/holders/10.10.0.101`, 'null');
      await put(`${prefix}/what/is/this`, 'x');
      await until(async () => Object.keys(await problems(hosts[1])).length === 5);
      expect(await problems(hosts[1])).toMatchObject({
        broken: expect.stringContaining('JSON'),
        newer: expect.stringContaining('schema'),
        large: expect.stringContaining('bytes'),
        other: expect.stringContaining('the name of its key'),
        deep: expect.stringContaining('expected'),
      });
      // The others can still be changed, and what is put later is programmed.
      await hosts[1].cluster.services.put({ ...two, name: 'dns', port: 53 });
      await until(async () => (await ports(hosts[0])).join() === '53,80' || (await ports(hosts[0])).join() === '80,53');
      expect(await hosts[1].weights()).toEqual({ '192.168.0.51': 1, '192.168.0.52': 1 });
      expect(await held(hosts)).toHaveLength(1);
    }));

  it('rejects with ERR_CONFLICT and its path a service that takes the packets of another, and programs the older one if it is there anyway', () =>
    run(async (hosts, prefix) => {
      const [{ cluster }] = hosts;
      await cluster.services.put(two);
      const second = { ...two, name: 'second' };
      await expect(cluster.services.put(second)).rejects.toMatchObject({ code: 'ERR_CONFLICT', attribute: 'port' });
      await expect(cluster.services.put({ ...second, port: 81, balancers: ['lvs1'] })).rejects.toMatchObject({
        code: 'ERR_CONFLICT',
        attribute: 'balancers',
      });
      await put(`${prefix}/services/second`, { schema: 1, service: { ...second, scheduler: 'wlc' } });
      await until(async () => 'second' in (await problems(hosts[1])));
      await until(async () => (await ports(hosts[1])).length === 1);
      expect((await hosts[1].lvs.ipvs.services()).map(({ scheduler }) => scheduler)).toEqual(['rr']);
      await cluster.services.delete('web');
      await until(async () => (await hosts[1].lvs.ipvs.services())[0]?.scheduler === 'wlc');
      expect(await problems(hosts[1])).toEqual({});
    }));

  it('a service that IPVS has of somebody else is refused by name, and the others are programmed', () =>
    run(async hosts => {
      for (const host of hosts)
        await host.lvs.ipvs.addService({ protocol: 'tcp', address: '10.10.0.200', port: 80, scheduler: 'lc' });
      await hosts[0].cluster.services.put({ ...two, name: 'foreign', address: '10.10.0.200' });
      await hosts[0].cluster.services.put(two);
      await until(async () => (await held(hosts)).length === 1);
      expect((await problems(hosts[0]))['foreign']).toMatch(/^ERR_FOREIGN/);
      expect((await hosts[0].lvs.ipvs.services()).map(({ scheduler }) => scheduler).sort()).toEqual(['lc', 'rr']);
    }));

  it('a holder whose key is deleted by hand gives the address up, and one has it again; a record without a lease holds nobody', () =>
    run(async (hosts, prefix) => {
      const key = `${prefix}/holders/10.10.0.100`;
      await put(key, { schema: 1, host: 'nobody', container: 'x' });
      await hosts[0].cluster.services.put(two);
      await until(async () => (await held(hosts)).length === 1);
      const before = (await etcd.get(key))!;
      await etcd.transaction([], [{ delete: key }]);
      const after = (await until(async () => {
        const entry = await etcd.get(key);
        return entry?.createRevision === before.createRevision ? undefined : entry;
      }))!;
      await until(async () => {
        const now = await held(hosts);
        return now.length === 1 && after.value.includes(`"host":"host${now[0]}"`);
      });
    }));

  it('a host whose record is deleted by hand puts it again', () =>
    run(async (hosts, prefix) => {
      const key = `${prefix}/hosts/host1`;
      const first = (await until(() => etcd.get(key)))!;
      await etcd.transaction([], [{ delete: key }]);
      const again = (await until(() => etcd.get(key)))!;
      expect(again.createRevision).toBeGreaterThan(first.createRevision);
      expect(again.lease).toBe(first.lease);
      expect(hosts[1].cluster.hosts().map(({ name }) => name)).toContain('host1');
    }));

  it('a process that takes the place of a killed one has its address at once, by the same namespace', () =>
    run(async (hosts, prefix) => {
      await hosts[0].cluster.services.put({ ...two, balancers: ['lvs1'] });
      await until(() => hosts[0].hasAddress());
      // A lease that somebody keeps is as good as one of a process that was killed just now.
      const { lease } = await etcd.grant(60);
      const key = `${prefix}/holders/10.10.0.100`;
      const { value } = (await etcd.get(key))!;
      await hosts[0].cluster.leave();
      await etcd.transaction([], [{ put: key, value, lease }]);
      await hosts[0].join(server, prefix);
      await until(() => hosts[0].hasAddress());
      expect((await etcd.get(key))!.lease).not.toBe(lease);
    }));

  it('servers of a dead host get weight 0, and are removed when it stays away', () =>
    run(async hosts => {
      await hosts[0].cluster.services.put(two);
      await until(async () => Object.values(await hosts[0].weights()).join() === '1,1');
      await hosts[1].cluster.leave();
      await until(async () => (await hosts[0].weights())['192.168.0.52'] === 0);
      await until(async () => Object.keys(await hosts[0].weights()).join() === '192.168.0.51');
      await hosts[1].join(server, `/records${clusters}`);
      await until(async () => (await hosts[0].weights())['192.168.0.52'] === 1);
    }));

  it('services go on as they were when etcd has lost its data, until they are put again', () =>
    run(async hosts => {
      for (let i = 0; i < 50; i++) await put('/elsewhere', String(i));
      await hosts[0].cluster.services.put(two);
      await until(async () => (await held(hosts)).length === 1);
      await server.runEmptied();
      await until(async () => /has lost the service/.test((await problems(hosts[1]))['web'] ?? ''));
      await until(async () => (await held(hosts)).length === 1);
      expect(await ports(hosts[0])).toEqual([80]);
      expect(await hosts[0].web.redirects.list()).toHaveLength(1);
      await hosts[0].cluster.services.put({ ...two, scheduler: 'wlc' });
      await until(async () => (await hosts[1].lvs.ipvs.services())[0]?.scheduler === 'wlc');
      expect(await problems(hosts[1])).toEqual({});
    }));
});
