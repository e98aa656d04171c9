import { bytesOf, paddedBytes } from '../bits.ts';
import { concatenationOf, type Datatype, TYPES } from '../data/datatypes.ts';
import { isConstant, isSingleton } from '../nodes.ts';
import { type Concat, type Node, refuse } from '../tree.ts';
import { shiftOf } from './header.ts';
import type { Evaluator } from './ir.ts';

const MAXIMUM_KEY_BITS = 64 * 8;

/**
 * nft 1.0.6 lists a bit field in a concatenation with a shift. The load of the field adds the same shift, so this removes the listed one.
 */
function withoutOwnShift(part: Node): Node {
  if (part.kind !== 'binary' || part.op !== '>>') return part;
  const { left, right } = part;
  if (left.kind !== 'payload' || left.raw || right.kind !== 'word') return part;
  return right.word === shiftOf(left.bits, left.offset).shift ? left : part;
}

export function evaluateConcatenation(e: Evaluator, term: Concat): Node {
  const type = e.type;
  const setKey = e.key?.kind === 'concat' ? e.key : undefined;
  const expectedParts = type?.parts;
  let at = 0;
  let bits = 0;
  const parts: Datatype[] = [];
  term.fields = [];
  let constant = true;
  let singleton = true;
  for (let i = 0; i < term.parts.length; i++) {
    const part = e.dialect.unshiftsConcatenations ? withoutOwnShift(term.parts[i]!) : term.parts[i]!;
    if (setKey !== undefined && i >= setKey.parts.length)
      throw refuse(part.place, `a concatenation of ${setKey.parts.length} parts`, term.parts.length);
    if (part.kind === 'ct' && (part.key === 'saddr' || part.key === 'daddr'))
      throw refuse(part.place, `ip or ip6 ${part.key}`, part.key);
    const like = setKey?.parts[i];
    let expectedBits = 0;
    if (like !== undefined) {
      expectedBits = like.bits;
      e.expect(like.type, like.order, like.bits);
    } else if (expectedParts === undefined || at >= expectedParts.length) {
      e.expect(TYPES.invalid, undefined, 0);
    } else {
      const expected = expectedParts[at]!;
      expectedBits = expected.bits;
      e.expect(expected, expected.order, expected.bits);
    }
    at++;
    e.key = part;
    const found = e.nested(() => e.evaluate(part));
    term.parts[i] = found;
    if ((found.kind === 'range' || found.kind === 'prefix') && e.depth === 0)
      throw refuse(part.place, 'a single value here', found.kind);
    constant &&= isConstant(found);
    singleton &&= isSingleton(found);
    const partBits = expectedBits || found.type.bits || found.bits;
    if (partBits === 0) throw refuse(part.place, 'something of a known length', found.type.name);
    parts.push(found.type.bits === 0 ? { ...found.type, bits: found.bits } : found.type);
    term.fields.push(bytesOf(partBits));
    bits += paddedBytes(partBits) * 8;
    e.tunnel = undefined;
    if (bits > MAXIMUM_KEY_BITS) throw refuse(part.place, `at most ${MAXIMUM_KEY_BITS} bits in all`, bits);
  }
  if (expectedParts !== undefined && at < expectedParts.length)
    throw refuse(term.place, `a concatenation of ${type!.name}`, parts.map(part => part.name).join(' . '));
  term.type = concatenationOf(parts);
  term.bits = bits;
  term.constant = constant;
  term.singleton = singleton;
  e.expect(term.type, undefined, bits);
  e.key = setKey ?? term;
  return term;
}
