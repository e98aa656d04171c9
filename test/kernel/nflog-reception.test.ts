import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import type { Packet } from '../../src/nflog/index.ts';
import { compiledSources } from '../support/compiled.ts';
import { nativeProgram, ROOT } from '../support/native.ts';
import { ip, nft, Opened, take } from '../support/nflog-lab.ts';
import { until as hears } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** On a busy machine a second is nothing. */
const until = <T>(what: () => T) => expect.poll(what);

const rule = (groups: number[]) =>
  `table ip test { chain output { type filter hook output priority 0; ${groups.map(group => `udp dport 9999 log prefix "g${group}" group ${group};`).join(' ')} } }`;

kernelSuite('the reception of a log', () => {
  const opened = new Opened();
  let ns: NetNs;
  beforeEach(() => {
    ns = opened.namespace();
  });
  afterEach(() => opened.close());

  const send = (count: number, size = 64, address = '127.0.0.1') =>
    ns.run(() =>
      execFileSync(nativeProgram('flood'), ['-s', String(size), address, '9999', String(count)], { stdio: 'pipe' }),
    );
  const flood = (...parameters: string[]) =>
    ns.run(() => spawn(nativeProgram('flood'), parameters, { stdio: 'ignore' }));

  describe('batches', () => {
    /** Packets by datagram: those of one have been received at the same time. */
    const datagrams = (packets: readonly Packet[]) => {
      const sizes = new Map<number, number>();
      for (const { receivedAtMicroseconds: at } of packets) sizes.set(at, (sizes.get(at) ?? 0) + 1);
      return [...sizes.values()];
    };
    const HOUR = 3_600_000;

    it('arrive when they are full by number of packets, and the rest when the group is removed', async () => {
      nft(ns, rule([5]));
      const log = opened.log({ netns: ns, groups: [5], queue: { packets: 10, milliseconds: HOUR } });
      send(35);
      const packets = await take(log, 30);
      expect(datagrams(packets)).toEqual([10, 10, 10]);
      expect(log.stats.received).toBe(30);
      await log.removeGroup(5);
      packets.push(...(await take(log, 5)));
      expect(packets.map(each => each.sequence)).toEqual(packets.map((_, i) => i));
    });

    it('arrive when their buffer is full', async () => {
      nft(ns, rule([5]));
      const options = { netns: ns, groups: [5], queue: { packets: 1000, milliseconds: HOUR, bufferBytes: 8192 } };
      const log = opened.log(options);
      send(50, 1000);
      const packets = await take(log, 20);
      const sizes = datagrams(packets.slice(0, 20));
      // A packet of 1,000 bytes takes some 1,080; the kernel rounds the buffer up, to less than twice its size.
      expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThanOrEqual(7);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(15);
    });

    it('arrive after the flush timeout', async () => {
      nft(ns, rule([5]));
      const log = opened.log({ netns: ns, groups: [5], queue: { packets: 1000, milliseconds: 50 } });
      send(3);
      expect(datagrams(await take(log, 3))).toEqual([3]);
    });

    it('are as small as the queue threshold of a rule, where that is less', async () => {
      const wants = 'udp dport 9999 log group 5 queue-threshold 2';
      nft(ns, `table ip test { chain output { type filter hook output priority 0; ${wants}; } }`);
      const log = opened.log({ netns: ns, groups: [5], queue: { packets: 10, milliseconds: HOUR } });
      send(6);
      expect(datagrams(await take(log, 6))).toEqual([2, 2, 2]);
    });

    it('take a packet that is larger than their buffer, up to the largest', async () => {
      nft(ns, rule([5]));
      ip(ns, 'link set lo mtu 65536');
      const log = opened.log({ netns: ns, groups: [5], queue: { bufferBytes: 8192 } });
      send(3, 65_535);
      const packets = await take(log, 3);
      // Without its attributes an attribute's length ends at 65,531.
      expect(packets.map(each => each.payload.length)).toEqual([65_531, 65_531, 65_531]);
      expect(packets.map(each => each.headers!.length)).toEqual([65_535, 65_535, 65_535]);
      const wide = opened.log({ netns: ns, groups: [6], queue: { bufferBytes: 131_072 } });
      nft(ns, 'add rule ip test output udp dport 9999 log group 6');
      send(10, 60_000);
      expect((await take(wide, 10)).map(each => each.payload.length)).toEqual(Array(10).fill(60_000));
      expect(wide.stats).toMatchObject({ received: 10, lostPackets: 0, lostDatagrams: 0 });
    });
  });

  describe('under traffic', () => {
    it('adds and removes groups', async () => {
      nft(ns, rule([5, 6]));
      const log = opened.log({ netns: ns, groups: [6], copy: { bytes: 64 } });
      const counts = new Map<number, number>();
      log.onBatch(packets => {
        for (const { group } of packets) counts.set(group, (counts.get(group) ?? 0) + 1);
      });
      const child = flood('-r', '20000', '127.0.0.1', '9999', '30000');
      const ended = once(child, 'exit');
      for (let i = 0; i < 40; i++) {
        const before = counts.get(5) ?? 0;
        await log.addGroup(5);
        await hears(() => (counts.get(5) ?? 0) > before || child.exitCode !== null);
        await log.removeGroup(5);
        expect(log.groups).toEqual([6]);
      }
      await ended;
      await until(() => counts.get(6)).toBe(30_000);
      expect(counts.get(5)).toBeGreaterThan(0);
      // Each time its numbers begin anew: that is no loss.
      expect(log.stats).toMatchObject({ lostPackets: 0, lostDatagrams: 0, rejectedSenders: 0 });
      expect(log.stats.received).toBe(counts.get(5)! + 30_000);
    });

    it('closes a log while another one takes its group', async () => {
      nft(ns, rule([5]));
      const child = flood('-r', '50000', '127.0.0.1', '9999', '10000000');
      try {
        for (let i = 0; i < 10; i++) {
          const log = opened.log({ netns: ns, groups: [5] });
          const packets = await take(log, 100);
          expect(packets.map(each => each.sequence)).toEqual(packets.map((_, i) => i));
          await log[Symbol.asyncDispose]();
        }
      } finally {
        child.kill();
        await once(child, 'exit');
      }
      expect(ns.readFile('/proc/net/netfilter/nfnetlink_log')).toBe('');
    });

    it('continues when every other holder of the namespace is gone', async () => {
      nft(ns, rule([5]));
      const name = `nflog-gone-${process.pid}`;
      ns.pin(name);
      const log = opened.log({ netns: ns, groups: [5] });
      const child = flood('-r', '20000', '127.0.0.1', '9999', '10000000');
      await take(log, 100);
      ns.unpin(name);
      ns.close();
      await take(log, 100);
      child.kill();
      await once(child, 'exit');
      const { received } = log.stats;
      expect(received).toBeGreaterThanOrEqual(200);
      expect((await take(log, 1))[0]!.outDevice).toBe('lo');
      await log.addGroup(6);
      await log[Symbol.asyncDispose]();
    });
  });

  it('ignores forged messages: the kernel refuses the forger', async () => {
    nft(ns, rule([5]));
    const log = opened.log({ netns: ns, groups: [5], queue: { packets: 1 } });
    const port = Number(ns.readFile('/proc/net/netfilter/nfnetlink_log').trim().split(/\s+/)[1]);
    // A packet message of group 5, as the kernel would write it, sent to the log's port by root of the same namespace.
    const script = `
      const koffi = require(${JSON.stringify(`${ROOT}/node_modules/koffi`)});
      const c = koffi.load(null);
      const fd = c.func('int socket(int, int, int)')(16, 3, 12);
      const to = Buffer.alloc(12);
      to.writeUInt16LE(16, 0);
      to.writeUInt32LE(${port}, 4);
      const message = Buffer.from('1c000000000400000000000000000000' + '02000005' + '08000900deadbeef', 'hex');
      const sent = c.func('long sendto(int, const void *, size_t, int, const void *, int)')(fd, message, message.length, 0, to, 12);
      console.log(sent, koffi.errno());`;
    const output = ns.run(() => execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }));
    expect(output.trim()).toBe('-1 111');
    send(1);
    const [packet] = await take(log, 1);
    expect(packet!.headers).toMatchObject({ destinationPort: 9999 });
    expect(log.stats).toMatchObject({ received: 1, rejectedSenders: 0 });
  });

  it('shows users by the user namespace of the listener: 65534 for those without a number there', async () => {
    // A rootless container that listens to itself: of the host's users it knows only root, as its own.
    const script = `
      import { Links } from './rtnetlink/index.js';
      import { Nftables, Transaction } from './nftables/index.js';
      import { Nflog } from './nflog/index.js';
      Links.open().sync.set('lo', { up: true });
      const place = { family: 'ip', table: 't' };
      const log = { log: { group: 5 } };
      Nftables.open().sync.commit(
        new Transaction()
          .add({ table: { family: 'ip', name: 't' } })
          .add({ chain: { ...place, name: 'o', type: 'filter', hook: 'output', priority: 0 } })
          .add({ rule: { ...place, chain: 'o', statements: [log] } }),
      );
      const packets = Nflog.open({ groups: [5] });
      console.log('listening');
      const seen = [];
      for await (const { uid, gid, headers } of packets) {
        if (headers.destinationPort === 9999) seen.push([uid, gid]);
        if (seen.length === 2) break;
      }
      console.log(JSON.stringify(seen));`;
    const parameters = [
      '--user',
      '--map-root-user',
      '--net',
      process.execPath,
      '--input-type=module',
      '--eval',
      script,
    ];
    const listener = spawn('unshare', parameters, { cwd: compiledSources(), stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      let output = '';
      listener.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
      });
      const closed = once(listener, 'close');
      await until(() => output).toContain('listening');
      const inside = opened.add(NetNs.open({ pid: listener.pid! }));
      const as = (uid: number, gid: number) =>
        inside.run(() =>
          execFileSync(nativeProgram('flood'), ['127.0.0.1', '9999', '1'], { uid, gid, cwd: '/', stdio: 'pipe' }),
        );
      as(0, 0);
      as(1234, 4321);
      expect(await closed).toEqual([0, null]);
      expect(output).toBe('listening\n[[0,0],[65534,65534]]\n');
    } finally {
      listener.kill();
    }
  });

  it('rejects a sink after close with ERR_CLOSED, and a wrong one with ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE', async () => {
    const log = opened.log({ netns: ns, groups: [5] });
    expect(() => log.toPcap(5 as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', attribute: 'writable' }),
    );
    expect(() => log.toPcapng(new PassThrough(), { bytes: 1 } as never)).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', attribute: 'rotate.bytes' }),
    );
    expect(() => log.to({} as never)).toThrow(expect.objectContaining({ attribute: 'logger.info' }));
    const capture = log.toPcap(new PassThrough().resume());
    await log[Symbol.asyncDispose]();
    await capture.finished;
    for (const open of [() => log.to(), () => log.toPcap(new PassThrough())])
      expect(open).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  describe('devices', () => {
    it("have the names of the log's namespace, after a rename too", async () => {
      nft(ns, rule([5]));
      // The same index is another device elsewhere.
      ip(
        ns,
        'link add before index 77 type veth peer name other',
        'addr add 10.9.8.7/24 dev before',
        'link set before up',
        'link set other up',
        'neigh add 10.9.8.1 lladdr 02:00:00:00:00:01 dev before',
      );
      ip(opened.namespace(), 'link add elsewhere index 77 type veth peer name x');
      const log = opened.log({ netns: ns, groups: [5] });
      send(1, 64, '10.9.8.1');
      const [first] = await take(log, 1);
      expect([first!.outDevice, first!.outDeviceIndex]).toEqual(['before', 77]);
      ip(ns, 'link set before down', 'link set before name after', 'link set after up');
      ip(ns, 'neigh replace 10.9.8.1 lladdr 02:00:00:00:00:01 dev after');
      // At once: a packet that is logged under the new name never shows the old one.
      send(1, 64, '10.9.8.1');
      const [second] = await take(log, 1);
      expect(second!.outDevice).toBe('after');
      for (let i = 0; i < 20; i++) {
        const name = `n${i}`;
        ip(ns, `link set ${i === 0 ? 'after' : `n${i - 1}`} down`);
        ip(ns, `link set ${i === 0 ? 'after' : `n${i - 1}`} name ${name}`, `link set ${name} up`);
        ip(ns, `neigh replace 10.9.8.1 lladdr 02:00:00:00:00:01 dev ${name}`);
        send(1, 64, '10.9.8.1');
        expect((await take(log, 1))[0]!.outDevice).toBe(name);
      }
    });
  });
});
