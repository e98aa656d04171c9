import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Links, NetNs } from 'netsteer';
import { expect, it } from 'vitest';
import { OtherProcess } from '../support/other-process.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** A host: its namespace is its balancer. IPVS is in memory, where the kernel has none. */
const HOST = `
import { Cluster } from './cluster/index.js';
import { Container } from './container/index.js';
import { NetNs } from './netns/index.js';
import { MemoryKernel } from './testing/index.js';
const [number, put] = process.env.HOST.split(' ');
const lvs = Container.open({ netns: NetNs.home() }, { allowHost: true });
const memory = MemoryKernel.create().container('lvs');
Object.defineProperty(lvs, 'ipvs', { value: memory.ipvs });
const cluster = await Cluster.join({
  etcd: { endpoints: ['http://10.9.0.254:2379'] }, host: 'host' + number, ttlSeconds: 4, sync: false,
  containers: name => (name === 'lvs' + number ? lvs : undefined),
});
if (put) for (const [name, net] of [['web', '10.9.0.'], ['web6', 'fd09::']]) await cluster.services.put({
  name, protocol: 'tcp', address: net + '100', port: 80, scheduler: 'rr', forward: 'direct', device: 'eth0',
  balancers: ['lvs1', 'lvs2', 'lvs3'], servers: [1, 2, 3].map(i => ({ host: 'host' + i, name: 'web' + i, address: net + (50 + i) })),
});
console.log('joined');
`;

kernelSuite('three hosts as processes, each in a namespace of its own, around a switch', () => {
  it('at no time have two the address: processes killed and stopped, links set down, etcd stopped; a neighbour follows the holder', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'netsteer-etcd-'));
    const middle = NetNs.create();
    const namespaces = [1, 2, 3].map(() => NetNs.create());
    const ports = Links.open({ netns: middle });
    const links = namespaces.map(netns => Links.open({ netns }));
    await ports.set('lo', { up: true });
    await ports.createBridge({ name: 'br0' });
    await ports.set('br0', { up: true });
    await ports.addAddress('br0', '10.9.0.254/24');
    for (const [i, netns] of namespaces.entries()) {
      await ports.createVeth({ name: `port${i}`, peer: { name: 'eth0', netns } });
      await ports.set(`port${i}`, { up: true, master: 'br0' });
      await links[i]!.set('lo', { up: true });
      await links[i]!.set('eth0', { up: true });
      await links[i]!.addAddress('eth0', `10.9.0.${i + 1}/24`);
    }
    const etcd = middle.run(() =>
      spawn(
        'etcd',
        [
          `--data-dir=${folder}`,
          '--listen-client-urls=http://10.9.0.254:2379',
          '--advertise-client-urls=http://10.9.0.254:2379',
          '--listen-peer-urls=http://127.0.0.1:2380',
          '--heartbeat-interval=20',
          '--election-timeout=200',
          '--unsafe-no-fsync',
          '--log-level=error',
        ],
        { stdio: 'ignore' },
      ),
    );
    const start = (i: number, put = '') =>
      namespaces[i]!.run(() => OtherProcess.netsteer(HOST, { HOST: `${i + 1} ${put}`.trim() }));
    const holders = () =>
      links.flatMap((each, i) => (each.sync.addresses().some(({ address }) => address === '10.9.0.100/32') ? [i] : []));
    const twice: string[] = [];
    let doing = 'start';
    const stop = new AbortController();
    // Each change of an address that the kernel tells is a moment to look.
    const watching = links.map(async each => {
      for await (const event of each.monitor({ signal: stop.signal })) {
        void event;
        const now = holders();
        if (now.length > 1) twice.push(`${now} during ${doing}`);
      }
    });
    // The neighbour has the hardware address of nobody for it, and does not ask.
    const stale = (address: string) =>
      ports.setNeighbour({ address, device: 'br0', hardwareAddress: '02:00:00:00:00:01', state: 'stale' });
    const told = async (address: string) => {
      const prefixed = `${address}/${address.includes(':') ? 128 : 32}`;
      const holder = links.find(each => each.sync.addresses().some(entry => entry.address === prefixed));
      const hardware = holder === undefined ? undefined : (await holder.get('eth0')).address;
      return (await ports.neighbours()).some(
        each => each.address === address && hardware !== undefined && each.hardwareAddress === hardware,
      );
    };
    const hosts: OtherProcess[] = [];
    await stale('10.9.0.100');
    await stale('fd09::100');
    try {
      for (const i of [0, 1, 2]) hosts[i] = start(i, i === 0 ? 'put' : '');
      const one = async (other = -1) => {
        const [holder] =
          (await until(() => (holders().length === 1 && holders()[0] !== other ? holders() : undefined), doing)) ?? [];
        return holder!;
      };
      await Promise.all(hosts.map(host => host.says('joined')));
      let holder = await one();
      await until(() => told('10.9.0.100'), 'the announcement by ARP');
      await until(() => told('fd09::100'), 'the neighbour advertisement');

      doing = 'the holder is stopped, and goes on';
      hosts[holder]!.signal('SIGSTOP');
      let next = await one(holder);
      hosts[holder]!.signal('SIGCONT');

      doing = 'the link of the holder is set down';
      holder = next;
      await ports.set(`port${holder}`, { up: false });
      next = await one(holder);
      await ports.set(`port${holder}`, { up: true });

      doing = 'etcd is stopped, and goes on';
      etcd.kill('SIGSTOP');
      await until(() => holders().length === 0);
      etcd.kill('SIGCONT');
      holder = await one();

      doing = 'the holder is killed';
      await stale('10.9.0.100');
      hosts[holder]!.signal('SIGKILL');
      next = await one(holder);
      await until(() => told('10.9.0.100'), 'the announcement of the next holder');

      doing = 'it is started anew';
      hosts[holder] = start(holder);
      await hosts[holder]!.says('joined');
      expect(await one()).toBe(next);
      expect(twice).toEqual([]);
    } finally {
      stop.abort();
      await Promise.allSettled(watching);
      for (const host of hosts) host.signal('SIGKILL');
      etcd.kill('SIGCONT');
      etcd.kill('SIGKILL');
      for (const each of [...links, ports]) each.close();
      for (const netns of [middle, ...namespaces]) netns.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
