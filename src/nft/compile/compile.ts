import { objectOf, type Path, typeError, within } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { compileStatement, type Statement } from '../statements/registry.ts';
import { Place } from '../tree.ts';
import type { CompileContext } from './context.ts';
import { RuleEvaluator } from './evaluate.ts';
import type { CompiledSet } from './ir.ts';
import { Linearizer } from './linearize.ts';
import { reduce } from './reduce.ts';
import { wireSet } from './wire-set.ts';

export type { CompileContext, CompiledSet };

/** The path of the statement that each expression came from. */
export type SourceMap = Path[];

/** A rule as expressions of the kernel. */
export interface CompiledRule {
  /** The expressions that the kernel gets. */
  expressions: Expression[];
  /** `origin[i]` is the path of the statement that expression `i` came from. */
  origin: SourceMap;
  /** Sets without a name that belong to the rule. */
  sets?: CompiledSet[];
}

/**
 * Translates nft's statements into the kernel's expressions. It writes the same instructions as nft,
 * so that `nft list` prints the rule as a person would have written it.
 * @param rule family and statements
 * @param context the sets and the names of numbers that the rule refers to
 * @throws TypeError, RangeError with the path of the part that cannot be translated
 * @example
 * const { expressions } = compileRule({ family: 'inet', statements: [tcp.dport.eq(80), accept()] });
 */
export function compileRule(
  rule: {
    /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
    family: Family;
    /** The name of the chain. */
    chain?: string;
    /** The statements of nft's language. */
    statements: Statement[];
  },
  context: CompileContext = {},
): CompiledRule {
  if (typeof rule !== 'object' || rule === null) throw typeError([], objectOf(['family', 'chain', 'statements']), rule);
  familyNumber(rule.family, ['family']);
  try {
    return compileStatements(rule.family, rule.statements, context);
  } catch (error) {
    throw within(error, ['statements']);
  }
}

export function compileStatements(
  family: Family,
  statements: readonly Statement[],
  context: CompileContext,
): CompiledRule {
  if (!Array.isArray(statements)) throw typeError([], 'an array of statements', statements);
  const evaluator = new RuleEvaluator(family, context);
  for (let i = 0; i < statements.length; i++) {
    evaluator.begin(i);
    compileStatement(evaluator, statements[i], new Place(undefined, i));
  }
  const linearizer = new Linearizer(evaluator.dialect);
  linearizer.run(reduce(evaluator.steps, family, evaluator.dialect));
  const compiled: CompiledRule = { expressions: linearizer.expressions, origin: linearizer.origin };
  if (evaluator.sets.length > 0) {
    const place = { family, table: context.table ?? '' };
    compiled.sets = evaluator.sets.map(set => wireSet(set, place, evaluator.dialect));
  }
  return compiled;
}
