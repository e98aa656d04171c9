import type { Expression } from '../../nf_tables/expression.ts';
import { type FlowStatement, Undecompilable } from './tree.ts';

/** Expressions with a state of their own. */
export type Stateful = Extract<
  Expression,
  { counter: unknown } | { limit: unknown } | { quota: unknown } | { last: unknown } | { connlimit: unknown }
>;

const isInverted = (flags: readonly (string | number)[] | undefined): boolean => {
  for (const flag of flags ?? [])
    if (flag !== 'invert' && flag !== 'depleted') throw new Undecompilable(`the flag ${flag}`);
  return flags?.includes('invert') ?? false;
};

export function stateful(expression: Stateful): FlowStatement {
  if ('counter' in expression) {
    const { packets = 0n, bytes = 0n } = expression.counter;
    return { kind: 'counter', packets, bytes };
  }
  if ('limit' in expression) {
    const { rate, unitSeconds: unit, burst = 0, type, flags } = expression.limit;
    if (typeof type === 'number') throw new Undecompilable(`a limit of ${type}`);
    return { kind: 'limit', rate, unit, burst, bytes: type === 'bytes', inverted: isInverted(flags) };
  }
  if ('quota' in expression) {
    const { bytes = 0n, consumed: used = 0n, flags } = expression.quota;
    return { kind: 'quota', bytes, used, inverted: isInverted(flags) };
  }
  if ('last' in expression) {
    const { seen = 0, milliseconds = 0n } = expression.last;
    return { kind: 'last', seen: seen !== 0, milliseconds };
  }
  if ('connlimit' in expression) {
    const { count, flags } = expression.connlimit;
    return { kind: 'connlimit', count, inverted: isInverted(flags) };
  }
  throw new Undecompilable(`the expression ${Object.keys(expression)[0]} where it has no words`);
}

/** An expression that stands in a set, in one of its elements, or in a change of one. */
export function statementOf(expression: Expression): FlowStatement {
  return stateful(expression as Stateful);
}
