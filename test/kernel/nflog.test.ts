import { execFileSync, spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { type Loss, Nflog, type NflogOptions, type Packet } from '../../src/nflog/index.ts';
import { flushed, turns, until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const root = new URL('../..', import.meta.url).pathname;

/** Sends datagrams to UDP port 9999 from a process in the namespace; they are logged when this returns. */
function send(ns: NetNs, count = 1, { address = '127.0.0.1', size = 5, uid = 0, gid = 0 } = {}): void {
  const script = `
    const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}');
    let left = ${count};
    const next = () => { if (left-- > 0) socket.send(Buffer.alloc(${size}, 'x'), 9999, '${address}', next); else socket.close(); };
    next();`;
  ns.run(() => execFileSync(process.execPath, ['-e', script], { uid, gid, cwd: '/', stdio: 'inherit' }));
}

/** As `send`, while this process goes on. */
async function sendMeanwhile(ns: NetNs, count: number, size = 100): Promise<void> {
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    let left = ${count}, flying = 0;
    const next = () => {
      while (left > 0 && flying < 32) { left--; flying++; socket.send(Buffer.alloc(${size}), 9999, '127.0.0.1', () => { flying--; next(); }); }
      if (left === 0 && flying === 0) { left = -1; socket.close(); }
    };
    next();`;
  const child = ns.run(() => spawn(process.execPath, ['-e', script], { stdio: 'inherit' }));
  const code = await new Promise(resolve => child.on('exit', resolve));
  expect(code).toBe(0);
}

function makeNamespace(rules: string): NetNs {
  const ns = NetNs.create();
  ns.run(() => {
    execFileSync('ip', ['link', 'set', 'lo', 'up']);
    execFileSync('nft', ['-f', '-'], { input: `table inet test {\n${rules}\n}\n` });
  });
  return ns;
}

const chain = (hook: string, ...statements: string[]) =>
  `chain ${hook} {\ntype filter hook ${hook} priority 0\n${statements.join('\n')}\n}`;
const LOG_OUTPUT = chain('output', 'udp dport 9999 log prefix "web1 " group 5');

async function take(log: Nflog, count: number): Promise<Packet[]> {
  const packets: Packet[] = [];
  if (count === 0) return packets;
  for await (const packet of log) if (packets.push(packet) === count) break;
  return packets;
}

/** Sends one more packet, until one is read: only behind it all that was lost before is known. */
async function counted(log: Nflog, ns: NetNs, sent: number): Promise<number> {
  let count = sent;
  await until(async () => {
    send(ns);
    count++;
    await flushed(50);
    return log.stats.received + log.stats.lostPackets === count;
  });
  return count;
}

kernelSuite('the packet log', () => {
  const opened: { close(): void }[] = [];
  const open = (options: NflogOptions) => {
    const log = Nflog.open(options);
    opened.push(log);
    return log;
  };
  const namespace = (rules: string) => {
    const ns = makeNamespace(rules);
    opened.push(ns);
    return ns;
  };
  afterEach(() => {
    for (const each of opened.splice(0).reverse()) each.close();
  });

  describe('a packet', () => {
    it('that is sent has the fields that the kernel knows', async () => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5] });
      const before = Date.now() * 1000;
      send(ns, 1, { uid: 1234, gid: 4321 });
      const [packet] = await take(log, 1);
      expect(packet).toMatchObject({
        group: 5,
        family: 'ip',
        hook: 'output',
        prefix: 'web1 ',
        mark: 0,
        etherType: 0x0800,
        inDevice: undefined,
        outDevice: 'lo',
        outDeviceIndex: 1,
        hardwareAddress: undefined,
        timestampMicroseconds: undefined,
        uid: 1234,
        gid: 4321,
        sequence: 0,
        vlan: undefined,
      });
      expect(packet!.receivedAtMicroseconds).toBeGreaterThanOrEqual(before);
      expect(packet!.receivedAtMicroseconds).toBeLessThan(Date.now() * 1000 + 5000);
      expect(Buffer.from(packet!.payload.subarray(28)).toString()).toBe('xxxxx');
      expect(packet!.summary()).toMatch(
        /^web1 IN= OUT=lo SRC=127\.0\.0\.1 DST=127\.0\.0\.1 LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID=\d+ DF PROTO=UDP SPT=\d+ DPT=9999 LEN=13 UID=1234 GID=4321$/,
      );
    });

    it('that is received has the fields that the kernel knows', async () => {
      const ns = namespace(chain('input', 'udp dport 9999 meta mark set 0xabcd log prefix "in" group 7'));
      const log = open({ netns: ns, groups: [7] });
      send(ns);
      const [packet] = await take(log, 1);
      expect(packet).toMatchObject({
        hook: 'input',
        mark: 0xabcd,
        inDevice: 'lo',
        inDeviceIndex: 1,
        outDevice: undefined,
        hardwareAddress: '00:00:00:00:00:00',
        hardwareType: 772,
      });
      expect(packet!.timestampMicroseconds).toBeGreaterThan(packet!.receivedAtMicroseconds - 2_000_000);
      expect(packet!.timestampMicroseconds).toBeLessThan(packet!.receivedAtMicroseconds + 3000);
      expect(packet!.summary()).toMatch(/^inIN=lo OUT= MAC=(00:){12}08:00 SRC=127.* MARK=0xabcd$/);
    });

    it('is read in IPv6 and in the netdev family', async () => {
      const ns = namespace(LOG_OUTPUT);
      ns.run(() => {
        const rules = `table netdev n {\n${chain('ingress', 'log group 5').replace('ingress priority', 'ingress device "lo" priority')}\n}\n`;
        execFileSync('nft', ['-f', '-'], { input: rules });
      });
      const log = open({ netns: ns, groups: [5] });
      send(ns, 1, { address: '::1' });
      const [sent, received] = await take(log, 2);
      expect(sent).toMatchObject({ family: 'ip6', hook: 'output', etherType: 0x86dd });
      expect(sent!.summary()).toMatch(/SRC=0000:.*:0001 DST=.* HOPLIMIT=64 .*PROTO=UDP SPT=\d+ DPT=9999 LEN=13/);
      expect(received).toMatchObject({ family: 'netdev', hook: 'ingress', prefix: '', inDevice: 'lo', uid: undefined });
      expect(received!.linkHeader).toHaveLength(14);
      expect(received!.summary()).toMatch(/^IN=lo OUT= MAC=.*PROTO=UDP SPT=\d+ DPT=9999 LEN=13$/);
    });

    it('is copied up to the requested length', async () => {
      const ns = namespace(LOG_OUTPUT);
      for (const [copy, length] of [
        ['none', 0],
        ['meta', 0],
        [{ bytes: 24 }, 24],
        [{ bytes: 128 }, 128],
        [undefined, 1028],
      ] as const) {
        const log = open({ netns: ns, groups: [5], ...(copy && { copy }) });
        send(ns, 1, { size: 1000 });
        const [packet] = await take(log, 1);
        expect(packet!.payload).toHaveLength(length);
        expect(packet!.prefix).toBe('web1 ');
        if (length === 24) expect(packet!.summary()).toMatch(/PROTO=UDP INCOMPLETE \[4 bytes\]$/);
        await log[Symbol.asyncDispose]();
      }
    });

    it('has the last name of its device', async () => {
      const ns = namespace(chain('output', 'udp dport 9999 log group 5'));
      ns.run(() => {
        execFileSync('ip', ['link', 'add', 'd0', 'type', 'veth', 'peer', 'd1']);
        execFileSync('ip', ['addr', 'add', '10.9.8.7/24', 'dev', 'd0']);
        execFileSync('ip', ['link', 'set', 'd0', 'up']);
      });
      const log = open({ netns: ns, groups: [5] });
      send(ns, 1, { address: '10.9.8.1' });
      const [packet] = await take(log, 1);
      expect(packet!.outDevice).toBe('d0');
      send(ns, 1, { address: '10.9.8.1' });
      const [later] = await take(log, 1);
      ns.run(() => execFileSync('ip', ['link', 'del', 'd0']));
      expect(later!.outDevice).toBe('d0');
      log.close();
      expect(later!.copy().outDevice).toBe('d0');
    });

    it('has the number of its device where nobody asked for the name in time', async () => {
      const ns = namespace(LOG_OUTPUT);
      ns.run(() => {
        execFileSync('ip', ['link', 'add', 'd0', 'index', '77', 'type', 'veth', 'peer', 'd1']);
        execFileSync('ip', ['addr', 'add', '10.9.8.7/24', 'dev', 'd0']);
        execFileSync('ip', ['link', 'set', 'd0', 'up']);
      });
      const log = open({ netns: ns, groups: [5] });
      send(ns, 1, { address: '10.9.8.1' });
      ns.run(() => execFileSync('ip', ['link', 'del', 'd0']));
      const [packet] = await take(log, 1);
      expect(packet!.outDevice).toBe('if77');
    });
  });

  describe('groups', () => {
    it('are read together, added and removed', async () => {
      const ns = namespace(
        chain(
          'output',
          'udp dport 9999 log prefix "a" group 5',
          'udp dport 9999 log prefix "b" group 6',
          'udp dport 9999 log prefix "c" group 65535',
        ),
      );
      const log = open({ netns: ns, groups: [5, 6] });
      send(ns, 2);
      expect((await take(log, 4)).map(each => `${each.group}${each.prefix}${each.sequence}`).sort()).toEqual([
        '5a0',
        '5a1',
        '6b0',
        '6b1',
      ]);
      await log.addGroup(65535);
      expect(log.groups).toEqual([5, 6, 65535]);
      await log.removeGroup(5);
      log.sync.removeGroup(6);
      send(ns);
      expect((await take(log, 1)).map(each => `${each.group}${each.prefix}${each.sequence}`)).toEqual(['65535c0']);
      await log.addGroup(5);
      send(ns);
      const again = await take(log, 2);
      expect(again.map(each => `${each.group}${each.sequence}`).sort()).toEqual(['50', '655351']);
      expect(log.stats).toEqual({
        received: 7,
        lostPackets: 0,
        lostDatagrams: 0,
        droppedByBacklog: 0,
        rejectedSenders: 0,
      });
    });

    it('are told apart by namespace in one process', async () => {
      const one = namespace(LOG_OUTPUT);
      const two = namespace(LOG_OUTPUT.replace('web1', 'web2'));
      const logs = [open({ netns: one, groups: [5] }), open({ netns: two, groups: [5] })];
      send(one, 3);
      send(two, 2);
      expect((await take(logs[0]!, 3)).map(each => each.prefix)).toEqual(['web1 ', 'web1 ', 'web1 ']);
      expect((await take(logs[1]!, 2)).map(each => each.prefix)).toEqual(['web2 ', 'web2 ']);
    });

    it('that this process has are rejected with the name of the holder, and numbers out of range with ERR_OUT_OF_RANGE', async () => {
      const ns = namespace('');
      open({ netns: ns, groups: [5] });
      const error = expect.objectContaining({
        code: 'EPERM',
        operation: 'nflog.open',
        path: ['groups', 1],
        hint: expect.stringMatching(/^group 5 is taken: port id \d+ holds it, another log of this process$/),
      });
      expect(() => open({ netns: ns, groups: [6, 5] })).toThrow(error);
      // The one that was bound before the refusal is free again.
      await expect.poll(() => ns.readFile('/proc/net/netfilter/nfnetlink_log')).not.toMatch(/^ *6 /m);
      const log = open({ netns: ns, groups: [] });
      await expect(log.addGroup(5)).rejects.toMatchObject({ code: 'EPERM', operation: 'nflog.addGroup' });
      await log.addGroup(6);
      await expect(log.addGroup(6)).rejects.toMatchObject({ code: 'EBUSY', hint: 'this log has group 6 already' });
      await expect(log.removeGroup(7)).rejects.toMatchObject({ code: 'ENODEV' });
      await expect(log.addGroup(-1)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
    });

    it('that another process has are rejected with its number and name', async () => {
      const ns = namespace('');
      const script = `
        const koffi = require(${JSON.stringify(`${root}node_modules/koffi`)});
        const c = koffi.load(null);
        const fd = c.func('int socket(int, int, int)')(16, 3, 12);
        // NFULNL_MSG_CONFIG for group 5: NFULA_CFG_CMD is NFULNL_CFG_CMD_BIND.
        const bind = Buffer.from('1c000000010401000000000000000000' + '00000005' + '0500010001000000', 'hex');
        c.func('long send(int, const void *, size_t, int)')(fd, bind, bind.length, 0);
        process.stdin.on('end', () => process.exit()).resume();
        console.log('bound');`;
      const child = ns.run(() => spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }));
      try {
        await new Promise(resolve => child.stdout.once('data', resolve));
        const hint = expect.stringMatching(
          new RegExp(`^group 5 is taken: port id ${child.pid} holds it, process ${child.pid} \\(.+\\)$`),
        );
        expect(() => open({ netns: ns, groups: [5] })).toThrow(expect.objectContaining({ code: 'EPERM', hint }));
      } finally {
        child.stdin.end();
      }
    });

    it('carry connections where the kernel can, and report where it cannot', async () => {
      const ns = namespace(LOG_OUTPUT);
      const options = { netns: ns, groups: [5], conntrack: true };
      let log: Nflog;
      try {
        log = open(options);
      } catch (error) {
        expect(error).toMatchObject({ code: 'EOPNOTSUPP', path: ['conntrack'] });
        log = open({ ...options, conntrack: false });
      }
      send(ns);
      expect((await take(log, 1))[0]!.sequence).toBe(0);
    });

    it('are configured in one message', () => {
      const ns = namespace('');
      open({ netns: ns, groups: [5], copy: { bytes: 200 }, queue: { packets: 7, milliseconds: 250 } });
      open({ netns: ns, groups: [6], copy: 'meta' });
      const table = ns.readFile('/proc/net/netfilter/nfnetlink_log').trim().split('\n');
      // group port queued copy_mode copy_range timeout refcount
      expect(
        table.map(line => line.trim().split(/\s+/)).map(([group, , , ...rest]) => [group, ...rest.slice(0, 3)]),
      ).toEqual(
        expect.arrayContaining([
          ['5', '2', '200', '25'],
          ['6', '1', '0', '1'],
        ]),
      );
    });
  });

  describe('reception', () => {
    it('receives batches of many packets', async () => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5], queue: { milliseconds: 200 } });
      const batches: number[] = [];
      let count = 0;
      const done = new Promise<void>(resolve => {
        log.onBatch(packets => {
          batches.push(packets.length);
          count += packets.length;
          if (count === 500) resolve();
        });
      });
      send(ns, 500);
      await done;
      expect(Math.max(...batches)).toBeGreaterThan(100);
      expect(log.stats).toMatchObject({ received: 500, lostPackets: 0, lostDatagrams: 0 });
    });

    it('delivers packets that precede the reply to a request', async () => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5], queue: { packets: 1 } });
      send(ns, 50);
      for (let group = 100; group < 110; group++) await log.addGroup(group);
      send(ns, 50);
      await log.removeGroup(105);
      const packets = await take(log, 100);
      expect(packets.map(packet => packet.sequence)).toEqual(packets.map((_, i) => i));
    });

    it.each(['drop-oldest', 'drop-newest'] as const)("keeps the configured number of packets with '%s'", async when => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5], backlog: { packets: 10, when } });
      const iterator = log[Symbol.asyncIterator]();
      send(ns, 100);
      await expect.poll(() => log.stats.received).toBe(100);
      expect(log.stats.droppedByBacklog).toBe(90);
      const sequences: (number | undefined)[] = [];
      for (let i = 0; i < 10; i++) sequences.push((await iterator.next()).value?.sequence);
      const first = when === 'drop-oldest' ? 90 : 0;
      expect(sequences).toEqual(sequences.map((_, i) => first + i));
    });

    it('ends its loops when it is closed, inside and outside of the loop, and rejects a new one with ERR_CLOSED', async () => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5] });
      const inside = (async () => {
        let count = 0;
        for await (const _ of log) if (++count === 2) log.close();
        return count;
      })();
      const waiting = (async () => {
        for await (const _ of log);
        return 'ended';
      })();
      send(ns, 10);
      expect(await waiting).toBe('ended');
      expect(await inside).toBeLessThanOrEqual(2);
      log.close();
      expect(log.closed).toBe(true);
      expect(() => log[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
      expect(() => log.onLoss(() => {})).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
      await expect(log.addGroup(9)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
      expect(() => log.sync.addGroup(9)).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
      expect(log.stats.received).toBeLessThanOrEqual(10);
      await log[Symbol.asyncDispose]();
      expect(ns.readFile('/proc/net/netfilter/nfnetlink_log')).toBe('');
    });

    it('continues after the namespace handle is closed', async () => {
      const ns = namespace(LOG_OUTPUT);
      const log = open({ netns: ns, groups: [5] });
      send(ns, 3);
      ns.close();
      expect((await take(log, 3)).map(packet => packet.outDevice)).toEqual(['lo', 'lo', 'lo']);
    });
  });

  describe('losses', () => {
    let ns: NetNs;
    beforeEach(() => {
      ns = namespace(LOG_OUTPUT);
    });

    it('are counted exactly: the last ones as datagrams at once, as packets with the next packet', async () => {
      const log = open({ netns: ns, groups: [5], receiveBufferBytes: 16384, queue: { packets: 1 } });
      const losses: Loss[] = [];
      log.onLoss(loss => void losses.push(loss));
      send(ns, 2000);
      const { lostDatagrams } = log.stats;
      expect(lostDatagrams).toBeGreaterThan(1000);
      let count = 0;
      log.onBatch(packets => {
        count += packets.length;
      });
      await expect.poll(() => count).toBe(2000 - lostDatagrams);
      expect(log.stats.lostPackets).toBe(0);
      expect(losses).toEqual([{ kind: 'datagrams', count: lostDatagrams }]);
      send(ns);
      await expect.poll(() => log.stats.received).toBe(2001 - lostDatagrams);
      expect(log.stats).toMatchObject({ lostPackets: lostDatagrams, lostDatagrams });
      expect(losses.slice(1)).toEqual([{ kind: 'packets', group: 5, count: lostDatagrams }]);
    });

    it('are exact in a flood that overruns a slow reader', async () => {
      const log = open({
        netns: ns,
        groups: [5],
        receiveBufferBytes: 32768,
        queue: { packets: 20, bufferBytes: 8192 },
      });
      log.onBatch(() => {
        const until = performance.now() + 5;
        while (performance.now() < until);
      });
      await sendMeanwhile(ns, 30_000);
      const sent = await counted(log, ns, 30_000);
      const { received, lostPackets, lostDatagrams } = log.stats;
      expect(lostPackets).toBeGreaterThan(0);
      expect(lostDatagrams).toBeGreaterThan(0);
      expect(received + lostPackets).toBe(sent);
    });

    it('are those of the kernel and exact where a loop stops and the backlog leaves packets to the kernel', async () => {
      const log = open({
        netns: ns,
        groups: [5],
        receiveBufferBytes: 65536,
        queue: { packets: 10 },
        backlog: { packets: 100, when: 'leave-to-kernel' },
      });
      const iterator = log[Symbol.asyncIterator]();
      await sendMeanwhile(ns, 5000);
      await turns();
      expect(log.stats.received).toBeLessThan(120);
      const rest = (async () => {
        for (;;) if ((await iterator.next()).done) return;
      })();
      await counted(log, ns, 5000);
      expect(log.stats.droppedByBacklog).toBe(0);
      log.close();
      await rest;
    });

    it('of replies do not lose the request', async () => {
      const log = open({ netns: ns, groups: [5], receiveBufferBytes: 8192, queue: { packets: 1 } });
      for (let group = 10; group < 20; group++) {
        send(ns, 100);
        await log.addGroup(group);
      }
      expect(log.groups).toHaveLength(11);
      for (let group = 10; group < 20; group++) {
        send(ns, 100);
        await log.removeGroup(group);
      }
      expect(log.groups).toEqual([5]);
      expect(log.stats.lostDatagrams).toBeGreaterThan(0);
    });

    it('do not occur where the receive buffer is large: a flood is read whole', async () => {
      const log = open({ netns: ns, groups: [5], copy: { bytes: 64 } });
      log.onBatch(() => {});
      await sendMeanwhile(ns, 50_000);
      await expect.poll(() => log.stats.received).toBe(50_000);
      expect(log.stats).toMatchObject({ lostPackets: 0, lostDatagrams: 0 });
    });
  });
});
