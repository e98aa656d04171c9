import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { ROOT } from './native.ts';

const SOURCES = path.join(ROOT, 'src/testing');

/** What the kernel in memory does not model, as its errors name it; `...` stands for what a message fills in. Sorted. */
export function notModelledNames(): string[] {
  const names = new Set<string>();
  const files = fs.readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));
  for (const file of files) {
    const text = fs.readFileSync(path.join(SOURCES, file), 'utf8');
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && /(^|\.)notModelled$/.test(node.expression.getText(source)))
        for (const name of textsOf(node.arguments.at(-1))) names.add(name);
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return [...names].sort();
}

/** The texts that an argument may be; none where it only hands on what it was given. */
function textsOf(node: ts.Expression | undefined): string[] {
  if (node === undefined) return [];
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isConditionalExpression(node)) return [...textsOf(node.whenTrue), ...textsOf(node.whenFalse)];
  if (!ts.isTemplateExpression(node)) return [];
  return [node.head.text + node.templateSpans.map(({ literal }) => `...${literal.text}`).join('')];
}

/** The list of docs/testing.md. */
export const notModelledList = (): string =>
  notModelledNames()
    .map(name => `- ${name}`)
    .join('\n');
