import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Redirect } from '../../src/container/index.ts';
import { masked, type Range, Ranges } from '../../src/container/redirects/ranges.ts';
import { listOf, RedirectSet } from '../../src/container/redirects/set.ts';
import { runNow } from '../../src/netlink/operation.ts';

// Few bits and few ports, so that much overlaps.
const PORTS = { min: 1, max: 12 };
const prefix = fc.constantFrom(
  '10.0.0.0/8',
  '10.0.0.0/9',
  '10.128.0.0/9',
  '10.128.0.0/16',
  '10.128.0.5',
  '0.0.0.0/0',
  undefined,
  '2001:db8::/32',
  '2001:db8::7',
  '::/0',
);
const range = fc
  .record({
    address: prefix,
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    from: fc.integer(PORTS),
    length: fc.integer({ min: 0, max: 4 }),
    toPort: fc.constantFrom(undefined, 100, 100, 200),
  })
  .map(({ address, protocol, from, length, toPort }): Redirect => {
    // One that is exact stands in another map.
    const wide = address === undefined || address.includes('/') || length > 0;
    const port = wide && length === 0 ? from : { from, to: from + Math.max(1, length) };
    return {
      protocol,
      ...(address !== undefined && { address }),
      port,
      ...(toPort !== undefined && { toPort }),
    };
  });
const ranges = fc.array(range, { maxLength: 6 });

const SAMPLES = [
  '10.0.0.1',
  '10.127.0.1',
  '10.128.0.1',
  '10.128.0.5',
  '10.129.0.1',
  '9.0.0.1',
  '2001:db8::7',
  '2001:db8::8',
  '2002::1',
];

const portsOf = ({ port }: Redirect) => (typeof port === 'number' ? { from: port, to: port } : port);

/** Whether a packet to this address belongs to a redirect, by the text of its prefix. */
function holds({ address }: Redirect, sample: string): boolean {
  if (address === undefined) return true;
  const [first, bits] = address.split('/');
  const bytes = (text: string) => new RedirectSet([{ protocol: 'tcp', address: text, port: 1 }]).ports;
  const key = (text: string) => {
    const { ipv4, ipv6 } = bytes(text);
    return ipv4.length > 0 ? ipv4.keys.slice(0, 4) : ipv6.keys.slice(0, 16);
  };
  const any = first === '0.0.0.0' ? new Uint8Array(4) : first === '::' ? new Uint8Array(16) : key(first!);
  const packet = key(sample);
  const length = Number(bits ?? any.length * 8);
  return packet.length === any.length && Buffer.compare(masked(packet, length), masked(any, length)) === 0;
}

/** Where the redirects of a list lead a packet: none, or one port; several where they contradict each other. */
function targets(list: readonly Redirect[], protocol: string, sample: string, port: number): Set<number> {
  const found = list.filter(each => {
    const { from, to } = portsOf(each);
    return each.protocol === protocol && from <= port && port <= to && holds(each, sample);
  });
  return new Set(found.map(({ toPort = port }) => toPort));
}

const packets = SAMPLES.flatMap(address =>
  Array.from({ length: PORTS.max + 6 }, (_, i) => ({ address, port: i + 1 })).flatMap(each => [
    { ...each, protocol: 'tcp' },
    { ...each, protocol: 'udp' },
  ]),
);

test('ranges lead each packet where the list says, without overlaps, or are rejected with ERR_OVERLAP where the list contradicts itself', () => {
  fc.assert(
    fc.property(ranges, list => {
      let found: Redirect[] | undefined;
      let refused: unknown;
      try {
        found = runNow(listOf(new RedirectSet(list)));
      } catch (error) {
        refused = error;
      }
      const contradictory = packets.some(
        ({ protocol, address, port }) => targets(list, protocol, address, port).size > 1,
      );
      if (found === undefined) {
        expect(refused).toMatchObject({ code: 'ERR_OVERLAP', path: [expect.any(Number)] });
        // Prefixes and ports that the samples do not reach may contradict each other, too: each pair of two is looked at.
        const pair = list.some((a, i) => list.some((b, j) => j < i && new Set([a.toPort, b.toPort]).size > 1));
        expect(contradictory || pair).toBe(true);
        return;
      }
      expect(contradictory).toBe(false);
      for (const { protocol, address, port } of packets) {
        const now = found.filter(each => {
          const { from, to } = portsOf(each);
          return each.protocol === protocol && from <= port && port <= to && holds(each, address);
        });
        // The kernel takes no two that overlap.
        expect(now.length).toBeLessThanOrEqual(1);
        expect(new Set(now.map(({ toPort = port }) => toPort))).toEqual(targets(list, protocol, address, port));
      }
      // What was listed is what it was.
      const again = runNow(listOf(new RedirectSet(found))).map(each => JSON.stringify(each));
      expect(again.sort()).toEqual(found.map(each => JSON.stringify(each)).sort());
    }),
    { numRuns: 300 },
  );
});

test('an overlap is rejected with ERR_OVERLAP, which names both ranges and the index of the later one', () => {
  const list: Redirect[] = [
    { protocol: 'tcp', address: '10.128.0.0/16', port: { from: 80, to: 90 }, toPort: 8080 },
    { protocol: 'udp', address: '10.0.0.0/8', port: 85 },
    { protocol: 'tcp', address: '10.0.0.0/8', port: 85, toPort: 9090 },
  ];
  expect(() => new RedirectSet(list)).toThrow(
    expect.objectContaining({
      code: 'ERR_OVERLAP',
      attribute: '[2]',
      message: expect.stringMatching(
        /at \[0\] \(10\.128\.0\.0\/16 tcp 80-90 to port 8080\).*10\.0\.0\.0\/8 tcp 85 to port 9090/,
      ),
    }),
  );
});

test.each([
  [{ address: '0.0.0.0' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '::' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '0:0::0' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '0.0.0.0/32' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '10.0.0.1/8' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '10.0.0.0/33' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '10.0.0.0/' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: '10.0.0.0/8/8' }, '[0].address', 'ERR_INVALID_ADDRESS'],
  [{ address: undefined }, '[0].address', 'ERR_INVALID_ARG_TYPE'],
  [{ address: 10 }, '[0].address', 'ERR_INVALID_ARG_TYPE'],
  [{ port: { from: 0, to: 5 } }, '[0].port.from', 'ERR_OUT_OF_RANGE'],
  [{ port: { from: 6, to: 5 } }, '[0].port.to', 'ERR_OUT_OF_RANGE'],
  [{ port: { from: 6, to: 70_000 } }, '[0].port.to', 'ERR_OUT_OF_RANGE'],
  [{ port: { from: 6, until: 7 } }, '[0].port.until', 'ERR_UNKNOWN_FIELD'],
  [{ port: '80-90' }, '[0].port', 'ERR_INVALID_ARG_TYPE'],
  [{ toPort: { from: 1, to: 2 } }, '[0].toPort', 'ERR_INVALID_ARG_TYPE'],
])(
  'a redirect rejects %j at its place with ERR_INVALID_ADDRESS, ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE or ERR_UNKNOWN_FIELD',
  (wrong, attribute, code) => {
    const redirect = { protocol: 'tcp', address: '10.0.0.1', port: 80, ...wrong } as unknown as Redirect;
    expect(() => new RedirectSet([redirect])).toThrow(expect.objectContaining({ attribute, code }));
  },
);

test('a prefix of all bits equals an address, and a range of one port equals a port', () => {
  const list = runNow(
    listOf(
      new RedirectSet([
        { protocol: 'tcp', address: '10.0.0.1/32', port: { from: 80, to: 80 }, toPort: 8080 },
        { protocol: 'tcp', address: '2001:db8::1/128', port: 80, toPort: 8080 },
        { protocol: 'tcp', address: '10.0.0.0/24', port: { from: 80, to: 80 }, toPort: 80 },
      ]),
    ),
  );
  expect(list).toEqual([
    { protocol: 'tcp', address: '10.0.0.1', port: 80, toPort: 8080 },
    { protocol: 'tcp', address: '2001:db8::1', port: 80, toPort: 8080 },
    { protocol: 'tcp', address: '10.0.0.0/24', port: 80 },
  ]);
});

test('a range is removed as a whole: rejects a part of it with ERR_OVERLAP', () => {
  const there = new RedirectSet([{ protocol: 'tcp', address: '10.0.0.0/16', port: { from: 80, to: 90 }, toPort: 8080 }])
    .ranges;
  const named = (address: string, from: number, to: number): Ranges => {
    const [first] = new RedirectSet([{ protocol: 'tcp', address, port: { from, to } }]).ranges as Iterable<Range>;
    return new Ranges([{ ...first!, index: 3 }]);
  };
  expect(there.without(named('10.0.0.0/8', 1, 100)).size).toBe(0);
  expect(there.without(named('10.0.0.0/16', 80, 90)).size).toBe(0);
  expect(there.without(named('11.0.0.0/8', 80, 90)).size).toBe(1);
  for (const [address, from, to] of [
    ['10.0.0.0/16', 80, 89],
    ['10.0.5.0/24', 1, 100],
  ] as const)
    expect(() => there.without(named(address, from, to))).toThrow(
      expect.objectContaining({ code: 'ERR_OVERLAP', attribute: '[3]' }),
    );
});
