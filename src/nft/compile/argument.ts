import { bitmask } from '../bits.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import { mismatch } from '../data/descriptions.ts';
import { binary, isConstant, isNumeric, range, value } from '../nodes.ts';
import { type Node, type Prefix, refuse, refuseWith, statementOf, type Value } from '../tree.ts';
import { convert } from './byte-order.ts';
import type { Evaluator } from './ir.ts';
import { compatible } from './set.ts';

/** Evaluates a statement's argument, and checks that its type, length and byte order fit. */
export function argument(e: Evaluator, term: Node, type: Datatype, bits: number, order: ByteOrder): Node {
  e.expect(type, order, bits);
  return fitting(e, e.evaluate(term), type, bits, order);
}

export function fitting(e: Evaluator, term: Node, type: Datatype, bits: number, order: ByteOrder): Node {
  if (
    term.kind === 'payload' &&
    term.type.id === TYPES.integer.id &&
    (!isNumeric(type) || (!e.dialect.convertsMarksOfAnyType && type.id !== TYPES.integer.id) || term.bits !== bits)
  )
    throw refuse(term.place, `a field of ${bits} bits`, term.bits);
  // A number without a type fits every argument: `redirect to :numgen inc mod 2 offset 8080`.
  // nft 1.0.6 takes no value of another type: `ct mark set ip saddr` is an error there.
  if (
    !e.dialect.convertsMarksOfAnyType &&
    term.type.id !== TYPES.integer.id &&
    term.type.id !== type.id &&
    term.kind !== 'range'
  )
    throw refuseWith(
      statementOf(term.place),
      term.place,
      `a value of type ${type.name}`,
      term.type.name,
      mismatch(type, term.type, ':'),
    );
  const isPlain = term.type.id === TYPES.integer.id && isNumeric(type);
  if (!isPlain && !compatible(type, term.type) && !(term.kind === 'range' && compatible(type, term.left.type)))
    throw refuseWith(
      statementOf(term.place),
      term.place,
      `a value of type ${type.name}`,
      term.type.name,
      mismatch(type, term.type, ':'),
    );
  if (type.name === 'mark' && isNumeric(term.type) && !isConstant(term))
    return !e.dialect.convertsRawBitsForMarks && term.type === TYPES.xinteger ? term : convert(term, order);
  switch (term.kind) {
    case 'set':
    case 'set-reference':
      throw refuse(term.place, 'one value, not a set', term.kind);
    case 'prefix':
      return prefixRange(e, term);
    case 'load':
      if (
        term.name === 'rt' ||
        (term.name === 'numgen' && type.name === 'ipv4_addr' && e.dialect.convertsGeneratedAddresses)
      )
        return convert(term, order);
      return term;
    default:
      return term;
  }
}

/** Writes a prefix as the range of its addresses. */
function prefixRange(e: Evaluator, term: Prefix): Node {
  const base = term.base as Value;
  if (base.kind !== 'value' || !isNumeric(base.type)) throw refuse(term.place, 'a prefix of an address', base.kind);
  const rest = value(base.bits, bitmask(term.bits - term.length), TYPES.integer, 'host', term.place);
  const last = binary('|', { ...base }, rest, 0, term.place);
  return e.evaluate(range({ ...base }, last, term.place));
}
