import { bitmask, lowestOne } from '../bits.ts';
import { binary, isConstant } from '../nodes.ts';
import { type Binary, type MapLookup, type Node, type Range, type Relation, refuse, type Value } from '../tree.ts';
import type { Evaluator } from './ir.ts';

/** Swaps the ends of a range that crosses midnight, and negates the match: such a range is all times that are not between the two ends. */
export function swapAcrossMidnight(e: Evaluator, relation: Relation): void {
  const range = relation.right as Range;
  e.evaluateEnds(range);
  if ((range.left as Value).value <= (range.right as Value).value) return;
  if (relation.op !== '==' && relation.op !== 'in' && relation.op !== '!=') return;
  [range.left, range.right] = [range.right, range.left];
  relation.op = relation.op === '!=' ? '==' : '!=';
}

/*
 * Moves a shift from the loaded value to the constant. A constant that is shifted the other way saves the kernel an instruction.
 */

/** Folds the shift of a match's left side into its right side. */
export function foldShift(e: Evaluator, relation: Relation): void {
  const { left } = relation;
  if (left.kind !== 'binary') return;
  const right = foldInto(e, left, relation.right);
  if (right === undefined) return;
  relation.right = right;
  relation.left = withoutLast(left);
}

export function foldKeyShift(e: Evaluator, map: MapLookup): void {
  if (map.key.kind !== 'binary' || map.mappings.kind !== 'set-reference') return;
  const right = foldInto(e, map.key, map.mappings);
  if (right === undefined) return;
  map.key = withoutLast(map.key);
}

function foldInto(e: Evaluator, left: Binary, right: Node): Node | undefined {
  switch (right.kind) {
    case 'value':
    case 'range':
      return mayFold(e, left, right) ? applied(e, left, right) : undefined;
    case 'set-reference': {
      const { set } = right;
      if (!set.anonymous) return undefined;
      if (!set.members.every(member => mayFold(e, left, member.kind === 'mapping' ? member.left.key : member.key)))
        return undefined;
      for (const member of set.members) {
        const element = member.kind === 'mapping' ? member.left : member;
        element.key = applied(e, left, element.key);
      }
      return right;
    }
    default:
      return undefined;
  }
}

function mayFold(e: Evaluator, left: Binary, right: Node): boolean {
  if (right.kind === 'range') return mayFold(e, left, right.left) && mayFold(e, left, right.right);
  if (right.kind !== 'value') return false;
  switch (left.op) {
    case '<<': {
      const shift = Number((left.right as Value).value);
      if (lowestOne(right.value) < shift)
        throw refuse(right.place, `a number whose last ${shift} bits are 0`, right.value);
      return true;
    }
    case '>>': {
      const shift = Number((left.right as Value).value);
      if (e.bits < right.bits + shift) e.bits += shift;
      return true;
    }
    case '^':
      return isConstant(left.right);
    default:
      return false;
  }
}

const REVERSE = { '<<': '>>', '>>': '<<', '^': '^' } as const;

function applied(e: Evaluator, left: Binary, right: Node): Node {
  if (right.kind === 'range') {
    right.left = applied(e, left, right.left);
    right.right = applied(e, left, right.right);
    return right;
  }
  if (right.kind !== 'value') return right;
  const op = REVERSE[left.op as keyof typeof REVERSE];
  // The shift is evaluated more than once, so that each constant needs a copy.
  return e.evaluate(binary(op, right, { ...(left.right as Value) }, 0, right.place));
}

function withoutLast(left: Binary): Node {
  if (left.op !== '>>') {
    left.left.type = left.type;
    return left.left;
  }
  // The mask clears the bits that the shift would have dropped.
  const shift = BigInt((left.right as Value).value);
  left.op = '&';
  (left.right as Value).value = bitmask(left.left.bits) << shift;
  return left;
}
