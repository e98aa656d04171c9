import fc from 'fast-check';
import { Nftables } from 'netsteer';
import { frame, type MemoryContainer, MemoryKernel } from 'netsteer/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NETLINK_NETFILTER } from '../../src/linux/netlink.ts';
import { ConnectionSide } from '../support/connection-side.ts';
import { ForwardLab, MACS } from '../support/forward-lab.ts';
import { ETHERTYPES, ipv4 } from '../support/frames.ts';
import type { FrameSender } from '../support/nflog-lab.ts';
import { checksum, ip } from '../support/nflog-lab.ts';
import { attribute, be16, be32, bytes, type Came, RawSocket, shown } from '../support/two-kernels.ts';
import { untilNow } from '../support/wait.ts';
import { isLong } from '../support/where.ts';

/*
 * Sequences of packets between a client and a server, through a real namespace and through one in memory: what rules see and log, what leaves,
 * which events are told, and the table of connections, behind each packet.
 */

const CLIENT = '10.1.0.1';
const SERVER = '10.2.0.2';
/** Takes the packets that no connection has. */
const END = 9;
const GROUP = 77;

const LOGS = `table ip watch {
  chain raw { type filter hook prerouting priority -300; udp dport ${END} notrack; }
  chain out { type filter hook output priority -300; policy drop; }
  chain in { type filter hook input priority 0; policy drop; }
  chain post {
    type filter hook postrouting priority 2147483646
    ct state invalid log prefix "invalid" group ${GROUP}
    ct state untracked log prefix "end" group ${GROUP}
    ct state new log prefix "new" group ${GROUP}
    ct state established ct direction original log prefix "established" group ${GROUP}
    ct state established ct direction reply log prefix "answer" group ${GROUP}
    ct state related ct direction original log prefix "related" group ${GROUP}
    ct state related ct direction reply log prefix "related answer" group ${GROUP}
  }
}
`;

interface World {
  readonly rules: string;
  /** What the client sends to, and whom the server sees. */
  readonly to: string;
  readonly toPort: number;
  readonly seenAs: string;
}
const nat = (rules: string) => `table ip nat {\n${rules}\n}\n`;
const PRE = 'chain pre { type nat hook prerouting priority -100;';
const POST = 'chain post { type nat hook postrouting priority 100;';
const WORLDS: readonly World[] = [
  { rules: '', to: SERVER, toPort: 80, seenAs: CLIENT },
  { rules: nat(`${PRE} ip daddr 10.1.0.2 dnat to ${SERVER}; }`), to: '10.1.0.2', toPort: 80, seenAs: CLIENT },
  { rules: nat(`${PRE} tcp dport 8080 dnat to ${SERVER}:80; }`), to: '10.1.0.2', toPort: 8080, seenAs: CLIENT },
  { rules: nat(`${POST} oifname "i1" masquerade; }`), to: SERVER, toPort: 80, seenAs: '10.2.0.1' },
  {
    rules: nat(`${PRE} ip daddr 10.1.0.2 dnat to ${SERVER}; }\n${POST} oifname "i1" snat to 10.2.0.77; }`),
    to: '10.1.0.2',
    toPort: 80,
    seenAs: '10.2.0.77',
  },
  {
    rules: nat(`${POST} oifname "i1" snat to 10.2.0.40-10.2.0.49; }`),
    to: SERVER,
    toPort: 80,
    seenAs: '',
  },
];

interface Step {
  readonly kind: 'tcp' | 'udp' | 'icmp' | 'error' | 'other';
  readonly fromServer: boolean;
  readonly port: number;
  readonly flags: number;
  readonly ahead: number;
  readonly ackAhead: number;
  readonly size: number;
  readonly window: number;
  readonly options: string;
  readonly type: number;
  readonly broken: boolean;
}

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('tcp', 'tcp', 'tcp', 'tcp', 'tcp', 'udp', 'udp', 'icmp', 'error', 'other'),
  fromServer: fc.boolean(),
  port: fc.constantFrom(40_000, 40_000, 40_001),
  flags: fc.constantFrom(
    SYN,
    SYN,
    SYN | ACK,
    ACK,
    ACK,
    ACK,
    ACK | 8,
    FIN | ACK,
    FIN | ACK,
    RST,
    RST | ACK,
    0,
    SYN | FIN,
  ),
  ahead: fc.constantFrom(0, 0, 0, 0, 1, -1, -100, 70_000, 1_000_000),
  ackAhead: fc.constantFrom(0, 0, 0, 0, 1, -1, -70_000, 100),
  size: fc.constantFrom(0, 0, 0, 1, 100),
  window: fc.constantFrom(65_535, 65_535, 65_535, 1000, 0, 1),
  options: fc.constantFrom(
    '',
    '',
    '01030307',
    '04020303',
    '03030f010402'.padEnd(16, '01'),
    '0101050a00000000000003e8'.padEnd(24, '0'),
  ),
  type: fc.constantFrom(8, 8, 0, 13, 14, 5, 17, 40),
  broken: fc.constantFrom(false, false, false, false, false, false, false, false, false, true),
});

/** A plausible conversation, with steps of chance in it. */
const handshake: readonly Partial<Step>[] = [
  { kind: 'tcp', fromServer: false, flags: SYN },
  { kind: 'tcp', fromServer: true, flags: SYN | ACK },
  { kind: 'tcp', fromServer: false, flags: ACK },
  { kind: 'tcp', fromServer: false, flags: ACK | 8, size: 100 },
  { kind: 'tcp', fromServer: true, flags: ACK | 8, size: 100 },
  { kind: 'tcp', fromServer: false, flags: FIN | ACK },
  { kind: 'tcp', fromServer: true, flags: FIN | ACK },
  { kind: 'tcp', fromServer: false, flags: ACK },
  { kind: 'tcp', fromServer: false, flags: SYN },
];
const QUIET: Step = {
  kind: 'tcp',
  fromServer: false,
  port: 40_000,
  flags: 0,
  ahead: 0,
  ackAhead: 0,
  size: 0,
  window: 65_535,
  options: '',
  type: 8,
  broken: false,
};
const conversation: fc.Arbitrary<Step[]> = fc
  .tuple(fc.integer({ min: 0, max: handshake.length }), fc.array(step, { maxLength: 12, size: 'max' }), fc.nat())
  .map(([length, chance, seed]) => {
    const steps: Step[] = handshake.slice(0, length).map(one => ({ ...QUIET, ...one }));
    for (const [i, one] of chance.entries()) steps.splice((seed * (i + 7)) % (steps.length + 1), 0, one);
    return steps;
  });

const address = (text: string): Uint8Array => Uint8Array.from(text.split('.').map(Number));

/** The transport part with its checksum. */
function summed(from: string, to: string, protocol: number, part: Uint8Array, at: number, broken: boolean): Uint8Array {
  const pseudo = protocol === 1 ? [] : [address(from), address(to), Uint8Array.of(0, protocol), be16(part.length)];
  const sum = checksum(Buffer.from(bytes(...pseudo, part, part.length % 2 === 1 ? [0] : []))) ^ (broken ? 0x55 : 0);
  part.set(be16(sum), at);
  return part;
}

/** Both ends of the conversations, as they count their bytes. */
class Ends {
  readonly #next = new Map<string, { client: number; server: number }>();
  readonly #world: World;
  /** Who the server saw last. */
  seenAs: string;

  constructor(world: World) {
    this.#world = world;
    this.seenAs = world.seenAs;
  }

  /** Whether the table has the connection that a packet of the server answers. */
  isAnswer({ kind, port }: Step, table: string): boolean {
    if (kind !== 'tcp' && kind !== 'udp') return true;
    const hex = (part: Uint8Array) => Buffer.from(part).toString('hex');
    const tuple = `2.1.1 ${hex(address(SERVER))} 2.1.2 ${hex(address(this.seenAs))} 2.2* 2.2.1 ${kind === 'tcp' ? '06' : '11'} 2.2.2 0050 2.2.3 ${hex(be16(port))}`;
    return table.replaceAll(/\s+/g, ' ').includes(tuple);
  }

  packet(one: Step): Uint8Array {
    const { to, toPort } = this.#world;
    const [from, target] = one.fromServer ? [SERVER, this.seenAs] : [CLIENT, to];
    const [sport, dport] = one.fromServer ? [80, one.port] : [one.port, toPort];
    const whole = (protocol: number, part: Uint8Array) => ipv4({ from, to: target, protocol }, part);
    if (one.kind === 'udp') {
      const part = bytes(be16(sport), be16(dport), be16(8 + one.size), [0, 0], new Uint8Array(one.size));
      return whole(17, summed(from, target, 17, part, 6, one.broken));
    }
    if (one.kind === 'other') return whole(253, new Uint8Array(8));
    if (one.kind === 'icmp')
      return whole(1, summed(from, target, 1, bytes([one.type, 0, 0, 0], be16(one.port), be16(1)), 2, one.broken));
    if (one.kind === 'error') {
      // It quotes what its sender got.
      const [inFrom, inTo] = one.fromServer ? [this.seenAs, SERVER] : [to, CLIENT];
      const ports = one.fromServer ? [be16(one.port), be16(80)] : [be16(toPort), be16(one.port)];
      const protocol = one.size === 0 ? 6 : 17;
      const rest = protocol === 6 ? new Uint8Array(one.window === 0 ? 4 : 16) : Uint8Array.of(0, 8, 0, one.window & 1);
      const quoted = ipv4({ from: inFrom, to: inTo, protocol }, bytes(...ports, rest));
      return whole(
        1,
        summed(from, target, 1, bytes([one.type === 8 ? 3 : 11, 1, 0, 0, 0, 0, 0, 0], quoted), 2, one.broken),
      );
    }
    const key = String(one.port);
    const next = this.#next.get(key) ?? { client: 1000, server: 500_000 };
    this.#next.set(key, next);
    const [own, other] = one.fromServer ? (['server', 'client'] as const) : (['client', 'server'] as const);
    if ((one.flags & SYN) !== 0 && one.ahead === 0 && !one.fromServer) next.client += 1000;
    const sequence = (next[own] + one.ahead) >>> 0;
    const ack = (one.flags & ACK) === 0 ? 0 : (next[other] + one.ackAhead) >>> 0;
    const options =
      (one.flags & SYN) !== 0 || one.options.length > 16 ? Buffer.from(one.options, 'hex') : Buffer.alloc(0);
    const padded = bytes(options, new Uint8Array((4 - (options.length % 4)) % 4));
    const part = bytes(
      be16(sport),
      be16(dport),
      be32(sequence),
      be32(ack),
      [((20 + padded.length) / 4) << 4, one.flags],
      be16(one.window),
      [0, 0, 0, 0],
      padded,
      new Uint8Array(one.size),
    );
    if (one.ahead === 0) next[own] = sequence + one.size + ((one.flags & (SYN | FIN)) !== 0 ? 1 : 0);
    return whole(6, summed(from, target, 6, part, 16, one.broken));
  }
}

/** Reads what rules log. Packets come into memory without the addresses of a link. */
class Logged {
  readonly #socket: RawSocket;
  readonly #got: Came[] = [];

  constructor(netns: ConstructorParameters<typeof RawSocket>[0]) {
    this.#socket = new RawSocket(netns, NETLINK_NETFILTER);
    const header = Uint8Array.of(0, 0, GROUP >> 8, GROUP);
    for (const part of [
      [attribute(1, [1])],
      [attribute(2, bytes(be32(0xffff), [2, 0])), attribute(5, be32(1)), attribute(6, be16(3))],
    ])
      expect(this.#socket.ask(0x401, 0, header, ...part).errno).toBe(0);
  }

  /** Until the packet that ends the sequence. */
  take(): { lines: string[]; payload: Uint8Array | undefined } {
    const isEnd = (one: Came) => Buffer.from(one.body).includes('end\0');
    untilNow(() => {
      this.#got.push(...this.#socket.read());
      return this.#got.some(isEnd);
    }, 'the last packet');
    const before = this.#got.splice(0).filter(one => !isEnd(one) && one.type === 0x400);
    const lines = before.map(one =>
      shown(one, 4, (path, value) =>
        path === '3'
          ? 'a time'
          : path === '4' || path === '5'
            ? `device ${value.readUInt32BE() > 1}`
            : path === '8' || path === '16' || path === '12' || path === '13'
              ? ''
              : undefined,
      ),
    );
    const hex = lines.at(-1)?.match(/^ {2}9 ([0-9a-f]+)$/m)?.[1];
    return { lines, payload: hex === undefined ? undefined : Buffer.from(hex, 'hex') };
  }

  close(): void {
    this.#socket.close();
  }
}

/** Longer than this, and seconds would count. */
const PATIENCE = 2000;

describe('packets of a kernel in memory', () => {
  const lab = new ForwardLab();
  let senders: Record<'client' | 'server', FrameSender>;
  let memory: MemoryContainer;
  let nfts: Nftables[];
  let sides: ConnectionSide[];
  let logs: Logged[];
  const last = ipv4({ from: CLIENT, to: SERVER, protocol: 17 }, bytes(be16(1), be16(END), be16(8), [0, 0]));

  beforeAll(() => {
    for (const name of ['all', 'i0', 'i1']) lab.inside.sysctl.set(`net.ipv4.conf.${name}.send_redirects`, '0');
    const strangers = [77, ...Array.from({ length: 10 }, (_, i) => 40 + i)];
    ip(lab.inside, ...strangers.map(host => `neigh add 10.2.0.${host} lladdr ${MACS.third} dev i1`));
    senders = { client: lab.from('o0'), server: lab.from('o1') };
    const links = [
      { name: 'i0', addresses: ['10.1.0.2/24'] },
      { name: 'i1', addresses: ['10.2.0.1/24'] },
    ];
    memory = MemoryKernel.create({ release: '6.18' }).container('inside', { links });
    memory.netns.sysctl.set('net.ipv4.ip_forward', '1');
    const places = [lab.inside, memory.netns];
    for (const netns of places) netns.sysctl.set('net.netfilter.nf_conntrack_acct', '1');
    sides = places.map(netns => new ConnectionSide(netns));
    nfts = places.map(netns => Nftables.open({ netns }));
    logs = places.map(netns => new Logged(netns));
  });
  afterAll(async () => {
    for (const side of [...sides, ...logs]) side.close();
    for (const nft of nfts) await nft[Symbol.asyncDispose]();
    lab.close();
  });

  const send = (packet: Uint8Array, fromServer: boolean): void => {
    const [sender, on] = fromServer ? ([senders.server, 'i1'] as const) : ([senders.client, 'i0'] as const);
    sender.send(MACS.inside, MACS.third, ETHERTYPES.ip, packet);
    memory.receive(frame(packet), { on });
  };

  test('are tracked, translated, told and logged as by the real kernel', {
    timeout: isLong ? 3_000_000 : 240_000,
  }, async () => {
    let packets = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...WORLDS), conversation, async (world, steps) => {
        for (const nft of nfts) await nft.apply(`flush ruleset\n${LOGS}${world.rules}`);
        for (const side of sides) side.empty();
        const begun = performance.now();
        const ends = new Ends(world);
        const table = '';
        const sent: string[] = [];
        for (const [i, one] of steps.entries()) {
          if (ends.seenAs === '' && one.fromServer) continue;
          // Where addresses are translated, a connection that the server begins makes the kernel choose ports by chance for the client's.
          if (one.fromServer && world.rules !== '' && !ends.isAnswer(one, table)) continue;
          const packet = ends.packet(one);
          send(packet, one.fromServer);
          send(last, false);
          const [real, inMemory] = logs.map((log, which) => {
            const { lines, payload } = log.take();
            return { log: lines, payload, state: sides[which]!.state() };
          });
          if (performance.now() - begun > PATIENCE) return;
          packets++;
          sent.push(`${one.fromServer ? 'server' : 'client'} ${Buffer.from(packet).toString('hex')}`);
          const where = `packet ${i} of ${steps.length}, with ${world.rules}\n${sent.join('\n')}\n`;
          expect(inMemory, where).toEqual(real);
          if (!one.fromServer && world.seenAs === '' && real?.payload !== undefined) {
            const from = [...real.payload.subarray(12, 16)].join('.');
            // An invalid packet goes out as it is.
            if (from !== CLIENT) ends.seenAs = from;
          }
        }
      }),
      { numRuns: isLong ? 8000 : 40, ...(!isLong && { seed: 2026 }) },
    );
    expect(packets).toBeGreaterThan(50);
  });
});
