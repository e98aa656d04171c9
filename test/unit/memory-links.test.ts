import { MemoryKernel } from 'netsteer/testing';
import { expect, test } from 'vitest';
import { Links } from '../../src/rtnetlink/index.ts';

/* The rtnetlink handle on a kernel in memory: what a program does with links, addresses and routes, without root. */

function newHost() {
  const kernel = MemoryKernel.create();
  const host = kernel.container('host', { links: [{ name: 'eth0', addresses: ['192.168.0.1/24'] }] });
  return { kernel, host, links: Links.open({ netns: host.netns }) };
}

test('an address with a lifetime goes when the clock of the kernel in memory says so', async () => {
  const { kernel, links } = newHost();
  const address = '10.10.0.100/32';
  links.sync.addAddress('eth0', address, { validSeconds: 60, preferredSeconds: 30 });
  const own = () => links.sync.addresses({ device: 'eth0' }).filter(each => each.address === address);
  kernel.advance(59_000);
  expect(own()).toMatchObject([{ validSeconds: 1, preferredSeconds: 0 }]);
  kernel.advance(1_000);
  expect(own()).toEqual([]);
  links.close();
  await kernel.close();
});

test('a bridge has ports, and no longer than they are there', async () => {
  const { kernel, links } = newHost();
  links.sync.createBridge({ name: 'br0' });
  links.sync.createVeth({ name: 'v0', peer: { name: 'v1' } });
  links.sync.set('v0', { master: 'br0', up: true });
  links.sync.set('v1', { up: true });
  links.sync.set('br0', { up: true });
  expect(links.sync.get('v0')).toMatchObject({
    kind: 'veth',
    master: 'br0',
    operationalState: 'up',
  });
  expect(links.sync.get('br0')?.operationalState).toBe('up');
  links.sync.remove('v1');
  expect(links.sync.list().map(({ name }) => name)).toEqual(['lo', 'eth0', 'br0']);
  expect(links.sync.get('br0')?.operationalState).toBe('down');
  links.close();
  await kernel.close();
});

test('routes, rules and neighbours are listed as they were made, and refused as the kernel refuses them', async () => {
  const { kernel, links } = newHost();
  links.sync.addRoute({ to: '10.9.0.0/16', via: '192.168.0.254' });
  expect(links.sync.routes({ table: 254 })).toMatchObject([
    { to: '10.9.0.0/16', via: '192.168.0.254', device: 'eth0' },
    { to: '192.168.0.0/24', device: 'eth0', source: '192.168.0.1' },
  ]);
  expect(() => links.sync.addRoute({ to: '10.8.0.0/16', via: '172.16.0.1' })).toThrow(/ENETUNREACH/);
  links.sync.addRule({ family: 'ipv4', from: '10.9.0.0/16', table: 100, priority: 50 });
  expect(links.sync.rules().filter(({ priority }) => priority === 50)).toMatchObject([{ table: 100 }]);
  links.sync.setNeighbour({ device: 'eth0', address: '192.168.0.254', hardwareAddress: '02:00:00:00:00:09' });
  expect(links.sync.neighbours()).toMatchObject([
    { address: '192.168.0.254', hardwareAddress: '02:00:00:00:00:09', state: 'permanent' },
  ]);
  links.sync.remove('eth0');
  expect(links.sync.routes({ table: 254 })).toEqual([]);
  expect(links.sync.neighbours()).toEqual([]);
  links.close();
  await kernel.close();
});

test('a monitor hears of addresses that come, and of those whose time is over', async () => {
  const { kernel, links } = newHost();
  const monitor = links.monitor({ kinds: ['address'], initial: true });
  const items = monitor[Symbol.asyncIterator]();
  const next = async () => {
    const { value } = await items.next();
    return value?.type === 'state' ? 'state' : `${value?.type} ${value?.kind}`;
  };
  const heard = [await next()];
  await links.addAddress('eth0', '10.10.0.100/32', { validSeconds: 10, preferredSeconds: 10 });
  heard.push(await next());
  kernel.advance(10_000);
  heard.push(await next());
  expect(heard).toEqual(['state', 'new address', 'gone address']);
  await monitor.close();
  links.close();
  await kernel.close();
});
