import { objectOf, rangeError, typeError } from '../errors.ts';
import { compileRule } from './compile/compile.ts';
import { vocabulary } from './decompile/format-value.ts';
import { referencesOf } from './decompile/references.ts';
import { type SetFinder, Sets } from './decompile/sets.ts';
import type { TextOptions } from './decompile/to-text.ts';
import { isWritableName } from './decompile/unwritable.ts';
import { type DecompileContext, finderOf } from './decompile.ts';
import type { Rule } from './rule.ts';
import { type ListedRule, ruleText } from './rule-text.ts';
import type { Statement } from './statements/registry.ts';

type WrittenRule = Pick<Rule, 'family' | 'comment'> & {
  /** The rule in nft's language. */
  statements: Statement[];
};

/**
 * Prints one rule as `nft list ruleset` does, in one line. The rule may come from a listing, or be one that is not written yet.
 * If nft's language has no words for it (see `formatRuleset`), the line begins with `#`.
 * @param rule family, and expressions or statements
 * @param context nft's version, the sets that the rule refers to, names of numbers and interfaces
 * @throws TypeError, RangeError statements that cannot be translated; ERR_NO_TEXT with `unwritable: 'refuse'`
 * @example
 * formatRule({ family: 'inet', statements: [tcp.dport.eq(80), accept()] }); // 'tcp dport 80 accept'
 */
export function formatRule(rule: ListedRule | WrittenRule, context: DecompileContext = {}): string {
  if (typeof rule !== 'object' || rule === null || Array.isArray(rule))
    throw typeError([], objectOf(['family', 'statements', 'expressions']), rule);
  const words = vocabulary(context);
  const find = finderOf(context.sets);
  if (!('statements' in rule)) return line(rule, find, { words });
  const { family, statements, comment } = rule;
  const { version = '1.1.6' } = context;
  const devices = new NamedDevices();
  const interfaces = (name: string) => devices.index(name);
  const interfaceName = (index: number) => devices.name(index) ?? words.interfaceName(index);
  const options: TextOptions = { words: { ...words, interfaceName } };
  const given = { version, names: words.names, interfaces, sets: (name: string) => find(name) };
  const compiled = compileRule({ family, statements }, given);
  const own = finderOf(compiled.sets);
  const { expressions } = compiled;
  const listed = comment === undefined ? { family, expressions } : { family, expressions, comment };
  return line(listed, (name, id) => own(name, id) ?? find(name), options);
}

function line(rule: ListedRule, find: SetFinder, options: TextOptions): string {
  const { dialect, unwritable, strict } = options.words;
  for (const { kind, name } of referencesOf(rule.expressions ?? [], find))
    if (!isWritableName(kind, name, dialect)) unwritable.note(`the ${kind} ${name}`);
  const text = ruleText(rule, new Sets(find, dialect), options);
  if (unwritable.take().length === 0) return text;
  if (strict) throw rangeError([], `a rule that nft ${dialect.version} can read as text`, rule, 'ERR_NO_TEXT');
  return `# ${text}`;
}

const LAST_INDEX = 0x7fffffff;

/** Statements name devices, and the text shows these names, whatever their indexes are. So each name gets an index that no device has. */
class NamedDevices {
  readonly #names: string[] = [];

  index(name: string): number | undefined {
    if (/^\d+$/.test(name)) return undefined;
    return LAST_INDEX + 1 - this.#names.push(name);
  }

  name(index: number): string | undefined {
    return this.#names[LAST_INDEX - index];
  }
}
