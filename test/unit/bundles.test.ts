import fs from 'node:fs';
import path from 'node:path';
import { buildSync, type Metafile } from 'esbuild';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { ROOT } from '../support/native.ts';

/** What esbuild puts into a bundle with everything that an entry point exports. */
function bundleOf(entry: string): {
  files: string[];
  rooms: string[];
  imports: Metafile['outputs'][string]['imports'];
} {
  const { metafile } = buildSync({
    stdin: { contents: `export * from './src/${entry}/index.ts';`, resolveDir: ROOT },
    absWorkingDir: ROOT,
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['koffi', 'pino', '@2060.io/ffi-napi'],
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output!.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const files = inputs.map(([file]) => file.replace(/^src\//, ''));
  return { files, rooms: [...new Set(files.map(file => file.split('/')[0]!))], imports: output!.imports };
}

const OF_NF_TABLES = ['nf_tables', 'nft', 'nftables', 'iptables'];

test.each(['ipvs', 'nflog', 'netns', 'rtnetlink'])('a bundle of netsteer/%s has nothing of nf_tables', entry => {
  const { rooms } = bundleOf(entry);
  expect(rooms).toContain(entry);
  expect(rooms.filter(room => OF_NF_TABLES.includes(room))).toEqual([]);
});

test("a bundle of netsteer/nftables/kernel has nothing of the language and none of xtables' structures", () => {
  const { files, rooms } = bundleOf('nftables/kernel');
  expect(rooms).toEqual(expect.arrayContaining(['nf_tables', 'nftables']));
  expect(rooms.filter(room => room === 'nft' || room === 'iptables')).toEqual([]);
  expect(files.filter(file => file.startsWith('nf_tables/xt/'))).toEqual([]);
});

/** The namespaces of kernel constants that a source uses other than as `C.NAME`: a bundle then has every constant of them, with its name. */
function wholeNamespaces(file: string): string[] {
  const source = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.ESNext, true);
  const names = new Set<string>();
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings;
      const isOfKernel = ts.isStringLiteral(node.moduleSpecifier) && node.moduleSpecifier.text.includes('/linux/');
      if (isOfKernel && bindings !== undefined && ts.isNamespaceImport(bindings)) names.add(bindings.name.text);
      return;
    }
    const { parent } = node;
    const isMember = ts.isPropertyAccessExpression(parent) || ts.isQualifiedName(parent);
    const isKey = ts.isPropertyAssignment(parent) && parent.name === node;
    if (ts.isIdentifier(node) && names.has(node.text) && !isMember && !isKey)
      found.push(`${file}: ${parent.getText()}`);
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(source, visit);
  return found;
}

test('no module of kernel constants is used as a whole', () => {
  const folder = path.join(ROOT, 'src');
  const files = fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(300);
  expect(files.flatMap(file => wholeNamespaces(path.join(folder, file)))).toEqual([]);
});

test('pino is imported at run time only, and by one place', () => {
  const packages = (entry: string) => bundleOf(entry).imports.filter(({ path }) => !path.startsWith('node:'));
  expect(packages('.')).toEqual([{ path: 'pino', kind: 'dynamic-import', external: true }]);
  expect(packages('ipvs')).toEqual([]);
});
