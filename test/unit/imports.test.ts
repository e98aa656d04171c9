import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ROOT } from '../support/native.ts';

/** Node's modules that cost time and that few programs need: the library takes them when they are first used. */
const HEAVY = ['http', 'crypto', 'worker_threads', 'net', 'tls', 'child_process', 'perf_hooks', 'module'];
/** The entry points, and how many tables an import may make: those that more is made of while the module is loaded. */
const ENTRIES: Readonly<Record<string, number>> = {
  '.': 125,
  netns: 2,
  ipvs: 35,
  nftables: 80,
  'nftables/kernel': 8,
  nflog: 14,
  rtnetlink: 8,
  conntrack: 5,
  iptables: 95,
  container: 125,
  netlink: 3,
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'netsteer-imports-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * What a process does that imports the file: the modules of Node that it loads beside its own, the files that are mapped, and how often it goes through
 * an object or makes a map of a list, as tables do that are made.
 */
function loadedBy(file: string): { modules: string[]; native: string; tables: number } {
  const script = `
    import fs from 'node:fs';
    const before = new Set(process.moduleLoadList);
    let tables = 0;
    const { entries } = Object;
    Object.entries = object => (tables++, entries(object));
    globalThis.Map = class extends Map { constructor(rows) { super(rows); if (rows) tables++; } };
    await import(${JSON.stringify(file)});
    const added = process.moduleLoadList.filter(each => !before.has(each));
    const modules = added.map(each => each.replace(/^NativeModule /, ''));
    console.log(JSON.stringify({ modules, native: fs.readFileSync('/proc/self/maps', 'utf8'), tables }));`;
  const parameters = ['--input-type=module', '--eval', script];
  const printed = execFileSync(process.execPath, parameters, { encoding: 'utf8', stdio: 'pipe' });
  return JSON.parse(printed) as ReturnType<typeof loadedBy>;
}

/** The folder has no packages, so an import that needs koffi or pino fails. */
function bundled(name: string, contents: string): string {
  const file = join(folder, `${name.replaceAll('/', '-')}.mjs`);
  buildSync({
    stdin: { contents, resolveDir: ROOT },
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['koffi', 'pino', '@2060.io/ffi-napi'],
    outfile: file,
    logLevel: 'silent',
  });
  return file;
}

test.each(Object.entries(ENTRIES))(
  "an import of netsteer/%s loads no package, none of Node's modules that cost much, and makes few tables",
  (entry, most) => {
    const file = bundled(`entry-${entry}`, `export * from './src/${entry}/index.ts';`);
    const { modules, native, tables } = loadedBy(file);
    expect(modules.filter(name => HEAVY.includes(name))).toEqual([]);
    expect(native).not.toMatch(/koffi|\.node\b/);
    expect(tables).toBeLessThanOrEqual(most);
  },
);

test('this test sees a module of Node that is loaded, a package, and a table', () => {
  const heavy = bundled('heavy', "export * from 'node:http'; export * from 'node:crypto';");
  expect(loadedBy(heavy).modules).toEqual(expect.arrayContaining(['http', 'net', 'crypto']));
  writeFileSync(join(folder, 'package.mjs'), "import 'pino';");
  expect(() => loadedBy(join(folder, 'package.mjs'))).toThrow(/ERR_MODULE_NOT_FOUND/);
  const made = (name: string, code: string) =>
    bundled(name, `import { attributes, u8 } from './src/codec/index.ts'; globalThis.table = ${code};`);
  expect(loadedBy(made('declared', "attributes('T', { a: u8(1) })")).tables).toBe(0);
  expect(loadedBy(made('laid-out', "attributes('T', { a: u8(1) }).fields")).tables).toBe(1);
});
