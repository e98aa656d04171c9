import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readCollections } from '../../bench/all.ts';
import { pageOf, readmeNumbers, withNumbers } from '../../bench/page.ts';
import { pictureOf } from '../../bench/plot.ts';
import { ROOT } from '../support/native.ts';

const read = (file: string) => fs.readFileSync(path.join(ROOT, file), 'utf8');
const collections = readCollections();
const collection = collections[0]!;

test('docs/benchmarks.md equals what `npm run bench -- pages` writes from bench/results/all.json', () => {
  expect(read('docs/benchmarks.md')).toBe(pageOf(collections));
});

test('the numbers of the README equal what it writes', () => {
  const readme = read('README.md');
  const numbers = readmeNumbers(collections);
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
      'parse',
      'nflog',
      'conntrack',
      'fleet',
      'update',
      'reconcile',
      'dataplane',
      'start',
      'memory',
      'balancer',
    ]),
  );
});

test('the page says of each figure on which kind of machine it was measured', () => {
  const other = { ...collection, machine: { ...collection.machine, cpu: 'another' } };
  const page = pageOf([collection, other]);
  for (const machine of ['A', 'B']) {
    expect(page).toContain(`| machine ${machine} | |`);
    for (const { name, guest, report } of collection.runs.filter(run => run.report !== undefined)) {
      const command = `npm run bench -- ${name}${guest === 'host' ? '' : ` --guest ${guest}`}`;
      const where = `Linux ${report?.environment.kernel}${guest === 'host' ? '' : ` (${guest})`} on machine ${machine}`;
      expect(page).toContain(`\`${command}\`: ${where}`);
    }
  }
  expect(page).toMatch(/\| a request to the kernel and its answer, without this library \| [\d.]+ us \|/);
  expect(page).toContain('The figures were measured on 2 kinds of machines.');
  const alone = pageOf([collection]).replace(/\s+/g, ' ');
  expect(alone).toContain(
    'All figures were measured on one kind of machine, so nobody knows yet which of them hold on',
  );
  for (const text of [page, alone]) expect(text.replace(/\s+/g, ' ')).toContain('A guest is no second kind.');
});

test('the README has only what held on every kind of machine', () => {
  const lines = readmeNumbers([collection])
    .split('\n')
    .filter(line => line.startsWith('| '));
  expect(
    readmeNumbers([collection, collection])
      .split('\n')
      .filter(line => line.startsWith('| ')),
  ).toHaveLength(lines.length);
  // nft is faster there.
  const slower = structuredClone(collection);
  for (const { name, report } of slower.runs) {
    if (name === 'nftables')
      for (const each of report!.results) if (each.program === 'netsteer') each.seconds.median *= 1000;
  }
  const held = readmeNumbers([collection, slower]);
  expect(held).not.toContain('redirect rules in one transaction');
  expect(held).toContain('containers');
  // It did not run there.
  const without = { ...collection, runs: collection.runs.filter(({ name }) => name !== 'fleet') };
  expect(readmeNumbers([collection, without])).not.toContain('containers |');
});

test('the page says where the rest goes, and of each profile in which conditions it was taken', () => {
  const [, rest] = pageOf(collections).split('\n## Where the rest goes\n');
  const paragraphs = (rest ?? '').split('\n\n').map(text => text.replaceAll('\n', ' '));
  const profiles = paragraphs.filter(text => /\(`perf|\(three sinks|By counts/.test(text));
  expect(profiles).toHaveLength(4);
  for (const profile of profiles) expect(profile).toMatch(/load/);
  for (const profile of profiles) expect(profile).toMatch(/2026-\d\d-\d\d/);
});
