import fc from 'fast-check';
import { Nftables } from 'netsteer';
import { frame, type MemoryContainer, MemoryKernel } from 'netsteer/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NETLINK_NETFILTER, NETLINK_NO_ENOBUFS, NLM_F_ACK, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { SO_MEMINFO, SO_RCVBUF, SOL_NETLINK, SOL_SOCKET } from '../../src/linux/socket.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import type { NetNs } from '../../src/netns/index.ts';
import { ForwardLab, MACS } from '../support/forward-lab.ts';
import { ETHERTYPES, ipv4 } from '../support/frames.ts';
import { type FrameSender, ip } from '../support/nflog-lab.ts';
import { attribute, be16, be32, bytes, le16, le32 } from '../support/two-kernels.ts';
import { untilNow } from '../support/wait.ts';
import { isLong, kernelSuite } from '../support/where.ts';

/*
 * NFLOG of a real namespace and of one in memory, asked the same: requests that configure groups, right and wrong ones, by two programs, and then
 * packets that rules log to these groups. Answers, messages and the datagrams that they come in are compared. Groups have a timeout that no run
 * sees the end of, so that time does not decide.
 */

const PACKET_TYPE = 0x400;
const CONFIG_TYPE = 0x401;
const NLMSG_ERROR = 2;
const [EAGAIN, ENOBUFS] = [-11, -105];
/** Its packets come last, one by one: it tells that all are there. */
const END_GROUP = 99;
const END_PORT = 9;
const GROUPS = [0, 1, 5, 65_535];
/** The header of NFULA_SEQ. */
const SEQUENCE = Buffer.from([8, 0, 12, 0]);
/** In hundredths of a second. */
const NEVER = 1_000_000;

interface Request {
  readonly program: 0 | 1;
  readonly type: number;
  readonly family: number;
  readonly group: number;
  readonly attributes: readonly Uint8Array[];
}

const number = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 20, 100, 3775, 3776, 5000, 65_531, 65_532, 131_072, 131_073, 0xffffffff),
  fc.integer({ min: 0, max: 200 }),
);
/** Short ones are refused, longer ones are read as far as needed. */
const sized = (value: Uint8Array) =>
  fc
    .constantFrom(0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 2)
    .map(more => (more <= 0 ? value.slice(0, value.length + more) : bytes(value, new Uint8Array(more))));
const attributeOf = (type: number, value: fc.Arbitrary<Uint8Array>) =>
  value.chain(sized).map(payload => attribute(type, payload));
const command = attributeOf(
  1,
  fc.constantFrom(1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 0, 5, 255).map(value => Uint8Array.of(value)),
);
const mode = attributeOf(
  2,
  fc.tuple(number, fc.constantFrom(0, 1, 2, 2, 2, 3, 255)).map(([range, kind]) => bytes(be32(range), [kind, 0])),
);
const flags = attributeOf(6, fc.constantFrom(0, 1, 2, 3, 3, 3, 8).map(be16));
const settings = fc.tuple(
  fc.option(command),
  fc.option(mode),
  fc.option(attributeOf(3, number.map(be32))),
  fc.option(attributeOf(5, number.map(be32))),
  fc.option(flags),
  fc.constantFrom<Uint8Array | null>(null, null, null, attribute(40, [1, 2, 3])),
);
const request: fc.Arbitrary<Request> = fc.record({
  program: fc.constantFrom(0, 0, 0, 1),
  type: fc.constantFrom(...Array.from({ length: 12 }, () => CONFIG_TYPE), 0x400, 0x402),
  family: fc.constantFrom(0, 2, 2, 10, 11, 200),
  group: fc.constantFrom(...GROUPS),
  attributes: settings.map(list => [
    ...list.filter(each => each !== null),
    // Whoever binds a group with it never sees its timer.
    attribute(4, be32(NEVER)),
  ]),
});

interface Logged {
  readonly payload: number;
  readonly port: number;
  readonly forwarded: boolean;
}
const logged: fc.Arbitrary<Logged> = fc.record({
  payload: fc.oneof(fc.constantFrom(0, 1, 100, 1000, 1400), fc.integer({ min: 0, max: 1400 })),
  port: fc.constantFrom(1000, 1001, 1002, 1003, 1004, 1005),
  forwarded: fc.boolean(),
});

/** A socket of a program: what comes is kept datagram by datagram. */
class Program {
  readonly #socket: NetlinkSocket;
  readonly #buffer = Buffer.alloc(1 << 20);
  #sequence = 0;
  readonly datagrams: string[][] = [];

  constructor(netns: NetNs, { told = false, buffer }: { told?: boolean; buffer?: number } = {}) {
    this.#socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    this.#socket.setOption(SOL_NETLINK, NETLINK_NO_ENOBUFS, told ? 0 : 1);
    if (buffer === undefined) this.#socket.reserve(4096, 8192);
    else this.#socket.setOption(SOL_SOCKET, SO_RCVBUF, buffer);
  }

  /** The datagrams that had no room. */
  get drops(): number {
    return this.#socket.getOptions(SOL_SOCKET, SO_MEMINFO, 9)[8]!;
  }

  /** The number of the packet of the next datagram, or the errno. */
  next(): number {
    const length = this.#socket.receive(this.#buffer);
    if (length <= 0) return length;
    const at = this.#buffer.indexOf(SEQUENCE);
    return this.#buffer.readUInt32BE(at + SEQUENCE.length);
  }

  /** The errno of the answer. */
  ask({ type, family, group, attributes }: Omit<Request, 'program'>): number {
    const body = bytes([family, 0], be16(group), ...attributes);
    const header = [
      le32(16 + body.length),
      le16(type),
      le16(NLM_F_REQUEST | NLM_F_ACK),
      le32(++this.#sequence),
      le32(0),
    ];
    const datagram = bytes(...header, body);
    this.#socket.send(datagram, datagram.length);
    for (;;) {
      const errno = this.#read();
      if (errno !== undefined) return errno;
    }
  }

  /** One datagram: the errno where it is an answer. */
  #read(): number | undefined {
    const length = this.#socket.receive(this.#buffer);
    if (length <= 0) throw new Error(`no answer: ${length}`);
    if (this.#buffer.readUInt16LE(4) === NLMSG_ERROR) return this.#buffer.readInt32LE(16);
    this.#keep(length);
    return undefined;
  }

  #keep(length: number): void {
    const messages: string[] = [];
    for (let at = 0; at + 16 <= length; at += (this.#buffer.readUInt32LE(at) + 3) & ~3)
      messages.push(shown(this.#buffer.subarray(at, at + this.#buffer.readUInt32LE(at))));
    this.datagrams.push(messages);
  }

  readAll(): void {
    for (;;) {
      const length = this.#socket.receive(this.#buffer);
      if (length <= 0) return;
      this.#keep(length);
    }
  }

  close(): Promise<void> {
    return this.#socket.close();
  }
}

/** All of a message but the time, and the numbers of devices, which are those of a namespace. */
function shown(message: Buffer): string {
  const lines = [`${message.readUInt16LE(4)} ${message.readUInt16LE(6)} ${message.toString('hex', 8, 20)}`];
  for (let at = 20; at + 4 <= message.length && message.readUInt16LE(4) === PACKET_TYPE; ) {
    const length = message.readUInt16LE(at);
    const type = message.readUInt16LE(at + 2);
    const value = message.subarray(at + 4, at + length);
    const isDevice = type === 4 || type === 5;
    lines.push(
      `${type} ${type === 3 ? `${value.length} bytes of time` : isDevice ? value.readUInt32BE() > 1 : value.toString('hex')}`,
    );
    at += (length + 3) & ~3;
  }
  return lines.join('\n');
}

const RULES = `table ip t {
  chain in {
    type filter hook input priority 0; policy drop;
    udp dport ${END_PORT} log group ${END_GROUP}
    udp dport 1000 log group 0
    udp dport 1001 log group 1 prefix "one " snaplen 60
    udp dport 1002 log group 5 queue-threshold 3
    udp dport 1003 mark set 7 log group 65535 prefix "${'long '.repeat(25)}"
    udp dport 1004 log group 5 queue-threshold 200 snaplen 0
    udp dport 1005 log group 1 log group 5 prefix "two"
  }
  chain between {
    type filter hook forward priority 0; policy accept;
    udp dport 1000 log group 1
    udp dport 1003 log group 5 snaplen 28
  }
  chain out {
    type filter hook postrouting priority 0; policy accept;
    udp dport 1001-1003 log group 0 prefix "out"
  }
}
`;

kernelSuite('NFLOG of a kernel in memory', () => {
  const lab = new ForwardLab();
  let sender: FrameSender;
  let memory: MemoryContainer;
  let places: NetNs[];

  beforeAll(async () => {
    sender = lab.from('o0');
    ip(lab.inside, `link set i0 address ${MACS.inside}`);
    const links = [
      { name: 'i0', addresses: ['10.1.0.2/24'] },
      { name: 'i1', addresses: ['10.2.0.1/24'] },
    ];
    memory = MemoryKernel.create({ release: '6.18' }).container('inside', { links });
    memory.netns.sysctl.set('net.ipv4.ip_forward', '1');
    places = [lab.inside, memory.netns];
    for (const netns of places) {
      using nft = Nftables.open({ netns });
      await nft.apply(RULES);
    }
  });
  afterAll(() => lab.close());

  const link = Buffer.from(`${MACS.inside}${MACS.third}0800`.replaceAll(':', ''), 'hex');
  function send({ payload, port, forwarded }: Logged): void {
    const udp = bytes(be16(4000), be16(port), be16(8 + payload), [0, 0], new Uint8Array(payload).fill(0x61));
    const packet = ipv4({ from: '10.1.0.1', to: forwarded ? '10.2.0.2' : '10.1.0.2', protocol: 17 }, udp);
    sender.send(MACS.inside, MACS.third, ETHERTYPES.ip, packet);
    memory.receive({ ...frame(packet), link }, { on: 'i0' });
  }

  test('answers requests, and delivers the same messages in the same datagrams', {
    timeout: isLong ? 3_000_000 : 240_000,
  }, async () => {
    let [requests, packets, datagrams] = [0, 0, 0];
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 12, size: 'max' }),
        fc.array(logged, { maxLength: 40, size: 'max' }),
        async (asked, sent) => {
          const programs = places.map(netns => [new Program(netns), new Program(netns), new Program(netns)] as const);
          try {
            const end = { type: CONFIG_TYPE, family: 0, group: END_GROUP };
            const once = [attribute(1, [1]), attribute(5, be32(1))];
            for (const [, , last] of programs) expect(last.ask({ ...end, attributes: once })).toBe(0);
            const [real, own] = programs.map(each => asked.map(one => each[one.program].ask(one)));
            expect(own).toEqual(real);
            for (const one of sent) send(one);
            send({ payload: 0, port: END_PORT, forwarded: false });
            for (const [, , last] of programs)
              untilNow(() => {
                last.readAll();
                return last.datagrams.length > 0;
              }, 'the last packet');
            // What waits is delivered when its group ends.
            for (const each of programs)
              for (const group of GROUPS)
                for (const program of [0, 1] as const)
                  each[program].ask({ type: CONFIG_TYPE, family: 0, group, attributes: [attribute(1, [2])] });
            for (const each of programs) for (const program of each) program.readAll();
            const [came, mine] = programs.map(each => each.map(program => program.datagrams));
            expect(mine).toEqual(came);
            requests += asked.length;
            packets += sent.length;
            datagrams += came!.flat().length;
          } finally {
            await Promise.all(programs.flat().map(program => program.close()));
          }
        },
      ),
      { numRuns: isLong ? 5000 : 60, ...(!isLong && { seed: 2026 }) },
    );
    expect(datagrams).toBeGreaterThan(100);
    expect(requests).toBeGreaterThan(200);
    expect(packets).toBeGreaterThan(500);
  });

  test.each([true, false])(
    'loses what finds no room, and counts it: a program that is told of it is %s',
    async told => {
      const outcomes: unknown[] = [];
      const last = places.map(netns => new Program(netns));
      const small = places.map(netns => new Program(netns, { told, buffer: 8192 }));
      try {
        const end = {
          type: CONFIG_TYPE,
          family: 0,
          group: END_GROUP,
          attributes: [attribute(1, [1]), attribute(5, be32(1))],
        };
        const once = { ...end, group: 0, attributes: [...end.attributes, attribute(6, be16(1))] };
        for (const program of last) expect(program.ask(end)).toBe(0);
        for (const program of small) expect(program.ask(once)).toBe(0);
        const flood = (count: number) => {
          for (let i = 0; i < count; i++) send({ payload: 500, port: 1000, forwarded: false });
          send({ payload: 0, port: END_PORT, forwarded: false });
          for (const program of last) {
            program.datagrams.length = 0;
            untilNow(() => {
              program.readAll();
              return program.datagrams.length > 0;
            }, 'the last packet');
          }
        };
        flood(60);
        const steps = small.map(program => {
          const lost = program.drops;
          return { lost, first: program.next(), read: told ? program.next() : undefined };
        });
        flood(1);
        for (const [i, program] of small.entries()) {
          const { lost, first, read } = steps[i]!;
          const rest: number[] = [];
          for (let next = program.next(); next !== EAGAIN; next = program.next()) rest.push(next);
          const kept = 60 - lost;
          outcomes.push({
            first,
            read,
            some: lost > 0 && kept > 3,
            // Whoever is told gets nothing more until all is read; the other gets what there is room for.
            rest: [...new Set(rest.map((each, at) => (each === 60 ? 'the one behind' : each - at)))],
            lostMore: program.drops - lost,
          });
          expect(rest).toHaveLength(kept - 1 + (told ? 0 : 1));
        }
        flood(1);
        const after = small.map(program => [program.next(), program.next()]);
        expect(after).toEqual([
          [61, EAGAIN],
          [61, EAGAIN],
        ]);
      } finally {
        await Promise.all([...last, ...small].map(program => program.close()));
      }
      expect(outcomes[1]).toEqual(outcomes[0]);
      expect(outcomes[0]).toMatchObject(
        told ? { first: ENOBUFS, read: 0, some: true, lostMore: 1 } : { first: 0, some: true, lostMore: 0 },
      );
    },
  );
});
