import fc from 'fast-check';
import { fromJson, toJson } from 'netsteer';
import { describe, expect, it } from 'vitest';

/** Any value that a caller can have: ours, and those that only look like what stands for ours. */
const values = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.string(),
    fc.bigInt(),
    fc.uint8Array({ maxLength: 8 }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('$bigint', '$bytes', '$plain', '__proto__')), tie('value'), {
      maxKeys: 3,
      noNullPrototype: true,
    }),
  ),
})).value;

describe('toJson and fromJson', () => {
  it('keep 64-bit numbers and bytes', () => {
    const chain = {
      family: 'ip',
      table: 'web',
      name: 'service',
      handle: 18446744073709551615n,
      bytes: Buffer.of(10, 0),
    };
    expect(toJson(chain)).toBe(
      '{"family":"ip","table":"web","name":"service","handle":{"$bigint":"18446744073709551615"},"bytes":{"$bytes":"0a00"}}',
    );
    expect(fromJson(toJson(chain))).toEqual({ ...chain, bytes: Uint8Array.of(10, 0) });
    expect(toJson({ a: 1n }, 2)).toBe('{\n  "a": {\n    "$bigint": "1"\n  }\n}');
  });

  it('return any value unchanged', () => {
    fc.assert(
      fc.property(values, value => {
        expect(fromJson(toJson(value))).toStrictEqual(value);
      }),
      { numRuns: 2000 },
    );
  });

  it('treat a key called __proto__ as a key', () => {
    const value = fromJson<Record<string, unknown>>('{"__proto__":{"polluted":{"$bigint":"1"}}}');
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.getOwnPropertyDescriptor(value, '__proto__')?.value).toEqual({ polluted: 1n });
    expect({}).not.toHaveProperty('polluted');
  });

  it('reject other values with ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE', () => {
    expect(() => toJson(undefined)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
    expect(() => fromJson('{"rules":[{"handle":{"$bigint":"1e9"}}]}')).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE', attribute: 'rules[0].handle' }),
    );
    expect(() => fromJson('{"bytes":{"$bytes":"0g"}}')).toThrow(expect.objectContaining({ attribute: 'bytes' }));
    expect(() => fromJson('{')).toThrow(SyntaxError);
  });
});
