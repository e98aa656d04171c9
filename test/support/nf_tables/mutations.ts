import fc from 'fast-check';
import type { Attribute, Message } from './wire.ts';

/* Changes of one attribute of a message, at any depth. */

interface Mutation {
  readonly at: number;
  readonly how: number;
  readonly by: number;
}
export const mutation: fc.Arbitrary<Mutation> = fc.record({ at: fc.nat(60), how: fc.nat(7), by: fc.nat(255) });

/** Changes one attribute, at any depth. */
export function mutated(original: Message, { at, how, by }: Mutation): Message {
  let count = 0;
  const total = countOf(original.attributes);
  if (total === 0) return original;
  const chosen = at % total;
  const walk = (list: readonly Attribute[]): Attribute[] =>
    list.flatMap(([type, content]): Attribute[] => {
      const mine = count++ === chosen;
      if (!mine) return [[type, content instanceof Uint8Array ? content : walk(content)]];
      if (!(content instanceof Uint8Array)) count += countOf(content);
      if (how === 0) return [];
      if (how === 1)
        return [
          [type, content],
          [type, content],
        ];
      if (how === 2) return [[by % 40, content]];
      if (!(content instanceof Uint8Array)) return how < 5 ? [[type, []]] : [[type, Buffer.alloc(by % 6)]];
      if (how === 3) return [[type, content.subarray(0, by % (content.length + 1))]];
      if (how === 4) return [[type, Buffer.concat([content, Buffer.alloc(1 + (by % 5), by)])]];
      if (how === 5) return [[type, Buffer.from(content).fill(by, Math.max(0, content.length - 1))]];
      if (how === 6) return [[type, Buffer.alloc(content.length, by < 128 ? 0 : 255)]];
      return [[type, []]];
    });
  return { ...original, attributes: walk(original.attributes) };
}
const countOf = (list: readonly Attribute[]): number =>
  list.reduce((sum, [, content]) => sum + 1 + (content instanceof Uint8Array ? 0 : countOf(content)), 0);
