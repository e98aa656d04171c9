import fc from 'fast-check';
import { formatRules, type IpvsOperation, parseRuleLines, type VirtualServer } from 'netsteer/ipvs';
import { expect, test } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import type { BatchFailure } from '../../src/errors.ts';
import { Batch } from '../../src/ipvs/operation.ts';
import { saveRules } from '../../src/ipvsadm/format.ts';
import { PlainLines } from '../../src/ipvsadm/plain-lines.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

/* Lines of the usual two forms are read as they stand, all others are taken apart first: both ways have to say the same. */

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
/** What the fast parser makes of a line; undefined if it leaves it to the other one. */
const plain = (line: string) => {
  const lines = new PlainLines(line);
  return lines.read(0, line.length) ? lines.operation() : undefined;
};

test('the fast parser reads the lines that save() writes of plain services', () => {
  const servers: VirtualServer[] = [
    {
      ...web,
      scheduler: 'wlc',
      destinations: [
        { address: '10.1.0.1', port: 8080, forward: 'masquerade', weight: 5 },
        { address: '10.1.0.2', port: 80, forward: 'direct' },
      ],
    },
    { protocol: 'udp', address: '10.0.0.1', port: 53, scheduler: 'rr', destinations: [] },
  ];
  const lines = formatRules(servers).trim().split('\n');
  expect(lines).toHaveLength(4);
  for (const line of lines) expect(plain(line), line).toBeDefined();
  expect(plain(lines.find(line => line.includes(' -m '))!)).toEqual({
    op: 'addDestination',
    key: web,
    destination: { address: '10.1.0.1', port: 8080, forward: 'masquerade', weight: 5 },
  });
});

const oneOf = <T>(...values: T[]) => fc.constantFrom(...values);
const address = oneOf(
  '10.0.0.1',
  '10.0.0.2',
  '255.255.255.255',
  '10.0.0.256',
  '10.0.0.01',
  '10.0.0',
  '1.2.3.4.5.6',
  '::1',
);
const port = oneOf('80', '080', '0', '65535', '65536', '99999', '123456', 'http', '');
const protocol = oneOf('-t', '-u', '-f', '--sctp-service');
const service = fc.tuple(protocol, address, port).map(([option, host, number]) => `${option} ${host}:${number}`);
const line = fc.oneof(
  fc
    .tuple(service, oneOf('rr', 'wlc', 'none', 'RR', 'best', 'rr -p', 'rr -o'))
    .map(([key, name]) => `-A ${key} -s ${name}`),
  fc
    .tuple(
      service,
      address,
      port,
      oneOf('-m', '-g', '-i', '-l'),
      oneOf('0', '1', '999999999', '2147483648', '-1', '1 -x 5'),
    )
    .map(([key, host, number, method, weight]) => `-a ${key} -r ${host}:${number} ${method} -w ${weight}`),
);

/** What a text comes to: its operations, or its refusal. */
function outcome(text: string): unknown {
  try {
    return parseRuleLines(text);
  } catch (error) {
    const { name, message, path, code } = error as Error & { path: unknown; code: unknown };
    return { name, message, path, code };
  }
}

test('the fast parser returns what the full parser returns', () => {
  let short = 0;
  fc.assert(
    fc.property(fc.array(line, { maxLength: 5 }), lines => {
      // A space before a line makes it take the careful way.
      const careful = lines.map(each => ` ${each}`);
      expect(outcome(lines.join('\n'))).toEqual(outcome(careful.join('\n')));
      for (const each of careful) expect(plain(each)).toBeUndefined();
      short += lines.filter(each => plain(each) !== undefined).length;
    }),
    { numRuns: 1000 },
  );
  expect(short).toBeGreaterThan(0);
});

/** Lines that a caller could give as operations: a text may have servers of all ports, which have no effect. */
const accepted = line.filter(each => {
  try {
    return Batch.of(parseRuleLines(each).map(({ operation }) => operation as IpvsOperation)).length === 1;
  } catch {
    return false;
  }
});
const others = oneOf('', '# a comment', '-C', '-D -t 10.0.0.1:80', '-E -t 10.0.0.1:80 -s lc', '-Z', ' -A -f 7 -s rr');

test('restore() sends the bytes of its operations, and a failure has their index, line and subject', () => {
  let plainLines = 0;
  let refused = 0;
  const any = fc.oneof({ weight: 8, arbitrary: accepted }, { weight: 1, arbitrary: others });
  const hex = (bytes: Uint8Array) => toHex(bytes);
  const told = ({ index, code, hint, subject }: BatchFailure) => ({ index, code, hint, subject });
  // The first handle of a thread asks for the family's number.
  openIpvs().ipvs.sync.info();
  fc.assert(
    fc.property(fc.array(any, { minLength: 30, maxLength: 60 }), oneOf('\n', '\r\n'), (lines, newline) => {
      const text = lines.join(newline);
      const read = parseRuleLines(text);
      const options = { rollback: false, onError: 'collect' } as const;
      const byText = openIpvs();
      const result = byText.ipvs.sync.restore(text, options);
      const byOperations = openIpvs();
      const operations = read.map(({ operation }) => operation as IpvsOperation);
      const { failures, applied } = byOperations.ipvs.sync.apply(operations, options);
      expect(byText.kernel.sent.map(hex)).toEqual(byOperations.kernel.sent.map(hex));
      expect(result.applied).toEqual(applied);
      expect(result.failures.map(told)).toEqual(failures.map(told));
      expect(result.failures.map(({ line }) => line)).toEqual(failures.map(({ index }) => read[index]!.line));
      plainLines += lines.filter(each => plain(each) !== undefined).length;
      refused += failures.length;
    }),
    { numRuns: 100 },
  );
  expect(plainLines).toBeGreaterThan(500);
  expect(refused).toBeGreaterThan(100);
});

/* The lines of plain services are written at once, all others option by option. A protocol that is a number has the same line, written the other way. */

const host = oneOf(
  '10.0.0.1',
  '192.168.0.1',
  '224.0.0.1',
  '0.0.0.0',
  '255.255.255.255',
  'fd00::1',
  '10.0.0.01',
  'web',
  '',
);
const number: fc.Arbitrary<unknown> = oneOf<unknown>(
  0,
  1,
  80,
  8080,
  65535,
  65536,
  -1,
  1.5,
  2 ** 31 - 1,
  2 ** 31,
  Number.NaN,
  '80',
);
const absent = <T>(values: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: values });
const serverOf = fc.record({
  address: host,
  port: number,
  forward: oneOf<unknown>('masquerade', 'direct', 'tunnel', 'local', 'bypass', 3, 'other'),
  weight: absent(number),
  upperThreshold: absent(number),
  lowerThreshold: absent(number),
  tunnel: absent(oneOf({ type: 'gre' })),
});
const virtualServer = fc.record({
  protocol: oneOf('tcp', 'udp'),
  address: host,
  port: number,
  scheduler: oneOf('rr', 'wlc', 'mh', 'other', 'two words'),
  schedulerFlags: absent(oneOf<unknown>([], ['mh-port'], ['flag-1'], [0x40])),
  onePacket: absent(fc.boolean()),
  persistence: absent(oneOf({ timeoutSeconds: 300 })),
  destinations: fc.array(serverOf, { maxLength: 4 }),
});

test.each([
  ['save() writes', saveRules],
  ['formatRules writes', formatRules],
])('%s a plain line as it does option by option, and refuses the same', (_, write) => {
  let written = 0;
  const textOf = (servers: unknown) => {
    try {
      const text = write(servers as VirtualServer[]);
      written++;
      return text;
    } catch (error) {
      const { name, code, message } = error as Error & { code: string };
      return [name, code, message];
    }
  };
  const numbered = (protocol: string) => (protocol === 'tcp' ? 6 : 17);
  fc.assert(
    fc.property(fc.array(virtualServer, { maxLength: 4 }), servers => {
      const others = servers.map(each => ({ ...each, protocol: numbered(each.protocol) }));
      expect(textOf(servers)).toEqual(textOf(others));
    }),
    { numRuns: 3000 },
  );
  expect(written).toBeGreaterThan(1000);
});
