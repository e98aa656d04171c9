import type { ContentOf } from '../../nf_tables/expression.ts';
import { fitting } from '../compile/argument.ts';
import { addFamilyOf } from '../compile/header.ts';
import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { parse, step } from '../compile/lower.ts';
import { evaluateRelation, relationStep } from '../compile/match.ts';
import { TYPES } from '../data/datatypes.ts';
import { words } from '../decompile/kernel-words.ts';
import { hexOf, type Registers, reference } from '../decompile/registers.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { isBitmask } from '../expressions/bitmask.ts';
import type { JsonExpression } from '../json.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { isText, mapLookup, prefix, range, registerValue, relation } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T, type TokenKind } from '../parse/tokens.ts';
import { type Node, Place, Undecompilable } from '../tree.ts';
import type { Construct } from './construct.ts';

/* `match`: ends the rule unless a relation holds. `vmap`, a look-up of a verdict, is read like one. */

/** The kernel's comparisons, with nft's operators. */
const COMPARISONS: Readonly<Record<string, MatchOperator>> = {
  eq: '==',
  neq: '!=',
  lt: '<',
  gt: '>',
  lte: '<=',
  gte: '>=',
};
const OPERATORS: Readonly<Record<string, MatchOperator>> = {
  .../* @__PURE__ */ Object.fromEntries(/* @__PURE__ */ Object.values(COMPARISONS).map(op => [op, op])),
  in: 'in',
  '!': '!',
};

/** `in` is nft's implicit operator: a set has it, a bitmask has one of these bits. */
export type MatchOperator = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in' | '!';

/** Ends the rule unless the relation holds. */
export interface Match {
  /** The comparison. */
  op: MatchOperator;
  /** The field. */
  left: JsonExpression;
  /** The value. */
  right: JsonExpression;
}

/** `node` is a relation, or the look-up of a verdict in a map. */
export interface MatchStatement {
  kind: 'match';
  node: Node;
}

const match = (op: MatchOperator, left: Node, right: Node): MatchStatement => ({
  kind: 'match',
  node: relation(op, left, right),
});

function operatorOf(comparison: string | number): MatchOperator {
  const operator = COMPARISONS[comparison];
  if (operator === undefined) throw new Undecompilable(`the comparison ${comparison}`);
  return operator;
}

function compare(registers: Registers, { register, op, data }: ContentOf<'cmp'>): MatchStatement {
  const left = registers.get(register);
  const right = registerValue(hexOf(data));
  // A truth value has no prefix. nft before 1.0.7 compares four bytes of it, later versions one.
  if (left.type === TYPES.boolean) left.bits = right.bits;
  const operator = operatorOf(op);
  if (left.bits > right.bits && !isText(left.type)) {
    const { bits } = right;
    right.value <<= BigInt(left.bits - bits);
    right.bits = left.bits;
    return match(operator, left, prefix(right, bits));
  }
  if (left.bits > 0 && left.bits < right.bits)
    return match(operator, registers.concat(register, right.bits), registers.parts(register, right));
  return match(operator, left, right);
}

const SIGNS: ReadonlyMap<TokenKind, MatchOperator> = /* @__PURE__ */ new Map<TokenKind, MatchOperator>([
  [T.EQ, '=='],
  [T.NEQ, '!='],
  [T.LT, '<'],
  [T.GT, '>'],
  [T.LTE, '<='],
  [T.GTE, '>='],
  [T.NOT, '!'],
]);

/** Reads the rest of a match behind its left side, which began at `start`. */
export function readMatch(p: Parser, left: Json, start: number): JsonObject {
  const end = p.lastEnd;
  const given = SIGNS.get(p.kind);
  const sign = p.start;
  if (given !== undefined) p.next();
  const signEnd = p.lastEnd;
  const at = p.start;
  p.takesMask = true;
  p.mask = undefined;
  let right = p.grammar.constant(p);
  const rightEnd = p.lastEnd;
  if (p.mask === undefined && p.kind === T.SLASH && (Array.isArray(right) || isCalculation(right))) {
    p.next();
    p.mask = { value: right };
  }
  p.takesMask = false;
  const { mask } = p as { mask: { value: Json; first?: Json; at?: number } | undefined };
  p.mask = undefined;
  let of = left;
  let op = given;
  if (mask !== undefined) {
    right = mask.value;
    const bits = p.grammar.flags(p, mask.first, mask.at);
    of = { '&': [left, bits] };
    op ??= '==';
  }
  op ??= isBitmask(left) && !isSet(right) ? 'in' : '==';
  const match = { op, left: of, right };
  p.noteSpan(match, 'left', start, end);
  if (given !== undefined) p.noteSpan(match, 'op', sign, signEnd);
  if (mask === undefined) p.note(match, 'right', at);
  else p.noteSpan(match, 'right', at, rightEnd);
  const statement = { match };
  p.note(statement, 'match', start);
  return statement;
}

const isCalculation = (json: Json): boolean => typeof json === 'object' && json !== null && Object.hasOwn(json, '|');

/** A set with several elements, or a set with a name: both have no operator of their own. One element alone stands for itself. */
function isSet(json: Json): boolean {
  if (typeof json === 'string') return json.startsWith('@');
  const members = typeof json === 'object' && json !== null && !Array.isArray(json) ? json.set : undefined;
  return Array.isArray(members) && members.length !== 1;
}

export const MATCH: Construct<MatchStatement, 'match' | 'vmap'> = {
  compile: {
    match(e, json, place) {
      const fields = fieldsOf(json, place);
      const op = entryOf(OPERATORS, fields.op, new Place(place, 'op'));
      const left = parse(fields.left, place, 'left');
      const right = parse(fields.right, place, 'right');
      e.expectNothing();
      if (left.kind === 'ct') addFamilyOf(e, left, right);
      const evaluated = evaluateRelation(e, relation(op, left, right, place));
      e.steps.push(relationStep(e, evaluated));
    },
    vmap(e, json, place) {
      const fields = fieldsOf(json, place);
      const key = parse(fields.key, place, 'key');
      const term = mapLookup(key, parse(fields.data, place, 'data'), place);
      e.expect(TYPES.verdict, undefined, 0);
      const map = fitting(e, e.evaluate(term), TYPES.verdict, 0, undefined);
      step(e, emitter => emitter.verdict(map));
    },
  },
  read: {
    cmp: compare,
    range: (registers, { register, op, from, to }) =>
      match(operatorOf(op), registers.get(register), range(registerValue(hexOf(from)), registerValue(hexOf(to)))),
    lookup(registers, expression) {
      const { register } = expression;
      if (register !== undefined && register !== 0) return undefined;
      const set = registers.find(expression);
      const left = registers.key(expression.sourceRegister, set);
      const right = reference(set);
      const isInverted = words(expression.flags, ['invert']).length > 0;
      if (register === undefined) return match(isInverted ? '!=' : '==', left, right);
      return { kind: 'match', node: mapLookup(left, right) };
    },
  },
  text: ({ node }, options) => nodeText(node, options),
  json: ({ node }, options) => nodeJson(node, options),
  looksAt: ({ node }) => (node.kind === 'relation' ? node.left : node.kind === 'map' ? node.key : undefined),
};
