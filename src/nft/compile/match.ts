import type { Dialect } from '../data/dialects.ts';
import { convert } from './byte-order.ts';
import type { Evaluator, Relation, Step } from './ir.ts';
import { askWhether } from './parse-load.ts';
import { declareSet } from './set.ts';
import { foldShift, swapAcrossMidnight } from './shift-folding.ts';
import {
  isConstant,
  isFlags,
  isSingleton,
  isNumeric as numeric,
  type Range,
  refuse,
  type Term,
  type Value,
} from './term.ts';

export function relationStep(e: Evaluator, relation: Relation): Step {
  return { relation, statement: e.statement, emit: linearizer => linearizer.relation(relation) };
}

/** What a match says about the packet's protocols. */
function learn(e: Evaluator, { left, right }: Relation): void {
  const { scope } = e;
  const told = (known: Term): void => {
    if (known.kind !== 'value') return;
    const number = Number(known.value);
    if (left.kind === 'payload') scope.learnFromPayload(left.base, left.raw, number);
    else if (left.kind === 'meta') scope.learnFromMeta(left.key, number);
    else if (left.kind === 'ct') scope.learnFromCt(left.key, number);
  };
  const tells =
    left.kind === 'payload'
      ? left.tellsProtocol
      : left.kind === 'meta'
        ? left.key === 'iiftype' || left.key === 'nfproto' || left.key === 'l4proto' || left.key === 'protocol'
        : left.kind === 'ct' && (left.key === 'protocol' || left.key === 'l3proto');
  if (!tells) return;
  if (isSingleton(right)) told(right);
  else if (right.kind === 'set') {
    for (const member of right.members) if (member.kind === 'element') told(member.key);
  } else if (right.kind === 'set-reference' && left.kind === 'meta' && e.dialect.learnsFromNamedSets) {
    // Whatever it is, it is one that the set has.
    scope.learnFromMeta(left.key, 0);
  }
}

/** A set of one is that one. */
function withoutSet(e: Evaluator, relation: Relation): void {
  const { right } = relation;
  if (right.kind !== 'set' || right.members.length !== 1) return;
  const only = right.members[0]!;
  if (
    only.kind === 'element' &&
    only.expressions.length === 0 &&
    (only.key.kind === 'prefix' || only.key.kind === 'range' || only.key.kind === 'value')
  )
    relation.right = only.key;
  const { type } = relation.right;
  if (e.dialect.comparesSingleFlags && relation.op === 'in' && isFlags(type) && type.name !== 'ct_state')
    relation.op = '==';
}

export function evaluateRelation(e: Evaluator, relation: Relation): Relation {
  if (relation.right.kind === 'named-set') relation.right = e.evaluate(relation.right);
  const { right: given } = relation;
  if (relation.left.kind === 'load' && given.kind === 'value' && given.type.kind === 'boolean')
    askWhether(relation.left);
  relation.left = e.evaluate(relation.left);
  const { left } = relation;
  if (left.kind === 'meta' && (left.key === 'hour' || left.key === 'day') && relation.right.kind === 'range')
    swapAcrossMidnight(e, relation);
  relation.right = e.evaluate(relation.right);
  if (!isConstant(relation.right)) throw refuse(relation.right.place, 'something constant', relation.right.kind);
  if (isConstant(left)) throw refuse(left.place, 'something that is loaded from the packet', left.kind);
  if (!sameType(left, relation.right, e.dialect))
    throw refuse(relation.right.place, `a value of type ${left.type.name}`, relation.right.type.name);
  if (left.kind !== 'concat' && (relation.op === '==' || relation.op === 'in' || relation.op === '!='))
    withoutSet(e, relation);

  switch (relation.op) {
    case '==':
    case 'in':
      learn(e, relation);
      convertSides(e, relation);
      break;
    case '!':
      if (left.kind === 'binary' || relation.right.kind !== 'value' || !isFlags(relation.right.type))
        throw refuse(relation.place, '! with flags of a bitmask; != else', relation.right.kind);
      convertSides(e, relation);
      break;
    case '!=':
      convertSides(e, relation);
      break;
    default:
      if (left.kind === 'concat' || !isSingleton(relation.right))
        throw refuse(
          relation.place,
          `== or != with ${left.kind === 'concat' ? 'a concatenation' : relation.right.kind}`,
          relation.op,
        );
      relation.left = convert(left, 'big');
      relation.right = convert(relation.right, 'big');
  }
  foldShift(e, relation);
  return relation;
}

function sameType(left: Term, right: Term, dialect: Dialect): boolean {
  if (left.type.id === right.type.id) return true;
  // A range has no type of its own to nft; marks are numbers.
  return right.kind === 'range' && numeric(left.type) && dialect.comparesAnyRange;
}

/** Ranges are compared byte by byte, so that both sides must be in the packet's order. */
function convertSides(e: Evaluator, relation: Relation): void {
  const { left, right } = relation;
  switch (right.kind) {
    case 'range':
      relation.left = convert(left, 'big');
      (right as Range).left = convert(right.left, 'big');
      (right as Range).right = convert(right.right, 'big');
      return;
    case 'prefix':
      right.base = convert(right.base, left.order);
      right.order = (right.base as Value).order;
      return;
    case 'value':
      relation.right = convert(right, left.order);
      return;
    case 'set': {
      if (right.members.length === 0) throw refuse(right.place, 'an element or more', []);
      const set = declareSet(e, { key: left, data: undefined, literal: right, map: false, objectType: undefined });
      relation.right = {
        kind: 'set-reference',
        place: right.place,
        type: right.type,
        order: right.order,
        bits: right.bits,
        set,
      };
      if (set.interval) relation.left = convert(left, 'big');
      return;
    }
    case 'set-reference':
      if (right.set.interval) relation.left = convert(left, 'big');
      return;
    default:
      throw refuse(right.place, 'a value, a range, a prefix or a set', right.kind);
  }
}
