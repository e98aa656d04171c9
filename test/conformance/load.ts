import { spawnSync } from 'node:child_process';
import type { ListedRuleset } from '../../src/nft/decompile/ruleset.ts';
import { formatRuleset } from '../../src/nft/ruleset-text.ts';
import type { Ruleset } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines } from './corpus.ts';
import { type Case, nameOf, prepared } from './kernel.ts';
import { loadTexts } from './nft.ts';
import { Place } from './place.ts';

/** Cases in one run of nft: each in tables of its own names. */
const CHUNK = 100;
const INSTALLED = '1.0.6';

/** A state of the kernel that is made in a namespace; false where this kernel refuses it. */
interface Source {
  readonly name: string;
  fill(place: Place): boolean;
}

interface Printed {
  readonly source: Source;
  readonly prefix: string;
  readonly text: string;
}

/**
 * Way 8: what is printed for the nft that is installed, that nft loads, and the state is then printed as the same text. nft's own listings do
 * not all load: such a case is told apart where nft's own listing of the state is refused too, or becomes another, and is counted.
 */
export async function load(): Promise<Outcome[]> {
  const version = spawnSync('nft', ['--version'], { encoding: 'utf8' }).stdout ?? '';
  if (!version.includes(`v${INSTALLED} `)) {
    console.log(`load: nft ${INSTALLED} is not installed: nothing was tried`);
    return [];
  }
  const [from, to] = [new Place(), new Place()];
  try {
    return loadableFiles().map(file => loadFile(from, to, file));
  } finally {
    await from.close();
    await to.close();
  }
}

export const loadableFiles = (): string[] =>
  filesLike(/^(nft-.*-rules|nft-.*-rulesets|nft-scripts|iptables-files|iptables-nft-.*-rules)\.jsonl\.gz$/);

/** One file of recordings, or each so many-th of its cases. */
export function loadFile(from: Place, to: Place, file: string, every = 1): Outcome {
  const failures: { name: string; difference: string }[] = [];
  const counts = { refused: 0, comments: 0, total: 0 };
  const apart: string[] = [];
  const sources = sourcesOf(file).filter((_, i) => i % every === 0);
  // What this nft has listed itself, it has words for.
  const sayable = file.includes(INSTALLED) || file.includes('scripts');
  for (let first = 0; first < sources.length; first += CHUNK) {
    const printed = sources
      .slice(first, first + CHUNK)
      .flatMap((source, i) => printedOf(from, source, `case${i}_`, counts));
    for (const [i, difference] of differencesOf(to, printed).entries()) {
      const { source, text } = printed[i]!;
      const comment = sayable ? /^\t*# .*/m.exec(text)?.[0] : undefined;
      if (comment !== undefined) failures.push({ name: source.name, difference: `printed as a comment: ${comment}` });
      if (difference === undefined || comment !== undefined) continue;
      const own = ownFault(from, to, source);
      if (own === undefined) failures.push({ name: source.name, difference });
      else apart.push(`${source.name}: ${own}`);
    }
    counts.total += printed.length;
  }
  console.log(
    `load ${file}: this kernel refuses ${counts.refused}, lines that are comments ${counts.comments}, ` +
      `nft's own listing does not load either, or does not stay ${apart.length}${apart.map(each => `\n  ${each}`).join('')}`,
  );
  return { way: 'load', file, total: counts.total, failures };
}

function printedOf(
  from: Place,
  source: Source,
  prefix: string,
  counts: { refused: number; comments: number },
): Printed[] {
  from.empty();
  if (!source.fill(from)) {
    counts.refused++;
    return [];
  }
  const text = textOf(under(from.ruleset(), prefix));
  counts.comments += text.match(/^\t*# /gm)?.length ?? 0;
  return [{ source, prefix, text }];
}

/** What nft has against each text, or what it became. */
function differencesOf(to: Place, printed: readonly Printed[]): (string | undefined)[] {
  const refusals = loadTexts(
    to,
    printed.map(({ text }) => text),
  );
  const after = to.ruleset();
  return printed.map(({ prefix, text }, i) => refusals[i] ?? firstDifference(text, textOf(tablesOf(after, prefix))));
}

/** Why nft's own listing of the state is no better; undefined where it is. */
function ownFault(from: Place, to: Place, source: Source): string | undefined {
  from.empty();
  source.fill(from);
  const own = from.text();
  if (own === '') return 'nft cannot list it';
  const [refusal] = loadTexts(to, [own]);
  return refusal ?? firstDifference(own, to.text());
}

const textOf = (ruleset: Ruleset): string => formatRuleset(ruleset as unknown as ListedRuleset, { version: INSTALLED });

function firstDifference(before: string, after: string): string | undefined {
  const [expected, actual] = [settled(before), settled(after)].map(text => text.split('\n'));
  for (let i = 0; i < Math.max(expected!.length, actual!.length); i++)
    if (expected![i] !== actual![i]) return `${expected![i]}\n    became ${actual![i]}`;
  return undefined;
}

/** Elements come in the order of the kernel's table, which nobody chose; what expires counts down; comments are not loaded. */
export function settled(text: string): string {
  return text
    .replace(/^\t*# .*\n/gm, '')
    .replace(/ # comment ".*"$/gm, '')
    .replace(/[ \t]+$/gm, '')
    .replace(/^\n+/gm, '')
    .replace(/\{ ([^{}]*) \}/g, (_, inner: string) => `{ ${inner.split(/,\s+/).sort().join(', ')} }`)
    .replace(/ expires [\ddhms]+/g, ' expires');
}

function sourcesOf(file: string): Source[] {
  const replayed = (place: Place, sent: readonly string[]) => sent.every(batch => place.replay(batch));
  if (/-(rules|rulesets)\./.test(file)) {
    return readLines<Case>(file)
      .filter(({ sent = [] }) => sent.length > 0)
      .map(one => ({ name: nameOf(one), fill: place => prepared(place, one) && replayed(place, one.sent!) }));
  }
  return readLines<Script>(file)
    .filter(({ sent = [], setup, refusal, links, before }) => sent.length > 0 && !(setup || refusal || links || before))
    .map(({ name, sent }) => ({ name, fill: place => replayed(place, sent!) }));
}

/** A recorded text. Those that need something else before them are not tried. */
interface Script {
  name: string;
  sent?: string[];
  setup?: unknown;
  refusal?: unknown;
  links?: unknown;
  before?: unknown;
}

const LONGEST_NAME = 255;

/** The same with other names of tables, so that many rulesets stand beside each other. */
export function under(ruleset: Ruleset, prefix: string): Ruleset {
  const named = (name: string) => `${prefix}${name}`.slice(0, LONGEST_NAME);
  const moved = <T extends { table: string }>(list: readonly T[]): T[] =>
    list.map(object => ({ ...object, table: named(object.table) }));
  const { tables, chains, sets, rules, objects, flowtables } = ruleset;
  return {
    ...ruleset,
    tables: tables.map(table => ({ ...table, name: named(table.name) })),
    chains: moved(chains),
    sets: moved(sets),
    rules: moved(rules),
    objects: moved(objects),
    flowtables: moved(flowtables),
  };
}

/** The tables whose names begin so. */
export function tablesOf(ruleset: Ruleset, prefix: string): Ruleset {
  return { ...ruleset, tables: ruleset.tables.filter(({ name }) => name.startsWith(prefix)) };
}
