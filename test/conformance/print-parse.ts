import type { Family } from '../../src/nftables/index.ts';
import { compileRule, decompileRule, formatRule, Names, parseRule } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { differs, setsOf, versionOf } from './decompile.ts';
import { readDump } from './dump.ts';

interface Case {
  t?: string;
  line?: number;
  name?: string;
  dump?: string[];
}

// The names of this system: the recordings have some of Debian.
const names = new Names();

/** The kernel lists the elements of a set in an order of its own. */
const unordered = <T>(json: T): T =>
  JSON.parse(
    JSON.stringify(json, (_, each) => (typeof each === 'bigint' ? `${each}` : each)),
    (key, value) => (key === 'set' && Array.isArray(value) ? value.map(each => JSON.stringify(each)).sort() : value),
  ) as T;

/**
 * The text that we print for each recorded rule is parsed and compiled; the result has the same JSON. Rules that nft itself cannot read as
 * text, which are printed behind a `#`, do not count.
 */
export function printParse(): Outcome[] {
  return filesLike(/^nft-.*-(rules|rulesets)\.jsonl\.gz$/).map(file => {
    const version = versionOf(file);
    const cases = readLines<Case>(file).flatMap(({ t, line, name, dump = [] }) => {
      const listed = readDump(dump);
      return listed.rules.map((rule, i) => ({ name: `${name ?? `${t}:${line}`} [${i}]`, rule, listed }));
    });
    const readable = cases
      .map(each => {
        const { rule, listed } = each;
        const sets = setsOf(listed, rule.family, rule.table);
        const { comment: _, ...uncommented } = rule as Record<string, unknown>;
        return { ...each, sets, text: formatRule(uncommented as never, { sets, version, names }) };
      })
      .filter(({ text }) => !text.startsWith('#') && text !== '');
    return tryAll(
      'print-parse',
      file,
      readable,
      ({ name, text }) => `${name}: ${text}`,
      ({ rule, sets, text }) => {
        const family = rule.family as Family;
        const statements = parseRule(text, { family, version });
        const table = String(rule.table);
        const compiled = compileRule(
          { family, statements },
          { version, names, table, sets: sets.filter(({ flags = [] }) => !flags.includes('anonymous')) },
        );
        const own = { family, expressions: compiled.expressions };
        const all = [...(compiled.sets ?? []), ...sets];
        return differs(
          unordered(decompileRule(own, { version, names, sets: all })),
          unordered(decompileRule(rule as never, { version, names, sets })),
        );
      },
    );
  });
}
