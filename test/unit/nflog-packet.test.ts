import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_CONTEXT, type Source, sourceOf, toHex, view, Writer } from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { formatHardware } from '../../src/nflog/address.ts';
import { PacketScan, packetTable } from '../../src/nflog/attributes.ts';
import { NFGENMSG_LENGTH, Packet } from '../../src/nflog/packet.ts';

const devices = { nameOf: (index: number) => (index === 1 ? 'lo' : undefined) };
const receipt = { microseconds: 1_700_000_000_000_000, devices };

const wordsOf = ({ bytes }: Source) => new Int32Array(bytes.buffer, 0, bytes.length >> 2);

interface Raw {
  type: number;
  bytes: Uint8Array;
}

/** An nfgenmsg and attributes, somewhere inside a larger buffer. */
function message(family: number, group: number, attributes: Raw[]) {
  const writer = new Writer();
  writer.zeros(12);
  writer.u8(family);
  writer.u8(0);
  writer.u16(group, false);
  for (const { type, bytes } of attributes) {
    const start = writer.beginAttribute(type);
    writer.raw(bytes);
    writer.endAttribute(start);
  }
  const end = writer.length;
  writer.raw(new Uint8Array(8).fill(0xff));
  const source = sourceOf(writer.copy());
  return { source, start: 12, end, packet: new Packet(source, 12, end, receipt) };
}

const SIZES: Record<number, number[]> = {
  [C.NFULA_PACKET_HDR]: [4, 6],
  [C.NFULA_MARK]: [4],
  [C.NFULA_TIMESTAMP]: [16, 20],
  [C.NFULA_IFINDEX_INDEV]: [4],
  [C.NFULA_IFINDEX_OUTDEV]: [4],
  [C.NFULA_IFINDEX_PHYSINDEV]: [4],
  [C.NFULA_IFINDEX_PHYSOUTDEV]: [4],
  [C.NFULA_HWADDR]: [12, 16],
  [C.NFULA_UID]: [4],
  [C.NFULA_SEQ]: [4],
  [C.NFULA_GID]: [4],
  [C.NFULA_HWTYPE]: [2],
};

const payload = (type: number) => {
  const usual = (SIZES[type] ?? []).map(size => fc.uint8Array({ minLength: size, maxLength: size }));
  return fc.oneof(fc.uint8Array({ maxLength: 40 }), ...usual.map(arbitrary => ({ arbitrary, weight: 4 })));
};
const tag = fc.record({ protocol: fc.nat(0xffff), tci: fc.nat(0xffff) }).map(({ protocol, tci }) => {
  const writer = new Writer();
  for (const [type, value] of [
    [C.NFULA_VLAN_TCI, tci],
    [C.NFULA_VLAN_PROTO, protocol],
  ] as const) {
    const start = writer.beginAttribute(type);
    writer.u16(value, false);
    writer.endAttribute(start);
  }
  return writer.copy();
});
const attribute: fc.Arbitrary<Raw> = fc
  .record({ number: fc.integer({ min: 0, max: 24 }), flags: fc.constantFrom(0, 0, 0x8000, 0x4000) })
  .chain(({ number, flags }) =>
    (number === C.NFULA_VLAN ? fc.oneof(tag, payload(number)) : payload(number)).map(bytes => ({
      type: number | flags,
      bytes,
    })),
  );

/** The fields of the table's object, as the view has them. */
function asView(value: NonNullable<ReturnType<typeof packetTable.read>>) {
  const { header, timestampMicroseconds: timestamp, hardwareAddress: hardware, vlan } = value;
  const name = (index: number | undefined) =>
    index === undefined ? undefined : (devices.nameOf(index) ?? `if${index}`);
  return {
    etherType: header?.hw_protocol,
    mark: value.mark ?? 0,
    timestampMicroseconds: timestamp && Number(timestamp.sec) * 1_000_000 + Number(timestamp.usec),
    inDeviceIndex: value.inDeviceIndex,
    inDevice: name(value.inDeviceIndex),
    outDeviceIndex: value.outDeviceIndex,
    outDevice: name(value.outDeviceIndex),
    physInDeviceIndex: value.physInDeviceIndex,
    physInDevice: name(value.physInDeviceIndex),
    physOutDeviceIndex: value.physOutDeviceIndex,
    physOutDevice: name(value.physOutDeviceIndex),
    hardwareAddress:
      hardware &&
      formatHardware(
        Buffer.from(hardware.hw_addr, 'hex'),
        0,
        Math.min(hardware.hw_addrlen, hardware.hw_addr.length / 2),
      ),
    hardwareType: value.hardwareType,
    linkHeader: value.linkHeader ?? value.hardwareHeader,
    prefix: value.prefix ?? '',
    uid: value.uid,
    gid: value.gid,
    sequence: value.sequence,
    vlan:
      vlan?.protocol === undefined || vlan.tci === undefined
        ? undefined
        : {
            protocol: vlan.protocol,
            id: vlan.tci & 0xfff,
            priority: vlan.tci >> 13,
            dropEligible: (vlan.tci & 0x1000) !== 0,
          },
    payload: value.payload ?? '',
  };
}

function fieldsOf(packet: Packet) {
  const { linkHeader } = packet;
  return {
    etherType: packet.etherType,
    mark: packet.mark,
    timestampMicroseconds: packet.timestampMicroseconds,
    inDeviceIndex: packet.inDeviceIndex,
    inDevice: packet.inDevice,
    outDeviceIndex: packet.outDeviceIndex,
    outDevice: packet.outDevice,
    physInDeviceIndex: packet.physInDeviceIndex,
    physInDevice: packet.physInDevice,
    physOutDeviceIndex: packet.physOutDeviceIndex,
    physOutDevice: packet.physOutDevice,
    hardwareAddress: packet.hardwareAddress,
    hardwareType: packet.hardwareType,
    linkHeader: linkHeader && toHex(linkHeader),
    prefix: packet.prefix,
    uid: packet.uid,
    gid: packet.gid,
    sequence: packet.sequence,
    vlan: packet.vlan,
    payload: toHex(packet.payload),
  };
}

describe('a packet', () => {
  it('has the fields that the table of attributes reads', () => {
    const scan = new PacketScan();
    fc.assert(
      fc.property(fc.nat(12), fc.nat(0xffff), fc.array(attribute, { maxLength: 16 }), (family, group, all) => {
        // Of two tags whose first lies about its inside the table takes the second, the view none.
        const tags = all.filter(({ type }) => (type & 0x3fff) === C.NFULA_VLAN);
        const attributes = all.filter(raw => !tags.includes(raw) || raw === tags[0]);
        const { source, start, end, packet } = message(family, group, attributes);
        const value = packetTable.read(source, start + NFGENMSG_LENGTH, end, NO_CONTEXT)!;
        expect(fieldsOf(packet)).toEqual(asView(value));
        expect(packet.group).toBe(group);
        expect(fieldsOf(packet.copy())).toEqual(fieldsOf(packet));
        scan.walk(wordsOf(source), start + NFGENMSG_LENGTH, end);
        expect(scan.sequence === 0 ? undefined : source.view.getUint32(scan.sequence)).toBe(value.sequence);
      }),
      { numRuns: 2000 },
    );
  });

  it('has its number and its time where a view finds them, whatever the bytes are, and whatever was looked at before', () => {
    const [sequence, timestamp] = [
      view(packetTable, { sequence: ['sequence'] }),
      view(packetTable, { timestamp: ['timestampMicroseconds'] }),
    ];
    /** Lengths and numbers that are often right. */
    const halves = fc.oneof(fc.constantFrom(0, 1, 3, 4, 5, 7, 8, 12, 16, 20, 0x400c, 0x800c, 0xffff), fc.nat(0xffff));
    const time = fc.constant([20, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    const number = fc.constant([8, 12, 0, 7]);
    const mark = fc.constant([8, 2, 0, 7]);
    const odd = fc.constant([5, 10, 0, 0]);
    const shaped = fc.array(fc.oneof(time, number, mark, odd, fc.array(halves, { maxLength: 4 })), { maxLength: 8 });
    const bytes = fc.oneof(
      fc.array(halves, { maxLength: 40 }),
      shaped.map(parts => parts.flat()),
    );
    const one = new PacketScan();
    fc.assert(
      fc.property(fc.array(fc.tuple(bytes, fc.nat(3)), { minLength: 1, maxLength: 4 }), packets => {
        for (const [all, less] of [...packets, ...packets]) {
          const source = sourceOf(new Uint8Array(Uint16Array.from(all).buffer));
          const end = Math.max(0, source.bytes.length - less);
          one.walk(wordsOf(source), 0, end);
          expect([one.sequence, one.timestamp]).toEqual([
            sequence.find(source, 0, end),
            timestamp.find(source, 0, end),
          ]);
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('is not mixed with another that is read in turns with it', () => {
    const mark = (value: number) => [{ type: C.NFULA_MARK, bytes: new Uint8Array([0, 0, 0, value]) }];
    const one = message(2, 1, mark(1)).packet;
    const two = message(2, 2, mark(2)).packet;
    const none = message(2, 3, []).packet;
    expect([one.mark, two.mark, none.mark, one.mark, none.mark]).toEqual([1, 2, 0, 1, 0]);
  });

  it('never throws and never reads past its end, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 200 }),
        fc.constantFrom(0, 2, 3, 5, 7, 10),
        (bytes, family) => {
          bytes[0] = family;
          const around = new Uint8Array(bytes.length + 64).fill(0xee);
          around.set(bytes, 32);
          const packet = new Packet(sourceOf(around), 32, 32 + bytes.length, receipt);
          const alone = new Packet(sourceOf(bytes.slice()), 0, bytes.length, receipt);
          expect(packet.toJSON()).toEqual(alone.toJSON());
          expect(packet.summary()).toBe(alone.summary());
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('has the fields before an attribute with a wrong length', () => {
    const { source, start, end } = message(2, 1, [
      { type: C.NFULA_MARK, bytes: new Uint8Array([0, 0, 0, 9]) },
      { type: C.NFULA_UID, bytes: new Uint8Array(4) },
    ]);
    source.view.setUint16(end - 8, 100, true);
    const packet = new Packet(source, start, end, receipt);
    expect(packet.mark).toBe(9);
    expect(packet.uid).toBeUndefined();
    expect(() => packetTable.read(source, start + NFGENMSG_LENGTH, end, NO_CONTEXT)).toThrow(DecodeError);
  });

  it('names families and hooks, and keeps numbers without a name', () => {
    const at = (family: number, hook: number) => {
      const { packet } = message(family, 0, [{ type: C.NFULA_PACKET_HDR, bytes: new Uint8Array([8, 0, hook, 0]) }]);
      return [packet.family, packet.hook];
    };
    expect(at(2, 1)).toEqual(['ip', 'input']);
    expect(at(10, 4)).toEqual(['ip6', 'postrouting']);
    expect(at(3, 1)).toEqual(['arp', 'output']);
    expect(at(5, 0)).toEqual(['netdev', 'ingress']);
    expect(at(5, 1)).toEqual(['netdev', 'egress']);
    expect(at(7, 5)).toEqual(['bridge', 'brouting']);
    expect(at(2, 5)).toEqual(['ip', 'ingress']);
    expect(at(12, 9)).toEqual([12, 9]);
    expect(message(2, 0, []).packet.hook).toBeUndefined();
  });

  it('decodes a prefix that is not UTF-8, up to its NUL', () => {
    const prefix = (...bytes: number[]) =>
      message(2, 0, [{ type: C.NFULA_PREFIX, bytes: new Uint8Array(bytes) }]).packet.prefix;
    expect(prefix(0x61, 0)).toBe('a');
    expect(prefix(0)).toBe('');
    expect(prefix(0x61, 0xff, 0x62, 0, 0x63)).toBe('a\ufffdb');
    expect(prefix(0xc3, 0xa9, 0)).toBe('é');
  });

  it('copies only its own bytes', () => {
    const { packet, source } = message(2, 5, [{ type: C.NFULA_PAYLOAD, bytes: new Uint8Array([1, 2, 3]) }]);
    expect(packet.payload.buffer).toBe(source.bytes.buffer);
    expect(packet.copy().payload.buffer.byteLength).toBe(4 + 8);
    expect([...packet.copy().payload]).toEqual([1, 2, 3]);
  });

  it('is inspected as a plain object', () => {
    const { packet } = message(2, 5, [{ type: C.NFULA_PAYLOAD, bytes: new Uint8Array([1, 2]) }]);
    const { microseconds } = receipt;
    const plain = {
      group: 5,
      family: 'ip',
      prefix: '',
      mark: 0,
      receivedAtMicroseconds: microseconds,
      payload: '0102',
    };
    expect(JSON.parse(JSON.stringify(packet))).toEqual(plain);
    expect(inspect(packet)).toContain("payload: '0102'");
  });
});
