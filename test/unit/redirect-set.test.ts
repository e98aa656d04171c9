import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Redirect } from '../../src/container/index.ts';
import { PortMap } from '../../src/container/redirects/port-map.ts';
import {
  addRedirects,
  changeRedirects,
  differencesOf,
  keysOf,
  RedirectSet,
} from '../../src/container/redirects/set.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { Transaction } from '../../src/nftables/index.ts';

/** Writes a key of two words as the next one. */
function write(map: PortMap, [first, second]: readonly [number, number]): void {
  const keys = map.reserve();
  new DataView(keys.buffer).setUint32(map.length * map.keyLength, first);
  new DataView(keys.buffer).setUint32(map.length * map.keyLength + 4, second);
}

// Few values, so that keys come again.
const word = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.constantFrom(0x80000000, 0xffffffff));
const pairs = fc.array(fc.tuple(fc.tuple(word, word), fc.integer({ min: 1, max: 65535 })), { maxLength: 200 });

test('a map of ports keeps the first port of each key, in order', () => {
  fc.assert(
    fc.property(pairs, pairs, fc.integer({ min: 0, max: 50 }), (added, others, capacity) => {
      const map = new PortMap(8, capacity);
      const model = new Map<string, number>();
      for (const [key, port] of added) {
        write(map, key);
        const known = model.get(`${key}`) ?? port;
        model.set(`${key}`, known);
        expect(map.add(port)).toBe(known);
      }
      expect(Array.from({ length: map.length }, (_, i) => map.portAt(i))).toEqual([...model.values()]);
      const other = new PortMap(8);
      for (const [key, port] of others) {
        write(other, key);
        other.push(port);
      }
      const order = [...model.keys()];
      for (const [i, [key]] of others.entries()) expect(map.find(other, i)).toBe(order.indexOf(`${key}`));
      const copy = new PortMap(8);
      for (let i = 0; i < map.length; i++) copy.copy(map, i);
      expect([copy.keys, copy.ports]).toEqual([map.keys, map.ports]);
    }),
  );
});

const PLACE = { family: 'inet', table: 'netsteer-redirects' } as const;
const TYPES = {
  ipv4: 'ipv4_addr . inet_proto . inet_service',
  ipv6: 'ipv6_addr . inet_proto . inet_service',
} as const;

/** As many as need several messages, of both versions. */
const many: (Redirect & { address: string; port: number })[] = Array.from({ length: 5000 }, (_, i) => ({
  protocol: (['tcp', 'udp', 'sctp', 'dccp', 'udplite'] as const)[i % 5]!,
  address: i % 2 === 0 ? `10.0.${i >> 8}.${i & 255}` : `2001:db8::${i.toString(16)}`,
  port: 1 + i,
  ...(i % 3 === 0 && { toPort: 65535 - i }),
}));

/** The same as everyone writes them. */
const valuesOf = (version: keyof typeof TYPES) =>
  many
    .filter(({ address }) => address.includes(':') === (version === 'ipv6'))
    .map(({ protocol, address, port, toPort = port }) => ({ key: [address, protocol, port], data: toPort }));

test('redirects are written as the elements of their keys and values', () => {
  const expected = new Transaction();
  for (const set of ['ipv4', 'ipv6'] as const) {
    const place = { ...PLACE, set, type: { key: TYPES[set], data: 'inet_service' } } as const;
    expected.add({ element: { ...place, elements: valuesOf(set) } });
  }
  const written = new RedirectSet(many).addAll(new Transaction());
  expect(Buffer.compare(written.encode().bytes, expected.encode().bytes)).toBe(0);
  expect(written.encode().messages.length).toBeGreaterThan(2);
});

test('removed redirects are written as their keys', () => {
  const expected = new Transaction();
  for (const set of ['ipv4', 'ipv6'] as const) {
    const place = { ...PLACE, set, type: { key: TYPES[set], data: 'inet_service' } } as const;
    expected.delete({ element: { ...place, elements: valuesOf(set).map(({ key }) => ({ key })) } });
  }
  const nothing = runNow(changeRedirects(new Transaction(), new RedirectSet([]), new RedirectSet(many), true));
  expect(Buffer.compare(nothing.encode().bytes, expected.encode().bytes)).toBe(0);
});

test('a refusal of the kernel is reported by its index in the list', () => {
  const { messages } = new RedirectSet(many).addAll(new Transaction()).encode();
  const second = messages.at(1)!;
  const first = second.translate!(['elements', 0, 'key']);
  expect(first).toEqual(['elements', expect.any(Number), 'key']);
  expect(first[1]).toBeGreaterThan(1000);
});

test('redirects that exist are left alone', () => {
  const [a, b, c, d] = many as [Redirect, Redirect, Redirect, Redirect];
  const present = new RedirectSet([a, { ...b, toPort: 7 }, c]);
  const wanted = new RedirectSet([a, b, d]);
  expect(runNow(differencesOf(wanted, present))).toEqual({
    missing: [d],
    different: [{ wanted: b, found: { ...b, toPort: 7 } }],
    unexpected: [c],
    unlisted: 0,
  });
  const verbs = (exactly: boolean) =>
    runNow((exactly ? changeRedirects : addRedirects)(new Transaction(), wanted, present, true)).operations.map(
      ({ verb, subject }) => {
        const { element } = subject as { element: { set: string; elements: { length: number } } };
        return `${verb} ${element.elements.length} ${element.set}`;
      },
    );
  expect(verbs(true)).toEqual(['delete 1 ipv4', 'delete 1 ipv6', 'add 2 ipv6']);
  expect(verbs(false)).toEqual(['delete 1 ipv6', 'add 2 ipv6']);
});

test('keys that are given twice are written once', () => {
  const [a, b] = many as [Redirect, Redirect];
  expect([keysOf([a, b, a]).ports.ipv4.length, keysOf([a, b, a]).ports.ipv6.length]).toEqual([1, 1]);
});
