import { join } from 'node:path';

export const VITEST = join('node_modules', 'vitest', 'vitest.mjs');

/** The part of vitest's JSON report that is read here. */
interface Report {
  testResults: { name: string; message: string; assertionResults: { status: string; fullName: string }[] }[];
}

/** How the tests of one place have ended. */
export interface Outcome {
  where: string;
  passed: number;
  failed: string[];
  skipped: string[];
}

/** For a run of these projects, or of some of their files, that reports to `file`. */
export function vitestOptions(file: string, projects: readonly string[], only: readonly string[] = []): string[] {
  return [
    'run',
    ...only,
    ...projects.flatMap(name => ['--project', name]),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
  ];
}

/** A run without a report, or a file without a result, is a failure: what has not run has not passed. */
export function outcome(where: string, json: string | undefined, why: string): Outcome {
  const result: Outcome = { where, passed: 0, failed: [], skipped: [] };
  if (json === undefined) {
    result.failed.push(why);
    return result;
  }
  for (const { name, message, assertionResults } of (JSON.parse(json) as Report).testResults) {
    if (assertionResults.length === 0) result.failed.push(`${name}: ${message}`);
    for (const { status, fullName } of assertionResults) {
      if (status === 'passed') result.passed++;
      else if (status === 'failed') result.failed.push(fullName);
      else result.skipped.push(fullName);
    }
  }
  if (result.passed + result.failed.length === 0) result.failed.push(`no test ran (${why})`);
  return result;
}
