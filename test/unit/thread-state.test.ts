import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import '../../src/index.ts';
import '../../src/iptables/index.ts';
import '../../src/testing/index.ts';
import { PARTS, threadState } from '../../src/thread.ts';
import { sourceModules } from '../support/compiled.ts';
import { ROOT } from '../support/native.ts';
import { programOf } from '../support/public-api.ts';

const SOURCES = path.join(ROOT, 'src');
/** Methods that change what they are called on, of every collection of JavaScript and of typed arrays. */
const CHANGING = new Set(
  'set add delete clear push pop shift unshift splice sort reverse fill copyWithin register unregister'.split(' '),
);

/** Module-level state of these files, as 'file: name'. */
function stateOf(program: ts.Program, files: readonly string[]): string[] {
  const checker = program.getTypeChecker();
  const found = new Set<string>();
  const shown = (node: ts.Node, name: string) =>
    found.add(`${path.relative(SOURCES, node.getSourceFile().fileName)}: ${name}`);
  for (const file of files) {
    const source = program.getSourceFile(file)!;
    for (const statement of source.statements) {
      if (!ts.isVariableStatement(statement) || statement.declarationList.flags & ts.NodeFlags.Const) continue;
      for (const declaration of statement.declarationList.declarations) {
        // Given its value once, by the static block of a class.
        if (!onlyFromStaticBlocks(source, declaration)) shown(declaration, declaration.name.getText());
      }
    }
    const visit = (node: ts.Node): void => {
      const changed = changedBy(node);
      if (changed !== undefined) {
        const declaration = moduleConstant(changed);
        if (declaration !== undefined && !duringImport(node) && !isOfThread(declaration))
          shown(declaration, changed.text);
      }
      if (ts.isPropertyDeclaration(node) && isMutableStatic(node)) shown(node, node.name.getText());
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return [...found].sort();

  function moduleConstant(identifier: ts.Identifier): ts.Declaration | undefined {
    const symbol = checker.getSymbolAtLocation(identifier);
    const declaration =
      symbol && symbol.flags & ts.SymbolFlags.Alias
        ? checker.getAliasedSymbol(symbol).valueDeclaration
        : symbol?.valueDeclaration;
    if (declaration === undefined || !ts.isVariableDeclaration(declaration)) return undefined;
    const isModules = ts.isSourceFile(declaration.parent.parent.parent);
    return isModules && declaration.getSourceFile().fileName.startsWith(SOURCES) ? declaration : undefined;
  }
}

/** The variable at the root of what this node changes: `a` of `a.b.c = 1`, of `a[0]++` and of `a.b.set(1, 2)`. */
function changedBy(node: ts.Node): ts.Identifier | undefined {
  if (ts.isBinaryExpression(node) && isAssignment(node.operatorToken.kind)) return rootOf(node.left);
  if (ts.isDeleteExpression(node)) return rootOf(node.expression);
  if ((ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) && isStep(node.operator))
    return rootOf(node.operand);
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    const { name, expression } = node.expression;
    return CHANGING.has(name.text) ? rootOf(expression, true) : undefined;
  }
  return undefined;
}

const isAssignment = (operator: ts.SyntaxKind): boolean =>
  operator >= ts.SyntaxKind.FirstAssignment && operator <= ts.SyntaxKind.LastAssignment;
const isStep = (operator: ts.SyntaxKind): boolean =>
  operator === ts.SyntaxKind.PlusPlusToken || operator === ts.SyntaxKind.MinusMinusToken;

function rootOf(target: ts.Expression, itself = false): ts.Identifier | undefined {
  if (ts.isIdentifier(target)) return itself ? target : undefined;
  if (ts.isPropertyAccessExpression(target) || ts.isElementAccessExpression(target))
    return rootOf(target.expression, true);
  if (ts.isNonNullExpression(target) || ts.isParenthesizedExpression(target) || ts.isAsExpression(target))
    return rootOf(target.expression, itself);
  return undefined;
}

/** `const thread = ofThread('netlink.spare', ...)` */
function isOfThread(declaration: ts.Declaration): boolean {
  const { initializer } = declaration as ts.VariableDeclaration;
  if (initializer === undefined || !ts.isCallExpression(initializer)) return false;
  return ts.isIdentifier(initializer.expression) && initializer.expression.text === 'ofThread';
}

/** A table is filled while its module is loaded, and never again. */
function duringImport(node: ts.Node): boolean {
  for (let at = node.parent; at !== undefined; at = at.parent) if (ts.isFunctionLike(at)) return false;
  return true;
}

function isMutableStatic(node: ts.PropertyDeclaration): boolean {
  const flags = ts.getCombinedModifierFlags(node);
  return (flags & ts.ModifierFlags.Static) !== 0 && (flags & ts.ModifierFlags.Readonly) === 0;
}

function onlyFromStaticBlocks(source: ts.SourceFile, declaration: ts.VariableDeclaration): boolean {
  let only = declaration.initializer === undefined;
  const visit = (node: ts.Node, inBlock: boolean): void => {
    if (ts.isBinaryExpression(node) && isAssignment(node.operatorToken.kind)) {
      if (ts.isIdentifier(node.left) && node.left.text === declaration.name.getText()) only &&= inBlock;
    }
    ts.forEachChild(node, child => visit(child, inBlock || ts.isClassStaticBlockDeclaration(node)));
  };
  visit(source, false);
  return only;
}

const files = sourceModules().map(file => path.join(SOURCES, file));

test('the library has no state between calls but what src/thread.ts keeps', () => {
  expect(stateOf(programOf(files), files)).toEqual(['thread.ts: kept']);
});

test('src/thread.ts and docs/architecture.md name every part of that state, and each is kept once', () => {
  const kept = files.flatMap(file =>
    [...fs.readFileSync(file, 'utf8').matchAll(/ofThread(?:<.*?>)?\(\s*'([^']+)'/g)].map(match => match[1]!),
  );
  expect(kept.sort()).toEqual(Object.keys(PARTS).sort());
  expect([...threadState().keys()].sort()).toEqual(Object.keys(PARTS).sort());
  const page = fs.readFileSync(path.join(ROOT, 'docs/architecture.md'), 'utf8');
  const rows = Object.entries(PARTS).map(([part, holds]) => `| \`${part}\` | ${holds} |`);
  expect(rows.filter(row => !page.includes(row))).toEqual([]);
});

test('this test finds a variable, a static property, and a change to a constant of a module', () => {
  const file = path.join(SOURCES, 'made-up.ts');
  const text = `
    export let counter = 0;
    const seen = new Map<string, number>();
    const list: number[] = [];
    const record: Record<string, number> = {};
    const table: Record<string, number> = {};
    table.a = 1;
    class Shared { static last: number; static readonly LIMIT = 3; }
    export function remember(name: string): void {
      seen.set(name, counter++);
      list[0]!++;
      delete record[name];
      const local = new Set<string>();
      local.add(name + table.a + Shared.last);
    }`;
  expect(stateOf(programOf([], new Map([[file, text]])), [file])).toEqual([
    'made-up.ts: counter',
    'made-up.ts: last',
    'made-up.ts: list',
    'made-up.ts: record',
    'made-up.ts: seen',
  ]);
});
