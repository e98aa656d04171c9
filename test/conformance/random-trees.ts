import fc from 'fast-check';
import type { Writer } from '../../src/codec/index.ts';

/** Something that could be the inside of a message: well-formed attributes of any type and content, nested as may be. */
export type Tree = { type: number; payload: Uint8Array | Tree[] };

const words = ['counter', 'cmp', 'notrack', 'inner', 'dynset', 'target', 'nonsense', 'filter', 'eth0'];

/** Payloads that are likely to be taken for something: numbers, names, nothing. */
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 24 }),
  fc.nat(300).map(n => Uint8Array.of(0, 0, n >> 8, n & 0xff)),
  fc.constantFrom(...words).map(word => new TextEncoder().encode(`${word}\0`)),
  fc.constantFrom(...words).map(word => new TextEncoder().encode(word)),
  fc.constant(new Uint8Array(0)),
);

export const trees: fc.Arbitrary<Tree[]> = fc.letrec<{ list: Tree[]; tree: Tree }>(tie => ({
  list: fc.array(tie('tree'), { maxLength: 6 }),
  tree: fc.record({
    type: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 12 }) }, { weight: 1, arbitrary: fc.nat(0x3fff) }),
    payload: fc.oneof({ depthSize: 'small' }, payload, tie('list')),
  }),
})).list;

export function writeTrees(writer: Writer, list: readonly Tree[]): void {
  for (const { type, payload: content } of list) {
    const start = writer.beginAttribute(type);
    if (content instanceof Uint8Array) writer.raw(content);
    else writeTrees(writer, content);
    writer.endAttribute(start);
  }
}
