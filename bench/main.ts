import { ROOT } from '../test/support/native.ts';
import { runAll, writePages } from './all.ts';
import { Unavailable } from './harness.ts';
import { ALL, BENCHMARKS, COMPARE, GUESTS, type Options, PAGES, readOptions } from './options.ts';
import { printPairs } from './pairs.ts';
import { writePlot } from './plot.ts';
import { compiled } from './programs.ts';
import { printReport, type Report, reportOf, writeReport } from './report.ts';
import { runInUml } from './uml.ts';

/** Far more than any of them takes where nothing else runs. */
const GUEST_SECONDS = 3600;
/** What runs in a guest is compiled here. */
const PROGRAMS = ['floor-netlink', 'floor-run', 'floor-fleet', 'floor-events', 'flood', 'visit'];

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    const names = [ALL, PAGES, ...Object.keys(BENCHMARKS)].join('|');
    console.error(
      `usage: npm run bench -- ${names} [--quick] [--guest ${GUESTS.join('|')}] [--json FILE] [--plot DIRECTORY]
       npm run bench -- ${COMPARE} OLD NEW`,
    );
    return 1;
  }
  const { name, quick, guest } = options;
  if (name === ALL) return runAll(quick, options.json);
  if (name === PAGES) {
    writePages();
    return 0;
  }
  if (name === COMPARE) {
    const [before, after] = options.files as [string, string];
    printPairs(before, after);
    return 0;
  }
  const benchmark = BENCHMARKS[name];
  if (benchmark === undefined) throw new Error(`no benchmark is called ${name}`);
  if (guest !== 'host') return inGuest(options);
  const measured = await benchmark(quick);
  const { results, versions } = Array.isArray(measured) ? { results: measured, versions: {} } : measured;
  const report = reportOf(name, versions, results);
  printReport(report);
  keep(report, options);
  return 0;
}

/** Writes what was asked for. */
function keep(report: Report, { json, plot }: Options): void {
  if (json !== undefined) writeReport(report, json);
  if (plot === undefined) return;
  const path = writePlot(report, plot);
  console.log(path === undefined ? `${report.name} has no plot` : `plot: ${path}`);
}

/** Runs the same benchmark in a guest, with the programs that are compiled here. */
async function inGuest(options: Options): Promise<number> {
  const { name, quick, guest } = options;
  for (const program of PROGRAMS) compiled(program);
  const command = [
    process.execPath,
    process.argv[1]!,
    name,
    '--guest',
    'host',
    ...(quick ? ['--quick'] : []),
    '--json',
  ];
  const { exitCode, output, file } =
    guest === 'uml'
      ? await runInUml({ command, cwd: ROOT, withFile: true, timeoutSeconds: GUEST_SECONDS })
      : await inQemu(command);
  process.stdout.write(output);
  if (file !== undefined) keep(JSON.parse(file) as Report, options);
  return exitCode;
}

async function inQemu(command: readonly string[]) {
  const { runInGuest } = await import('../test/vm/guest.ts');
  const path = '/run/results.json';
  const result = await runInGuest({
    kernel: '6.12',
    command: [...command, path],
    cwd: ROOT,
    collect: [path],
    timeoutSeconds: GUEST_SECONDS,
  });
  return { exitCode: result.exitCode, output: result.output, file: result.files.get(path)?.toString() };
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Unavailable)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
