import { mismatch } from '../data/descriptions.ts';
import type { Dialect } from '../data/dialects.ts';
import { expressionOf } from '../expressions/registry.ts';
import { LINK, NETWORK } from '../headers.ts';
import { isConstant, isFlags, isSingleton, isNumeric as numeric, setReference } from '../nodes.ts';
import { type Node, Place, type Range, type Relation, refuse, refuseWith, type Value } from '../tree.ts';
import { convert } from './byte-order.ts';
import type { Evaluator, Step } from './ir.ts';
import { declareSet } from './set.ts';
import { foldShift, swapAcrossMidnight } from './shift-folding.ts';

export function relationStep(e: Evaluator, relation: Relation): Step {
  return { relation, statement: e.statement, emit: linearizer => linearizer.relation(relation) };
}

/** nft's words for the kinds of expressions, where ours are others. */
const KINDS: Readonly<Record<string, string>> = { 'set-reference': 'set reference' };

/** Learns from a match which protocols the packet has. */
function learn(e: Evaluator, { left, right, place }: Relation): void {
  if (left.kind !== 'payload' && left.kind !== 'meta' && left.kind !== 'ct') return;
  if (!left.tellsProtocol) return;
  const { scope } = e;
  if (left.base === LINK) scope.toldNetwork = place;
  else if (left.base === NETWORK) scope.toldTransport = place;
  if (right.kind === 'value') {
    scope.learn(left, Number(right.value));
  } else if (right.kind === 'set') {
    for (const member of right.members)
      if (member.kind === 'element' && member.key.kind === 'value') scope.learn(left, Number(member.key.value));
  } else if (right.kind === 'set-reference' && left.kind === 'meta' && e.dialect.learnsFromNamedSets) {
    // The set may have any value.
    scope.learn(left, 0);
  }
}

/** Replaces a set of one element by the element. */
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
    expressionOf(relation.left).askWhether?.(relation.left);
  relation.left = e.evaluate(relation.left);
  const { left } = relation;
  if (left.kind === 'meta' && (left.key === 'hour' || left.key === 'day') && relation.right.kind === 'range')
    swapAcrossMidnight(e, relation);
  relation.right = e.evaluate(relation.right);
  if (!isConstant(relation.right))
    throw refuse(
      relation.right.place,
      'something constant',
      relation.right.kind,
      `Right hand side of relational expression (${relation.op === 'in' ? '' : relation.op}) must be constant`,
    );
  if (isConstant(left)) throw refuse(left.place, 'something that is loaded from the packet', left.kind);
  if (!sameType(left, relation.right, e.dialect))
    throw refuseWith(
      left.place,
      relation.right.place,
      `a value of type ${left.type.name}`,
      relation.right.type.name,
      mismatch(left.type, relation.right.type),
    );
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
        throw refuseWith(
          relation.right.place,
          left.place ?? relation.place,
          '! with flags of a bitmask; != else',
          relation.right.kind,
          left.kind === 'binary'
            ? 'cannot combine negation with binary expression'
            : 'negation can only be used with singleton bitmask values',
        );
      convertSides(e, relation);
      break;
    case '!=':
      convertSides(e, relation);
      break;
    default:
      if (left.kind === 'concat' || !isSingleton(relation.right))
        throw refuseWith(
          relation.place && new Place(relation.place, 'op'),
          (left.kind === 'concat' ? left.place : relation.right.place) ?? relation.place,
          `== or != with ${left.kind === 'concat' ? 'a concatenation' : relation.right.kind}`,
          relation.op,
          `Relational expression (${relation.op}) is undefined for ${KINDS[left.kind === 'concat' ? left.kind : relation.right.kind] ?? relation.right.kind} expressions`,
        );
      relation.left = convert(left, 'big');
      relation.right = convert(relation.right, 'big');
  }
  foldShift(e, relation);
  return relation;
}

function sameType(left: Node, right: Node, dialect: Dialect): boolean {
  if (left.type.id === right.type.id) return true;
  // nft gives a range no type of its own, and compares marks with all numbers.
  return right.kind === 'range' && numeric(left.type) && dialect.comparesAnyRange;
}

/** Converts both sides to one byte order. The kernel compares ranges byte by byte, so they must be in the packet's order. */
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
      relation.right = setReference(set, right, undefined, right.place);
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
