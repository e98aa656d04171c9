import { sourceOf, Writer } from '../../src/codec/index.ts';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { Packet, type Receipt } from '../../src/nflog/packet.ts';

/** An attribute: its number, and its bytes in hex or the attributes inside. */
export type Raw = readonly [type: number, value: string | Uint8Array | readonly Raw[]];

export function writeAttributes(writer: Writer, attributes: readonly Raw[]): void {
  for (const [type, value] of attributes) {
    const start = writer.beginAttribute(type);
    if (typeof value === 'string') writer.raw(Buffer.from(value.replace(/[\s:]/g, ''), 'hex'));
    else if (value instanceof Uint8Array) writer.raw(value);
    else writeAttributes(writer, value as readonly Raw[]);
    writer.endAttribute(start);
  }
}

export const RECEIPT: Receipt = {
  microseconds: 1_700_000_000_250_000,
  devices: { nameOf: index => (index < 100 ? `eth${index}` : undefined), typeOf: () => 1 },
};

export interface Message {
  family?: number;
  group?: number;
  attributes: readonly Raw[];
}

/** A datagram of messages, each behind its nlmsghdr, and the place of what stands behind each of these. */
export function datagramOf(messages: readonly Message[]): { bytes: Uint8Array; places: (readonly [number, number])[] } {
  const writer = new Writer();
  const places = messages.map(({ family = 2, group = 5, attributes }) => {
    const start = writer.length;
    writer.zeros(16);
    writer.u8(family);
    writer.u8(0);
    writer.u16(group, false);
    writeAttributes(writer, attributes);
    writer.view.setUint32(start, writer.length - start, true);
    writer.view.setUint16(start + 4, 0x400, true);
    return [start + 16, writer.length] as const;
  });
  return { bytes: writer.copy(), places };
}

/** Packets as a datagram brings them. */
export function packetsOf(messages: readonly Message[], receipt = RECEIPT): Packet[] {
  const { bytes, places } = datagramOf(messages);
  const source = sourceOf(bytes);
  return places.map(([start, end]) => new Packet(source, start, end, receipt));
}

export const packetOf = (attributes: readonly Raw[], family = 2, group = 5, receipt = RECEIPT): Packet =>
  packetsOf([{ family, group, attributes }], receipt)[0]!;

/* Packets recorded on a loopback device. */
export const TCP_SYN =
  '4500003c01654000 40063b55 7f000001 7f000001 a40c0001 5eb7d2a4 00000000 a002ffd7 fe300000 0204ffd7 0402080a 00000000 00000000 0103030a';
export const UDP = '45000022868740004011b6417f0000017f000001d9aa270f000efe2168656c6c6f0a';

/** The attributes that most packets have. */
export const usual = (sequence: number, payload = UDP, hook = 1): Raw[] => [
  [C.NFULA_PACKET_HDR, `0800 0${hook} 00`],
  [C.NFULA_PREFIX, `${Buffer.from('web1 ').toString('hex')}00`],
  [hook === 3 ? C.NFULA_IFINDEX_OUTDEV : C.NFULA_IFINDEX_INDEV, '00000001'],
  ...(hook === 3 ? [] : ([[C.NFULA_TIMESTAMP, '000000006553f100 000000000001e240']] as Raw[])),
  [C.NFULA_SEQ, sequence.toString(16).padStart(8, '0')],
  [C.NFULA_PAYLOAD, payload],
];

/** What a log does when nobody takes its packets: it stops reading, and begins again. */
export function packetFlow() {
  const flow = {
    on: false,
    start() {
      flow.on = true;
    },
    stop() {
      flow.on = false;
    },
  };
  return flow;
}
