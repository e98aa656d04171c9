import { bitmask } from '../bits.ts';
import { type ByteOrder, TYPES } from '../data/datatypes.ts';
import { isConstant, isNumeric, isText, value } from '../nodes.ts';
import { type Binary, type BinaryOperator, type Node, refuse, refuseWith, type Value } from '../tree.ts';
import { convert } from './byte-order.ts';
import type { Evaluator } from './ir.ts';

/* Calculations with two operands. */

export function evaluateBinary(e: Evaluator, term: Binary): Node {
  const { op } = term;
  const room = e.bits;
  term.left = e.evaluate(term.left);
  const isShift = op === '<<' || op === '>>';
  if (isShift) e.expect(TYPES.integer, term.left.order, Math.max(room, term.left.bits));
  term.right = e.evaluate(term.right);
  if (!isConstant(term.right) && !e.dialect.hasNewerExpressions)
    throw refuseWith(term.place, term.right.place, 'a constant behind the operator', term.right.kind, notConstant(op));
  if (isConstant(term.left) && !isConstant(term.right)) [term.left, term.right] = [term.right, term.left];
  const { left, right } = term;
  for (const side of [left, right]) {
    if (!isNumeric(side.type) && !isText(side.type)) throw refuse(side.place, 'numbers', side.type.name);
    if (isConstant(side) && side.kind !== 'value') throw refuse(side.place, 'a single value', side.kind);
  }
  return isShift ? evaluateShift(e, term) : evaluateBitwise(e, term);
}

export const notConstant = (op: BinaryOperator): string =>
  `Right hand side of binary operation (${op}) must be constant`;

function evaluateShift(e: Evaluator, term: Binary): Node {
  if (term.right.kind !== 'value')
    throw refuse(term.right.place, 'a constant number of bits', term.right.kind, notConstant(term.op));
  const room = e.dialect.widensByStatement ? Math.max(e.statementBits, term.left.bits) : term.left.bits;
  if (term.right.value >= BigInt(room))
    throw refuseWith(
      term.left.place,
      term.right.place,
      `a shift below ${room} bits`,
      term.right.value,
      `${term.op === '<<' ? 'Left' : 'Right'} shift of ${term.right.value} bits is undefined for type of ${room} bits width`,
    );
  term.left = convert(term.left, 'host');
  term.right = convert(term.right, 'host');
  if (e.dialect.hasIntegerShiftTypes) term.type = TYPES.integer;
  else term.type = term.left.type;
  term.order = 'host';
  term.bits = room;
  return term.left.kind === 'value' ? fold(e, term) : term;
}

function evaluateBitwise(e: Evaluator, term: Binary): Node {
  let order: ByteOrder;
  if (e.dialect.widensByStatement && e.statementBits > term.left.bits) {
    term.bits = e.statementBits;
    order = 'host';
    term.type = TYPES.integer;
    term.left = convert(term.left, 'host');
  } else {
    term.bits = term.left.bits;
    order = term.left.order;
    term.type = term.left.type;
  }
  term.right = convert(term.right, order);
  term.order = order;
  return term.left.kind === 'value' && term.right.kind === 'value' ? fold(e, term) : term;
}

/** Calculates the value of an operation on two constants. */
function fold(e: Evaluator, term: Binary): Node {
  const left = term.left as Value;
  const right = term.right as Value;
  const mask = bitmask(term.bits);
  const result = operate(term.op, left.value, right.value, mask);
  return e.evaluate(value(term.bits, result & mask, term.type, term.order, term.place));
}

function operate(op: BinaryOperator, left: bigint, right: bigint, mask: bigint): bigint {
  switch (op) {
    case '&':
      return left & right;
    case '|':
      return left | right;
    case '^':
      return left ^ right;
    case '<<':
      return left << right;
    case '>>':
      return (left & mask) >> right;
  }
}
