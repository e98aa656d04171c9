import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { sourceModules } from '../test/support/compiled.ts';
import { measureWalks } from './walks.ts';

/*
 * node build/house.js [FOLDER] [--files]: what the sources of a checkout are like, this one by default: their files, lines, circles and casts, the
 * longest function, and how many files and functions one call enters.
 */

interface Count {
  files: number;
  lines: number;
  above500: number;
  withOneImporter: number;
  circles: number[];
  as: number;
  nonNull: number;
  doubleCasts: number;
  longest: { name: string; lines: number };
}

/** The files that reach themselves by imports, types included, as groups (Tarjan). */
function circlesOf(imports: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const groups: string[][] = [];
  const visit = (file: string): void => {
    order.set(file, order.size);
    low.set(file, order.get(file)!);
    open.push(file);
    for (const next of imports.get(file) ?? []) {
      if (!order.has(next)) visit(next);
      if (open.includes(next)) low.set(file, Math.min(low.get(file)!, low.get(next)!));
    }
    if (low.get(file) !== order.get(file)) return;
    const group = open.splice(open.indexOf(file));
    if (group.length > 1) groups.push(group);
  };
  for (const file of imports.keys()) if (!order.has(file)) visit(file);
  return groups;
}

function nameOf(node: ts.FunctionLikeDeclaration): string {
  if (node.name !== undefined) return node.name.getText();
  return ts.isConstructorDeclaration(node) ? 'constructor' : '(anonymous)';
}

function count(root: string): Count {
  const files = sourceModules(root);
  const imports = new Map<string, Set<string>>();
  const result: Count = {
    files: files.length,
    lines: 0,
    above500: 0,
    withOneImporter: 0,
    circles: [],
    as: 0,
    nonNull: 0,
    doubleCasts: 0,
    longest: { name: '', lines: 0 },
  };
  for (const file of files) {
    const text = fs.readFileSync(path.join(root, 'src', file), 'utf8');
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
    const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
    const lines = lineAt(text.length);
    result.lines += lines;
    if (lines > 500) result.above500++;
    const to = new Set<string>();
    imports.set(file, to);
    const visit = (node: ts.Node): void => {
      if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
        const { text: specifier } = node.moduleSpecifier as ts.StringLiteral;
        if (specifier.startsWith('.')) to.add(path.join(path.dirname(file), specifier));
      }
      if (ts.isAsExpression(node) && !ts.isConstTypeReference(node.type)) {
        result.as++;
        if (ts.isAsExpression(node.expression)) result.doubleCasts++;
      }
      if (ts.isNonNullExpression(node)) result.nonNull++;
      if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
        const length = lineAt(node.end) - lineAt(node.getStart()) + 1;
        if (length > result.longest.lines)
          result.longest = { name: `${file} ${nameOf(node as ts.FunctionLikeDeclaration)}`, lines: length };
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  const importers = new Map(files.map(file => [file, 0]));
  for (const to of imports.values()) for (const file of to) importers.set(file, (importers.get(file) ?? 0) + 1);
  result.withOneImporter = [...importers.values()].filter(number => number === 1).length;
  result.circles = circlesOf(imports).map(group => group.length);
  return result;
}

const root = path.resolve(process.argv.slice(2).find(argument => !argument.startsWith('-')) ?? '.');
const { circles, longest, ...numbers } = count(root);
console.log(root);
for (const [name, value] of Object.entries(numbers)) console.log(`  ${name.padEnd(16)}${value}`);
console.log(`  ${'circles'.padEnd(16)}${circles.join(' ') || 'none'}`);
console.log(`  ${'longest'.padEnd(16)}${longest.lines} lines, ${longest.name}`);
for (const { name, files, functions } of measureWalks(root)) {
  console.log(`  ${name}: ${files.length} files, ${functions} functions`);
  if (process.argv.includes('--files')) console.log(files.map(file => `      ${file}`).join('\n'));
}
