import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { compare, type Result, type Sample } from '../../bench/harness.ts';
import { BENCHMARKS, readOptions } from '../../bench/options.ts';
import { pairsOf, printPairs } from '../../bench/pairs.ts';
import { versionOf } from '../../bench/programs.ts';
import { besideFloor, printReport, reportOf, writeReport } from '../../bench/report.ts';

const SAMPLE: Sample = { seconds: 2, cpuMicroseconds: 5, latencies: [0.001, 0.003], lost: 2 };

it('benchmarks have the names of the contract', () => {
  const names = [
    'ffi',
    'codec',
    'netns',
    'ipvs',
    'nftables',
    'compile',
    'parse',
    'nflog',
    'conntrack',
    'fleet',
    'update',
    'reconcile',
    'dataplane',
    'start',
    'memory',
    'balancer',
  ];
  expect(Object.keys(BENCHMARKS)).toEqual(names);
});

it('the command line is parsed, and unknown words are rejected', () => {
  expect(readOptions(['fleet', '--quick', '--guest', 'qemu', '--json', 'f', '--plot', 'd'])).toEqual({
    name: 'fleet',
    quick: true,
    guest: 'qemu',
    json: 'f',
    plot: 'd',
    files: [],
  });
  expect(readOptions(['netns'])).toMatchObject({ quick: false, guest: 'host' });
  expect(readOptions(['ipvs'])).toMatchObject({ guest: 'uml' });
  expect(readOptions(['all', '--quick'])).toMatchObject({ name: 'all', quick: true });
  expect(readOptions(['pages'])).toMatchObject({ name: 'pages' });
  expect(readOptions(['compare', 'old', 'new'])).toMatchObject({ name: 'compare', files: ['old', 'new'] });
  for (const args of [
    [],
    ['other'],
    ['toString'],
    ['netns', 'ffi'],
    ['netns', '--guest', 'xen'],
    ['netns', '--slow'],
    ['compare', 'old'],
    ['compare', 'old', 'new', 'newer'],
  ])
    expect(readOptions(args)).toBeUndefined();
});

it('programs run in turn, beginning with another one each round, and their file has the form of the contract', async () => {
  const turns: string[] = [];
  const program = (name: string, sample: Sample) => ({
    name,
    run: () => {
      turns.push(name);
      return { ...sample, seconds: sample.seconds * turns.length };
    },
  });
  const programs = [program('netsteer', SAMPLE), program('floor', { seconds: 1 })];
  const results = await compare('rules/50000', programs, { rounds: 3, operations: 10 });
  expect(turns.join(' ')).toBe('netsteer floor floor netsteer netsteer floor floor netsteer');
  const folder = mkdtempSync(join(tmpdir(), 'netsteer-unit-'));
  try {
    const file = join(folder, 'results.json');
    writeReport(reportOf('nftables', { nft: '1.0.6' }, results), file);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({
      name: 'nftables',
      environment: {
        kernel: expect.stringMatching(/^\d/),
        node: process.version,
        cpu: expect.any(String),
        versions: { nft: '1.0.6' },
      },
      results: [
        {
          case: 'rules/50000',
          program: 'netsteer',
          runs: 3,
          seconds: { median: 10, min: 8, max: 16 },
          operationsPerSecond: 1,
          cpuMicroseconds: 5,
          latencyMicroseconds: { p50: 1000, p99: 3000 },
          lost: 6,
        },
        {
          case: 'rules/50000',
          program: 'floor',
          runs: 3,
          seconds: { median: 6, min: 3, max: 7 },
          operationsPerSecond: 10 / 6,
        },
      ],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('the table has a ratio to the floor, and omits empty columns', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    const programs = [
      { name: 'netsteer', run: () => ({ seconds: 3 }) },
      { name: 'floor', run: () => ({ seconds: 2 }) },
    ];
    printReport(reportOf('netns', {}, await compare('create', programs, { rounds: 1 })));
    const lines = log.mock.calls.map(([line]) => String(line).trim().split(/ {2,}/));
    expect(lines.slice(1)).toEqual([
      ['case', 'program', 'runs', 'median', 'min', 'max', '/floor', '/own'],
      ['create', 'netsteer', '1', '3.00 s', '3.00 s', '3.00 s', '1.50'],
      ['floor', '1', '2.00 s', '2.00 s', '2.00 s', '0.67'],
    ]);
  } finally {
    log.mockRestore();
  }
});

it('a peer that is not installed is left out, and its installation is explained once', () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    for (let i = 0; i < 2; i++) expect(versionOf('netsteer-no-such-peer', '--version')).toBeUndefined();
    expect(log.mock.calls).toEqual([
      [expect.stringMatching(/^without netsteer-no-such-peer: .*\(apt-get install netsteer-no-such-peer\)$/)],
    ]);
  } finally {
    log.mockRestore();
  }
});

const resultOf = (of: string, program: string, median: number, min = median, max = median): Result => ({
  case: of,
  program,
  runs: 3,
  seconds: { median, min, max },
});

it('a ratio is marked if the runs of its floor differ by more than a fifth', () => {
  const steady = [resultOf('a', 'netsteer', 3), resultOf('a', 'floor', 2, 1.9, 2.3)];
  const unsteady = [resultOf('a', 'netsteer', 3), resultOf('a', 'floor', 2, 1.9, 2.31)];
  expect(besideFloor(steady[0]!, steady)).toBe('1.50');
  expect(besideFloor(unsteady[0]!, unsteady)).toBe('1.50~');
  expect(besideFloor(unsteady[1]!, unsteady)).toBe('');
});

it('compare pairs the programs that are in both files, and tells which are apart', () => {
  const before = reportOf('nflog', {}, [
    resultOf('a', 'netsteer', 2, 1, 3),
    resultOf('a', 'gone', 1),
    resultOf('b', 'netsteer', 4, 3.5, 5),
  ]);
  const after = reportOf('nflog', {}, [
    resultOf('a', 'netsteer', 1, 0.5, 1.5),
    resultOf('a', 'come', 1),
    resultOf('b', 'netsteer', 2, 1, 3),
  ]);
  expect(pairsOf([before], [after]).map(({ case: of, program, ratio, apart }) => [of, program, ratio, apart])).toEqual([
    ['a', 'netsteer', 0.5, false],
    ['b', 'netsteer', 0.5, true],
  ]);
  const guest = { ...after, environment: { ...after.environment, kernel: '1.2.3' } };
  expect(pairsOf([before], [guest])).toEqual([]);
  const folder = mkdtempSync(join(tmpdir(), 'netsteer-unit-'));
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    const [older, newer] = [join(folder, 'old'), join(folder, 'new')];
    writeReport(before, older);
    const machine = { cpu: 'x', processors: 2, memoryGiB: 1, kernel: '6', node: 'v20', load: [0, 0] };
    const all = {
      date: '',
      commit: '',
      quick: true,
      machine,
      minutes: 1,
      runs: [{ name: 'nflog', guest: 'host', report: after }],
    };
    writeFileSync(newer, JSON.stringify(all));
    printPairs(older, newer);
    expect(log.mock.calls.map(([line]) => String(line).split(/ {2,}/))).toEqual([
      ['benchmark', 'case', 'program', 'old', 'new', 'new/old'],
      ['nflog', 'a', 'netsteer', '2.00 s', '1.00 s', '0.50'],
      ['', 'b', 'netsteer', '4.00 s', '2.00 s', '0.50', 'faster'],
    ]);
  } finally {
    log.mockRestore();
    rmSync(folder, { recursive: true });
  }
});
