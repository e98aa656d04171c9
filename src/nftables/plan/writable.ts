import type { Expression } from '../expression.ts';
import type { Fields } from './content.ts';

/*
 * The kernel does not take all that it gives: some attributes that say nothing must be absent, and what it found out by itself must not be told.
 */

const isEmpty = (list: unknown): boolean => Array.isArray(list) && list.length === 0;

/** The fields of an expression, or of an object's data, as the kernel takes them. */
export function writableFields(name: string, fields: Fields): Fields {
  const without = (...keys: string[]): Fields => {
    const rest = { ...fields };
    for (const key of keys) delete rest[key];
    return rest;
  };
  switch (name) {
    case 'osf':
      return isEmpty(fields.flags) ? without('flags') : fields;
    case 'exthdr':
      // Writing a header field takes no flags, not even none.
      return fields.sourceRegister !== undefined && isEmpty(fields.flags) ? without('flags') : fields;
    case 'quota':
      return Array.isArray(fields.flags) && fields.flags.includes('depleted')
        ? { ...fields, flags: fields.flags.filter(flag => flag !== 'depleted') }
        : fields;
    case 'dynset': {
      // No timeout of its own; a set without timeouts takes not even that.
      const rest = fields.timeoutMilliseconds === 0n ? without('timeoutMilliseconds') : { ...fields };
      if (rest.expression !== undefined) rest.expression = writable(rest.expression as Expression);
      if (Array.isArray(rest.expressions)) {
        rest.expressions = rest.expressions.map(writable);
        // The kernel wants to be told that there are some, and does not tell.
        const flags = (rest.flags ?? []) as string[];
        if (!flags.includes('expressions')) rest.flags = [...flags, 'expressions'];
      }
      return rest;
    }
    default:
      return fields;
  }
}

export function writable(expression: Expression): Expression {
  const [name, fields] = Object.entries(expression)[0] as [string, Fields];
  const written = writableFields(name, fields);
  return written === fields ? expression : ({ [name]: written } as unknown as Expression);
}
