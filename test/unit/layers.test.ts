import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { evaluate, sourceModules } from '../support/compiled.ts';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));
/** What every room may use: the kernel's constants, and files that know nothing of netlink. */
const BASE = ['linux', 'errors', 'thread', 'inspect', 'observe', 'signal', 'codec'];
/** What talks to the kernel: every API may use it. */
const KERNEL = [...BASE, 'netns', 'netlink'];

/**
 * The rooms from the lowest to the highest, and the rooms that each may import. A slash names the one file of a room that it may import.
 *
 *     kernel model  <-  language  <-  API
 *     nf_tables     <-  nft       <-  nftables
 *     ip_vs         <-  ipvsadm   <-  ipvs
 */
const ALLOWED: Record<string, readonly string[]> = {
  linux: [],
  expected: [],
  errors: ['expected', 'thread'],
  thread: [],
  inspect: ['errors'],
  observe: ['errors', 'thread'],
  signal: ['errors'],
  codec: ['linux', 'errors', 'thread'],
  ffi: ['linux', 'errors', 'thread'],
  netns: ['linux', 'errors', 'thread', 'inspect', 'ffi'],
  netlink: ['linux', 'errors', 'thread', 'inspect', 'observe', 'signal', 'codec', 'ffi', 'netns'],

  // The kernel's models: tables of attributes, no sockets.
  nf_tables: ['linux', 'thread', 'errors', 'codec', 'netlink/message', 'netlink/nfnetlink'],
  ip_vs: ['linux', 'errors', 'codec'],
  ctnetlink: ['linux', 'errors', 'codec'],

  // The languages: text and JSON to a model and back, no sockets.
  nft: ['errors', 'thread', 'codec', 'nf_tables'],
  ipvsadm: ['linux', 'errors', 'codec', 'ip_vs'],

  // The APIs: none imports another, but for one.
  nftables: [...KERNEL, 'nf_tables', 'nft'],
  // The other language of nf_tables, and its API on the transactions of the first.
  iptables: [...KERNEL, 'nf_tables', 'nft', 'nftables'],
  // It ends the tracked connections of what it drains.
  ipvs: [...KERNEL, 'ip_vs', 'ipvsadm', 'conntrack'],
  nflog: [...KERNEL, 'ctnetlink'],
  conntrack: [...KERNEL, 'ctnetlink'],
  // Devices for programs (tun) are made by ioctl.
  rtnetlink: [...KERNEL, 'ffi'],

  // What is made of the APIs.
  container: [...KERNEL, 'nf_tables', 'ctnetlink', 'nftables', 'ipvs', 'nflog', 'rtnetlink', 'conntrack'],
  fleet: [...KERNEL, 'nftables', 'ipvs', 'container'],
  // Services over containers, and over hosts: they stand on the handles.
  balancer: [...KERNEL, 'ffi', 'nftables', 'ipvs', 'rtnetlink', 'container'],
  cluster: ['errors', 'signal', 'codec', 'ipvs', 'rtnetlink', 'container', 'balancer'],
  cli: ['errors', 'ffi', 'netns', 'container'],

  // A kernel in memory, for tests. Its own code is below; only what users see of it is made of the APIs.
  testing: [...KERNEL, 'ffi', 'nftables', 'ipvs', 'container'],
};
/** What the rooms of the kernel in memory may use of the library: it must not be judged by the library's own encoders. */
const OF_MEMORY = ['linux', 'errors', 'thread', 'ffi/index', 'netns/access', 'codec/address'];
/** Files that only gather what a path of the package exports, from their own room and from those above it. */
const GATHERING = ['index.ts', 'container/index.ts'];
/** Packages of the registry, and the layers that may use them. */
const PACKAGES: Record<string, readonly string[]> = { koffi: ['ffi'], pino: ['nflog', 'container'] };

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

interface Module {
  file: string;
  imports: Import[];
  /** Every text in the module, where a module's name might hide: `require('koffi')`. */
  texts: string[];
}

function read(file: string): Module {
  const content = readFileSync(path.join(SOURCES, file), 'utf8');
  const source = ts.createSourceFile(file, content, ts.ScriptTarget.ES2022, true);
  const module: Module = { file, imports: [], texts: [] };
  const add = (specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return;
    const { text } = specifier;
    const to = text.startsWith('.') ? path.normalize(path.join(path.dirname(file), text)) : text;
    module.imports.push({ from: file, to, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    // `import { type A }` without more is an import of the module all the same (verbatimModuleSyntax).
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    else if (ts.isStringLiteralLike(node)) module.texts.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return module;
}

const modules = sourceModules().map(read);
const imports = modules.flatMap(module => module.imports);
const within = imports.filter(({ to }) => to.endsWith('.ts'));

const layerOf = (file: string): string => file.split('/')[0]!.replace(/\.ts$/, '');

function permitted({ from, to }: Import): boolean {
  const layer = layerOf(from);
  if (GATHERING.includes(from) || layerOf(to) === layer) return true;
  return (ALLOWED[layer] ?? []).some(name => layerOf(to) === name || to === `${name}.ts`);
}

/** The files that reach themselves by following imports, as groups. */
function cycles(edges: readonly Import[]): string[][] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) next.set(from, (next.get(from) ?? new Set()).add(to));
  const reachable = new Map<string, Set<string>>();
  for (const start of next.keys()) {
    const seen = new Set<string>();
    const open = [...next.get(start)!];
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      if (seen.has(file)) continue;
      seen.add(file);
      open.push(...(next.get(file) ?? []));
    }
    reachable.set(start, seen);
  }
  const groups = new Map<string, string[]>();
  for (const [file, seen] of reachable) {
    if (!seen.has(file)) continue;
    const group = [...seen].filter(other => reachable.get(other)?.has(file)).sort();
    groups.set(group.join(), group);
  }
  return [...groups.values()];
}

const shown = (list: readonly Import[]): string[] => list.map(({ from, to }) => `${from} imports ${to}`);

describe('the layers', () => {
  test('have every module of the sources', () => {
    const homeless = modules
      .map(({ file }) => file)
      .filter(file => !(layerOf(file) in ALLOWED) && !GATHERING.includes(file));
    expect(homeless).toEqual([]);
    const rooms = modules.map(({ file }) => layerOf(file));
    expect(Object.keys(ALLOWED).filter(room => !rooms.includes(room))).toEqual([]);
  });

  test('have imports only of files that exist', () => {
    expect(within.length).toBeGreaterThan(modules.length);
    expect(shown(within.filter(({ to }) => !existsSync(path.join(SOURCES, to))))).toEqual([]);
    expect(shown(imports.filter(({ to }) => to.startsWith('.') || to.startsWith('netsteer')))).toEqual([]);
  });

  test('import only what is below them', () => {
    expect(shown(within.filter(edge => !permitted(edge)))).toEqual([]);
  });

  test('of the kernel in memory use nothing of the library but constants, errors, addresses and its seam', () => {
    const rooms = within.filter(({ from }) => /^testing\/[a-z_]+\//.test(from));
    expect(rooms.length).toBeGreaterThan(100);
    const allowed = ({ to }: Import) =>
      layerOf(to) === 'testing' || OF_MEMORY.some(name => layerOf(to) === name || to === `${name}.ts`);
    expect(shown(rooms.filter(edge => !allowed(edge)))).toEqual([]);
  });

  test('use a package of the registry only where they need it', () => {
    const packages = imports.filter(({ to }) => !to.endsWith('.ts') && !to.startsWith('node:'));
    expect(shown(packages.filter(({ from, to }) => !PACKAGES[to]?.includes(layerOf(from))))).toEqual([]);
    const hidden = modules.filter(({ file, texts }) => texts.includes('koffi') && layerOf(file) !== 'ffi');
    expect(hidden.map(({ file }) => file)).toEqual([]);
  });

  test('start no processes', () => {
    const named = modules.filter(({ texts }) => texts.some(text => /^(node:)?child_process$/.test(text)));
    expect(named.map(({ file }) => file)).toEqual([]);
    expect(shown(imports.filter(({ to }) => to.includes('child_process')))).toEqual([]);
  });

  test('import each other in no circle, of types either', () => {
    expect(cycles(within)).toEqual([]);
  });
});

describe('the rules of this file', () => {
  const edge = (from: string, to: string): Import => ({ from, to, typeOnly: false });

  test('find a family that imports another, and one that imports the native layer', () => {
    expect(permitted(edge('ipvs/ipvs.ts', 'nftables/index.ts'))).toBe(false);
    expect(permitted(edge('ipvs/ipvs.ts', 'ffi/index.ts'))).toBe(false);
    expect(permitted(edge('ipvs/ipvs.ts', 'linux/ip_vs.ts'))).toBe(true);
    expect(permitted(edge('linux/ip_vs.ts', 'errors.ts'))).toBe(false);
    expect(permitted(edge('codec/types.ts', 'netlink/wire.ts'))).toBe(false);
    expect(permitted(edge('nf_tables/rule.ts', 'nft/json.ts'))).toBe(false);
    expect(permitted(edge('nft/text.ts', 'nftables/index.ts'))).toBe(false);
    expect(permitted(edge('nf_tables/message.ts', 'netlink/socket.ts'))).toBe(false);
    expect(permitted(edge('container/container.ts', 'fleet/fleet.ts'))).toBe(false);
    expect(permitted(edge('container/container.ts', 'testing/index.ts'))).toBe(false);
    expect(permitted(edge('errors.ts', 'observe.ts'))).toBe(false);
  });

  test('find a circle of three', () => {
    const circle = [edge('a.ts', 'b.ts'), edge('b.ts', 'c.ts'), edge('c.ts', 'a.ts'), edge('c.ts', 'd.ts')];
    expect(cycles(circle)).toEqual([['a.ts', 'b.ts', 'c.ts']]);
  });
});

test('importing every module opens no descriptor, loads no native code, and lets the process end', () => {
  const files = JSON.stringify(sourceModules().map(file => `./${file.replace(/\.ts$/, '.js')}`));
  const script = `
    import fs from 'node:fs';
    import { createRequire } from 'node:module';
    const open = () => fs.readdirSync('/proc/self/fd').map(fd => {
      try { return fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; }
    }).filter(Boolean).sort();
    const before = open();
    const loaded = [];
    for (const file of ${files}) loaded.push(Object.keys(await import(file)).length);
    const { cache } = createRequire(import.meta.url);
    console.log(JSON.stringify({
      modules: loaded.length,
      before, after: open(),
      native: Object.keys(cache).concat(fs.readFileSync('/proc/self/maps', 'utf8')).join().includes('koffi'),
    }));`;
  const result = evaluate(script) as { modules: number; before: string[]; after: string[] };
  expect(result).toMatchObject({ modules: modules.length, native: false });
  expect(result.after).toEqual(result.before);
});
