import fs from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';

/** The functions that take a title: `test('...')`, `it.each(rows)('...')`, `kernelSuite('...')`. */
const TESTS = ['test', 'it'];
const SUITES = ['describe', 'kernelSuite'];
/** A subject that is not a thing: the title would be a riddle. "what is not desired stays" goes on with a verb, which a pattern cannot see. */
const RIDDLE = /^(whoever|whatever|nobody|nor|neither|so (is|are|has|have)|that which|and)\b/i;

interface Titled {
  where: string;
  title: string;
  isSuite: boolean;
  /** The titles of the suites around it, and its own. */
  path: string;
  /** The codes of errors in its body and in the table that it is made of. */
  codes: string[];
}

function functionOf(call: ts.Expression): string {
  if (ts.isIdentifier(call)) return call.text;
  if (ts.isPropertyAccessExpression(call) || ts.isCallExpression(call)) return functionOf(call.expression);
  return ts.isTaggedTemplateExpression(call) ? functionOf(call.tag) : '';
}

const isTitled = (node: ts.Node): node is ts.CallExpression =>
  ts.isCallExpression(node) && node.arguments.length > 1 && [...TESTS, ...SUITES].includes(functionOf(node.expression));
const isSuite = (node: ts.CallExpression): boolean => SUITES.includes(functionOf(node.expression));

/**
 * The codes that a test names: `ERR_CLOSED` where it is a whole text (a sentence that names a code expects nothing), and those
 * of the file's constants that it uses.
 */
function codesIn(node: ts.Node, named: ReadonlyMap<string, readonly string[]>): string[] {
  if (ts.isStringLiteralLike(node)) return /^ERR_[A-Z_]+$/.test(node.text) ? [node.text] : [];
  if (ts.isIdentifier(node)) return [...(named.get(node.text) ?? [])];
  const found: string[] = [];
  ts.forEachChild(node, child => {
    found.push(...codesIn(child, named));
  });
  return found;
}

/** The codes in the constants of a file, outside of its tests. */
function namedCodes(source: ts.SourceFile): Map<string, string[]> {
  const named = new Map<string, string[]>();
  const visit = (node: ts.Node): void => {
    if (isTitled(node) && !isSuite(node)) return;
    const value = ts.isVariableDeclaration(node) ? node.initializer : undefined;
    if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && value && !ts.isFunctionLike(value)) {
      const codes = codesIn(node, new Map());
      if (codes.length > 0) named.set(node.name.text, codes);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return named;
}

function titlesIn(file: string, text: string): Titled[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const named = namedCodes(source);
  const found: Titled[] = [];
  const visit = (node: ts.Node, suites: readonly string[]): void => {
    if (!isTitled(node)) {
      ts.forEachChild(node, child => visit(child, suites));
      return;
    }
    const [first] = node.arguments;
    const title = ts.isStringLiteralLike(first!) ? first.text : first!.getText(source).replace(/^`|`$/g, '');
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    const path = [...suites, title].join(' > ');
    found.push({
      where: `${file}:${line + 1}`,
      title,
      isSuite: isSuite(node),
      path,
      codes: [...new Set(codesIn(node, named))],
    });
    ts.forEachChild(node, child => visit(child, [...suites, title]));
  };
  visit(source, []);
  return found;
}

/** What is wrong with the titles of a file. */
function faultsOf(file: string, text: string): string[] {
  const titled = titlesIn(file, text);
  const untitled = titled.reduce((rest, { title }) => rest.replaceAll(title, ''), text);
  const expected = new Set([...untitled.matchAll(/ERR_[A-Z_]+/g)].map(([code]) => code));
  const faults: string[] = [];
  const paths = new Set<string>();
  for (const { where, title, path, isSuite, codes } of titled) {
    const told = [...title.matchAll(/ERR_[A-Z_]+\b/g)].map(([code]) => code);
    // The rows of a table have the code: `rejects %j with %s`.
    const byRow = /\bwith (%[sj]|\$\w*code)/i.test(title);
    if (!isSuite && codes.length > 0 && !byRow && !told.some(code => codes.includes(code)))
      faults.push(`${where}: expects ${codes.join(', ')} and does not say so: ${title}`);
    if (told.length > 0 && !/\bwith .*ERR_/.test(title)) faults.push(`${where}: say "with ERR_...": ${title}`);
    for (const code of told) if (!expected.has(code)) faults.push(`${where}: nothing expects ${code}: ${title}`);
    if (!isSuite && !/[a-z]{2}/i.test(title.replace(/%\w|\$\{.*?\}/g, ''))) faults.push(`${where}: no words: ${title}`);
    if (RIDDLE.test(title)) faults.push(`${where}: no subject: ${title}`);
    if (paths.has(path)) faults.push(`${where}: a second test of this name: ${path}`);
    paths.add(path);
  }
  return faults;
}

const files = fs
  .readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.test.ts'))
  .map(name => join('test', name));

test('every title is a sentence, and that of a refusal names the code', () => {
  const texts = files.map(file => [file, fs.readFileSync(file, 'utf8')] as const);
  const titled = texts.flatMap(([file, text]) => titlesIn(file, text));
  expect(titled.filter(({ isSuite }) => !isSuite).length).toBeGreaterThan(1000);
  expect(titled.filter(({ codes }) => codes.length > 0).length).toBeGreaterThan(100);
  expect(texts.flatMap(([file, text]) => faultsOf(file, text))).toEqual([]);
});

const body = (title: string, code = 'ERR_CLOSED') =>
  `it('${title}', () => expect(close).toThrow({ code: '${code}' }));`;

test('these rules find a missing, a stale and a malformed code, a riddle, and two tests of one name', () => {
  expect(faultsOf('a', body('rejects a closed handle with ERR_CLOSED'))).toEqual([]);
  expect(faultsOf('a', `it.each([['ERR_A'], ['ERR_B']])('rejects it with %s', () => {});`)).toEqual([]);
  for (const text of [
    body('rejects a closed handle'),
    body('rejects a closed handle with ERR_BUSY'),
    body('is ERR_CLOSED when closed'),
    `it.each([['ERR_A']])('rejects it', () => {});`,
    `it('rejects it with ERR_A', () => {});`,
    `it('whoever comes late waits', () => {});`,
    `describe('a', () => { it('works', () => {}); it('works', () => {}); });`,
  ])
    expect(faultsOf('a', text), text).not.toEqual([]);
});
