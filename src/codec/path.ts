import { formatPath, type Path } from '../errors.ts';
import { AttributeTable } from './attributes.ts';
import type { Field } from './rows.ts';
import { Struct } from './struct.ts';
import type { Type } from './types.ts';

/** The rows from a table down to one value, the outermost first, and the type of that value. */
export interface Steps {
  readonly rows: readonly Field[];
  readonly type: Type<unknown>;
}

/**
 * Follows a path through tables, lists and structures, in the shape of the caller's objects. They have the fields of inlined nests, too.
 * @throws TypeError the types have no such path
 */
export function stepsTo(type: Type<unknown>, path: Path): Steps {
  const rows: Field[] = [];
  let at = type;
  for (const key of path) {
    const next = stepInto(at, key, rows);
    if (next === undefined) throw new TypeError(`there is no '${formatPath(path)}' in ${nameOf(type)}`);
    at = next;
  }
  return { rows, type: at };
}

function stepInto(type: Type<unknown>, key: string | number, rows: Field[]): Type<unknown> | undefined {
  if (typeof key === 'number') return type.items?.type;
  if (type instanceof AttributeTable) {
    const found = rowOf(type, key);
    rows.push(...found);
    return found.at(-1)?.type;
  }
  if (type instanceof Struct) return type.members.find(member => member.key === key)?.type;
  return type.inside && stepInto(type.inside, key, rows);
}

/** Returns the row of a field, after the rows of the inlined nests around it. Returns nothing if no row has the field. */
function rowOf(table: AttributeTable<unknown>, key: string): Field[] {
  for (const field of table.fields) {
    if (field.need !== 'inline') {
      if (field.key === key) return [field];
      continue;
    }
    const below = rowOf(field.type as AttributeTable<unknown>, key);
    if (below.length > 0) return [field, ...below];
  }
  return [];
}

const nameOf = (type: Type<unknown>): string => (type instanceof AttributeTable ? `table ${type.name}` : type.kind);
