import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build, type Format } from 'esbuild';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ROOT } from '../support/native.ts';

/*
 * The causes for which koffi cannot be loaded, each in a process of its own that has it. Nothing here needs rights.
 */

const PROGRAM = `
  import { selectFfi } from ${JSON.stringify(resolve(ROOT, 'src/ffi/index.ts'))};
  try {
    console.log(selectFfi('koffi'));
  } catch (error) {
    console.log(error.code + '|' + error.message);
  }`;
const NODE_MODULES = resolve(ROOT, 'node_modules');
const PERMISSION = Number.parseInt(process.versions.node, 10) < 24 ? '--experimental-permission' : '--permission';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-ffi-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

async function bundle(format: Format, name: string): Promise<string> {
  const outfile = join(folder, name);
  await build({
    stdin: { contents: PROGRAM, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format,
    outfile,
    // CommonJS has no import.meta, which is what is tried.
    logOverride: { 'empty-import-meta': 'silent' },
  });
  return outfile;
}

function run(file: string, ...options: string[]): string {
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', ...options, file], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.trim();
}

/** Beside the program, as `npm install` would have it; without `@koromix`, as --omit=optional leaves it. */
function installKoffi(options: { binary: boolean }): void {
  const there = join(folder, 'node_modules');
  fs.mkdirSync(there);
  fs.cpSync(join(NODE_MODULES, 'koffi'), join(there, 'koffi'), { recursive: true });
  if (options.binary) fs.cpSync(join(NODE_MODULES, '@koromix'), join(there, '@koromix'), { recursive: true });
}

test('a bundle of CommonJS runs with koffi beside it, and without it says with ERR_FFI what to copy', async () => {
  const file = await bundle('cjs', 'program.cjs');
  const told = run(file);
  expect(told).toMatch(
    /^ERR_FFI\|ERR_FFI: koffi cannot be loaded: netsteer was bundled to CommonJS, and no node_modules above /,
  );
  expect(told).toContain(`${file} has koffi: copy node_modules/koffi and node_modules/@koromix beside the bundle`);
  installKoffi({ binary: true });
  expect(run(file)).toMatch(/^koffi \d/);
});

test('modules that were moved away from node_modules say with ERR_FFI where koffi is looked for', async () => {
  const file = await bundle('esm', 'program.mjs');
  const told = run(file);
  expect(told).toMatch(/^ERR_FFI\|ERR_FFI: koffi cannot be loaded: netsteer was moved out of its node_modules, /);
  expect(told).toContain(`no node_modules above file://${file} has koffi: copy`);
  installKoffi({ binary: true });
  expect(run(file)).toMatch(/^koffi \d/);
});

test('node --permission without --allow-addons is named with ERR_FFI', async () => {
  const file = await bundle('esm', 'program.mjs');
  installKoffi({ binary: true });
  expect(run(file, PERMISSION, '--allow-fs-read=*')).toBe(
    'ERR_FFI|ERR_FFI: koffi cannot be loaded: node was started with --permission (or --no-addons), which forbids native addons: add --allow-addons',
  );
  expect(run(file, PERMISSION, '--allow-fs-read=*', '--allow-addons')).toMatch(/^koffi \d/);
});

test('an installation without optional dependencies is named with ERR_FFI', async () => {
  const file = await bundle('esm', 'program.mjs');
  installKoffi({ binary: false });
  expect(run(file)).toBe(
    `ERR_FFI|ERR_FFI: koffi cannot be loaded: its binary, the optional dependency @koromix/koffi-linux-${process.arch}, is not installed: install without --omit=optional, on this kind of machine`,
  );
});
