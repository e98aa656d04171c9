import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, type WriteStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { PacketBatch } from '../../src/nflog/batch.ts';
import { Packet } from '../../src/nflog/packet.ts';
import { CaptureSink } from '../../src/nflog/sinks/capture.ts';
import { Delivery } from '../../src/nflog/sinks/delivery.ts';
import { Output } from '../../src/nflog/sinks/output.ts';
import { type CaptureFormat, PcapFormat } from '../../src/nflog/sinks/pcap.ts';
import { PcapngFormat } from '../../src/nflog/sinks/pcapng.ts';
import { datagramOf, packetFlow, packetsOf, type Raw, RECEIPT, UDP, usual } from '../support/nflog-message.ts';
import { until } from '../support/wait.ts';

const some = (count: number, from = 0, payload = UDP) =>
  packetsOf(Array.from({ length: count }, (_, i) => ({ attributes: usual(from + i, payload) })));

describe('the packets of a file', () => {
  let folder: string;
  let writes: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'netsteer-unit-'));
    writes = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A file whose writes are counted. */
  function opened(index = 0) {
    const path = join(folder, `${index}`);
    const file = createWriteStream(path);
    const { write } = file;
    file.write = ((...values: Parameters<WriteStream['write']>) => {
      writes++;
      return write.apply(file, values);
    }) as WriteStream['write'];
    return { file, read: () => (existsSync(path) ? readFileSync(path) : Buffer.alloc(0)) };
  }
  function setUp(format: CaptureFormat = new PcapFormat()) {
    const flow = packetFlow();
    const backlog = { packets: 100, when: 'leave-to-kernel' } as const;
    const delivery = new Delivery(backlog, flow);
    const start = (file: WriteStream, bytes?: number) => {
      const rotation = bytes === undefined ? undefined : { bytes, next: (index: number) => opened(index).file };
      return new CaptureSink(format, file, rotation, backlog).attach(delivery);
    };
    return { flow, delivery, start, give: (packets: Packet[]) => delivery.take(PacketBatch.of(packets)) };
  }
  const records = (bytes: Buffer) => {
    let count = 0;
    for (let at = 24; at + 16 <= bytes.length; count++) at += 16 + bytes.readUInt32LE(at + 8);
    return count;
  };

  it('are written at once when none were written before, and then together', async () => {
    const { file, read } = opened();
    const { start, give } = setUp();
    const capture = start(file);
    expect(writes).toBe(1);
    give(some(3));
    expect([writes, capture.packets]).toEqual([2, 3]);
    for (let i = 0; i < 50; i++) give(some(2, 3 + i * 2));
    // A machine that stands still for a while writes more often.
    expect(writes).toBeLessThan(50);
    await capture.end();
    expect([records(read()), capture.packets, capture.bytes]).toEqual([103, 103, read().length]);
  });

  it('are written although no others follow', async () => {
    const { file, read } = opened();
    const { start, give } = setUp();
    const capture = start(file);
    give(some(3));
    give(some(2, 3));
    expect(await until(() => records(read()) === 5)).toBe(true);
    expect(capture.packets).toBe(5);
    await capture.end();
  });

  it('are in the files that they belong to when a file is full', async () => {
    const { file } = opened();
    const { start, give } = setUp();
    const capture = start(file, 1024);
    for (let i = 0; i < 40; i++) give(some(1, i));
    await capture.end();
    const files = Array.from({ length: capture.files }, (_, i) => readFileSync(join(folder, `${i}`)));
    expect(files.every(({ length }) => length <= 1024)).toBe(true);
    expect(files.reduce((sum, bytes) => sum + records(bytes), 0)).toBe(40);
  });

  it('stop the reading when more than 1 MiB waits to be written, and not before', async () => {
    const { file, read } = opened();
    const { start, give, flow } = setUp();
    file.cork();
    const capture = start(file);
    let packets = 0;
    const large = '45'.repeat(60_000);
    while (flow.on) {
      give(some(5, packets, large));
      packets += 5;
    }
    expect(packets * 60_000).toBeGreaterThan(1 << 20);
    expect(packets * 60_000).toBeLessThan(2 << 20);
    file.uncork();
    await until(() => flow.on, 'the reading');
    await capture.end();
    expect(records(read())).toBe(packets);
  });

  it('are dropped with a file that fails, and nothing is written afterwards', async () => {
    const { file } = opened();
    const { start, give } = setUp();
    const capture = start(file);
    give(some(1));
    give(some(1, 1));
    file.destroy(new Error('no space'));
    await expect(capture.finished).rejects.toThrow('no space');
    const before = writes;
    give(some(1, 2));
    expect(writes).toBe(before);
  });
});

describe('the blocks of a pcapng file', () => {
  /** At an address that is no multiple of four, where each packet is read attribute by attribute. */
  function apart(packet: Packet): Packet {
    const bytes = rawOf(packet);
    const memory = new Uint8Array(bytes.length + 1);
    memory.set(bytes, 1);
    return new Packet(sourceOf(memory.subarray(1)), 0, bytes.length, receiptOf(packet));
  }
  const raws = new WeakMap<Packet, Uint8Array>();
  const receipts = new WeakMap<Packet, typeof RECEIPT>();
  const rawOf = (packet: Packet) => raws.get(packet)!;
  const receiptOf = (packet: Packet) => receipts.get(packet)!;

  /** Packets one behind the other, as a datagram brings them. */
  function together(all: readonly (readonly Raw[])[], microseconds: number, group: number): Packet[] {
    const { bytes, places } = datagramOf(all.map(attributes => ({ group, attributes })));
    const source = sourceOf(bytes);
    const receipt = { ...RECEIPT, microseconds };
    return places.map(([start, end]) => {
      const packet = new Packet(source, start, end, receipt);
      raws.set(packet, source.bytes.slice(start, end));
      receipts.set(packet, receipt);
      return packet;
    });
  }

  const word = fc.constantFrom('00000001', '00000002');
  const attribute: fc.Arbitrary<Raw> = fc.oneof(
    fc.constantFrom<Raw>([C.NFULA_PACKET_HDR, '08000100'], [C.NFULA_PACKET_HDR, '08000300']),
    fc.constantFrom<Raw>([C.NFULA_PREFIX, '61620000'], [C.NFULA_PREFIX, '6100'], [C.NFULA_PREFIX, '']),
    word.map(index => [C.NFULA_IFINDEX_INDEV, index] as Raw),
    word.map(index => [C.NFULA_IFINDEX_OUTDEV, index] as Raw),
    fc.constantFrom<Raw>([C.NFULA_TIMESTAMP, '000000006553f100000000000001e240'], [C.NFULA_TIMESTAMP, '00'.repeat(15)]),
    word.map(mark => [C.NFULA_MARK, mark] as Raw),
    fc.nat(3).map(number => [C.NFULA_SEQ, `0000000${number}`] as Raw),
    fc.constantFrom<Raw>([C.NFULA_PAYLOAD, UDP], [C.NFULA_PAYLOAD, '45'.repeat(300)], [C.NFULA_PAYLOAD, '4501']),
  );
  /** Mostly as the kernel writes them, in order and with the same values. */
  const packet = fc.oneof(
    { weight: 3, arbitrary: fc.nat(40).map(number => usual(number)) },
    { weight: 1, arbitrary: fc.nat(40).map(number => usual(number, UDP, 3)) },
    { weight: 2, arbitrary: fc.array(attribute, { maxLength: 7 }) },
  );
  const datagram = fc.record({
    packets: fc.array(packet, { minLength: 1, maxLength: 8 }),
    microseconds: fc.constantFrom(RECEIPT.microseconds, RECEIPT.microseconds + 7),
    group: fc.constantFrom(5, 6),
    inOrder: fc.boolean(),
  });

  it('are the same whether a packet is compared with the one before it or read by itself', () => {
    const write = (format: CaptureFormat, batches: Packet[][], limit: number) => {
      const output = new Output();
      const nexts: number[] = [];
      format.begin();
      for (const packets of batches) {
        for (let next = 0, rounds = 0; next < packets.length && rounds < 20; rounds++) {
          next = format.encode(PacketBatch.of(packets), next, limit, rounds % 2 === 1, output);
          nexts.push(next);
        }
      }
      return [Buffer.from(output.bytes.subarray(0, output.length)).toString('hex'), nexts];
    };
    fc.assert(
      fc.property(fc.array(datagram, { maxLength: 5 }), fc.constantFrom(200, 700, 1 << 20), (datagrams, limit) => {
        let sequence = 0;
        const batches = datagrams.map(({ packets, microseconds, group, inOrder }) =>
          together(inOrder ? packets.map(() => usual(sequence++)) : packets, microseconds, group),
        );
        for (const format of [() => new PcapngFormat('x'), () => new PcapFormat()]) {
          const alone = batches.map(packets => packets.map(apart));
          expect(write(format(), batches, limit)).toEqual(write(format(), alone, limit));
        }
      }),
      { numRuns: 1500 },
    );
  });
});
