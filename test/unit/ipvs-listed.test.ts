import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { type AttributeTable, NO_CONTEXT, sourceOf, type Writer } from '../../src/codec/index.ts';
import { commandTable, destinationTable, serviceTable, type WireCommand } from '../../src/ip_vs/attributes.ts';
import { readDestination } from '../../src/ip_vs/destination.ts';
import { readService } from '../../src/ip_vs/service.ts';
import { destinationId, destinationSettings, serviceId, serviceSettings } from '../../src/ip_vs/wire.ts';
import { listedDestination, listedService } from '../../src/ipvs/backends/dump-reader.ts';
import { genlmsghdr, type Message, messageAt } from '../../src/netlink/index.ts';
import { Random } from '../support/fuzz/random.ts';
import { message } from '../support/memory-transport.ts';
import { Encoder } from '../support/tables.ts';

/* The walk over a dump's messages against the table: the same objects, whatever the kernel and whoever plays it says. */

const u32 = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffffffff }));
const u16 = fc.integer({ min: 0, max: 0xffff });
const u64 = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }));
const hex = (bytes: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 2 * bytes, maxLength: 2 * bytes });
const name = fc.string({ unit: fc.constantFrom('w', 'l', 'c', 'é'), maxLength: 7 });

const stats = (count: fc.Arbitrary<number | bigint>) =>
  fc.record({
    connections: count,
    inPackets: count,
    outPackets: count,
    inBytes: u64,
    outBytes: u64,
    connectionRate: count,
    inPacketRate: count,
    outPacketRate: count,
    inByteRate: count,
    outByteRate: count,
  });
const counted = { stats: stats(u32), stats64: stats(u64) };

const service = fc.record(
  {
    family: fc.constantFrom(2, 10),
    protocol: u16,
    address: fc.oneof(hex(16), hex(4)),
    port: u16,
    firewallMark: u32,
    scheduler: name,
    engine: name,
    flags: fc.record({ flags: u32, mask: u32 }),
    timeout: u32,
    netmask: hex(4),
    ...counted,
  },
  { requiredKeys: ['family'] },
);

const fields = {
  address: fc.oneof(hex(16), hex(4)),
  port: u16,
  forward: u32,
  weight: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  tunnelType: fc.integer({ min: 0, max: 0xff }),
  tunnelPort: u16,
  tunnelFlags: u16,
  upperThreshold: u32,
  lowerThreshold: u32,
  activeConnections: u32,
  inactiveConnections: u32,
  persistentConnections: u32,
  family: fc.constantFrom(2, 10),
  ...counted,
};
const tunnels = ['tunnelType', 'tunnelPort', 'tunnelFlags'] as const;
const always = Object.keys(fields).filter(
  key => !(tunnels as readonly string[]).includes(key),
) as (keyof typeof fields)[];
/** As a kernel answers, which lacks tunnels if it is old; and with attributes missing. */
const destination = fc.oneof(
  fc.record(fields, { requiredKeys: always }),
  fc.record(fields, { requiredKeys: ['address', 'port'] }),
);

function dumped(write: (writer: Writer) => void): Message {
  const bytes = message(0x20, 0, 1, writer => {
    genlmsghdr.write(writer, { cmd: 1, version: 1 });
    write(writer);
  });
  return messageAt(sourceOf(bytes), 0, bytes.length);
}

const inMessage = (value: unknown) => dumped(writer => commandTable.write(writer, value as WireCommand, NO_CONTEXT));
const byTable = ({ source, payload, end }: Message) => commandTable.read(source, payload + 4, end, NO_CONTEXT);

/** What is asked of a service or server that was read, whichever way. */
const serviceOf = (wire: WireCommand['service']) =>
  wire && [serviceId(wire), serviceSettings(wire), wire.engine, readService(wire)];
const destinationOf = (wire: WireCommand['destination']) =>
  wire && [destinationId(wire, 2), destinationSettings(wire), readDestination(wire, 2)];

test('the fast reader of services returns what the table returns', () => {
  fc.assert(
    fc.property(service, value => {
      const answer = inMessage({ service: value });
      expect(serviceOf(listedService(answer, true))).toEqual(serviceOf(byTable(answer)?.service));
      expect(serviceOf(listedService(answer, false))?.slice(0, 3)).toEqual(
        serviceOf(byTable(answer)?.service)?.slice(0, 3),
      );
    }),
  );
});

test('the fast reader of servers returns what the table returns', () => {
  fc.assert(
    fc.property(destination, value => {
      const answer = inMessage({ destination: value });
      expect(destinationOf(listedDestination(answer, true))).toEqual(destinationOf(byTable(answer)?.destination));
      expect(destinationOf(listedDestination(answer, false))?.slice(0, 2)).toEqual(
        destinationOf(byTable(answer)?.destination)?.slice(0, 2),
      );
    }),
  );
});

test('the fast reader treats malformed bytes as the table does', () => {
  const outcome = (read: () => unknown) => {
    try {
      return read();
    } catch (error) {
      return (error as Error).name;
    }
  };
  fc.assert(
    fc.property(
      fc.oneof(fc.record({ service }), fc.record({ destination })),
      fc.nat(),
      fc.nat({ max: 255 }),
      fc.nat({ max: 8 }),
      (value, at, byte, cut) => {
        const original = inMessage(value);
        const bytes = original.source.bytes.slice();
        const { payload } = original;
        bytes[payload + 4 + (at % Math.max(1, bytes.length - payload - 4))] = byte;
        const end = Math.max(payload + 4, original.end - cut);
        const changed: Message = { ...original, source: sourceOf(bytes), end };
        expect(outcome(() => serviceOf(listedService(changed, true)))).toEqual(
          outcome(() => serviceOf(byTable(changed)?.service)),
        );
        expect(outcome(() => destinationOf(listedDestination(changed, true)))).toEqual(
          outcome(() => destinationOf(byTable(changed)?.destination)),
        );
      },
    ),
    { numRuns: 2000 },
  );
});

test.each([
  ['service', serviceTable as AttributeTable<unknown>, listedService],
  ['destination', destinationTable as AttributeTable<unknown>, listedDestination],
] as const)('the fast reader knows every row of a %s', (nest, table, read) => {
  // Where a row is forgotten each dump is read by the table, and takes twenty times as long.
  const number = commandTable.fields.find(({ key }) => key === nest)!.number;
  const answer = dumped(writer => {
    const around = writer.beginNest(number);
    for (const field of table.fields) {
      const start = writer.beginAttribute(field.number);
      const inner = (field.type as AttributeTable<unknown>).fields;
      // The kernel's addresses have sixteen bytes.
      if (field.key === 'address') writer.zeros(16);
      else if (inner === undefined) writer.raw(new Encoder(new Random(5), 0).bytesOf(field.type));
      else {
        for (const each of inner) {
          const attribute = writer.beginAttribute(each.number);
          writer.raw(new Encoder(new Random(5), 0).bytesOf(each.type));
          writer.endAttribute(attribute);
        }
      }
      writer.endAttribute(start);
    }
    writer.endAttribute(around);
  });
  const byTheTable = vi.spyOn(commandTable, 'read');
  try {
    const found = read(answer, true);
    expect(byTheTable).not.toHaveBeenCalled();
    const counted = ['stats', 'stats64'];
    expect(Object.keys(found!).sort()).toEqual(
      ['counters', ...table.fields.map(({ key }) => key).filter(key => !counted.includes(key))].sort(),
    );
  } finally {
    byTheTable.mockRestore();
  }
});
