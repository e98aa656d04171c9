import fc from 'fast-check';
import { expect } from 'vitest';
import {
  attribute,
  attributes,
  bytes,
  flag,
  flags,
  fromHex,
  type Infer,
  IP_ADDRESS,
  inline,
  list,
  listOf,
  NO_CONTEXT,
  named,
  nested,
  opt,
  sourceOf,
  string,
  struct,
  type Type,
  toHex,
  U16_BE,
  U32_BE,
  U32_NE,
  u8,
  u16be,
  u32be,
  u64be,
  Writer,
} from '../../src/codec/index.ts';
import { isArgumentError, type Path } from '../../src/errors.ts';

export const encode = <T>(type: Type<T>, value: unknown): Uint8Array => {
  const writer = new Writer(1);
  type.write(writer, value as T, NO_CONTEXT);
  return writer.copy();
};

export const decode = <T>(type: Type<T>, raw: Uint8Array): T | undefined => {
  // With foreign bytes around it: nobody may read beyond his own.
  const around = Uint8Array.from([0xaa, 0xbb, 0xcc, ...raw, 0xdd, 0xee]);
  return type.read(sourceOf(around), 3, 3 + raw.length, NO_CONTEXT);
};

/** What a value is refused with: 'RangeError a.b[1]'. */
export function refusal(run: () => unknown): { kind: string; path: Path; code: string } | undefined {
  try {
    run();
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    return { kind: error.constructor.name, path: error.path, code: error.code };
  }
  return undefined;
}

export const refusedAt = (type: Type<never>, value: unknown): string | undefined => {
  const found = refusal(() => encode(type, value));
  return found && `${found.kind} ${found.path.join('.')}`.trimEnd();
};

export const survives = <T>(type: Type<T>, arbitrary: fc.Arbitrary<T>) =>
  fc.assert(fc.property(arbitrary, value => void expect(decode(type, encode(type, value))).toEqual(value)));

/* A table with one row of each kind, as the families have them. */
export const item = attributes('ITEM', { id: u32be(1), label: opt(string(2, 15)) });
const extra = attributes('EXTRA', { color: opt(u8(1)), weight: opt(u16be(2)) });
export const table = attributes('TABLE', {
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
export type Row = Infer<typeof table>;

export const shortText = fc.string({ unit: 'grapheme-ascii', maxLength: 15 });
export const itemValue = fc.record({ id: fc.nat(), label: shortText }, { requiredKeys: ['id'] });
export const rowValue: fc.Arbitrary<Row> = fc.record(
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

export const rowOf = (raw: Uint8Array): Row | undefined => table.read(sourceOf(raw), 0, raw.length, NO_CONTEXT);

/** Attributes, written by hand: [number, payload as hex or attributes]. */
export type Raw = readonly [type: number, payload: string | readonly Raw[]];
export function tlv(...rows: readonly Raw[]): Uint8Array {
  const writer = new Writer(16);
  for (const [type, payload] of rows) {
    const start = writer.beginAttribute(type);
    writer.raw(typeof payload === 'string' ? fromHex(payload)! : tlv(...payload));
    writer.endAttribute(start);
  }
  return writer.copy();
}
