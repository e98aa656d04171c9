import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { compare, type Sample } from '../../bench/harness.ts';
import { BENCHMARKS, readOptions } from '../../bench/options.ts';
import { versionOf } from '../../bench/programs.ts';
import { printReport, reportOf, writeReport } from '../../bench/report.ts';

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
    'dataplane',
    'start',
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
  });
  expect(readOptions(['netns'])).toMatchObject({ quick: false, guest: 'host' });
  expect(readOptions(['ipvs'])).toMatchObject({ guest: 'uml' });
  expect(readOptions(['all', '--quick'])).toMatchObject({ name: 'all', quick: true });
  expect(readOptions(['pages'])).toMatchObject({ name: 'pages' });
  for (const args of [[], ['other'], ['toString'], ['netns', 'ffi'], ['netns', '--guest', 'xen'], ['netns', '--slow']])
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
