import { parseRule } from '../../src/nft/parse-rule.ts';
import type { Family } from '../../src/nftables/index.ts';
import { chainText, readBothWays, withOtherNumbers } from '../support/line-rules.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { numbers } from './numbers.ts';

interface Case {
  t: string;
  line: number;
  family: Family;
  rule: string;
}

/** Lines of the form of each recorded one. */
const VARIANTS = 8;

/** Each recorded rule stands several times in a chain, with other numbers and addresses: its lines are read by their form as the parser reads them. */
export function lines(): Outcome[] {
  return filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(file => {
    const version = file.includes('1.0.6') ? '1.0.6' : '1.1.6';
    const next = numbers();
    return tryAll('lines', file, readLines<Case>(file), nameOf, ({ family, rule }) => {
      const isRule = (line: string) => errorIn(() => parseRule(line, { family, version })) === undefined;
      // One error in a text, and all of it is parsed.
      const variants = Array.from({ length: VARIANTS }, () => withOtherNumbers(rule, next)).filter(isRule);
      return readBothWays(chainText(family, [rule, rule, ...variants]), { version }).difference;
    });
  });
}

function errorIn(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}

const nameOf = ({ t, line, family, rule }: Case): string => `${t}:${line} ${family}: ${rule}`;
