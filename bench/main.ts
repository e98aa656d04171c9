import { parseArgs } from 'node:util';
import { ROOT } from '../test/support/native.ts';
import { codec } from './codec.ts';
import { compile } from './compile.ts';
import { dataplane } from './dataplane.ts';
import { ffi } from './ffi.ts';
import { fleet } from './fleet.ts';
import { type Result, Unavailable } from './harness.ts';
import { ipvs } from './ipvs.ts';
import { netns } from './netns.ts';
import { nflog } from './nflog.ts';
import { nftables } from './nftables.ts';
import { writePlot } from './plot.ts';
import { compiled } from './programs.ts';
import { printReport, type Report, reportOf, writeReport } from './report.ts';
import { runInUml } from './uml.ts';
import { update } from './update.ts';

type Measured = Result[] | { results: Result[]; versions: Record<string, string> };

const BENCHMARKS: Record<string, (quick: boolean) => Promise<Measured>> = {
  ffi,
  codec,
  netns,
  ipvs,
  nftables,
  compile,
  nflog,
  fleet,
  update,
  dataplane,
};
const GUESTS = ['host', 'uml', 'qemu'];
/** Far more than any of them takes where nothing else runs. */
const GUEST_SECONDS = 3600;
/** What runs in a guest is compiled here. */
const PROGRAMS = ['floor-netlink', 'floor-run', 'floor-fleet', 'flood', 'visit'];

interface Options {
  readonly name: string;
  readonly quick: boolean;
  readonly guest: string;
  readonly json: string | undefined;
  /** A directory. */
  readonly plot: string | undefined;
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    const names = Object.keys(BENCHMARKS).join('|');
    console.error(
      `usage: npm run bench -- ${names} [--quick] [--guest ${GUESTS.join('|')}] [--json FILE] [--plot DIRECTORY]`,
    );
    return 1;
  }
  const { name, quick, guest } = options;
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

function readOptions(): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        guest: { type: 'string' },
        json: { type: 'string' },
        plot: { type: 'string' },
      },
    });
    const name = positionals[0];
    // This machine's kernel seldom has IPVS: by default it is measured where there is one.
    const guest = values.guest ?? (name === 'ipvs' ? 'uml' : 'host');
    if (name === undefined || positionals.length > 1 || !Object.hasOwn(BENCHMARKS, name) || !GUESTS.includes(guest))
      return undefined;
    return { name, quick: values.quick ?? false, guest, json: values.json, plot: values.plot };
  } catch {
    return undefined;
  }
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
