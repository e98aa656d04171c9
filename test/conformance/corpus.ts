import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Where the recordings are; they belong to other programs, and are no part of this project. */
export const CORPUS = resolve(process.env.NETSTEER_CORPUS ?? '../shared/conformance');

export const corpusExists = (): boolean => existsSync(CORPUS);

/** The kinds of recordings, with an example of each. */
const KINDS: readonly (readonly [pattern: RegExp, example: string])[] = [
  [/^nft-.*-rules\.jsonl\.gz$/, 'nft-1.1.6-rules.jsonl.gz'],
  [/^nft-.*-rulesets\.jsonl\.gz$/, 'nft-1.1.6-rulesets.jsonl.gz'],
  [/^iptables-nft-.*-rules\.jsonl\.gz$/, 'iptables-nft-1.8.9-rules.jsonl.gz'],
  [/^ipvsadm.*\.json$/, 'ipvsadm-1.31-linux-6.1.json'],
];

/** What a folder of recordings lacks, and how to get it; undefined where there is something of every kind. */
export function absence(folder: string): string | undefined {
  const there = existsSync(folder) ? readdirSync(folder) : undefined;
  const missing = KINDS.filter(([pattern]) => !there?.some(name => pattern.test(name))).map(([, example]) => example);
  if (missing.length === 0) return undefined;
  const what = there === undefined ? `there is no folder ${folder}` : `${folder} has no ${missing.join(', no ')}`;
  return `conformance: ${what}.
The recordings of nft, iptables-nft and ipvsadm are no part of this repository: their texts are under the GPL. Get the
folder "conformance" from whoever gave you the clone, put it at ../shared/conformance, or name it:
    NETSTEER_CORPUS=/path/to/conformance npm run conformance
It has ${KINDS.map(([, example]) => example).join(', ')} and others of these kinds; its README.md says what is in each.`;
}

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
