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
};

/** Here: what all others wait by; and what boots and ends the guests, which has deadlines of whole runs and no test. */
const EXEMPT = /^test\/(?:support\/wait\.ts|unit\/no-sleeps\.test\.ts|vm\/)/;

const files = fs
  .readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .map(name => join('test', name))
  .filter(name => !EXEMPT.test(name));

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

test('the patterns find what they are for', () => {
  const bad = {
    'a timer': 'await new Promise(resolve => setTimeout(resolve, 50));',
    'a timer of node:timers/promises': "import { setTimeout as sleep } from 'node:timers/promises';",
    'a wait for nothing': 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);',
    'sleep of the shell': "execFileSync('sleep', ['1']); sh -c 'sleep 0.5'",
    'a limit of its own': 'await expect.poll(read, { timeout: 60_000 }).toBe(1);',
  };
  for (const [name, line] of Object.entries(bad)) expect(line, name).toMatch(FIXED[name]!);
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
