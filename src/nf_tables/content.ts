import { AttributeTable, type Field, type Type } from '../codec/index.ts';
import { ofThread } from '../thread.ts';
import { EXPRESSION, type Expression, tableOf } from './expression.ts';
import type { Fields, Role, RowFacets, TableFacets } from './facets.ts';
import { VariantTable, variantTypes } from './variant.ts';

/*
 * The content of an object leaves out the fields that packets, time and the kernel change, and has one form where the kernel takes several. Two
 * objects are the same for the kernel if their contents are. The facets of the tables decide: see facets.ts.
 */

type Table = AttributeTable<unknown>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

/** The content of an object that a table describes. Fields of its header are left out. */
export function contentOf(table: Table, object: object): Fields {
  const rows = rowsOf(table);
  const selector = table instanceof VariantTable ? (object as Fields)[table.selector] : undefined;
  const content: Fields = {};
  for (const [key, value] of Object.entries(object)) {
    const row = rows.get(key);
    if (table.header.includes(key) || value === undefined) continue;
    if (row === undefined) content[key] = value;
    else {
      const { role, defaults, derived } = facetsOf(row);
      if ((role !== undefined && role !== 'shown') || defaults?.includes(value)) continue;
      content[key] = derived && Array.isArray(value) ? value.filter(flag => !derived.includes(flag as string)) : value;
    }
  }
  (table.facets as TableFacets | undefined)?.canonical?.(content);
  for (const key of Object.keys(content)) {
    const type = rows.get(key)?.type;
    if (type !== undefined) content[key] = contentOfType(type, content[key], selector);
  }
  return content;
}

/** The content of an expression. One that this library does not know is as it is. */
export function expressionContent(expression: Expression): Fields {
  const [name, fields] = Object.entries(expression)[0] as [string, unknown];
  const table = tableOf(name);
  return { [name]: table !== undefined && isFields(fields) ? contentOf(table, fields) : fields };
}

function contentOfType(type: Type<unknown>, value: unknown, selector: unknown): unknown {
  if (!isFields(value)) return value;
  if (type === EXPRESSION) return expressionContent(value as unknown as Expression);
  if (type.items !== undefined) {
    const { type: item } = type.items;
    return Array.isArray(value) ? value.map(each => contentOfType(item, each, undefined)) : value;
  }
  if (type instanceof AttributeTable) return contentOf(type, value);
  const chosen = variantTypes(type)?.[selector as string];
  return chosen === undefined ? value : contentOfType(chosen, value, undefined);
}

/** The names of the rows of a table, and of the nests that are inlined in it, that have a role. */
export function keysWith(table: Table, role: Role): string[] {
  return [...rowsOf(table)].filter(([, row]) => facetsOf(row).role === role).map(([key]) => key);
}

const facetsOf = ({ facets }: Field): RowFacets => (facets ?? {}) as RowFacets;

const ROWS = ofThread('nf_tables.rows', new WeakMap<Table, Map<string, Field>>());

/** By name; those of inlined nests too. */
function rowsOf(table: Table): Map<string, Field> {
  const known = ROWS.get(table);
  if (known !== undefined) return known;
  const rows = new Map<string, Field>();
  ROWS.set(table, rows);
  for (const field of table.fields) {
    if (field.need !== 'inline') rows.set(field.key, field);
    else for (const [key, inner] of rowsOf(field.type as Table)) rows.set(key, inner);
  }
  return rows;
}
