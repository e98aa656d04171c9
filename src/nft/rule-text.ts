import { printable } from '../errors.ts';
import type { RuleEntry } from '../nf_tables/rule.ts';
import { readRule } from './decompile/rule.ts';
import type { Sets } from './decompile/sets.ts';
import type { TextOptions } from './decompile/to-text.ts';
import { isWritableComment } from './decompile/unwritable.ts';
import { readsBack } from './read-back.ts';
import { bracketed } from './statements/raw.ts';
import { endsRule, statementText } from './statements/registry.ts';
import { Undecompilable } from './tree.ts';

export type ListedRule = Pick<RuleEntry, 'family' | 'expressions' | 'comment'>;

/** One rule in a line. `unwritable` of the words notes each part that nft cannot read. */
export function ruleText(rule: ListedRule, sets: Sets, options: TextOptions): string {
  const { words } = options;
  const { statements, rest } = readRule(rule, sets, words.dialect);
  // The kernel accepts expressions behind a verdict; nft cannot read them.
  if (statements.slice(0, -1).some(endsRule)) words.unwritable.note('a statement behind the verdict');
  if (words.dialect.misreadsCalculations && !readsBack(rule, statements, sets, words))
    words.unwritable.note('a calculation that nft 1.0.6 reads as another, or not at all');
  let parts: string[];
  try {
    parts = statements.map(statement => statementText(statement, options));
    for (const expression of rest) parts.push(bracketed(expression, words));
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    parts = rule.expressions.map(expression => bracketed(expression, words));
  }
  const { comment } = rule;
  // A comment that cannot be quoted is for readers only: the rule is the same without it.
  if (comment !== undefined)
    parts.push(isWritableComment(comment) ? `comment "${comment}"` : `# comment "${printable(comment)}"`);
  return parts.join(' ');
}
