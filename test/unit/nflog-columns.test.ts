import fc from 'fast-check';
import { expect, it } from 'vitest';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { PROPERTIES } from '../../src/nflog/attributes.ts';
import { PacketBatch, type Surroundings } from '../../src/nflog/batch.ts';
import { closeColumns, PacketColumns } from '../../src/nflog/columns.ts';
import { Packet } from '../../src/nflog/packet.ts';
import { Delivery } from '../../src/nflog/sinks/delivery.ts';
import { freeFrom, slabWithRoom, useUntil } from '../../src/nflog/slab.ts';
import { datagramOf, packetFlow, type Raw, RECEIPT, UDP, usual } from '../support/nflog-message.ts';

/** A batch of one datagram, which is read into the slab as a reader does. */
function read(
  messages: readonly (readonly Raw[])[],
  group = 5,
  surroundings: Surroundings = { devices: RECEIPT.devices },
) {
  const { bytes, places } = datagramOf(messages.map(attributes => ({ group, attributes })));
  const source = slabWithRoom();
  const at = freeFrom();
  source.bytes.set(bytes, at);
  const batch = new PacketBatch(surroundings);
  batch.begin(source, at, useUntil(at + bytes.length), RECEIPT.microseconds);
  for (const [start, end] of places) batch.add(at + start, at + end, 0, 0);
  return batch;
}

const delivery = () => new Delivery({ packets: 100, when: 'leave-to-kernel' }, packetFlow());

it('columns have what the packets have, whatever the attributes are', () => {
  const number = fc.constantFrom(...Object.values(C).filter(value => typeof value === 'number' && value <= 21));
  const bytes = fc.oneof(
    fc.constantFrom('00000001', '0001', '61620000', '08000100', '000000006553f100000000000001e240', UDP),
    fc.uint8Array({ maxLength: 20 }).map(value => Buffer.from(value).toString('hex')),
  );
  const attribute = fc.tuple(number, bytes) as fc.Arbitrary<Raw>;
  const message = fc.oneof(
    fc.array(attribute, { maxLength: 8 }),
    fc.nat(9).map(i => usual(i)),
  );
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 5 }),
      fc.nat(0xffff),
      fc.nat(99),
      (messages, group, seed) => {
        const batch = read(messages, group);
        const packets = batch.passing();
        const columns = new PacketColumns(batch);
        expect(columns.length).toBe(packets.length);
        // In any order: a column must not show the packet that was asked before.
        for (let k = 0; k < packets.length * 2; k++) {
          const i = (k * 3 + seed) % packets.length;
          const packet = packets[i]!;
          for (const { key } of PROPERTIES) expect(columns[key](i)).toEqual(packet[key]);
          expect([columns.group(i), columns.receivedAtMicroseconds(i), columns.payloadLength(i)]).toEqual([
            packet.group,
            packet.receivedAtMicroseconds,
            packet.payload.length,
          ]);
          expect(columns.packet(i).toJSON()).toEqual(packet.toJSON());
        }
        batch.clear();
      },
    ),
    { numRuns: 500 },
  );
});

it('the memory of columns is read over when the handler returns, and a packet that it keeps has its own', () => {
  const log = delivery();
  const kept: Packet[] = [];
  log.onColumns(columns => void kept.push(columns.packet(1)));
  const before = freeFrom();
  const batch = read([usual(1), usual(2)]);
  const json = batch.passing()[1]!.toJSON();
  log.take(batch);
  batch.clear();
  expect(freeFrom()).toBe(before);
  slabWithRoom().bytes.fill(0xff, before, before + 1000);
  expect(kept.map(packet => packet.toJSON())).toEqual([json]);
});

it('the memory of columns is kept while another handler has the packets', () => {
  const log = delivery();
  log.onColumns(() => {});
  const lists: (readonly Packet[])[] = [];
  log.onBatch(packets => void lists.push(packets));
  const batch = read([usual(1)]);
  const end = freeFrom();
  log.take(batch);
  batch.clear();
  expect(freeFrom()).toBe(end);
  expect(lists[0]![0]!.sequence).toBe(1);
});

it('columns are refused with ERR_CLOSED when their handler has returned', () => {
  const log = delivery();
  const kept: PacketColumns[] = [];
  log.onColumns(columns => void kept.push(columns));
  log.take(read([usual(1)]));
  log.take(read([usual(2)]));
  const [first] = kept;
  for (const ask of [
    () => first!.mark(0),
    () => first!.group(0),
    () => first!.payloadLength(0),
    () => first!.receivedAtMicroseconds(0),
    () => first!.packet(0),
  ])
    expect(ask).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  expect(first!.length).toBe(1);
});

it.each([-1, 2, 0.5, Number.NaN, '0'])('rejects %j as the number of a packet with ERR_OUT_OF_RANGE', i => {
  const columns = new PacketColumns(read([usual(1), usual(2)]));
  const number = i as number;
  for (const ask of [() => columns.prefix(number), () => columns.group(number), () => columns.packet(number)])
    expect(ask).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  closeColumns(columns);
});

it('columns of packets that waited in a backlog have what the packets have', () => {
  const packets = read([usual(7), usual(8)]).packets();
  const columns = new PacketColumns(PacketBatch.of(packets.map(packet => packet.copy())));
  expect([0, 1].map(i => [columns.sequence(i), columns.prefix(i), columns.packet(i).headers?.source])).toEqual([
    [7, 'web1 ', '127.0.0.1'],
    [8, 'web1 ', '127.0.0.1'],
  ]);
});

it('a rule is known of a packet that columns have made', () => {
  const ruleOf = (prefix: string, group: number) => [prefix, group];
  const batch = read([usual(1)], 6, { devices: RECEIPT.devices, ruleOf });
  expect(new PacketColumns(batch).packet(0).rule).toEqual(['web1 ', 6]);
  expect(new Packet(batch.source(0), batch.start(0), batch.end(0), RECEIPT).rule).toBeUndefined();
});
