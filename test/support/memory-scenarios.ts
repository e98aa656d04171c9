import assert from 'node:assert';
import { Conntrack } from '../../src/conntrack/index.ts';
import { Fleet } from '../../src/container/index.ts';
import type { Packet } from '../../src/nflog/index.ts';
import { Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { MemoryKernel, tcp, udp } from '../../src/testing/index.ts';
import { turns } from './wait.ts';

/*
 * What the library does to a kernel, told by packets and by what other handles read: test/unit/mutations.test.ts breaks the library in one place after
 * the other, and each time one of these has to fail. They use node:assert, since they are bundled with the broken library.
 */

const VIP = '10.10.0.100';
const KEY = { protocol: 'tcp', address: VIP, port: 80 } as const;
const eth0 = (...addresses: string[]) => ({ links: [{ name: 'eth0', addresses }] });

async function onKernel(work: (kernel: MemoryKernel) => Promise<void>): Promise<void> {
  const kernel = MemoryKernel.create({ release: '6.18' });
  try {
    await work(kernel);
  } finally {
    await kernel.close();
  }
}

const within =
  (work: (kernel: MemoryKernel) => Promise<void>): (() => Promise<void>) =>
  () =>
    onKernel(work);

/** The next packet of a log. What a kernel in memory delivers is there after a few turns of the event loop. */
async function nextOf(packets: AsyncIterator<Packet>): Promise<Packet> {
  const next = await Promise.race([packets.next(), turns(1000)]);
  assert.ok(next !== undefined && next.done !== true, 'no packet has come');
  return next.value;
}

export const SCENARIOS: Readonly<Record<string, () => Promise<void>>> = {
  'rules of text decide over packets as they are written': within(async kernel => {
    const host = kernel.container('host', eth0('192.168.0.50/24'));
    await host.nftables.apply(`table inet f {
  set friends {
    type ipv4_addr
    elements = { 192.168.0.7, 192.168.0.8 }
  }
  chain in {
    type filter hook input priority filter; policy drop
    ip saddr != @friends tcp dport 22 drop
    tcp dport { 22, 443 } accept
    udp dport != 1000-2000 udp dport != 53 drop
    udp length 8-100 accept
    ip saddr & 255.255.255.0 == 192.168.1.0 accept
    tcp dport vmap { 25 : accept, 26 : drop }
    ip protocol tcp tcp flags & (syn | ack) == syn | ack accept
  }
}
`);
    const verdicts = (from: string, ports: readonly number[], make: typeof tcp | typeof udp) =>
      ports.map(port => host.receive(make({ from: `${from}:1`, to: `192.168.0.50:${port}` }), { on: 'eth0' }).verdict);
    assert.deepStrictEqual(verdicts('192.168.0.7', [22, 443, 25, 26, 80], tcp), [
      'accept',
      'accept',
      'accept',
      'drop',
      'drop',
    ]);
    assert.deepStrictEqual(verdicts('192.168.0.9', [22, 443], tcp), ['drop', 'accept']);
    assert.deepStrictEqual(verdicts('192.168.1.9', [80], tcp), ['accept']);
    assert.deepStrictEqual(verdicts('192.168.0.9', [53, 999, 1000, 2000, 2001], udp), [
      'accept',
      'drop',
      'accept',
      'accept',
      'drop',
    ]);
    const both = tcp({ from: '192.168.0.9:1', to: '192.168.0.50:80', flags: ['syn', 'ack'] });
    assert.strictEqual(host.receive(both, { on: 'eth0' }).verdict, 'accept');
  }),

  'objects are kept as they are given: places of rules, timeouts, policies, comments': within(async kernel => {
    const { nftables } = kernel.container('host');
    const place = { family: 'ip', table: 't' } as const;
    const chain = { ...place, chain: 'c' };
    const tx = new Transaction();
    tx.add({ table: { family: 'ip', name: 't' } });
    tx.add({ chain: { ...place, name: 'c', type: 'filter', hook: 'forward', priority: -5, policy: 'drop' } });
    for (const comment of ['first', 'last']) tx.add({ rule: { ...chain, expressions: [{ counter: {} }], comment } });
    tx.add({ set: { ...place, name: 's', key: 'ipv4_addr', flags: ['timeout'], timeoutMilliseconds: 60_000n } });
    const elements = [{ key: '0a000001', timeoutMilliseconds: 5000n }, { key: '0a000002' }];
    tx.add({ element: { ...place, set: 's', elements } });
    await nftables.commit(tx);
    const [first] = await nftables.rules({ family: 'ip', table: 't' });
    const between = { ...chain, position: first!.handle!, expressions: [{ counter: {} }], comment: 'between' };
    await nftables.commit(new Transaction().add({ rule: between }));
    const rules = await nftables.rules({ family: 'ip', table: 't' });
    assert.deepStrictEqual(
      rules.map(({ comment }) => comment),
      ['first', 'between', 'last'],
    );
    const [read] = await nftables.chains({ family: 'ip' });
    assert.deepStrictEqual([read!.hook, read!.priority, read!.policy], ['forward', -5, 'drop']);
    const all = await nftables.elements({ ...place, name: 's' });
    assert.ok(all.some(({ timeoutMilliseconds }) => timeoutMilliseconds === 5000n));
    kernel.advance(5000);
    const left = await nftables.elements({ ...place, name: 's' });
    assert.strictEqual(left.length, 1);
    kernel.advance(55_000);
    assert.strictEqual((await nftables.elements({ ...place, name: 's' })).length, 0);
  }),

  'what was read can be written to another container, and a plan finds nothing left to do': within(async kernel => {
    const [one, other] = ['one', 'other'].map(name => kernel.container(name).nftables);
    await one!.apply(`table inet f {
  map ports {
    type inet_service : verdict
    flags interval
    elements = { 80-90 : accept, 443 : drop }
  }
  chain in {
    type filter hook input priority 10; policy accept
    tcp dport vmap @ports
    meta mark set 0x10 counter
    limit rate over 5/second burst 3 packets log prefix "much " group 7 drop
  }
}
`);
    const read = await one!.ruleset({ elements: true });
    await other!.reconcile(read, { prefix: '' });
    const texts = await Promise.all([one!, other!].map(nft => nft.ruleset({ as: 'text' })));
    assert.strictEqual(texts[1], texts[0]);
    assert.deepStrictEqual((await other!.plan(read, { prefix: '' })).operations, []);
  }),

  'services and destinations are forwarded to as they are configured': within(async kernel => {
    const lb = kernel.container('lb', eth0('10.10.0.1/24', `${VIP}/32`));
    const destination = (address: string, weight: number) =>
      ({ address, port: 80, forward: 'direct', weight }) as const;
    const destinations = [destination('10.10.0.12', 1), destination('10.10.0.11', 3)];
    const web = { ...KEY, scheduler: 'wrr' } as const;
    await lb.ipvs.reconcile([{ ...web, destinations }]);
    const send = (port: number) =>
      lb.receive(tcp({ from: `10.10.0.9:${port}`, to: `${VIP}:80` }), { on: 'eth0' }).forwardedTo;
    const chosen = [1, 2, 3, 4, 5, 6, 7, 8].map(send);
    assert.strictEqual(chosen.filter(each => each?.address === '10.10.0.11').length, 6);
    assert.ok(chosen.every(each => each?.method === 'direct' && each.port === 80));
    await lb.ipvs.editDestination(KEY, { address: '10.10.0.11', port: 80 }, { weight: 0 });
    assert.deepStrictEqual(
      [9, 10].map(port => send(port)?.address),
      ['10.10.0.12', '10.10.0.12'],
    );
    assert.strictEqual(
      await lb.ipvs.save(),
      `-A -t ${VIP}:80 -s wrr\n-a -t ${VIP}:80 -r 10.10.0.11:80 -g -w 0\n-a -t ${VIP}:80 -r 10.10.0.12:80 -g -w 1\n`,
    );
    await lb.ipvs.setTimeouts({ tcpSeconds: 100, tcpFinSeconds: 20, udpSeconds: 30 });
    assert.deepStrictEqual(await lb.ipvs.timeouts(), { tcpSeconds: 100, tcpFinSeconds: 20, udpSeconds: 30 });
  }),

  'a plan of IPVS raises weights before it lowers others, and prunes only where it is asked to': within(
    async kernel => {
      const { ipvs } = kernel.container('lb');
      const destination = (last: number, weight: number) =>
        ({ address: `10.10.0.${last}`, port: 80, forward: 'masquerade', weight }) as const;
      const web = { ...KEY, scheduler: 'wlc' } as const;
      const mail = {
        protocol: 'tcp',
        address: VIP,
        port: 25,
        scheduler: 'rr',
        persistence: { timeoutSeconds: 60 },
      } as const;
      await ipvs.reconcile([
        { ...web, destinations: [destination(1, 1), destination(2, 1)] },
        { ...mail, destinations: [] },
      ]);
      const desired = [{ ...web, destinations: [destination(1, 0), destination(2, 5), destination(3, 1)] }];
      const plan = await ipvs.plan(desired);
      assert.deepStrictEqual(
        plan.map(each => [each.op, 'destination' in each ? each.destination.weight : undefined]),
        [
          ['addDestination', 1],
          ['setDestination', 5],
          ['setDestination', 0],
        ],
      );
      await ipvs.reconcile(desired);
      assert.strictEqual((await ipvs.services()).length, 2);
      assert.deepStrictEqual(await ipvs.plan(desired), []);
      await ipvs.reconcile(desired, { prune: true });
      assert.deepStrictEqual(
        (await ipvs.services()).map(({ scheduler }) => scheduler),
        ['wlc'],
      );
    },
  ),

  'a redirect takes its port and no other, and a log sees what came before it': within(async kernel => {
    const web = kernel.container('web', eth0('192.168.0.50/24', `${VIP}/32`));
    await web.redirects.set([
      { ...KEY, toPort: 8080 },
      { protocol: 'udp', address: VIP, port: 53 },
    ]);
    await web.logging.set([
      { group: 5, prefix: 'in ' },
      { group: 6, prefix: 'before ', hook: 'prerouting' },
    ]);
    const log = web.nflog({ groups: [5, 6], queue: { packets: 1 }, sequence: true });
    const packets = log[Symbol.asyncIterator]();
    const taken = web.receive(tcp({ from: '192.168.0.1:40000', to: `${VIP}:80` }), { on: 'eth0' });
    assert.strictEqual(taken.packet.to, '192.168.0.50:8080');
    const read = [await nextOf(packets), await nextOf(packets)];
    assert.deepStrictEqual(
      read.map(({ group, prefix, hook, inDevice }) => [group, prefix, hook, inDevice]),
      [
        [6, 'before ', 'prerouting', 'eth0'],
        [5, 'in ', 'input', 'eth0'],
      ],
    );
    assert.match(read[0]!.summary(), /DST=10\.10\.0\.100 .*DPT=80 /);
    assert.match(read[1]!.summary(), /DST=192\.168\.0\.50 .*SPT=40000 DPT=8080 /);
    const other = web.receive(tcp({ from: '192.168.0.1:40001', to: `${VIP}:81` }), { on: 'eth0' });
    assert.strictEqual(other.packet.to, `${VIP}:81`);
    const query = web.receive(udp({ from: '192.168.0.1:40000', to: `${VIP}:53` }), { on: 'eth0' });
    assert.strictEqual(query.packet.to, '192.168.0.50:53');
    assert.deepStrictEqual(await web.redirects.list(), [
      { ...KEY, toPort: 8080 },
      { protocol: 'udp', address: VIP, port: 53 },
    ]);
  }),

  'packets that are lost on the way to a log are counted': within(async kernel => {
    const web = kernel.container('web', eth0('192.168.0.50/24'));
    await web.logging.set([{ group: 5 }]);
    const log = web.nflog({ groups: [5], queue: { packets: 1 } });
    const packets = log[Symbol.asyncIterator]();
    const send = (port: number) =>
      web.receive(udp({ from: `192.168.0.1:${port}`, to: '192.168.0.50:53' }), { on: 'eth0' });
    send(1);
    await nextOf(packets);
    kernel.lose({ what: 'log', times: 3 });
    for (const port of [2, 3, 4, 5]) send(port);
    assert.strictEqual((await nextOf(packets)).sequence, 4);
    assert.deepStrictEqual([log.stats.received, log.stats.lostPackets], [2, 3]);
  }),

  'connections are listed, filtered and ended': within(async kernel => {
    const web = kernel.container('web', eth0('192.168.0.50/24', `${VIP}/32`));
    await web.redirects.set([{ ...KEY, toPort: 8080 }]);
    web.receive(tcp({ from: '192.168.0.1:40000', to: `${VIP}:80` }), { on: 'eth0' });
    web.receive(udp({ from: '192.168.0.2:40001', to: '192.168.0.50:53' }), { on: 'eth0' });
    await using ct = Conntrack.open({ netns: web.netns });
    const [flow, ...others] = await ct.list({ nat: 'destination' });
    assert.strictEqual(others.length, 0);
    const { original, reply, timeoutSeconds, tcp: state } = flow!;
    assert.deepStrictEqual([original.sourcePort, original.destinationPort, reply.sourcePort], [40000, 80, 8080]);
    assert.deepStrictEqual([timeoutSeconds, state?.state], [120, 'syn-sent']);
    assert.strictEqual((await ct.list({ source: '192.168.0.2' })).length, 1);
    assert.strictEqual(await ct.flush({ protocol: 'udp' }), 1);
    assert.strictEqual(await ct.count(), 1);
    await web.redirects.set([{ ...KEY, toPort: 9090 }], { connections: 'end' });
    // Its translation is another one now.
    assert.strictEqual(await ct.count(), 0);
  }),

  'devices have the addresses that they are given': within(async kernel => {
    const { netns } = kernel.container('web');
    await using links = Links.open({ netns });
    await links.createDummy({ name: 'dummy0', mtu: 1400 });
    await links.set('dummy0', { up: true });
    await links.addAddress('dummy0', '10.0.0.1/24');
    const [, dummy] = await links.list();
    assert.deepStrictEqual([dummy!.name, dummy!.mtu, dummy!.up], ['dummy0', 1400, true]);
    assert.deepStrictEqual(
      (await links.addresses({ device: 'dummy0' })).map(({ address }) => address),
      ['10.0.0.1/24'],
    );
  }),

  'a fleet tells what differs in a container': within(async kernel => {
    const webs = ['one', 'other'].map(name => kernel.container(name, eth0('192.168.0.50/24')));
    await using fleet = Fleet.open();
    const state = { redirects: [{ ...KEY, toPort: 8080 }], logging: [{ group: 5 }] };
    assert.strictEqual((await fleet.apply(webs, state)).programmed.length, 2);
    await webs[0]!.nftables.apply('flush table inet netsteer-logging');
    const { drift } = await fleet.verify(webs, state);
    assert.deepStrictEqual([...drift.keys()], [webs[0]]);
    assert.deepStrictEqual(Object.keys(drift.get(webs[0]!) ?? {}), ['logging']);
  }),

  'servers are chosen and reached by what is configured for them: thresholds, persistence, tunnels': within(
    async kernel => {
      const lb = kernel.container('lb', eth0('10.10.0.1/24', `${VIP}/32`));
      const web = { ...KEY, scheduler: 'rr', persistence: { timeoutSeconds: 360 } } as const;
      await lb.ipvs.addService(web);
      const full = {
        address: '10.10.0.11',
        port: 80,
        forward: 'direct',
        upperThreshold: 3,
        lowerThreshold: 2,
      } as const;
      await lb.ipvs.addDestination(KEY, full);
      const send = (client: number, port: number) =>
        lb.receive(tcp({ from: `10.10.0.${client}:${port}`, to: `${VIP}:80` }), { on: 'eth0' });
      for (const port of [1, 2, 3]) assert.strictEqual(send(200, port).forwardedTo?.address, '10.10.0.11');
      const [read] = await lb.ipvs.destinations(KEY);
      assert.deepStrictEqual([read!.upperThreshold, read!.lowerThreshold, read!.persistentConnections], [3, 2, 1]);
      assert.strictEqual(read!.activeConnections! + read!.inactiveConnections!, 3);
      await lb.ipvs.addDestination(KEY, {
        address: '10.10.0.12',
        port: 80,
        forward: 'tunnel',
        tunnel: { type: 'gre' },
      });
      const tunneled = send(201, 1);
      assert.deepStrictEqual([tunneled.forwardedTo?.method, tunneled.packet.protocol], ['tunnel', 47]);
      assert.deepStrictEqual((await lb.ipvs.save()).split('\n').sort(), [
        '',
        `-A -t ${VIP}:80 -s rr -p 360`,
        `-a -t ${VIP}:80 -r 10.10.0.11:80 -g -w 1 -x 3 -y 2`,
        `-a -t ${VIP}:80 -r 10.10.0.12:80 -i -w 1 --tun-type gre --tun-nocsum`,
      ]);
      kernel.advance(4000);
      assert.strictEqual((await lb.ipvs.service(KEY)).stats?.connections, 4n);
    },
  ),

  'a plan removes what nobody wants, keeps the order of rules, and changes only elements that differ': within(
    async kernel => {
      const { nftables } = kernel.container('host');
      const table = { family: 'ip', name: 'own-t' } as const;
      const place = { family: 'ip', table: 'own-t' } as const;
      const rule = (comment: string) => ({ ...place, chain: 'c', expressions: [{ counter: {} }], comment });
      const desired = (comments: readonly string[], keys: readonly string[]) => ({
        tables: [table],
        chains: [{ ...place, name: 'c' }],
        rules: comments.map(rule),
        sets: [{ ...place, name: 's', key: 'ipv4_addr' as const, keyLength: 4, elements: keys.map(key => ({ key })) }],
      });
      await nftables.apply('add table ip foreign');
      const reconcile = (comments: readonly string[], keys: readonly string[]) =>
        nftables.reconcile(desired(comments, keys) as never, { prefix: 'own-' });
      await reconcile(['a', 'c'], ['0a000001', '0a000002']);
      const { operations } = await nftables.plan(desired(['a', 'b', 'c'], ['0a000002', '0a000003']) as never, {
        prefix: 'own-',
      });
      assert.deepStrictEqual(operations.map(({ verb, kind }) => [verb, kind]).sort(), [
        ['add', 'element'],
        ['delete', 'element'],
        ['insert', 'rule'],
      ]);
      await reconcile(['a', 'b', 'c'], ['0a000002', '0a000003']);
      assert.deepStrictEqual(
        (await nftables.rules(place)).map(({ comment }) => comment),
        ['a', 'b', 'c'],
      );
      const keys = (await nftables.elements({ ...place, name: 's' })).map(({ key }) => String(key));
      assert.deepStrictEqual(keys.sort(), ['0a000002', '0a000003']);
      await nftables.reconcile({ tables: [] } as never, { prefix: 'own-' });
      assert.deepStrictEqual(
        (await nftables.tables()).map(({ name }) => name),
        ['foreign'],
      );
    },
  ),

  'a fleet programs the living, lets go of the others, and tells services that differ': within(async kernel => {
    const [one, other] = ['one', 'other'].map(name => kernel.container(name, eth0('192.168.0.50/24')));
    other!.end();
    await other!.closed;
    await using fleet = Fleet.open();
    const virtualServers = [{ ...KEY, scheduler: 'rr', destinations: [] }];
    const { programmed, gone, failed } = await fleet.apply([one!, other!], { logging: [{ group: 5 }], virtualServers });
    assert.deepStrictEqual([programmed, gone, failed.size], [[one], [other], 0]);
    assert.strictEqual((await one!.ipvs.services()).length, 1);
    await one!.ipvs.flush();
    const { drift } = await fleet.verify([one!], { logging: [{ group: 5 }], virtualServers });
    assert.deepStrictEqual(Object.keys(drift.get(one!) ?? {}), ['virtualServers']);
  }),

  'a log tells the devices, the mark and the sender of a packet': within(async kernel => {
    const host = kernel.container('host', {
      links: [
        { name: 'eth0', addresses: ['192.168.0.50/24'] },
        { name: 'eth1', addresses: ['10.9.0.1/24'] },
      ],
    });
    host.netns.sysctl.set('net.ipv4.ip_forward', 1);
    await host.nftables.apply(`table ip t {
  chain c {
    type filter hook forward priority 0; policy accept
    meta mark set 0x11 log group 5 prefix "fwd"
  }
}
`);
    const log = host.nflog({ groups: [5], queue: { packets: 1 }, globalSequence: true });
    const packets = log[Symbol.asyncIterator]();
    host.receive(udp({ from: '192.168.0.1:1', to: '10.9.0.9:2' }), { on: 'eth0' });
    const packet = await nextOf(packets);
    assert.deepStrictEqual(
      [packet.inDevice, packet.outDevice, packet.mark, packet.hook, packet.globalSequence, packet.family],
      ['eth0', 'eth1', 17, 'forward', 1, 'ip'],
    );
    assert.strictEqual(packet.hardwareAddress?.length, 17);
  }),
};
