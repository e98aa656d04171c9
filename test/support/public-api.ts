import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { ROOT } from './native.ts';

/** One public name: an export, or a method of an exported class. */
export interface PublicName {
  /** 'netsteer/ipvs Ipvs.addService' */
  readonly name: string;
  /** What its documentation lacks: 'summary', 'parameter options', 'throws', 'example'. */
  readonly lacks: readonly string[];
  /** The code of its `@example` tags. */
  readonly examples: readonly string[];
}

/** The entry points of the package, by the names that users import: 'netsteer/ipvs' -> 'src/ipvs/index.ts'. The root comes last, since it repeats the others. */
export function entryPoints(): Map<string, string> {
  const { exports } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { exports: object };
  const entries = new Map<string, string>();
  for (const [key, target] of Object.entries(exports) as [string, { default?: string }][]) {
    if (target.default === undefined) continue;
    const source = target.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts');
    entries.set(path.posix.join('netsteer', key), source);
  }
  const root = entries.get('netsteer')!;
  entries.delete('netsteer');
  return entries.set('netsteer', root);
}

/** Files that were parsed once: several programs of one test have most of them in common. */
const parsed = new Map<string, ts.SourceFile | undefined>();

/** A program with this repository's strict options. `texts` are files that are not on the disk, by their full paths. */
export function programOf(files: readonly string[], texts: ReadonlyMap<string, string> = new Map()): ts.Program {
  const { config } = ts.readConfigFile(path.join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const host = ts.createCompilerHost(options, true);
  const { readFile, fileExists } = host;
  host.readFile = file => texts.get(file) ?? readFile(file);
  const { getSourceFile } = host;
  host.getSourceFile = (file, ...parameters) => {
    if (texts.has(file)) return getSourceFile(file, ...parameters);
    if (!parsed.has(file)) parsed.set(file, getSourceFile(file, ...parameters));
    return parsed.get(file);
  };
  host.fileExists = file => texts.has(file) || fileExists(file);
  return ts.createProgram([...files, ...texts.keys()], options, host);
}

/** What the compiler has against these files, as 'file:line: message', sorted. */
export function complaints(program: ts.Program, files: Iterable<string>): string[] {
  return [...files].flatMap(file => {
    const source = program.getSourceFile(file)!;
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return found.map(({ messageText, start = 0 }) => {
      const line = source.text.slice(0, start).split('\n').length;
      const text = source.text.split('\n')[line - 1]!.trim();
      return `${path.relative(ROOT, file)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')} <- ${text}`;
    });
  });
}

/** `export type { Packet }`: the class itself is not exported. */
function isTypeOnly(symbol: ts.Symbol): boolean {
  return (symbol.declarations ?? []).some(
    each => ts.isExportSpecifier(each) && (each.isTypeOnly || each.parent.parent.isTypeOnly),
  );
}

/** A constant with the kernel's own name is documented by the header that it is from. */
const KERNEL_NAME = /^[A-Z][A-Z0-9_]+$/;

export interface PublicApi {
  /** Every public name of the entry points, each at the first that exports it. */
  readonly names: readonly PublicName[];
  /** The exports of each entry point, with whether they are values. */
  readonly exported: ReadonlyMap<string, ReadonlyMap<string, boolean>>;
}

export function publicApi(): PublicApi {
  const entries = entryPoints();
  const program = programOf([...entries.values()].map(file => path.join(ROOT, file)));
  const checker = program.getTypeChecker();
  const names: PublicName[] = [];
  const exported = new Map<string, Map<string, boolean>>();
  // By declaration: a class that is made from another's operations has symbols of its own for the same methods.
  const seen = new Set<ts.Node>();
  for (const [entry, file] of entries) {
    const values = new Map<string, boolean>();
    exported.set(entry, values);
    const module = checker.getSymbolAtLocation(program.getSourceFile(path.join(ROOT, file))!)!;
    for (const one of checker.getExportsOfModule(module)) {
      const symbol = one.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(one) : one;
      values.set(one.name, (symbol.flags & ts.SymbolFlags.Value) !== 0 && !isTypeOnly(one));
      const declarations = symbol.declarations ?? [];
      if (declarations[0] === undefined || seen.has(declarations[0])) continue;
      seen.add(declarations[0]);
      const name = `${entry} ${one.name}`;
      if (declarations.every(declaration => isKernelConstant(one.name, declaration))) continue;
      if (isInternal(declarations)) continue;
      names.push(judge(name, symbol, checker));
      for (const method of methodsOf(symbol, checker)) {
        const [declaration] = method.declarations!;
        if (seen.has(declaration!)) continue;
        seen.add(declaration!);
        names.push(judge(`${name}.${method.name}`, method, checker));
      }
    }
  }
  return { names, exported };
}

function isKernelConstant(name: string, declaration: ts.Declaration): boolean {
  if (!KERNEL_NAME.test(name) || !ts.isVariableDeclaration(declaration)) return false;
  return declaration.initializer !== undefined && !ts.isFunctionLike(declaration.initializer);
}

/** The public methods of a class, those that `twoForms` makes of generators included; properties of function type count as methods. */
function methodsOf(symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol[] {
  if (!(symbol.flags & ts.SymbolFlags.Class)) return [];
  const instance = checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol));
  const statics = checker
    .getPropertiesOfType(checker.getTypeOfSymbol(symbol))
    .filter(({ flags }) => !(flags & ts.SymbolFlags.Prototype));
  return [...instance, ...statics].flatMap(property => {
    // A name in the map of a generator's operations stands for the generator itself.
    const declarations = (property.declarations ?? []).filter(each => inSources(each));
    const [declaration] = declarations;
    if (declaration === undefined || isInternal(declarations) || property.name.startsWith('__')) return [];
    const name = ts.getNameOfDeclaration(declaration);
    if (name === undefined || ts.isPrivateIdentifier(name)) return [];
    if (ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return [];
    const isMethod = declarations.some(each => ts.isMethodDeclaration(each) || ts.isMethodSignature(each));
    return isMethod ? [property] : [];
  });
}

const inSources = (declaration: ts.Declaration): boolean =>
  declaration.getSourceFile().fileName.startsWith(path.join(ROOT, 'src'));

function isInternal(declarations: readonly ts.Declaration[]): boolean {
  return declarations.some(each => ts.getJSDocTags(each).some(tag => tag.tagName.text === 'internal'));
}

function judge(name: string, symbol: ts.Symbol, checker: ts.TypeChecker): PublicName {
  const declarations = symbol.declarations ?? [];
  const comment = ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();
  const tags = symbol.getJsDocTags(checker);
  const texts = (tag: string) =>
    tags.filter(each => each.name === tag).map(each => ts.displayPartsToString(each.text).trim());
  const examples = texts('example').filter(text => text !== '');
  const lacks: string[] = [];
  // The summary ends on the first line, so that a list of names can show it whole.
  if (!/\w.*[.:!?)]( |$)/.test(comment.split('\n')[0]!)) lacks.push('summary');
  const functions = declarations.flatMap(each => functionOf(each) ?? []);
  const isCode = functions.length > 0;
  if (isCode) {
    const described = [...texts('param').map(text => /^[\w$]+/.exec(text)?.[0]), ...inBackticks(comment)];
    const documented = new Set(described);
    for (const parameter of parametersOf(functions)) {
      if (!documented.has(parameter)) lacks.push(`parameter ${parameter}`);
    }
    if (functions.some(throws) && texts('throws').length === 0 && !/\bERR_|\b(throws|rejects)\b/.test(comment))
      lacks.push('throws');
  }
  if ((isCode || symbol.flags & ts.SymbolFlags.Class) && examples.length === 0 && !isError(symbol))
    lacks.push('example');
  return { name, lacks, examples };
}

function functionOf(declaration: ts.Declaration): ts.SignatureDeclaration | undefined {
  if (ts.isVariableDeclaration(declaration) && declaration.initializer && ts.isFunctionLike(declaration.initializer))
    return declaration.initializer;
  if (ts.isFunctionDeclaration(declaration) || ts.isMethodDeclaration(declaration) || ts.isMethodSignature(declaration))
    return declaration;
  return undefined;
}

/** The names of the parameters of all overloads; the implementation behind overloads has names that nobody sees. */
function parametersOf(functions: readonly ts.SignatureDeclaration[]): string[] {
  const overloads = functions.filter(each => !('body' in each) || each.body === undefined);
  const visible = overloads.length > 0 ? overloads : functions;
  const names = visible.flatMap(each => each.parameters.map(({ name }) => name));
  return [...new Set(names.filter(ts.isIdentifier).map(({ text }) => text))].filter(each => each !== 'this');
}

const inBackticks = (text: string): string[] => [...text.matchAll(/`([\w$]+)[^`]*`/g)].map(([, name]) => name!);

/** Asks the kernel (a generator operation does nothing else), or has a `throw` in its own body. */
function throws(code: ts.SignatureDeclaration): boolean {
  if (code.type?.getText().startsWith('Operation<')) return true;
  const find = (node: ts.Node): boolean =>
    ts.isThrowStatement(node) || (!ts.isFunctionLike(node) && ts.forEachChild(node, find)) || false;
  return 'body' in code && code.body !== undefined && find(code.body);
}

/** An error is thrown by the library and made by nobody else. */
function isError(symbol: ts.Symbol): boolean {
  return (symbol.declarations ?? []).some(
    each => ts.isClassDeclaration(each) && each.heritageClauses?.some(clause => /Error/.test(clause.getText())),
  );
}
