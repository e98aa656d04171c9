import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  align4,
  attributes,
  byteString,
  fromHex,
  HOST_IS_LITTLE_ENDIAN,
  list,
  NO_CONTEXT,
  opt,
  sourceOf,
  string,
  type Type,
  toHex,
} from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';
import {
  encode,
  item,
  type Raw,
  type Row,
  refusal,
  refusedAt,
  rowOf,
  rowValue,
  survives,
  table,
  tlv,
} from '../support/codec-values.ts';

describe('a table of attributes', () => {
  test('reads what it writes', () => {
    survives(table, rowValue);
  });

  test('writes netlink attributes: length, number, payload, padding to four bytes', () => {
    expect(encode(item, { id: 1, label: 'ab' })).toEqual(tlv([1, '00000001'], [2, '616200']));
    expect(encode(item, { id: 1, label: 'ab' })).toHaveLength(16);
  });

  test('marks nests and lists, and nothing else', () => {
    fc.assert(
      fc.property(rowValue, value => {
        const source = sourceOf(encode(table, value));
        for (let at = 0; at < source.bytes.length; ) {
          const type = source.view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN);
          expect((type & 0x8000) !== 0, `attribute ${type & 0x3fff}`).toBe([8, 9, 10, 12, 14].includes(type & 0x3fff));
          at += align4(source.view.getUint16(at, HOST_IS_LITTLE_ENDIAN));
        }
      }),
    );
  });

  test('reads nests with and without the flag', () => {
    const inner: Raw[] = [[1, '00000005']];
    const name: Raw = [1, '6100'];
    expect(rowOf(tlv(name, [8, inner]))).toEqual({ name: 'a', inner: { id: 5 } });
    expect(rowOf(tlv(name, [8 | 0x8000, inner]))).toEqual({ name: 'a', inner: { id: 5 } });
    expect(rowOf(tlv(name, [2 | 0x4000, '0050']))).toEqual({ name: 'a', port: 80 });
  });

  test('rejects a missing required field with ERR_MISSING', () => {
    expect(rowOf(tlv([2, '0050']))).toBeUndefined();
    expect(rowOf(new Uint8Array(0))).toBeUndefined();
    expect(refusal(() => encode(table, {}))).toEqual({ kind: 'TypeError', path: ['name'], code: 'ERR_MISSING' });
    expect(table.partial().read(sourceOf(tlv([2, '0050'])), 0, 8, NO_CONTEXT)).toEqual({ port: 80 });
    expect(encode(table.partial(), { port: 80 })).toEqual(tlv([2, '0050']));
  });

  test('ignores undefined fields, and rejects unknown ones with ERR_UNKNOWN_FIELD', () => {
    expect(encode(item, { id: 1, label: undefined, wrong: undefined })).toEqual(encode(item, { id: 1 }));
    expect(refusal(() => encode(table, { name: 'a', prot: 80 }))).toEqual({
      kind: 'TypeError',
      path: ['prot'],
      code: 'ERR_UNKNOWN_FIELD',
    });
    expect(refusedAt(table as Type<never>, { name: 'a', items: [{ id: 1 }, { id: 2, x: 1 }] })).toBe(
      'TypeError items.1.x',
    );
    for (const other of [null, undefined, 'a', 5, [1]])
      expect(refusedAt(table as Type<never>, other)).toBe('TypeError');
  });

  test('accepts the fields of its message header without writing them', () => {
    const withHeader = attributes('T', { name: opt(string(1, 15)) }, { header: ['family'] });
    expect(encode(withHeader, { family: 'ip', name: 'a' })).toEqual(tlv([1, '6100']));
    expect(refusedAt(withHeader as Type<never>, { family: 'ip', name: 'a', famly: 'ip' })).toBe('TypeError famly');
    expect(refusedAt(withHeader as Type<never>, { famly: 'ip' })).toBe('TypeError famly');
  });

  test('finds attributes by number', () => {
    expect(table.fieldName(2)).toBe('port');
    expect(table.fieldName(99)).toBeUndefined();
  });

  test('rejects a payload above 16 bits of length with ERR_ATTRIBUTE_TOO_LONG', () => {
    const big = attributes('BIG', { all: opt(list(1, 1, byteString())) });
    const found = refusal(() => encode(big, { all: ['00'.repeat(40000), '00'.repeat(40000)] }));
    expect(found).toEqual({ kind: 'RangeError', path: ['all'], code: 'ERR_ATTRIBUTE_TOO_LONG' });
  });
});

describe('the path of a bad value', () => {
  test.each([
    [{ name: 5 }, 'TypeError name'],
    [{ name: 'a', port: 70000 }, 'RangeError port'],
    [{ name: 'a', inner: { id: 'x' } }, 'TypeError inner.id'],
    [{ name: 'a', inner: { label: 'x' } }, 'TypeError inner.id'],
    [{ name: 'a', inner: { id: 1, label: 'x'.repeat(16) } }, 'RangeError inner.label'],
    [{ name: 'a', items: [{ id: 1 }, { id: -1 }] }, 'RangeError items.1.id'],
    [{ name: 'a', items: [{ id: 1 }, 7] }, 'TypeError items.1'],
    [{ name: 'a', items: { id: 1 } }, 'TypeError items'],
    [{ name: 'a', numbers: [1, 2, 70000] }, 'RangeError numbers.2'],
    [{ name: 'a', more: [[{ id: 1 }], [{ id: 1 }, { id: 1, label: 9 }]] }, 'TypeError more.1.1.label'],
    [{ name: 'a', limits: { low: 1, high: -1 } }, 'RangeError limits.high'],
    [{ name: 'a', marks: ['a', 'c'] }, 'TypeError marks.1'],
    [{ name: 'a', weight: 'heavy' }, 'TypeError weight'],
    [{ name: 'a', unknown: [{ type: 99, bytes: 'zz' }] }, 'TypeError unknown.0'],
    [{ name: 'a', unknown: 'ff' }, 'TypeError unknown'],
  ])('in %j is %s', (value, expected) => {
    expect(refusedAt(table as Type<never>, value)).toBe(expected);
  });
});

describe('attributes without a row', () => {
  const name: Raw = [1, '6100'];

  test('are unchanged after reading and writing, at the top and in nests and lists', () => {
    const raw = tlv(
      name,
      [
        8,
        [
          [1, '00000005'],
          [77, 'beef'],
        ],
      ],
      [
        9,
        [
          [
            1,
            [
              [1, '00000001'],
              [3, ''],
            ],
          ],
        ],
      ],
      [500, 'c0ffee'],
    );
    const value = rowOf(raw);
    expect(value).toEqual({
      name: 'a',
      inner: { id: 5, unknown: [{ type: 77, bytes: 'beef' }] },
      items: [{ id: 1, unknown: [{ type: 3, bytes: '' }] }],
      unknown: [{ type: 500, bytes: 'c0ffee' }],
    });
    expect(rowOf(encode(table, value))).toEqual(value);
  });

  test.each([
    ['an integer of another length', 2, '000050'],
    ['text without its NUL', 1, '61'],
    ['a flag with a payload', 4, '00'],
    ['an address of five bytes', 7, '0102030405'],
    ['a structure that is too short', 13, '00000001'],
    ['a nest whose inside lies', 8, 'ff00010000'],
    ['a nest without what it must have', 8, '0700020061620000'],
    ['a list with something else in it', 10, '0600040000500000'],
    ['too many bytes', 11, 'aa'.repeat(41)],
  ])('include %s, which is kept raw', (_what, type, payload) => {
    const value = rowOf(tlv(name, [type, payload]));
    expect(value).toEqual({ name: 'a', unknown: [{ type, bytes: payload }] });
    const written = encode(table, value);
    expect(rowOf(written)).toEqual(value);
    expect(toHex(written)).toContain(payload);
  });

  test('include the second occurrence of a known attribute', () => {
    const value = rowOf(tlv(name, [2, '0050'], [2, '0051']));
    expect(value).toEqual({ name: 'a', port: 80, unknown: [{ type: 2, bytes: '0051' }] });
    expect(encode(table, value)).toEqual(tlv(name, [2, '0050'], [2, '0051']));
  });

  test('are neither lost nor changed by any table', () => {
    // All that can be in a message: any number, any payload, and what the rows know.
    const number = fc.oneof(fc.nat(15), fc.nat(0x3fff));
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 12 }).map(raw => toHex(raw)),
      fc.array(
        fc.tuple(
          fc.nat(3),
          fc.uint8Array({ maxLength: 6 }).map(raw => toHex(raw)),
        ),
        { maxLength: 3 },
      ),
    );
    const message = fc.array(fc.tuple(number, payload) as fc.Arbitrary<Raw>, { maxLength: 12 });
    // A structure that is longer loses its tail, and the flag bits of numbers are not kept: neither is a row here.
    const plain = (rows: readonly Raw[]) => rows.filter(([type]) => type !== 13 && type !== 12);
    const split = (raw: Uint8Array, depth = 2): unknown[] => {
      const source = sourceOf(raw);
      const all: unknown[] = [];
      for (let at = 0; at < raw.length; ) {
        const length = source.view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
        const type = source.view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & 0x3fff;
        const inside = raw.subarray(at + 4, at + length);
        all.push(
          `${type} ${depth > 0 && [8, 9, 10, 14].includes(type) ? [...toHex(inside)].sort().join('') : toHex(inside)}`,
        );
        at += align4(length);
      }
      return all.sort();
    };
    fc.assert(
      fc.property(message, rows => {
        const raw = tlv(name, ...plain(rows));
        const value = rowOf(raw);
        expect(value).toBeDefined();
        const again = encode(table, value);
        expect(encode(table, rowOf(again))).toEqual(again);
        // Nests may come back in the order of their rows and with the flag that says what they are.
        const without = (all: unknown[]) => all.filter(text => !/^(8|9|10|14) /.test(String(text)));
        expect(without(split(again))).toEqual(without(split(raw)));
      }),
      { numRuns: 500 },
    );
  });

  test('are written exactly as given, or rejected', () => {
    const refused = (unknown: unknown) => refusedAt(table as Type<never>, { name: 'a', unknown: [unknown] });
    expect(refused({ type: 99, bytes: '00' })).toBeUndefined();
    for (const type of [-1, 0.5, 0x4000, 70000, Number.NaN]) {
      expect(refused({ type, bytes: '00' }), String(type)).toBe('RangeError unknown.0.type');
    }
    expect(refused({ type: '1', bytes: '00' })).toBe('TypeError unknown.0');
    expect(refused(null)).toBe('TypeError unknown.0');
    expect(refused({ type: 99, bytes: '00', in: 'EXTRA' })).toBeUndefined();
    expect(refused({ type: 99, bytes: '00', in: 'EXTAR' })).toBe('RangeError unknown.0.in');
  });
});

describe('a nest without an object of its own', () => {
  const name: Raw = [1, '6100'];

  test('has its fields in the surrounding object', () => {
    const raw = tlv(name, [
      12 | 0x8000,
      [
        [1, '07'],
        [2, '0008'],
      ],
    ]);
    expect(rowOf(raw)).toEqual({ name: 'a', color: 7, weight: 8 });
    expect(encode(table, { name: 'a', color: 7, weight: 8 })).toEqual(raw);
  });

  test('is written only when it has a field', () => {
    expect(encode(table, { name: 'a' })).toEqual(tlv(name));
    expect(encode(table, { name: 'a', weight: 8 })).toEqual(tlv(name, [12 | 0x8000, [[2, '0008']]]));
  });

  test('keeps the place of its unknown attributes', () => {
    const raw = tlv(
      name,
      [
        12 | 0x8000,
        [
          [1, '07'],
          [9, 'ff'],
        ],
      ],
      [99, 'ee'],
    );
    const value = rowOf(raw);
    expect(value).toEqual({
      name: 'a',
      color: 7,
      unknown: expect.arrayContaining([
        { type: 9, bytes: 'ff', in: 'EXTRA' },
        { type: 99, bytes: 'ee' },
      ]),
    });
    expect(encode(table, value)).toEqual(raw);
  });

  test('is kept raw where it is empty, repeated or malformed', () => {
    for (const payload of ['', 'ff00010007000000']) {
      const value = rowOf(tlv(name, [12, payload]));
      expect(value).toEqual({ name: 'a', unknown: [{ type: 12, bytes: payload }] });
    }
    const twice = rowOf(tlv(name, [12, [[1, '07']]], [12, [[1, '09']]]));
    expect(twice).toEqual({ name: 'a', color: 7, unknown: [{ type: 12, bytes: '0500010009000000' }] });
  });
});

describe('wrong lengths', () => {
  test.each([
    ['shorter than a header', '03000100'],
    ['longer than what is left', '0900010061626364'],
    ['zero', '00000000'],
    ['followed by half a header', '0500010061000000ffff'],
  ])('are reported: %s', (_what, hex) => {
    expect(() => rowOf(fromHex(hex)!)).toThrow(DecodeError);
  });

  test('do not include the missing padding of the last attribute', () => {
    expect(rowOf(fromHex('060001006100')!)).toEqual({ name: 'a' });
  });

  test('lead to a value, undefined or a DecodeError for any bytes', () => {
    const valid = rowValue.map(value => encode(table, value));
    const damaged = fc
      .tuple(valid, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }), fc.nat(200))
      .map(([raw, changes, cut]) => {
        const copy = raw.slice(0, Math.max(0, raw.length - (cut > 100 ? cut - 100 : 0)));
        for (const [at, byte] of changes) if (copy.length > 0) copy[at % copy.length] = byte;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 100 })), raw => {
        let value: Row | undefined;
        try {
          value = rowOf(raw);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        // What was read can be written, and nothing is lost when that is read again.
        if (value === undefined) return;
        const written = encode(table, value);
        expect(encode(table, rowOf(written))).toEqual(written);
      }),
      { numRuns: 1000 },
    );
  });
});
