import { parseArgs } from 'node:util';
import { ROOT } from '../test/support/native.ts';
import { codec } from './codec.ts';
import { compile } from './compile.ts';
import { dataplane } from './dataplane.ts';
import { ffi } from './ffi.ts';
import { fleet } from './fleet.ts';
import type { Result } from './harness.ts';
import { ipvs } from './ipvs.ts';
import { netns } from './netns.ts';
import { nflog } from './nflog.ts';
import { nftables } from './nftables.ts';
import { compiled } from './programs.ts';
import { printReport, reportOf, writeReport } from './report.ts';
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
/** What runs in a guest is compiled here. */
const PROGRAMS = ['floor-netlink', 'floor-run', 'floor-fleet', 'flood', 'visit'];

interface Options {
  readonly name: string;
  readonly quick: boolean;
  readonly guest: string;
  readonly json: string | undefined;
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    const names = Object.keys(BENCHMARKS).join('|');
    console.error(`usage: npm run bench -- ${names} [--quick] [--guest ${GUESTS.join('|')}] [--json FILE]`);
    return 1;
  }
  const { name, quick, guest, json } = options;
  const benchmark = BENCHMARKS[name];
  if (benchmark === undefined) throw new Error(`no benchmark is called ${name}`);
  if (guest !== 'host') return inGuest(options);
  const measured = await benchmark(quick);
  const { results, versions } = Array.isArray(measured) ? { results: measured, versions: {} } : measured;
  const report = reportOf(name, versions, results);
  printReport(report);
  if (json !== undefined) writeReport(report, json);
  return 0;
}

function readOptions(): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { quick: { type: 'boolean' }, guest: { type: 'string' }, json: { type: 'string' } },
    });
    const name = positionals[0];
    // This machine's kernel seldom has IPVS: by default it is measured where there is one.
    const guest = values.guest ?? (name === 'ipvs' ? 'uml' : 'host');
    if (name === undefined || positionals.length > 1 || !Object.hasOwn(BENCHMARKS, name) || !GUESTS.includes(guest))
      return undefined;
    return { name, quick: values.quick ?? false, guest, json: values.json };
  } catch {
    return undefined;
  }
}

/** Runs the same benchmark in a guest, with the programs that are compiled here. */
async function inGuest({ name, quick, guest, json }: Options): Promise<number> {
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
    guest === 'uml' ? await runInUml({ command, cwd: ROOT, withFile: true }) : await inQemu(command);
  process.stdout.write(output);
  if (json !== undefined && file !== undefined) writeReport(JSON.parse(file), json);
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
    timeoutSeconds: 1800,
  });
  return { exitCode: result.exitCode, output: result.output, file: result.files.get(path)?.toString() };
}

process.exitCode = await main();
