import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { compiledSources, transpileSource } from '../support/compiled.ts';
import { ROOT } from '../support/native.ts';
import { notModelledList, notModelledNames } from '../support/not-modelled.ts';
import { patternOf, runSnippet, type Snippet, SnippetsOf } from '../support/snippets.ts';

const guide = new SnippetsOf('test/unit/guide-memory.test.ts');

/* The examples of docs/guide/test-without-root.md that need no rights, by the runners that they are for. */

it.each(guide.all.map(({ page, line, code }) => [`${page}:${line}`, code]))(
  'the example of %s runs as a reader runs it',
  async (_, code) => {
    const snippet = guide.take(code!.trimEnd());
    if (code!.includes("'vitest'")) expect(runByVitest(snippet)).toMatch(/Tests +1 passed/);
    else if (code!.includes("'node:test'")) expect(await runSnippet(snippet)).toMatch(/^# pass 1$/m);
    else expect((await runSnippet(snippet)).trim()).toMatch(patternOf(snippet.prints!));
  },
);

it('leaves no example out', () => {
  expect(guide.left).toEqual([]);
});

function runByVitest({ code }: Snippet): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netsteer-vitest-'));
  try {
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
    const script = transpileSource(code).replaceAll(/'netsteer\/(\w+)'/g, `'${compiledSources()}/$1/index.js'`);
    fs.writeFileSync(path.join(folder, 'example.test.mjs'), script);
    const vitest = path.join(ROOT, 'node_modules/vitest/vitest.mjs');
    const { NODE_TEST_CONTEXT: _, VITEST: __, ...env } = process.env;
    const parameters = [vitest, 'run', '--root', folder];
    const { stdout, stderr } = spawnSync(process.execPath, parameters, {
      cwd: folder,
      encoding: 'utf8',
      env: { ...env, NO_COLOR: '1' },
    });
    return `${stdout}${stderr}`;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

it('docs/testing.md lists all that the code calls not modelled, and no more', () => {
  expect(notModelledNames().length).toBeGreaterThan(20);
  const page = fs.readFileSync('docs/testing.md', 'utf8');
  const list = /<!-- not modelled -->\n([\s\S]*?)\n<!-- end -->/.exec(page)?.[1];
  expect(list).toBe(notModelledList());
});
