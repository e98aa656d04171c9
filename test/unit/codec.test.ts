import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  align4,
  attribute,
  attributes,
  byteString,
  bytes,
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  FLAG,
  flag,
  flags,
  fromHex,
  HOST_IS_LITTLE_ENDIAN,
  type Infer,
  IP_ADDRESS,
  inline,
  list,
  listOf,
  NO_CONTEXT,
  named,
  namedBits,
  nested,
  opt,
  S32_BE,
  S32_NE,
  sourceOf,
  string,
  struct,
  type Type,
  text,
  toHex,
  U8,
  U16_BE,
  U16_NE,
  U32_BE,
  U32_NE,
  U64_BE,
  U64_NE,
  u8,
  u16be,
  u32be,
  u64be,
  Writer,
} from '../../src/codec/index.ts';
import { DecodeError, isArgumentError, type Path } from '../../src/errors.ts';
import { commentUserdata } from '../../src/nf_tables/userdata.ts';

const encode = <T>(type: Type<T>, value: unknown): Uint8Array => {
  const writer = new Writer(1);
  type.write(writer, value as T, NO_CONTEXT);
  return writer.copy();
};

const decode = <T>(type: Type<T>, raw: Uint8Array): T | undefined => {
  // With foreign bytes around it: nobody may read beyond his own.
  const around = Uint8Array.from([0xaa, 0xbb, 0xcc, ...raw, 0xdd, 0xee]);
  return type.read(sourceOf(around), 3, 3 + raw.length, NO_CONTEXT);
};

/** What a value is refused with: 'RangeError a.b[1]'. */
function refusal(run: () => unknown): { kind: string; path: Path; code: string } | undefined {
  try {
    run();
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    return { kind: error.constructor.name, path: error.path, code: error.code };
  }
  return undefined;
}

const refusedAt = (type: Type<never>, value: unknown): string | undefined => {
  const found = refusal(() => encode(type, value));
  return found && `${found.kind} ${found.path.join('.')}`.trimEnd();
};

const survives = <T>(type: Type<T>, arbitrary: fc.Arbitrary<T>) =>
  fc.assert(fc.property(arbitrary, value => void expect(decode(type, encode(type, value))).toEqual(value)));

describe('integers', () => {
  const setters = {
    u8: [U8, 1, 0, 0xff, (v: DataView, n: number) => v.setUint8(0, n)],
    u16be: [U16_BE, 2, 0, 0xffff, (v: DataView, n: number) => v.setUint16(0, n)],
    u16ne: [U16_NE, 2, 0, 0xffff, (v: DataView, n: number) => v.setUint16(0, n, HOST_IS_LITTLE_ENDIAN)],
    u32be: [U32_BE, 4, 0, 0xffffffff, (v: DataView, n: number) => v.setUint32(0, n)],
    u32ne: [U32_NE, 4, 0, 0xffffffff, (v: DataView, n: number) => v.setUint32(0, n, HOST_IS_LITTLE_ENDIAN)],
    s32be: [S32_BE, 4, -(2 ** 31), 2 ** 31 - 1, (v: DataView, n: number) => v.setInt32(0, n)],
    s32ne: [S32_NE, 4, -(2 ** 31), 2 ** 31 - 1, (v: DataView, n: number) => v.setInt32(0, n, HOST_IS_LITTLE_ENDIAN)],
  } as const;

  test.each(Object.entries(setters))(
    'of the type %s are unchanged after writing and reading, and rejected out of range',
    (_name, [type, size, min, max, set]) => {
      const inside = fc.integer({ min, max });
      survives(type, inside);
      fc.assert(
        fc.property(inside, value => {
          const view = new DataView(new ArrayBuffer(size));
          set(view, value);
          expect(encode(type, value)).toEqual(new Uint8Array(view.buffer));
        }),
      );
      for (const edge of [min, max]) expect(decode(type, encode(type, edge))).toBe(edge);
      for (const beyond of [min - 1, max + 1, min + 0.5, Number.NaN, Number.POSITIVE_INFINITY])
        expect(refusedAt(type as Type<never>, beyond), String(beyond)).toBe('RangeError');
      for (const other of ['1', 1n, true, null, undefined, [1], {}])
        expect(refusedAt(type as Type<never>, other)).toBe('TypeError');
      for (const length of [0, size - 1, size + 1]) expect(decode(type, new Uint8Array(length))).toBeUndefined();
    },
  );

  test.each([
    ['u64be', U64_BE, false],
    ['u64ne', U64_NE, HOST_IS_LITTLE_ENDIAN],
  ] as const)(
    'of the 64-bit type %s are unchanged after writing and reading, and rejected out of range',
    (_name, type, littleEndian) => {
      const inside = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
      survives(type, inside);
      fc.assert(
        fc.property(inside, value => {
          const view = new DataView(new ArrayBuffer(8));
          view.setBigUint64(0, value, littleEndian);
          expect(encode(type, value)).toEqual(new Uint8Array(view.buffer));
        }),
      );
      fc.assert(fc.property(fc.maxSafeNat(), n => void expect(encode(type, n)).toEqual(encode(type, BigInt(n)))));
      for (const beyond of [-1n, 2n ** 64n, -1]) expect(refusedAt(type as Type<never>, beyond)).toBe('RangeError');
      for (const other of [2 ** 53, 0.5, '1', null, undefined])
        expect(refusedAt(type as Type<never>, other)).toBe('TypeError');
      for (const length of [0, 4, 7, 9]) expect(decode(type, new Uint8Array(length))).toBeUndefined();
    },
  );
});

describe('a text', () => {
  const wellFormed = fc.string({ unit: 'grapheme' }).filter(value => !value.includes('\0'));

  test('is unchanged after writing and reading, whatever its letters', () => {
    survives(text(1000), wellFormed);
  });

  test('is written as UTF-8 with a NUL at its end', () => {
    fc.assert(
      fc.property(wellFormed, value => {
        expect(encode(text(1000), value)).toEqual(Uint8Array.from([...Buffer.from(value), 0]));
      }),
    );
  });

  test('is measured in bytes: rejects a longer one with ERR_TOO_LONG', () => {
    fc.assert(
      fc.property(wellFormed, fc.nat(40), (value, max) => {
        const found = refusal(() => encode(text(max), value));
        expect(found?.code).toBe(Buffer.byteLength(value) > max ? 'ERR_TOO_LONG' : undefined);
      }),
    );
  });

  test('is rejected where it could not be read back', () => {
    expect(refusedAt(text(9) as Type<never>, 'a\0b')).toBe('RangeError');
    expect(refusedAt(text(9) as Type<never>, 'a\ud800b')).toBe('RangeError');
    expect(refusedAt(text(9) as Type<never>, '\udc00')).toBe('RangeError');
    for (const other of [1, null, undefined, ['a']]) expect(refusedAt(text(9) as Type<never>, other)).toBe('TypeError');
  });

  test('is not read from bytes that are not UTF-8', () => {
    for (const raw of ['', '61', '610000', '61006200', 'ff00', 'c328', 'eda08000']) {
      expect(decode(text(9), fromHex(raw)!), raw).toBeUndefined();
    }
    expect(decode(text(9), fromHex('efbbbf6100')!)).toBe('\ufeffa');
    expect(decode(text(9), fromHex('00')!)).toBe('');
    expect(decode(text(3), fromHex('6162636400')!), 'longer than it may be').toBeUndefined();
  });
});

describe('bytes', () => {
  test('are lower-case hex, and accepted in three forms', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), raw => {
        const hex = Buffer.from(raw).toString('hex');
        expect(decode(byteString(), raw)).toBe(hex);
        for (const form of [hex, hex.toUpperCase(), raw]) expect(encode(byteString(), form)).toEqual(raw);
        expect(toHex(raw)).toBe(hex);
        expect(fromHex(hex)).toEqual(raw);
      }),
    );
  });

  test('outside of their limits are rejected when written, and kept raw when read', () => {
    const type = byteString({ min: 2, max: 3 }) as Type<never>;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 6 }), raw => {
        const fits = raw.length >= 2 && raw.length <= 3;
        expect(refusedAt(type, raw)).toBe(fits ? undefined : 'RangeError');
        expect(decode(type, raw) !== undefined).toBe(fits);
      }),
    );
    for (const other of ['abc', 'zz', '0x11', 5, null, undefined]) expect(refusedAt(type, other)).toBe('TypeError');
  });
});

describe('a flag', () => {
  test('is present or absent', () => {
    expect(encode(FLAG, true)).toHaveLength(0);
    expect(decode(FLAG, new Uint8Array(0))).toBe(true);
    expect(decode(FLAG, new Uint8Array(1))).toBeUndefined();
    for (const other of [false, 1, 'true', null, undefined])
      expect(refusedAt(FLAG as Type<never>, other)).toBe('TypeError');
  });
});

describe('a number with names', () => {
  const type = named(U16_BE, { accept: 1, drop: 0, jump: 700 });

  test('is read as its name, or as a number without one', () => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(0, 1, 700), fc.nat(0xffff)), number => {
        const value = decode(type, encode(U16_BE, number));
        expect(value).toBe({ 1: 'accept', 0: 'drop', 700: 'jump' }[number] ?? number);
        expect(encode(type, value)).toEqual(encode(U16_BE, number));
        expect(encode(type, number)).toEqual(encode(U16_BE, number));
      }),
    );
  });

  test('accepts no other names, nor those that every object inherits', () => {
    for (const other of ['Accept', '', 'toString', 'constructor', '__proto__', '1', null, undefined])
      expect(refusedAt(type as Type<never>, other), String(other)).toBe('TypeError');
    expect(refusedAt(type as Type<never>, 70000)).toBe('RangeError');
    expect(decode(type, new Uint8Array(3))).toBeUndefined();
  });
});

describe('bits with names', () => {
  const type = flags(U32_BE, { low: 1, high: 0x80000000, middle: 0x10 });

  test('are unchanged after writing and reading, those without a name as one number', () => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(0, 1, 0x80000001, 0x11), fc.integer({ min: 0, max: 0xffffffff })), bits => {
        const value = decode(type, encode(U32_BE, bits));
        expect(encode(type, value)).toEqual(encode(U32_BE, bits));
        expect(encode(type, [bits])).toEqual(encode(U32_BE, bits));
        expect(value?.filter(flag => typeof flag === 'number').length ?? 0).toBeLessThanOrEqual(1);
      }),
    );
    expect(decode(type, encode(U32_BE, 0x80000013))).toEqual(['low', 'high', 'middle', 2]);
    expect(decode(type, encode(U32_BE, 0))).toEqual([]);
    expect(namedBits(0xc0000000, { high: 0x80000000 })).toEqual(['high', 0x40000000]);
  });

  test('are rejected at their place in the list', () => {
    const refused = (...given: unknown[]) => refusedAt(type as Type<never>, given);
    expect(refused('low', 'up')).toBe('TypeError 1');
    expect(refused('toString')).toBe('TypeError 0');
    expect(refused('low', null)).toBe('TypeError 1');
    for (const beyond of [2 ** 32, 2 ** 33 + 1, -1, 0.5, Number.NaN])
      expect(refused('low', beyond), String(beyond)).toBe('RangeError 1');
    expect(refusedAt(type as Type<never>, 'low')).toBe('TypeError');
    expect(refusedAt(type as Type<never>, undefined)).toBe('TypeError');
    expect(refusedAt(flags(U8, { low: 1 }) as Type<never>, [256])).toBe('RangeError');
  });
});

describe('an address', () => {
  test('has as many bytes as its version, and is rejected with ERR_INVALID_ADDRESS otherwise', () => {
    survives(IP_ADDRESS, fc.ipV4());
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), raw => {
        expect(encode(IP_ADDRESS, decode(IP_ADDRESS, raw))).toEqual(raw);
      }),
    );
    for (const length of [0, 3, 5, 15, 17]) expect(decode(IP_ADDRESS, new Uint8Array(length))).toBeUndefined();
    expect(refusal(() => encode(IP_ADDRESS, '1.2.3'))).toEqual({
      kind: 'RangeError',
      path: [],
      code: 'ERR_INVALID_ADDRESS',
    });
    expect(refusedAt(IP_ADDRESS as Type<never>, 1)).toBe('TypeError');
  });
});

describe('a structure', () => {
  const point = struct('point', {
    x: [2, U16_BE],
    _pad: [2, U16_NE],
    kind: [1, named(U8, { round: 1 })],
    y: [4, S32_BE],
  });

  test('has its members in order', () => {
    expect(point.size).toBe(9);
    expect(point.members.map(({ key, offset, size }) => [key, offset, size])).toEqual([
      ['x', 0, 2],
      ['_pad', 2, 2],
      ['kind', 4, 1],
      ['y', 5, 4],
    ]);
    expect(toHex(encode(point, { x: 0x102, kind: 'round', y: -2 }))).toBe('0102000001fffffffe');
  });

  test('is unchanged after writing and reading', () => {
    const kind = fc.oneof(fc.constant('round' as const), fc.integer({ min: 2, max: 255 }));
    survives(point, fc.record({ x: fc.nat(0xffff), kind, y: fc.integer() }));
  });

  test('may be longer than the known layout, but not shorter', () => {
    expect(decode(point, fromHex('0102000001fffffffeaaaa')!)).toEqual({ x: 0x102, kind: 'round', y: -2 });
    expect(decode(point, new Uint8Array(8))).toBeUndefined();
  });

  test('names the member that is wrong or missing', () => {
    expect(refusedAt(point as Type<never>, { x: 1, kind: 'flat', y: 1 })).toBe('TypeError kind');
    expect(refusedAt(point as Type<never>, { x: 70000, kind: 1, y: 1 })).toBe('RangeError x');
    expect(refusedAt(point as Type<never>, { x: 1, kind: 1 })).toBe('TypeError y');
    for (const other of [null, undefined, 1]) expect(refusedAt(point as Type<never>, other)).toBe('TypeError');
  });

  test('finds the member of a byte', () => {
    const source = sourceOf(new Uint8Array(20));
    const paths = Array.from({ length: 10 }, (_, i) => point.locate(source, 7, 16, 7 + i)[0]);
    expect(paths).toEqual(['x', 'x', '_pad', '_pad', 'kind', 'y', 'y', 'y', 'y', undefined]);
  });
});

/* A table with one row of each kind, as the families have them. */
const item = attributes('ITEM', { id: u32be(1), label: opt(string(2, 15)) });
const extra = attributes('EXTRA', { color: opt(u8(1)), weight: opt(u16be(2)) });
const table = attributes('TABLE', {
  name: string(1, 31),
  port: opt(u16be(2)),
  handle: opt(u64be(3)),
  isDefault: opt(flag(4)),
  mode: opt(attribute(5, named(U32_BE, { fast: 1, slow: 2 }))),
  marks: opt(attribute(6, flags(U32_NE, { a: 1, b: 2 }))),
  address: opt(attribute(7, IP_ADDRESS)),
  inner: opt(nested(8, item)),
  items: opt(list(9, 1, item)),
  numbers: opt(list(10, 3, U16_BE)),
  data: opt(bytes(11, { max: 40 })),
  extra: inline(12, extra),
  limits: opt(attribute(13, struct('limits', { low: [4, U32_NE], high: [4, U32_NE] }))),
  more: opt(list(14, 1, listOf(2, item))),
});
type Row = Infer<typeof table>;

const shortText = fc.string({ unit: 'grapheme-ascii', maxLength: 15 });
const itemValue = fc.record({ id: fc.nat(), label: shortText }, { requiredKeys: ['id'] });
const rowValue: fc.Arbitrary<Row> = fc.record(
  {
    name: shortText,
    port: fc.nat(0xffff),
    handle: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    isDefault: fc.constant(true),
    mode: fc.constantFrom('fast', 'slow', 7),
    marks: fc.constantFrom<('a' | 'b' | number)[]>([], ['a'], ['a', 'b'], ['b', 12]),
    address: fc.oneof(fc.ipV4(), fc.constantFrom('::1', 'fd00::5')),
    inner: itemValue,
    items: fc.array(itemValue, { maxLength: 4 }),
    numbers: fc.array(fc.nat(0xffff), { maxLength: 4 }),
    data: fc.uint8Array({ maxLength: 40 }).map(raw => toHex(raw)),
    color: fc.nat(255),
    weight: fc.nat(0xffff),
    limits: fc.record({ low: fc.nat(), high: fc.nat() }),
    more: fc.array(fc.array(itemValue, { maxLength: 2 }), { maxLength: 3 }),
  },
  { requiredKeys: ['name'] },
) as fc.Arbitrary<Row>;

const rowOf = (raw: Uint8Array): Row | undefined => table.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);

/** Attributes, written by hand: [number, payload as hex or attributes]. */
type Raw = readonly [type: number, payload: string | readonly Raw[]];
function tlv(...rows: readonly Raw[]): Uint8Array {
  const writer = new Writer(16);
  for (const [type, payload] of rows) {
    const start = writer.beginAttribute(type);
    writer.raw(typeof payload === 'string' ? fromHex(payload)! : tlv(...payload));
    writer.endAttribute(start);
  }
  return writer.copy();
}

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

describe('the user data of nft', () => {
  const comment = fc.string({ unit: 'grapheme', maxLength: 30 }).filter(value => !value.includes('\0'));
  const read = (raw: Uint8Array) => commentUserdata.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);

  test('has one byte for the number, one for the length, and no padding', () => {
    expect(toHex(encode(commentUserdata, { comment: 'abc' }))).toBe('000461626300');
    survives(commentUserdata, fc.record({ comment }));
  });

  test('keeps unknown entries', () => {
    const raw = fromHex(`000261000903010203`)!;
    expect(read(raw)).toEqual({ comment: 'a', unknown: [{ type: 9, bytes: '010203' }] });
    expect(encode(commentUserdata, read(raw))).toEqual(raw);
    expect(refusedAt(commentUserdata as Type<never>, { unknown: [{ type: 256, bytes: '' }] })).toBe(
      'RangeError unknown.0.type',
    );
  });

  test('is rejected when malformed, and kept raw by the surrounding table', () => {
    const lie = '000961';
    expect(() => read(fromHex(lie)!)).toThrow(DecodeError);
    const around = attributes('R', { data: inline(1, commentUserdata) });
    const raw = tlv([1, lie]);
    const value = around.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);
    expect(value).toEqual({ unknown: [{ type: 1, bytes: lie }] });
    expect(encode(around, value)).toEqual(raw);
  });

  test('may have unknown attributes of higher numbers', () => {
    const around = attributes('R', { data: inline(1, commentUserdata) });
    const raw = tlv([1, '00026100'], [500, 'ff']);
    const value = around.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);
    expect(value).toEqual({ comment: 'a', unknown: [{ type: 500, bytes: 'ff' }] });
    expect(encode(around, value)).toEqual(raw);
  });

  test('is not marked as a nest', () => {
    const around = attributes('R', { data: inline(1, commentUserdata) });
    expect(encode(around, { comment: 'a' })).toEqual(tlv([1, '00026100']));
  });
});

describe('a writer', () => {
  type Step = (writer: Writer) => void;
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.nat(255).map(v => (w: Writer) => w.u8(v)),
    fc.tuple(fc.nat(0xffff), fc.boolean()).map(
      ([v, e]) =>
        (w: Writer) =>
          w.u16(v, e),
    ),
    fc.tuple(fc.nat(), fc.boolean()).map(
      ([v, e]) =>
        (w: Writer) =>
          w.u32(v, e),
    ),
    fc.tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.boolean()).map(
      ([v, e]) =>
        (w: Writer) =>
          w.u64(v, e),
    ),
    fc.uint8Array({ maxLength: 50 }).map(v => (w: Writer) => w.raw(v)),
    fc.nat(20).map(v => (w: Writer) => w.zeros(v)),
    fc.string({ unit: 'grapheme' }).map(v => (w: Writer) => w.string(v)),
    fc.uint8Array({ maxLength: 20 }).map(v => (w: Writer) => {
      const start = w.beginNest(5);
      w.raw(v);
      w.endAttribute(start);
    }),
  );
  const run = (writer: Writer, steps: readonly Step[]): Uint8Array => {
    for (const each of steps) each(writer);
    return writer.copy();
  };

  test('writes the same bytes whatever its first size and former content', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const expected = run(new Writer(65536), steps);
        expect(run(new Writer(0), steps)).toEqual(expected);
        expect(run(new Writer(1), steps)).toEqual(expected);
        const used = new Writer(64);
        used.raw(new Uint8Array(5000).fill(0xff));
        used.reset();
        expect(run(used, steps)).toEqual(expected);
      }),
    );
  });

  test('grows in few steps', () => {
    const writer = new Writer(16);
    const sizes = new Set<number>();
    for (let i = 0; i < 100_000; i++) {
      writer.u8(i & 0xff);
      sizes.add(writer.bytes.length);
    }
    expect(writer.length).toBe(100_000);
    expect(sizes.size).toBeLessThanOrEqual(15);
    expect(writer.view.byteLength).toBe(writer.bytes.length);
  });

  test('returns copies that later writing does not change', () => {
    const writer = new Writer(16);
    writer.u8(1);
    const copy = writer.copy();
    writer.reset();
    writer.u8(2);
    expect(copy).toEqual(Uint8Array.of(1));
    expect(writer.length).toBe(1);
  });
});

describe('a check of an argument', () => {
  const refused = (run: () => unknown) => {
    const found = refusal(run);
    return found && `${found.kind} ${found.path.join('.')} ${found.code}`;
  };

  test('rejects unknown keys of an object', () => {
    expect(checkObject({ a: 1, b: undefined }, [], ['a'])).toBeUndefined();
    expect(refused(() => checkObject({ a: 1, b: 2 }, ['x'], ['a']))).toBe('TypeError x.b ERR_UNKNOWN_FIELD');
    for (const other of [null, undefined, 1, 'a', []])
      expect(refused(() => checkObject(other, ['x'], []))).toBe('TypeError x ERR_INVALID_ARG_TYPE');
  });

  test('accepts an integer within its limits', () => {
    expect([0, 5].map(value => checkInteger(value, [], 0, 5))).toEqual([0, 5]);
    for (const beyond of [-1, 6, 0.5, Number.NaN])
      expect(refused(() => checkInteger(beyond, ['x'], 0, 5))).toBe('RangeError x ERR_OUT_OF_RANGE');
    for (const other of ['1', 1n, null])
      expect(refused(() => checkInteger(other, ['x'], 0, 5))).toBe('TypeError x ERR_INVALID_ARG_TYPE');
  });

  test('accepts a name of a list', () => {
    expect(checkOneOf('a', [], ['a', 'b'])).toBe('a');
    expect(refused(() => checkOneOf('c', ['x'], ['a', 'b']))).toBe('RangeError x ERR_OUT_OF_RANGE');
    expect(refused(() => checkOneOf(1, ['x'], ['a']))).toBe('TypeError x ERR_INVALID_ARG_TYPE');
  });

  test('accepts a text from one byte to its limit', () => {
    expect(checkString('äb', [], 3)).toBe('äb');
    for (const bad of ['', 'äbc', 'a\0'])
      expect(refused(() => checkString(bad, ['x'], 3))).toBe('RangeError x ERR_OUT_OF_RANGE');
    expect(refused(() => checkString(5, ['x'], 3))).toBe('TypeError x ERR_INVALID_ARG_TYPE');
  });

  test('returns the version of an address', () => {
    expect(checkAddress('1.2.3.4', [])).toBe(4);
    expect(checkAddress('::1', [])).toBe(6);
    expect(refused(() => checkAddress('1.2.3', ['x']))).toBe('RangeError x ERR_INVALID_ADDRESS');
    expect(refused(() => checkAddress(1, ['x']))).toBe('TypeError x ERR_INVALID_ARG_TYPE');
  });
});
