import type { ListedRuleset } from '../../src/nft/decompile/ruleset.ts';
import { formatRuleset } from '../../src/nft/ruleset-text.ts';
import { formatRule } from '../../src/nft/text.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { nameOf, setsOf, versionOf } from './decompile.ts';
import { readDump } from './dump.ts';

interface RuleCase {
  t: string;
  line: number;
  family: string;
  rule: string;
  dump?: string[];
  list?: string;
}

interface RulesetCase {
  name: string;
  dump?: string[];
  list?: string;
}

/** Way 5: what the kernel gave back, as nft listed it in text; white space at line ends apart. */
export function text(): Outcome[] {
  return [
    ...filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(rules),
    ...filesLike(/^nft-.*-rulesets\.jsonl\.gz$/).map(rulesets),
  ];
}

const trimmed = (lines: string): string => lines.replace(/[ \t]+$/gm, '');

/** The recorded dumps have the rule and its sets; the listing has the chain around it too. */
function rules(file: string): Outcome {
  const version = versionOf(file);
  const cases = readLines<RuleCase>(file).filter(({ dump, list }) => dump !== undefined && list !== undefined);
  return tryAll('text', file, cases, nameOf, one => {
    const dump = readDump(one.dump!);
    const found = dump.rules.map(
      rule => `\t\t${formatRule(rule as never, { sets: setsOf(dump, rule.family, rule.table), version })}\n`,
    );
    return differs(found.join(''), rulesOf(one.list!));
  });
}

function rulesOf(list: string): string {
  const chain = /\tchain [^\n]* \{\n((?:\t\t[^\n]*\n)*)\t\}/.exec(list);
  return (chain?.[1] ?? '').replace(/^\t\ttype [^\n]*\n/, '');
}

function rulesets(file: string): Outcome {
  const version = versionOf(file);
  const cases = readLines<RulesetCase>(file).filter(({ dump, list }) => dump !== undefined && list !== undefined);
  return tryAll(
    'text',
    file,
    cases,
    ({ name }) => name,
    one => {
      return differs(formatRuleset(readDump(one.dump!) as unknown as ListedRuleset, { version }), one.list!);
    },
  );
}

/** The first line that differs. */
function differs(found: string, expected: string): string | undefined {
  const [is, should] = [trimmed(found).split('\n'), trimmed(expected).split('\n')];
  for (let i = 0; i < Math.max(is.length, should.length); i++) {
    if (is[i] !== should[i]) return `line ${i + 1}: is ${JSON.stringify(is[i])}\n    not ${JSON.stringify(should[i])}`;
  }
  return undefined;
}
