import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { NameColumn } from '../../src/nftables/plan/name-column.ts';

interface Named {
  name: string | undefined;
}

const naive = (list: readonly Named[], wanted: ReadonlySet<unknown>): number[] =>
  [...list.keys()].filter(i => list[i]!.name === undefined || wanted.has(list[i]!.name));

const name = fc.oneof({ weight: 9, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'e') }, fc.constant(undefined));
const change = fc.record({ at: fc.nat(), verb: fc.constantFrom('set', 'set', 'insert', 'remove'), name });

describe('the names of a list', () => {
  it('stand where a look at each object finds them, however the list changes', () => {
    fc.assert(
      fc.property(
        fc.array(name, { maxLength: 60 }),
        fc.array(fc.tuple(fc.array(change, { maxLength: 20 }), fc.uniqueArray(name, { maxLength: 3 })), {
          maxLength: 12,
        }),
        (names, calls) => {
          const column = new NameColumn<Named>(each => each.name);
          const list: Named[] = names.map(each => ({ name: each }));
          for (const [changes, wanted] of calls) {
            for (const { at, verb, name: other } of changes) {
              const place = at % (list.length + 1);
              if (verb === 'insert') list.splice(place, 0, { name: other });
              else if (verb === 'remove') list.splice(place, 1);
              // In place, too: the object is the one of the call before.
              else if (list[place] !== undefined) list[place].name = other;
            }
            column.follow(list);
            for (let again = 0; again < 3; again++)
              expect(column.placesOf(new Set(wanted))).toEqual(naive(list, new Set(wanted)));
          }
        },
      ),
      { seed: 2026 },
    );
  });

  it('are looked at one by one in the first call only', () => {
    const list = Array.from({ length: 1_000 }, (_, i) => ({ name: `chain-${i}` }));
    const column = new NameColumn<Named>(each => each.name);
    const wanted = new Set(['chain-7']);
    const has = vi.spyOn(wanted, 'has');
    const asked: number[] = [];
    for (let call = 0; call < 3; call++) {
      list[500 + call]!.name = `other-${call}`;
      column.follow(list);
      expect(column.placesOf(wanted)).toEqual([7]);
      asked.push(has.mock.calls.length);
      has.mockClear();
    }
    expect(asked).toEqual([1_000, 0, 0]);
  });
});
