import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { ROOT } from '../test/support/native.ts';
import { pageOf, readmeNumbers, withNumbers } from './page.ts';
import { writePlot } from './plot.ts';
import type { Collection, Report, Run } from './report.ts';

/** IPVS is measured where there is one: in User-mode Linux, whose programs run at native speed. */
export const RUNS: readonly (readonly [name: string, guest: string])[] = [
  ['nftables', 'host'],
  ['ipvs', 'uml'],
  ['nflog', 'host'],
  ['conntrack', 'host'],
  ['fleet', 'host'],
  ['fleet', 'uml'],
  ['update', 'host'],
  ['reconcile', 'host'],
  ['compile', 'host'],
  ['parse', 'host'],
  ['codec', 'host'],
  ['netns', 'host'],
  ['ffi', 'host'],
  ['dataplane', 'host'],
  ['dataplane', 'uml'],
  ['start', 'host'],
  ['memory', 'host'],
  ['balancer', 'host'],
];

const RESULTS = join(ROOT, 'bench/results/all.json');
/** Where the results of other kinds of machines are, if somebody has brought them: `all --json FILE` writes them there. */
const FOLDER = dirname(RESULTS);
const PAGE = join(ROOT, 'docs/benchmarks.md');
const README = join(ROOT, 'README.md');

/** Runs every benchmark, each in a process of its own, and writes the results, docs/benchmarks.md and the README's numbers. Returns the exit status. */
export async function runAll(quick: boolean, file: string | undefined): Promise<number> {
  const begin = Date.now();
  const before = load();
  const runs: Run[] = [];
  for (const [name, guest] of RUNS) runs.push(await runOne(name, guest, quick));
  const collection: Collection = {
    date: new Date(begin).toISOString().replace(/\.\d+/, ''),
    commit: commit(),
    quick,
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      processors: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      node: process.version,
      load: [before, load()],
    },
    minutes: Math.round((Date.now() - begin) / 60_000),
    runs,
  };
  writeFileSync(file ?? RESULTS, `${JSON.stringify(collection, undefined, 1)}\n`);
  // A run that is written elsewhere is a trial.
  if (file === undefined) writePages();
  for (const { name, guest, missing } of runs)
    if (missing !== undefined) console.log(`no ${name} (${guest}): ${missing}`);
  return runs.some(({ report }) => report !== undefined) ? 0 : 1;
}

/** Writes docs/benchmarks.md, its pictures and the README's numbers from bench/results/all.json. */
export function writePages(): void {
  const collections = readCollections();
  writeFileSync(PAGE, pageOf(collections));
  for (const { report } of collections[0]!.runs) if (report !== undefined) writePlot(report, dirname(PAGE));
  writeFileSync(README, withNumbers(readFileSync(README, 'utf8'), readmeNumbers(collections)));
}

/** One for each kind of machine, this one first. */
export function readCollections(): Collection[] {
  const others = readdirSync(FOLDER).filter(file => file.endsWith('.json') && file !== basename(RESULTS));
  return [RESULTS, ...others.sort().map(file => join(FOLDER, file))].map(
    file => JSON.parse(readFileSync(file, 'utf8')) as Collection,
  );
}

async function runOne(name: string, guest: string, quick: boolean): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'netsteer-bench-all-'));
  const json = join(folder, 'report.json');
  try {
    const parameters = [process.argv[1]!, name, '--guest', guest, '--json', json, ...(quick ? ['--quick'] : [])];
    const { code, errors } = await run(parameters);
    if (existsSync(json)) return { name, guest, report: JSON.parse(readFileSync(json, 'utf8')) as Report };
    return { name, guest, missing: errors.trim().split('\n').at(-1) || `it ended with ${code}` };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(parameters: readonly string[]): Promise<{ code: number | null; errors: string }> {
  const child = spawn(process.execPath, parameters, { stdio: ['ignore', 'inherit', 'pipe'] });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
    process.stderr.write(text);
  });
  return new Promise(resolve => child.once('close', code => resolve({ code, errors })));
}

const load = (): number => Math.round(loadavg()[0]! * 10) / 10;

function commit(): string {
  const git = (...parameters: string[]) => spawnSync('git', parameters, { cwd: ROOT, encoding: 'utf8' }).stdout ?? '';
  const changed = git('status', '--porcelain', '--untracked-files=no').trim() === '' ? '' : '+';
  return `${git('rev-parse', '--short=10', 'HEAD').trim() || 'unknown'}${changed}`;
}
