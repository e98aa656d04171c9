import { describe, expect, it } from 'vitest';
import { PacketBatch } from '../../src/nflog/batch.ts';
import type { Packet } from '../../src/nflog/index.ts';
import { Delivery } from '../../src/nflog/sinks/delivery.ts';
import { packetFlow } from '../support/nflog-message.ts';

/** Stand-ins: the queue does not look at them. */
const packets = (...numbers: number[]) => numbers as unknown as Packet[];

function setUp(when: 'drop-oldest' | 'drop-newest' | 'leave-to-kernel', limit = 4) {
  const flow = packetFlow();
  return { flow, delivery: new Delivery({ packets: limit, when }, flow) };
}

async function next(iterator: AsyncIterator<Packet>, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  while (taken.length < count) {
    const result = await iterator.next();
    if (result.done) break;
    taken.push(result.value);
  }
  return taken;
}

describe('Delivery', () => {
  it("drops the oldest packets of a slow loop with 'drop-oldest'", async () => {
    const { delivery, flow } = setUp('drop-oldest');
    const iterator = delivery.iterate();
    delivery.take(PacketBatch.of(packets(1, 2, 3)));
    delivery.take(PacketBatch.of(packets(4, 5, 6)));
    expect(delivery.dropped).toBe(2);
    expect(flow.on).toBe(true);
    expect(await next(iterator, 4)).toEqual([3, 4, 5, 6]);
  });

  it("drops the newest packets with 'drop-newest'", async () => {
    const { delivery } = setUp('drop-newest');
    const iterator = delivery.iterate();
    delivery.take(PacketBatch.of(packets(1, 2, 3)));
    delivery.take(PacketBatch.of(packets(4, 5, 6)));
    delivery.take(PacketBatch.of(packets(7)));
    expect(delivery.dropped).toBe(3);
    expect(await next(iterator, 4)).toEqual([1, 2, 3, 4]);
  });

  it("stops reading with 'leave-to-kernel', and continues when half of the backlog is taken", async () => {
    const { delivery, flow } = setUp('leave-to-kernel');
    expect(flow.on).toBe(false);
    const iterator = delivery.iterate();
    expect(flow.on).toBe(true);
    delivery.take(PacketBatch.of(packets(1, 2, 3)));
    expect(delivery.room).toBe(1);
    delivery.take(PacketBatch.of(packets(4, 5)));
    expect(flow.on).toBe(false);
    expect(await next(iterator, 2)).toEqual([1, 2]);
    expect(flow.on).toBe(false);
    expect(await next(iterator, 1)).toEqual([3]);
    expect(flow.on).toBe(true);
    expect(delivery.dropped).toBe(0);
  });

  it('continues where a loop stopped', async () => {
    const { delivery, flow } = setUp('leave-to-kernel');
    delivery.iterate();
    const first = delivery.iterate();
    delivery.take(PacketBatch.of(packets(1, 2, 3)));
    for await (const packet of first) {
      expect(packet).toBe(1);
      break;
    }
    expect(flow.on).toBe(true);
    expect(await first.next()).toEqual({ value: undefined, done: true });
    expect(await next(delivery.iterate(), 2)).toEqual([2, 3]);
  });

  it('stops reading when there are no consumers', async () => {
    const { delivery, flow } = setUp('drop-oldest');
    const iterator = delivery.iterate();
    const waiting = iterator.next();
    await iterator.return!();
    expect(await waiting).toEqual({ value: undefined, done: true });
    expect(flow.on).toBe(false);
    const end = delivery.onBatch(() => {});
    expect(flow.on).toBe(true);
    end();
    expect(flow.on).toBe(false);
  });

  it('gives waiting loops their packets in turn', async () => {
    const { delivery } = setUp('drop-oldest');
    const [one, two] = [delivery.iterate(), delivery.iterate()];
    const results = [one.next(), two.next(), one.next()];
    delivery.take(PacketBatch.of(packets(1, 2, 3, 4)));
    expect((await Promise.all(results)).map(({ value }) => value)).toEqual([1, 2, 3]);
    expect(await next(two, 1)).toEqual([4]);
  });

  it('ends loops when it ends, and rejects later packets with ERR_CLOSED', async () => {
    const { delivery, flow } = setUp('drop-oldest');
    const iterator = delivery.iterate();
    const waiting = iterator.next();
    delivery.end();
    delivery.end();
    expect(await waiting).toEqual({ value: undefined, done: true });
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    delivery.take(PacketBatch.of(packets(1)));
    expect(flow.on).toBe(false);
    expect(() => delivery.iterate()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    expect(() => delivery.onBatch(() => {})).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  it('rejects one loop with a failure, waiting or not', async () => {
    const waitingOne = setUp('drop-oldest').delivery;
    const waiting = waitingOne.iterate().next();
    waitingOne.end(new Error('broken'));
    await expect(waiting).rejects.toThrow('broken');
    const { delivery } = setUp('drop-oldest');
    const iterator = delivery.iterate();
    delivery.end(new Error('broken'));
    await expect(iterator.next()).rejects.toThrow('broken');
    expect((await iterator.next()).done).toBe(true);
  });

  it('gives handlers whole batches, also those that came before the handler', async () => {
    const { delivery } = setUp('leave-to-kernel');
    delivery.take(PacketBatch.of(packets(1, 2)));
    const seen: unknown[] = [];
    delivery.onBatch(batch => void seen.push([...batch]));
    await new Promise(resolve => setImmediate(resolve));
    delivery.take(PacketBatch.of(packets(3)));
    expect(seen).toEqual([[1, 2], [3]]);
    expect(delivery.room).toBe(Number.POSITIVE_INFINITY);
  });

  it('keeps tens of thousands in order while they are taken', async () => {
    const { delivery } = setUp('drop-newest', 100_000);
    const iterator = delivery.iterate();
    for (let i = 0; i < 20; i++)
      delivery.take(PacketBatch.of(packets(...Array.from({ length: 1000 }, (_, k) => i * 1000 + k))));
    const taken = await next(iterator, 15_000);
    delivery.take(PacketBatch.of(packets(20_000)));
    taken.push(...(await next(iterator, 5001)));
    expect(taken).toEqual(Array.from({ length: 20_001 }, (_, i) => i));
  });
});
