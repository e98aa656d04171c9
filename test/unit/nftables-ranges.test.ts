import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { shapeOf } from '../../src/nft/set-types.ts';
import { type Range, RangeModel } from '../../src/nftables/ranges/ranges.ts';
import { description } from '../../src/nftables/write/wire-set.ts';

/* Ranges of a set, found by what they overlap: against every one of them looked at. */

const shape = (key: string) => shapeOf(description({ key, flags: ['interval'] }, false));
const KEYS = { port: shape('inet_service'), pair: shape('inet_service . inet_service') };

const hex = (number: number, digits: number) => number.toString(16).padStart(digits, '0');
const range = (spans: readonly (readonly [number, number])[]): Range => {
  const side = (i: 0 | 1) => spans.map(span => hex(span[i], 4).padEnd(spans.length > 1 ? 8 : 4, '0')).join('');
  return { from: side(0), to: side(1), element: {}, ends: true };
};
const span = (max: number) =>
  fc.tuple(fc.nat({ max }), fc.nat({ max: 12 })).map(([from, more]) => [from, from + more] as const);
const meets = (a: Range, b: Range, parts: number): boolean => {
  for (let at = 0; at < a.from.length; at += a.from.length / parts) {
    const part = (text: string) => text.slice(at, at + a.from.length / parts);
    if (part(a.from) > part(b.to) || part(b.from) > part(a.to)) return false;
  }
  return true;
};

describe.each([1, 2])('ranges of %i parts', parts => {
  const of = parts === 1 ? KEYS.port : KEYS.pair;
  const spans = fc.array(span(2000), { minLength: parts, maxLength: parts });

  test('are found by overlap after any additions and removals', () => {
    const step = fc.record({ spans, remove: fc.option(fc.nat(), { freq: 4 }) });
    fc.assert(
      fc.property(
        fc.array(spans, { maxLength: 1200, size: 'max' }),
        fc.array(step, { maxLength: 60, size: 'max' }),
        (first, later) => {
          const all: Range[] = [];
          for (const one of first.map(range)) if (parts > 1 || !all.some(other => meets(other, one, 1))) all.push(one);
          const model = new RangeModel(of, all);
          for (const { spans, remove } of later) {
            const one = range(spans);
            const expected = all.filter(other => meets(other, one, parts));
            expect(new Set(model.overlapping(one))).toEqual(new Set(expected));
            if (remove !== null && all.length > 0) model.remove(all.splice(remove % all.length, 1)[0]!);
            if (parts === 1 && expected.length > 0) continue;
            model.add(one);
            all.push(one);
          }
          expect(model.size).toBe(all.length);
          expect(new Set(model)).toEqual(new Set(all));
        },
      ),
      { numRuns: 40 },
    );
  });
});
