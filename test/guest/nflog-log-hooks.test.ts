import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { NetNs } from 'netsteer/netns';
import type { Nflog, Packet } from 'netsteer/nflog';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { floodNow } from '../support/flood.ts';
import { ForwardLab, MACS } from '../support/forward-lab.ts';
import { arp, ETHERTYPES, ipv4, ipv6, udp } from '../support/frames.ts';
import { ip } from '../support/nflog-lab.ts';
import { PATIENCE_MILLISECONDS } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/*
 * Each rule logs a packet twice, to NFLOG and to the kernel's own LOG, with the same prefix: the lines must be the same. The kernel prints what
 * is logged in namespaces other than its first only when it is told to, and that for all namespaces at once: a thing to do in a guest.
 */
const PREFIX = 'same ';
const BOTH = `log prefix "${PREFIX}" group 5; log prefix "${PREFIX}" flags skuid`;

const rules = (family: string, ...chains: string[]) => `table ${family} test {\n${chains.join('\n')}\n}\n`;
const chain = (hook: string, match = '', priority = '0') =>
  `chain ${hook.split(' ')[0]} {\ntype filter hook ${hook} priority ${priority}\n${BOTH.split('; ')
    .map(log => `${match} ${log}`)
    .join('\n')}\n}`;

/** What the kernel does not print. */
function asKernel(line: string): string {
  return (
    line
      // It has no name for SCTP, and does not look into it.
      .replace(/PROTO=SCTP(?: SPT=\d+ DPT=\d+| INCOMPLETE \[\d+ bytes\])?/g, 'PROTO=132')
      // In IPv6 it stops at ESP.
      .replace(/(HOPLIMIT=[^[\]]*)PROTO=ESP ?(?:SPI=\w+ ?|INCOMPLETE \[(\d+) bytes\] ?)?/g, (_, head, left) =>
        left === '0' || left === '1' ? `${head}TRUNCATED` : head,
      )
      // It hides the sender when its socket is in another namespace; NFLOG does not.
      .replace(/((?:IN=\w|SRC=10\.1\.0\.1 |SRC=fd00:0001:).*) UID=0 GID=0/, '$1')
      // It shows tags only with `flags ether`.
      .replace(/(?:VPROTO=[0-9a-f]{4} VID=\d+ ?)+/, '')
      .trimEnd()
  );
}

/** It subtracts what is not there. */
const asOurs = (line: string) => line.replace(/\[42949\d{5} bytes\]/g, '[0 bytes]').trimEnd();

/** What the kernel says from now on. */
class KernelLog {
  readonly #fd = fs.openSync('/dev/kmsg', fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  readonly #record = Buffer.alloc(8192);

  constructor() {
    this.lines();
  }

  /** The messages since the last call. A record is 'level,number,time,flags;message' and a newline. */
  lines(): string[] {
    const lines: string[] = [];
    for (;;) {
      try {
        const length = fs.readSync(this.#fd, this.#record);
        lines.push(
          this.#record
            .toString('latin1', 0, length)
            .split('\n')[0]!
            .replace(/^[^;]*;/, ''),
        );
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') return lines;
        // EPIPE: some have been written over.
        if (code !== 'EPIPE') throw error;
      }
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

kernelSuite("summary() and the kernel's LOG", () => {
  let lab: ForwardLab;
  let inside: NetNs;
  let log: Nflog;
  let packets: AsyncIterator<Packet, undefined>;
  let kernelLog: KernelLog;

  beforeAll(() => {
    execFileSync('modprobe', ['-a', 'nf_log_syslog', 'nfnetlink_log', 'br_netfilter']);
    lab = new ForwardLab();
    inside = lab.inside;
    NetNs.home().sysctl.set('net.netfilter.nf_log_all_netns', '1');
    // Or the kernel prints ports as PHYSIN where NFLOG has no device that came in, behind a bridge's forwarding.
    for (const name of ['iptables', 'ip6tables', 'arptables'])
      inside.sysctl.set(`net.bridge.bridge-nf-call-${name}`, '0');
    log = lab.opened.log({ netns: inside, groups: [5], queue: { packets: 1 } });
    packets = log[Symbol.asyncIterator]();
    kernelLog = lab.opened.add(new KernelLog());
  });

  afterAll(() => lab?.close());

  /** Sends to i0. */
  const fromOutside = () => {
    const sender = lab.from('o0');
    return (etherType: number, packet: Uint8Array, tag?: string) =>
      sender.send(MACS.inside, MACS.outside, etherType, packet, tag);
  };
  const load = (text: string) =>
    inside.run(() => execFileSync('nft', ['-f', '-'], { input: `flush ruleset\n${text}` }));

  /** What both of them print of `count` packets that `send` causes. */
  async function both(count: number, send: () => void): Promise<{ ours: string[]; theirs: string[]; seen: Packet[] }> {
    send();
    const seen: Packet[] = [];
    while (seen.length < count) seen.push((await packets.next()).value!);
    // The kernel prints behind NFLOG, on the same way.
    const theirs: string[] = [];
    for (
      const end = Date.now() + PATIENCE_MILLISECONDS;
      theirs.length < count && Date.now() < end;
      await setImmediate()
    ) {
      theirs.push(...kernelLog.lines().filter(line => line.startsWith(PREFIX)));
    }
    return { ours: seen.map(packet => asKernel(packet.summary())), theirs: theirs.map(asOurs), seen };
  }

  async function same(count: number, send: () => void): Promise<string[]> {
    const { ours, theirs } = await both(count, send);
    expect(ours).toEqual(theirs);
    return ours;
  }

  const datagram = ipv4({ protocol: 17 }, udp());

  it('agree on packets that are sent here', async () => {
    load(rules('ip', chain('output', 'udp dport 9999')));
    const [line] = await same(1, () => floodNow(inside, { count: 1 }));
    expect(line).toMatch(/^same IN= OUT=lo SRC=127\.0\.0\.1 .* UID=0 GID=0$/);
  });

  it('agree on forwarded packets and on marks', async () => {
    load(
      rules(
        'ip',
        `chain before {\ntype filter hook prerouting priority -400\nmeta mark set 0xabc\n}`,
        chain('forward', 'udp dport 9999'),
        chain('postrouting', 'udp dport 9999'),
      ),
    );
    const send = fromOutside();
    const [line] = await same(2, () => send(ETHERTYPES.ip, ipv4({ protocol: 17, to: '10.2.0.2' }, udp())));
    expect(line).toMatch(/^same IN=i0 OUT=i1 MAC=.* TTL=63 .* MARK=0xabc$/);
  });

  it('agree on the ports of a bridge whose packets IP rules see', async () => {
    inside.sysctl.set('net.bridge.bridge-nf-call-iptables', '1');
    // A bridge forwards multicast reports of its own through the same hook.
    load(rules('ip', chain('forward', 'udp dport 9999')));
    const sender = lab.from('o2');
    const [line] = await same(1, () => sender.send(MACS.third, MACS.outside, ETHERTYPES.ip, datagram));
    expect(line).toMatch(/^same IN=br0 OUT=br0 PHYSIN=b0 PHYSOUT=b1 MAC=/);
    inside.sysctl.set('net.bridge.bridge-nf-call-iptables', '0');
  });

  /** Frames of the tests: bridges and kernels send others at any time. */
  const OURS = `ether saddr ${MACS.outside}`;
  /** Priority 1, VLAN 5. */
  const TAG = '8100 2005';
  const six = ipv6(17, udp());
  /** Who has 10.1.0.2, asks 10.1.0.1. */
  const question = arp({ operation: 1, hardware: MACS.outside, from: '10.1.0.1', to: '10.1.0.2' });

  it('agree in the rules of a bridge, on all protocols and tagged frames', async () => {
    load(rules('bridge', ...['prerouting', 'forward', 'postrouting'].map(hook => chain(hook, OURS))));
    const sender = lab.from('o2');
    for (const tag of ['', TAG]) {
      const send = (etherType: number, packet: Uint8Array) => () =>
        sender.send(MACS.third, MACS.outside, etherType, packet, tag);
      const [before, through, behind] = await same(3, send(ETHERTYPES.ip, datagram));
      expect(before).toMatch(/^same IN=b0 OUT= MAC=.*:08:00 SRC=10\.1\.0\.1 .* DPT=9999 LEN=12$/);
      expect(through).toMatch(/^same IN=b0 OUT=b1 MAC=.*:08:00 SRC=10\.1\.0\.1 .* DPT=9999 LEN=12$/);
      expect(behind).toMatch(/^same IN= OUT=b1 SRC=10\.1\.0\.1 .* DPT=9999 LEN=12$/);
      expect((await same(3, send(ETHERTYPES.ip6, six)))[1]).toMatch(
        /^same IN=b0 OUT=b1 MAC=.*:86:dd SRC=fd00:.*DPT=9999/,
      );
      expect((await same(3, send(ETHERTYPES.arp, question)))[1]).toMatch(
        /^same IN=b0 OUT=b1 ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=02:00:00:00:00:01 IPSRC=10\.1\.0\.1 .* IPDST=10\.1\.0\.2$/,
      );
      const unknown = await same(3, send(0x88b5, Buffer.alloc(40)));
      expect(unknown[1]).toMatch(/^same IN=b0 OUT=b1 MAC=.*:88:b5$/);
      expect(unknown[2]).toMatch(/^same IN= OUT=b1 MAC=.*:88:b5$/);
    }
    // Two tags: the kernel takes off the outer one, and looks no further than the other. We do.
    const { ours, theirs, seen } = await both(3, () =>
      sender.send(MACS.third, MACS.outside, ETHERTYPES.ip, datagram, '88a8 0007 8100 0008'),
    );
    expect(theirs[1]).toMatch(/^same IN=b0 OUT=b1 MAC=.*:81:00$/);
    expect(ours.map(line => line.replace(/ SRC=10\.1\.0\.1 .* DPT=9999 LEN=12$/, ''))).toEqual(theirs);
    for (const packet of seen) expect(packet.summary()).toContain(' VPROTO=88a8 VID=7 VPROTO=8100 VID=8 SRC=10.1.0.1 ');
  });

  it('agree on the packets of the host of a bridge', async () => {
    const ours = 'udp dport 9999';
    load(rules('bridge', chain('input', OURS), chain('output', ours), chain('postrouting', ours)));
    ip(inside, 'addr replace 10.3.0.1/24 dev br0', `neigh replace 10.3.0.2 lladdr ${MACS.third} dev br0`);
    const [, address] = /link\/ether (\S+)/.exec(
      inside.run(() => execFileSync('ip', ['link', 'show', 'br0'], { encoding: 'utf8' })),
    )!;
    const sender = lab.from('o2');
    const [got] = await same(1, () =>
      sender.send(address!, MACS.outside, ETHERTYPES.ip, ipv4({ protocol: 17, to: '10.3.0.1' }, udp()), TAG),
    );
    expect(got).toMatch(/^same IN=b0 OUT= MAC=.* DST=10\.3\.0\.1 .* DPT=9999 LEN=12$/);
    // The bridge does not know where 10.3.0.2 is, and asks all ports. A copy of a packet has no sender.
    const sent = await same(4, () => floodNow(inside, { address: '10.3.0.2', count: 1 }));
    for (const line of sent) expect(line).toMatch(/^same IN= OUT=b[01] SRC=10\.3\.0\.1 .* DPT=9999 /);
    expect(sent.filter(line => line.endsWith(' UID=0 GID=0'))).toHaveLength(2);
  });

  it('agree on frames that enter and leave a device, tagged frames included', async () => {
    load(
      rules('netdev', chain('ingress device "i0"', OURS), chain('egress device "i1"', 'meta l4proto udp')) +
        rules('inet', chain('ingress device "i0"', OURS)),
    );
    const sender = lab.from('o0');
    for (const tag of ['', TAG]) {
      const send = (etherType: number, packet: Uint8Array) => () =>
        sender.send(MACS.third, MACS.outside, etherType, packet, tag);
      expect((await same(2, send(ETHERTYPES.ip, datagram)))[0]).toMatch(
        /^same IN=i0 OUT= MAC=.*:08:00 SRC=10\.1\.0\.1 .*DPT=9999/,
      );
      expect((await same(2, send(ETHERTYPES.ip6, six)))[0]).toMatch(
        /^same IN=i0 OUT= MAC=.*:86:dd SRC=fd00:.*DPT=9999/,
      );
      // The family 'inet' sees IP only.
      expect((await same(1, send(ETHERTYPES.arp, question)))[0]).toMatch(
        /^same IN=i0 OUT= ARP HTYPE=1 .* IPDST=10\.1\.0\.2$/,
      );
      expect((await same(1, send(0x88b5, Buffer.alloc(40))))[0]).toMatch(/^same IN=i0 OUT= MAC=.*:88:b5$/);
    }
    const { ours, theirs } = await both(1, () => floodNow(inside, { address: '10.2.0.2', count: 1 }));
    // Where the IP header does not stand first in its buffer, the kernel takes it for one inside another packet, which has no sender.
    expect(ours).toEqual(theirs.map(line => `${line} UID=0 GID=0`));
    expect(ours[0]).toMatch(/^same IN= OUT=i1 SRC=10\.2\.0\.1 .* DPT=9999 /);
    const [sent] = await same(1, () => floodNow(inside, { address: 'fd00:2::2', count: 1 }));
    expect(sent).toMatch(/^same IN= OUT=i1 SRC=fd00:.* DPT=9999 .* UID=0 GID=0$/);
  });

  it('agree on the words for a VLAN, which the kernel prints with `flags ether`', async () => {
    const logs = `log prefix "${PREFIX}" group 5 log prefix "${PREFIX}" flags ether`;
    load(rules('netdev', `chain ingress {\ntype filter hook ingress device "i0" priority 0\n${OURS} ${logs}\n}`));
    const sender = lab.from('o0');
    for (const [type, packet] of [
      [ETHERTYPES.ip, datagram],
      [ETHERTYPES.arp, question],
    ] as const) {
      const { theirs, seen } = await both(1, () => sender.send(MACS.third, MACS.outside, type, packet, TAG));
      const words = /VPROTO=([0-9a-f]+) VID=(\d+) /;
      const [, protocol, tci] = words.exec(theirs[0]!)!;
      // The kernel prints the whole tag as its number: with the priority.
      expect([protocol, Number(tci)]).toEqual(['8100', 0x2005]);
      expect(words.exec(seen[0]!.summary())!.slice(1)).toEqual(['8100', '5']);
    }
  });

  it('agree on ARP', async () => {
    load(rules('arp', chain('input', `arp saddr ether ${MACS.outside}`), chain('output', 'arp daddr ip 10.1.0.1')));
    const send = fromOutside();
    const [asked, answered] = await same(2, () => send(ETHERTYPES.arp, question));
    expect(asked).toMatch(
      /^same IN=i0 OUT= ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=02:00:00:00:00:01 IPSRC=10\.1\.0\.1 .* IPDST=10\.1\.0\.2$/,
    );
    expect(answered).toMatch(
      /^same IN= OUT=i0 ARP HTYPE=1 PTYPE=0x0800 OPCODE=2 MACSRC=02:00:00:00:00:02 IPSRC=10\.1\.0\.2 /,
    );
  });
});
