import { printable, type TextPlace } from '../../errors.ts';

/* A text of nft's language with its name, places in it, and the error that shows them. */

/** A text. Lines are only counted for errors. */
export class Source {
  /** The name that errors show: a file's name, as it was opened. Undefined for text that has no places of its own, as variables. */
  readonly name: string | undefined;
  readonly text: string;
  /** The `include` that brought this text. */
  readonly includedFrom: Span | undefined;
  #lines: number[] | undefined;

  constructor(name: string | undefined, text: string, includedFrom?: Span) {
    this.name = name;
    this.text = text;
    this.includedFrom = includedFrom;
  }

  /** The offsets at which the lines begin. */
  get #starts(): readonly number[] {
    if (this.#lines === undefined) {
      this.#lines = [0];
      for (let at = this.text.indexOf('\n'); at !== -1; at = this.text.indexOf('\n', at + 1)) this.#lines.push(at + 1);
    }
    return this.#lines;
  }

  /** Line and column of an offset, both from 1. Columns are bytes of UTF-8; a tab is one. */
  position(offset: number): { line: number; column: number } {
    const starts = this.#starts;
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= offset) low = middle;
      else high = middle;
    }
    const before = this.text.slice(starts[low]!, offset);
    return { line: low + 1, column: Buffer.byteLength(before) + 1 };
  }

  /** The text of a line without its newline. For a line after the last one it is the last line that has text. */
  line(number: number): string {
    const starts = this.#starts;
    const index = Math.min(number, starts.length) - 1;
    const start = starts[index]!;
    if (start === this.text.length && index > 0) return this.line(index);
    const end = starts[index + 1] === undefined ? this.text.length : starts[index + 1]! - 1;
    return this.text.slice(start, end);
  }
}

/** A part of a text. */
export interface Span {
  readonly source: Source;
  readonly start: number;
  /** The offset behind the last character. */
  readonly end: number;
}

/** One error of a text. */
export interface Problem {
  readonly message: string;
  readonly span: Span | undefined;
  /** Other parts that take part in the error: the other operand, for example. */
  readonly others?: readonly Span[];
}

/** The place of a text that was included: where its `include` stands. */
export interface IncludePlace {
  /** The name of the text: a file, or '<cmdline>'. */
  source: string;
  /** The line, counted from 1. */
  line: number;
  /** The column where the place begins, counted from 1. */
  column: number;
  /** The column where the place ends. */
  endColumn: number;
}

/** An error of a text, as nft reports it. */
export interface SyntaxProblem {
  /** nft's words: "syntax error, unexpected string, expecting newline or semicolon". */
  message: string;
  /** The name of the text or file. */
  source: string;
  /** From 1. Undefined if the error has no place in the text. */
  line?: number;
  /** The first byte, from 1. A tab counts as one. */
  column?: number;
  /** The last byte. */
  endColumn?: number;
  /** The includes that led to the file, the nearest first. */
  includedFrom?: IncludePlace[];
}

/** nft's limit: it shows so many errors. */
export const MOST_PROBLEMS = 10;
/** Bytes of a line that are shown. */
const SHOWN_BYTES = 1023;
const SYNTAX_ERROR = Symbol.for('netsteer.NftSyntaxError');

/**
 * A text that is not right in nft's language, or that nft would refuse for what it says. The message shows the lines with carets.
 * @example
 * try {
 *   parseRule('tcp dport foo accept', { family: 'ip' });
 * } catch (error) {
 *   if (error instanceof NftSyntaxError) console.error(error.errors[0]); // { message, source, line, column, endColumn }
 * }
 */
export class NftSyntaxError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && SYNTAX_ERROR in value;
  }
  /** The name of the class. */
  override readonly name = 'NftSyntaxError';
  /** The code of the error, for programs. */
  readonly code = 'ERR_NFT_SYNTAX';
  /** All errors, in nft's order, at most ten. */
  readonly errors: readonly SyntaxProblem[];

  constructor(problems: readonly Problem[], options?: { cause?: unknown }) {
    const kept = problems.slice(0, MOST_PROBLEMS);
    super(kept.map(shown).join(''), options);
    this.errors = kept.map(problemOf);
    Object.defineProperty(this, SYNTAX_ERROR, { value: true });
  }
}

/** nft's name of a place that is unknown. */
const NOWHERE = 'internal';

function problemOf({ message, span }: Problem): SyntaxProblem {
  if (span === undefined) return { message, source: NOWHERE };
  const { name } = span.source;
  if (name === undefined) return { message, source: '' };
  const includedFrom = includesOf(span.source).map(each => ({ source: each.source.name ?? '', ...columnsOf(each) }));
  const place = { message, source: name, ...columnsOf(span) };
  return includedFrom.length === 0 ? place : { ...place, includedFrom };
}

function columnsOf({ source, start, end }: Span): { line: number; column: number; endColumn: number } {
  const { line, column } = source.position(start);
  const width = Buffer.byteLength(source.text.slice(start, end));
  return { line, column, endColumn: column + Math.max(width, 1) - 1 };
}

function includesOf(source: Source): Span[] {
  const spans: Span[] = [];
  for (let at = source.includedFrom; at !== undefined; at = at.source.includedFrom) spans.push(at);
  return spans;
}

/** A place in a text, for an error of the kernel. `message` is what nft says of it. */
export function textPlace(span: Span, message: string): TextPlace {
  const place = columnsOf(span);
  const text = lineText(span.source, place.line);
  const marks = new Map<number, string>();
  for (let i = place.column; i <= place.endColumn && i <= SHOWN_BYTES; i++) marks.set(i, '^');
  const source = span.source.name ?? '';
  const where = `${source}:${place.line}:${place.column}-${place.endColumn}:`;
  return {
    source,
    ...place,
    excerpt: `${includesText(span.source)}${where} Error: ${message}\n${text}\n${carets(text, marks)}`,
  };
}

/** One error as nft prints it, with the line and the caret line. */
function shown(problem: Problem): string {
  const { message, span, others = [] } = problem;
  if (span === undefined) return `${NOWHERE}:0:0-0: Error: ${printable(message)}\n`;
  const { source } = span;
  const { line, column, endColumn } = columnsOf(span);
  const text = lineText(source, line);
  const marks = new Map<number, string>();
  const mark = (from: number, to: number, sign: string): void => {
    for (let i = from; i <= to && i <= SHOWN_BYTES; i++) marks.set(i, sign);
  };
  for (const other of others) {
    const place = columnsOf(other);
    if (other.source === source && place.line === line) mark(place.column, place.endColumn, '~');
  }
  mark(column, endColumn, '^');
  const where = source.name === undefined ? '' : `${printable(source.name)}:${line}:${column}-${endColumn}: `;
  return `${includesText(source)}${where}Error: ${printable(message)}\n${text}\n${carets(text, marks)}\n`;
}

/** Letters that move a terminal's cursor, turn its direction or are not seen. The line shows another in their place. */
const UNSEEN = /(?!\t)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

function lineText(source: Source, line: number): string {
  const text = source.line(line).replace(UNSEEN, '?');
  if (Buffer.byteLength(text) <= SHOWN_BYTES) return text;
  return Buffer.from(text).subarray(0, SHOWN_BYTES).toString();
}

function includesText(source: Source): string {
  return includesOf(source)
    .map((span, i) => {
      const { line, column, endColumn } = columnsOf(span);
      const words = i === 0 ? 'In file included from' : '                 from';
      return `${words} ${printable(span.source.name ?? '')}:${line}:${column}-${endColumn}:\n`;
    })
    .join('');
}

/** The line under a text: tabs stay, so that the carets stand below the right letters. */
function carets(text: string, marks: ReadonlyMap<number, string>): string {
  const last = Math.max(0, ...marks.keys());
  const bytes = Buffer.from(text);
  let line = '';
  for (let i = 1; i <= last; i++) line += marks.get(i) ?? (bytes[i - 1] === TAB ? '\t' : ' ');
  return line;
}

const TAB = 9;
