import { readFileSync } from 'node:fs';
import type { Result } from './harness.ts';
import { type Collection, duration, printTable, type Report } from './report.ts';

/** One program of one case in two files. */
export interface Pair {
  readonly name: string;
  readonly case: string;
  readonly program: string;
  readonly old: Result;
  readonly new: Result;
  /** The new median divided by the old one. */
  readonly ratio: number;
  /** The runs of one file are all faster than those of the other. */
  readonly apart: boolean;
}

/** Prints what two results files have in common, each pair with the new median divided by the old one. */
export function printPairs(oldFile: string, newFile: string): void {
  const pairs = pairsOf(readResults(oldFile), readResults(newFile));
  const rows = [['benchmark', 'case', 'program', 'old', 'new', 'new/old', 'CPU', 'lost', '']];
  let [lastName, lastCase] = ['', ''];
  for (const { name, case: of, program, old, new: later, ratio, apart } of pairs) {
    rows.push([
      name === lastName ? '' : name,
      name === lastName && of === lastCase ? '' : of,
      program,
      duration(old.seconds.median),
      duration(later.seconds.median),
      ratio.toFixed(2),
      old.cpuMicroseconds && later.cpuMicroseconds ? (later.cpuMicroseconds / old.cpuMicroseconds).toFixed(2) : '',
      old.lost || later.lost
        ? `${(old.lost ?? 0).toLocaleString('en')} to ${(later.lost ?? 0).toLocaleString('en')}`
        : '',
      apart ? (ratio < 1 ? 'faster' : 'slower') : '',
    ]);
    [lastName, lastCase] = [name, of];
  }
  printTable(rows, 3);
}

/** The programs that are in both, in the order of the new ones. */
export function pairsOf(before: readonly Report[], after: readonly Report[]): Pair[] {
  return after.flatMap(report =>
    report.results.flatMap((result): Pair[] => {
      const same = before
        .find(({ name, environment }) => name === report.name && kernelOf(environment) === kernelOf(report.environment))
        ?.results.find(each => each.case === result.case && each.program === result.program);
      if (same === undefined) return [];
      const [old, later] = [same.seconds, result.seconds];
      return [
        {
          name: report.name,
          case: result.case,
          program: result.program,
          old: same,
          new: result,
          ratio: later.median / old.median,
          apart: later.max < old.min || old.max < later.min,
        },
      ];
    }),
  );
}

/** The same benchmark on this machine and in a guest are two. */
const kernelOf = ({ kernel }: Report['environment']): string => kernel.split('.').slice(0, 2).join('.');

/** The reports of a file that `--json` has written, of one benchmark or of all. */
function readResults(file: string): Report[] {
  const read = JSON.parse(readFileSync(file, 'utf8')) as Report | Collection;
  return 'runs' in read ? read.runs.flatMap(({ report }) => report ?? []) : [read];
}
