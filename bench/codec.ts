import { type Context, NO_CONTEXT, sourceOf, Writer } from 'netsteer/netlink';
import { compileRule, decodeMessage, encodeMessage, Transaction } from 'netsteer/nftables';
import { commandTable } from '../src/ip_vs/attributes.ts';
import { writeService } from '../src/ip_vs/service.ts';
import * as N from '../src/linux/nfnetlink_log.ts';
import { Packet } from '../src/nflog/packet.ts';
import { type CompareOptions, compare, type Program, type Result, timedLoop } from './harness.ts';
import { redirectRule, redirectStatements } from './rules.ts';

/** The optimizing compiler has seen everything after so many. */
const WARM = 5_000;

/**
 * What one message costs in this process, without a kernel: nanoseconds and garbage. There is no floor: a program that has nothing to
 * encode has nothing to do.
 */
export async function codec(quick: boolean): Promise<Result[]> {
  const operations = quick ? 5_000 : 20_000;
  const options: CompareOptions = { operations, rounds: quick ? 5 : 15, warmUp: 2 };
  const results: Result[] = [];
  for (const [name, programs] of Object.entries(cases(operations))) {
    for (const { run } of programs) for (let done = 0; done < WARM; done += operations) await run();
    results.push(...(await compare(name, programs, options)));
  }
  return results;
}

function cases(count: number): Record<string, Program[]> {
  const loop = (name: string, work: (index: number) => unknown, begin?: () => void): Program => ({
    name,
    run: () => {
      begin?.();
      return timedLoop(count, work);
    },
  });
  const statements = Array.from({ length: count }, (_, i) => redirectStatements(i));
  const objects = statements.map(each => ({
    family: 'ip',
    table: 'bench',
    chain: 'c',
    expressions: compileRule({ family: 'ip', statements: each }).expressions,
  }));
  const messages = objects.map(object => encodeMessage({ type: 'newrule', family: 'ip', object }));
  let transaction = new Transaction();
  const renew = () => {
    transaction = new Transaction();
  };
  const rule = { family: 'ip', table: 'bench', chain: 'c' } as const;
  return {
    'redirect/encode': [
      loop('transaction from builders', i => transaction.add({ rule: redirectRule(i) }), renew),
      loop(
        'transaction from statements',
        i => transaction.add({ rule: { ...rule, statements: statements[i]! } }),
        renew,
      ),
      loop(
        'transaction from expressions',
        i => transaction.add({ rule: { ...rule, expressions: objects[i]!.expressions } }),
        renew,
      ),
      loop('encodeMessage', i => encodeMessage({ type: 'newrule', family: 'ip', object: objects[i]! })),
      loop('compileRule', i => compileRule({ family: 'ip', statements: statements[i]! })),
    ],
    'redirect/decode': [loop('decodeMessage', i => decodeMessage(messages[i]!))],
    'ipvs-service': ipvsPrograms(loop),
    'nflog-packet': nflogPrograms(loop),
  };
}

type Loop = (name: string, work: (index: number) => unknown, begin?: () => void) => Program;

function ipvsPrograms(loop: Loop): Program[] {
  const writer = new Writer();
  const encode = (port: number, context: Context) => {
    writer.reset();
    const service = { protocol: 'tcp', address: '10.10.0.100', port, scheduler: 'lc' } as const;
    commandTable.write(writer, { service: writeService(service) }, context);
  };
  encode(80, NO_CONTEXT);
  const source = sourceOf(writer.copy());
  return [
    loop('encode', i => encode(1 + (i % 60_000), NO_CONTEXT)),
    loop('decode', () => commandTable.read(source, 0, source.bytes.length, NO_CONTEXT)),
  ];
}

/** A packet as a rule with a prefix logs it: 128 bytes of an IPv4 TCP segment. */
function nflogPrograms(loop: Loop): Program[] {
  const writer = new Writer();
  const attribute = (type: number, write: () => void) => {
    const start = writer.beginAttribute(type);
    write();
    writer.endAttribute(start);
  };
  writer.raw(Uint8Array.of(2, 0, 0, 5));
  attribute(N.NFULA_PACKET_HDR, () => writer.raw(Uint8Array.of(8, 0, 1, 0)));
  attribute(N.NFULA_PREFIX, () => writer.string('web1 '));
  attribute(N.NFULA_IFINDEX_INDEV, () => writer.u32(2, false));
  attribute(N.NFULA_MARK, () => writer.u32(7, false));
  attribute(N.NFULA_TIMESTAMP, () => {
    writer.u64(1_763_880_000n, false);
    writer.u64(123_456n, false);
  });
  attribute(N.NFULA_PAYLOAD, () => {
    writer.raw(Uint8Array.of(0x45, 0, 0, 128, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 10, 0, 1, 10, 10, 0, 100));
    writer.raw(Uint8Array.of(0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0));
    writer.zeros(88);
  });
  const source = sourceOf(writer.copy());
  const receipt = { microseconds: 1_763_880_000_000_000, devices: { nameOf: () => 'eth0' } };
  const packet = () =>
    new Packet(source, 0, source.bytes.length, receipt as unknown as ConstructorParameters<typeof Packet>[3]);
  return [
    loop('prefix', () => packet().prefix),
    loop('three fields', () => {
      const { prefix, timestampMicroseconds, payload } = packet();
      return [prefix, timestampMicroseconds, payload];
    }),
    loop('summary', () => packet().summary()),
  ];
}
