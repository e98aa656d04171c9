import type { Expression } from '../../nf_tables/expression.ts';
import type { Dialect } from '../data/dialects.ts';
import { type FlowStatement, readStatement } from '../statements/registry.ts';
import { Undecompilable } from '../tree.ts';
import { loadRegister } from './instructions.ts';
import { Postprocessor } from './postprocess.ts';
import { Registers } from './registers.ts';
import type { Sets } from './sets.ts';

/** The statements of a rule; `rest` are the expressions that nft has no words for. */
export interface Reading {
  statements: FlowStatement[];
  rest: Expression[];
}

export function readRule(
  rule: { family: string; expressions?: readonly Expression[] },
  sets: Sets,
  dialect: Dialect,
): Reading {
  // The kernel lists a rule without expressions without the attribute.
  const { expressions = [] } = rule;
  const registers = new Registers({ family: rule.family, sets, dialect });
  const statements: FlowStatement[] = [];
  let understood = 0;
  try {
    for (const [i, expression] of expressions.entries()) {
      const statement = readStatement(registers, expression);
      if (statement === undefined) {
        loadRegister(registers, expression);
      } else {
        statements.push(statement);
        understood = i + 1;
      }
    }
    if (understood < expressions.length) throw new Undecompilable('loads that nothing comes of');
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
  }
  const rest = expressions.slice(understood);
  if (!standsAlone(rest)) return { statements: [], rest: [...expressions] };
  try {
    return { statements: new Postprocessor(rule.family, dialect).run(statements), rest };
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return { statements: [], rest: [...expressions] };
  }
}

/** Does it read no register that it has not written before? `register` is written, the fields of other names are read. */
function standsAlone(expressions: readonly Expression[]): boolean {
  const written = new Set<number>();
  for (const expression of expressions) {
    const [name, content] = Object.entries(expression)[0] as [string, Record<string, unknown>];
    if (name === 'unknown') continue;
    for (const key in content) {
      const reads = key.endsWith('Register') || (key === 'register' && (name === 'cmp' || name === 'range'));
      if (reads && !written.has(content[key] as number)) return false;
    }
    if (typeof content.register === 'number') written.add(content.register);
  }
  return true;
}
