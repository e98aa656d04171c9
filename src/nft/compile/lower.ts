import type { Expression } from '../../nf_tables/expression.ts';
import type { JsonExpression } from '../json.ts';
import { type Node, Place, refuse } from '../tree.ts';
import type { Emitter, Evaluator } from './ir.ts';
import { registerNumber } from './linearize.ts';
import { parseExpression } from './parse.ts';

/* The tools that the statements are compiled with. */

/** Translates the JSON of the statement `name`. */
export type Compile = (e: Evaluator, json: unknown, place: Place, name: string) => void;

export function emit(e: Evaluator, expression: Expression): void {
  e.steps.push({ statement: e.statement, emit: emitter => emitter.push(expression) });
}

export function step(e: Evaluator, work: (emitter: Emitter) => void): void {
  e.steps.push({ statement: e.statement, emit: work });
}

export function parse(json: unknown, place: Place, name?: string): Node {
  return parseExpression(json as JsonExpression, name === undefined ? place : new Place(place, name));
}

export function single(term: Node): Node {
  if (term.kind === 'range') throw refuse(term.place, 'a single value', 'a range');
  return term;
}

/** Loads a term into the next free register. The register is free again at once, because the next instruction reads it. */
export function loaded(emitter: Emitter, term: Node): number {
  const unit = emitter.take(term);
  emitter.load(term, unit);
  emitter.release(term);
  return registerNumber(unit);
}
