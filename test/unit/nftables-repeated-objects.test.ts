import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { type Chain, encodeMessage, type Table, Transaction } from '../../src/nftables/index.ts';
import { MessageList } from '../../src/nftables/write/encoded.ts';
import { RepeatedObjects } from '../../src/nftables/write/repeated-objects.ts';

const family = fc.constantFrom('ip', 'inet', 'bridge');
const table = fc.record(
  { family, name: fc.constantFrom('t', 'u', 'a-longer-name'), comment: fc.constantFrom('a', 'b'), use: fc.constant(3) },
  { requiredKeys: ['family', 'name'] },
);
const chain = fc.record(
  {
    family,
    table: fc.constantFrom('t', 'u'),
    name: fc.constantFrom('c', 'd', 'e'),
    type: fc.constant('filter'),
    hook: fc.constantFrom('input', 'forward'),
    priority: fc.integer({ min: -2, max: 2 }),
    policy: fc.constantFrom('accept', 'drop'),
    comment: fc.constantFrom(undefined, 'text'),
  },
  { requiredKeys: ['family', 'table', 'name'] },
);

/** As no object before it had been written. */
function alone(type: 'newtable' | 'newchain', object: { family: string }, sequence: number, last: boolean): string {
  const flags = NLM_F_REQUEST | NLM_F_CREATE | (last ? NLM_F_ACK : 0);
  const { use: _, ...written } = object as Record<string, unknown>;
  const bytes = encodeMessage({ type, flags, sequence, family: object.family, object: written } as never);
  return Buffer.from(bytes).toString('hex');
}

test('tables and chains have the bytes of single ones, whatever was written before them', () => {
  const either = fc.oneof(
    table.map(object => ({ type: 'newtable', subject: { table: object as Table } }) as const),
    chain.map(object => ({ type: 'newchain', subject: { chain: object as Chain } }) as const),
  );
  const property = fc.property(fc.array(either, { minLength: 1, maxLength: 12 }), given => {
    const transaction = new Transaction();
    for (const { subject } of given) transaction.add(subject);
    const encoded = transaction.encode();
    const bytes = given.map((_, i) => Buffer.from(encoded.bytesOf(encoded.messages.at(i)!)).toString('hex'));
    const expected = given.map(({ type, subject }, i) => alone(type, Object.values(subject)[0] as Chain, i + 2, false));
    expect(bytes).toEqual(expected);
  });
  fc.assert(property, { numRuns: 300 });
});

test('an equal object is a copy, and one that is not plain never is', () => {
  const objects = new RepeatedObjects();
  const list = new MessageList(1024);
  const write = (object: Record<string, unknown>) => {
    if (objects.copy(list, 'newtable', 0, 2, object, 0)) return 'copied';
    const start = list.writer.length;
    list.write('newtable', 0, 2, 0, object);
    objects.keep(list, 'newtable', 0, 2, start);
    return 'written';
  };
  const plain = { family: 'ip', name: 't' };
  expect([plain, { ...plain }, { ...plain, comment: 'a' }, plain, { name: 't' }].map(write)).toEqual([
    'written',
    'copied',
    'written',
    'copied',
    'written',
  ]);
  const flagged = { ...plain, flags: ['dormant'] };
  expect([flagged, flagged, Object.create(plain), Object.create(plain)].map(write)).toEqual(
    Array.from({ length: 4 }, () => 'written'),
  );
});

test('of many objects that differ only some are kept, and those of the last transaction are', () => {
  const objects = new RepeatedObjects();
  const list = new MessageList(1024);
  const isCopy = (name: string) => {
    if (objects.copy(list, 'newtable', 0, 2, { name }, 0)) return true;
    const start = list.writer.length;
    list.write('newtable', 0, 2, 0, { name });
    objects.keep(list, 'newtable', 0, 2, start);
    return false;
  };
  const copies = (names: readonly string[]) => names.filter(isCopy).length;
  const names = Array.from({ length: 100 }, (_, i) => `t${i}`);
  expect(copies(names)).toBe(0);
  // The ones that were looked at when every eighth was kept.
  expect(copies(names.slice(-8))).toBe(1);
  const few = ['a', 'b', 'c'];
  copies(few);
  expect(copies(few)).toBe(3);
});
