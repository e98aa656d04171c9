import type { AttributeTable } from '../codec/index.ts';
import { lazy } from '../codec/lazy.ts';
import { ofThread } from '../thread.ts';
import { keysWith } from './content.ts';
import { EXPRESSIONS, type Expression, tableOf } from './expression.ts';
import type { Fields, TableFacets } from './facets.ts';

/*
 * The kernel does not accept every object that it gives: it refuses some empty attributes, and flags that it derives itself. These are left out, so that
 * each object that was read can be written again. Fields that the kernel would misunderstand are completed. Each table has its own rules: see facets.ts.
 */

type Table = AttributeTable<unknown>;

/** Expressions whose fields may have to change. */
const CHANGED = lazy(
  (): ReadonlyMap<string, NonNullable<TableFacets['accepted']>> =>
    new Map(
      Object.keys(EXPRESSIONS).flatMap(name => {
        const { accepted } = (tableOf(name)?.facets ?? {}) as TableFacets;
        return accepted === undefined ? [] : [[name, accepted]];
      }),
    ),
);

/** The expression as the kernel accepts it: the same object where that is how it stands. */
export function acceptedExpression(expression: Expression): Expression {
  for (const name in expression) {
    const accept = CHANGED().get(name);
    if (accept === undefined) continue;
    const fields = (expression as unknown as Record<string, Fields>)[name];
    if (typeof fields !== 'object' || fields === null) continue;
    const written = withAcceptedExpressions(accept(fields));
    if (written !== fields) return { [name]: written } as unknown as Expression;
  }
  return expression;
}

/** An object with `expression` or `expressions` (a set, an element), whose expressions are as the kernel accepts them. */
export function withAcceptedExpressions<T extends object>(object: T): T {
  const { expression, expressions } = object as { expression?: Expression; expressions?: Expression[] };
  if (expression === undefined && !Array.isArray(expressions)) return object;
  const written = { ...object } as T & { expression?: Expression; expressions?: Expression[] };
  if (expression !== undefined) written.expression = acceptedExpression(expression);
  if (Array.isArray(expressions)) written.expressions = expressions.map(acceptedExpression);
  return written;
}

/** The fields that a table describes, as the kernel accepts them. */
export function acceptedFields(table: Table, fields: Fields): Fields {
  return (table.facets as TableFacets | undefined)?.accepted?.(fields) ?? fields;
}

const TOLD = ofThread('nf_tables.told', new WeakMap<Table, readonly string[]>());

/** The object without what the kernel tells and does not take: the same object where it has nothing of that. */
export function withoutTold(table: Table, object: Fields): Fields {
  let told = TOLD.get(table);
  if (told === undefined) {
    told = keysWith(table, 'told');
    TOLD.set(table, told);
  }
  if (told.every(field => object[field] === undefined)) return object;
  const rest = { ...object };
  for (const field of told) delete rest[field];
  return rest;
}
