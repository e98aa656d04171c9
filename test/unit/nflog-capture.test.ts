import { PassThrough, Writable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { PacketBatch } from '../../src/nflog/batch.ts';
import type { BacklogPolicy, Packet, Rotation } from '../../src/nflog/index.ts';
import { CaptureSink, checkRotation } from '../../src/nflog/sinks/capture.ts';
import { Delivery } from '../../src/nflog/sinks/delivery.ts';
import { Output } from '../../src/nflog/sinks/output.ts';
import { type CaptureFormat, PcapFormat } from '../../src/nflog/sinks/pcap.ts';
import { PcapngFormat } from '../../src/nflog/sinks/pcapng.ts';
import { packetFlow, packetOf, packetsOf, UDP, usual } from '../support/nflog-message.ts';
import { turns } from '../support/wait.ts';

const some = (count: number, from = 0) =>
  packetsOf(Array.from({ length: count }, (_, i) => ({ attributes: usual(from + i, UDP, i % 2 === 0 ? 1 : 3) })));

/** A Writable that takes one chunk at a time, when it is told to. */
class Slow extends Writable {
  readonly chunks: Buffer[] = [];
  #done: (() => void) | undefined;
  open = false;

  constructor(highWaterMark = 16) {
    super({ highWaterMark });
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk);
    if (this.open) done();
    else this.#done = done;
  }
  release(): void {
    this.open = true;
    this.#done?.();
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

function setUp(options: { format?: CaptureFormat; when?: BacklogPolicy; packets?: number; rotation?: Rotation } = {}) {
  const { format = new PcapFormat(), when = 'leave-to-kernel', packets = 100, rotation } = options;
  const flow = packetFlow();
  const backlog = { packets, when };
  const delivery = new Delivery(backlog, flow);
  return {
    flow,
    delivery,
    write: (writable: Writable) => new CaptureSink(format, writable, rotation, backlog).attach(delivery),
  };
}

/** The records of a pcap file of this host's byte order: seconds, microseconds, bytes. */
function recordsOf(bytes: Buffer) {
  expect(bytes.readUInt32LE(0)).toBe(0xa1b2c3d4);
  expect([bytes.readUInt16LE(4), bytes.readUInt16LE(6), bytes.readUInt32LE(16), bytes.readUInt32LE(20)]).toEqual([
    2, 4, 262144, 239,
  ]);
  const records: { seconds: number; microseconds: number; data: Buffer }[] = [];
  for (let at = 24; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    expect(bytes.readUInt32LE(at + 12)).toBe(length);
    const data = bytes.subarray(at + 16, at + 16 + length);
    expect(data).toHaveLength(length);
    records.push({ seconds: bytes.readUInt32LE(at), microseconds: bytes.readUInt32LE(at + 4), data });
    at += 16 + length;
  }
  return records;
}

/** The blocks of a pcapng file: their type, and their bytes without types and lengths. */
function blocksOf(bytes: Buffer) {
  const blocks: { type: number; body: Buffer }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    expect(length % 4).toBe(0);
    expect(bytes.readUInt32LE(at + length - 4)).toBe(length);
    blocks.push({ type: bytes.readUInt32LE(at), body: bytes.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return blocks;
}

function optionsOf(body: Buffer, at: number) {
  const options: [code: number, value: string][] = [];
  for (;;) {
    const [code, length] = [body.readUInt16LE(at), body.readUInt16LE(at + 2)];
    if (code === 0) {
      expect([length, at + 4]).toEqual([0, body.length]);
      return options;
    }
    const value = body.subarray(at + 4, at + 4 + length);
    options.push([code, code === 2 && length === 4 ? String(value.readUInt32LE(0)) : value.toString()]);
    at += 4 + ((length + 3) & ~3);
  }
}

const bytesOf = (packet: Packet) => Buffer.from(recordsOf(Buffer.from(encoded([packet])))[0]!.data).toString('hex');
function encoded(packets: readonly Packet[]): Uint8Array {
  const format = new PcapFormat();
  const output = new Output();
  format.encode(PacketBatch.of(packets), 0, 1 << 20, false, output);
  return Buffer.concat([format.begin(), output.bytes.subarray(0, output.length)]);
}

describe('a pcap file', () => {
  it('has the packets as they came, with the time of the kernel or of reception', () => {
    const records = recordsOf(Buffer.from(encoded(some(4))));
    expect(records.map(({ seconds, microseconds }) => [seconds, microseconds])).toEqual([
      [1_700_000_000, 123_456],
      [1_700_000_000, 250_000],
      [1_700_000_000, 123_456],
      [1_700_000_000, 250_000],
    ]);
    for (const { data } of records) expect(data.subarray(0, 4).toString('hex')).toBe('02000005');
    expect(records[0]!.data.toString('hex')).toContain(UDP);
  });

  it('is the same whether packets arrive together, apart or alone', () => {
    const packets = some(6);
    const together = encoded(packets);
    expect(encoded(packets.map(packet => packet.copy()))).toEqual(together);
    expect(encoded([...packets.slice(0, 2).map(packet => packet.copy()), ...packets.slice(2)])).toEqual(together);
    const order = [3, 1, 2, 0, 5, 4].map(i => packets[i]!);
    expect(encoded(order)).toEqual(encoded(order.map(packet => packet.copy())));
  });
});

describe('a pcapng file', () => {
  it('has a section, an interface for each device, and blocks with prefix, direction and losses', async () => {
    const { delivery, write } = setUp({ format: new PcapngFormat('web1, network namespace 7') });
    const file = new Slow(1 << 20);
    file.open = true;
    const capture = write(file);
    const packets = [...some(2), ...some(1, 5)];
    delivery.take(PacketBatch.of(packets.slice(0, 2)));
    delivery.take(PacketBatch.of(packets.slice(2)));
    await capture.end();
    const blocks = blocksOf(file.bytes);
    expect(blocks.map(({ type }) => type)).toEqual([0x0a0d0d0a, 1, 6, 6, 6]);
    const [section, description, ...rest] = blocks;
    expect(section!.body.subarray(0, 16).toString('hex')).toBe('4d3c2b1a01000000ffffffffffffffff');
    expect(optionsOf(section!.body, 16)).toEqual([
      [1, 'web1, network namespace 7'],
      [4, 'netsteer'],
    ]);
    expect(description!.body.readUInt16LE(0)).toBe(239);
    expect(optionsOf(description!.body, 8)).toEqual([
      [2, expect.any(String)],
      [3, 'web1, network namespace 7'],
    ]);
    expect(description!.body.toString('latin1')).toContain('eth1');
    for (const [i, { body }] of rest.entries()) {
      const length = body.readUInt32LE(12);
      expect([body.readUInt32LE(0), body.readUInt32LE(16)]).toEqual([0, length]);
      expect(body.subarray(20, 20 + length).toString('hex')).toBe(bytesOf(packets[i]!));
      const time = body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8);
      expect(time).toBe(packets[i]!.timestampMicroseconds ?? packets[i]!.receivedAtMicroseconds);
      expect(optionsOf(body, 20 + ((length + 3) & ~3))).toEqual([
        [1, 'web1 '],
        ...(i === 2 ? [[1, '3 packets of group 5 are missing before this one']] : []),
        [2, i === 1 ? '2' : '1'],
      ]);
    }
  });

  it('describes its interfaces again after a rotation, and escapes texts of a container', async () => {
    const files = [new Slow(1 << 20), new Slow(1 << 20)];
    for (const file of files) file.open = true;
    const { delivery, write } = setUp({
      format: new PcapngFormat('x'),
      rotation: { bytes: 1024, next: index => files[index]! },
    });
    const capture = write(files[0]!);
    const hostile = usual(0).map(each => (each[0] === 10 ? ([10, '1b5b324a0a00'] as const) : each));
    delivery.take(PacketBatch.of(packetsOf(Array.from({ length: 8 }, () => ({ attributes: hostile })))));
    await capture.end();
    expect(capture.files).toBe(2);
    for (const file of files) {
      const blocks = blocksOf(file.bytes);
      expect(blocks.slice(0, 3).map(({ type }) => type)).toEqual([0x0a0d0d0a, 1, 6]);
      expect(blocks.filter(({ type }) => type === 1)).toHaveLength(1);
      expect(file.bytes.length).toBeLessThanOrEqual(1024);
      expect(file.bytes.toString('latin1')).toContain('\\x1b[2J\\x0a');
    }
  });
});

describe('a capture', () => {
  it('stops reading while its Writable is full, and continues afterwards', async () => {
    const { delivery, flow, write } = setUp();
    const file = new Slow();
    const capture = write(file);
    // The header is more than this Writable wants at a time.
    expect([flow.on, delivery.room]).toEqual([false, 0]);
    delivery.take(PacketBatch.of(some(3)));
    expect(capture.packets).toBe(0);
    file.release();
    await turns();
    expect([flow.on, capture.packets]).toEqual([true, 3]);
    file.open = false;
    delivery.take(PacketBatch.of(some(2, 3)));
    expect(flow.on).toBe(false);
    file.release();
    await turns();
    expect(flow.on).toBe(true);
    await capture.end();
    expect(recordsOf(file.bytes)).toHaveLength(5);
    expect([file.writableFinished, capture.bytes]).toEqual([true, file.bytes.length]);
    expect(delivery.dropped).toBe(0);
  });

  it.each([
    ['drop-oldest', [6, 7, 8, 9]],
    ['drop-newest', [0, 1, 2, 3]],
  ] as const)("continues to read with '%s', and counts what it drops", async (when, kept) => {
    const { delivery, flow, write } = setUp({ when, packets: 4 });
    const file = new Slow();
    const capture = write(file);
    for (let i = 0; i < 10; i += 2) delivery.take(PacketBatch.of(some(2, i)));
    expect([flow.on, delivery.dropped]).toEqual([true, 6]);
    file.release();
    await turns();
    await capture.end();
    const sequences = recordsOf(file.bytes).map(({ data }) => data.toString('hex').match(/08000c000000000(.)/)![1]);
    expect(sequences.map(Number)).toEqual(kept);
    expect(delivery.dropped).toBe(6);
  });

  it('is written to its end by a log that closes, whatever the Writable returns', async () => {
    const { delivery, write } = setUp({ when: 'drop-oldest' });
    const file = new Slow();
    const capture = write(file);
    delivery.take(PacketBatch.of(some(3)));
    capture.endWith();
    delivery.end();
    delivery.take(PacketBatch.of(some(1, 3)));
    file.release();
    await capture.finished;
    expect(recordsOf(file.bytes)).toHaveLength(3);
    expect(file.writableFinished).toBe(true);
    await capture.end();
    await capture[Symbol.asyncDispose]();
  });

  it('fails with its Writable, and the log continues', async () => {
    const { delivery, flow, write } = setUp();
    const file = new Slow(1 << 20);
    const capture = write(file);
    const loop = delivery.iterate();
    file.destroy(new Error('no space'));
    await expect(capture.finished).rejects.toThrow('no space');
    await capture.settled;
    delivery.take(PacketBatch.of(some(1)));
    expect((await loop.next()).done).toBe(false);
    expect(flow.on).toBe(true);
    await expect(capture.end()).rejects.toThrow('no space');
    expect(capture.packets).toBe(0);
  });

  it('rejects a Writable that closes early with ERR_STREAM_PREMATURE_CLOSE, and one that has ended with ERR_CLOSED', async () => {
    const { write } = setUp();
    const gone = new Slow(1 << 20);
    const first = write(gone);
    gone.destroy();
    await expect(first.finished).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' });
    const ended = new PassThrough();
    ended.end();
    // Which of the two is told first differs between versions of Node.
    const code = expect.stringMatching(/^ERR_(CLOSED|STREAM_WRITE_AFTER_END)$/);
    await expect(write(ended).finished).rejects.toMatchObject({ code });
    const meanwhile = new Slow(1 << 20);
    meanwhile.open = true;
    const second = write(meanwhile);
    meanwhile.end();
    await expect(second.finished).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  it('rejects with the reason why its log could not be read to the end, after it has written the packets before', async () => {
    const { delivery, write } = setUp();
    const file = new Slow(1 << 20);
    file.open = true;
    const capture = write(file);
    delivery.take(PacketBatch.of(some(2)));
    capture.endWith(new Error('unreadable'));
    await expect(capture.finished).rejects.toThrow('unreadable');
    expect(recordsOf(file.bytes)).toHaveLength(2);
    expect(file.writableFinished).toBe(true);
  });

  it('leaves the standard output open', async () => {
    const written = vi.spyOn(process.stdout, 'write').mockImplementation((...parameters: unknown[]) => {
      (parameters.find(each => typeof each === 'function') as (() => void) | undefined)?.();
      return true;
    });
    try {
      const { delivery, write } = setUp();
      const capture = write(process.stdout);
      delivery.take(PacketBatch.of(some(1)));
      await capture.end();
      expect(process.stdout.writableEnded).toBe(false);
      expect(written).toHaveBeenCalledTimes(3);
    } finally {
      written.mockRestore();
    }
  });
});

describe('the rotation of a capture', () => {
  const files = () => {
    const all: Slow[] = [];
    const next = (index: number) => {
      expect(index).toBe(all.length);
      const file = new Slow(1 << 20);
      file.open = true;
      all.push(file);
      return file;
    };
    return { all, next };
  };
  const size = encoded(some(1)).length - 24;

  it('ends a file by size before the packet that would be too much', async () => {
    const { all, next } = files();
    const { delivery, write } = setUp({ rotation: { bytes: 24 + 10 * size, next } });
    const capture = write(next(0));
    delivery.take(PacketBatch.of(some(25)));
    delivery.take(PacketBatch.of(some(6, 25)));
    await capture.end();
    const counts = all.map(file => recordsOf(file.bytes).length);
    expect(counts.reduce((sum, count) => sum + count)).toBe(31);
    expect(Math.max(...all.map(file => file.bytes.length))).toBeLessThanOrEqual(24 + 10 * size);
    expect(counts.length).toBe(capture.files);
    expect(all.every(file => file.writableFinished)).toBe(true);
  });

  it('gives a packet that is too large its own file', async () => {
    const { all, next } = files();
    const { delivery, write } = setUp({ rotation: { bytes: 1024, next } });
    const capture = write(next(0));
    const large = packetOf(usual(0, '00'.repeat(2000)));
    delivery.take(PacketBatch.of([...some(1), large, large, ...some(1)]));
    await capture.end();
    expect(all.map(file => recordsOf(file.bytes).length)).toEqual([1, 1, 1, 1]);
  });

  it('waits for the next Writable, and so does the log', async () => {
    const { all, next } = files();
    let supply: ((file: Slow) => void) | undefined;
    const { delivery, flow, write } = setUp({
      rotation: {
        bytes: 1024,
        next: () =>
          new Promise<Slow>(resolve => {
            supply = resolve;
          }),
      },
    });
    const capture = write(next(0));
    delivery.take(PacketBatch.of(some(30)));
    expect([flow.on, delivery.room]).toEqual([false, 0]);
    const before = capture.packets;
    await turns();
    expect(capture.packets).toBe(before);
    const ending = capture.end();
    while (capture.packets < 30) {
      supply!(next(all.length));
      await turns();
    }
    await ending;
    expect(all.map(file => recordsOf(file.bytes).length).reduce((sum, count) => sum + count)).toBe(30);
  });

  it('ends a file by time if it has packets, and begins the next one with the next packet', async () => {
    vi.useFakeTimers();
    try {
      const { all, next } = files();
      const { delivery, write } = setUp({ rotation: { seconds: 60, next } });
      const capture = write(next(0));
      vi.advanceTimersByTime(150_000);
      expect(all).toHaveLength(1);
      delivery.take(PacketBatch.of(some(2)));
      vi.advanceTimersByTime(60_000);
      expect([all.length, all[0]!.writableEnded]).toEqual([1, true]);
      delivery.take(PacketBatch.of(some(1, 2)));
      expect([all.length, all[1]!.writableEnded]).toEqual([2, false]);
      vi.useRealTimers();
      await capture.end();
      expect(all.map(file => recordsOf(file.bytes).length)).toEqual([2, 1]);
    } finally {
      vi.useRealTimers();
    }
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('no more');
      },
      'no more',
    ],
    ['rejects', async () => Promise.reject(new Error('no more')), 'no more'],
    ['supplies something else', () => 5 as unknown as Writable, 'rotate.next: expected a Writable'],
  ])('fails when `next` %s', async (_, next: () => Writable | Promise<Writable>, message) => {
    const { delivery, flow, write } = setUp({ rotation: { bytes: 1024, next } });
    const file = new Slow(1 << 20);
    file.open = true;
    const capture = write(file);
    delivery.take(PacketBatch.of(some(30)));
    await expect(capture.finished).rejects.toThrow(message);
    expect(flow.on).toBe(false);
    // The file that was full is whole all the same.
    await expect.poll(() => file.writableFinished).toBe(true);
    expect(recordsOf(file.bytes)).toHaveLength(capture.packets);
  });

  it.each([
    [{ next() {} }, 'ERR_INVALID_ARG_TYPE', 'rotate'],
    [{ bytes: 10, next() {} }, 'ERR_OUT_OF_RANGE', 'rotate.bytes'],
    [{ seconds: 0, next() {} }, 'ERR_OUT_OF_RANGE', 'rotate.seconds'],
    [{ seconds: 1 }, 'ERR_INVALID_ARG_TYPE', 'rotate.next'],
    [{ size: 1, next() {} }, 'ERR_UNKNOWN_FIELD', 'rotate.size'],
  ])('rejects %j with ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE or ERR_UNKNOWN_FIELD', (rotation, code, attribute) => {
    expect(() => checkRotation(rotation)).toThrow(expect.objectContaining({ code, attribute }));
  });
});
