import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { finish, sortInParts } from '../../src/nft/decompile/in-parts.ts';
import { wireElements } from '../../src/nft/element-values.ts';
import { rulesetJsonInParts } from '../../src/nft/ruleset-json.ts';
import { rulesetText } from '../../src/nft/ruleset-text.ts';
import { shapeOf } from '../../src/nft/set-types.ts';
import type { ElementValue, NewMap } from '../../src/nftables/index.ts';
import { wireSet } from '../../src/nftables/write/wire-set.ts';

describe('a list that is sorted in parts', () => {
  it('equals the result of `sort`, stable for equal items', () => {
    const items = fc.array(fc.record({ key: fc.nat(20) }), { maxLength: 500, size: 'max' });
    fc.assert(
      fc.property(items, list => {
        const compare = (a: { key: number }, b: { key: number }) => a.key - b.key;
        const sorted = finish(sortInParts(list, compare));
        const expected = [...list].sort(compare);
        expect(sorted).toHaveLength(expected.length);
        expect(sorted.every((item, i) => item === expected[i])).toBe(true);
      }),
    );
  });

  it('compares few items between two yields', () => {
    let compared = 0;
    let most = 0;
    const list = Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 10_007);
    for (const _ of sortInParts(list, (a, b) => ++compared && a - b)) {
      most = Math.max(most, compared);
      compared = 0;
    }
    expect(most).toBeGreaterThan(0);
    expect(Math.max(most, compared)).toBeLessThanOrEqual(256);
  });
});

describe('a set of very many elements', () => {
  const MANY = 4000;
  const address = (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
  // Elements are read, put in order, and printed, four of them in a row. A range is two elements of the kernel's.
  it.each<[string, Partial<NewMap>, (i: number) => ElementValue, rounds: number]>([
    ['a map', { key: 'ipv4_addr', data: 'inet_service' }, i => ({ key: address(i), data: 80 }), 3],
    [
      'a set of ranges',
      { key: 'ipv4_addr', flags: ['interval'] },
      i => ({ from: address(2 * i), to: address(2 * i) }),
      7,
    ],
    ['a set of concatenated ranges', { key: 'mark . mark', flags: ['interval'] }, i => [i, { from: 1, to: 9 }], 4],
  ])('becomes text and JSON a few elements at a time: %s', (_, type, element, rounds) => {
    const given = { family: 'ip', table: 't', name: 'm', ...type } as NewMap;
    const set = { ...given, ...wireSet(given, type.data !== undefined, 1) } as never;
    const { elements } = wireElements(
      Array.from({ length: MANY }, (_each, i) => element(i)),
      shapeOf(set),
    );
    const ruleset = {
      tables: [{ family: 'ip', name: 't' } as const],
      sets: [{ ...(set as object), elements } as never],
    };
    for (const work of [rulesetText(ruleset, {}), rulesetJsonInParts(ruleset, {})]) {
      let yields = 0;
      while (!work.next().done) yields++;
      expect(yields).toBeGreaterThanOrEqual((rounds * MANY) / 4);
    }
  });
});
