import { objectOf, typeError } from '../errors.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { Family } from '../nf_tables/family.ts';
import type { CompiledSet } from './compile/compile.ts';
import { vocabulary } from './decompile/format-value.ts';
import { readRule } from './decompile/rule.ts';
import { type SetFinder, Sets } from './decompile/sets.ts';
import type { Names } from './names.ts';
import { type Statement, statementsJson } from './statements/registry.ts';
import { type ListedSet, Undecompilable } from './tree.ts';

/** Information that is not in a rule's bytecode. */
export interface DecompileContext {
  /** The version of nft to follow where versions differ: 1.0.6 (Debian 12), or 1.1.6, the default. */
  version?: '1.1.6' | '1.0.6';
  /**
   * The sets of the rule's table, as `nft.ruleset({ elements: true })` or compileRule return them. Anonymous ones are shown in the rule
   * with their elements; of the others only the types matter.
   */
  sets?: readonly (ListedSet | CompiledSet)[] | ((name: string) => ListedSet | undefined);
  /** Names of numbers. Default: the files of this system, read anew in each call that needs them. */
  names?: Names;
  /**
   * Returns the name of an interface by its index. Default: knows lo only, whose index is always 1. An index without a name is shown as a
   * number.
   */
  interfaceName?: (index: number) => string | undefined;
  /** Objects that nft of that version could not read become comments in text, the default, or an error. JSON can say everything. */
  unwritable?: 'comment' | 'refuse';
}

/**
 * Translates a rule's expressions into nft's statements: those that `nft -j list ruleset` shows.
 * Matches that later ones imply are left out, as nft does. Expressions without a statement come last, as `{ raw }`.
 * @param rule family and expressions
 * @param context nft's version, the sets that the rule refers to, names of numbers and interfaces
 * @throws TypeError ERR_INVALID_ARG_TYPE an option is not what it should be
 * @example
 * const [rule] = await nft.rules({ family: 'inet', table: 'web', chain: 'input' });
 * if (rule) console.log(decompileRule(rule));
 */
export function decompileRule(
  rule: {
    /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
    family: Family;
    /** The expressions, as the kernel runs them. */
    expressions?: readonly Expression[];
  },
  context: DecompileContext = {},
): Statement[] {
  if (typeof rule !== 'object' || rule === null) throw typeError([], objectOf(['family', 'expressions']), rule);
  const words = vocabulary(context);
  const { statements, rest } = readRule(rule, new Sets(finderOf(context.sets), words.dialect), words.dialect);
  try {
    const json = statementsJson(statements, { words });
    return rest.length === 0 ? json : [...json, { raw: rest }];
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return [{ raw: [...(rule.expressions ?? [])] }];
  }
}

export function finderOf(sets: DecompileContext['sets'] = []): SetFinder {
  if (typeof sets === 'function') return sets;
  return (name, id) => {
    for (const entry of sets) {
      if (!('set' in entry)) {
        if (entry.name === name) return entry;
      } else if (entry.set.name === name && entry.set.id === id) {
        return { ...entry.set, elements: entry.elements };
      }
    }
    return undefined;
  };
}
