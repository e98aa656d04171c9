import { initializer } from '../parse/expression.ts';
import type { LineRule, Lines } from '../parse/lines.ts';
import { type Parser, TextError, type Variable } from '../parse/parser.ts';
import { Source, type Span } from '../parse/source.ts';
import { T } from '../parse/tokens.ts';
import type { Scopes } from './scopes.ts';

/** An object of nft's JSON while it is being made. */
export type Fields = Record<string, unknown>;
/** A command of nft's JSON: `{ add: { table: { ... } } }`. */
export type Entry = Record<string, Record<string, Fields | LineRule | null>>;

/** A command, and where it stands. */
export interface Placed {
  readonly entry: Entry;
  readonly span: Span;
}

/** Finds the files of an `include`. */
export type Include = (pattern: string) => readonly { name: string; text: string }[];

/** The text ended inside of a block, or behind an error. nft reads no further. */
export class Abandoned extends Error {}

const DEEPEST_INCLUDE = 16;
/** Files that one text may include, those of its included files counted. nft has no limit. */
const MOST_INCLUDES = 4096;
const WILDCARDS = /[*?[]/;

/** What reads the lines of a text and of its blocks: errors, definitions and included files are the same in all of them. */
export class Reader {
  readonly parser: Parser;
  readonly scopes: Scopes;
  /** The forms of lines that need not be parsed. */
  readonly lines: Lines | undefined;
  readonly #include: Include | undefined;
  readonly #entries: Entry[] = [];
  #included = 0;

  constructor(parser: Parser, scopes: Scopes, include: Include | undefined, lines?: Lines) {
    this.parser = parser;
    this.scopes = scopes;
    this.lines = lines;
    this.#include = include;
  }

  /** The commands so far. */
  get entries(): Entry[] {
    return this.#entries;
  }

  /** Adds a command, which stands from `span` on. */
  add(entry: Entry, span: Span): void {
    this.parser.places?.set(this.#entries, this.#entries.length, span);
    this.#entries.push(entry);
  }

  /** Where a command stands that began at `start`, if it ends with the last token. */
  spanFrom(start: number): Span {
    const { lastSource: source, lastEnd: end } = this.parser;
    return { source, start, end: Math.max(start, end) };
  }

  /** Reads a line. After an error it goes on behind the next newline or semicolon, in the same block. */
  line(work: () => void): void {
    const { parser } = this;
    try {
      work();
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      parser.report(error.problem);
      while (!parser.isSeparator() && !parser.is(T.EOF)) parser.skip();
      if (parser.is(T.EOF)) throw new Abandoned();
      parser.next();
    }
  }

  /**
   * Reads a block, from its `{` to its `}`. Within another block a separator stands behind the `}`. If it does not, the block goes on behind the next
   * separator, as nft has it.
   */
  block(item: () => void, isInner = false): void {
    const { parser } = this;
    parser.expect(T.LBRACE);
    let isOpen = true;
    while (isOpen) {
      parser.separators();
      this.line(() => {
        if (parser.accept(T.RBRACE)) {
          if (isInner) parser.separator();
          isOpen = false;
        } else if (!this.definition()) {
          item();
        }
      });
    }
  }

  /** Reads a block with a scope of its own for definitions. */
  scoped(item: () => void, isInner = false): void {
    this.scopes.open();
    try {
      this.block(item, isInner);
    } finally {
      this.scopes.close();
    }
  }

  /** Reads `include`, `define`, `redefine` or `undefine` with the separator behind it; false if it is none of them. */
  definition(): boolean {
    const { parser } = this;
    const { start } = parser;
    if (parser.acceptWord('include')) this.#includes(start);
    else if (parser.acceptWord('define')) this.#defines(false);
    else if (parser.acceptWord('redefine')) this.#defines(true);
    else if (parser.acceptWord('undefine')) {
      const name = parser.name();
      parser.separator();
      this.scopes.delete(name);
    } else return false;
    return true;
  }

  #defines(again: boolean): void {
    const { parser, scopes } = this;
    const { start } = parser;
    const name = parser.name();
    const at = this.spanFrom(start);
    parser.expect(T.ASSIGN);
    const variable = this.#value();
    parser.separator();
    if (!again && scopes.find(name) !== undefined) parser.failAt(`redefinition of symbol '${name}'`, at);
    scopes.set(name, variable);
  }

  #value(): Variable {
    const { start } = this.parser;
    const value = initializer(this.parser);
    return { value, span: this.spanFrom(start) };
  }

  #includes(start: number): void {
    const { parser } = this;
    if (!parser.is(T.QUOTED)) parser.unexpected('quoted string');
    const pattern = parser.text;
    parser.next();
    parser.separator();
    const from = this.spanFrom(start);
    const files = this.#include?.(pattern) ?? [];
    if (files.length === 0 && !WILDCARDS.test(pattern)) parser.failAt(`File not found: ${pattern}`, from);
    if (depthOf(from.source) >= DEEPEST_INCLUDE)
      parser.failAt(`Include nested too deeply, max ${DEEPEST_INCLUDE} levels`, from);
    this.#included += files.length;
    if (this.#included > MOST_INCLUDES) parser.failAt(`too many files included, ${MOST_INCLUDES} at most`, from);
    for (const { name, text } of files.toReversed()) parser.include(new Source(name, text, from));
  }
}

/** How many files are open: 1 is the text itself. */
function depthOf(source: Source): number {
  let depth = 1;
  for (let at = source.includedFrom; at !== undefined; at = at.source.includedFrom) depth++;
  return depth;
}
