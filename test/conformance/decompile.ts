import type { ListedRuleset } from '../../src/nft/decompile/ruleset.ts';
import { type DecompileContext, decompileRule } from '../../src/nft/decompile.ts';
import { rulesetJson } from '../../src/nft/ruleset-json.ts';
import type { ListedSet } from '../../src/nft/tree.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { type Dump, readDump } from './dump.ts';

interface RuleCase {
  t: string;
  line: number;
  family: string;
  rule: string;
  dump?: string[];
  json?: unknown[];
}

interface RulesetCase {
  name: string;
  dump?: string[];
  json?: { nftables: Record<string, unknown>[] };
}

/** Way 4: what the kernel gave back, as nft listed it in JSON: rules alone, and whole rulesets. */
export function decompile(): Outcome[] {
  return [
    ...filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(rules),
    ...filesLike(/^nft-.*-rulesets\.jsonl\.gz$/).map(rulesets),
  ];
}

function rules(file: string): Outcome {
  const version = versionOf(file);
  const cases = readLines<RuleCase>(file).filter(({ dump, json }) => dump !== undefined && json !== undefined);
  return tryAll('decompile', file, cases, nameOf, one => {
    const dump = readDump(one.dump!);
    const found = dump.rules.flatMap(rule => {
      const context: DecompileContext = { sets: setsOf(dump, rule.family, rule.table), version };
      return decompileRule(rule as never, context);
    });
    return differs(found, one.json);
  });
}

function rulesets(file: string): Outcome {
  const version = versionOf(file);
  const cases = readLines<RulesetCase>(file).filter(({ dump, json }) => dump !== undefined && json !== undefined);
  return tryAll(
    'decompile',
    file,
    cases,
    ({ name }) => name,
    one => {
      const found = rulesetJson(readDump(one.dump!) as unknown as ListedRuleset, { version });
      const plainly = (list: Record<string, unknown>[]) => list.filter(object => !('metainfo' in object));
      return differs(plainly(found.nftables), plainly(one.json!.nftables));
    },
  );
}

/** Which nft wrote a recording. */
export function versionOf(file: string): '1.0.6' | '1.1.6' {
  return file.includes('1.0.6') ? '1.0.6' : '1.1.6';
}

export function setsOf(dump: Dump, family: unknown, table: unknown): ListedSet[] {
  return dump.sets.filter(set => set.family === family && set.table === table) as unknown as ListedSet[];
}

export function nameOf({ t, line, family, rule }: { t: string; line: number; family: string; rule: string }): string {
  return `${t}:${line} ${family}: ${rule}`;
}

/** JSON as text: numbers that are too large for JavaScript are rounded in the recordings, whatever type they have here. */
export function plain(value: unknown): string {
  return JSON.stringify(value, (_key, each) => {
    if (typeof each === 'bigint') return Number(each);
    if (typeof each === 'string' && /^\d{16,}$/.test(each)) return Number(each);
    return isObject(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each;
  });
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The first place where the lists differ. */
export function differs(found: readonly unknown[], expected: readonly unknown[] | undefined): string | undefined {
  for (let i = 0; i < Math.max(found.length, expected?.length ?? 0); i++) {
    const [is, should] = [plain(found[i]), plain(expected?.[i])];
    if (is !== should) return `${i}: is ${is}\n    not ${should}`;
  }
  return undefined;
}
