import { expect, test } from 'vitest';
import { Iptables } from '../../src/iptables/index.ts';
import { formatRuleset, Nftables } from '../../src/nftables/index.ts';
import { type MemoryContainer, MemoryKernel, simulate, tcp, udp } from '../../src/testing/index.ts';

/* What packets meet in a kernel in memory besides the chains of IPv4 and IPv6: test/kernel/memory-packets.test.ts has those. */

const MAC = '02:00:00:00:00:09';
const colonless = (mac: string) => mac.replaceAll(':', '');

function router(release = '6.18'): MemoryContainer {
  const container = MemoryKernel.create({ release }).container('router', {
    links: [
      { name: 'eth0', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] },
      { name: 'eth1', addresses: ['10.2.0.1/24'] },
    ],
  });
  container.netns.sysctl.set('net.ipv4.ip_forward', '1');
  return container;
}

const through = udp({ from: '10.1.0.1:1000', to: '10.2.0.9:53', payload: 'abc' });
const chain = (family: string, head: string, ...rules: string[]): string =>
  `table ${family} t {\n chain c {\n ${head}\n ${rules.join('\n ')}\n}\n}\n`;

test('a packet that no rule drops says why it is gone', async () => {
  const host = router();
  const reasonOf = (to: string, ttl = 64) => host.receive(udp({ from: '10.1.0.1:1', to, ttl }), { on: 'eth0' }).reason;
  expect(reasonOf('10.9.0.1:53')).toBe('there is no route to 10.9.0.1');
  expect(reasonOf('10.2.0.9:53', 1)).toBe('its time to live is over');
  host.netns.sysctl.set('net.ipv4.ip_forward', '0');
  expect(reasonOf('10.2.0.9:53')).toBe('10.2.0.9 is not an address of this host, and net.ipv4.ip_forward is 0');
  const bytes = Buffer.from(through.bytes, 'hex');
  bytes[10]! ^= 1;
  expect(host.receive({ bytes }, { on: 'eth0' }).reason).toBe('the checksum of the IPv4 header is wrong');
  const link = `${colonless(MAC)}${colonless(MAC)}0800`;
  expect(host.receive({ ...through, link }, { on: 'eth0' }).reason).toBe('the frame is for another host');
});

test('the sender is told of packets that cannot go on', async () => {
  const host = router();
  const { verdict, answers } = host.receive(udp({ from: '10.1.0.1:1', to: '10.2.0.9:53', ttl: 1 }), { on: 'eth0' });
  expect(verdict).toBe('drop');
  expect(answers).toMatchObject([{ device: 'eth0', packet: { protocol: 'icmp', from: '10.1.0.2', to: '10.1.0.1' } }]);
  // Time exceeded in transit, with the packet behind it.
  expect(answers[0]!.packet.bytes.slice(40, 44)).toBe('0b00');
});

test('a rule that rejects answers with an ICMP error or a reset', async () => {
  const host = router();
  await host.nftables.apply(
    chain('inet', 'type filter hook input priority 0', 'tcp dport 22 reject with tcp reset', 'udp dport 53 reject'),
  );
  const syn = host.receive(tcp({ from: '10.1.0.1:1000', to: '10.1.0.2:22' }), { on: 'eth0' });
  expect(syn.verdict).toBe('reject');
  expect(syn.answers).toMatchObject([{ packet: { protocol: 'tcp', from: '10.1.0.2:22', to: '10.1.0.1:1000' } }]);
  const query = host.receive(udp({ from: '[fd00:1::1]:1000', to: '[fd00:1::2]:53' }), { on: 'eth0' });
  expect(query.answers).toMatchObject([{ packet: { protocol: 'icmpv6', from: 'fd00:1::2', to: 'fd00:1::1' } }]);
  // Port unreachable.
  expect(query.answers[0]!.packet.bytes.slice(80, 84)).toBe('0104');
});

test('a packet of nothing but its IPv4 header is rejected with an answer: its sum is right', async () => {
  const host = router();
  await host.nftables.apply(chain('ip', 'type filter hook forward priority 0', 'reject'));
  const bytes = '45000014000000004059668c0a0100010a020002';
  expect(host.receive({ bytes }, { on: 'eth0' }).answers).toMatchObject([{ packet: { protocol: 'icmp' } }]);
});

test('TCPMSS of iptables lowers the largest segment of a SYN to what the way lets through', async () => {
  const host = router();
  await using tables = Iptables.open({ netns: host.netns, family: 'ipv4' });
  const rule = '-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';
  await tables.restore(`*mangle\n${rule}\nCOMMIT\n`);
  const syn = Buffer.from(tcp({ from: '10.1.0.1:1000', to: '10.2.0.9:80', flags: 'syn' }).bytes, 'hex');
  const { packet } = host.receive({ bytes: syn }, { on: 'eth0' });
  // It had no such option: hosts without one take 536 bytes.
  expect(packet.bytes.slice(2 * syn.length)).toBe('02040218');
});

test('chains at a device see frames with all that is in them, and send them elsewhere', async () => {
  const host = router();
  await host.nftables.apply(
    chain(
      'netdev',
      'type filter hook ingress device "eth0" priority 0',
      'meta length 46 counter',
      'udp dport 53 fwd to "eth1"',
    ),
  );
  const padded = Buffer.concat([Buffer.from(through.bytes, 'hex'), Buffer.alloc(15)]);
  const { verdict, device, steps } = host.receive({ bytes: padded }, { on: 'eth0' });
  expect([verdict, device]).toEqual(['forward', 'eth1']);
  expect(steps.map(each => [each.family, each.verdict])).toEqual([
    ['netdev', 'continue'],
    ['netdev', 'stolen'],
  ]);
});

test('a copy goes to another neighbour, with one hop less and untracked', async () => {
  const host = router();
  await host.nftables.apply(
    chain('ip', 'type filter hook prerouting priority -300', 'udp dport 53 dup to 10.2.0.77', 'udp dport 53 drop'),
  );
  const { verdict, copies } = host.receive(through, { on: 'eth0' });
  expect(verdict).toBe('drop');
  expect(copies).toMatchObject([{ device: 'eth1', packet: { to: '10.2.0.9:53', ttl: 63 } }]);
});

test('ARP goes through chains of its family', async () => {
  const host = router();
  await host.nftables.apply(chain('arp', 'type filter hook input priority 0', 'arp operation request counter drop'));
  const request = `0001080006040001${colonless(MAC)}0a010001${'00'.repeat(6)}0a010002`;
  const link = `ffffffffffff${colonless(MAC)}0806`;
  const { verdict, steps } = host.receive({ bytes: request, link }, { on: 'eth0' });
  expect(verdict).toBe('drop');
  expect(steps).toMatchObject([{ family: 'arp', chain: 'c', verdict: 'drop' }]);
});

test('the trace of the library reads what a kernel in memory tells of a packet', async () => {
  const host = router();
  await host.nftables.apply(
    chain('ip', 'type filter hook forward priority 0', 'meta nftrace set 1', 'udp dport 53 counter drop'),
  );
  const trace = host.nftables.trace();
  host.receive(through, { on: 'eth0' });
  const steps: unknown[] = [];
  for await (const step of trace) if (steps.push(step) === 2) break;
  expect(steps).toMatchObject([
    { table: 't', chain: 'c', type: 'rule', verdict: { verdict: 'continue' } },
    { table: 't', chain: 'c', type: 'rule', verdict: { verdict: 'drop' } },
  ]);
});

test('a packet that meets what is not modelled is refused with ERR_UNSUPPORTED, and the feature is named', async () => {
  const host = router();
  await host.nftables.apply(chain('ip', 'type filter hook input priority 0', 'osf name "Linux" counter'));
  const syn = tcp({ from: '10.1.0.1:1000', to: '10.1.0.2:22' });
  expect(() => host.receive(syn, { on: 'eth0' })).toThrow(
    expect.objectContaining({ code: 'ERR_UNSUPPORTED', message: expect.stringContaining('osf: fingerprints') }),
  );
});

test('a ruleset that was read, and one that is text, tell why a packet is dropped', async () => {
  const host = router();
  await host.nftables.apply(
    `table inet f {\n set admins { type ipv4_addr; elements = { 10.1.0.7 } }\n chain in {\n type filter hook input priority 0; policy drop\n ip saddr @admins tcp dport 22 accept\n}\n}\n`,
  );
  using nft = Nftables.open({ netns: host.netns });
  const read = nft.sync.ruleset({ elements: true });
  const from = (address: string) => tcp({ from: `${address}:1000`, to: '10.1.0.2:22' });
  for (const ruleset of [read, formatRuleset(read)]) {
    expect(simulate(ruleset, from('10.1.0.7'))).toMatchObject({ verdict: 'accept', steps: [{ verdict: 'accept' }] });
    expect(simulate(ruleset, from('10.1.0.8'))).toMatchObject({
      verdict: 'drop',
      steps: [{ table: 'f', chain: 'in', verdict: 'drop' }],
    });
  }
});
