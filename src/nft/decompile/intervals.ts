import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { bitmask, bytesOf, lowestOne, lowestZero, reverseBytes, switchOrder, textNumber, textOf } from '../bits.ts';
import type { Dialect } from '../data/dialects.ts';
import { elementOf, hasPrefixes, isText, mapping, prefix, range, value } from '../nodes.ts';
import {
  type Concat,
  type Element,
  type Node,
  type Prefix,
  type Range,
  type SetMember,
  Undecompilable,
  type Value,
} from '../tree.ts';
import { ELEMENTS_AT_ONCE, type InParts, sortInParts } from './in-parts.ts';

/* Ranges: the kernel has a beginning, and the first key behind the range; nft writes the first and the last key. */

/** A range from its first and last value, or a prefix if it is one. */
export function rangeOrPrefix(left: Node, right: Node): Range | Prefix {
  const whole = range(left, right);
  if (left.kind !== 'value' || right.kind !== 'value') return whole;
  const difference = left.value ^ right.value;
  const free = lowestZero(difference, 0);
  if (difference >> BigInt(free) !== 0n || lowestOne(left.value) < free) return whole;
  return prefix(left, left.bits - free);
}

function numberIn(member: SetMember): bigint {
  const node = elementOf(member).key;
  if (node.kind !== 'value') throw new Undecompilable(`a range that begins with a ${node.kind}`);
  return node.value;
}

/** The same element with another key. */
function withKey(member: SetMember, key: Node): SetMember {
  const changed: Element = { ...elementOf(member), key, intervalEnd: false };
  return member.kind === 'mapping' ? mapping(changed, member.right) : changed;
}

/** The beginning of a range, or the first key behind one. */
interface Point {
  readonly member: SetMember;
  readonly number: bigint;
}

function comparePoints(a: Point, b: Point): number {
  if (a.number !== b.number) return a.number < b.number ? -1 : 1;
  return Number(elementOf(b.member).intervalEnd) - Number(elementOf(a.member).intervalEnd);
}

/** The ranges of beginnings and ends, which are in any order. */
export function* rangesOf(members: readonly SetMember[], dialect: Dialect): InParts<SetMember[]> {
  const catchAll: SetMember[] = [];
  const points: Point[] = [];
  for (const member of members) {
    if (elementOf(member).key.kind === 'catch-all') catchAll.push(member);
    else points.push({ member, number: numberIn(member) });
    if (points.length % ELEMENTS_AT_ONCE === 0) yield;
  }
  const out: SetMember[] = [];
  let low: Point | undefined;
  let passed = 0;
  for (const point of yield* sortInParts(points, comparePoints)) {
    if (++passed % ELEMENTS_AT_ONCE === 0) yield;
    if (low !== undefined) out.push(interval(low.member, point.number - low.number - 1n, dialect));
    // A range ends where the next one begins, if it has no end.
    low = elementOf(point.member).intervalEnd ? undefined : point;
  }
  if (low !== undefined) {
    const last = bitmask(elementOf(low.member).key.bits);
    out.push(
      last === low.number
        ? withKey(low.member, elementOf(low.member).key)
        : interval(low.member, last - low.number, dialect),
    );
  }
  return [...out, ...catchAll];
}

/** The range from an element on, with this many more keys. */
function interval(low: SetMember, length: bigint, dialect: Dialect): SetMember {
  const key = elementOf(low).key as Value;
  if (length === 0n) {
    if (isText(key.type)) switchOrder(key);
    return withKey(low, key);
  }
  if ((length & (length + 1n)) === 0n && (key.value & length) === 0n) {
    const fixed = key.bits - lowestZero(length, 0);
    if (hasPrefixes(key.type, dialect)) return withKey(low, prefix(key, fixed, key.bits));
    if (isText(key.type)) {
      const text = textOf(HOST_IS_LITTLE_ENDIAN ? reverseBytes(key.value, bytesOf(key.bits)) : key.value, key.bits);
      if (fixed % 8 !== 0 || text === '' || text.length >= bytesOf(key.bits))
        return withKey(low, prefix(key, fixed, key.bits));
      const wildcard = textNumber(`${text}*`);
      return withKey(low, value(key.bits, wildcard.value, key.type, 'host'));
    }
  }
  return withKey(low, range({ ...key }, value(key.bits, key.value + length, key.type, key.order)));
}

/** Each pair of a first and a last key of several parts as one key of ranges. */
export function* joinRanges(members: readonly SetMember[], dialect: Dialect): InParts<SetMember[]> {
  const out: SetMember[] = [];
  let first: SetMember | undefined;
  let passed = 0;
  for (const member of members) {
    if (++passed % ELEMENTS_AT_ONCE === 0) yield;
    if (elementOf(member).key.kind === 'catch-all') {
      out.push(member);
    } else if (first === undefined) {
      first = member;
    } else {
      const start = elementOf(first).key as Concat;
      const end = elementOf(member).key as Concat;
      const parts = start.parts.map((part, i) => joined(part, end.parts[i]!, dialect));
      out.push(withKey(member, { ...end, parts }));
      first = undefined;
    }
  }
  return out;
}

function joined(from: Node, to: Node, dialect: Dialect): Node {
  if (from.kind !== 'value' || to.kind !== 'value') return to;
  if (from.value === to.value) return to;
  const text = isText(from.type);
  const natural = (each: Value) =>
    text && HOST_IS_LITTLE_ENDIAN ? reverseBytes(each.value, Math.floor(each.bits / 8)) : each.value;
  const fixed = commonPrefix(natural(from), natural(to), from.bits);
  if (fixed !== undefined && text && fixed % 8 === 0) {
    const name = textNumber(`${textOf(from.value, from.bits).slice(0, fixed / 8)}*`);
    return value(fixed + 8, name.value, from.type, 'host');
  }
  return fixed === undefined || !hasPrefixes(from.type, dialect) ? range(from, to) : prefix(from, fixed, to.bits);
}

/** The number of bits that both have in common at the beginning, if the rest is all zeros in one and all ones in the other. */
function commonPrefix(from: bigint, to: bigint, bits: number): number | undefined {
  let [low, high, length] = [from, to, bits];
  while (low <= high && (low & 1n) === 0n && (high & 1n) === 1n && length > 0) {
    low >>= 1n;
    high >>= 1n;
    length--;
  }
  return low === high ? length : undefined;
}
