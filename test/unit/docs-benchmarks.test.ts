import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { pageOf, readmeNumbers, withNumbers } from '../../bench/page.ts';
import { pictureOf } from '../../bench/plot.ts';
import type { Collection } from '../../bench/report.ts';
import { ROOT } from '../support/native.ts';

const read = (file: string) => fs.readFileSync(path.join(ROOT, file), 'utf8');
const collection = JSON.parse(read('bench/results/all.json')) as Collection;

test('docs/benchmarks.md equals what `npm run bench -- pages` writes from bench/results/all.json', () => {
  expect(read('docs/benchmarks.md')).toBe(pageOf(collection));
});

test('the numbers of the README equal what it writes', () => {
  const readme = read('README.md');
  const numbers = readmeNumbers(collection);
  expect(numbers).toContain(collection.date.slice(0, 10));
  expect(withNumbers(readme, numbers)).toBe(readme);
  expect(numbers).not.toMatch(/NaN|undefined|\|\s*\|\s*\|\s*\|/);
});

test('the pictures equal what it draws', () => {
  const pictures = collection.runs.flatMap(({ name, guest, report }) => {
    const picture = report && pictureOf(report);
    return picture === undefined ? [] : [{ name, guest, svg: picture.svg }];
  });
  expect(pictures.map(({ name, guest }) => `${name} ${guest}`)).toEqual(['nftables host', 'fleet host']);
  for (const { name, svg } of pictures) expect(read(`docs/${name}.svg`)).toBe(svg);
});

test('every benchmark has run, or the page says why it could not', () => {
  const page = read('docs/benchmarks.md');
  for (const { name, report, missing } of collection.runs) {
    if (report === undefined) expect(page).toContain(`could not run here: ${missing}`);
    else expect(report.results.length, name).toBeGreaterThan(0);
  }
  expect(new Set(collection.runs.map(({ name }) => name))).toEqual(
    new Set([
      'ffi',
      'codec',
      'netns',
      'ipvs',
      'nftables',
      'compile',
      'nflog',
      'conntrack',
      'fleet',
      'update',
      'dataplane',
    ]),
  );
});
