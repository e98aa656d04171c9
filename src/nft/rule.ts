import type { Expression } from '../nf_tables/expression.ts';
import type { RuleTarget } from '../nf_tables/rule.ts';
import type { Statement } from './statements/registry.ts';

/** A rule to write: in nft's statements, or in the kernel's own expressions. */
export type Rule = RuleTarget &
  ({ statements: Statement[]; expressions?: never } | { expressions: Expression[]; statements?: never });
