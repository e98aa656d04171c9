import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import type { Result } from './harness.ts';

/** The results file of `--json`. */
export interface Report {
  name: string;
  environment: { kernel: string; node: string; cpu: string; versions: Record<string, string> };
  results: Result[];
}

/** Every benchmark once, as `npm run bench -- all` writes it to bench/results/all.json. */
export interface Collection {
  /** When it began, in UTC: '2026-11-30T10:12:00Z'. */
  readonly date: string;
  /** Of this repository; with '+' where files had been changed since. */
  readonly commit: string;
  readonly quick: boolean;
  readonly machine: {
    readonly cpu: string;
    readonly processors: number;
    readonly memoryGiB: number;
    readonly kernel: string;
    readonly node: string;
    /** The average load of the last minute, before the first benchmark and after the last one. */
    readonly load: readonly [before: number, after: number];
  };
  readonly minutes: number;
  readonly runs: readonly Run[];
}

/** One benchmark, on this machine's kernel or in a guest. */
export interface Run {
  readonly name: string;
  readonly guest: string;
  /** Left out where it could not run here. */
  readonly report?: Report;
  /** Why it could not run. */
  readonly missing?: string;
}

export function reportOf(name: string, versions: Record<string, string>, results: Result[]): Report {
  return {
    name,
    environment: { kernel: release(), node: process.version, cpu: cpus()[0]?.model ?? 'unknown', versions },
    results,
  };
}

export function writeReport(report: Report, file: string): void {
  writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`);
}

const FLOOR = 'floor';
const OWN = 'netsteer';

/** A floor whose runs differ by more than this part of its median is no good measure. */
const STEADY = 0.2;
/** Stands behind a ratio whose floor is not steady. */
export const UNSTEADY = '~';

/** The median divided by that of the case's floor, marked if the floor's own runs differ by more than a fifth. '' without a floor. */
export function besideFloor(result: Result, results: readonly Result[]): string {
  const floor = results.find(each => each.case === result.case && each.program === FLOOR);
  if (floor === undefined || floor === result) return '';
  const { median, min, max } = floor.seconds;
  return `${(result.seconds.median / median).toFixed(2)}${max - min > STEADY * median ? UNSTEADY : ''}`;
}

/** A table for people: one line for each program of a case, with what it takes beside the floor and beside this library. */
export function printReport({ name, environment, results }: Report): void {
  const { kernel, node, cpu, versions } = environment;
  const peers = Object.entries(versions).map(([program, version]) => `${program} ${version}`);
  console.log(`\n${name}: Linux ${kernel}, ${[`node ${node}`, ...peers].join(', ')}, ${cpu}`);
  const rows = [
    [
      'case',
      'program',
      'runs',
      'median',
      'min',
      'max',
      'each',
      'ops/s',
      'cpu',
      'p50',
      'p99',
      'allocated',
      'lost',
      '/floor',
      '/own',
    ],
  ];
  let last = '';
  for (const result of results) {
    rows.push([result.case === last ? '' : result.case, ...rowOf(result, results)]);
    last = result.case;
  }
  printTable(rows, 2);
}

/** Prints rows under their titles, the first columns to the left. A column that says nothing is left out. */
export function printTable(rows: readonly (readonly string[])[], left: number): void {
  const columns = rows[0]!.map((_, column) => column).filter(column => rows.slice(1).some(row => row[column] !== ''));
  const widths = columns.map(column => Math.max(...rows.map(row => row[column]!.length)));
  for (const row of rows) {
    const cells = columns.map((column, i) =>
      column < left ? row[column]!.padEnd(widths[i]!) : row[column]!.padStart(widths[i]!),
    );
    console.log(cells.join('  ').trimEnd());
  }
}

function rowOf(result: Result, results: readonly Result[]): string[] {
  const { seconds, operationsPerSecond: rate, cpuMicroseconds: cpu, latencyMicroseconds: latency } = result;
  const own = results.find(each => each.case === result.case && each.program === OWN);
  return [
    result.program,
    String(result.runs),
    duration(seconds.median),
    duration(seconds.min),
    duration(seconds.max),
    rate === undefined ? '' : duration(1 / rate),
    rate === undefined ? '' : Math.round(rate).toLocaleString('en'),
    cpu === undefined ? '' : duration(cpu / 1e6),
    latency === undefined ? '' : duration(latency.p50 / 1e6),
    latency === undefined ? '' : duration(latency.p99 / 1e6),
    result.allocatedBytes === undefined ? '' : `${Math.round(result.allocatedBytes)} B`,
    result.lost === undefined ? '' : result.lost.toLocaleString('en'),
    besideFloor(result, results),
    own === undefined || own === result ? '' : (seconds.median / own.seconds.median).toFixed(2),
  ];
}

/** '1.34 s', '90.1 ms', '18.0 us', '230 ns' */
export function duration(seconds: number): string {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  if (seconds >= 1e-3) return `${(seconds * 1e3).toPrecision(3)} ms`;
  if (seconds >= 1e-6) return `${(seconds * 1e6).toPrecision(3)} us`;
  return `${(seconds * 1e9).toPrecision(3)} ns`;
}
