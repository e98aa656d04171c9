import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { exampleComplaints } from '../support/doc-examples.ts';
import { ROOT } from '../support/native.ts';
import { entryPoints, publicApi } from '../support/public-api.ts';

/*
 * What a public name owes its reader:
 *   a summary                on the first line of its comment, a whole sentence
 *   each parameter           `@param name ...`, or named in backticks in the comment; units, range and default where it has them
 *   `@throws`                where its body throws, or asks the kernel
 *   `@example`               functions, classes and methods: code that compiles with the names of test/support/doc-examples.ts
 * The kernel's own constants have the header that they are from.
 */

/**
 * Public names whose documentation is not complete yet, one a line, with what they lack. The list may only get shorter:
 * `DOCUMENTED=1 npx vitest run --project unit test/unit/docs-exports.test.ts` takes away what is complete now.
 */
const LIST = path.join(ROOT, 'test/unit/docs-exports.missing.txt');

const api = publicApi();
const { names } = api;
const incomplete = names
  .filter(({ lacks }) => lacks.length > 0)
  .map(({ name, lacks }) => `${name}: ${lacks.join(', ')}`)
  .sort();
let listed = fs.existsSync(LIST) ? fs.readFileSync(LIST, 'utf8').trimEnd().split('\n') : [];

/** 'netsteer/ipvs Ipvs.info: throws, example' -> what it lacks, by name. */
const byName = (lines: readonly string[]) =>
  new Map(lines.filter(line => line !== '').map(line => line.split(': ') as [string, string]));

if (process.env.DOCUMENTED !== undefined) {
  const known = byName(listed);
  fs.writeFileSync(
    LIST,
    incomplete
      .filter(line => known.has(line.split(': ')[0]!))
      .join('\n')
      .concat('\n'),
  );
  listed = fs.readFileSync(LIST, 'utf8').trimEnd().split('\n');
}

test('every public name has a summary, and code has its parameters, errors and an example', () => {
  expect(entryPoints().size).toBeGreaterThan(8);
  expect(names.length).toBeGreaterThan(500);
  const known = byName(listed);
  const worse = incomplete.filter(line => {
    const [name, lacks] = line.split(': ') as [string, string];
    const allowed = known.get(name)?.split(', ') ?? [];
    return lacks.split(', ').some(each => !allowed.includes(each));
  });
  expect(worse).toEqual([]);
});

test('the list of names that are not documented has none that is', () => {
  const still = byName(incomplete);
  const done = listed.filter(line => {
    const [name, lacks] = line.split(': ') as [string, string];
    return line !== '' && lacks.split(', ').some(each => !still.get(name)?.split(', ').includes(each));
  });
  expect(done).toEqual([]);
});

test('every example of a docstring compiles', () => {
  expect(exampleComplaints(api)).toEqual([]);
});

test('`npm run docs` describes every entry point', () => {
  const { entryPoints: described } = JSON.parse(fs.readFileSync(path.join(ROOT, 'typedoc.json'), 'utf8'));
  expect(described).toEqual([...entryPoints().values()]);
});
