import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { bytesOf, lowestOne, lowestZero, textNumber, textOf } from '../bits.ts';
import type { Dialect } from '../data/dialects.ts';
import { elementOf, isFlags, isSame, list, untyped, value } from '../nodes.ts';
import { type Binary, type Node, type Payload, type Relation, Undecompilable, type Value } from '../tree.ts';

/* Shapes of trees that nft writes in a shorter form. */

/** Does the node look at the packet inside a tunnel? */
export function looksInside(node: Node): boolean {
  switch (node.kind) {
    case 'binary':
      return looksInside(node.left);
    case 'concat':
      return node.parts.some(looksInside);
    case 'meta':
    case 'payload':
      return node.tunnel !== undefined;
    case 'element':
      return looksInside(node.key);
    default:
      return false;
  }
}

/** The operator of a range, for two comparisons of the same value in a row; else undefined. */
export function rangeOperator(low: Node, high: Node): '==' | '!=' | undefined {
  if (low.kind !== 'relation' || high.kind !== 'relation') return undefined;
  const op = low.op === '>=' && high.op === '<=' ? '==' : low.op === '<' && high.op === '>' ? '!=' : undefined;
  if (op === undefined) return undefined;
  const plain = (node: Node) => (node.kind === 'unary' ? node.argument : node);
  return isSame(plain(low.left), plain(high.left)) ? op : undefined;
}

export function listOf(node: Node): Node {
  if (node.kind !== 'binary' || node.op !== '|') return node;
  const parts: Node[] = [];
  const add = (each: Node): void => {
    if (each.kind === 'binary' && each.op === '|') {
      add(each.left);
      add(each.right);
    } else {
      parts.push(each);
    }
  };
  add(node);
  return list(parts);
}

/** A text ends with a NUL; one without is the beginning of a text, and is written with an asterisk. */
export function textValue(node: Value): Value {
  const bytes = bytesOf(node.bits);
  const highest = HOST_IS_LITTLE_ENDIAN ? node.value >> BigInt(bytes * 8 - 8) : node.value & 0xffn;
  const text = textOf(node.value, node.bits);
  const exact = textNumber(text);
  const shift = HOST_IS_LITTLE_ENDIAN ? 0n : BigInt(bytes * 8 - exact.bits);
  if (exact.value << shift !== node.value) throw new Undecompilable('a text with bytes behind its end');
  if (highest === 0n) {
    if (!text.endsWith('*')) return node;
    if (text.endsWith('\\*')) throw new Undecompilable('a text that ends in a backslash and an asterisk');
    const escaped = textNumber(`${text.slice(0, -1)}\\*`);
    return value(escaped.bits, escaped.value, node.type, 'host');
  }
  // nft would read the escaped asterisk as a part of the text.
  if (text.endsWith('\\')) throw new Undecompilable('the beginning of a text that ends in a backslash');
  const wildcard = textNumber(`${text}*`);
  return value(wildcard.bits, wildcard.value, node.type, 'host');
}

export function isPrefix(mask: Value): boolean {
  const first = lowestOne(mask.value);
  return first === Infinity || lowestZero(mask.value, first + 1) >= mask.bits;
}

/** Does the mask leave all bits of the compared value? If not, the match is never true, and is no match of a field. */
export const isWithin = ({ value: compared }: Value, mask: Value): boolean => (compared & ~mask.value) === 0n;

export function prefixLength(mask: Value): number {
  const first = lowestOne(mask.value);
  return first === Infinity ? 0 : lowestZero(mask.value, first + 1) - first;
}

/** Shifts the values of a comparison whose mask is gone. */
export function adjust(node: Node, load: Node, shift: number): void {
  switch (node.kind) {
    case 'value':
      node.value >>= BigInt(shift);
      node.bits = load.bits;
      return;
    case 'range':
      adjust(node.left, load, shift);
      adjust(node.right, load, shift);
      return;
    case 'set-reference':
      for (const member of node.literal?.members ?? []) {
        const { key } = elementOf(member);
        if (key.kind !== 'catch-all') adjust(key, load, shift);
      }
      return;
    default:
      throw new Undecompilable(`a mask over a ${node.kind}`);
  }
}

/** `meta hour` is in UTC: a range of local time that goes round midnight there is the opposite of another range. */
export function reverseHours(node: Relation, argument: Node): void {
  if (argument.kind !== 'meta' || argument.key !== 'hour' || node.right.kind !== 'range') return;
  const { left, right } = node.right;
  if (left.kind !== 'value' || right.kind !== 'value' || left.value > right.value || node.op !== '!=') return;
  node.right.left = right;
  node.right.right = left;
  node.op = 'in';
}

export function sameLoad(a: Payload, b: Payload): boolean {
  return (
    a.tunnel === b.tunnel && a.header === b.header && a.field === b.field && a.base === b.base && a.offset === b.offset
  );
}

/** A comparison of masked flags: is one of them set, or, in nft 1.0.6, which of them are set? */
export function flagTest(node: Relation, left: Binary, dialect: Dialect): Node | undefined {
  const { op, right } = node;
  const equality = op === '==' || op === '!=';
  if (left.op === '&' && equality && isFlags(right.type)) {
    if (right.kind === 'value' && right.value === 0n) {
      node.left = left.left;
      node.right = listOf(left.right);
      node.op = op === '!=' ? 'in' : '!';
      return node;
    }
    if (dialect.comparesFlagsByMask && (right.kind === 'value' || right.kind === 'binary')) {
      if (right.kind === 'value' && left.right.kind === 'value' && right.value === left.right.value) return node;
      return {
        kind: 'flag-comparison',
        ...untyped(),
        op,
        left: left.left,
        mask: listOf(left.right),
        right: right.kind === 'value' ? right : listOf(right),
      };
    }
  }
  return undefined;
}
