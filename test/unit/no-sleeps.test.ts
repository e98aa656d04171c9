import fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { patience, slowness, until } from '../support/wait.ts';

/** What waits for a time and not for a condition, or has a limit of its own that a busy machine misses. What repeats (setInterval) does not wait. */
const FIXED: Readonly<Record<string, RegExp>> = {
  'a timer': /(?<![.\w])setTimeout\(/g,
  'a timer of node:timers/promises': /\bset(?:Timeout|Interval)\b[^;\n]*['"](?:node:)?timers\/promises['"]/g,
  'a wait for nothing': /Atomics\.wait\(\s*new /g,
  'sleep of the shell': /\bu?sleep[ ',[]+[\d.]{1,3}\b/g,
  'a limit of its own': /\b(?:poll|waitFor|waitUntil)\((?:(?!;\n)[\s\S])*?\btimeout: [\d_]+/g,
  'a limit for a test or a program that does not grow with the slowness of the machine':
    /\b(?:test|hook)Timeout: [\d_]+|\btimeout: [\d_]+_000\b|^ *\}?,? ?[\d_]+_000,?\)?;?$/gm,
  'a wait with the limit of a second': /\bvi\.wait(?:For|Until)\(/g,
  'an AbortSignal of a time': /\bAbortSignal\.timeout\(/g,
};

/** By what all others wait; and this file. */
const WAITING = ['test/support/wait.ts', 'test/unit/no-sleeps.test.ts'];
/** Programs that measure, and rest between two measurements: nothing fails when that takes longer. */
const MEASURING = [
  'bench/balancer.ts',
  'bench/conntrack.ts',
  'bench/dataplane.ts',
  'bench/harness.ts',
  'bench/nflog.ts',
  'bench/nflog-readers.ts',
  'bench/reconcile.ts',
  'bench/uml.ts',
  'bench/update.ts',
];

const all = ['test', 'examples', 'bench', 'docs', 'native', 'tools']
  .filter(folder => fs.existsSync(folder))
  .flatMap(folder => fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name)))
  .filter(name => /\.m?[jt]s$/.test(name));
const files = all.filter(name => !WAITING.includes(name) && !MEASURING.includes(name));

test('the list of files that may wait for a time is complete', () => {
  for (const file of [...WAITING, ...MEASURING]) {
    const text = fs.readFileSync(file, 'utf8');
    expect(
      Object.values(FIXED).some(pattern => text.search(pattern) >= 0),
      file,
    ).toBe(true);
  }
  expect(all.filter(name => name.startsWith('examples/')).length).toBeGreaterThan(3);
  expect(all.filter(name => name.startsWith('test/vm/')).length).toBeGreaterThan(5);
});

test.each(Object.entries(FIXED))('no test has %s', (_, pattern) => {
  expect(files.length).toBeGreaterThan(100);
  const found = files.flatMap(file => {
    const text = fs.readFileSync(file, 'utf8');
    return [...text.matchAll(pattern)].map(
      ({ 0: what, index }) => `${file}:${text.slice(0, index).split('\n').length}: ${what}`,
    );
  });
  // test/support/wait.ts has `until`, `inTime`, `turns`, and `flushed` for the kernel's own timer.
  expect(found).toEqual([]);
});

test('the patterns find what they are made for', () => {
  const bad = {
    'a timer': 'await new Promise(resolve => setTimeout(resolve, 50));',
    'a timer of node:timers/promises': "import { setTimeout as sleep } from 'node:timers/promises';",
    'a wait for nothing': 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);',
    'sleep of the shell': "execFileSync('sleep', ['1']); sh -c 'sleep 0.5'",
    'a limit of its own': 'await expect.poll(read, { timeout: 60_000 }).toBe(1);',
    'a limit for a test or a program that does not grow with the slowness of the machine': '}, 60_000);',
    'a wait with the limit of a second': 'await vi.waitFor(() => expect(read()).toBe(1));',
    'an AbortSignal of a time': 'fetch(url, { signal: AbortSignal.timeout(1000) })',
  };
  for (const [name, line] of Object.entries(bad)) expect(line, name).toMatch(FIXED[name]!);
  for (const line of ['  timeout: 300_000,', '    120_000,', 'vi.setConfig({ testTimeout: 60_000 });'])
    expect(line).toMatch(Object.values(FIXED)[5]!);
  expect("spawn('sleep', ['infinity'])").not.toMatch(FIXED['sleep of the shell']!);
  expect("import { setImmediate as turn } from 'node:timers/promises';").not.toMatch(
    FIXED['a timer of node:timers/promises']!,
  );
});

test('patience grows with the slowness of the machine, within bounds', async () => {
  expect(slowness()).toBeGreaterThanOrEqual(1);
  expect(slowness()).toBeLessThanOrEqual(5);
  expect(patience(1000)).toBe(Math.ceil(1000 * slowness()));
  let looks = 0;
  expect(await until(() => ++looks > 3 && looks)).toBe(4);
});
