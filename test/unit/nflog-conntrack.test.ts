import { describe, expect, it } from 'vitest';
import { NO_CONTEXT, sourceOf, toHex, Writer } from '../../src/codec/index.ts';
import { flowTable } from '../../src/ctnetlink/tables.ts';
import * as C from '../../src/linux/nfnetlink_conntrack.ts';
import * as N from '../../src/linux/nfnetlink_log.ts';
import { packetOf, type Raw, writeAttributes } from '../support/nflog-message.ts';

const tuple4 = (source: string, destination: string, ports: string): Raw[] => [
  [
    C.CTA_TUPLE_IP,
    [
      [C.CTA_IP_V4_SRC, source],
      [C.CTA_IP_V4_DST, destination],
    ],
  ],
  [
    C.CTA_TUPLE_PROTO,
    [
      [C.CTA_PROTO_NUM, '06'],
      [C.CTA_PROTO_SRC_PORT, ports.slice(0, 4)],
      [C.CTA_PROTO_DST_PORT, ports.slice(4)],
    ],
  ],
];

/** 10.0.0.1:4660 to 10.0.0.9:80, which is redirected to 10.0.0.2:8080. */
const REDIRECTED: Raw[] = [
  [C.CTA_TUPLE_ORIG, tuple4('0a000001', '0a000009', '12340050')],
  [C.CTA_TUPLE_REPLY, tuple4('0a000002', '0a000001', '1f901234')],
  [C.CTA_ID, 'deadbeef'],
  [C.CTA_STATUS, '000001ae'],
  [C.CTA_TIMEOUT, '00000078'],
  [
    C.CTA_PROTOINFO,
    [
      [
        C.CTA_PROTOINFO_TCP,
        [
          [C.CTA_PROTOINFO_TCP_STATE, '01'],
          [C.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, '0a'],
          [C.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, '0300'],
          [77, '01'],
        ],
      ],
    ],
  ],
  [C.CTA_MARK, '0000002a'],
];

const conntrack = (attributes: Raw[], info = 2) =>
  packetOf([
    [N.NFULA_SEQ, '00000007'],
    [N.NFULA_CT, attributes],
    [N.NFULA_CT_INFO, info.toString(16).padStart(8, '0')],
  ]).conntrack;

describe('the connection of a packet', () => {
  it('has its tuples, state, mark, NAT and protocol details', () => {
    expect(conntrack(REDIRECTED)).toEqual({
      state: 'new',
      direction: 'original',
      id: 0xdeadbeef,
      original: {
        source: '10.0.0.1',
        destination: '10.0.0.9',
        protocol: 'tcp',
        sourcePort: 0x1234,
        destinationPort: 80,
      },
      reply: {
        source: '10.0.0.2',
        destination: '10.0.0.1',
        protocol: 'tcp',
        sourcePort: 8080,
        destinationPort: 0x1234,
      },
      destinationNat: { address: '10.0.0.2', port: 8080 },
      status: ['seen-reply', 'assured', 'confirmed', 'destination-nat', 'source-nat-done', 'destination-nat-done'],
      timeoutSeconds: 120,
      mark: 42,
      tcp: {
        state: 'syn-sent',
        originalWindowScale: 10,
        originalFlags: '0300',
        unknown: [{ type: 77, bytes: '01' }],
      },
    });
  });

  it('arrives with the number of the packet', () => {
    const packet = packetOf([
      [N.NFULA_SEQ, '00000007'],
      [N.NFULA_CT, REDIRECTED],
      [N.NFULA_CT_INFO, '00000002'],
    ]);
    expect([packet.sequence, packet.conntrack?.id]).toEqual([7, 0xdeadbeef]);
    expect(packet.copy().conntrack).toEqual(packet.conntrack);
  });

  it.each([
    [0, 'established', 'original'],
    [1, 'related', 'original'],
    [2, 'new', 'original'],
    [3, 'established', 'reply'],
    [4, 'related', 'reply'],
    [7, 7, 'reply'],
  ])('has for NFULA_CT_INFO %i the state %s and the direction %s', (info, state, direction) => {
    expect(conntrack([], info)).toEqual({ state, direction, status: [], mark: 0 });
  });

  it('has fields of newer kernels, and keeps unknown ones', () => {
    expect(
      conntrack([
        [
          C.CTA_COUNTERS_ORIG,
          [
            [C.CTA_COUNTERS_PACKETS, '0000000000000003'],
            [C.CTA_COUNTERS_BYTES, '00000000000000b4'],
          ],
        ],
        [C.CTA_TIMESTAMP, [[C.CTA_TIMESTAMP_START, '17979cfe362a0000']]],
        [C.CTA_ZONE, '0007'],
        [C.CTA_LABELS, '00000000000000000000000000000001'],
        [C.CTA_HELP, [[C.CTA_HELP_NAME, '66747000']]],
        [C.CTA_SECCTX, [[C.CTA_SECCTX_NAME, '6100']]],
        [C.CTA_TUPLE_MASTER, tuple4('0a000001', '0a000009', '12340015')],
        [C.CTA_SEQ_ADJ_ORIG, [[C.CTA_SEQADJ_CORRECTION_POS, '00000001']]],
        [C.CTA_STATUS, '80000001'],
        [99, 'abcd'],
      ]),
    ).toEqual({
      state: 'new',
      direction: 'original',
      status: ['expected', 0x80000000],
      mark: 0,
      counters: { original: { packets: 3n, bytes: 180n } },
      startedAtMicroseconds: 1_700_000_000_000_000,
      zone: 7,
      labels: '00000000000000000000000000000001',
      helper: 'ftp',
      securityContext: 'a',
      master: expect.objectContaining({ destinationPort: 21 }),
      originalAdjustment: { position: 1 },
      unknown: [{ type: 99, bytes: 'abcd' }],
    });
  });

  it('has addresses of IPv6 and types of ICMP, and a number for a protocol without a name', () => {
    const v6 = (protocol: Raw[]): Raw[] => [
      [
        C.CTA_TUPLE_IP,
        [
          [C.CTA_IP_V6_SRC, 'fd000000000000000000000000000001'],
          [C.CTA_IP_V6_DST, 'fd000000000000000000000000000002'],
        ],
      ],
      [C.CTA_TUPLE_PROTO, protocol],
      [C.CTA_TUPLE_ZONE, '0003'],
    ];
    const icmp: Raw[] = [
      [C.CTA_PROTO_NUM, '3a'],
      [C.CTA_PROTO_ICMPV6_ID, '0009'],
      [C.CTA_PROTO_ICMPV6_TYPE, '80'],
      [C.CTA_PROTO_ICMPV6_CODE, '00'],
    ];
    expect(conntrack([[C.CTA_TUPLE_ORIG, v6(icmp)]])?.original).toEqual({
      source: 'fd00::1',
      destination: 'fd00::2',
      protocol: 'icmpv6',
      icmpId: 9,
      icmpType: 128,
      icmpCode: 0,
      zone: 3,
    });
    expect(conntrack([[C.CTA_TUPLE_ORIG, v6([[C.CTA_PROTO_NUM, 'fe']])]])?.original?.protocol).toBe(254);
  });

  it('has with source NAT the address that the sender was given', () => {
    const masqueraded: Raw[] = [
      [C.CTA_TUPLE_ORIG, tuple4('ac110002', '08080808', 'a0000035')],
      [C.CTA_TUPLE_REPLY, tuple4('08080808', 'c0a80105', '0035b000')],
      [C.CTA_STATUS, '00000010'],
    ];
    expect(conntrack(masqueraded)?.sourceNat).toEqual({ address: '192.168.1.5', port: 0xb000 });
  });

  it('is absent where it is malformed, and harms nothing else', () => {
    const packet = packetOf([
      [N.NFULA_MARK, '00000001'],
      [N.NFULA_CT, 'ffff0100'],
      [N.NFULA_CT_INFO, '00000000'],
    ]);
    expect([packet.conntrack, packet.mark]).toEqual([undefined, 1]);
    expect(packetOf([[N.NFULA_CT, REDIRECTED]]).conntrack).toBeUndefined();
    expect(packetOf([]).conntrack).toBeUndefined();
  });

  it('is written back as it was read', () => {
    const writer = new Writer();
    writeAttributes(writer, REDIRECTED);
    const source = sourceOf(writer.copy());
    const value = flowTable.read(source, 0, source.bytes.length, NO_CONTEXT)!;
    const again = new Writer();
    flowTable.write(again, value, NO_CONTEXT);
    const own = sourceOf(again.copy());
    expect(flowTable.read(own, 0, own.bytes.length, NO_CONTEXT)).toEqual(value);
    expect(again.length).toBe(writer.length);
    expect(toHex(own.bytes)).toContain('deadbeef');
  });

  it('is printed as JSON, counters included', () => {
    const packet = packetOf([
      [N.NFULA_CT, [[C.CTA_COUNTERS_REPLY, [[C.CTA_COUNTERS_BYTES, 'ffffffffffffffff']]]]],
      [N.NFULA_CT_INFO, '00000000'],
    ]);
    expect(JSON.parse(JSON.stringify(packet)).conntrack.counters).toEqual({ reply: { bytes: '18446744073709551615' } });
  });
});
