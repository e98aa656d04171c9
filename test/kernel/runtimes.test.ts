import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Consumer, RUNTIMES, theConsumer } from '../consumer.ts';
import { kernelSuite } from '../support/where.ts';

const PROGRAM = 'program.mjs';
/** A check of each subsystem, whose results are the table of docs/decisions/ffi.md. */
const SUBSYSTEMS = 'subsystems.mjs';

/** Test files of this repository that run on the other runtimes, too: a share of those that docs/decisions/ffi.md lists. */
const SUITES = [
  'nftables-kernel',
  'nftables-verbs',
  'nftables-monitor',
  'rtnetlink-monitor',
  'iptables',
  'nflog-files',
];

kernelSuite('the packed package on each runtime', () => {
  let consumer: Consumer;
  beforeAll(() => {
    consumer = theConsumer();
    for (const name of [PROGRAM, SUBSYSTEMS])
      fs.copyFileSync(`test/fixtures/runtimes/${name}`, join(consumer.folder, name));
  });
  afterAll(() => consumer.remove());

  for (const [runtime, [program, ...options]] of Object.entries(RUNTIMES)) {
    it(`writes rules, reads packets and events, enters namespaces, rejects wrong input with ERR_INVALID_ARG_TYPE, and ends by itself on ${runtime}`, () => {
      const { folder: cwd } = consumer;
      const output = execFileSync(join(cwd, program), [...options, PROGRAM], { cwd, encoding: 'utf8' });
      expect(JSON.parse(output)).toEqual({
        redirects: 5000,
        tables: ['netsteer-redirects', 'seen'],
        changes: 2,
        packets: [
          ['seen ', 'lo'],
          ['seen ', 'lo'],
        ],
        inside: true,
        outside: true,
        refused: 'ERR_INVALID_ARG_TYPE',
      });
    });
  }

  for (const runtime of ['bun', 'deno']) {
    it(`passes the tests of this repository on ${runtime}`, () => {
      const [program, ...options] = RUNTIMES[runtime]!;
      const report = join(consumer.folder, `${runtime}.json`);
      const files = SUITES.map(name => `test/kernel/${name}.test.ts`);
      const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'kernel', '--no-file-parallelism'];
      // Without what this run of vitest tells its own workers.
      const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
      execFileSync(
        join(consumer.folder, program),
        [...options, ...vitest, '--reporter=json', `--outputFile=${report}`, ...files],
        { stdio: 'pipe', env },
      );
      const { success, numTotalTests, numPassedTests } = JSON.parse(fs.readFileSync(report, 'utf8'));
      expect({ success, passed: numPassedTests }).toEqual({ success: true, passed: numTotalTests });
      expect(numTotalTests).toBeGreaterThan(70);
    });
  }

  it('keeps the compiled code of the program netsteer in the home of its user, on a Node that can do so', () => {
    const cache = join(userInfo().homedir, '.cache', 'netsteer');
    const compiled = () => fs.readdirSync(cache).filter(name => name.startsWith('v22.'));
    fs.mkdirSync(cache, { recursive: true });
    for (const name of compiled()) fs.rmSync(join(cache, name), { recursive: true });
    // The home that the environment names can be another user's.
    const env = { ...process.env, HOME: '/nowhere' };
    const [node] = RUNTIMES.node22!;
    const program = 'node_modules/netsteer/bin/netsteer.js';
    execFileSync(join(consumer.folder, node), [program, '--help'], { cwd: consumer.folder, env, stdio: 'pipe' });
    expect(compiled()).toHaveLength(1);
  });

  it('uses each subsystem on every runtime, as the table of docs/decisions/ffi.md says', () => {
    const { folder: cwd } = consumer;
    const columns = Object.values(RUNTIMES).map(([program, ...options]) => {
      const output = execFileSync(join(cwd, program), [...options, SUBSYSTEMS], { cwd, encoding: 'utf8' });
      return JSON.parse(output) as Record<string, string>;
    });
    const names = Object.keys(columns[0]!);
    expect(names.length).toBeGreaterThan(10);
    const rows = names.map(name => {
      const cells = columns.map(results => (results[name] === 'works' ? 'yes' : (results[name] ?? 'not run')));
      return `| ${name} | ${cells.join(' | ')} |`;
    });
    const page = fs.readFileSync('docs/decisions/ffi.md', 'utf8').split('\n');
    expect(rows.filter(row => !page.includes(row))).toEqual([]);
  });
});
