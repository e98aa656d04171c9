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

const api = publicApi();

test('every public name has a summary, and code has its parameters, errors and an example', () => {
  expect(entryPoints().size).toBeGreaterThan(8);
  expect(api.names.length).toBeGreaterThan(500);
  const incomplete = api.names.filter(({ lacks }) => lacks.length > 0);
  expect(incomplete.map(({ name, lacks }) => `${name}: ${lacks.join(', ')}`)).toEqual([]);
});

test('every example of a docstring compiles', () => {
  expect(exampleComplaints(api)).toEqual([]);
});

test('`npm run docs` describes every entry point', () => {
  const { entryPoints: described } = JSON.parse(fs.readFileSync(path.join(ROOT, 'typedoc.json'), 'utf8'));
  expect(described).toEqual([...entryPoints().values()]);
});
