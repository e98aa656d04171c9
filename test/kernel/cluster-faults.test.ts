import { expect, it } from 'vitest';
import { Links } from '../../src/rtnetlink/index.ts';
import { Host, web } from '../support/cluster-host.ts';
import { CuttableProxy } from '../support/cuttable-proxy.ts';
import { EtcdServer } from '../support/etcd.ts';
import { anyMoment, until } from '../support/wait.ts';
import { isLong } from '../support/where.ts';

const FAULTS = isLong ? 1000 : 8;
const TTL_MS = 4000;

it(`at no time have two hosts the address, over ${FAULTS} faults, and after each one host has it again`, async () => {
  await using etcd = await EtcdServer.start();
  const hosts = [1, 2, 3].map(i => new Host(i));
  const proxies = await Promise.all(hosts.map(() => CuttableProxy.to(etcd.endpoint)));
  const links = hosts.map(({ lvs }) => Links.open({ netns: lvs.netns }));
  const holders = () =>
    links.flatMap((each, i) => (each.sync.addresses().some(({ address }) => address === '10.10.0.100/32') ? [i] : []));
  const twice: string[] = [];
  let doing = 'start';
  const watching = setInterval(() => {
    const now = holders();
    if (now.length > 1) twice.push(`${now} during ${doing}`);
  }, 5);
  try {
    await Promise.all(hosts.map((host, i) => host.join(proxies[i]!, '/faults')));
    await hosts[0]!.cluster.services.put(web);
    await until(() => holders().length === 1);
    for (let i = 0; i < FAULTS; i++) {
      const kind = i % 4;
      const milliseconds = Math.random() * 1.5 * TTL_MS;
      if (kind === 0) {
        const [holder = 0] = holders();
        doing = `host ${holder} cut off for ${milliseconds} ms`;
        proxies[holder]!.cut();
        await anyMoment(milliseconds);
        proxies[holder]!.mend();
      } else if (kind === 1) {
        doing = `etcd stopped for ${milliseconds} ms`;
        etcd.kill('SIGSTOP');
        await anyMoment(milliseconds);
        etcd.kill('SIGCONT');
      } else if (kind === 2) {
        doing = 'etcd killed';
        await etcd.stop();
        await anyMoment(milliseconds / 4);
        await etcd.run();
      } else {
        doing = 'the holder leaves';
        const [holder = 0] = holders();
        await hosts[holder]!.cluster.leave();
        await until(() => holders().length === 1);
        await hosts[holder]!.join(proxies[holder]!, '/faults');
      }
      await until(() => holders().length === 1);
    }
    await until(async () =>
      (await Promise.all(hosts.map(host => host.weights()))).every(
        weights => Object.values(weights).join() === '1,1,1',
      ),
    );
  } finally {
    clearInterval(watching);
    await Promise.all(hosts.map(host => host.cluster?.leave()));
    for (const each of links) each.close();
    for (const proxy of proxies) proxy.close();
    for (const host of hosts) host.close();
  }
  expect(twice).toEqual([]);
});
