import { createWriteStream } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { NetNs } from '../../src/netns/index.ts';
import type { Nflog, Packet } from '../../src/nflog/index.ts';
import { floodNow } from '../support/flood.ts';
import { nft, Opened, take } from '../support/nflog-lab.ts';
import { becomes } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** Packets are logged on their way out, and dropped when they come back. */
const RULES = `table ip test {
  chain output {
    type filter hook output priority 0
    udp dport 9999 log group 5
  }
  chain prerouting { type filter hook prerouting priority -300; policy drop; }
}`;
const SIZE = 1000;
/** Several times the memory that a thread reads into. */
const PACKETS = 20_000;

kernelSuite('the memory of packets', () => {
  const opened = new Opened();
  let ns: NetNs;
  let log: Nflog;

  beforeAll(() => {
    ns = opened.namespace();
    nft(ns, RULES);
    log = opened.log({ netns: ns, groups: [5], receiveBufferBytes: 64 << 20 });
  });
  afterAll(() => opened.close());

  /** Sends packets until so many have been read. */
  async function flooded(count: number): Promise<void> {
    const before = log.stats.received;
    floodNow(ns, { count, size: SIZE });
    await becomes(() => log.stats.received - before === count);
  }
  async function one() {
    floodNow(ns, { count: 1, size: SIZE });
    const [packet] = await take(log, 1);
    return packet!;
  }

  it('is read over by files, around packets that are kept', async () => {
    const first = await one();
    const bytes = Buffer.from(first.payload);
    const capture = log.toPcap(createWriteStream('/dev/null'));
    await flooded(PACKETS);
    await capture.end();
    const last = await one();
    // Compared here: a difference of such buffers takes minutes to print.
    expect(last.payload.buffer === first.payload.buffer).toBe(true);
    expect(Buffer.from(first.payload).equals(bytes)).toBe(true);
    expect(last.sequence).toBe(first.sequence! + PACKETS + 1);
  });

  it('is read over behind columns, which have the numbers and bytes of all packets', async () => {
    const first = await one();
    const bytes = Buffer.from(first.payload);
    const sequences: (number | undefined)[] = [];
    let size = 0;
    const kept: Packet[] = [];
    const stop = log.onColumns(columns => {
      for (let i = 0; i < columns.length; i++) {
        sequences.push(columns.sequence(i));
        size += columns.payloadLength(i);
      }
      kept.push(columns.packet(0));
    });
    await flooded(PACKETS);
    stop();
    const last = await one();
    expect(sequences).toEqual(Array.from({ length: PACKETS }, (_, i) => first.sequence! + 1 + i));
    expect(size).toBe(PACKETS * SIZE);
    expect(last.payload.buffer === first.payload.buffer).toBe(true);
    expect(kept.every(({ payload }) => payload.length === SIZE && payload.buffer !== first.payload.buffer)).toBe(true);
    expect(Buffer.from(first.payload).equals(bytes)).toBe(true);
  });

  it('belongs to lists that a handler keeps, whenever their packets are looked at', async () => {
    const lists: (readonly { payload: Uint8Array; sequence: number | undefined }[])[] = [];
    let count = 0;
    const begin = (await one()).sequence! + 1;
    const stop = log.onBatch(packets => {
      count += packets.length;
      lists.push(packets);
    });
    await flooded(PACKETS);
    stop();
    expect(count).toBe(PACKETS);
    expect(lists.flat().map(({ sequence }) => sequence)).toEqual(Array.from({ length: PACKETS }, (_, i) => begin + i));
    expect(lists.flat().every(({ payload }) => payload.length === SIZE && payload[0] === 0x45)).toBe(true);
  });
});
