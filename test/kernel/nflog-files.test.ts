import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetNs } from '../../src/netns/index.ts';
import type { Packet } from '../../src/nflog/index.ts';
import { nativeProgram } from '../support/native.ts';
import { nft, Opened, take } from '../support/nflog-lab.ts';
import { flushed, turns } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** On a busy machine a second is nothing. */
const until = <T>(what: () => T) => expect.poll(what);

/** TCP to a closed port, UDP to a closed port over IPv4 and IPv6: each is answered, and each packet is sent and received. */
const TRAFFIC = `
  const dgram = require('node:dgram');
  for (const [type, address] of [['udp4', '127.0.0.1'], ['udp6', '::1']]) {
    const socket = dgram.createSocket(type);
    socket.send('x'.repeat(50), 9999, address, () => socket.close());
  }
  require('node:net').connect(1, '127.0.0.1').on('error', () => {});`;
const PACKETS = 12;

const RULES = `table inet test {
  chain output { type filter hook output priority 0; log prefix "web1 out" group 5; }
  chain input { type filter hook input priority 0; log prefix "web1 in" group 5; } }`;

kernelSuite('files of a log', () => {
  const opened = new Opened();
  let ns: NetNs;
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nflog-files-'));
    ns = opened.namespace();
  });
  afterEach(() => {
    opened.close();
    fs.rmSync(folder, { recursive: true });
  });
  const file = (name: string) => path.join(folder, name);
  const flood = (...parameters: string[]) =>
    ns.run(() => execFileSync(nativeProgram('flood'), parameters, { stdio: 'pipe' }));

  const tcpdump = (name: string) => {
    const child = execFileSync('tcpdump', ['-nn', '-tt', '-r', file(name)], { encoding: 'utf8', stdio: 'pipe' });
    return child.trim().split('\n');
  };
  const FIELDS = [
    'frame.time_epoch',
    'nflog.family',
    'nflog.res_id',
    'nflog.prefix',
    'nflog.hook',
    'nflog.ifindex_indev',
    'nflog.ifindex_outdev',
    'nflog.uid',
    'nflog.gid',
    'nflog.timestamp',
    'frame.protocols',
  ];
  const tshark = (name: string, fields: string[], filter = 'frame') => {
    const parameters = ['-n', '-r', file(name), '-Y', filter, '-T', 'fields', ...fields.flatMap(each => ['-e', each])];
    const output = execFileSync('tshark', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    return output === ''
      ? []
      : output
          .replace(/\n$/, '')
          .split('\n')
          .map(line => line.split('\t'));
  };

  const HOOKS: Record<string, string> = { input: '1', output: '3' };
  const timeOf = (packet: Packet) => ((packet.timestampMicroseconds ?? packet.receivedAtMicroseconds) / 1e6).toFixed(6);

  it('are read by tcpdump and tshark, which find in them the fields of the packets', async () => {
    nft(ns, RULES);
    const log = opened.log({ netns: ns, groups: [5], name: 'web1' });
    const pcap = log.toPcap(fs.createWriteStream(file('a.pcap')));
    const pcapng = log.toPcapng(fs.createWriteStream(file('b.pcapng')));
    const iterator = take(log, PACKETS);
    ns.run(() => execFileSync(process.execPath, ['-e', TRAFFIC]));
    const packets = await iterator;
    await log[Symbol.asyncDispose]();
    await pcap.finished;
    await pcapng.finished;
    expect([pcap.packets, pcapng.packets, pcap.files]).toEqual([PACKETS, PACKETS, 1]);
    expect(fs.statSync(file('a.pcap')).size).toBe(pcap.bytes);
    expect(fs.statSync(file('b.pcapng')).size).toBe(pcapng.bytes);

    const lines = tcpdump('a.pcap');
    expect(tcpdump('b.pcapng')).toEqual(lines);
    for (const [i, packet] of packets.entries()) {
      const { network, source, destination, sourcePort, destinationPort, icmpType } = packet.headers!;
      const ports = sourcePort !== undefined;
      const name = network === 'ipv6' ? 'IP6' : 'IP';
      const text = `${name} ${source}${ports ? `.${sourcePort}` : ''} > ${destination}${ports ? `.${destinationPort}` : ''}: `;
      expect(lines[i]).toContain(`${timeOf(packet)} ${text}${icmpType === undefined ? '' : 'ICMP'}`);
    }

    for (const name of ['a.pcap', 'b.pcapng']) {
      const rows = tshark(name, FIELDS);
      expect(rows).toEqual(
        packets.map(packet => [
          `${timeOf(packet)}000`,
          packet.family === 'ip' ? '2' : '10',
          '5',
          packet.prefix,
          HOOKS[packet.hook!],
          packet.inDeviceIndex?.toString() ?? '',
          packet.outDeviceIndex?.toString() ?? '',
          packet.uid?.toString() ?? '',
          packet.gid?.toString() ?? '',
          expect.any(String),
          expect.stringContaining(`nflog:${packet.family === 'ip' ? 'ip' : 'ipv6'}:`),
        ]),
      );
      // Neither finds anything malformed.
      expect(tshark(name, ['frame.number'], '_ws.malformed or _ws.short')).toEqual([]);
    }
    const options = tshark('b.pcapng', ['frame.interface_name', 'frame.packet_flags_direction', 'frame.comment']);
    expect(options).toEqual(
      packets.map(packet => ['lo', packet.hook === 'input' ? '0x00000001' : '0x00000002', packet.prefix]),
    );
  });

  it('in pcapng show where packets are missing', async () => {
    nft(ns, 'table ip test { chain output { type filter hook output priority 0; udp dport 9999 log group 5; } }');
    const log = opened.log({ netns: ns, groups: [5], receiveBufferBytes: 16384, queue: { packets: 1 } });
    // Nothing is read yet: most of them are lost.
    flood('127.0.0.1', '9999', '500');
    const { lostDatagrams } = log.stats;
    expect(lostDatagrams).toBeGreaterThan(100);
    const capture = log.toPcapng(fs.createWriteStream(file('a.pcapng')));
    await until(() => log.stats.received).toBe(500 - lostDatagrams);
    flood('127.0.0.1', '9999', '1');
    await until(() => log.stats.received).toBe(501 - lostDatagrams);
    await capture.end();
    const comments = tshark('a.pcapng', ['frame.comment']).flat();
    expect(comments.filter(each => each !== '')).toEqual([
      `${lostDatagrams} packets of group 5 are missing before this one`,
    ]);
    expect(comments.at(-1)).not.toBe('');
  });

  it.each(['toPcap', 'toPcapng'] as const)(
    'of %s are rotated by size: each is whole, and together they have all packets',
    async method => {
      nft(
        ns,
        'table ip test { chain output { type filter hook output priority 0; udp dport 9999 log prefix "x" group 5; } }',
      );
      const log = opened.log({ netns: ns, groups: [5] });
      const name = (index: number) => `${index}.cap`;
      const limit = 20_000;
      const capture = log[method](fs.createWriteStream(file(name(0))), {
        bytes: limit,
        next: async index => fs.createWriteStream(file(name(index))),
      });
      flood('-r', '20000', '-s', '100', '127.0.0.1', '9999', '2000');
      await until(() => capture.packets).toBe(2000);
      log.close();
      await capture.finished;
      expect(capture.files).toBeGreaterThan(10);
      let packets = 0;
      let bytes = 0;
      for (let index = 0; index < capture.files; index++) {
        const { size } = fs.statSync(file(name(index)));
        expect(size).toBeLessThanOrEqual(limit);
        bytes += size;
        packets += tcpdump(name(index)).length;
      }
      expect([packets, bytes]).toEqual([2000, capture.bytes]);
      expect(log.stats).toMatchObject({ received: 2000, lostPackets: 0, droppedByBacklog: 0 });
      expect(fs.existsSync(file(name(capture.files)))).toBe(false);
    },
  );

  it.each(['toPcap', 'toPcapng'] as const)(
    'of %s are rotated by time: each is whole, and together they have all packets',
    async method => {
      nft(ns, 'table ip test { chain output { type filter hook output priority 0; udp dport 9999 log group 5; } }');
      const log = opened.log({ netns: ns, groups: [5] });
      const name = (index: number) => `${index}.cap`;
      const capture = log[method](fs.createWriteStream(file(name(0))), {
        seconds: 1,
        next: index => fs.createWriteStream(file(name(index))),
      });
      let sent = 0;
      // However long a turn takes: what comes after the second has passed is in another file.
      while (capture.files < 3) {
        flood('-r', '100', '-s', '100', '127.0.0.1', '9999', '5');
        sent += 5;
        await until(() => capture.packets).toBe(sent);
      }
      log.close();
      await capture.finished;
      const counts = Array.from({ length: capture.files }, (_, index) => tcpdump(name(index)).length);
      expect(Math.min(...counts)).toBeGreaterThan(0);
      expect(counts.reduce((sum, count) => sum + count)).toBe(sent);
      expect(fs.existsSync(file(name(capture.files)))).toBe(false);
    },
  );

  it('to a slow Writable miss what the kernel dropped, and no more', async () => {
    nft(ns, 'table ip test { chain output { type filter hook output priority 0; udp dport 9999 log group 5; } }');
    const log = opened.log({
      netns: ns,
      groups: [5],
      receiveBufferBytes: 65536,
      queue: { packets: 20, bufferBytes: 8192 },
    });
    let stuck: (() => void) | undefined;
    let open = false;
    const chunks: Buffer[] = [];
    const writable = new Writable({
      highWaterMark: 4096,
      write(chunk, _encoding, done) {
        chunks.push(chunk);
        if (open) done();
        else stuck = done;
      },
    });
    const capture = log.toPcap(writable);
    flood('127.0.0.1', '9999', '5000');
    await until(() => log.stats.received).toBeGreaterThan(0);
    expect(stuck).toBeDefined();
    // What was being read when the Writable said that it was full, and then nothing.
    const { received } = log.stats;
    await turns();
    expect(log.stats.received).toBe(received);
    open = true;
    stuck!();
    // A further packet shows what was lost before it, unless the buffer is still full and it is lost itself: then the next one does.
    let sent = 5000;
    do {
      flood('127.0.0.1', '9999', '1');
      sent++;
      await flushed(50);
    } while (log.stats.received + log.stats.lostPackets !== sent);
    expect(log.stats.lostPackets).toBeGreaterThan(0);
    expect(log.stats.droppedByBacklog).toBe(0);
    await capture.end();
    expect(capture.packets).toBe(log.stats.received);
    fs.writeFileSync(file('a.pcap'), Buffer.concat(chunks));
    expect(tcpdump('a.pcap')).toHaveLength(log.stats.received);
  });

  it('have the same packets and counts as those of ulogd2 in the same flood', async () => {
    nft(
      ns,
      `table ip test { chain output { type filter hook output priority 0;
         udp dport 9999 log prefix "one" group 5; udp dport 9999 log prefix "one" group 6; } }`,
    );
    // Debian's multiarch folder: /usr/lib/x86_64-linux-gnu/ulogd.
    const libraries = fs.readdirSync('/usr/lib').map(name => `/usr/lib/${name}/ulogd`);
    const plugins = libraries.find(name => fs.existsSync(name));
    const stack = ['inppkt_NFLOG', 'raw2packet_BASE', 'filter_IFINDEX', 'filter_IP2STR', 'output_JSON'];
    fs.writeFileSync(
      file('ulogd.conf'),
      `[global]
logfile="${file('ulogd.log')}"
loglevel=3
${stack.map(name => `plugin="${plugins}/ulogd_${name}.so"`).join('\n')}
stack=log1:NFLOG,base1:BASE,ifi1:IFINDEX,ip2str1:IP2STR,json1:JSON
[log1]
group=6
netlink_socket_buffer_size=8388608
netlink_socket_buffer_maxsize=8388608
[json1]
sync=1
file="${file('ulogd.json')}"
`,
    );
    const ulogd = ns.run(() => spawn('ulogd', ['-c', file('ulogd.conf')], { stdio: 'inherit' }));
    try {
      await until(() => ns.readFile('/proc/net/netfilter/nfnetlink_log')).toMatch(/^ *6 /m);
      const log = opened.log({ netns: ns, groups: [5] });
      const own: string[] = [];
      log.onBatch(packets => {
        for (const packet of packets) {
          const { source, destination, sourcePort, destinationPort, length } = packet.headers!;
          own.push(
            JSON.stringify([packet.prefix, packet.outDevice, source, sourcePort, destination, destinationPort, length]),
          );
        }
      });
      flood('-r', '20000', '-f', '7', '-s', '120', '127.0.0.1', '9999', '3000');
      await until(() => log.stats.received).toBe(3000);
      const theirs = () => fs.readFileSync(file('ulogd.json'), 'utf8').trim().split('\n');
      await until(() => theirs().length).toBe(3000);
      const lines = theirs().map(line => {
        const {
          src_ip,
          dest_ip,
          src_port,
          dest_port,
          'oob.prefix': prefix,
          'oob.out': out,
          'ip.totlen': length,
        } = JSON.parse(line);
        return JSON.stringify([prefix, out, src_ip, src_port, dest_ip, dest_port, length]);
      });
      expect(lines).toEqual(own);
    } finally {
      ulogd.kill();
      await once(ulogd, 'exit');
    }
  });
});
