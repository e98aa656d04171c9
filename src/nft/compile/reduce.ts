import type { Family } from '../../nf_tables/family.ts';
import { bytesOf } from '../bits.ts';
import { TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { rawNode } from '../expressions/payload.ts';
import { LINK } from '../headers.ts';
import { isText } from '../nodes.ts';
import type { Payload, Relation, Value } from '../tree.ts';
import type { Step } from './ir.ts';
import { fromBytes, toBytes } from './number.ts';

/* Shortens a rule as nft does: drops matches that say nothing new, and merges matches of adjacent fields. */

const WHOLE_REGISTER = 128;
const FAST_REGISTER = 32;

interface Mergeable {
  step: Step;
  relation: Relation;
  left: Payload;
  right: Value;
  /** The match was merged into another one. */
  gone: boolean;
  tellsProtocol: boolean;
}

export function reduce(steps: Step[], family: Family, dialect: Dialect): Step[] {
  if (!mayReduce(steps)) return steps;
  const dropped = new Set<Step>();
  let row: Mergeable[] = [];
  for (const step of steps) {
    const { relation } = step;
    if (relation === undefined) {
      // nft 1.0.6 forgets the matches before another statement only if it had some to merge.
      if (dialect.mergesAcrossStatements && row.length < 2) continue;
      merge(row, dropped);
      row = [];
      continue;
    }
    const { left, right, op } = relation;
    if (right.kind !== 'value' || (op !== '==' && op !== 'in')) continue;
    if (left.kind === 'payload')
      row.push({ step, relation, left, right, gone: false, tellsProtocol: left.tellsProtocol });
    else if (left.kind === 'meta' && left.key === 'protocol' && left.tunnel === undefined) {
      if ((family === 'ip' && right.value === 0x0800n) || (family === 'ip6' && right.value === 0x86ddn))
        dropped.add(step);
    }
  }
  merge(row, dropped);
  // The last match stays, because nft only drops one when another statement follows.
  const last = steps.at(-1);
  if (last !== undefined && last.relation?.left.kind === 'meta') dropped.delete(last);
  return dropped.size === 0 ? steps : steps.filter(step => !dropped.has(step));
}

/** Returns whether the rule has two fields of one header, or a match that the family may imply. */
function mayReduce(steps: readonly Step[]): boolean {
  let bases = 0;
  for (const { relation } of steps) {
    const left = relation?.left;
    if (left?.kind === 'payload') {
      const bit = 1 << left.base;
      if (bases & bit) return true;
      bases |= bit;
    } else if (left?.kind === 'meta' && left.key === 'protocol') {
      return true;
    }
  }
  return false;
}

function merge(row: Mergeable[], dropped: Set<Step>): void {
  if (row.length < 2) return;
  row.sort((a, b) => a.left.base - b.left.base || a.left.offset - b.left.offset);
  let last = row[0]!;
  for (let i = 1; i < row.length; i++) {
    const each = row[i]!;
    if (!canMerge(last.left, each.left)) {
      last = each;
      continue;
    }
    const { base, offset, bits, place } = last.left;
    const left = rawNode(base, offset, bits + each.left.bits, place);
    left.tunnel = last.left.tunnel;
    const right = joined(last.right, each.right);
    // The match that tells the next protocol keeps its place, and the other one is dropped.
    let [stays, goes] = [last, each];
    if (each.tellsProtocol) {
      [stays, goes] = [each, last];
      stays.tellsProtocol = true;
    }
    stays.relation.left = left;
    stays.relation.right = right;
    stays.left = left;
    stays.right = right;
    dropped.add(goes.step);
    last = stays;
  }
}

function canMerge(a: Payload, b: Payload): boolean {
  if (a.tunnel !== b.tunnel || a.base !== b.base || a.offset + a.bits !== b.offset) return false;
  if (a.offset % 8 !== 0 || a.bits % 8 !== 0 || b.offset % 8 !== 0 || b.bits % 8 !== 0) return false;
  const bits = a.bits + b.bits;
  if (bits > WHOLE_REGISTER) return false;
  // The kernel loads up to four bytes on a fast path. A longer load is no loss if one of the two is long already.
  return bits <= FAST_REGISTER || a.base === LINK || a.bits > FAST_REGISTER || b.bits > FAST_REGISTER;
}

function joined(a: Value, b: Value): Value {
  const hex = [a, b]
    .map(each => toBytes(each.value, isText(each.type) ? 'host' : each.order, bytesOf(each.bits)))
    .join('');
  return { ...a, type: TYPES.invalid, order: undefined, bits: a.bits + b.bits, value: fromBytes(hex, 'big') };
}
