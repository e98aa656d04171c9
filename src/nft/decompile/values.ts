import { countOnes, lowestOne } from '../bits.ts';
import { binary, value } from '../nodes.ts';
import type { Binary, Node, Value } from '../tree.ts';

/** The bits of a mask, one by one. */
export function flagsToTree(number: Value): Node {
  if (countOnes(number.value) < 2) return number;
  let tree: Value | Binary | undefined;
  for (let rest = number.value; rest > 0n; ) {
    const bit = 1n << BigInt(lowestOne(rest));
    rest ^= bit;
    const flag = value(number.bits, bit, number.type, number.order);
    tree = tree === undefined ? flag : binary('|', tree, flag);
  }
  return tree!;
}
