import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { ROOT } from './native.ts';

/** A public name, and the text that an editor shows where the mouse is on it. */
export interface Hover {
  /** 'netsteer/nftables Nftables.sync.commit' */
  readonly name: string;
  /** Empty where the name is bare. */
  readonly text: string;
}

/** The kernel's own constants are documented by the header that they are from. */
const KERNEL_NAME = /^[A-Z][A-Z0-9_]+$/;
/** Members that are known by the language itself, or by Node. */
const OF_THE_LANGUAGE = /^(__|\[|prototype$)/;
const DEPTH = 8;

/** The declarations of each entry point, as package.json has them: 'netsteer/ipvs' -> '.../dist/ipvs/index.d.ts'. */
function declarationsOfEntries(): Map<string, string> {
  const { exports } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { exports: object };
  const entries = new Map<string, string>();
  for (const [key, target] of Object.entries(exports) as [string, { types?: string }][])
    if (target.types !== undefined) entries.set(path.posix.join('netsteer', key), path.join(ROOT, target.types));
  const root = entries.get('netsteer')!;
  entries.delete('netsteer');
  return entries.set('netsteer', root);
}

/** A module in the place of a user's, written name by name; each line ends with the name to be asked for. */
class UserFile {
  readonly lines = [
    'export type ValueOf<U> = U extends { [key: string]: infer V } ? V : never;',
    'export type ElementOf<U> = U extends readonly (infer E)[] ? E : never;',
    // The names that are written, where an index signature takes all.
    'export type Written<U> = keyof { [P in keyof U as string extends P ? never : P]: 0 };',
    'export type Having<U, K extends PropertyKey> = U extends unknown ? (K extends Written<U> ? U : never) : never;',
  ];
  readonly asked: { name: string; line: number; column: number }[] = [];

  ask(name: string, line: string, column: number): void {
    this.asked.push({ name, line: this.lines.length, column });
    this.lines.push(line);
  }
}

/**
 * Hovers over every public name of the built declarations: exports, and the members of all types that they lead to, both forms of each operation
 * among them. A name is asked for where a user would write it; a parameter's field at its declaration.
 */
export function hovers(): Hover[] {
  const entries = declarationsOfEntries();
  const texts = new Map<string, string>();
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    strict: true,
    exactOptionalPropertyTypes: true,
    types: ['node'],
    noEmit: true,
  };
  const files = [...entries.values()];
  const program = ts.createProgram(files, options);
  const checker = program.getTypeChecker();
  const user = new Surveyor(checker, program);
  for (const [entry, file] of entries) texts.set(...user.survey(entry, file));

  const host: ts.LanguageServiceHost = {
    getCompilationSettings: () => options,
    getScriptFileNames: () => [...texts.keys()],
    getScriptVersion: () => '1',
    getScriptSnapshot: file => {
      const text = texts.get(file) ?? ts.sys.readFile(file);
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
    },
    getCurrentDirectory: () => ROOT,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    fileExists: file => texts.has(file) || ts.sys.fileExists(file),
    readFile: file => texts.get(file) ?? ts.sys.readFile(file),
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
  };
  const service = ts.createLanguageService(host);
  const found = user.places.map(({ name, file, position }) => {
    const info = service.getQuickInfoAtPosition(file, position);
    return { name, text: info === undefined ? '' : ts.displayPartsToString(info.documentation).trim() };
  });
  const wrong = [...texts].flatMap(([file, text]) =>
    service.getSemanticDiagnostics(file).map(({ messageText, start = 0 }) => {
      const line = text.slice(0, start).split('\n').length;
      return `${file}:${line}: ${text.split('\n')[line - 1]} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    }),
  );
  if (wrong.length > 0) throw new Error(['what is asked for is not there:', ...wrong].join('\n'));
  return found;
}

interface Place {
  readonly name: string;
  readonly file: string;
  readonly position: number;
}

class Surveyor {
  readonly places: Place[] = [];
  readonly #checker: ts.TypeChecker;
  readonly #program: ts.Program;
  /** By declaration: the root repeats the others, and types lead to each other. */
  readonly #seen = new Set<ts.Node | string>();
  #user = new UserFile();

  constructor(checker: ts.TypeChecker, program: ts.Program) {
    this.#checker = checker;
    this.#program = program;
  }

  /** The user's file of an entry point, by its path. */
  survey(entry: string, declarations: string): [string, string] {
    const user = new UserFile();
    this.#user = user;
    user.lines.push(`import * as m from '${entry}';`);
    const module = this.#checker.getSymbolAtLocation(this.#program.getSourceFile(declarations)!)!;
    for (const one of this.#checker.getExportsOfModule(module)) this.#export(entry, one);
    const file = path.join(ROOT, `hover-${entry.replaceAll('/', '-')}.ts`);
    const starts: number[] = [];
    let at = 0;
    for (const line of user.lines) {
      starts.push(at);
      at += line.length + 1;
    }
    for (const { name, line, column } of user.asked) this.places.push({ name, file, position: starts[line]! + column });
    return [file, `${user.lines.join('\n')}\n`];
  }

  #export(entry: string, one: ts.Symbol): void {
    const checker = this.#checker;
    const symbol = one.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(one) : one;
    const [declaration] = symbol.declarations ?? [];
    if (declaration === undefined || this.#seen.has(declaration)) return;
    this.#seen.add(declaration);
    const name = `${entry} ${one.name}`;
    if (KERNEL_NAME.test(one.name) && !(checker.getTypeOfSymbol(symbol).flags & ts.TypeFlags.Object)) return;
    const typeOnly = (one.declarations ?? []).some(
      each => ts.isExportSpecifier(each) && (each.isTypeOnly || each.parent.parent.isTypeOnly),
    );
    const isValue = (symbol.flags & ts.SymbolFlags.Value) !== 0 && !typeOnly;
    if (isValue) {
      const line = `m.${one.name};`;
      this.#user.ask(name, line, 2);
      const type = checker.getTypeOfSymbol(symbol);
      this.#members(name, type, `m.${one.name}`, DEPTH);
      if (
        symbol.flags & ts.SymbolFlags.Class &&
        type.getConstructSignatures().some(({ declaration }) => isPublic(declaration))
      )
        this.#user.ask(
          `${name} (new)`,
          `new m.${one.name}(...([] as unknown as ConstructorParameters<typeof m.${one.name}>));`,
          6,
        );
    }
    if (symbol.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias)) {
      const parameters = parametersOf(symbol);
      const reference = `m.${one.name}${parameters === 0 ? '' : `<${Array(parameters).fill('any').join(', ')}>`}`;
      const variable = `v${this.#user.lines.length}`;
      if (!isValue)
        this.#user.ask(name, `export type T${variable} = ${reference};`, `export type T${variable} = m.`.length);
      this.#user.lines.push(`declare const ${variable}: ${reference};`);
      this.#members(name, checker.getDeclaredTypeOfSymbol(symbol), variable, DEPTH);
    }
  }

  /** The properties of a type, of each constituent where it is a union, and of the types that they lead to. */
  #members(name: string, type: ts.Type, expression: string, depth: number): void {
    if (depth === 0) return;
    const checker = this.#checker;
    const types = (type.isUnion() ? type.types : [type]).filter(
      each => each.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection),
    );
    const names = new Map<string, ts.Symbol[]>();
    for (const each of types) {
      if (checker.isArrayType(each) || checker.isTupleType(each)) {
        const variable = `e${this.#user.lines.length}`;
        this.#user.lines.push(
          `const a${variable} = ${expression};`,
          `declare const ${variable}: ElementOf<typeof a${variable}>;`,
        );
        const elements = checker.getTypeArguments(each as ts.TypeReference);
        for (const element of elements) this.#named(`${name}[]`, element, variable, depth);
        continue;
      }
      for (const property of checker.getPropertiesOfType(each)) {
        if (OF_THE_LANGUAGE.test(property.name) || !this.#isOurs(property)) continue;
        names.set(property.name, [...(names.get(property.name) ?? []), property]);
      }
      const index = checker.getIndexInfoOfType(each, ts.IndexKind.String)?.type;
      if (index !== undefined) {
        const variable = `i${this.#user.lines.length}`;
        this.#user.lines.push(
          `const o${variable} = ${expression};`,
          `declare const ${variable}: ValueOf<typeof o${variable}>;`,
        );
        this.#named(`${name}[]`, index, variable, depth);
      }
      for (const signature of each.getCallSignatures()) this.#parameters(name, signature, depth);
    }
    for (const [property, symbols] of names) {
      const unseen = symbols.filter(each => !this.#seen.has(this.#key(each, name)));
      if (unseen.length === 0) continue;
      for (const each of unseen) this.#seen.add(this.#key(each, name));
      const owner = depth < DEPTH || type.isUnion() ? this.#narrowed(expression, property) : expression;
      const access = /^[A-Za-z_$][\w$]*$/.test(property) ? `.${property}` : undefined;
      const line = access === undefined ? `${owner}[${JSON.stringify(property)}];` : `${owner}${access};`;
      this.#user.ask(`${name}.${property}`, line, line.length - 1 - property.length - (access === undefined ? 2 : 0));
      for (const each of unseen)
        this.#named(`${name}.${property}`, checker.getTypeOfSymbol(each), `${line.slice(0, -1)}!`, depth);
    }
  }

  /** Follows a type that is not an export itself: those have their own turn. */
  #named(name: string, type: ts.Type, expression: string, depth: number): void {
    if (depth === 0) return;
    this.#members(name, this.#checker.getNonNullableType(type), expression, depth - 1);
  }

  #narrowed(expression: string, property: string): string {
    const variable = `u${this.#user.lines.length}`;
    this.#user.lines.push(`const ${variable} = ${expression};`);
    this.#user.lines.push(`declare const k${variable}: Having<typeof ${variable}, ${JSON.stringify(property)}>;`);
    return `k${variable}`;
  }

  #parameters(name: string, signature: ts.Signature, depth: number): void {
    for (const parameter of signature.getParameters()) {
      const type = this.#checker.getNonNullableType(this.#checker.getTypeOfSymbol(parameter));
      for (const each of type.isUnion() ? type.types : [type]) this.#fields(`${name}(${parameter.name})`, each, depth);
    }
  }

  /** The fields of a parameter, where they are declared. */
  #fields(name: string, type: ts.Type, depth: number): void {
    if (depth === 0 || !(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection))) return;
    for (const property of this.#checker.getPropertiesOfType(type)) {
      if (OF_THE_LANGUAGE.test(property.name) || !this.#isOurs(property)) continue;
      const [declaration] = property.declarations!;
      if (this.#seen.has(declaration!)) continue;
      this.#seen.add(declaration!);
      const at = ts.getNameOfDeclaration(declaration!);
      if (at === undefined) continue;
      this.places.push({
        name: `${name}.${property.name}`,
        file: declaration!.getSourceFile().fileName,
        position: at.getStart(),
      });
      const inner = this.#checker.getNonNullableType(this.#checker.getTypeOfSymbol(property));
      for (const each of inner.isUnion() ? inner.types : [inner])
        this.#fields(`${name}.${property.name}`, each, depth - 1);
    }
  }

  /** Both forms of an operation have the declaration of its generator. */
  #key(property: ts.Symbol, owner: string): ts.Node | string {
    const declaration = property.declarations![0]!;
    const isMethod = ts.isMethodDeclaration(declaration) || ts.isMethodSignature(declaration);
    return isMethod && /^\S+ [^.]+(\.sync)?$/.test(owner) ? `${owner} ${property.name}` : declaration;
  }

  #isOurs(property: ts.Symbol): boolean {
    const declarations = property.declarations ?? [];
    if (declarations.length === 0) return false;
    return declarations.every(each => {
      const name = ts.getNameOfDeclaration(each);
      if (name !== undefined && ts.isPrivateIdentifier(name)) return false;
      if (ts.getCombinedModifierFlags(each) & HIDDEN || isInternal(each)) return false;
      return each.getSourceFile().fileName.startsWith(path.join(ROOT, 'dist'));
    });
  }
}

const HIDDEN = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;

const isInternal = (declaration: ts.Node): boolean =>
  ts.getJSDocTags(declaration).some(tag => tag.tagName.text === 'internal');

/** A constructor that users call: one that is written, and not kept for the library. */
const isPublic = (declaration: ts.Declaration | undefined): boolean =>
  declaration !== undefined && !(ts.getCombinedModifierFlags(declaration) & HIDDEN) && !isInternal(declaration);

function parametersOf(symbol: ts.Symbol): number {
  for (const each of symbol.declarations ?? [])
    if (ts.isClassDeclaration(each) || ts.isInterfaceDeclaration(each) || ts.isTypeAliasDeclaration(each))
      return each.typeParameters?.length ?? 0;
  return 0;
}
