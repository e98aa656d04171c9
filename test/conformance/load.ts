import { spawnSync } from 'node:child_process';
import type { Ruleset } from '../../src/nftables/index.ts';
import type { ListedRuleset } from '../../src/nftables/language/decompile/ruleset.ts';
import { formatRuleset } from '../../src/nftables/language/ruleset-text.ts';
import { filesLike, type Outcome, readLines } from './corpus.ts';
import { nameOf, prepared } from './kernel.ts';
import { Place } from './place.ts';

const CHUNK = 100;

/** What nft says of one text: undefined, or why it does not take it. */
export function loadAll(place: Place, texts: readonly string[]): (string | undefined)[] {
  const refused = new Map<number, string>();
  const attempt = (indexes: readonly number[]): void => {
    let left = [...indexes];
    while (left.length > 0) {
      const errors = tryTogether(place, texts, left);
      if (errors === undefined) return;
      if (errors.size === 0) {
        if (left.length === 1) {
          refused.set(left[0]!, 'nft ended without a line');
          return;
        }
        // It crashed, or named no place.
        place.empty();
        const good: number[] = [];
        for (const i of left) {
          place.empty();
          const one = tryTogether(place, texts, [i]);
          if (one === undefined) good.push(i);
          else refused.set(i, one.get(i) ?? 'nft crashed');
        }
        place.empty();
        left = good;
        continue;
      }
      for (const [i, message] of errors) refused.set(i, message);
      left = left.filter(i => !errors.has(i));
    }
  };
  place.empty();
  attempt(texts.map((_, i) => i));
  return texts.map((_, i) => refused.get(i));
}

function tryTogether(
  place: Place,
  texts: readonly string[],
  indexes: readonly number[],
): Map<number, string> | undefined {
  const begins: [line: number, index: number][] = [];
  let line = 1;
  let input = '';
  for (const i of indexes) {
    begins.push([line, i]);
    input += texts[i]!;
    line += texts[i]!.split('\n').length - 1;
  }
  const { status, stderr } = place.netns.run(() => spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input }));
  if (status === 0) return undefined;
  const found = new Map<number, string>();
  for (const match of stderr.matchAll(/^\/dev\/stdin:(\d+):[^\n]*: Error: ([^\n]*)\n([^\n]*)/gm)) {
    const at = Number(match[1]);
    const owner = begins.findLast(([begin]) => begin <= at);
    if (owner !== undefined && !found.has(owner[1])) found.set(owner[1], `${match[2]}: ${match[3]!.trim()}`);
  }
  return found;
}

const renamed = <T extends { table: string }>(list: readonly T[], prefix: string): T[] =>
  list.map(object => ({ ...object, table: `${prefix}${object.table}` }));

export function under(ruleset: Ruleset, prefix: string): Ruleset {
  return {
    generation: ruleset.generation,
    tables: ruleset.tables.map(table => ({ ...table, name: `${prefix}${table.name}` })),
    chains: renamed(ruleset.chains, prefix),
    sets: renamed(ruleset.sets, prefix),
    rules: renamed(ruleset.rules, prefix),
    objects: renamed(ruleset.objects, prefix),
    flowtables: renamed(ruleset.flowtables, prefix),
  };
}

export function only(ruleset: Ruleset, prefix: string): Ruleset {
  const mine = <T extends { table: string }>(list: readonly T[]) =>
    list.filter(({ table }) => table.startsWith(prefix));
  return {
    generation: ruleset.generation,
    tables: ruleset.tables.filter(({ name }) => name.startsWith(prefix)),
    chains: mine(ruleset.chains),
    sets: mine(ruleset.sets),
    rules: mine(ruleset.rules),
    objects: mine(ruleset.objects),
    flowtables: mine(ruleset.flowtables),
  };
}

const trimmed = (text: string): string => text.replace(/[ \t]+$/gm, '');

/** Elements come in the order of the kernel's table, which nobody chose, and counters of elements that time out count down. */
const settled = (text: string): string =>
  trimmed(text)
    .replace(/^\t*# .*\n/gm, '')
    .replace(/\{ ([^{}]*) \}/g, (_, inner: string) => `{ ${inner.split(/,\s+/).sort().join(', ')} }`)
    .replace(/ expires [\dhmsd]+/g, ' expires');

interface Source {
  name: string;
  fill(place: Place): boolean;
}

function sourcesOf(file: string): Source[] {
  if (/-(rules|rulesets)\./.test(file)) {
    return readLines<Parameters<typeof nameOf>[0]>(file)
      .filter(one => (one.sent ?? []).length > 0)
      .map(one => ({
        name: nameOf(one),
        fill: place => prepared(place, one) && one.sent!.every(batch => place.replay(batch)),
      }));
  }
  return readLines<{
    name: string;
    sent?: string[];
    setup?: unknown;
    refusal?: unknown;
    links?: unknown;
    before?: string;
  }>(file)
    .filter(one => (one.sent ?? []).length > 0 && !one.setup && !one.refusal && !one.links && !one.before)
    .map(one => ({ name: one.name, fill: place => one.sent!.every(batch => place.replay(batch)) }));
}

export async function load(): Promise<Outcome[]> {
  const from = new Place();
  const to = new Place();
  const outcomes: Outcome[] = [];
  try {
    for (const file of filesLike(
      /^(nft-.*-(rules|rulesets)|nft-scripts|iptables-files|iptables-nft-.*-rules)\.jsonl\.gz$/,
    )) {
      const cases = sourcesOf(file);
      const failures: { name: string; difference: string }[] = [];
      const told: string[] = [];
      let total = 0;
      let xt = 0;
      let unfilled = 0;
      for (let first = 0; first < cases.length; first += CHUNK) {
        const chunk: { source: Source; prefix: string; text: string }[] = [];
        for (const [i, source] of cases.slice(first, first + CHUNK).entries()) {
          from.empty();
          if (!source.fill(from)) {
            unfilled++;
            continue;
          }
          const prefix = `case${i}_`;
          const ruleset = under(from.ruleset(), prefix);
          const text = formatRuleset(ruleset as unknown as ListedRuleset, { version: '1.0.6' });
          xt += text.match(/^\t*# /gm)?.length ?? 0;
          chunk.push({ source, prefix, text });
        }
        total += chunk.length;
        const refusals = loadAll(
          to,
          chunk.map(({ text }) => text),
        );
        const after = to.ruleset();
        for (const [i, { source, prefix, text }] of chunk.entries()) {
          const name = source.name;
          let difference = refusals[i];
          if (difference === undefined) {
            const again = formatRuleset(only(after, prefix) as unknown as ListedRuleset, { version: '1.0.6' });
            if (settled(again) !== settled(text)) difference = `became\n${diff(text, again)}`;
          }
          if (difference === undefined) continue;
          from.empty();
          source.fill(from);
          const own = from.text();
          const [refusal] = loadAll(to, [own]);
          if (refusal !== undefined) told.push(name, difference, refusal);
          else
            failures.push({
              name,
              difference: `${difference}   OWN ${own === '' ? 'EMPTY' : to.text() === own ? 'SAME' : 'DIFFERENT'}`,
            });
        }
      }
      outcomes.push({ way: 'load', file, total, failures });
      console.log(
        `load ${file}: unfilled ${unfilled}, comments ${xt}, told apart ${told.length / 3}:\n  ${told.join('\n  ')}`,
      );
    }
  } finally {
    await from.close();
    await to.close();
  }
  return outcomes;
}

function diff(a: string, b: string): string {
  const [x, y] = [settled(a).split('\n'), settled(b).split('\n')];
  for (let i = 0; i < Math.max(x.length, y.length); i++) if (x[i] !== y[i]) return `${x[i]}\n${y[i]}`;
  return '';
}
