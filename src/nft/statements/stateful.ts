import { oneOf, typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type Fields, onlyKey } from '../compile/json-fields.ts';
import type { JsonExpression } from '../json.ts';
import type { JsonObject } from '../json-object.ts';
import { type ElementState, Place, refuse, Undecompilable } from '../tree.ts';
import { COUNTER, type CounterState } from './counter.ts';
import { CT_COUNT, type CtCount } from './ct-count.ts';
import { LAST, type LastState } from './last.ts';
import { LIMIT, type Limit } from './limit.ts';
import { QUOTA, type Quota } from './quota.ts';
import type { State, StateOptions } from './state.ts';

/* The statements with a state of their own. Rules, declarations of sets, and elements can have them. */

/** By nft's names. */
export const STATES = { counter: COUNTER, quota: QUOTA, limit: LIMIT, last: LAST, 'ct count': CT_COUNT } as const;
export type StateName = keyof typeof STATES;

/** The name of an object, or a map that has one for each key. */
export type ObjectReferenceExpression = JsonExpression;

/** A statement with a state of its own, which elements of sets can have, too. */
export type Stateful =
  /** Counts packets and bytes; as a string, the counter of that name. */
  | {
      /** Counts packets and bytes. */
      counter: CounterState | null | ObjectReferenceExpression;
    }
  | {
      /** Ends the rule once so much has passed. */
      quota: Quota | ObjectReferenceExpression;
    }
  | {
      /** Ends the rule for what exceeds a rate. */
      limit: Limit | ObjectReferenceExpression;
    }
  | {
      /** Remembers when the rule was last passed. */
      last: LastState;
    }
  | {
      /** Ends the rule while there are more connections. */
      'ct count': CtCount;
    };

type StatementOf<R> = R extends { read(expression: never): infer S } ? S : never;
/** A statement as it was read from the kernel's expression. */
export type StateStatement = StatementOf<(typeof STATES)[StateName]>;

/** The row of a kind of statement. */
export const stateRow = (kind: string) => STATES[kind as StateName] as unknown as State<ElementState, never>;

/** The kernel's expression of a statement with a state; undefined for the name of any other. */
export const compileState = (name: string, json: unknown, place: Place): Expression | undefined =>
  Object.hasOwn(STATES, name) ? STATES[name as StateName].compile(json, place) : undefined;

/** The kernel's expressions of a list of such statements: of a set, or of the elements that a rule adds. */
export function compileStates(json: unknown, place: Place): Expression[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of statements', json);
  return json.map((statement: Fields, i) => {
    const inner = new Place(place, i);
    const name = onlyKey(statement, inner);
    const expression = compileState(name, statement[name], new Place(inner, name));
    if (expression === undefined) throw refuse(inner, oneOf(Object.keys(STATES), name), name);
    return expression;
  });
}

/** The statement of an expression that stands in a set, in an element, or in what a rule adds to a set. */
export function readState(expression: Expression): StateStatement {
  for (const name in STATES) {
    const row = stateRow(name);
    if (row.expression in expression) return row.read(expression[row.expression]) as StateStatement;
  }
  throw new Undecompilable(`the expression ${Object.keys(expression)[0]} where it has no words`);
}

/** The statements of a set or an element. A single one is in another field of the kernel's than several. */
export function readStates({
  expression,
  expressions,
}: {
  expression?: Expression | undefined;
  expressions?: readonly Expression[] | undefined;
}) {
  return (expressions ?? (expression === undefined ? [] : [expression])).map(readState);
}

export const stateText = (statement: ElementState, options: StateOptions): string =>
  stateRow(statement.kind).text(statement, options);

export const stateJson = (statement: ElementState, options: StateOptions): JsonObject => ({
  [statement.kind]: stateRow(statement.kind).json(statement, options),
});

/** The statements of a set, or of elements that a rule adds, each behind a space and without the counted values. */
export const statesText = (statements: readonly ElementState[], { words }: StateOptions): string =>
  statements.map(each => ` ${stateText(each, { words, stateless: true })}`).join('');

/** The statements of a set in nft's JSON, without the counted values. */
export function statesJson(statements: readonly ElementState[], { words }: StateOptions): JsonObject[] | undefined {
  return statements.length === 0 ? undefined : statements.map(each => stateJson(each, { words, stateless: true }));
}
