import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Where the recordings are; they belong to other programs, and are no part of this project. */
export const CORPUS = resolve(process.env.NETSTEER_CORPUS ?? '../shared/conformance');

export const corpusExists = (): boolean => existsSync(CORPUS);

/** The files whose names match, in order. */
export function filesLike(pattern: RegExp): string[] {
  return readdirSync(CORPUS)
    .filter(name => pattern.test(name))
    .sort();
}

/** One case a line. */
export function readLines<T>(file: string): T[] {
  return gunzipSync(readFileSync(join(CORPUS, file)))
    .toString()
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as T);
}

export function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(join(CORPUS, file), 'utf8')) as T;
}

/** What one way found in one file. */
export interface Outcome {
  readonly way: string;
  readonly file: string;
  readonly total: number;
  readonly failures: readonly { readonly name: string; readonly difference: string }[];
}

/** Tries every case; `attempt` returns what differs, undefined where nothing does. What it throws is a difference too. */
export function tryAll<T>(
  way: string,
  file: string,
  cases: readonly T[],
  nameOf: (one: T, index: number) => string,
  attempt: (one: T) => string | undefined,
): Outcome {
  const failures: { name: string; difference: string }[] = [];
  for (const [i, one] of cases.entries()) {
    let difference: string | undefined;
    try {
      difference = attempt(one);
    } catch (error) {
      difference = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
    if (difference !== undefined) failures.push({ name: nameOf(one, i), difference });
  }
  return { way, file, total: cases.length, failures };
}
