import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  byteString,
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  FLAG,
  flags,
  fromHex,
  HOST_IS_LITTLE_ENDIAN,
  IP_ADDRESS,
  named,
  namedBits,
  S32_BE,
  S32_NE,
  sourceOf,
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
  Writer,
} from '../../src/codec/index.ts';
import { decode, encode, refusal, refusedAt, survives } from '../support/codec-values.ts';

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
