import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NetNs } from '../../src/netns/index.ts';
import type { Packet } from '../../src/nflog/index.ts';
import { bytes, FrameSender, ip, nft, Opened, take, udp4 } from '../support/nflog-lab.ts';
import { kernelSuite } from '../support/where.ts';

const OUTER = '02:00:00:00:00:0a';
const INNER = '02:00:00:00:00:0b';
const FAR = '02:00:00:00:00:0c';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const IP = 0x0800;
const IP6 = 0x86dd;
const ARP = 0x0806;

const log = (family: string, chain: string, hook: string, statements = '') =>
  `table ${family} test { chain ${chain} { type filter hook ${hook} priority 0; ${statements} log prefix "${family}-${chain} " group 5; } }`;

/** A UDP packet over IPv6 with extension headers before it: `next` is the first one's number. */
function udp6(source: string, destination: string, next = 17, extensions = ''): Buffer {
  const rest = Buffer.concat([bytes(extensions), bytes('3039 270f 000d 0000 7878787878')]);
  const header = bytes(`60000000 0000 ${next.toString(16).padStart(2, '0')} 40 ${source} ${destination}`);
  header.writeUInt16BE(rest.length, 4);
  return Buffer.concat([header, rest]);
}
const A6 = 'fd000000000000000000000000000001';
const B6 = 'fd000000000000000000000000000002';

/** ARP: who has 10.0.0.2, asks 10.0.0.1. */
const ARP_REQUEST = bytes(`0001 0800 06 04 0001 ${OUTER} 0a000001 000000000000 0a000002`);

/* Frames come in by `in0`, whose other end is outside; what is forwarded leaves by `out0`. */
kernelSuite('nflog: every attribute in every family', () => {
  const opened = new Opened();
  let ns: NetNs;
  let outside: NetNs;
  let frames: FrameSender;
  beforeEach(() => {
    ns = opened.namespace();
    outside = opened.namespace();
    ip(
      ns,
      `link add in0 index 70 address ${INNER} type veth peer name far0 address ${OUTER}`,
      'link add out0 index 71 type veth peer name far1',
      'link set in0 up',
      'link set out0 up',
      'link set far1 up',
    );
    move('far0');
    ip(outside, 'link set far0 up');
    frames = opened.add(new FrameSender(outside, 'far0'));
  });
  afterEach(() => opened.close());

  /** ip(8) takes a namespace by pid or name: one that has neither is entered by a process that waits. */
  function move(device: string): void {
    const name = `nflog-test-${process.pid}`;
    outside.pin(name);
    try {
      ip(ns, `link set ${device} netns ${name}`);
    } finally {
      outside.unpin(name);
    }
  }

  const addressed = (family: 4 | 6 = 4) => {
    if (family === 4) {
      ip(
        ns,
        'addr add 10.0.0.2/24 dev in0',
        'addr add 10.0.1.1/24 dev out0',
        `neigh add 10.0.0.1 lladdr ${OUTER} dev in0`,
        `neigh add 10.0.1.2 lladdr ${FAR} dev out0`,
      );
      ns.sysctl.set('net.ipv4.ip_forward', '1');
    } else {
      ip(
        ns,
        'addr add fd00::2/64 dev in0 nodad',
        'addr add fd01::1/64 dev out0 nodad',
        `neigh add fd00::1 lladdr ${OUTER} dev in0`,
        `neigh add fd01::2 lladdr ${FAR} dev out0`,
      );
      ns.sysctl.set('net.ipv6.conf.all.forwarding', '1');
    }
  };

  describe('hooks', () => {
    it('of ip and inet', async () => {
      addressed();
      const port = 'udp dport 9999';
      for (const hook of ['prerouting', 'input', 'forward', 'output', 'postrouting'])
        nft(ns, log('ip', hook, hook, port));
      nft(ns, log('inet', 'ingress', 'ingress device in0', port));
      const packets = opened.log({ netns: ns, groups: [5] });
      frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2'));
      const local = await take(packets, 3);
      expect(local.map(each => [each.prefix, each.family, each.hook, each.inDevice, each.outDevice])).toEqual([
        ['inet-ingress ', 'ip', 'ingress', 'in0', undefined],
        ['ip-prerouting ', 'ip', 'prerouting', 'in0', undefined],
        ['ip-input ', 'ip', 'input', 'in0', undefined],
      ]);
      frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.1.2'));
      const forwarded = await take(packets, 4);
      expect(
        forwarded.slice(2).map(each => [each.hook, each.hook === 'forward' && each.inDeviceIndex, each.outDeviceIndex]),
      ).toEqual([
        ['forward', 70, 71],
        ['postrouting', false, 71],
      ]);
      for (const each of [...local, ...forwarded.slice(0, 3)]) {
        expect(each).toMatchObject({
          etherType: IP,
          hardwareAddress: OUTER,
          hardwareType: 1,
          // In the ingress hook the frame still belongs to its sender's socket, in whatever namespace that is.
          uid: each.hook === 'ingress' ? 0 : undefined,
          vlan: undefined,
          conntrack: undefined,
          unknown: [],
        });
        expect(Buffer.from(each.linkHeader!).toString('hex')).toBe(bytes(`${INNER}${OUTER}0800`).toString('hex'));
        expect(each.headers).toMatchObject({
          source: '10.0.0.1',
          sourcePort: 12345,
          destinationPort: 9999,
          length: 33,
        });
      }
      ns.run(() => execFileSync(process.execPath, ['-e', SEND, '10.0.0.1']));
      const sent = await take(packets, 2);
      expect(sent.map(each => [each.hook, each.inDevice, each.outDevice, each.uid, each.hardwareAddress])).toEqual([
        ['output', undefined, 'in0', 0, undefined],
        ['postrouting', undefined, 'in0', 0, undefined],
      ]);
    });

    it('of ip6, behind extension headers too', async () => {
      addressed(6);
      const port = 'meta l4proto udp';
      for (const hook of ['prerouting', 'input', 'forward', 'output', 'postrouting'])
        nft(ns, log('ip6', hook, hook, port));
      const packets = opened.log({ netns: ns, groups: [5] });
      frames.send(INNER, OUTER, IP6, udp6(A6, B6));
      const plain = await take(packets, 2);
      expect(plain.map(each => [each.family, each.hook, each.etherType])).toEqual([
        ['ip6', 'prerouting', IP6],
        ['ip6', 'input', IP6],
      ]);
      // Hop-by-hop options of padding, then destination options.
      frames.send(INNER, OUTER, IP6, udp6(A6, B6, 0, '3c00 0104 00000000 1100 0104 00000000'));
      const [extended] = await take(packets, 2);
      expect(extended!.headers).toMatchObject({
        network: 'ipv6',
        source: 'fd00::1',
        destination: 'fd00::2',
        protocol: 'udp',
        sourcePort: 12345,
        destinationPort: 9999,
        length: 69,
      });
      expect(extended!.summary()).toMatch(/LEN=69 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=12345 DPT=9999 LEN=13$/);
      frames.send(INNER, OUTER, IP6, udp6(A6, 'fd010000000000000000000000000002'));
      expect((await take(packets, 3)).map(each => each.hook)).toEqual(['prerouting', 'forward', 'postrouting']);
      ns.run(() => execFileSync(process.execPath, ['-e', SEND, 'fd00::1']));
      expect((await take(packets, 2)).map(each => [each.hook, each.uid])).toEqual([
        ['output', 0],
        ['postrouting', 0],
      ]);
    });

    it("that come in have the receiver's user, which is not printed as the sender's", async () => {
      // Over a device: what comes back by lo has its route already, for which the kernel looks no socket up.
      addressed();
      ip(outside, 'addr add 10.0.0.1/24 dev far0');
      const hooks = ['prerouting', 'input'];
      for (const hook of hooks) nft(ns, log('ip', hook, hook, 'tcp dport 9999'));
      const packets = opened.log({ netns: ns, groups: [5] });
      // A server of another user than the client, which is root.
      // The server speaks first: until it has accepted the connection, the kernel's socket has no owner to name.
      const server = `require('net').createServer(s => { s.write('hello'); s.on('data', () => process.exit(0)); }).listen(9999, '10.0.0.2', () => console.log('up'))`;
      const client = `const s = require('net').connect(9999, '10.0.0.2').once('data', () => s.write('hello')).on('close', () => process.exit(0)).on('error', () => {})`;
      const child = ns.run(() =>
        spawn(process.execPath, ['-e', server], {
          uid: 1234,
          gid: 4321,
          cwd: '/',
          stdio: ['ignore', 'pipe', 'inherit'],
        }),
      );
      try {
        await once(child.stdout, 'data');
        outside.run(() => execFileSync(process.execPath, ['-e', client]));
        const ended = child.exitCode === null ? once(child, 'exit') : undefined;
        const data = (each: Packet) => each.headers?.tcp?.flags.includes('PSH') === true;
        const seen = await take(packets, hooks.length, data);
        await ended;
        const owner = (each?: Packet) => [each?.uid, each?.gid, each?.socketSide];
        const byHook = Object.fromEntries(seen.map(each => [each.hook, each]));
        expect(owner(byHook.prerouting)).toEqual([undefined, undefined, undefined]);
        expect(owner(byHook.input)).toEqual([1234, 4321, 'receiver']);
        expect(byHook.input!.summary()).not.toMatch(/[UG]ID=/);
      } finally {
        child.kill();
      }
    });

    it('of arp', async () => {
      addressed();
      nft(ns, log('arp', 'input', 'input'));
      nft(ns, log('arp', 'output', 'output'));
      const packets = opened.log({ netns: ns, groups: [5] });
      frames.send(BROADCAST, OUTER, ARP, ARP_REQUEST);
      const [request, answer] = await take(packets, 2);
      expect(request).toMatchObject({
        family: 'arp',
        hook: 'input',
        etherType: ARP,
        inDevice: 'in0',
        prefix: 'arp-input ',
      });
      expect(request!.headers).toEqual({
        network: 'arp',
        source: '10.0.0.1',
        destination: '10.0.0.2',
        arp: { operation: 1, senderHardware: OUTER, targetHardware: '00:00:00:00:00:00' },
      });
      expect(request!.summary()).toBe(
        `arp-input IN=in0 OUT= ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=${OUTER} IPSRC=10.0.0.1 ` +
          'MACDST=00:00:00:00:00:00 IPDST=10.0.0.2',
      );
      expect(answer).toMatchObject({ family: 'arp', hook: 'output', outDevice: 'in0', inDevice: undefined });
      expect(answer!.headers).toMatchObject({ source: '10.0.0.2', arp: { operation: 2, senderHardware: INNER } });
    });

    it('of bridge, with its ports as devices and the tag of a VLAN', async () => {
      ip(ns, 'link add br0 type bridge', 'link set br0 up', 'link set in0 master br0', 'link set out0 master br0');
      for (const hook of ['prerouting', 'input', 'forward', 'output', 'postrouting'])
        nft(ns, log('bridge', hook, hook, 'ether type { ip, arp, vlan, 8021ad }'));
      ip(ns, 'addr add 10.0.0.2/24 dev br0', `neigh add 10.0.0.1 lladdr ${OUTER} dev br0`);
      await forwarding();
      const packets = opened.log({ netns: ns, groups: [5] });
      frames.send(FAR, OUTER, IP, udp4('10.0.0.1', '10.0.0.9'));
      const ours = (each: Packet) => each.headers?.destinationPort === 9999;
      const through = await take(packets, 3, ours);
      expect(
        through.map(each => [each.hook, each.hook !== 'postrouting' && each.physInDevice, each.physOutDevice]),
      ).toEqual([
        ['prerouting', 'in0', undefined],
        ['forward', 'in0', 'out0'],
        ['postrouting', false, 'out0'],
      ]);
      expect(through[1]).toMatchObject({
        inDevice: 'br0',
        outDevice: 'br0',
        family: 'bridge',
        etherType: IP,
        hardwareAddress: OUTER,
        vlan: undefined,
      });
      expect(through[1]!.summary()).toMatch(
        new RegExp(`^bridge-forward IN=in0 OUT=out0 .*MAC=${FAR}:${OUTER}:08:00 SRC=10.0.0.1 DST=10.0.0.9 .*DPT=9999`),
      );
      // Priority 1, drop eligible, VLAN 5.
      frames.send(FAR, OUTER, IP, udp4('10.0.0.1', '10.0.0.9'), '8100 3005');
      const tagged = await take(packets, 3, ours);
      for (const each of tagged) {
        expect(each.vlan).toEqual({ protocol: 0x8100, id: 5, priority: 1, dropEligible: true });
        expect(Buffer.from(each.linkHeader!.subarray(0, 12)).toString('hex')).toBe(bytes(FAR + OUTER).toString('hex'));
        expect(each.headers).toMatchObject({ source: '10.0.0.1', destinationPort: 9999 });
        expect(each.summary()).toMatch(/ VPROTO=8100 VID=5 SRC=10\.0\.0\.1 /);
      }
      frames.send(FAR, OUTER, IP, udp4('10.0.0.1', '10.0.0.9'), '88a8 0007 8100 0008');
      for (const each of await take(packets, 3, each => each.vlan !== undefined))
        expect(each.summary()).toMatch(/ VPROTO=88a8 VID=7 VPROTO=8100 VID=8 SRC=10\.0\.0\.1 DST=10\.0\.0\.9 /);
      ns.run(() => execFileSync(process.execPath, ['-e', SEND, '10.0.0.1']));
      expect((await take(packets, 2, ours)).map(each => [each.hook, each.physOutDevice, each.uid])).toEqual([
        ['output', 'in0', 0],
        ['postrouting', 'in0', 0],
      ]);
    });

    it('of netdev, with the tag of a VLAN and the whole link-layer header', async () => {
      nft(ns, log('netdev', 'ingress', 'ingress device in0', 'ether type != ip6'));
      nft(ns, log('netdev', 'egress', 'egress device in0', 'ether type != ip6'));
      const packets = opened.log({ netns: ns, groups: [5] });
      frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2'), '8100 2fff');
      frames.send(INNER, OUTER, ARP, ARP_REQUEST);
      frames.send(INNER, OUTER, 0x88b5, bytes('0102030405'));
      // Two tags: the kernel takes off the outer one.
      frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2'), '88a8 0007 8100 0008');
      const [tagged, arp, unknown, twice] = await take(packets, 4);
      expect(twice!.vlan).toEqual({ protocol: 0x88a8, id: 7, priority: 0, dropEligible: false });
      expect(twice!.headers).toMatchObject({ source: '10.0.0.1', destinationPort: 9999 });
      expect(twice!.summary()).toMatch(
        / VPROTO=88a8 VID=7 VPROTO=8100 VID=8 SRC=10\.0\.0\.1 DST=10\.0\.0\.2 .*DPT=9999/,
      );
      expect(tagged!.summary()).toMatch(/ VPROTO=8100 VID=4095 SRC=10\.0\.0\.1 /);
      expect(tagged).toMatchObject({
        family: 'netdev',
        hook: 'ingress',
        prefix: 'netdev-ingress ',
        etherType: IP,
        inDevice: 'in0',
        outDevice: undefined,
        vlan: { protocol: 0x8100, id: 0xfff, priority: 1, dropEligible: false },
      });
      expect(Buffer.from(tagged!.linkHeader!).toString('hex')).toMatch(
        new RegExp(`^${(INNER + OUTER).replaceAll(':', '')}`),
      );
      expect(tagged!.headers).toMatchObject({ source: '10.0.0.1', sourcePort: 12345 });
      expect(arp!.summary()).toMatch(/^netdev-ingress IN=in0 OUT= ARP HTYPE=1 .* IPDST=10.0.0.2$/);
      expect(unknown).toMatchObject({ etherType: 0x88b5, headers: undefined });
      expect(unknown!.summary()).toMatch(/^netdev-ingress IN=in0 OUT= MAC=.*:88:b5$/);
      addressed();
      ns.run(() => execFileSync(process.execPath, ['-e', SEND, '10.0.0.1']));
      const [sent] = await take(packets, 1);
      expect(sent).toMatchObject({ family: 'netdev', hook: 'egress', outDevice: 'in0', inDevice: undefined });
      expect(sent!.headers).toMatchObject({ source: '10.0.0.2', destinationPort: 9999 });
    });
  });

  it('a bridged packet that ip rules see has the bridge as device, and its ports', async () => {
    if (!fs.existsSync('/proc/sys/net/bridge')) execFileSync('modprobe', ['br_netfilter']);
    ip(ns, 'link add br0 type bridge', 'link set br0 up', 'link set in0 master br0', 'link set out0 master br0');
    ns.sysctl.set('net.bridge.bridge-nf-call-iptables', '1');
    nft(ns, log('ip', 'forward', 'forward'));
    await forwarding();
    const packets = opened.log({ netns: ns, groups: [5] });
    frames.send(FAR, OUTER, IP, udp4('10.0.0.1', '10.0.0.9'));
    const [packet] = await take(packets, 1);
    expect(packet).toMatchObject({
      family: 'ip',
      hook: 'forward',
      inDevice: 'br0',
      outDevice: 'br0',
      physInDevice: 'in0',
      physInDeviceIndex: 70,
      physOutDevice: 'out0',
      physOutDeviceIndex: 71,
    });
    expect(packet!.summary()).toMatch(/^ip-forward IN=br0 OUT=br0 PHYSIN=in0 PHYSOUT=out0 MAC=/);
  });

  it('the numbers of all groups together are the order of the packets', async () => {
    addressed();
    nft(
      ns,
      'table ip test { chain input { type filter hook input priority 0; udp dport 1 log group 5; udp dport 2 log group 6; } }',
    );
    const packets = opened.log({ netns: ns, groups: [5, 6], globalSequence: true, queue: { packets: 1 } });
    for (const port of [1, 2, 2, 1]) frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2', port));
    const seen = await take(packets, 4);
    expect(seen.map(each => [each.group, each.sequence, each.globalSequence])).toEqual([
      [5, 0, 1],
      [6, 0, 2],
      [6, 1, 3],
      [5, 1, 4],
    ]);
  });

  it('without numbers nothing is said of losses', async () => {
    addressed();
    nft(ns, log('ip', 'input', 'input'));
    const packets = opened.log({ netns: ns, groups: [5], sequence: false });
    frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2'));
    expect((await take(packets, 1))[0]!.sequence).toBeUndefined();
    expect(packets.stats.lostPackets).toBe(0);
  });

  it('a rule has the name of its prefix', async () => {
    addressed();
    nft(
      ns,
      'table ip test { chain input { type filter hook input priority 0; udp dport 1 log prefix "a" group 5; log group 5; } }',
    );
    const asked: [string, number][] = [];
    const rules = (prefix: string, group: number) => {
      asked.push([prefix, group]);
      return prefix === 'a' ? { port: 1 } : undefined;
    };
    const packets = opened.log({ netns: ns, groups: [5], rules });
    for (const port of [1, 1, 2]) frames.send(INNER, OUTER, IP, udp4('10.0.0.1', '10.0.0.2', port));
    // Those to port 1 are logged by both rules.
    const seen = await take(packets, 5);
    expect(seen.map(each => each.rule)).toEqual([{ port: 1 }, undefined, { port: 1 }, undefined, undefined]);
    expect(asked).toEqual([
      ['a', 5],
      ['', 5],
    ]);
  });

  /** A port of a bridge first learns (without spanning tree for no time, but not at once). */
  async function forwarding(): Promise<void> {
    await expect
      .poll(() => ns.run(() => execFileSync('bridge', ['link'], { encoding: 'utf8' })).match(/state forwarding/g))
      .toHaveLength(2);
  }
});

const SEND = `
  const [address] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.send('xxxxx', 9999, address, () => socket.close());`;
