import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { TYPES } from '../data/datatypes.ts';
import { log } from '../statements/log.ts';
import { fitting } from './argument.ts';
import { dup, flow, fwd, queue } from './dup-fwd-queue.ts';
import { dynamicSet, meter } from './dynamic-set.ts';
import { addFamilyOf } from './header.ts';
import type { Evaluator, RelationOperator } from './ir.ts';
import { entryOf, type Fields, fieldsOf, onlyKey } from './json-fields.ts';
import { type Compile, emit, parse, step } from './lower.ts';
import { mangle, reset } from './mangle.ts';
import { evaluateRelation, relationStep } from './match.ts';
import { evaluateNat } from './nat.ts';
import { objectReference, stateful, synproxy } from './object-reference.ts';
import { parseVerdict } from './parse.ts';
import { reject } from './reject.ts';
import { Place, type Term } from './term.ts';

/* One function for each statement of nft's JSON. */

export function compileStatement(e: Evaluator, statement: unknown, place: Place): void {
  const name = onlyKey(statement, place);
  if (!Object.hasOwn(STATEMENTS, name)) {
    const known = Object.keys(STATEMENTS).join(', ');
    throw typeError(place.path, `a statement (${known})`, statement, 'ERR_UNKNOWN_FIELD');
  }
  STATEMENTS[name]!(e, (statement as Fields)[name], new Place(place, name), name);
}

/** Expressions that were not decompiled, as they are. */
function raw(e: Evaluator, json: unknown, place: Place): void {
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of expressions', json);
  for (const expression of json) emit(e, expression as Expression);
}

const OPERATORS: Readonly<Record<string, RelationOperator>> = {
  '==': '==',
  '!=': '!=',
  '<': '<',
  '>': '>',
  '<=': '<=',
  '>=': '>=',
  in: 'in',
  '!': '!',
};

function match(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const op = entryOf(OPERATORS, fields.op, new Place(place, 'op'));
  const left = parse(fields.left, place, 'left');
  const right = parse(fields.right, place, 'right');
  e.expectNothing();
  if (left.kind === 'ct') addFamilyOf(e, left, right);
  const relation = evaluateRelation(e, { op, left, right, place });
  e.steps.push(relationStep(e, relation));
}

const verdict: Compile = (e, json, place, name) => {
  const term = parseVerdict(json, place, name);
  step(e, emitter => emitter.load(term, 0));
};

function verdictMap(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const term: Term = {
    kind: 'map',
    place,
    type: TYPES.invalid,
    order: undefined,
    bits: 0,
    key: parse(fields.key, place, 'key'),
    mappings: parse(fields.data, place, 'data'),
  };
  e.expect(TYPES.verdict, undefined, 0);
  const map = fitting(e, e.evaluate(term), TYPES.verdict, 0, undefined);
  step(e, emitter => emitter.verdict(map));
}

const STATEMENTS: Readonly<Record<string, Compile>> = {
  raw,
  match,
  accept: verdict,
  drop: verdict,
  continue: verdict,
  return: verdict,
  jump: verdict,
  goto: verdict,
  vmap: verdictMap,
  counter: stateful,
  quota: stateful,
  limit: stateful,
  last: stateful,
  'ct count': stateful,
  mangle,
  snat: evaluateNat,
  dnat: evaluateNat,
  masquerade: evaluateNat,
  redirect: evaluateNat,
  tproxy: evaluateNat,
  log,
  reject,
  queue,
  set: dynamicSet,
  map: dynamicSet,
  meter,
  flow,
  fwd,
  dup,
  notrack: e => emit(e, { notrack: {} }),
  synproxy,
  reset,
  secmark: objectReference,
  tunnel: objectReference,
  'ct helper': objectReference,
  'ct timeout': objectReference,
  'ct expectation': objectReference,
};
