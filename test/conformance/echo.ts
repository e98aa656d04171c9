import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseRuleset } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { plain } from './decompile.ts';
import { readingOf, type ScriptCase, ScriptPlaces } from './scripts.ts';

type Fields = Record<string, unknown>;
/** One command of nft's JSON. */
interface Command {
  readonly verb: string;
  readonly kind: string;
  readonly object: Fields;
}

const INSTALLED = '1.0.6';

/**
 * Way 12: `parseRuleset` gives what `nft -j -e -f` says of the same text, for texts that the kernel takes. nft is the witness, in the namespace of the case.
 * It tells what the kernel has made of each command that adds something: handles, the order of commands and what the kernel itself fills in do not count
 * (`FILLED`), and neither does what nft's JSON has no words for (`LOST`).
 */
export async function echo(): Promise<Outcome[]> {
  if (!spawnSync('nft', ['--version'], { encoding: 'utf8' }).stdout?.includes(`v${INSTALLED} `)) {
    console.log(`echo: nft ${INSTALLED} is not installed: nothing was tried`);
    return [];
  }
  const places = new ScriptPlaces();
  const folder = mkdtempSync(join(tmpdir(), 'netsteer-echo-'));
  try {
    return filesLike(/^nft-scripts.*\.jsonl\.gz$/).map(file => {
      let silent = 0;
      const commands = { equal: 0, all: 0 };
      const cases = readLines<Case>(file).flatMap(one => {
        if (one.refusal !== undefined || one.output !== undefined) return [];
        try {
          const told = echoOf(places, folder, one);
          if (told === undefined) silent++;
          return told === undefined ? [] : [{ one, told }];
        } catch {
          // Our setup fails: the case is one of way 10's.
          silent++;
          return [];
        }
      });
      const outcome = tryAll(
        'echo',
        file,
        cases,
        ({ one }) => one.name,
        ({ one, told }) => difference(one, told, commands),
      );
      console.log(
        `echo ${file}: commands ${commands.equal}/${commands.all}; nft says nothing, or no JSON, of ${silent}`,
      );
      return outcome;
    });
  } finally {
    await places.close();
    rmSync(folder, { recursive: true });
  }
}

interface Case extends ScriptCase {
  readonly refusal?: unknown;
  readonly output?: string;
}

/** What nft says of a text. */
function echoOf(places: ScriptPlaces, folder: string, one: Case): Command[] | undefined {
  const own = mkdtempSync(join(folder, 'text-'));
  for (const [path, content] of Object.entries({ ...one.files, 'ruleset.nft': one.text })) {
    mkdirSync(dirname(join(own, path)), { recursive: true });
    writeFileSync(join(own, path), content);
  }
  const defined = Object.entries(one.variables ?? {}).flatMap(([name, value]) => ['-D', `${name}=${value}`]);
  const { netns } = places.prepared(one);
  const { stdout } = netns.run(() =>
    spawnSync('nft', ['-j', '-e', ...defined, '-f', 'ruleset.nft'], { encoding: 'utf8', cwd: own, maxBuffer: 1e9 }),
  );
  try {
    const documents = stdout.split('\n').filter(line => line !== '');
    return documents.flatMap(line => commandsOf((JSON.parse(line) as { nftables: Fields[] }).nftables));
  } catch {
    return undefined;
  }
}

/** The commands of a document; elements each in one of its own. */
function commandsOf(nftables: readonly object[]): Command[] {
  return nftables.flatMap(command => {
    const [[verb, subject] = ['', {}]] = Object.entries(command) as [string, Fields][];
    if (verb === 'metainfo') return [];
    const [[kind, json] = ['', null]] = Object.entries(subject) as [string, Fields | null][];
    const { handle: _, elem, ...object } = json ?? {};
    if (kind !== 'element') return [{ verb, kind, object }];
    const { set = [elem] } = elem as { set?: unknown[] };
    return set.map(one => ({ verb, kind, object: { ...object, elem: one } }));
  });
}

type Filled = (object: Fields) => Fields;
const ofConnections: Filled = ({ family }) => ({ l3proto: family });

/** What the kernel fills in, or nft. */
const FILLED: Readonly<Record<string, Filled>> = {
  chain: ({ hook }) => (hook === undefined ? {} : { policy: 'accept' }),
  'ct helper': ofConnections,
  'ct timeout': ofConnections,
  'ct expectation': ofConnections,
};

/** What nft 1.0.6 has no words for in JSON (docs/language.md has the list), and places of rules, which mean nothing afterwards. */
const LOST: Readonly<Record<string, readonly string[]>> = {
  table: ['comment', 'flags'],
  chain: ['comment', 'flags', 'dev'],
  set: ['comment', 'auto-merge', 'stmt'],
  map: ['comment', 'stmt'],
  flowtable: ['flags'],
  rule: ['index', 'position'],
};

const isTypeof = (type: unknown): boolean => typeof type === 'object' && type !== null && !Array.isArray(type);

/** A command as it is compared; \`described\` are the sets that the text makes with \`typeof\`. */
function lineOf({ verb, kind, object }: Command, described: ReadonlySet<string>): string {
  const fields: Fields = { ...FILLED[kind]?.(object), ...object };
  for (const field of LOST[kind] ?? []) delete fields[field];
  if (kind === 'set' || kind === 'map') {
    fields.flags = [fields.flags ?? []].flat().filter(flag => flag !== 'dynamic');
    (fields.flags as unknown[]).sort();
    // The size of sets that rules add to, if none is given.
    if (fields.size === 65_535) delete fields.size;
    // nft 1.0.6 has the names of types in the place of \`typeof\`.
    if (described.has(nameOf(object))) for (const field of ['type', 'map']) delete fields[field];
  }
  return `${verb} ${kind} ${plain(unordered(fields))}`;
}

const nameOf = ({ family, table, name }: Fields): string => `${family} ${table} ${name}`;

/** Elements come in the order of the kernel's table, which nobody chose. A meter has a size, even if none is given. */
function unordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unordered);
  if (typeof value !== 'object' || value === null) return value;
  const found: Fields = {};
  for (const [key, each] of Object.entries(value)) {
    if (key === 'expires') continue;
    const inner = unordered(each);
    found[key] = key === 'set' && Array.isArray(inner) ? inner.sort((a, b) => (plain(a) < plain(b) ? -1 : 1)) : inner;
  }
  const { meter } = found as { meter?: Fields };
  return meter === undefined ? found : { ...found, meter: { size: 65_535, ...meter } };
}

const ADDS: readonly string[] = ['add', 'insert', 'create', 'replace'];

/** Does nft's JSON have words for it? It has none for chains without a name, and text in the place of some statements. */
function isSayable({ verb, object: { name, chain, expr } }: Command): boolean {
  if (!ADDS.includes(verb) || /^__chain\d+$/.test(String(name ?? chain))) return false;
  if (!Array.isArray(expr)) return true;
  return !expr.some(statement => typeof statement === 'string' || /"__chain\d+"/.test(plain(statement)));
}

function difference(one: Case, told: readonly Command[], counts: { equal: number; all: number }): string | undefined {
  const commands = commandsOf(parseRuleset(one.text, readingOf(one)).nftables as object[]);
  const typeofs = commands.filter(({ object }) => isTypeof(object.type) || isTypeof(object.map));
  const described = new Set(typeofs.map(({ object }) => nameOf(object)));
  const ours = new Set(commands.map(command => lineOf(command, described)));
  const expected = told.filter(isSayable).map(command => lineOf(command, described));
  const missing = expected.filter(line => !ours.has(line));
  counts.all += expected.length;
  counts.equal += expected.length - missing.length;
  const [first] = missing;
  if (first === undefined) return undefined;
  const kind = first.slice(0, first.indexOf('{'));
  const is = [...ours].find(line => line.startsWith(kind) && !expected.includes(line));
  return `is ${is}\n    not ${first}`;
}
