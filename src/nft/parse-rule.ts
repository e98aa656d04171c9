import type { Family } from '../nf_tables/family.ts';
import { dialectOf } from './data/dialects.ts';
import type { Json } from './json-object.ts';
import { Parser, type Variables } from './parse/parser.ts';
import { grammarOf, parseRuleStatements } from './parse/rule.ts';
import { Source } from './parse/source.ts';
import { T } from './parse/tokens.ts';
import type { Statement } from './statements/registry.ts';

/** The surroundings of a rule's text. */
export interface ParseRuleOptions {
  /** The family of the rule's table. */
  family: Family;
  /** The version of nft whose language it is; default 1.1.6. */
  version?: '1.1.6' | '1.0.6';
  /** The name of the text in errors; default 'rule'. */
  source?: string;
  /** Values of `$name` in the text: numbers, words, or expressions of nft's JSON. */
  variables?: Readonly<Record<string, Json>>;
}

/**
 * Reads the text of one rule, as nft reads it: the result is what `addRule` and `compileRule` take. A comment of the rule is not part of it.
 * Words keep their form: `ssh` stays a word, and the names of services, interfaces and users are looked up where the rule is compiled.
 * @param text the statements of the rule, without the table and the chain
 * @param options the family of the table, nft's version, the variables
 * @throws NftSyntaxError the text is no rule of nft's language; its `errors` have line and column
 * @example
 * parseRule('tcp dport { 80, 443 } accept', { family: 'inet' });
 * // [{ match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: { set: [80, 443] } } }, { accept: null }]
 */
export function parseRule(text: string, options: ParseRuleOptions): Statement[] {
  const { family, version, source: name = 'rule', variables } = options;
  const dialect = dialectOf(version);
  const source = new Source(name, text.endsWith('\n') ? text : `${text}\n`);
  const parser = new Parser(source, {
    dialect,
    family,
    grammar: grammarOf(dialect),
    ...(variables !== undefined && { variables: given(variables, source) }),
  });
  const found = parser.recover(() => {
    parser.separators();
    const { expr } = parseRuleStatements(parser);
    parser.separators();
    if (!parser.is(T.EOF)) parser.unexpected('end of file', 'newline', 'semicolon');
    return expr;
  });
  parser.finish();
  return found!;
}

function given(values: Readonly<Record<string, Json>>, source: Source): Variables {
  const span = { source, start: 0, end: 0 };
  return {
    find: name => (Object.hasOwn(values, name) ? { value: values[name]!, span } : undefined),
  };
}
