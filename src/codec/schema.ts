import type { Attribute, Field, Schema } from './rows.ts';

/* The rows of a table, laid out for the work with it. */

/** What a table works with, from its schema. */
export interface Rows {
  readonly fields: readonly Field[];
  readonly byNumber: readonly (Field | undefined)[];
  /** The bit of each key's field; 0 for fields of the header. */
  readonly bits: ReadonlyMap<string, number>;
  /** The bits of the fields that must be there. */
  readonly required: number;
}

/** The rows of a table in which none is required. */
export function partialRows(fields: readonly Field[]): Schema {
  const rows = fields.map(({ key, number, type, need, facets }) => {
    const row: Attribute<unknown> = { number, type, need: need === 'required' ? 'optional' : need, facets };
    return [key, row] as const;
  });
  return Object.fromEntries(rows);
}
