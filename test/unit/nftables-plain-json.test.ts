import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isArgumentError } from '../../src/errors.ts';
import { compileElements } from '../../src/nft/compile/named-set.ts';
import type { SetMember } from '../../src/nft/json.ts';
import { type NewMap, type NewObject, Transaction } from '../../src/nftables/index.ts';

/* Elements in nft's JSON that are addresses and ports alone go around the compiler: they have its bytes all the same. */

const place = { family: 'ip', table: 't' } as const;
const SETS: readonly NewMap[] = [
  { ...place, name: 's', key: 'ipv4_addr' },
  { ...place, name: 's', key: 'inet_service' },
  { ...place, name: 's', key: 'ipv4_addr . inet_service' },
  { ...place, name: 's', key: 'ipv4_addr . inet_service', data: 'inet_service' },
  { ...place, name: 's', key: 'inet_service', data: 'ipv4_addr . inet_service' },
  { ...place, name: 's', key: 'mark', data: 'ipv4_addr' },
  { ...place, name: 's', key: 'ipv4_addr', data: 'verdict' },
  { ...place, name: 's', key: 'ipv4_addr', flags: ['interval'] },
];

const scalar = fc.oneof(
  { weight: 8, arbitrary: fc.ipV4() },
  { weight: 8, arbitrary: fc.nat({ max: 0xffff }) },
  fc.constantFrom<unknown>(65_536, -1, 1.5, '80', 'http', '10.0.0.01', '10.0.0.0/8', '*', null, true, {
    prefix: { addr: '10.0.0.0', len: 8 },
  }),
);
const key = fc.oneof(
  scalar,
  fc.array(scalar, { minLength: 2, maxLength: 2 }).map(concat => ({ concat })),
);
const element = fc.oneof(
  { weight: 8, arbitrary: key },
  key.map(val => ({ elem: { val, timeout: 5 } })),
  key.map(val => ({ elem: { val, comment: 'a' } })),
);
const mapping = fc.tuple(element, fc.oneof(key, fc.constant({ accept: null })));
const lists = fc.oneof(
  fc.array(element, { maxLength: 6 }),
  fc.array(mapping, { maxLength: 6 }),
  // Mostly of one kind, so that they are plain.
  fc.array(fc.ipV4(), { maxLength: 6 }),
  fc.array(
    fc.tuple(fc.ipV4(), fc.nat({ max: 0xffff })).map(concat => ({ concat })),
    { maxLength: 6 },
  ),
  fc.array(
    fc.tuple(
      fc.tuple(fc.ipV4(), fc.nat({ max: 0xffff })).map(concat => ({ concat })),
      fc.nat({ max: 0xffff }),
    ),
    { maxLength: 6 },
  ),
);

function bytesOf(set: NewMap, add: (transaction: Transaction) => void): string {
  const { data, ...withoutData } = set;
  const transaction = new Transaction().add({ table: { family: 'ip', name: 't' } });
  transaction.add(data === undefined ? { set: withoutData } : { map: set });
  try {
    add(transaction);
  } catch (error) {
    if (isArgumentError(error))
      return `${transaction.length} ${error.message.replace(/^element\.(json)?(\.set)?/, '')}`;
    throw error;
  }
  return Buffer.from(transaction.encode().bytes).toString('hex');
}

/** Elements as documents give them. */
const inJson = (json: SetMember[]): NewObject => ({ element: { ...place, set: 's', json } }) as unknown as NewObject;

const GIVEN = { version: '1.1.6' } as const;

it('elements in nft’s JSON have the bytes of the compiler, and its errors', () => {
  fc.assert(
    fc.property(fc.constantFrom(...SETS), lists, fc.boolean(), (set, list, isObject) => {
      const json = (isObject ? { set: list } : list) as SetMember[];
      const given = bytesOf(set, transaction => transaction.add(inJson(json)));
      const compiled = bytesOf(set, transaction => {
        const made = transaction.setMade('ip t s')!;
        const wire = compileElements(made, list as SetMember[], GIVEN);
        if (wire.length > 0 && set.flags === undefined)
          transaction.add({
            element: { ...place, set: 's', setId: made.id!, elements: wire.map(each => ({ wire: each })) as never },
          });
        else transaction.add(inJson(json));
      });
      expect(given).toBe(compiled);
    }),
    { numRuns: 1000 },
  );
});

it('an element that is refused is named by its place, with ERR_OUT_OF_RANGE, and nothing of its list is written', () => {
  const transaction = new Transaction().add({ set: { ...place, name: 's', key: 'inet_service' } });
  const before = Buffer.from(transaction.encode().bytes).toString('hex');
  const add = (json: SetMember[]) => transaction.add(inJson(json));
  expect(() => add([80, 443, 65_536])).toThrow(
    expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', path: ['element', 'json', 2] }),
  );
  expect(Buffer.from(transaction.encode().bytes).toString('hex')).toBe(before);
});
