import { NF_NAT_RANGE_PROTO_SPECIFIED } from '../../linux/nf_nat.ts';
import type { Expression } from '../../nf_tables/expression.ts';

/*
 * The kernel does not take all that it gives: some attributes that say nothing must be absent, and what it found out by itself must not be told.
 * What was read can be written all the same. And what it would take for something else is completed.
 */

type Fields = Record<string, unknown>;

const isEmpty = (list: unknown): boolean => Array.isArray(list) && list.length === 0;

function withoutEmpty(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== 0 && !isEmpty(value)));
}

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
      // What removes a TCP option takes nothing but its number; what writes a header field takes no flags, not even none.
      if (fields.register === undefined && fields.sourceRegister === undefined) return withoutEmpty(fields);
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
    // The kernel looks at the ports of both only where the flags say that there are some; of redir without flags it says so to itself.
    case 'masq':
      return fields.portRegister === undefined ? fields : withPortsFlag(fields);
    case 'redir':
      return fields.portRegister === undefined || fields.flags === undefined ? fields : withPortsFlag(fields);
    default:
      return fields;
  }
}

function withPortsFlag(fields: Fields): Fields {
  const given: unknown = fields.flags ?? [];
  // What it may be besides is refused by its own type.
  if (!Array.isArray(given)) return fields;
  const said = given.some(
    flag => flag === 'ports-specified' || (typeof flag === 'number' && (flag & NF_NAT_RANGE_PROTO_SPECIFIED) !== 0),
  );
  return said ? fields : { ...fields, flags: ['ports-specified', ...given] };
}

/** Those that `writableFields` may change. */
const CHANGED: ReadonlySet<string> = new Set(['osf', 'exthdr', 'quota', 'dynset', 'masq', 'redir']);

/** The expression as the kernel takes it: the same object where that is how it stands. */
export function writable(expression: Expression): Expression {
  for (const name in expression) {
    if (!CHANGED.has(name)) continue;
    const fields = (expression as unknown as Record<string, Fields>)[name];
    if (typeof fields !== 'object' || fields === null) continue;
    const written = writableFields(name, fields);
    if (written !== fields) return { [name]: written } as unknown as Expression;
  }
  return expression;
}

/** An object with `expression` or `expressions` (a set, an element) whose expressions are as the kernel takes them. */
export function withWritable<T extends { expression?: Expression | undefined; expressions?: Expression[] | undefined }>(
  object: T,
): T {
  const { expression, expressions } = object;
  if (expression === undefined && !Array.isArray(expressions)) return object;
  const written = { ...object };
  if (expression !== undefined) written.expression = writable(expression);
  if (Array.isArray(expressions)) written.expressions = expressions.map(writable);
  return written;
}
