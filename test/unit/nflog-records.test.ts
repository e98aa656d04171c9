import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import * as CT from '../../src/linux/nfnetlink_conntrack.ts';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { PacketBatch } from '../../src/nflog/batch.ts';
import type { Loss, Packet, RecordLogger, RecordOptions } from '../../src/nflog/index.ts';
import { Delivery } from '../../src/nflog/sinks/delivery.ts';
import { RecordSink } from '../../src/nflog/sinks/records.ts';
import { refuseControl } from '../support/fuzz/judge.ts';
import { packetOf, type Raw, RECEIPT, TCP_SYN, usual } from '../support/nflog-message.ts';

function setUp(options: RecordOptions = {}, logger?: RecordLogger, name: string | undefined = 'web1') {
  const lines: Record<string, unknown>[] = [];
  const own = pino({ base: null, timestamp: false, level: 'trace' }, { write: line => lines.push(JSON.parse(line)) });
  const delivery = new Delivery({ packets: 10, when: 'leave-to-kernel' }, { start() {}, stop() {} });
  const deaf: ((loss: Loss) => void)[] = [];
  const sink = new RecordSink(logger ?? own, options, { name, netns: 4026532000 }).attach({
    attach: consumer => delivery.attach(consumer),
    onLoss: handler => {
      deaf.push(handler);
      return () => void deaf.splice(deaf.indexOf(handler), 1);
    },
  });
  const lose = (loss: Loss) => {
    for (const handler of deaf) handler(loss);
  };
  return { lines, delivery, sink, lose, deaf };
}

const one = (packet: Packet, options: RecordOptions = {}) => {
  const { lines, delivery } = setUp(options);
  delivery.take(PacketBatch.of([packet]));
  return lines[0];
};

const CONNECTION: Raw = [
  C.NFULA_CT,
  [
    [
      CT.CTA_TUPLE_ORIG,
      [
        [
          CT.CTA_TUPLE_IP,
          [
            [CT.CTA_IP_V4_SRC, '0a000001'],
            [CT.CTA_IP_V4_DST, '0a000009'],
          ],
        ],
      ],
    ],
    [
      CT.CTA_TUPLE_REPLY,
      [
        [
          CT.CTA_TUPLE_IP,
          [
            [CT.CTA_IP_V4_SRC, '0a000002'],
            [CT.CTA_IP_V4_DST, '0a000001'],
          ],
        ],
      ],
    ],
    [CT.CTA_STATUS, '00000020'],
    [CT.CTA_ID, '00000007'],
    [99, '00'],
  ],
];
const WHOLE: Raw[] = [
  ...usual(3, TCP_SYN),
  [C.NFULA_MARK, '0000002a'],
  [C.NFULA_UID, '000003e8'],
  [C.NFULA_GID, '00000064'],
  [C.NFULA_HWADDR, '00060000 0242ac110002 0000'],
  [C.NFULA_HWHEADER, '0242ac110003 0242ac110002 0800'],
  [C.NFULA_CT_INFO, '00000002'],
  CONNECTION,
];

describe('records of packets', () => {
  it('have the fields of a packet and of its container', () => {
    expect(one(packetOf(WHOLE))).toEqual({
      level: 30,
      msg: 'packet',
      container: 'web1',
      netns: 4026532000,
      group: 5,
      hook: 'input',
      prefix: 'web1 ',
      inDevice: 'eth1',
      protocol: 'tcp',
      source: '127.0.0.1',
      sourcePort: 41996,
      destination: '127.0.0.1',
      destinationPort: 1,
      tcpFlags: 'SYN',
      length: 60,
      mark: 42,
      receiverUid: 1000,
      timestampMicroseconds: 1_700_000_000_123_456,
      conntrack: {
        id: 7,
        state: 'new',
        direction: 'original',
        status: ['destination-nat'],
        mark: 0,
        original: { source: '10.0.0.1', destination: '10.0.0.9' },
        reply: { source: '10.0.0.2', destination: '10.0.0.1' },
        destinationNat: { address: '10.0.0.2' },
      },
    });
  });

  it('never show the user of a receiving socket as the sender', () => {
    const sides: Record<number, Record<number, 'sender' | 'receiver'>> = {
      2: { 0: 'receiver', 1: 'receiver', 3: 'sender', 4: 'sender', 5: 'sender' },
      10: { 0: 'receiver', 1: 'receiver', 3: 'sender', 4: 'sender', 5: 'sender' },
      3: { 1: 'sender' },
      5: { 0: 'sender', 1: 'sender' },
      7: { 0: 'sender', 1: 'sender', 2: 'sender', 3: 'sender', 4: 'sender', 5: 'sender' },
    };
    for (const family of [2, 3, 5, 7, 10]) {
      for (let hook = 0; hook < 8; hook++) {
        const etherType = family === 10 ? '86dd' : '0800';
        const packet = packetOf(
          [
            [C.NFULA_PACKET_HDR, `${etherType} 0${hook} 00`],
            [C.NFULA_UID, '000003e8'],
            [C.NFULA_GID, '00000064'],
            [C.NFULA_PAYLOAD, TCP_SYN],
          ],
          family,
        );
        const side = sides[family]![hook];
        const where = `family ${family}, hook ${hook}`;
        // Bridge's brouting is a name too.
        if (!(family === 7 && hook > 5)) expect(packet.socketSide, where).toBe(side ?? 'unknown');
        const sent = packet.socketSide === 'sender';
        const fields = ['uid', 'gid', 'receiverUid', 'receiverGid', 'summary'] as const;
        const record = one(packet, { fields });
        expect(record?.uid, where).toBe(sent ? 1000 : undefined);
        expect(record?.gid, where).toBe(sent ? 100 : undefined);
        expect(record?.receiverUid, where).toBe(side === 'receiver' ? 1000 : undefined);
        expect(record?.receiverGid, where).toBe(side === 'receiver' ? 100 : undefined);
        for (const line of [packet.summary(), String(record?.summary)])
          if (!sent) expect(line, where).not.toMatch(/[UG]ID=/);
        if (sent && family === 2) expect(packet.summary(), where).toMatch(/ UID=1000 GID=100$/);
        expect(packet.toJSON().socketSide).toBe(packet.socketSide);
      }
    }
    expect(packetOf(usual(0)).socketSide).toBeUndefined();
  });

  it('have the requested level and fields', () => {
    const fields = ['container', 'sequence', 'gid', 'ttl', 'family', 'summary', 'payload', 'headers'] as const;
    expect(one(packetOf(usual(3, TCP_SYN)), { level: 'warn', fields })).toEqual({
      level: 40,
      msg: 'packet',
      container: 'web1',
      sequence: 3,
      ttl: 64,
      family: 'ip',
      summary: expect.stringMatching(/^web1 IN=eth1 OUT= MAC= SRC=127\.0\.0\.1 .* SYN URGP=0$/),
      payload: TCP_SYN.replaceAll(' ', ''),
      headers: expect.objectContaining({ protocol: 'tcp', id: 357 }),
    });
    expect(one(packetOf(usual(3)), { fields: [] })).toEqual({ level: 30, msg: 'packet' });
  });

  it('have no addresses where the packet is not IP, and the protocol arp for ARP', () => {
    const arp = '0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002';
    const header: Raw = [C.NFULA_PACKET_HDR, '0806 0000'];
    expect(one(packetOf([header, [C.NFULA_PAYLOAD, arp]], 3))).toMatchObject({
      protocol: 'arp',
      source: '10.0.0.1',
      destination: '10.0.0.2',
    });
    const strange: Raw = [C.NFULA_PACKET_HDR, '88cc 0000'];
    expect(one(packetOf([strange], 5))).toEqual({
      level: 30,
      msg: 'packet',
      container: 'web1',
      netns: 4026532000,
      group: 5,
      hook: 'ingress',
    });
  });

  it('name the rule where the log knows it', () => {
    const receipt = { ...RECEIPT, ruleOf: (prefix: string, group: number) => ({ id: `${prefix}${group}` }) };
    expect(one(packetOf(usual(0), 2, 5, receipt))).toMatchObject({ rule: { id: 'web1 5' } });
  });

  it('have the level of a rule or of a function, and end with ERR_OUT_OF_RANGE where that is unknown', async () => {
    const receipt = (rule: unknown) => ({ ...RECEIPT, ruleOf: () => rule });
    const packet = (rule: unknown) => packetOf(usual(0), 2, 5, receipt(rule));
    const level = (rule: unknown, options: RecordOptions = {}) => one(packet(rule), { fields: [], ...options })?.level;
    expect(level({ level: 'error' })).toBe(50);
    // What a container wrote may be anything.
    for (const rule of [{ level: 'loud' }, { level: 5 }, { level: 'toString' }, 'error', null, undefined])
      expect(level(rule)).toBe(30);
    expect(level({ level: 'error' }, { level: 'debug' })).toBe(20);
    expect(level({ level: 'error' }, { level: () => undefined })).toBe(50);
    expect(level({ level: 'error' }, { level: () => 'trace' })).toBe(10);
    expect(one(packet({ name: 'a\u202eb', prefix: 'p' }))).toMatchObject({ ruleName: 'a\\u202eb' });
    expect(one(packet('text'))).toMatchObject({ ruleName: 'text' });
    expect(one(packet({ name: 5, prefix: ' in: ' }))).toMatchObject({ ruleName: 'in:' });
    expect(one(packet({ prefix: ' ' }))?.ruleName).toBeUndefined();

    const ended = async (options: RecordOptions, logger?: RecordLogger) => {
      const { delivery, sink } = setUp(options, logger);
      const other = delivery.iterate();
      delivery.take(PacketBatch.of([packet(undefined)]));
      expect((await other.next()).done).toBe(false);
      return sink.finished.catch((error: unknown) => error);
    };
    expect(await ended({ level: () => 'loud' as 'info' })).toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
      attribute: 'level',
    });
    expect(
      await ended({
        level: () => {
          throw new Error('mine');
        },
      }),
    ).toMatchObject({ message: 'mine' });
    const few = { debug() {}, info() {}, warn() {}, error() {} };
    expect(await ended({ level: () => 'fatal' }, few)).toMatchObject({ attribute: 'logger.fatal' });
    const quiet = { ...few, isLevelEnabled: (name: string) => name !== 'debug' };
    let made = 0;
    const counted = { ...quiet, debug: () => void made++, warn: () => void made++ };
    const { delivery } = setUp({ level: (rule: unknown) => rule as 'debug' }, counted);
    delivery.take(PacketBatch.of([packet('debug'), packet('warn')]));
    expect(made).toBe(1);
  });

  it('have the texts of containers escaped, since pino does not', () => {
    const lines: string[] = [];
    const own = pino({ base: null, timestamp: false }, { write: line => lines.push(line) });
    const { delivery, lose } = setUp({}, own as unknown as RecordLogger, 'web\u202e');
    const prefix = Buffer.from('\u009b2J\u202ea\u200b').toString('hex');
    const devices = { nameOf: () => 'eth\u2066\u009c' };
    const others = usual(0).filter(([type]) => type !== C.NFULA_PREFIX);
    delivery.take(PacketBatch.of([packetOf([...others, [C.NFULA_PREFIX, prefix]], 2, 5, { ...RECEIPT, devices })]));
    lose({ kind: 'datagrams', count: 1 });
    expect(lines.map(line => JSON.parse(line))).toMatchObject([
      { container: 'web\\u202e', prefix: '\\x9b2J\\u202ea\\u200b', inDevice: 'eth\\u2066\\x9c' },
      { container: 'web\\u202e' },
    ]);
    for (const line of lines) refuseControl(line);
  });

  it('are warnings for losses', () => {
    const { lines, lose, sink, deaf } = setUp();
    lose({ kind: 'packets', group: 5, count: 3 });
    lose({ kind: 'datagrams', count: 1 });
    const common = { level: 40, container: 'web1', netns: 4026532000, msg: 'packets were lost' };
    expect(lines).toEqual([
      { ...common, group: 5, lostPackets: 3 },
      { ...common, lostDatagrams: 1 },
    ]);
    sink.endWith();
    expect(deaf).toEqual([]);
  });

  it('end, and do not begin where the level is off', async () => {
    const { lines, delivery, sink } = setUp();
    delivery.take(PacketBatch.of([packetOf(usual(0))]));
    await sink.end();
    await sink[Symbol.asyncDispose]();
    delivery.take(PacketBatch.of([packetOf(usual(1))]));
    expect([lines.length, sink.packets]).toEqual([1, 1]);
    let made = 0;
    const quiet: RecordLogger = {
      debug() {},
      info: () => void made++,
      warn() {},
      error() {},
      isLevelEnabled: level => level !== 'info',
    };
    const off = setUp({}, quiet);
    off.delivery.take(PacketBatch.of([packetOf(usual(0))]));
    expect(made).toBe(0);
  });

  it('end with the error of a logger that throws, and the log continues', async () => {
    const broken: RecordLogger = {
      debug() {},
      info() {
        throw new Error('disk full');
      },
      warn() {},
      error() {},
    };
    const { delivery, sink } = setUp({}, broken);
    const loop = delivery.iterate();
    delivery.take(PacketBatch.of([packetOf(usual(0)), packetOf(usual(1))]));
    await expect(sink.finished).rejects.toThrow('disk full');
    expect((await loop.next()).value?.sequence).toBe(0);
    expect(sink.packets).toBe(0);
  });

  it.each([
    [{ level: 'loud' }, 'ERR_OUT_OF_RANGE', 'level'],
    [{ fields: 'source' }, 'ERR_INVALID_ARG_TYPE', 'fields'],
    [{ fields: ['source', 'colour'] }, 'ERR_OUT_OF_RANGE', 'fields[1]'],
    [{ fields: ['payload'], redact: true }, 'ERR_OUT_OF_RANGE', 'fields[0]'],
    [{ redact: 'yes' }, 'ERR_INVALID_ARG_TYPE', 'redact'],
    [{ redact: { key: 'short' } }, 'ERR_OUT_OF_RANGE', 'redact.key'],
    [{ redact: { key: 5 } }, 'ERR_INVALID_ARG_TYPE', 'redact.key'],
    [{ redact: { keys: '' } }, 'ERR_UNKNOWN_FIELD', 'redact.keys'],
    [{ colour: 1 }, 'ERR_UNKNOWN_FIELD', 'colour'],
  ])('reject %j with ERR_OUT_OF_RANGE, ERR_INVALID_ARG_TYPE or ERR_UNKNOWN_FIELD', (options, code, attribute) => {
    expect(() => setUp(options as RecordOptions)).toThrow(expect.objectContaining({ code, attribute }));
  });

  it('reject a logger without their level with ERR_INVALID_ARG_TYPE', () => {
    const quiet = { debug() {}, info() {}, warn() {}, error() {} };
    expect(() => setUp({ level: 'fatal' }, quiet)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', attribute: 'logger.fatal' }),
    );
    expect(() => setUp({}, 5 as unknown as RecordLogger)).toThrow(/logger\.info: expected a function/);
  });

  it('keep a rejected key out of the error', () => {
    expect(() => setUp({ redact: { key: 'secret' } })).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('secret') }),
    );
  });
});

describe('the redaction of records', () => {
  const everything: RecordOptions['fields'] = [
    'source',
    'destination',
    'hardwareAddress',
    'conntrack',
    'summary',
    'headers',
  ];
  const addresses = ['127.0.0.1', '10.0.0.1', '10.0.0.2', '10.0.0.9', '02:42:ac:11:00:02', '02:42:ac:11:00:03'];

  it('shows the networks only', () => {
    const record = one(packetOf(WHOLE), { redact: true, fields: everything });
    const text = JSON.stringify(record);
    for (const address of addresses) expect(text).not.toContain(address);
    expect(record).toMatchObject({
      source: '127.0.0.0',
      hardwareAddress: '02:42:ac:00:00:00',
      conntrack: { original: { source: '10.0.0.0' }, destinationNat: { address: '10.0.0.0' } },
      headers: { destination: '127.0.0.0' },
      summary: expect.stringContaining(
        'MAC=02:42:ac:00:00:00:02:42:ac:00:00:00:08:00 SRC=127.0.0.0 DST=127.0.0.0 LEN=60',
      ),
    });
  });

  it('gives each address a name by a key: the same for one key, another for another', () => {
    const by = (key: string) => one(packetOf(WHOLE), { redact: { key }, fields: everything }) as Record<string, string>;
    const record = by('0123456789abcdef');
    const text = JSON.stringify(record);
    for (const address of addresses) expect(text).not.toContain(address);
    expect(record.source).toMatch(/^ip-[0-9a-f]{12}$/);
    expect(record.source).toBe(record.destination);
    expect(record.hardwareAddress).toMatch(/^mac-[0-9a-f]{12}$/);
    expect(record.summary).toContain(`SRC=${record.source} `);
    expect(by('0123456789abcdef')).toEqual(record);
    expect(by('0123456789abcdeX').source).not.toBe(record.source);
  });

  it('covers IPv6, ARP and the packet inside an ICMP error', () => {
    const v6 =
      '60000000 0008 3a 40 fd12345678900000 0000000000000001 fd12345678900000 0000000000000002 0100 0000 00000000';
    const header6: Raw = [C.NFULA_PACKET_HDR, '86dd 0100'];
    const record = one(packetOf([header6, [C.NFULA_PAYLOAD, v6 + v6]], 10), {
      redact: true,
      fields: ['source', 'summary'],
    });
    expect(record!.source).toBe('fd12:3456:7890::');
    expect(JSON.stringify(record)).not.toMatch(/0001 |0002 /);
    expect(record!.summary).toContain('[SRC=fd12:3456:7890:0000:0000:0000:0000:0000');
    const quoted = `4500003e000000004001000001020304 05060708 05010000 0a0b0c0d 4500001400000000401100000a0a0a0a0b0b0b0b`;
    const error = one(packetOf(usual(0, quoted)), { redact: true, fields: ['summary'] })!.summary;
    expect(error).toContain('GATEWAY=10.11.12.0 [SRC=10.10.10.0 DST=11.11.11.0');
    const arp = '0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002';
    const asked = one(
      packetOf(
        [
          [C.NFULA_PACKET_HDR, '0806 0000'],
          [C.NFULA_PAYLOAD, arp],
        ],
        3,
      ),
      {
        redact: { key: new Uint8Array(16) },
        fields: ['source', 'headers', 'summary'],
      },
    );
    expect(JSON.stringify(asked)).not.toMatch(/10\.0\.0|02:00/);
    expect(asked!.summary).toMatch(/MACSRC=mac-[0-9a-f]{12} IPSRC=ip-[0-9a-f]{12} /);
  });
});
