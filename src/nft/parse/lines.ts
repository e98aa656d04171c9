import type { Family } from '../../nf_tables/family.ts';
import type { Dialect } from '../data/dialects.ts';
import { type ConstantValue, Shape } from '../shape.ts';
import type { Statement } from '../statements/registry.ts';
import { Parser, TextError } from './parser.ts';
import { deadStatement, grammarOf, parseRuleStatements } from './rule.ts';
import { Source } from './source.ts';
import { T } from './tokens.ts';

/*
 * The lines of a large chain have few forms: the same words and signs with other addresses and numbers between them. The second line of a form
 * shows what its constants become in the rule. Further lines are not parsed: their text is compared with the form, and their constants are
 * read. Their JSON is made when somebody asks for it, which only errors do.
 */

/** The chain that rules are in. */
export interface RulePlace {
  readonly family: unknown;
  readonly table: unknown;
  readonly chain: unknown;
}

/** A rule of a line that was not parsed. It has the fields of its JSON. */
export class LineRule {
  readonly place: RulePlace;
  readonly shape: Shape;
  /** The constants of the shape. */
  readonly values: readonly ConstantValue[];

  constructor(place: RulePlace, shape: Shape, values: readonly ConstantValue[]) {
    this.place = place;
    this.shape = shape;
    this.values = values;
  }

  get family(): unknown {
    return this.place.family;
  }
  get table(): unknown {
    return this.place.table;
  }
  get chain(): unknown {
    return this.place.chain;
  }
  get expr(): Statement[] {
    return this.shape.statements(this.values);
  }
}

/** Signs that make the meaning of a line depend on other lines, or that only the parser understands. */
const OTHER_SIGNS = /[$@#\\{};]/;
/** The tokens of a line: quoted texts, words, constants with the sign behind them, and everything else that begins with a digit. */
const TOKENS =
  /"[^"]*"|(?<word>[A-Za-z_][\w./-]*:?)|(?<address>[1-9]\d*\.\d+\.\d+\.\d+)(?=[ \t\n,/:-])|(?<number>[1-9]\d*)(?=[ \t\n,/-])|[\d.][\w.:/-]*/g;
/** Longer lines are parsed. */
const LONGEST_LINE = 1000;
/** No number of a rule has more digits. */
const MOST_DIGITS = 10;

/** A line without its constants. */
class Form {
  readonly family: Family;
  /** The text before the first constant, between them, and behind the last one. */
  readonly pieces: readonly string[];
  /** Of each constant: is it an address? Else it is a number. */
  readonly areAddresses: readonly boolean[];
  /** The offset behind the constant, or behind the line, that was read last. */
  #end = 0;

  constructor(family: Family, pieces: readonly string[], areAddresses: readonly boolean[]) {
    this.family = family;
    this.pieces = pieces;
    this.areAddresses = areAddresses;
  }

  /** The form of a line; undefined if it has no constants, or only the parser can read it. */
  static of(line: string, family: Family): Form | undefined {
    if (line.length > LONGEST_LINE || !line.endsWith('\n') || OTHER_SIGNS.test(line)) return undefined;
    const pieces: string[] = [];
    const areAddresses: boolean[] = [];
    let from = 0;
    for (const { index, groups } of line.matchAll(TOKENS)) {
      const { word, address, number } = groups!;
      // It may be the beginning of an IPv6 address, or of one of the link layer.
      if (word?.endsWith(':')) return undefined;
      const constant = address ?? number;
      if (constant === undefined) continue;
      pieces.push(line.slice(from, index));
      areAddresses.push(address !== undefined);
      from = index + constant.length;
    }
    if (pieces.length === 0) return undefined;
    pieces.push(line.slice(from));
    return new Form(family, pieces, areAddresses);
  }

  /** The line with these constants. */
  line(constants: readonly number[]): string {
    return this.pieces.map((piece, i) => piece + (i < constants.length ? this.textOf(i, constants[i]!) : '')).join('');
  }

  /** The text of a constant. */
  textOf(index: number, constant: number): string {
    if (!this.areAddresses[index]) return String(constant);
    return [constant >>> 24, (constant >>> 16) & 255, (constant >>> 8) & 255, constant & 255].join('.');
  }

  /** Reads the constants of the line that begins at `at`. Returns the offset behind it, or -1 if it has another form. */
  read(text: string, at: number, constants: number[]): number {
    const { pieces, areAddresses } = this;
    const count = areAddresses.length;
    this.#end = at;
    for (let i = 0; i < count; i++) {
      const piece = pieces[i]!;
      if (!text.startsWith(piece, this.#end)) return -1;
      this.#end += piece.length;
      const constant = areAddresses[i] ? this.#address(text) : this.#number(text);
      if (constant < 0) return -1;
      constants[i] = constant;
    }
    const last = pieces[count]!;
    return text.startsWith(last, this.#end) ? this.#end + last.length : -1;
  }

  #number(text: string): number {
    const start = this.#end;
    let at = start;
    let number = 0;
    for (;;) {
      const digit = text.charCodeAt(at) - ZERO;
      if (!(digit >= 0 && digit <= 9)) break;
      number = number * 10 + digit;
      at++;
    }
    this.#end = at;
    return at === start || at - start > MOST_DIGITS || text.charCodeAt(start) === ZERO ? -1 : number;
  }

  #address(text: string): number {
    let at = this.#end;
    let address = 0;
    for (let byte = 0; byte < 4; byte++) {
      if (byte > 0 && text.charCodeAt(at++) !== POINT) return -1;
      const start = at;
      let value = 0;
      for (;;) {
        const digit = text.charCodeAt(at) - ZERO;
        if (!(digit >= 0 && digit <= 9)) break;
        value = value * 10 + digit;
        if (value > 255) return -1;
        at++;
      }
      // A leading zero would be octal to some readers.
      if (at === start || (at > start + 1 && text.charCodeAt(start) === ZERO)) return -1;
      address = (address << 8) | value;
    }
    this.#end = at;
    return address >>> 0;
  }
}

const ZERO = 48;
const POINT = 46;

/** A form whose constants are known: the rule of each of its lines follows from them. */
class Line {
  readonly form: Form;
  readonly shape: Shape;
  /** The constants of one rule: those that the form does not have are the same in all. */
  readonly #values: readonly ConstantValue[];
  /** The index in the shape of each constant of the form. */
  readonly #order: readonly number[];
  /** The form of the line that came after the last one of this form. */
  next: Line | undefined;

  constructor(form: Form, shape: Shape, values: readonly ConstantValue[], order: readonly number[]) {
    this.form = form;
    this.shape = shape;
    this.#values = values;
    this.#order = order;
  }

  /** The constants of the shape, from those of a line; undefined if they make a rule of another shape. */
  valuesOf(constants: readonly number[]): ConstantValue[] | undefined {
    const values = this.#values.slice();
    for (let i = 0; i < this.#order.length; i++) values[this.#order[i]!] = constants[i]!;
    return this.shape.takes(values) ? values : undefined;
  }
}

/** Forms that are kept. */
const MOST_FORMS = 16;
/** After so many lines in a row that were parsed, only each of so many is remembered. */
const MANY_MISSES = 8;
/** A form is learnt so many times at most: each time with other constants that all its lines share. */
const MOST_LESSONS = 4;

/** The forms of the lines of a text. */
export class Lines {
  readonly #dialect: Dialect;
  /** The newest first. */
  readonly #lines: Line[] = [];
  #last: Line | undefined;
  /** Forms of lines that were parsed, and how often each was learnt. */
  readonly #forms: { readonly form: Form; lessons: number }[] = [];
  #misses = 0;
  readonly #constants: number[] = [];
  #values: ConstantValue[] | undefined;
  /** The offset behind the line that was read last. */
  end = 0;

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  /** Reads the line that begins at `at`; undefined if it must be parsed. */
  read(text: string, at: number, place: RulePlace, family: Family): LineRule | undefined {
    const line = this.#find(text, at, family) ?? this.#learnt(text, at, family);
    if (line === undefined) return undefined;
    this.#misses = 0;
    return new LineRule(place, line.shape, this.#values!);
  }

  /** Remembers a line that was parsed. */
  note(line: string, family: Family): void {
    if (this.#misses++ >= MANY_MISSES && this.#misses % MANY_MISSES !== 0) return;
    const form = Form.of(line, family);
    if (form === undefined) return;
    if (this.#forms.length >= MOST_FORMS) this.#forms.shift();
    this.#forms.push({ form, lessons: 0 });
  }

  #find(text: string, at: number, family: Family): Line | undefined {
    const expected = this.#last?.next;
    if (expected !== undefined && this.#fits(expected, text, at, family)) {
      this.#last = expected;
      return expected;
    }
    for (const line of this.#lines) {
      if (line === expected || !this.#fits(line, text, at, family)) continue;
      if (this.#last !== undefined) this.#last.next = line;
      this.#last = line;
      return line;
    }
    return undefined;
  }

  #fits(line: Line, text: string, at: number, family: Family): boolean {
    if (line.form.family !== family) return false;
    const end = line.form.read(text, at, this.#constants);
    if (end < 0) return false;
    this.#values = line.valuesOf(this.#constants);
    this.end = end;
    return this.#values !== undefined;
  }

  /** Learns the form of a line, if one like it was parsed before. */
  #learnt(text: string, at: number, family: Family): Line | undefined {
    const constants: number[] = [];
    const known = this.#forms.find(({ form }) => form.family === family && form.read(text, at, constants) >= 0);
    if (known === undefined || known.lessons++ >= MOST_LESSONS) return undefined;
    const line = this.#learn(known.form, constants.slice(0, known.form.areAddresses.length));
    if (line === undefined) {
      known.lessons = MOST_LESSONS;
      return undefined;
    }
    if (this.#lines.length >= MOST_FORMS) this.#lines.pop();
    this.#lines.unshift(line);
    return this.#find(text, at, family);
  }

  /** Parses the line again with one of its constants changed, to see which constant of the rule that is. */
  #learn(form: Form, constants: readonly number[]): Line | undefined {
    const statements = this.#parsed(form.line(constants), form.family);
    const shape = statements && Shape.of(statements);
    const values: ConstantValue[] = [];
    if (shape === undefined || !shape.read(statements!, values)) return undefined;
    const order: (number | undefined)[] = constants.map((constant, i) => {
      for (const other of form.areAddresses[i] ? otherAddresses(constant) : [constant + 1, constant - 1]) {
        const line = form.line(constants.map((each, j) => (j === i ? other : each)));
        const changed = this.#parsed(line, form.family);
        const index = changed && changedIndex(shape, values, changed, other);
        if (index !== undefined) return index;
      }
      return undefined;
    });
    if (order.every(index => index === undefined)) return undefined;
    return new Line(
      narrower(form, constants, order),
      shape,
      values,
      order.filter(index => index !== undefined),
    );
  }

  /** The statements of a line; undefined if it is no rule, or one of which they are not all. */
  #parsed(line: string, family: Family): Statement[] | undefined {
    const grammar = grammarOf(this.#dialect);
    try {
      const parser = new Parser(new Source(undefined, line), { dialect: this.#dialect, grammar, family });
      const { expr, comment } = parseRuleStatements(parser, true);
      if (!parser.accept(T.NEWLINE) || !parser.is(T.EOF)) return undefined;
      return comment === undefined && deadStatement(expr) === undefined ? expr : undefined;
    } catch (error) {
      if (error instanceof TextError) return undefined;
      throw error;
    }
  }
}

const otherAddresses = (address: number): number[] => [1, 1 << 8, 1 << 16, 1 << 24].map(bit => (address ^ bit) >>> 0);

/** The index of the constant that is another one than in `values`: exactly one must be, and it must have this value. */
function changedIndex(
  shape: Shape,
  values: readonly ConstantValue[],
  statements: readonly Statement[],
  other: number,
): number | undefined {
  const changed: ConstantValue[] = [];
  if (!shape.read(statements, changed)) return undefined;
  const isSame = (value: ConstantValue, i: number) => String(value) === String(changed[i]);
  const index = values.findIndex((value, i) => !isSame(value, i));
  const isOnly = values.every((value, i) => i === index || isSame(value, i));
  return isOnly && changed[index] === other ? index : undefined;
}

/** The form without the constants that have no place in the shape: they belong to its text. */
function narrower(form: Form, constants: readonly number[], order: readonly (number | undefined)[]): Form {
  const pieces: string[] = [];
  const areAddresses: boolean[] = [];
  let piece = '';
  for (const [i, constant] of constants.entries()) {
    piece += form.pieces[i]!;
    if (order[i] === undefined) {
      piece += form.textOf(i, constant);
      continue;
    }
    pieces.push(piece);
    areAddresses.push(form.areAddresses[i]!);
    piece = '';
  }
  return new Form(form.family, [...pieces, piece + form.pieces.at(-1)!], areAddresses);
}
