import { createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { PacketBatch } from '../../src/nflog/batch.ts';
import { isFile, Output } from '../../src/nflog/sinks/output.ts';
import { freeFrom, slabWithRoom, useUntil } from '../../src/nflog/slab.ts';

/** Writes a datagram of one packet into the slab, as a reader does. */
function read(batch: PacketBatch, fill: number, length = 64): void {
  const source = slabWithRoom();
  const start = freeFrom();
  source.bytes.fill(fill, start, start + length);
  batch.begin(source, start, useUntil(start + length), 1);
  batch.add(start, start + length, 0, 0);
}

const bytesOf = (packets: PacketBatch): number[][] =>
  packets.packets().map(packet => [...new Uint8Array(packet.copy().payload)]);

describe('the memory of a batch', () => {
  it('is read over when no packet was made of it', () => {
    const batch = new PacketBatch();
    const before = freeFrom();
    for (let i = 0; i < 100; i++) {
      read(batch, i);
      read(batch, i);
      batch.clear();
      expect(freeFrom()).toBe(before);
    }
  });

  it('belongs to its packets when they were asked for', () => {
    const batch = new PacketBatch();
    read(batch, 1);
    const end = freeFrom();
    batch.packets();
    batch.clear();
    expect(freeFrom()).toBe(end);
  });

  it('is read over behind consumers that let packets go', () => {
    const batch = new PacketBatch();
    const before = freeFrom();
    read(batch, 1);
    expect(batch.passing()).toHaveLength(1);
    batch.clear();
    expect(freeFrom()).toBe(before);
  });

  it('is not read over while another batch stands behind it or in it', () => {
    const [one, two] = [new PacketBatch(), new PacketBatch()];
    read(one, 1);
    read(two, 2);
    read(one, 3);
    const end = freeFrom();
    one.clear();
    expect(freeFrom()).toBe(end);
    two.clear();
    expect(freeFrom()).toBe(end);
  });

  it('never changes under a packet that is kept, whatever several logs read, deliver and drop', () => {
    /** Which batch does what: 0 to 2 read, 3 to 5 count and clear, 6 to 8 keep and clear. */
    const step = fc.record({ what: fc.nat(8), length: fc.integer({ min: 20, max: 90_000 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const batches = [new PacketBatch(), new PacketBatch(), new PacketBatch()];
        const pending: { fill: number; length: number }[][] = [[], [], []];
        const kept: { bytes: Uint8Array; fill: number; length: number }[] = [];
        for (const [i, { what, length }] of steps.entries()) {
          const which = what % 3;
          const batch = batches[which]!;
          const fill = 1 + (i % 255);
          if (what < 3) {
            read(batch, fill, length);
            pending[which]!.push({ fill, length });
            continue;
          }
          expect(batch.length).toBe(pending[which]!.length);
          for (const [k, one] of pending[which]!.entries()) {
            const bytes = batch.source(k).bytes.subarray(batch.start(k), batch.end(k));
            expect(bytes).toHaveLength(one.length);
            if (what >= 6) kept.push({ bytes, ...one });
            else expect(bytes.every(byte => byte === one.fill)).toBe(true);
          }
          if (what >= 6) batch.packets();
          batch.clear();
          pending[which] = [];
        }
        for (const { bytes, fill } of kept) expect(bytes.every(byte => byte === fill)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('is that of its packets when a batch is made of packets', () => {
    const source = sourceOf(new Uint8Array(200));
    const first = new PacketBatch();
    first.begin(source, 0, 100, 7);
    first.add(16, 50, 0, 0);
    first.add(66, 100, 0, 0);
    first.begin(source, 100, 200, 8);
    first.add(116, 200, 0, 0);
    const again = PacketBatch.of(first.packets());
    for (const batch of [first, again]) {
      expect(batch.length).toBe(3);
      expect([0, 1, 2].map(i => [batch.start(i), batch.end(i), batch.received(i)])).toEqual([
        [16, 50, 7],
        [66, 100, 7],
        [116, 200, 8],
      ]);
      expect([2, 0, 1].map(i => batch.source(i))).toEqual([source, source, source]);
    }
    expect(bytesOf(again)).toHaveLength(3);
  });
});

/** Writes so many bytes of one value. Returns where they stand. */
function put(output: Output, value: number, length: number): ArrayBufferLike {
  output.reserve(length);
  output.bytes.fill(value, output.length, output.length + length);
  output.length += length;
  return output.bytes.buffer;
}

describe('the memory of what is written', () => {
  it('is used again when a file has been written', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'netsteer-unit-'));
    try {
      const file = join(folder, 'file');
      const stream = createWriteStream(file);
      const output = new Output();
      output.forFile = isFile(stream);
      const first = put(output, 65, 3);
      expect(output.flush(stream)).toBe(true);
      expect(put(output, 66, 1)).not.toBe(first);
      output.flush(stream);
      await new Promise(resolve => stream.write('', resolve));
      // The last one that was written, then the one before it.
      put(output, 67, 1);
      output.flush(stream);
      expect(put(output, 68, 2)).toBe(first);
      output.flush(stream);
      stream.end();
      await finished(stream);
      expect(readFileSync(file, 'utf8')).toBe('AAABCDD');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is never used again when it went to another Writable, which may keep it', async () => {
    const stream = new PassThrough();
    const output = new Output();
    output.forFile = isFile(stream);
    const first = put(output, 65, 3);
    output.flush(stream);
    const kept = stream.read();
    stream.end();
    expect(put(output, 66, 3)).not.toBe(first);
    expect(String(kept)).toBe('AAA');
  });

  it('grows with what is written before it is flushed', async () => {
    const stream = new PassThrough();
    const output = new Output();
    for (let i = 0; i < 100; i++) put(output, i, 1000);
    output.flush(stream);
    const bytes: Buffer = stream.read();
    expect(bytes).toHaveLength(100_000);
    expect(bytes.every((byte, i) => byte === Math.floor(i / 1000))).toBe(true);
  });
});
