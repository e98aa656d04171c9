import type { Family } from '../../nf_tables/family.ts';
import type { Dialect } from '../data/dialects.ts';
import { KEYWORD_NAMES, scopeOf } from '../data/scopes.ts';
import type { Json, JsonObject } from '../json-object.ts';
import type { Places } from './places.ts';
import { Scanner } from './scanner.ts';
import { MOST_PROBLEMS, NftSyntaxError, type Problem, type Source, type Span } from './source.ts';
import { T, TOKEN_NAMES, type TokenKind } from './tokens.ts';

/** A value that a text has given a name: `define x = 22`. */
export interface Variable {
  readonly value: Json;
  /** Where the value stands. */
  readonly span: Span;
}

/** The names of a text's variables, as they are visible where the parser stands. */
export interface Variables {
  find(name: string): Variable | undefined;
  /** The name that is most like this one, for the error. */
  nearest?(name: string): string | undefined;
}

/** Words that are keywords in a part of the language only. */
export type Scope = ReadonlySet<string>;

/** Reads an expression, behind the word that begins it. */
export type ReadExpression = (p: Parser, word: string) => Json;
/** Reads a statement, behind the word that begins it. */
export type ReadStatement = (p: Parser, word: string) => JsonObject;

/** The parts of the language that contain each other. The files of the constructs call them through the parser. */
export interface Grammar {
  /** The words that are keywords everywhere. */
  readonly keywords: ReadonlySet<string>;
  /** The expressions, by the words that they begin with. */
  readonly expressions: ReadonlyMap<string, ReadExpression>;
  /** The left side of a match: concatenations and calculations of what the packet has. */
  expression(p: Parser): Json;
  /** The same without concatenations. */
  calculation(p: Parser): Json;
  /** The right side of a match: values, ranges, lists, sets. */
  constant(p: Parser): Json;
  /** Flags with commas between them, two at least. The first one may be read already. */
  flags(p: Parser, first?: Json, at?: number): Json;
  /** The value of a statement: a constant, an expression, or a map. */
  value(p: Parser): Json;
  /** The name of a chain. */
  chain(p: Parser): Json;
  /** The elements of a set in braces, the name of a set, or a variable. */
  mappings(p: Parser): Json;
  /** `@name`. */
  setName(p: Parser): string;
  /** A statement that an expression leads, whose first word was read already. */
  led(p: Parser, word: string): JsonObject;
  /** A statement with a state, if the current word begins one. Those of elements have no names, and begin with fewer words. */
  state(p: Parser, isOfElement?: boolean): JsonObject | undefined;
  /** The rules of a chain without a name, in braces. */
  rules(p: Parser): Json[];
}

export interface ParserOptions {
  readonly dialect: Dialect;
  readonly grammar: Grammar;
  /** The family of the table that the rules are in. */
  readonly family?: Family;
  readonly variables?: Variables;
  /** Notes where the parts stand. */
  readonly places?: Places;
}

/** An error of a text, on its way to the next place where the parser can go on. */
export class TextError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** After an error nft takes so many tokens before it reports the next one. */
const QUIET_TOKENS = 3;
/** Brackets and lists within each other. nft has no limit, and crashes at some depth. */
const MOST_DEPTH = 200;

/** The tokens of a text one by one, and the errors that were found in it. The current token is read and not yet taken. */
export class Parser extends Scanner {
  readonly dialect: Dialect;
  family: Family;
  /** The keywords that only count where the parser stands. */
  scope: Scope | undefined;
  variables: Variables | undefined;
  readonly places: Places | undefined;
  readonly problems: Problem[] = [];
  /** The offset behind the last token that was taken, and its text. */
  lastEnd = 0;
  lastSource: Source;
  /** Where the last token that was taken begins. */
  lastStart = 0;
  /** Where the token before that one begins. */
  before = 0;
  readonly grammar: Grammar;
  #held: Scope | undefined;
  #heldAt = -1;
  #quiet = 0;
  #depth = 0;

  constructor(source: Source, { dialect, grammar, family = 'ip', variables, places }: ParserOptions) {
    super(source);
    this.lastSource = source;
    this.dialect = dialect;
    this.grammar = grammar;
    this.family = family;
    this.variables = variables;
    this.places = places;
    this.scan();
  }

  /* Tokens. */

  /** Takes the current token. */
  next(): void {
    this.before = this.lastStart;
    this.lastStart = this.start;
    this.lastEnd = this.end;
    this.lastSource = this.source;
    if (this.#quiet > 0) this.#quiet--;
    this.scan();
  }

  /** Reads another text before the current token. */
  include(source: Source): void {
    this.enter(source, this.start);
    this.scan();
  }

  is(kind: TokenKind): boolean {
    return this.kind === kind;
  }

  accept(kind: TokenKind): boolean {
    if (this.kind !== kind) return false;
    this.next();
    return true;
  }

  /** @param others further candidates for the error, in nft's order */
  expect(kind: TokenKind, ...others: string[]): void {
    if (!this.accept(kind)) this.unexpected(TOKEN_NAMES[kind]!, ...others);
  }

  /** Is the current token this word? */
  isWord(word: string): boolean {
    return this.kind === T.WORD && this.text === word;
  }

  acceptWord(word: string): boolean {
    if (this.kind !== T.WORD || this.text !== word) return false;
    this.next();
    return true;
  }

  expectWord(word: string, ...others: string[]): void {
    if (!this.acceptWord(word)) this.unexpected(word, ...others);
  }

  /** Takes a word that a table has, and returns the table's entry. */
  acceptOf<V>(table: ReadonlyMap<string, V>): V | undefined {
    const entry = this.kind === T.WORD ? table.get(this.text) : undefined;
    if (entry !== undefined) this.next();
    return entry;
  }

  /** Is the current token a word that is a keyword where it stands? */
  isKeyword(): boolean {
    if (this.kind !== T.WORD || this.isAddress) return false;
    const { text } = this;
    if (this.grammar.keywords.has(text) || this.scope?.has(text) === true) return true;
    return this.#heldAt === this.start && this.#held!.has(text);
  }

  /** The current token was read before nft knew that the part with these keywords is at its end. */
  hold(scope: Scope): void {
    this.#held = scope;
    this.#heldAt = this.start;
  }

  /** Is the current token a bare word, as names are? */
  isString(): boolean {
    return this.kind === T.WORD && !this.isKeyword();
  }

  /** Takes a bare word. */
  name(...others: string[]): string {
    if (!this.isString()) this.unexpected('string', ...others);
    const { text } = this;
    this.next();
    return text;
  }

  /** Takes a word or a quoted text. */
  string(...others: string[]): string {
    const { text } = this;
    if (this.kind === T.QUOTED || this.kind === T.STAR_WORD || this.isString()) {
      this.next();
      return text;
    }
    return this.unexpected('string', 'quoted string', 'string with a trailing asterisk', ...others);
  }

  /** Takes a number. */
  number(...others: string[]): number | bigint {
    const { value } = this;
    if (this.kind !== T.NUMBER) this.unexpected('number', ...others);
    this.next();
    return value;
  }

  /** Takes a number up to 2^53. */
  whole(...others: string[]): number {
    return Number(this.number(...others));
  }

  /**
   * Runs a part of the language with keywords of its own. nft's parts do not inherit from each other. After an error the keywords stay: nft does not
   * find the end of the part any more.
   */
  within<R>(scope: Scope | undefined, work: () => R): R {
    const outer = this.scope;
    this.scope = scope;
    const result = work();
    this.scope = outer;
    return result;
  }

  /** Runs the part of the language between brackets. */
  nested<R>(work: () => R): R {
    if (++this.#depth > MOST_DEPTH)
      this.fail(`too many levels of nesting, ${MOST_DEPTH} at most`, this.start, this.end);
    try {
      return work();
    } finally {
      this.#depth--;
    }
  }

  /** Takes newlines, as inside of braces. */
  newlines(): void {
    while (this.kind === T.NEWLINE) this.next();
  }

  /** Is the current token a newline or a semicolon? */
  isSeparator(): boolean {
    return this.kind === T.NEWLINE || this.kind === T.SEMICOLON;
  }

  /** Takes a newline or a semicolon. */
  separator(...others: string[]): void {
    if (!this.isSeparator()) this.unexpected('newline', 'semicolon', ...others);
    this.next();
  }

  /** Takes all newlines and semicolons. */
  separators(): void {
    while (this.isSeparator()) this.next();
  }

  /* Errors. */

  /** nft's name of the current token. */
  tokenName(): string {
    if (this.kind !== T.WORD) return TOKEN_NAMES[this.kind]!;
    return this.isKeyword() ? (KEYWORD_NAMES.get(this.text) ?? this.text) : 'string';
  }

  /** @param candidates what could stand here, in nft's order. nft names up to four. */
  unexpected(...candidates: string[]): never {
    if (this.#heldAt === this.start) this.scope = this.#held;
    const expected = candidates.length > 0 && candidates.length <= 4 ? `, expecting ${candidates.join(' or ')}` : '';
    return this.fail(`syntax error, unexpected ${this.tokenName()}${expected}`, this.start, this.end, this.source);
  }

  /** Leaves out the current token after an error. If it begins a part of the language, nft takes the part for open from here on. */
  skip(): void {
    if (this.kind === T.WORD && this.isKeyword()) this.scope = scopeOf(this.text) ?? this.scope;
    this.scan();
  }

  /** The same in a part of the language with keywords of its own. */
  unexpectedIn(scope: Scope | undefined, ...candidates: string[]): never {
    this.scope = scope ?? this.scope;
    return this.unexpected(...candidates);
  }

  /** An error of a part that was read already. */
  fail(message: string, start: number, end = this.lastEnd, source = this.lastSource, others: Span[] = []): never {
    throw new TextError({ message, span: { source, start, end: Math.max(start, end) }, others });
  }

  failAt(message: string, span: Span): never {
    throw new TextError({ message, span });
  }

  /** Adds an error, and goes on. */
  report(problem: Problem): void {
    this.problems.push(problem);
    if (this.problems.length >= MOST_PROBLEMS) throw new NftSyntaxError(this.problems);
  }

  /** Reads an item of a list of lines. After an error it goes on behind the next newline or semicolon, as nft does. */
  recover<R>(work: () => R): R | undefined {
    const depth = this.#depth;
    try {
      return work();
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      this.#depth = depth;
      if (this.#quiet === 0) this.report(error.problem);
      this.#quiet = QUIET_TOKENS;
      while (!this.isSeparator() && this.kind !== T.EOF) this.skip();
      if (this.kind === T.EOF) return undefined;
      this.next();
      return undefined;
    }
  }

  /** Ends a text. @throws NftSyntaxError if it has errors */
  finish(): void {
    if (this.problems.length > 0) throw new NftSyntaxError(this.problems);
  }

  /* Places. */

  /** `object[key]` stands from `start` to the last token that was taken. */
  note(object: object, key: string | number, start: number): void {
    if (this.places === undefined) return;
    const { variable } = this;
    const span =
      variable !== undefined && variable.start === start && variable.end === this.lastEnd
        ? variable.span
        : { source: this.lastSource, start, end: Math.max(start, this.lastEnd) };
    this.places.set(object, key, span);
  }

  noteSpan(object: object, key: string | number, start: number, end: number): void {
    this.places?.set(object, key, { source: this.lastSource, start, end });
  }

  /* What one part of the grammar tells another. */

  /** The value before a `/` that begins no prefix length: a mask follows, whose first value may be read already. */
  mask: { value: Json; first?: Json; at?: number } | undefined;
  /** The first word of the next expression, which was taken already. */
  led: string | undefined;
  /** The elements of the current set are verdicts by keys. */
  takesVerdicts = false;
  /** A mask may stand here. */
  takesMask = false;
  /** A comma ends the value here. */
  isList = false;
  /** The last use of a variable. Its errors are shown where its value stands. */
  variable: { start: number; end: number; span: Span } | undefined;
}
