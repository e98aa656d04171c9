import { Conntrack, type ConntrackItem } from 'netsteer/conntrack';
import { Iptables } from 'netsteer/iptables';
import { Links } from 'netsteer/rtnetlink';
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

test('a masqueraded connection ends with the address behind which it is, and a later packet begins another one', async () => {
  const { container, ct } = await router();
  await using _ = ct;
  await container.nftables.apply(
    'table ip n { chain c { type nat hook postrouting priority srcnat; oifname "eth1" masquerade; }; }',
  );
  const { packet } = container.receive(query, { on: 'eth0' });
  expect(packet.from).toBe('10.2.0.1:4000');
  expect(await ct.list()).toMatchObject([{ reply: { destination: '10.2.0.1' } }]);
  await using links = Links.open({ netns: container.netns });
  await links.removeAddress('eth1', '10.2.0.1/24');
  await links.addAddress('eth1', '10.2.0.3/24');
  expect(await ct.list()).toEqual([]);
  expect(container.receive(query, { on: 'eth0' }).packet.from).toBe('10.2.0.3:4000');
  await links.set('eth1', { up: false });
  expect(await ct.count()).toBe(0);
});

test('a packet that was expected is related to the connection that announced it, and fulfils its expectation', async () => {
  const { container, ct } = await router();
  await using _ = ct;
  await container.nftables.apply(`table ip t { chain c { ct state related counter accept; }; }`);
  const ends = { source: '10.1.0.9', sourcePort: 4000, destination: '10.2.0.9', destinationPort: 21 };
  const master = { protocol: 'tcp', ...ends } as const;
  await ct.create({
    protocol: 'tcp',
    timeoutSeconds: 60,
    original: ends,
    helper: 'ftp',
    tcp: { state: 'established' },
  });
  const tuple = {
    protocol: 'tcp',
    source: '10.2.0.9',
    sourcePort: 0,
    destination: '10.1.0.9',
    destinationPort: 5000,
  } as const;
  await ct.createExpectation({ master, tuple });
  expect(await ct.expectations()).toHaveLength(1);
  const { steps } = container.receive(tcp({ from: '10.2.0.9:20', to: '10.1.0.9:5000' }), { on: 'eth1' });
  expect(steps.map(each => each.verdict)).toContain('accept');
  expect(await ct.expectations()).toEqual([]);
  const flows = await ct.list();
  expect(flows.find(({ original }) => original.destinationPort === 5000)?.status).toContain('expected');
});

test('rules of iptables alone switch connection tracking on, and translate', async () => {
  const kernel = MemoryKernel.create({ release: '6.18' });
  const container = kernel.container('docker', {
    links: [
      { name: 'eth0', addresses: ['10.1.0.1/24'] },
      { name: 'eth1', addresses: ['10.2.0.1/24'] },
    ],
  });
  container.netns.sysctl.set('net.ipv4.ip_forward', '1');
  await using tables = Iptables.open({ netns: container.netns, family: 'ipv4' });
  await tables.restore(`*nat
-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.9:8080
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctorigdst 10.1.0.1 --ctorigdstport 80 -j ACCEPT
COMMIT
`);
  const syn = container.receive(tcp({ from: '10.1.0.9:4000', to: '10.1.0.1:80' }), { on: 'eth0' });
  expect(syn).toMatchObject({
    verdict: 'forward',
    device: 'eth1',
    packet: { from: '10.2.0.1:4000', to: '10.2.0.9:8080' },
  });
  const answer = tcp({ from: '10.2.0.9:8080', to: '10.2.0.1:4000', flags: ['syn', 'ack'] });
  expect(container.receive(answer, { on: 'eth1' })).toMatchObject({
    verdict: 'forward',
    packet: { from: '10.1.0.1:80', to: '10.1.0.9:4000' },
  });
  expect(container.receive(tcp({ from: '10.1.0.9:4000', to: '10.2.0.9:22' }), { on: 'eth0' }).verdict).toBe('drop');
});

test('a reset of a connection that is about to end is taken without a look at its window', async () => {
  const { container, ct } = await router();
  await using _ = ct;
  const client = { from: '10.1.0.9:4000', to: '10.2.0.9:80' } as const;
  const server = { from: '10.2.0.9:80', to: '10.1.0.9:4000' } as const;
  const pass = (
    side: 'eth0' | 'eth1',
    sequence: number,
    acknowledgement: number,
    ...flags: ('syn' | 'ack' | 'fin' | 'rst')[]
  ) =>
    container.receive(tcp({ ...(side === 'eth0' ? client : server), flags, sequence, acknowledgement }), { on: side });
  pass('eth0', 1, 0, 'syn');
  pass('eth1', 1, 2, 'syn', 'ack');
  pass('eth0', 2, 2, 'ack');
  pass('eth0', 2, 2, 'fin', 'ack');
  pass('eth1', 2, 3, 'fin', 'ack');
  expect(await ct.list()).toMatchObject([{ tcp: { state: 'last-ack' } }]);
  // Far out of the window, and nothing is expected of it.
  pass('eth0', 900_000_000, 2, 'rst', 'ack');
  expect(await ct.list()).toMatchObject([{ tcp: { state: 'close' } }]);
});
