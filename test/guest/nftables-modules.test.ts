import { execFileSync } from 'node:child_process';
import { Links, NetNs } from 'netsteer';
import { NETLINK_NETFILTER, NetlinkSocket, NLMSG_ERROR, readAck } from 'netsteer/netlink';
import {
  accept,
  counter,
  decodeMessage,
  encodeMessage,
  type Family,
  Nftables,
  type Statement,
  Transaction,
  tcp,
  udp,
} from 'netsteer/nftables';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { messagesIn } from '../../src/netlink/index.ts';
import { Agent, serve } from '../support/ipvs-agent.ts';
import { stateOf } from '../support/nftables-state.ts';
import { ADDRESSES, TrafficLab } from '../support/traffic-lab.ts';
import { kernelSuite, where } from '../support/where.ts';

/* What this machine's kernel may lack and Debian's have as modules: flowtables, queue, meta and reject on bridges, the listing of hooks. */

const FLOW: Statement = { flow: { op: 'add', flowtable: '@f' } };
const BRIDGE: Statement = { match: { op: '==', left: { meta: { key: 'ibrname' } }, right: 'br0' } };

/** Statements, and what nft says of them. */
const RULES: [Family, string, Statement[], string][] = [
  ['inet', 'forward', [FLOW], 'flow add @f'],
  ['inet', 'forward', [{ queue: { num: 7 } }], 'queue to 7'],
  [
    'inet',
    'forward',
    [{ queue: { num: { range: [2, 5] }, flags: ['bypass', 'fanout'] } }],
    'queue flags bypass,fanout to 2-5',
  ],
  ['bridge', 'in', [BRIDGE], 'meta ibrname "br0"'],
  ['bridge', 'in', [{ match: { op: '==', left: { meta: { key: 'ibrpvid' } }, right: 100 } }], 'meta ibrpvid 100'],
  [
    'bridge',
    'in',
    [{ match: { op: '==', left: { meta: { key: 'ibrvproto' } }, right: '8021q' } }],
    'meta ibrvproto 8021q',
  ],
  ['bridge', 'in', [{ reject: { type: 'icmp', expr: 'host-unreachable' } }], 'reject with icmp host-unreachable'],
  ['bridge', 'in', [tcp.dport.eq(22), { reject: { type: 'tcp reset' } }], 'tcp dport 22 reject with tcp reset'],
  ['bridge', 'in', [{ reject: { type: 'icmpx', expr: 'admin-prohibited' } }], 'reject with icmpx admin-prohibited'],
];

function described(): Transaction {
  const transaction = new Transaction()
    .add({ table: { family: 'inet', name: 't' } })
    .add({
      flowtable: {
        family: 'inet',
        table: 't',
        name: 'f',
        hook: 'ingress',
        priority: 10,
        devices: ['v0', 'v1'],
        flags: ['counter'],
      },
    })
    .add({ chain: { family: 'inet', table: 't', name: 'forward', type: 'filter', hook: 'forward', priority: 0 } })
    .add({ table: { family: 'bridge', name: 't' } })
    .add({ chain: { family: 'bridge', table: 't', name: 'in', type: 'filter', hook: 'prerouting', priority: 0 } });
  for (const [family, chain, statements] of RULES) transaction.add({ rule: { family, table: 't', chain, statements } });
  return transaction;
}

function withDevices(): { netns: NetNs; nft: Nftables } {
  const netns = NetNs.create();
  using links = Links.open({ netns });
  links.sync.createVeth({ name: 'v0', peer: { name: 'v1' } });
  return { netns, nft: Nftables.open({ netns }) };
}

const listed = (netns: NetNs) => netns.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }));

kernelSuite('expressions of kernel modules', () => {
  test('are read back, listed by nft and written elsewhere: flowtables, queue, meta and reject on bridges', async () => {
    const [one, other] = [withDevices(), withDevices()];
    try {
      one.nft.sync.commit(described());
      const text = listed(one.netns);
      for (const [, , , line] of RULES) expect(text).toContain(line);
      expect(text).toMatch(
        /flowtable f \{\s+hook ingress priority (10|filter \+ 10)\s+devices = \{ v0, v1 \}\s+counter\s+\}/,
      );
      const ruleset = one.nft.sync.ruleset();
      expect(ruleset.flowtables).toMatchObject([
        {
          family: 'inet',
          table: 't',
          name: 'f',
          hook: 'ingress',
          priority: 10,
          devices: ['v0', 'v1'],
          flags: ['counter'],
        },
      ]);
      other.nft.sync.reconcile(ruleset, { prefix: '' });
      const written = other.nft.sync.ruleset();
      const comparable = (read: typeof ruleset) =>
        JSON.stringify(stateOf(read), (key, value: unknown) =>
          key === 'handle' || key === 'previousHandle' || key === 'generation' ? undefined : value,
        );
      expect(comparable(written)).toBe(comparable(ruleset));
      expect(listed(other.netns)).toBe(text);
      expect(other.nft.sync.plan(ruleset, { prefix: '' }).operations).toEqual([]);

      const F = { family: 'inet', table: 't', name: 'f' } as const;
      expect(() => one.nft.sync.commit(new Transaction().delete({ flowtable: F }))).toThrow(
        'rules or maps use the flowtable',
      );
      one.nft.sync.commit(
        new Transaction().flush({ chain: { family: 'inet', table: 't', name: 'forward' } }).delete({ flowtable: F }),
      );
      expect(one.nft.sync.flowtables()).toEqual([]);
    } finally {
      for (const { netns, nft } of [one, other]) {
        await nft[Symbol.asyncDispose]();
        netns.close();
      }
    }
  });

  test('have their functions on a hook listed: chains by their names, flowtables (Linux 6.4; Debian 6.1 has no such subsystem)', async () => {
    const { netns, nft } = withDevices();
    const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    try {
      nft.sync.commit(described());
      const request = encodeMessage({ type: 'hook', family: 'ip', flags: 0x301, sequence: 1, object: { hook: 2 } });
      expect(socket.send(request, request.length)).toBe(request.length);
      const source = sourceOf(new Uint8Array(65536));
      const functions: unknown[] = [];
      const refusals: number[] = [];
      for (let length = socket.receive(source.bytes); length > 0; length = socket.receive(source.bytes)) {
        for (const message of messagesIn(source, 0, length)) {
          if (message.type === NLMSG_ERROR) refusals.push(readAck(message).errno);
          if (message.type > 16) functions.push(decodeMessage(source.bytes.slice(message.start, message.end)).object);
        }
      }
      if (where === '6.1') {
        expect(functions).toEqual([]);
        expect(refusals).toEqual([-22]);
        return;
      }
      expect(refusals).toEqual([]);
      expect(functions).toContainEqual(
        expect.objectContaining({
          hook: 'forward',
          priority: 0,
          function: 'nft_do_chain_inet',
          module: 'nf_tables',
          attached: { type: 'chain', description: { table: 't', family: 1, name: 'forward' } },
        }),
      );
    } finally {
      await nft[Symbol.asyncDispose]();
      await socket.close();
      netns.close();
    }
  });
});

kernelSuite('traffic through expressions of kernel modules', () => {
  let lab: TrafficLab;
  beforeAll(async () => {
    lab = new TrafficLab();
    await lab.last('ipv4');
  });
  afterAll(() => lab?.close());

  test('bypasses the rules after flow add for the rest of the connection', async () => {
    const port = lab.port();
    lab.serve(lab.server, 'server', port);
    await lab.load(
      {
        forward: {
          type: 'filter',
          hook: 'forward',
          priority: 0,
          rules: [
            [tcp.dport.eq(port), counter(), FLOW],
            [tcp.sport.eq(port), FLOW],
          ],
        },
      },
      {
        before: transaction =>
          transaction.add({
            flowtable: { family: 'inet', table: 't', name: 'f', hook: 'ingress', priority: 0, devices: ['r0', 'r1'] },
          }),
      },
    );
    const ask = async (times: number) => {
      for (let i = 0; i < times; i++) expect(await lab.agent.ask('flow', `${i}`)).toBe(`server: ${i}`);
    };
    await lab.agent.open('flow', { host: ADDRESSES.ipv4.server, port });
    await ask(3);
    const seen = async () => {
      const rules = await lab.nft.rules({ family: 'inet', table: 't', chain: 'forward' });
      const counters = rules.flatMap(({ expressions }) =>
        expressions.flatMap(one => ('counter' in one ? [one.counter.packets!] : [])),
      );
      return Number(counters[0]);
    };
    const before = await seen();
    expect(before).toBeGreaterThan(0);
    await ask(30);
    // Thirty lines are at least as many packets; the rules see only those for which the kernel has forgotten its short way.
    expect((await seen()) - before).toBeLessThan(15);
    await lab.agent.close('flow');
  });

  test('is dropped by queue without a listener, or accepted with bypass', async () => {
    const [dropped, passed] = [lab.port(), lab.port()];
    await lab.only([
      [udp.dport.eq(dropped), { queue: { num: 7 } }],
      [udp.dport.eq(passed), { queue: { num: 7, flags: 'bypass' } }],
    ]);
    expect(await lab.passing([{ port: dropped }, { port: passed }], 1)).toEqual([1]);
  });

  test('is rejected on a bridge: the client gets an error at once', async () => {
    const [bridge, client, server] = [NetNs.create(), NetNs.create(), NetNs.create()];
    const nft = Nftables.open({ netns: bridge });
    const agent = new Agent(client);
    const listening: { close(): void }[] = [];
    try {
      using links = Links.open({ netns: bridge });
      links.sync.createBridge({ name: 'br0' });
      for (const [i, netns] of [client, server].entries()) {
        netns.sysctl.set('net.ipv6.conf.default.accept_dad', 0);
        links.sync.createVeth({ name: `p${i}`, peer: { name: 'eth0', netns } });
        links.sync.set(`p${i}`, { master: 'br0', up: true });
        using inside = Links.open({ netns });
        inside.sync.set('eth0', { up: true });
        inside.sync.addAddress('eth0', `10.9.0.${i + 1}/24`);
      }
      links.sync.set('br0', { up: true });
      const place = { family: 'bridge', table: 't' } as const;
      nft.sync.commit(
        new Transaction()
          .add({ table: { family: 'bridge', name: 't' } })
          .add({ chain: { ...place, name: 'in', type: 'filter', hook: 'prerouting', priority: 0 } })
          .add({ rule: { ...place, chain: 'in', statements: [tcp.dport.eq(80), accept()] } })
          .add({
            rule: { ...place, chain: 'in', statements: [BRIDGE, tcp.dport.eq(81), { reject: { type: 'tcp reset' } }] },
          }),
      );
      for (const port of [80, 81]) listening.push(serve(server, `server ${port}`, port));
      expect(await agent.visit({ host: '10.9.0.2', port: 80 })).toBe('server 80');
      await expect(agent.visit({ host: '10.9.0.2', port: 81 })).rejects.toThrow('ECONNREFUSED');
    } finally {
      agent.stop();
      for (const each of listening) each.close();
      await nft[Symbol.asyncDispose]();
      for (const netns of [bridge, client, server]) netns.close();
    }
  });
});
