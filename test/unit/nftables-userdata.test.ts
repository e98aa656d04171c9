import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributes, fromHex, inline, NO_CONTEXT, sourceOf, type Type, toHex } from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';
import { commentUserdata } from '../../src/nf_tables/userdata.ts';
import { encode, refusedAt, survives, tlv } from '../support/codec-values.ts';

describe('the user data of nft', () => {
  const comment = fc.string({ unit: 'grapheme', maxLength: 30 }).filter(value => !value.includes('\0'));
  const read = (raw: Uint8Array) => commentUserdata.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);

  test('has one byte for the number, one for the length, and no padding', () => {
    expect(toHex(encode(commentUserdata, { comment: 'abc' }))).toBe('000461626300');
    survives<{ comment?: string }>(commentUserdata, fc.record({ comment }));
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
