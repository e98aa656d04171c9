import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { moduleOfSnippet } from '../support/doc-examples.ts';
import { ROOT } from '../support/native.ts';
import { complaints, programOf } from '../support/public-api.ts';
import { pages, patternOf, snippets } from '../support/snippets.ts';

const all = snippets();
const shown = ({ page, line }: { page: string; line: number }) => `${page}:${line}`;

test('every snippet of the README and the docs compiles under strict TypeScript', () => {
  expect(all.length).toBeGreaterThan(35);
  const texts = new Map(
    // What needs packages of its own is compiled where they are installed, by the test that runs it.
    all
      .filter(({ code }) => !code.includes("from '@"))
      .map(snippet => [
        path.join(ROOT, 'snippets', `${shown(snippet).replaceAll('/', '.')}.ts`),
        moduleOfSnippet(snippet),
      ]),
  );
  expect(complaints(programOf([], texts), texts.keys())).toEqual([]);
});

test('every snippet names the test that runs it', () => {
  expect(all.filter(({ runBy }) => runBy === undefined).map(shown)).toEqual([]);
});

test('no page has TypeScript without a fence, where nothing compiles it', () => {
  const hidden = pages().flatMap(page => {
    const text = fs.readFileSync(path.join(ROOT, page), 'utf8').replace(/^ *```.*?^ *```$/gms, '');
    return (text.match(/^ {4}.*(?:\bawait |=>|;)\s*$|^ {4}.*\bawait .*$/gm) ?? []).map(
      line => `${page}: ${line.trim()}`,
    );
  });
  expect(hidden).toEqual([]);
});

test('each of these tests takes its snippets from the pages, and expects none to be left', () => {
  const tests = new Set(all.flatMap(({ runBy }) => runBy ?? []));
  const idle = [...tests].filter(file => {
    const full = path.join(ROOT, file);
    const text = fs.existsSync(full) ? fs.readFileSync(full, 'utf8') : '';
    return !text.includes(`new SnippetsOf('${file}')`) || !/expect\(\w+\.left\)\.toEqual\(\[\]\)/.test(text);
  });
  expect(idle).toEqual([]);
});

test('the output that a page shows for a snippet is a pattern that matches that text only', () => {
  expect('[ 1 ] at 12:00').toMatch(patternOf('[ 1 ] at ...\n'));
  expect('[ 1 ] at 12:00\nmore').not.toMatch(patternOf('[ 1 ] at 12:00\n'));
  expect('x 1 ]').not.toMatch(patternOf('[ 1 ]'));
});
