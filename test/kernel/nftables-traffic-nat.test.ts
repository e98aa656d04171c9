import { execFileSync } from 'node:child_process';
import koffi from 'koffi';
import {
  accept,
  ct,
  dnat,
  dup,
  fwd,
  ip,
  jump,
  masquerade,
  meta,
  notrack,
  numgen,
  redirect,
  type Statement,
  snat,
  synproxy,
  Transaction,
  tcp,
  tproxy,
  udp,
} from 'netsteer/nftables';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ADDRESSES, NOWHERE, TrafficLab } from '../support/traffic-lab.ts';
import { kernelSuite } from '../support/where.ts';

/* Where packets go: each rule is judged by what client and servers see of the connection. */

let lab: TrafficLab;
beforeAll(async () => {
  lab = new TrafficLab();
  await lab.last('ipv4');
  await lab.last('ipv6');
});
afterAll(() => lab?.close());

const prerouting = (...rules: Statement[][]) =>
  lab.load({ nat: { type: 'nat', hook: 'prerouting', priority: 'dstnat', rules } });
const postrouting = (...rules: Statement[][]) =>
  lab.load({ nat: { type: 'nat', hook: 'postrouting', priority: 'srcnat', rules } });

kernelSuite('packets that rules divert', () => {
  it.each(['ipv4', 'ipv6'] as const)('over %s reach a port of the router by redirect', async family => {
    const [asked, port] = [lab.port(), lab.port()];
    lab.serve(lab.router, 'router', port);
    await prerouting([tcp.dport.eq(asked), redirect({ to: port })]);
    const said = await lab.visit(NOWHERE[family], asked);
    expect(said).toMatch(`router ${ADDRESSES[family].client} > `);
    expect(said).toMatch(new RegExp(` ${port}$`));
  });

  it.each(['ipv4', 'ipv6'] as const)('over %s reach another host and port by dnat', async family => {
    const { client, server } = ADDRESSES[family];
    const [asked, port] = [lab.port(), lab.port()];
    lab.serve(lab.server, 'server', port);
    await prerouting([tcp.dport.eq(asked), dnat({ family: family === 'ipv4' ? 'ip' : 'ip6', to: server, port })]);
    expect(await lab.visit(NOWHERE[family], asked)).toBe(`server ${client} > ${server} ${port}`);
  });

  it('reach addresses by dnat with a map of ports', async () => {
    const [first, second] = [lab.port(), lab.port()];
    for (const port of [first, second]) {
      lab.serve(lab.server, 'server', port);
      lab.serve(lab.other, 'other', port);
    }
    const { client, server, other } = ADDRESSES.ipv4;
    const targets = tcp.dport.map([
      [first, server],
      [second, other],
    ]);
    await prerouting([meta.nfproto.eq('ipv4'), dnat({ family: 'ip', to: targets })]);
    const visit = (port: number) => lab.visit(NOWHERE.ipv4, port);
    expect(await visit(first)).toBe(`server ${client} > ${server} ${first}`);
    expect(await visit(second)).toBe(`other ${client} > ${other} ${second}`);
  });

  it('reach servers in turn by dnat with numgen', async () => {
    const port = lab.port();
    lab.serve(lab.server, 'server', port);
    lab.serve(lab.other, 'other', port);
    const turns = numgen('inc', 2).map([
      [0, ADDRESSES.ipv4.server],
      [1, ADDRESSES.ipv4.other],
    ]);
    await prerouting([tcp.dport.eq(port), dnat({ family: 'ip', to: turns })]);
    const names: string[] = [];
    for (let i = 0; i < 4; i++) names.push((await lab.visit(NOWHERE.ipv4, port)).replace(/ .*/, ''));
    expect(names.filter((name, i) => i > 0 && name === names[i - 1])).toEqual([]);
  });

  it('have their replies come from the address they were sent to after dnat of datagrams', async () => {
    const [asked, port] = [lab.port(), lab.port()];
    const [client, server] = [lab.datagrams(lab.client, ADDRESSES.ipv4.client), lab.datagrams(lab.server, '::', port)];
    await prerouting([udp.dport.eq(asked), dnat({ family: 'ip', to: ADDRESSES.ipv4.server, port })]);
    await client.send('question', NOWHERE.ipv4, asked);
    const { from, port: back } = await server.hear('question');
    expect([from, back]).toEqual([ADDRESSES.ipv4.client, client.port]);
    await server.send('answer', from, back);
    expect(await client.hear('answer')).toEqual({ text: 'answer', from: NOWHERE.ipv4, port: asked });
  });

  it.each(['ipv4', 'ipv6'] as const)('over %s come from another address by snat', async family => {
    const port = lab.port();
    const { client, server } = ADDRESSES[family];
    lab.serve(lab.server, 'server', port);
    const visit = () => lab.visit(server, port);
    await postrouting();
    expect(await visit()).toBe(`server ${client} > ${server} ${port}`);
    await postrouting([tcp.dport.eq(port), snat({ family: family === 'ipv4' ? 'ip' : 'ip6', to: NOWHERE[family] })]);
    expect(await visit()).toBe(`server ${NOWHERE[family]} > ${server} ${port}`);
  });

  it('come from a range of ports by snat', async () => {
    const port = lab.port();
    const [client, server] = [lab.datagrams(lab.client, ADDRESSES.ipv4.client), lab.datagrams(lab.server, '::', port)];
    await postrouting([udp.dport.eq(port), snat({ family: 'ip', to: NOWHERE.ipv4, port: [600, 603] })]);
    await client.send('hello', ADDRESSES.ipv4.server, port);
    const heard = await server.hear('hello');
    expect(heard.from).toBe(NOWHERE.ipv4);
    expect(heard.port).toBeGreaterThanOrEqual(600);
    expect(heard.port).toBeLessThanOrEqual(603);
  });

  it.each(['ipv4', 'ipv6'] as const)('over %s come from the router by masquerade', async family => {
    const port = lab.port();
    const { router, server } = ADDRESSES[family];
    lab.serve(lab.server, 'server', port);
    await postrouting([meta.oifname.eq('r1'), masquerade()]);
    expect(await lab.visit(server, port)).toBe(`server ${router} > ${server} ${port}`);
  });

  it.each(['ipv4', 'ipv6'] as const)(
    'over %s reach a local socket with their own addresses by tproxy',
    async family => {
      const [asked, port] = [lab.port(), lab.port()];
      transparent(lab.serve(lab.router, 'proxy', port), family);
      const version = family === 'ipv4' ? '-4' : '-6';
      for (const command of ['rule add fwmark 9 lookup 100', 'route add local default dev lo table 100'])
        lab.router.run(() => execFileSync('ip', [version, ...command.split(' ')]));
      const to = family === 'ipv4' ? ({ family: 'ip', port } as const) : ({ family: 'ip6', port } as const);
      const way = [tcp.dport.eq(asked), tproxy(to), meta.mark.set(9), accept()];
      await lab.load({ mangle: { type: 'filter', hook: 'prerouting', priority: 'mangle', rules: [way] } });
      expect(await lab.visit(NOWHERE[family], asked)).toBe(
        `proxy ${ADDRESSES[family].client} > ${NOWHERE[family]} ${asked}`,
      );
    },
  );

  it('complete their handshake with the router first by synproxy', async () => {
    const [port, closed] = [lab.port(), lab.port()];
    lab.serve(lab.server, 'server', port);
    const { client, server } = ADDRESSES.ipv4;
    lab.router.sysctl.set('net.netfilter.nf_conntrack_tcp_loose', 0);
    lab.router.sysctl.set('net.ipv4.tcp_syncookies', 1);
    lab.router.sysctl.set('net.ipv4.tcp_timestamps', 1);
    await lab.load({});
    const visit = (to: number) => lab.visit(server, to);
    await expect(visit(closed)).rejects.toThrow('ECONNREFUSED');
    await lab.load({
      raw: {
        type: 'filter',
        hook: 'prerouting',
        priority: 'raw',
        rules: [[tcp.dport.between(port, closed), tcp.flags.and(['syn', 'ack', 'rst', 'fin']).eq('syn'), notrack()]],
      },
      forward: {
        type: 'filter',
        hook: 'forward',
        priority: 0,
        rules: [
          [
            tcp.dport.between(port, closed),
            ct.state.in('invalid', 'untracked'),
            synproxy({ mss: 1460, wscale: 7, flags: ['timestamp', 'sack-perm'] }),
          ],
        ],
      },
    });
    expect(await visit(port)).toBe(`server ${client} > ${server} ${port}`);
    // The handshake has succeeded before the server is asked.
    await expect(visit(closed)).rejects.toThrow('ECONNRESET');
  });

  it('reach another host as a copy by dup', async () => {
    const port = lab.port();
    const { client, server, other } = ADDRESSES.ipv4;
    const copies = lab.datagrams(lab.other, server, port);
    const originals = lab.datagrams(lab.server, server, port);
    const rules = [[udp.dport.eq(port), dup(other, lab.r2)]];
    await lab.load({ mangle: { type: 'filter', hook: 'prerouting', priority: 'mangle', rules } }, { family: 'ip' });
    await lab.datagrams(lab.client, client).send('twice', server, port);
    expect((await originals.hear('twice')).from).toBe(client);
    expect((await copies.hear('twice')).from).toBe(client);
  });

  it('leave by another device before further rules by fwd', async () => {
    const port = lab.port();
    const { client, server, other } = ADDRESSES.ipv4;
    const [there, here] = [lab.datagrams(lab.other, server, port), lab.datagrams(lab.server, server, port)];
    await lab.load({});
    const netdev = { family: 'netdev', table: 'n' } as const;
    await lab.nft.commit(
      new Transaction()
        .add({ table: { family: 'netdev', name: 'n' } })
        .add({ chain: { ...netdev, name: 'in', type: 'filter', hook: 'ingress', priority: 0, device: 'r0' } })
        .add({
          rule: {
            ...netdev,
            chain: 'in',
            statements: [udp.dport.eq(port), fwd(lab.r2, { family: 'ip', addr: other })],
          },
        }),
    );
    await lab.datagrams(lab.client, client).send('away', server, port);
    expect((await there.hear('away')).from).toBe(client);
    await lab.last('ipv4');
    expect(here.heard).toEqual([]);
  });

  it('come back from a jump where nothing was decided', async () => {
    const [jumped, after, port] = [lab.port(), lab.port(), lab.port()];
    lab.serve(lab.server, 'server', port);
    lab.serve(lab.other, 'other', port);
    const { client, server, other } = ADDRESSES.ipv4;
    await lab.load({
      targets: { rules: [[tcp.dport.eq(jumped), dnat({ family: 'ip', to: server, port })]] },
      nat: {
        type: 'nat',
        hook: 'prerouting',
        priority: 'dstnat',
        rules: [
          [ip.daddr.eq(NOWHERE.ipv4), jump('targets')],
          [tcp.dport.between(jumped, after), dnat({ family: 'ip', to: other, port })],
        ],
      },
    });
    const visit = (asked: number) => lab.visit(NOWHERE.ipv4, asked);
    expect(await visit(jumped)).toBe(`server ${client} > ${server} ${port}`);
    expect(await visit(after)).toBe(`other ${client} > ${other} ${port}`);
  });
});

/** Lets a socket answer for addresses that are not this host's: IP_TRANSPARENT, IPV6_TRANSPARENT. */
function transparent(server: object, family: 'ipv4' | 'ipv6'): void {
  const { fd } = (server as { _handle: { fd: number } })._handle;
  const setsockopt = koffi.load(null).func('int setsockopt(int, int, int, const void *, int)');
  const on = Buffer.from(new Int32Array([1]).buffer);
  const [level, option] = family === 'ipv4' ? [0, 19] : [41, 75];
  if (setsockopt(fd, level, option, on, on.length) !== 0) throw new Error('IP_TRANSPARENT was not set');
}
