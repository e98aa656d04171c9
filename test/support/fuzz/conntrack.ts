import { NO_CONTEXT, sourceOf } from '../../../src/codec/index.ts';
import { Conntrack } from '../../../src/conntrack/index.ts';
import { ConntrackMonitor } from '../../../src/conntrack/monitor.ts';
import {
  expectationTable,
  flowTable,
  statisticsTable,
  totalsTable,
  type WireFlow,
} from '../../../src/ctnetlink/tables.ts';
import { Exchange, GroupReader } from '../../../src/netlink/index.ts';
import { MemoryTransport, message, received } from '../memory-transport.ts';
import { canonical, type Target } from './judge.ts';
import { mutated } from './mutate.ts';
import { answers, FuzzGroup } from './nftables.ts';
import type { Random } from './random.ts';

const [NEW, DELETE, STATS_CPU, STATS] = [0x100, 0x102, 0x104, 0x105];
const [EXP_NEW, EXP_DELETE] = [0x200, 0x202];
const CREATE = 0x400;

const TUPLE = { source4: '10.0.0.1', destination4: '10.0.0.2', protocol: 6, sourcePort: 4000, destinationPort: 21 };
const BACK = { source4: '10.0.0.2', destination4: '10.0.0.1', protocol: 6, sourcePort: 21, destinationPort: 4000 };
const SIX = {
  source6: '2001:db8::1',
  destination6: '2001:db8::2',
  protocol: 58,
  icmpv6Type: 128,
  icmpv6Code: 0,
  icmpv6Id: 7,
};

const FLOWS: WireFlow[] = [
  {
    original: TUPLE,
    reply: BACK,
    status: ['confirmed', 'seen-reply', 'destination-nat'],
    tcp: { state: 'established', originalWindowScale: 7, originalFlags: '0a00' },
    helper: 'ftp',
    timeoutSeconds: 100,
    mark: 7,
    originalCounters: { packets: 1n, bytes: 60n },
    replyCounters: { packets: 2n, bytes: 120n },
    originalAdjustment: { position: 1, offsetBefore: 2, offsetAfter: 3 },
    use: 1,
    id: 0x12345678,
    master: TUPLE,
    zone: 3,
    securityContext: 'system_u:object_r:unlabeled_t',
    startNanoseconds: 1n,
    labels: '08000000000000000000000000000080',
    synproxy: { initialSequence: 1, initialTimestamp: 2, timestampOffset: 3 },
    eventNanoseconds: 2n,
  },
  { original: SIX, reply: { ...SIX, icmpv6Type: 129 }, status: ['confirmed'], timeoutSeconds: 30, id: 1, mark: 0 },
  {
    original: { ...TUPLE, protocol: 132, zone: 9 },
    reply: { ...BACK, protocol: 132 },
    sctp: { state: 'established', originalTag: 1, replyTag: 2 },
    id: 2,
  },
  { original: { ...TUPLE, protocol: 33 }, reply: { ...BACK, protocol: 33 }, dccp: { state: 'open', role: 1 }, id: 3 },
];

const header = (family: number): Uint8Array => Uint8Array.of(family, 0, 0, 0);

const SEEDS: Uint8Array[] = [
  ...FLOWS.flatMap((flow, i) =>
    [NEW, NEW, DELETE].map((type, kind) =>
      message(type, kind === 0 ? CREATE : 0, 1, writer => {
        writer.raw(header(i === 1 ? 10 : 2));
        flowTable.write(writer, flow, NO_CONTEXT);
      }),
    ),
  ),
  ...[EXP_NEW, EXP_DELETE].map(type =>
    message(type, 0, 1, writer => {
      writer.raw(header(2));
      expectationTable.write(
        writer,
        { master: TUPLE, tuple: BACK, mask: TUPLE, timeoutSeconds: 9, id: 4, helper: 'ftp', flags: ['permanent'] },
        NO_CONTEXT,
      );
    }),
  ),
  message(STATS, 0, 1, writer => {
    writer.raw(header(0));
    totalsTable.write(writer, { entries: 5, maxEntries: 9 }, NO_CONTEXT);
  }),
  message(STATS_CPU, 0, 1, writer => {
    writer.raw(header(0));
    statisticsTable.write(writer, { found: 1, drop: 2 }, NO_CONTEXT);
  }),
];

const make = (random: Random, pool: readonly Uint8Array[]) => mutated(random.pick(pool), random, pool);

/** The kernel takes a deletion without a whole tuple for "all flows": whatever it answers, none may leave. */
function refuseEmptyDeletion(type: number, payload: Uint8Array): void {
  if (type !== DELETE) return;
  const source = sourceOf(payload.slice(4));
  const { original, reply } = flowTable.read(source, 0, source.bytes.length, NO_CONTEXT) ?? {};
  const { source4, source6, protocol } = original ?? reply ?? {};
  if ((source4 ?? source6) === undefined || protocol === undefined) throw new Error('a deletion of all flows was sent');
}

/** Answers about flows and expectations. */
export const conntrackAnswers: Target = {
  name: 'answers of ctnetlink',
  weight: 3,
  seeds: SEEDS,
  make,
  read(input, random) {
    const wire = new MemoryTransport(datagram =>
      received(datagram).flatMap(request => {
        refuseEmptyDeletion(request.type, request.payload);
        return answers(request, input, random);
      }),
    );
    const { sync } = new Conntrack(new Exchange(wire, 'conntrack'));
    const key = {
      protocol: 'tcp',
      source: '10.0.0.1',
      sourcePort: 4000,
      destination: '10.0.0.2',
      destinationPort: 21,
    } as const;
    const ask = random.pick([
      () => sync.list(),
      () => sync.list({ protocol: 'tcp', destination: '10.0.0.0/8', destinationPort: 21 }),
      () => sync.listAndZero({ mark: 7 }),
      () => sync.get(key),
      () => sync.count(),
      () => sync.flush({ destination: '10.0.0.2' }),
      () => sync.flush({ status: ['confirmed'] }),
      () => sync.expectations(),
      () => sync.statistics(),
      () => sync.expectationStatistics(),
    ]);
    canonical(ask());
  },
};

/** Events of flows and expectations; some from a forger. */
export const conntrackEvents: Target = {
  name: 'events of ctnetlink',
  weight: 2,
  seeds: SEEDS,
  make,
  async read(input, random) {
    const socket = new FuzzGroup();
    const reader = new GroupReader(socket);
    const source = { check: async () => {}, flows: async () => [], expectations: async () => [] };
    const monitor = new ConntrackMonitor(reader, source, random.chance(2) ? { expectations: true } : {}, () => {});
    socket.next = input;
    socket.port = random.chance(8) ? 1 + random.below(1000) : 0;
    const events = monitor[Symbol.asyncIterator]();
    const first = events.next();
    first.catch(() => {});
    // What waits for more is ended: there is no more.
    for (let turn = 0; turn < 10; turn++) await undefined;
    await monitor.close();
    const { value } = await first;
    if (socket.port !== 0 && (value !== undefined || reader.rejectedSenders !== 1))
      throw new Error('a forged event was read');
    if (value !== undefined) canonical(value);
  },
};
