import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, NO_CONTEXT, sourceOf } from '../../src/codec/index.ts';
import type { Path } from '../../src/errors.ts';
import { encode, rowValue, table, tlv } from '../support/codec-values.ts';

describe('the field of a byte', () => {
  const locate = (raw: Uint8Array, offset: number) => table.locate(sourceOf(raw), 0, raw.length, offset, NO_CONTEXT);

  test('is found for every byte of a message', () => {
    const raw = encode(table, {
      name: 'a',
      inner: { id: 1 },
      items: [{ id: 1 }, { id: 2, label: 'b' }],
      weight: 8,
      limits: { low: 1, high: 2 },
    });
    const paths: Record<string, number> = {};
    for (let offset = 0; offset < raw.length; offset++) {
      const path = locate(raw, offset).join('.');
      paths[path] = (paths[path] ?? 0) + 1;
    }
    expect(paths).toEqual({
      name: 4 + 2,
      // The padding of the name belongs to nothing; that of the weight is inside the nest, which has no name.
      '': 2 + 4 + 2,
      inner: 4,
      'inner.id': 4 + 4,
      items: 4,
      'items.0': 4,
      'items.0.id': 4 + 4,
      // With the padding of its label.
      'items.1': 4 + 2,
      'items.1.id': 4 + 4,
      'items.1.label': 4 + 2,
      weight: 4 + 2,
      limits: 4,
      'limits.low': 4,
      'limits.high': 4,
    });
  });

  /** Every number in a value, with its path. */
  function* leaves(value: unknown, path: Path = []): Generator<Path> {
    if (typeof value === 'number' || typeof value === 'bigint') yield path;
    else if (Array.isArray(value)) for (const [i, each] of value.entries()) yield* leaves(each, [...path, i]);
    else if (typeof value === 'object' && value !== null)
      for (const [key, each] of Object.entries(value)) yield* leaves(each, [...path, key]);
  }

  function changed(value: unknown, path: Path): unknown {
    const [first, ...rest] = path;
    if (first === undefined) return typeof value === 'bigint' ? value ^ 1n : (value as number) ^ 1;
    const copy = Array.isArray(value) ? [...value] : { ...(value as object) };
    (copy as Record<string, unknown>)[first] = changed((copy as Record<string, unknown>)[first], rest);
    return copy;
  }

  test('is the field with which the byte changes', () => {
    fc.assert(
      fc.property(rowValue, value => {
        const { mode: _mode, marks: _marks, ...rest } = value;
        const raw = encode(table, rest);
        for (const path of leaves(rest)) {
          const other = encode(table, changed(rest, path));
          expect(other).toHaveLength(raw.length);
          const differing = [...raw.keys()].filter(i => raw[i] !== other[i]);
          expect(differing.length).toBeGreaterThan(0);
          for (const offset of differing) expect(locate(raw, offset)).toEqual(path);
        }
      }),
    );
  });

  test('is undefined outside of the message and in malformed bytes', () => {
    const raw = encode(table, { name: 'a' });
    expect(locate(raw, raw.length)).toEqual([]);
    expect(locate(fromHex('ffff0100')!, 0)).toEqual([]);
    expect(locate(tlv([99, '00']), 4)).toEqual([]);
  });

  test('is the attribute itself where it has only a header', () => {
    const raw = encode(table, { name: 'a', isDefault: true });
    expect([8, 9, 10, 11].map(offset => locate(raw, offset))).toEqual(Array.from({ length: 4 }, () => ['isDefault']));
  });
});
