import type { Expression } from '../expression.ts';
import type { Family } from '../family.ts';
import { readRule } from './decompile/rule.ts';
import { type ListedSet, Sets } from './decompile/sets.ts';
import { statementJson } from './decompile/to-json.ts';
import { Undecompilable } from './decompile/tree.ts';
import { vocabulary } from './decompile/words.ts';
import type { Statement } from './json.ts';
import type { Names } from './names.ts';

/** What a rule's bytecode alone does not say. */
export interface DecompileContext {
  /** The sets of the rule's table with their elements, by name: anonymous ones are shown in place, of the others the types are needed. */
  sets?: ReadonlyMap<string, ListedSet>;
  /** The names of marks, protocols and the like; default those of this system's files, read anew for each call. */
  names?: Names;
  /** The name of an interface by its index; default knows `lo` alone. What has no name is shown as a number. */
  interfaceName?: (index: number) => string | undefined;
  /** Which nft is followed where they differ: 1.0.6 (Debian 12), or 1.1.6, the default. */
  nftVersion?: '1.0.6' | '1.1.6';
}

const NO_SETS: ReadonlyMap<string, ListedSet> = new Map();

/**
 * The statements that `nft -j list ruleset` shows for a rule. Matches that later ones imply are left out, as nft does. What no statement
 * stands for comes last, as `{ raw }` with its expressions.
 */
export function decompileRule(
  rule: { family: Family; expressions: readonly Expression[] },
  context: DecompileContext = {},
): Statement[] {
  const words = vocabulary(context);
  const { statements, rest } = readRule(rule, new Sets(context.sets ?? NO_SETS, words.old), words.old);
  try {
    const json = statements.map(statement => statementJson(statement, { words }) as unknown as Statement);
    return rest.length === 0 ? json : [...json, { raw: rest }];
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return [{ raw: [...rule.expressions] }];
  }
}
