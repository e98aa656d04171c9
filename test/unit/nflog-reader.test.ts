import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Writer } from '../../src/codec/index.ts';
import { NFULA_SEQ } from '../../src/linux/nfnetlink_log.ts';
import * as C from '../../src/linux/sock_diag.ts';
import { SO_MEMINFO } from '../../src/linux/socket.ts';
import type { Loss, Packet } from '../../src/nflog/index.ts';
import { type LogSocket, PacketReader, type Receiver } from '../../src/nflog/reader.ts';
import { Observer } from '../../src/observe.ts';

const NOTHING = -11;

/** A socket in memory: datagrams with the port of their sender. */
class FakeSocket implements LogSocket {
  readonly netnsInode = 1;
  closed = false;
  readonly queue: { bytes: Uint8Array; port: number; errno?: number }[] = [];
  dropped = 0;
  ready: (() => void) | undefined;
  watches = 0;

  push(bytes: Uint8Array, port = 0): void {
    this.queue.push({ bytes, port });
  }
  receiveFrom(into: Uint8Array, address: Uint8Array): number {
    const next = this.queue.shift();
    if (next === undefined) return NOTHING;
    if (next.errno !== undefined) return next.errno;
    new DataView(address.buffer).setUint32(4, next.port, true);
    into.set(next.bytes.subarray(0, into.length));
    return next.bytes.length;
  }
  send = () => 0;
  sendOffThread = async () => 0;
  receive = () => NOTHING;
  receiveOffThread = async () => NOTHING;
  reserve = () => 1 << 20;
  getOptions = (_level: number, name: number, count: number) => {
    const all = new Uint32Array(count);
    if (name === SO_MEMINFO) all[C.SK_MEMINFO_DROPS] = this.dropped;
    return all;
  };
  watch(ready: () => void) {
    this.watches++;
    this.ready = ready;
    const close = () => {
      this.ready = undefined;
    };
    return { ref() {}, unref() {}, close };
  }
  async close() {
    this.closed = true;
  }
  turn(): void {
    this.ready?.();
  }
}

function setUp(room = () => Number.POSITIVE_INFINITY) {
  const socket = new FakeSocket();
  const batches: (readonly Packet[])[] = [];
  const losses: Loss[] = [];
  const failures: unknown[] = [];
  const warnings: string[] = [];
  const receiver: Receiver = {
    get room() {
      return room();
    },
    take: batch => void batches.push(batch.packets()),
    hearsLosses: true,
    lost: more => void losses.push(...more),
    fail: error => void failures.push(error),
  };
  const logger = { debug() {}, info() {}, warn: (_: object, text = '') => void warnings.push(text), error() {} };
  const devices = { nameOf: () => undefined };
  const observer = new Observer(logger);
  const reader = new PacketReader({
    socket,
    surroundings: { devices },
    receiver,
    observer,
    receiveBufferBytes: 1 << 20,
  });
  reader.start();
  const sequences = () => batches.flat().map(packet => packet.sequence);
  return { socket, reader, batches, losses, failures, warnings, sequences };
}

function write(writer: Writer, type: number, group: number, sequence?: number): void {
  const start = writer.length;
  writer.u32(0, true);
  writer.u16(type, true);
  writer.zeros(10);
  writer.u8(2);
  writer.u8(0);
  writer.u16(group, false);
  if (sequence !== undefined) {
    const attribute = writer.beginAttribute(NFULA_SEQ);
    writer.u32(sequence, false);
    writer.endAttribute(attribute);
  }
  writer.view.setUint32(start, writer.length - start, true);
}

/** A datagram of packets; two or more end with NLMSG_DONE. */
function datagram(group: number, ...sequences: number[]): Uint8Array {
  const writer = new Writer();
  for (const sequence of sequences) write(writer, 0x400, group, sequence);
  if (sequences.length > 1) write(writer, 3, group);
  return writer.copy();
}

function answer(errno: number): Uint8Array {
  const writer = new Writer();
  writer.u32(36, true);
  writer.u16(2, true);
  writer.zeros(10);
  writer.u32(errno >>> 0, true);
  writer.zeros(16);
  return writer.copy();
}

describe('PacketReader', () => {
  // A turn ends after some milliseconds, and a busy machine can take them away at any time.
  beforeEach(() => void vi.spyOn(performance, 'now').mockReturnValue(1000));
  afterEach(() => vi.restoreAllMocks());

  it('reads batches, and does not take their end for an error', () => {
    const { socket, batches, sequences, reader } = setUp();
    socket.push(datagram(5, 0, 1, 2));
    socket.push(datagram(6, 0));
    socket.turn();
    expect(batches).toHaveLength(1);
    expect(batches[0]!.map(({ group }) => group)).toEqual([5, 5, 5, 6]);
    expect(sequences()).toEqual([0, 1, 2, 0]);
    expect(reader.received).toBe(4);
    expect(reader.lostPackets).toBe(0);
  });

  it('counts gaps for each group, from its first number and over the overflow of numbers', () => {
    const { socket, losses, reader } = setUp();
    socket.push(datagram(5, 2, 3, 7));
    socket.push(datagram(6, 0));
    socket.turn();
    expect(losses).toEqual([{ kind: 'packets', group: 5, count: 5 }]);
    reader.groups.set(5, 0xfffffffe);
    socket.push(datagram(5, 0xfffffffe, 1));
    socket.turn();
    expect(losses.slice(1)).toEqual([{ kind: 'packets', group: 5, count: 2 }]);
    expect(reader.lostPackets).toBe(7);
  });

  it('reports dropped datagrams once', () => {
    const { socket, losses, reader } = setUp();
    socket.dropped = 3;
    socket.push(datagram(5, 0));
    socket.turn();
    socket.push(datagram(5, 1));
    socket.turn();
    expect(losses).toEqual([{ kind: 'datagrams', count: 3 }]);
    expect(reader.lostDatagrams).toBe(3);
    void reader.close();
    socket.dropped = 9;
    expect(reader.lostDatagrams).toBe(3);
  });

  it('ignores messages that are not from the kernel', () => {
    const { socket, batches, reader, warnings } = setUp();
    socket.push(datagram(5, 0), 4711);
    socket.push(datagram(5, 0), 4711);
    socket.turn();
    expect(batches).toEqual([]);
    expect(reader.rejectedSenders).toBe(2);
    expect(reader.received).toBe(0);
    expect(warnings).toEqual(['a message that is not from the kernel was dropped']);
  });

  it('keeps packets before a reply, and delivers them later in order', async () => {
    const { socket, reader, sequences } = setUp();
    socket.push(datagram(5, 0, 1));
    socket.push(datagram(5, 2));
    socket.push(answer(-1));
    socket.push(datagram(5, 3));
    const into = new Uint8Array(64);
    reader.send(into, 0);
    expect(reader.receive(into)).toBe(36);
    expect(new DataView(into.buffer).getInt32(16, true)).toBe(-1);
    expect(sequences()).toEqual([]);
    await new Promise(resolve => setImmediate(resolve));
    expect(sequences()).toEqual([0, 1, 2]);
    socket.turn();
    expect(sequences()).toEqual([0, 1, 2, 3]);
  });

  it('rejects a request after it has read more than was queued', () => {
    const { socket, reader } = setUp();
    const large = datagram(5, ...Array.from({ length: 5000 }, (_, i) => i));
    const many = Math.ceil((1 << 20) / large.length) + 5;
    for (let i = 0; i < many; i++) socket.push(large);
    reader.send(large, 0);
    expect(reader.receive(new Uint8Array(64))).toBe(NOTHING);
    expect(socket.queue.length).toBeGreaterThan(0);
  });

  it('ignores a reply that nobody waits for', () => {
    const { socket, sequences } = setUp();
    socket.push(answer(0));
    socket.push(datagram(5, 0));
    socket.turn();
    expect(sequences()).toEqual([0]);
  });

  it('keeps what precedes a message with a wrong length', () => {
    const { socket, sequences, warnings } = setUp();
    const lying = datagram(5, 0, 1, 2);
    new DataView(lying.buffer).setUint32(lying.length - 20 - 28, 4000, true);
    socket.push(lying);
    socket.push(new Uint8Array(7));
    socket.push(new Uint8Array(0));
    socket.turn();
    expect(sequences()).toEqual([0, 1]);
    expect(warnings).toEqual(['a malformed message was dropped']);
  });

  it('never writes to a buffer that packets still use', () => {
    const { socket, batches } = setUp();
    for (let i = 0; i < 400; i++) {
      socket.push(datagram(5, ...Array.from({ length: 300 }, (_, k) => i * 300 + k)));
      socket.turn();
    }
    const all = batches.flat();
    expect(all).toHaveLength(120_000);
    expect(all.every((packet, i) => packet.sequence === i)).toBe(true);
  });

  it('reads a bounded number in a turn, and only while there is room', () => {
    let space = Number.POSITIVE_INFINITY;
    const { socket, sequences } = setUp(() => space);
    for (let i = 0; i < 100; i++) socket.push(datagram(5, i));
    socket.turn();
    expect(sequences().length).toBeLessThanOrEqual(64);
    space = 10;
    const before = sequences().length;
    socket.turn();
    expect(sequences().length).toBe(before + 10);
  });

  it('delivers thousands at a time, and reads no more than requested', () => {
    const { socket, batches, sequences, reader } = setUp();
    let next = 0;
    const push = () => {
      for (let i = 0; i < 16; i++) socket.push(datagram(5, ...Array.from({ length: 300 }, () => next++)));
    };
    push();
    socket.turn();
    expect(batches.map(each => each.length)).toEqual([2100, 2100, 600]);
    push();
    const stop = vi.spyOn(batches, 'push').mockImplementationOnce((...packets) => {
      reader.stop();
      return Array.prototype.push.apply(batches, packets);
    });
    socket.turn();
    expect(stop).toHaveBeenCalledOnce();
    expect(socket.queue).toHaveLength(9);
    expect(sequences()).toHaveLength(16 * 300 + 2100);
  });

  it('reports a socket that fails, after what was read before', () => {
    const { socket, sequences, failures } = setUp();
    socket.push(datagram(5, 0));
    socket.queue.push({ bytes: new Uint8Array(), port: 0, errno: -9 });
    socket.turn();
    expect(sequences()).toEqual([0]);
    expect(failures).toMatchObject([{ code: 'EBADF', operation: 'nflog.receive' }]);
    expect(socket.ready).toBeUndefined();
  });
});
