import fs from 'node:fs';
import path from 'node:path';
import { minifySync } from 'rolldown/utils';
import ts from 'typescript';

/*
 * The last step of `npm run build`: makes the files of dist/ small, so that a debugger still has what it needs. Functions, classes and methods keep
 * their names, which stack traces show; other variables get short ones. docs/decisions/package.md says why there are no source maps.
 */

/** Functions and classes keep their names, also those that a constant gives to a function. */
const NAMED = { function: true, class: true };

/** Short names for everything else, shorter syntax, and no white space but for ends of lines. */
function shortened(file: string, code: string): string {
  const options = {
    module: true,
    compress: { target: 'node20', keepNames: NAMED },
    mangle: { toplevel: true, keepNames: NAMED },
    codegen: { removeWhitespace: true },
  };
  const { code: short, errors } = minifySync(file, code, options);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]!.message}`);
  return inLines(file, short);
}

/** Statements within more blocks than these stay on the line of the block around them. */
const DEPTH = 2;

/** Each statement and each method on a line of its own: Node prints the line of an uncaught error, and stack traces its number. */
function inLines(file: string, code: string): string {
  const source = ts.createSourceFile(file, code, ts.ScriptTarget.ESNext, false, ts.ScriptKind.JS);
  const lines: string[] = [];
  let start = 0;
  const begin = (nodes: readonly ts.Node[]) => nodes.map(node => node.getStart(source));
  const starts: number[] = [];
  const visit = (node: ts.Node, depth: number): void => {
    if (ts.isClassLike(node)) starts.push(...begin(node.members));
    if (ts.isSourceFile(node) || (ts.isBlock(node) && depth < DEPTH)) starts.push(...begin(node.statements));
    ts.forEachChild(node, child => visit(child, ts.isBlock(node) ? depth + 1 : depth));
  };
  visit(source, 0);
  for (const end of starts.sort((a, b) => a - b)) {
    if (end > start) lines.push(code.slice(start, end));
    start = Math.max(start, end);
  }
  return [...lines, code.slice(start)].join('\n');
}

/** Without examples, which the reference has (`npm run docs`), and without indentation. Editors show all the rest. */
function trimmed(_file: string, declarations: string): string {
  const withoutExamples = declarations.replace(/\/\*\*[\s\S]*?\*\//g, comment =>
    comment.replace(/\n\s*\*\s*@example\b[\s\S]*?(?=\n\s*\*\s*@|\n?\s*\*\/)/g, ''),
  );
  return withoutExamples.replace(/^ +(?=\*)/gm, ' ').replace(/^ {2,}/gm, '');
}

const CHANGES = { '.js': shortened, '.ts': trimmed };
const folder = 'dist';
for (const name of fs.readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
  const change = CHANGES[path.extname(name) as keyof typeof CHANGES];
  const file = path.join(folder, name);
  if (change !== undefined) fs.writeFileSync(file, change(name, fs.readFileSync(file, 'utf8')));
}
