import koffi from 'koffi';
import { Conntrack } from '../../src/conntrack/index.ts';
import { Iptables, type IptablesFamily } from '../../src/iptables/index.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import type { NetNs } from '../../src/netns/index.ts';
import { Nftables, type Ruleset } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { type MemoryContainer, MemoryKernel, type PacketResult } from '../../src/testing/index.ts';
import { ForwardLab, MACS } from './forward-lab.ts';
import { type FrameSender, ip } from './nflog-lab.ts';

const NETLINK_NETFILTER = 12;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NFNLGRP_NFTRACE = 9;
const SO_RCVBUFFORCE = 33;
const ETH_P_ALL = 3;
const NEIGHBOURS = ['10.1.0.77', 'fd00:1::77'] as const;
/** Takes what is for the host itself, behind all else: the kernel has no sockets for it, and would answer by itself. */
const SINK = `table inet sink {
  chain in {
    type filter hook input priority 2147483646; policy drop;
    log group 77 prefix "delivered"
  }
}
`;
/** Switches connection tracking on, in a chain that nothing jumps to: without rules like it, it goes off some time after the last rule. */
const TRACKING = `table inet tracking {
  chain unused {
    ct state new
  }
}
`;
/** What ends a case: a frame that no protocol takes. */
const SENTINEL = 0x88b5;
const LOG_GROUP = 77;
/** A kernel that is busy with other things gets its packets later, but in their order. */
const PATIENCE = 20_000;

/** Whole frames that come in at a device. */
class FrameReader {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(65_536);
  readonly #c = {
    socket: koffi.load(null).func('int socket(int, int, int)'),
    bind: koffi.load(null).func('int bind(int, const void *, int)'),
    recv: koffi.load(null).func('long recv(int, void *, size_t, int)'),
    setsockopt: koffi.load(null).func('int setsockopt(int, int, int, const void *, int)'),
    close: koffi.load(null).func('int close(int)'),
    if_nametoindex: koffi.load(null).func('unsigned int if_nametoindex(const char *)'),
  };

  constructor(ns: NetNs, device: string) {
    const address = Buffer.alloc(20);
    address.writeUInt16LE(17, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    this.#fd = ns.run(() => {
      address.writeInt32LE(this.#c.if_nametoindex(device), 4);
      return this.#c.socket(17, 3, 0);
    });
    const one = Buffer.from(Int32Array.of(1).buffer);
    const big = Buffer.from(Int32Array.of(1 << 22).buffer);
    this.#c.setsockopt(this.#fd, 1, SO_RCVBUFFORCE, big, 4);
    // PACKET_IGNORE_OUTGOING of SOL_PACKET.
    this.#c.setsockopt(this.#fd, 263, 23, one, 4);
    if (this.#c.bind(this.#fd, address, address.length) !== 0) throw new Error(`no frames of ${device}`);
  }

  /** The next frame, if there is one. */
  next(): Buffer | undefined {
    const length = this.#c.recv(this.#fd, this.#buffer, this.#buffer.length, 0x40);
    return length < 0 ? undefined : Buffer.from(this.#buffer.subarray(0, length));
  }

  all(): Buffer[] {
    const frames: Buffer[] = [];
    for (let next = this.next(); next !== undefined; next = this.next()) frames.push(next);
    return frames;
  }

  close(): void {
    this.#c.close(this.#fd);
  }
}

/** The attributes of a message, by their numbers. */
function attributesOf(message: Buffer, start: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = start; at + 4 <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < 4) break;
    found.set(message.readUInt16LE(at + 2) & 0x3fff, message.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** What is told to one socket of a namespace. */
class Messages {
  readonly #socket: NetlinkSocket;
  readonly #buffer = Buffer.alloc(65_536);

  constructor(netns: NetNs) {
    this.#socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    this.#socket.reserve(4096, 8192);
  }

  join(group: number): this {
    this.#socket.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    return this;
  }

  /** Binds the socket to a group of NFLOG: each packet at once, and whole. */
  bind(group: number): this {
    const attribute = (type: number, payload: number[]) => {
      const bytes = Buffer.alloc(4 + ((payload.length + 3) & ~3));
      bytes.writeUInt16LE(4 + payload.length, 0);
      bytes.writeUInt16LE(type, 2);
      bytes.set(payload, 4);
      return bytes;
    };
    const body = [
      Buffer.from([0, 0, group >> 8, group & 0xff]),
      attribute(1, [1]),
      attribute(2, [0, 0, 0xff, 0xff, 2, 0]),
      attribute(5, [0, 0, 0, 1]),
    ];
    const header = Buffer.alloc(16);
    const message = Buffer.concat([header, ...body]);
    message.writeUInt32LE(message.length, 0);
    message.writeUInt16LE((4 << 8) | 1, 4);
    message.writeUInt16LE(1, 6);
    this.#socket.send(message, message.length);
    return this;
  }

  /** All that waits, message by message. */
  all(): Buffer[] {
    const found: Buffer[] = [];
    for (;;) {
      const length = this.#socket.receive(this.#buffer);
      if (length <= 0) return found;
      const datagram = Buffer.from(this.#buffer.subarray(0, length));
      for (let at = 0; at + 16 <= datagram.length; ) {
        const size = datagram.readUInt32LE(at);
        if (size < 16) break;
        found.push(datagram.subarray(at, at + size));
        at += (size + 3) & ~3;
      }
    }
  }

  async close(): Promise<void> {
    await this.#socket.close();
  }
}

/** What one of the two kernels has done with a packet; all of it as text. */
export interface Observed {
  /** As it has left by i1. */
  readonly out: readonly string[];
  /** What has come back by i0: the answers of `reject`. */
  readonly back: readonly string[];
  readonly logs: readonly string[];
  readonly steps: readonly string[];
}

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

/** The same packet, without what a kernel makes up: numbers of packets, flow labels, and the sums that a device would have written. */
function comparable(packet: Buffer): string {
  const bytes = Buffer.from(packet);
  const isV4 = bytes[0]! >> 4 === 4;
  if (isV4) {
    bytes.writeUInt16BE(0, 4);
    bytes.writeUInt16BE(0, 10);
    if (bytes[9] === 6) bytes.writeUInt16BE(0, (bytes[0]! & 15) * 4 + 16);
  } else {
    bytes.writeUInt32BE(0x60000000, 0);
    if (bytes[6] === 6) bytes.writeUInt16BE(0, 40 + 16);
  }
  return bytes.toString('hex');
}

/** Neighbours and listeners of IPv6 look for each other whenever they like. */
const isOwnNoise = (packet: Buffer): boolean =>
  packet[0]! >> 4 === 6 &&
  [130, 131, 132, 133, 134, 135, 136, 143].includes(
    packet[6] === 58 ? packet[40]! : packet[6] === 0 && packet[40] === 58 ? packet[48]! : 0,
  );

const KINDS: Record<number, string> = { 1: 'policy', 2: 'return', 3: 'rule' };

/**
 * The same namespace twice: in the kernel that runs, and in memory. Rules are given to both, frames come in at i0 of both, and what becomes of
 * them is told in the same words.
 */
export class PacketTwins {
  readonly #lab = new ForwardLab();
  readonly #kernel = MemoryKernel.create({ release: '6.18' });
  readonly memory: MemoryContainer;
  readonly #sender: FrameSender;
  readonly #sentinel: FrameSender;
  readonly #taps: { readonly out: FrameReader; readonly back: FrameReader; readonly sentinel: FrameReader };
  readonly nfts: readonly [Nftables, Nftables];
  readonly #logs: readonly [Messages, Messages];
  readonly #traces: readonly [Messages, Messages];
  readonly #flows: readonly [Conntrack, Conntrack];
  readonly #known = new Map<string, boolean>();
  readonly #names: readonly [Map<number, string>, Map<number, string>];

  constructor() {
    const { inside } = this.#lab;
    for (const [name, value] of [
      ['net.ipv4.icmp_ratelimit', '0'],
      ['net.ipv6.icmp.ratelimit', '0'],
      ['net.ipv4.icmp_msgs_per_sec', '1000000'],
      ['net.ipv4.icmp_msgs_burst', '1000000'],
      ['net.ipv4.conf.all.send_redirects', '0'],
      // What the bridge sends from port to port, such as reports of groups, is to stay out of the chains of IP.
      ['net.bridge.bridge-nf-call-iptables', '0'],
      ['net.bridge.bridge-nf-call-ip6tables', '0'],
      ['net.ipv4.conf.i0.send_redirects', '0'],
    ] as const)
      if (inside.sysctl.get(name) !== undefined) inside.sysctl.set(name, value);
    // Nobody is to speak but the test, and everybody whom the kernel answers is to have an address.
    for (const name of ['b0', 'b1', 'br0']) inside.sysctl.set(`net.ipv6.conf.${name}.disable_ipv6`, '1');
    ip(inside, ...NEIGHBOURS.map(address => `neigh add ${address} lladdr ${MACS.third} dev i0`));
    this.memory = this.#kernel.container('inside', {
      links: [
        { name: 'i0', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] },
        { name: 'i1', addresses: ['10.2.0.1/24', 'fd00:2::1/64'] },
      ],
    });
    const { netns } = this.memory;
    netns.sysctl.set('net.ipv4.ip_forward', '1');
    netns.sysctl.set('net.ipv6.conf.all.forwarding', '1');
    const own = Links.open({ netns });
    for (const name of ['i0', 'i1']) own.sync.set(name, { address: MACS.inside });
    const real = Links.open({ netns: inside });
    this.#names = [real, own].map(
      links => new Map(links.sync.list().map(({ index, name }) => [index, name] as const)),
    ) as unknown as [Map<number, string>, Map<number, string>];
    own.close();
    real.close();
    this.#sender = this.#lab.from('o0');
    this.#sentinel = this.#lab.from('o2');
    const reader = (ns: NetNs, device: string) => this.#lab.opened.add(new FrameReader(ns, device));
    this.#taps = {
      out: reader(this.#lab.outside, 'o1'),
      back: reader(this.#lab.outside, 'o0'),
      sentinel: reader(inside, 'b0'),
    };
    const both = [inside, netns] as const;
    this.nfts = [Nftables.open({ netns: both[0] }), Nftables.open({ netns: both[1] })];
    this.#logs = [new Messages(both[0]).bind(LOG_GROUP), new Messages(both[1]).bind(LOG_GROUP)];
    this.#traces = [new Messages(both[0]).join(NFNLGRP_NFTRACE), new Messages(both[1]).join(NFNLGRP_NFTRACE)];
    this.#flows = [Conntrack.open({ netns: both[0] }), Conntrack.open({ netns: both[1] })];
    this.#wait();
  }

  /** Replaces the rules of both. @returns whether each has taken them: 'ok', or the code of the errno */
  apply(text: string, { tracks = false } = {}): readonly [string, string] {
    const whole = `${tracks ? TRACKING : ''}${SINK}${text}`;
    return [this.#outcome(this.nfts[0], whole), this.#outcome(this.nfts[1], whole)];
  }

  #outcome(nft: Nftables, text: string): string {
    try {
      nft.sync.apply(`flush ruleset\n${text}`);
      return 'ok';
    } catch (error) {
      return String((error as { errno?: unknown }).errno ?? (error as Error).message);
    }
  }

  /** As `apply`, with rules of iptables-restore. */
  restore(rules: string, family: IptablesFamily): readonly [string, string] {
    const [kernel, memory] = this.apply('', { tracks: true });
    if (kernel !== 'ok' || memory !== 'ok') return [kernel, memory];
    const outcome = (netns: NetNs) => {
      try {
        using tables = Iptables.open({ netns, family });
        tables.sync.restore(rules);
        return 'ok';
      } catch (error) {
        return (error as Error).message;
      }
    };
    return [outcome(this.#lab.inside), outcome(this.memory.netns)];
  }

  /** Whether the language has a rule, and a chain of that kind may have it: the kernel in memory says so. */
  takes(text: string): boolean {
    let known = this.#known.get(text);
    if (known === undefined) {
      known = this.#outcome(this.nfts[1], text) === 'ok';
      this.#known.set(text, known);
    }
    return known;
  }

  /** Both forget all connections. */
  flush(): void {
    for (const flows of this.#flows) flows.sync.flush();
  }

  /** Lets both have a packet, by i0. */
  receive(etherType: number, packet: Uint8Array): readonly [Observed, Observed] {
    this.#clear();
    this.#sender.send(MACS.inside, MACS.third, etherType, packet);
    this.#wait();
    const link = `${MACS.inside}${MACS.third}${etherType.toString(16).padStart(4, '0')}`.replaceAll(':', '');
    const result = this.memory.receive({ bytes: packet, link }, { on: 'i0' });
    return [this.#observed(0, this.#framesOut(), this.#framesBack()), this.#ofMemory(result)];
  }

  #ofMemory(result: PacketResult): Observed {
    const out = result.verdict === 'forward' ? [result.packet.bytes] : [];
    const back = result.answers.map(({ packet }) => comparable(Buffer.from(packet.bytes, 'hex')));
    return this.#observed(1, out, back);
  }

  #observed(side: 0 | 1, out: readonly string[], back: readonly string[]): Observed {
    return { out, back, logs: this.#logged(side), steps: this.#traced(side) };
  }

  #framesOut(): string[] {
    return this.#packets(this.#taps.out).map(each => each.toString('hex'));
  }

  #framesBack(): string[] {
    return this.#packets(this.#taps.back).map(comparable);
  }

  #packets(reader: FrameReader): Buffer[] {
    return reader
      .all()
      .filter(each => [ETH_P_IP, ETH_P_IPV6].includes(each.readUInt16BE(12)))
      .map(each => each.subarray(14))
      .filter(each => !isOwnNoise(each));
  }

  #clear(): void {
    for (const tap of Object.values(this.#taps)) tap.all();
    for (const messages of [...this.#logs, ...this.#traces]) messages.all();
  }

  /** Until a frame that was sent behind all others has arrived: the kernel handles them in order. */
  #wait(): void {
    this.#sentinel.send(MACS.inside, MACS.third, SENTINEL, Buffer.from('end'));
    const until = Date.now() + PATIENCE;
    while (Date.now() < until)
      for (let next = this.#taps.sentinel.next(); next !== undefined; next = this.#taps.sentinel.next())
        if (next.readUInt16BE(12) === SENTINEL) return;
    throw new Error('the sentinel did not arrive');
  }

  /** What has been logged, without the time. */
  #logged(side: 0 | 1): string[] {
    const lines: string[] = [];
    for (const message of this.#logs[side].all()) {
      if (message.readUInt16LE(4) !== 4 << 8) continue;
      const found = attributesOf(message, 20);
      const payload = found.get(9);
      if (payload !== undefined && isOwnNoise(payload)) continue;
      const parts = [`family ${message[16]}`];
      for (const [type, value] of found)
        if (type === 4 || type === 5) parts.push(`${type} ${this.#names[side].get(value.readUInt32BE(0))}`);
        else if (type !== 3) parts.push(`${type} ${value.toString('hex')}`);
      lines.push(parts.join(' | '));
    }
    return lines;
  }

  #traced(side: 0 | 1): string[] {
    const ids = new Map<string, number>();
    return this.#traces[side].all().map(message => {
      const found = attributesOf(message, 20);
      const parts = [`family ${message[16]}`];
      for (const [type, value] of found) {
        // The kernel's number of a packet, and of its connection, are its own.
        const id = value.toString('hex');
        if (type === 6) {
          ids.set(id, ids.get(id) ?? ids.size);
          parts.push(`id ${ids.get(id)}`);
        } else if (type === 3) parts.push(`handle ${value.readBigUInt64BE(0)}`);
        else if (type === 4) parts.push(KINDS[value.readUInt32BE(0)] ?? id);
        else if (type === 10 || type === 12) parts.push(`${type} ${this.#names[side].get(value.readUInt32BE(0))}`);
        else if (type === 18) parts.push('connection');
        else parts.push(`${type} ${id}`);
      }
      return parts.join(' | ');
    });
  }

  /** The rules of a table as both have them: what they have counted. */
  states(): readonly [readonly string[], readonly string[]] {
    return [
      statesOf(this.nfts[0].sync.ruleset({ elements: true })),
      statesOf(this.nfts[1].sync.ruleset({ elements: true })),
    ];
  }

  async close(): Promise<void> {
    for (const each of [...this.nfts, ...this.#flows]) await each[Symbol.asyncDispose]();
    for (const each of [...this.#logs, ...this.#traces]) await each.close();
    this.#lab.close();
  }
}

/** What the clock decides, and numbers that each kernel has of its own. */
const PRIVATE = new Set(['handle', 'previousHandle', 'expirationMilliseconds', 'milliseconds']);
const plain = (key: string, value: unknown): unknown =>
  PRIVATE.has(key) ? undefined : typeof value === 'bigint' ? String(value) : value;

/** Tables of this file, whose chains differ in what they have been asked. */
const OWN: ReadonlySet<string> = new Set(['sink', 'tracking']);

function statesOf(ruleset: Ruleset): string[] {
  const { rules, elements = [], objects, chains } = ruleset as Ruleset & { elements?: readonly unknown[] };
  return [
    ...chains.map(each => JSON.stringify(each, plain)),
    ...rules.filter(({ table }) => !OWN.has(table)).map(each => JSON.stringify(each, plain)),
    ...elements.map(each => JSON.stringify(each, plain)).sort(),
    ...objects.map(each => JSON.stringify(each, plain)),
  ];
}
