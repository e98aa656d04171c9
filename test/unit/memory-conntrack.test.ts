import { Conntrack, type ConntrackItem } from 'netsteer/conntrack';
import { MemoryKernel, tcp, udp } from 'netsteer/testing';
import { expect, test } from 'vitest';
import { until } from '../support/wait.ts';

const TRACKING = 'table ip t { chain c { type filter hook forward priority 0; ct state established accept; }; }';

async function router() {
  const kernel = MemoryKernel.create({ release: '6.18' });
  const links = [
    { name: 'eth0', addresses: ['10.1.0.1/24'] },
    { name: 'eth1', addresses: ['10.2.0.1/24'] },
  ];
  const container = kernel.container('router', { links });
  container.netns.sysctl.set('net.ipv4.ip_forward', '1');
  await container.nftables.apply(TRACKING);
  return { kernel, container, ct: Conntrack.open({ netns: container.netns }) };
}

const query = udp({ from: '10.1.0.9:4000', to: '10.2.0.9:53' });
const reply = udp({ from: '10.2.0.9:53', to: '10.1.0.9:4000' });

test('the settings of connection tracking have the kernel’s values, and refuse what the kernel refuses', async () => {
  const { ct } = await router();
  await using _ = ct;
  expect(ct.settings.udp_timeout).toBe(30);
  expect(ct.settings.count).toBe(0);
  ct.settings.acct = true;
  expect(ct.settings.acct).toBe(true);
  expect(() => {
    ct.settings.max = 5;
  }).toThrow('EACCES');
  expect(() => ct.settings.set('events', 2)).not.toThrow();
});

test('flows of UDP become streams, are counted, and end with the clock', async () => {
  const { kernel, container, ct } = await router();
  await using _ = ct;
  ct.settings.acct = true;
  container.receive(query, { on: 'eth0' });
  expect(await ct.list()).toMatchObject([{ status: ['confirmed'], timeoutSeconds: 30 }]);
  container.receive(reply, { on: 'eth1' });
  expect(await ct.list()).toMatchObject([{ status: ['seen-reply', 'confirmed'], timeoutSeconds: 30 }]);
  kernel.advance(2001);
  container.receive(query, { on: 'eth0' });
  const [flow] = await ct.list();
  expect(flow).toMatchObject({ status: ['seen-reply', 'assured', 'confirmed'], timeoutSeconds: 120 });
  expect(flow!.counters).toMatchObject({ original: { packets: 2n, bytes: 56n }, reply: { packets: 1n, bytes: 28n } });
  expect(ct.settings.count).toBe(1);
  kernel.advance(120_000);
  expect(await ct.count()).toBe(0);
});

test('a monitor is told of the connections of packets', async () => {
  const { kernel, container, ct } = await router();
  await using _ = ct;
  const told: ConntrackItem[] = [];
  const monitor = ct.monitor();
  const done = (async () => {
    for await (const event of monitor) told.push(event);
  })();
  const syn = { from: '10.1.0.9:4000', to: '10.2.0.9:80', sequence: 100 };
  container.receive(tcp(syn), { on: 'eth0' });
  container.receive(tcp({ from: syn.to, to: syn.from, flags: ['syn', 'ack'], sequence: 500, acknowledgement: 101 }), {
    on: 'eth1',
  });
  container.receive(tcp({ ...syn, flags: 'ack', sequence: 101, acknowledgement: 501 }), { on: 'eth0' });
  kernel.advance(432_000_000);
  await until(() => told.length === 4, 'four events');
  expect(told.map(event => ('flow' in event ? `${event.type} ${event.flow.timeoutSeconds}` : event.type))).toEqual([
    'new 120',
    'update 60',
    'update 432000',
    'destroy undefined',
  ]);
  await monitor.close();
  await done;
});
