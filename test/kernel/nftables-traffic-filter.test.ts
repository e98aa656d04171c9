import { Nflog, type Packet } from 'netsteer';
import {
  accept,
  concat,
  continues,
  ct,
  ctCount,
  drop,
  dynamicSet,
  goto,
  icmp,
  icmpv6,
  ip,
  ip6,
  jump,
  limit,
  log,
  meta,
  Nftables,
  notrack,
  quota,
  type Reject,
  reject,
  returns,
  type Statement,
  Transaction,
  tcp,
  th,
  udp,
} from 'netsteer/nftables';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { take } from '../support/nflog-lab.ts';
import { ADDRESSES, TABLE, TrafficLab } from '../support/traffic-lab.ts';
import { kernelSuite } from '../support/where.ts';

/* Which packets go on: each rule is judged by what arrives, and by what the client is told. */

let lab: TrafficLab;
/** What comes back to the client besides data: ICMP errors and resets. */
let told: Nflog;
beforeAll(async () => {
  lab = new TrafficLab();
  await lab.last('ipv4');
  await lab.last('ipv6');
  const place = { family: 'inet', table: 't' } as const;
  const logged = (...statements: Statement[]) => ({
    rule: { ...place, chain: 'in', statements: [...statements, log({ group: 1 })] },
  });
  const clients = lab.keep(Nftables.open({ netns: lab.client }));
  await clients.commit(
    new Transaction()
      .add({ table: { family: 'inet', name: 't' } })
      .add({ chain: { ...place, name: 'in', type: 'filter', hook: 'input', priority: 0 } })
      .add(logged(icmp.type.eq('destination-unreachable')))
      .add(logged(icmpv6.type.eq('destination-unreachable')))
      .add(logged(tcp.flags.in('rst'))),
  );
  told = lab.keep(Nflog.open({ netns: lab.client, groups: [1] }));
});
afterAll(() => lab?.close());

const { client, second, server } = ADDRESSES.ipv4;

/** Each protocol's own words for a refusal, and what the client's system makes of them. */
const REFUSALS: [family: 'ipv4' | 'ipv6', reason: Reject | undefined, error: string, message: string][] = [
  ['ipv4', { type: 'tcp reset' }, 'ECONNREFUSED', 'PROTO=TCP .* RST'],
  ['ipv6', { type: 'tcp reset' }, 'ECONNREFUSED', 'PROTO=TCP .* RST'],
  ['ipv4', undefined, 'ECONNREFUSED', 'TYPE=3 CODE=3'],
  ['ipv6', undefined, 'ECONNREFUSED', 'TYPE=1 CODE=4'],
  ['ipv4', { type: 'icmp', expr: 'net-unreachable' }, 'ENETUNREACH', 'TYPE=3 CODE=0'],
  ['ipv4', { type: 'icmp', expr: 'host-unreachable' }, 'EHOSTUNREACH', 'TYPE=3 CODE=1'],
  ['ipv4', { type: 'icmp', expr: 'prot-unreachable' }, 'ENOPROTOOPT', 'TYPE=3 CODE=2'],
  ['ipv4', { type: 'icmp', expr: 'port-unreachable' }, 'ECONNREFUSED', 'TYPE=3 CODE=3'],
  ['ipv4', { type: 'icmp', expr: 'net-prohibited' }, 'ENETUNREACH', 'TYPE=3 CODE=9'],
  ['ipv4', { type: 'icmp', expr: 'host-prohibited' }, 'EHOSTUNREACH', 'TYPE=3 CODE=10'],
  ['ipv4', { type: 'icmp', expr: 'admin-prohibited' }, 'EHOSTUNREACH', 'TYPE=3 CODE=13'],
  ['ipv6', { type: 'icmpv6', expr: 'no-route' }, 'ENETUNREACH', 'TYPE=1 CODE=0'],
  ['ipv6', { type: 'icmpv6', expr: 'admin-prohibited' }, 'EACCES', 'TYPE=1 CODE=1'],
  ['ipv6', { type: 'icmpv6', expr: 'addr-unreachable' }, 'EHOSTUNREACH', 'TYPE=1 CODE=3'],
  ['ipv6', { type: 'icmpv6', expr: 'port-unreachable' }, 'ECONNREFUSED', 'TYPE=1 CODE=4'],
  ['ipv6', { type: 'icmpv6', expr: 'policy-fail' }, 'EACCES', 'TYPE=1 CODE=5'],
  ['ipv6', { type: 'icmpv6', expr: 'reject-route' }, 'EACCES', 'TYPE=1 CODE=6'],
  ['ipv4', { type: 'icmpx', expr: 'no-route' }, 'ENETUNREACH', 'TYPE=3 CODE=0'],
  ['ipv6', { type: 'icmpx', expr: 'no-route' }, 'ENETUNREACH', 'TYPE=1 CODE=0'],
  ['ipv4', { type: 'icmpx', expr: 'host-unreachable' }, 'EHOSTUNREACH', 'TYPE=3 CODE=1'],
  ['ipv6', { type: 'icmpx', expr: 'host-unreachable' }, 'EHOSTUNREACH', 'TYPE=1 CODE=3'],
  ['ipv4', { type: 'icmpx', expr: 'admin-prohibited' }, 'EHOSTUNREACH', 'TYPE=3 CODE=13'],
  ['ipv6', { type: 'icmpx', expr: 'admin-prohibited' }, 'EACCES', 'TYPE=1 CODE=1'],
];

kernelSuite('packets to a filter', () => {
  it.each(REFUSALS)('are refused over %s by reject with %j: %s', async (family, reason, error, message) => {
    const port = lab.port();
    lab.serve(lab.server, 'server', port);
    await lab.only([[tcp.dport.eq(port), reject(reason)], [accept()]]);
    const host = ADDRESSES[family].server;
    await expect(lab.visit(host, port)).rejects.toThrow(new RegExp(`: ${error}$`));
    const [packet] = await take(told, 1, each => about(each, port));
    expect(packet!.summary()).toMatch(new RegExp(message));
  });

  it('end their connection after reject with tcp reset', async () => {
    const port = lab.port();
    lab.serve(lab.server, 'server', port);
    await lab.only([[accept()]]);
    await lab.agent.open('reset', { host: server, port });
    expect(await lab.agent.ask('reset', 'hello')).toBe('server: hello');
    await lab.only([[tcp.dport.eq(port), reject({ type: 'tcp reset' })], [accept()]]);
    await expect(lab.agent.ask('reset', 'hello')).rejects.toThrow('ECONNRESET');
  });

  it('are dropped silently where a rule matches, and only there', async () => {
    const [first, last] = [lab.port(), lab.port()];
    await lab.only([[udp.dport.eq(first), drop()], [accept()]]);
    const six = { to: ADDRESSES.ipv6.server };
    expect(
      await lab.passing([{ port: first }, { port: last }, { port: first, ...six }, { port: last, ...six }], 2),
    ).toEqual([1, 3]);
    await lab.only([[udp.dport.eq(first), ip.saddr.eq(second), drop()], [accept()]]);
    expect(
      await lab.passing([{ port: first }, { port: first, from: second }, { port: last, from: second }], 2),
    ).toEqual([0, 2]);
  });

  it('meet the policy where no rule accepts them', async () => {
    const [first, last] = [lab.port(), lab.port()];
    await lab.only([[udp.dport.eq(last), accept()]]);
    expect(await lab.passing([{ port: first }, { port: last }], 1)).toEqual([1]);
  });

  it('are logged to a group and pass on', async () => {
    const port = lab.port();
    const nflog = lab.keep(Nflog.open({ netns: lab.router, groups: [7] }));
    await lab.only([[udp.dport.eq(port), log({ group: 7, prefix: 'seen ' })], [accept()]]);
    expect(await lab.passing([{ port: lab.port() }, { port, size: 60 }], 2)).toEqual([0, 1]);
    const [packet] = await take(nflog, 1);
    expect(packet!.summary()).toMatch(`SRC=${client} DST=${server} LEN=60`);
    expect(packet!.summary()).toMatch(`DPT=${port}`);
    expect(packet!.prefix).toBe('seen ');
  });

  it('are limited to a number at once, and to no more in the next hour', async () => {
    const [port, other] = [lab.port(), lab.port()];
    const rate = { rate: 1, per: 'hour', burst: 3 } as const;
    await lab.only([[udp.dport.eq(port), limit(rate), accept()], [udp.dport.eq(port), drop()], [accept()]]);
    const flows = [port, port, other, port, port, port].map(each => ({ port: each }));
    expect(await lab.passing(flows, 4)).toEqual([0, 1, 2, 3]);
    await lab.only([[udp.dport.eq(port), limit({ ...rate, inv: true }), drop()], [accept()]]);
    expect(await lab.passing(flows, 4)).toEqual([0, 1, 2, 3]);
  });

  it('are limited by bytes', async () => {
    const port = lab.port();
    const rate = { rate: 350, rate_unit: 'bytes', per: 'hour' } as const;
    await lab.only([[udp.dport.eq(port), limit(rate), accept()]]);
    const flows = [100, 100, 200, 100, 100].map(size => ({ port, size }));
    expect(await lab.passing(flows, 3)).toEqual([0, 1, 3]);
  });

  it('share a named limit between two rules', async () => {
    const [first, last] = [lab.port(), lab.port()];
    await lab.only(
      [first, last].map(port => [udp.dport.eq(port), limit('few'), accept()]),
      tx => tx.add({ limit: { ...TABLE, name: 'few', rate: 1n, unitSeconds: 3600n, burst: 2 } }),
    );
    expect(
      await lab.passing(
        [first, last, first, last].map(port => ({ port })),
        2,
      ),
    ).toEqual([0, 1]);
  });

  it('pass until a quota of bytes is used up', async () => {
    const [port, over] = [lab.port(), lab.port()];
    await lab.only([
      [udp.dport.eq(port), quota({ val: 350, inv: true }), drop()],
      [udp.dport.eq(over), quota({ val: 350 }), accept()],
      [udp.dport.eq(over), drop()],
      [accept()],
    ]);
    const sized = (to: number, sizes: number[]) => sizes.map(size => ({ port: to, size }));
    // In nft's words `val` is `until`, and inverted `over`.
    expect(await lab.passing(sized(port, [100, 100, 100, 100, 100]), 3)).toEqual([0, 1, 2]);
    expect(await lab.passing(sized(over, [100, 100, 100, 100, 100]), 3)).toEqual([0, 1, 2]);
  });

  it('pass again after reset of a named quota', async () => {
    const port = lab.port();
    await lab.only([[udp.dport.eq(port), quota('mine'), drop()], [accept()]], tx =>
      tx.add({ quota: { ...TABLE, name: 'mine', bytes: 150n, flags: ['invert'] } }),
    );
    const flows = [100, 100, 100].map(size => ({ port, size }));
    expect(await lab.passing(flows, 1)).toEqual([0]);
    await lab.nft.reset({ quota: { ...TABLE, name: 'mine' } });
    expect(await lab.passing(flows, 1)).toEqual([0]);
  });
});

kernelSuite('packets to sets and maps', () => {
  it('do not match an element after its timeout', async () => {
    const port = lab.port();
    const element = (timeoutMilliseconds: bigint) => ({
      element: { ...TABLE, set: 'blocked', elements: [{ key: client, timeoutMilliseconds }] },
    });
    await lab.only([[udp.dport.eq(port), ip.saddr.in('@blocked'), drop()], [accept()]], tx =>
      tx.add({ set: { ...TABLE, name: 'blocked', key: 'ipv4_addr', flags: ['timeout'] } }).add(element(3_600_000n)),
    );
    const both = [{ port }, { port, from: second }];
    expect(await lab.passing(both, 1)).toEqual([1]);
    await lab.nft.commit(new Transaction().delete(element(0n)).add(element(100n)));
    await expect.poll(() => lab.passing(both, 1)).toEqual([0, 1]);
  });

  it('add elements and remove them', async () => {
    const [knock, leave, door] = [lab.port(), lab.port(), lab.port()];
    await lab.only(
      [
        [udp.dport.eq(knock), dynamicSet('add', '@guests', ip.saddr, { timeout: 3600 }), accept()],
        [udp.dport.eq(leave), dynamicSet('delete', '@guests', ip.saddr), accept()],
        [udp.dport.eq(door), ip.saddr.in('@guests'), accept()],
      ],
      tx => tx.add({ set: { ...TABLE, name: 'guests', key: 'ipv4_addr', flags: ['dynamic', 'timeout'], size: 100 } }),
    );
    const one = async (port: number, from: string = client) => (await lab.passing([{ port, from }], 0)).length === 1;
    expect(await one(door)).toBe(false);
    expect(await lab.passing([{ port: knock }], 1)).toEqual([0]);
    expect(await lab.passing([{ port: door }], 1)).toEqual([0]);
    expect(await one(door, second)).toBe(false);
    expect(await lab.passing([{ port: leave }], 1)).toEqual([0]);
    expect(await one(door)).toBe(false);
  });

  it('are limited for each address on its own', async () => {
    const port = lab.port();
    const each = { stmt: [{ limit: { rate: 1, per: 'hour', burst: 2, inv: true } }] } as const;
    await lab.only(
      [[udp.dport.eq(port), dynamicSet('update', '@seen', ip.saddr, { stmt: [...each.stmt] }), drop()], [accept()]],
      tx => tx.add({ set: { ...TABLE, name: 'seen', key: 'ipv4_addr', flags: ['dynamic'], size: 100 } }),
    );
    const flows = [client, client, client, second, second, second].map(from => ({ port, from }));
    expect(await lab.passing(flows, 4)).toEqual([0, 1, 3, 4]);
  });

  it('match intervals up to their bounds', async () => {
    const [before, from, inside, to, after] = Array.from({ length: 5 }, () => lab.port()) as [
      number,
      number,
      number,
      number,
      number,
    ];
    await lab.only([[udp.dport.in('@ports'), accept()]], tx =>
      tx.add({ set: { ...TABLE, name: 'ports', key: 'inet_service', flags: ['interval'], elements: [{ from, to }] } }),
    );
    const flows = [before, from, inside, to, after].map(port => ({ port }));
    expect(await lab.passing(flows, 3)).toEqual([1, 2, 3]);
  });

  it('match concatenated intervals where both parts are inside', async () => {
    const ports = Array.from({ length: 4 }, () => lab.port());
    const [from, , to, after] = ports as [number, number, number, number];
    const key = [
      { from: '10.1.0.1', to: client },
      { from, to },
    ] as const;
    await lab.only([[meta.l4proto.eq('udp'), concat(ip.saddr, th.dport).in('@pairs'), accept()]], tx =>
      tx.add({
        set: {
          ...TABLE,
          name: 'pairs',
          key: 'ipv4_addr . inet_service',
          flags: ['interval'],
          elements: [[...key], ['10.1.0.0/24', after]],
        },
      }),
    );
    const flows = [client, second].flatMap(each => ports.map(port => ({ from: each, port })));
    expect(await lab.passing(flows, 5)).toEqual([0, 1, 2, 3, 7]);
  });

  it('get a verdict by their port from a vmap', async () => {
    const [open, shut, inner, back, other] = Array.from({ length: 5 }, () => lab.port());
    const rules = [
      [
        udp.dport.vmap([
          [open!, accept()],
          [shut!, drop()],
          [inner!, goto('inner')],
          [back!, jump('back')],
          [other!, continues()],
        ]),
      ],
      [udp.dport.in([shut!, inner!, back!]), accept()],
    ];
    await lab.load({
      inner: { rules: [[ip.saddr.eq(client), accept()]] },
      back: { rules: [[ip.saddr.eq(second), drop()], [returns()], [drop()]] },
      forward: { type: 'filter', hook: 'forward', priority: 0, policy: 'drop', rules },
    });
    const flows = [client, second].flatMap(from =>
      [open, shut, inner, back, other].map(port => ({ from, port: port! })),
    );
    // From a chain that was gone to there is no way back to the second rule.
    expect(await lab.passing(flows, 4)).toEqual([0, 2, 3, 5]);
  });

  it('get a verdict from a named vmap, with a catch-all, while it changes', async () => {
    const [first, last] = [lab.port(), lab.port()];
    const map = { ...TABLE, name: 'decide', key: 'ipv4_addr . inet_service', data: 'verdict' } as const;
    await lab.only([[concat(ip.saddr, udp.dport).vmap('@decide')]], tx =>
      tx.add({
        map: {
          ...map,
          elements: [
            { key: [client, first], data: 'drop' },
            { key: '*', data: 'accept' },
          ],
        },
      }),
    );
    const flows = [client, second].flatMap(from => [first, last].map(port => ({ from, port })));
    expect(await lab.passing(flows, 3)).toEqual([1, 2, 3]);
    const key: [string, number] = [client, first];
    await lab.nft.commit(
      new Transaction()
        .delete({ element: { ...TABLE, set: 'decide', elements: [key, '*'] } })
        .add({ element: { ...TABLE, set: 'decide', elements: [{ key, data: 'accept' }] } }),
    );
    expect(await lab.passing(flows, 1)).toEqual([0]);
  });

  it('match IPv6 prefixes', async () => {
    const port = lab.port();
    const six = ADDRESSES.ipv6;
    await lab.only(
      [
        [ip6.saddr.in('@nets'), udp.dport.eq(port), accept()],
        [icmpv6.type.ge(133), accept()],
      ],
      tx =>
        tx.add({
          set: { ...TABLE, name: 'nets', key: 'ipv6_addr', flags: ['interval'], elements: [`${six.client}/127`] },
        }),
    );
    // ::2/127 has ::3 in it too.
    const both = [six.client, six.second].map(from => ({ from, to: six.server, port }));
    expect(await lab.passing(both, 2)).toEqual([0, 1]);
    await lab.nft.commit(
      new Transaction()
        .flush({ set: { ...TABLE, name: 'nets' } })
        .add({ element: { ...TABLE, set: 'nets', elements: [`${six.second}/128`] } }),
    );
    expect(await lab.passing(both, 1)).toEqual([1]);
  });
});

kernelSuite('packets to rules of connection tracking', () => {
  it('pass as replies, and not as new connections, by ct state', async () => {
    const port = lab.port();
    const [asking, answering] = [lab.datagrams(lab.client, client), lab.datagrams(lab.server, server, port)];
    await lab.only([
      [ct.state.in('established', 'related'), accept()],
      [meta.iifname.eq('r0'), ct.state.in('new'), accept()],
    ]);
    await answering.send('too soon', client, asking.port);
    await asking.send('question', server, port);
    await answering.hear('question');
    await answering.send('answer', client, asking.port);
    expect(await asking.hear('answer')).toMatchObject({ from: server, port });
    expect(asking.heard.map(({ text }) => text)).toEqual(['answer']);
  });

  it('have the ct mark on the way back that was set on the way there', async () => {
    const [marked, other] = [lab.port(), lab.port()];
    await lab.only([
      [udp.dport.eq(marked), ct.mark.set(77)],
      [meta.iifname.eq('r0'), accept()],
      [ct.mark.eq(77), accept()],
    ]);
    const asking = lab.datagrams(lab.client, client);
    for (const port of [other, marked]) {
      const answering = lab.datagrams(lab.server, server, port);
      await asking.send(`to ${port}`, server, port);
      await answering.hear(`to ${port}`);
      await answering.send(`from ${port}`, client, asking.port);
    }
    await asking.hear(`from ${marked}`);
    expect(asking.heard.map(({ text }) => text)).toEqual([`from ${marked}`]);
  });

  it('have no connection after notrack', async () => {
    const [tracked, not] = [lab.port(), lab.port()];
    await lab.load({
      raw: { type: 'filter', hook: 'prerouting', priority: 'raw', rules: [[udp.dport.eq(not), notrack()]] },
      forward: {
        type: 'filter',
        hook: 'forward',
        priority: 0,
        policy: 'drop',
        rules: [[ct.state.in('untracked'), accept()]],
      },
    });
    expect(await lab.passing([{ port: tracked }, { port: not }], 1)).toEqual([1]);
  });

  it('are limited by ct count to a number of connections at once', async () => {
    const port = lab.port();
    lab.serve(lab.server, 'server', port);
    await lab.only([
      [tcp.dport.eq(port), ct.state.in('new'), ctCount(2, { inv: true }), reject({ type: 'tcp reset' })],
      [accept()],
    ]);
    const open = (key: string) => lab.agent.open(key, { host: server, port });
    await open('first');
    await open('second');
    await expect(open('third')).rejects.toThrow('ECONNREFUSED');
    await lab.agent.close('first');
    let tries = 0;
    await expect.poll(() => open(`again ${tries++}`)).toMatch('server');
  });
});

/** An ICMP error carries the headers of what it is about. */
function about(packet: Packet, port: number): boolean {
  const payload = Buffer.from(packet.payload);
  const place = payload[0]! >> 4 === 4 ? 20 : 40;
  const protocol = payload[place === 20 ? 9 : 6];
  return payload.readUInt16BE(protocol === 6 ? place : 2 * place + 8 + 2) === port;
}
