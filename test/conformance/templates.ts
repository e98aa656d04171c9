import type { Family, Statement } from '../../src/nftables/index.ts';
import { templateDifference, withOtherConstants } from '../support/rule-templates.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { numbers } from './numbers.ts';

interface Case {
  t: string;
  line: number;
  family: Family;
  rule: string;
  json?: Statement[];
}

/** Rules of the shape of each recorded one. */
const VARIANTS = 12;

/** Each recorded rule is written several times in a row with other constants: copies of a template have the compiler's bytes. */
export function templates(): Outcome[] {
  return filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(file => {
    const version = file.includes('1.0.6') ? '1.0.6' : '1.1.6';
    const cases = readLines<Case>(file).filter(one => one.json !== undefined);
    const next = numbers();
    return tryAll('templates', file, cases, nameOf, ({ family, json }) => {
      const variants = Array.from(
        { length: VARIANTS },
        (_, i) => withOtherConstants(json, next, 2 + (i % 3)) as Statement[],
      );
      return templateDifference([json!, json!, ...variants], family, version);
    });
  });
}

const nameOf = ({ t, line, family, rule }: Case): string => `${t}:${line} ${family}: ${rule}`;
