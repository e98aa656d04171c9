import type { Expression } from '../nf_tables/expression.ts';
import type { RuleTarget } from '../nf_tables/rule.ts';
import type { Statement } from './statements/registry.ts';

/** A rule to write: in nft's statements, or in the kernel's own expressions. */
export type Rule = RuleTarget &
  (
    | {
        /** The rule in nft's language. */
        statements: Statement[];
        /** The rule as the kernel runs it. */
        expressions?: never;
      }
    | {
        /** The rule as the kernel runs it. */
        expressions: Expression[];
        /** The rule in nft's language. */
        statements?: never;
      }
  );
