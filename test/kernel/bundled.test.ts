import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { rollup } from 'rollup';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ROOT } from '../support/native.ts';
import { kernelSuite } from '../support/where.ts';

/** A project that has the packed package, and no other way to its sources. */
let project: string;

beforeAll(() => {
  project = fs.mkdtempSync(join(tmpdir(), 'netsteer-bundled-'));
  const modules = join(project, 'node_modules');
  fs.mkdirSync(modules);
  const npm = ['pack', ROOT, '--ignore-scripts', '--silent', '--pack-destination', project];
  const packed = execFileSync('npm', npm, { cwd: project, encoding: 'utf8' }).trim().split('\n').at(-1)!;
  execFileSync('tar', ['-xzf', join(project, packed), '-C', modules]);
  fs.renameSync(join(modules, 'package'), join(modules, 'netsteer'));
  fs.copyFileSync(join(ROOT, 'test/fixtures/runtimes/bundled.mjs'), join(project, 'program.mjs'));
});
afterAll(() => fs.rmSync(project, { recursive: true, force: true }));

type Format = 'esm' | 'cjs';
const EXTERNAL = ['koffi', 'pino', '@2060.io/ffi-napi'];

async function byEsbuild(format: Format, file: string, minify: boolean): Promise<void> {
  await build({
    entryPoints: [join(project, 'program.mjs')],
    outfile: file,
    bundle: true,
    platform: 'node',
    external: EXTERNAL,
    format,
    minify,
    // esbuild warns of `import.meta`, which CommonJS has not: the library does without it there.
    logOverride: { 'empty-import-meta': 'silent' },
  });
}

async function byRollup(format: Format, file: string): Promise<void> {
  const require = createRequire(join(project, 'program.mjs'));
  const bundle = await rollup({
    input: join(project, 'program.mjs'),
    external: [/^node:/, ...EXTERNAL],
    plugins: [
      { name: 'packages', resolveId: name => (name.startsWith('netsteer') ? require.resolve(name) : undefined) },
    ],
  });
  await bundle.write({ file, format, inlineDynamicImports: true });
  await bundle.close();
}

const BUNDLERS = {
  esbuild: (format: Format, file: string) => byEsbuild(format, file, false),
  'esbuild, minified': (format: Format, file: string) => byEsbuild(format, file, true),
  rollup: byRollup,
};

kernelSuite('a program that is bundled with the packed package, and moved to where only koffi is', () => {
  for (const [bundler, bundled] of Object.entries(BUNDLERS)) {
    for (const format of ['esm', 'cjs'] as const) {
      test(`runs: ${bundler}, ${format}; it rejects wrong input with ERR_INVALID_ARG_TYPE`, async () => {
        const elsewhere = fs.mkdtempSync(join(tmpdir(), 'netsteer-moved-'));
        try {
          const name = format === 'esm' ? 'program.mjs' : 'program.cjs';
          const file = join(project, `out-${bundler.replace(/\W/g, '')}-${name}`);
          await bundled(format, file);
          fs.renameSync(file, join(elsewhere, name));
          for (const each of ['koffi', '@koromix'])
            fs.cpSync(resolve(ROOT, 'node_modules', each), join(elsewhere, 'node_modules', each), { recursive: true });
          const output = execFileSync(process.execPath, [name], { cwd: elsewhere, encoding: 'utf8' });
          expect(JSON.parse(output)).toEqual({
            lines: ['seen '],
            redirects: 5000,
            tables: ['seen', 'netsteer-redirects'],
            inside: true,
            refused: 'ERR_INVALID_ARG_TYPE',
          });
        } finally {
          fs.rmSync(elsewhere, { recursive: true, force: true });
        }
      });
    }
  }
});
