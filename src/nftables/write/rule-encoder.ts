import { attributes } from '../../codec/index.ts';
import { typeError, within } from '../../errors.ts';
import * as C from '../../linux/nf_tables.ts';
import { acceptedExpression } from '../../nf_tables/accepted.ts';
import { EXPRESSION, type Expression } from '../../nf_tables/expression.ts';
import type { RuleContext } from '../../nf_tables/expressions/xt.ts';
import { compatOf } from '../../nf_tables/expressions/xt-compat.ts';
import { RULE_TOLD, ruleBesides, rulePlace } from '../../nf_tables/rule.ts';
import type { XtLayouts } from '../../nf_tables/xt/layout.ts';
import type { ConstantValue } from '../../nft/shape.ts';
import type { MessageList } from './encoded.ts';
import type { RuleTemplate } from './rule-shapes.ts';

type Fields = Record<string, unknown>;

/** One expression as it was written last at its place in a rule. */
interface Memo {
  readonly name: string;
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
  /** The field whose bytes differ from rule to rule, as hex, and where they stand in the rule's message; -1 is none. */
  readonly dataKey: number;
  readonly dataAt: number;
}

/** The beginning of a rule's message: its headers and its place. */
interface Head {
  readonly family: number;
  readonly flags: number;
  readonly table: unknown;
  readonly chain: unknown;
  readonly bytes: Uint8Array;
}

/** A rule as it was written last: its place, and its message up to the end of its expressions. */
interface Template extends Head {
  readonly memos: readonly Memo[];
}

/** The fields that this encoder writes itself. */
const BESIDES = attributes('NFTA_RULE', ruleBesides, {
  header: ['family', 'table', 'chain', 'expressions', 'statements', RULE_TOLD],
});
const PLACE = attributes('NFTA_RULE', rulePlace).partial();

/**
 * Writes rules that are made in a loop: most of one is as in the rule before it. A rule that says the same as that one, but for the bytes of its
 * comparisons and values, is a copy of it with those bytes. Everything else is written by the tables. The result is the same.
 */
export class RuleEncoder {
  #template: Template | undefined;
  /** Where the rule that is looked at differs from the template, and what it has there. */
  readonly #places: number[] = [];
  readonly #data: string[] = [];
  readonly #xt: XtLayouts | undefined;

  /** @param xt the structures of xtables' matches and targets: only their bytes can be written without them */
  constructor(xt: XtLayouts | undefined) {
    this.#xt = xt;
  }

  /** Begins the rule's message and writes all of it; `end` of the list is the caller's. */
  write(list: MessageList, rule: Fields, family: number, flags: number): number {
    const start = list.writer.length;
    const { expressions } = rule;
    if (expressions !== undefined && !Array.isArray(expressions))
      throw typeError(['expressions'], 'an array', expressions);
    const template = this.#template;
    const repeated =
      template !== undefined &&
      template.table === rule.table &&
      template.chain === rule.chain &&
      template.family === family &&
      template.flags === flags &&
      this.#repeat(list, expressions as Expression[] | undefined, template);
    this.#misses = repeated ? 0 : this.#misses + 1;
    if (!repeated) this.#anew(list, rule, family, flags);
    if (rule.compat === undefined && expressions !== undefined && this.#extensions) {
      const compat = compatOf(expressions, family);
      if (compat !== undefined) BESIDES.write(list.writer, { compat }, { family });
    }
    writeBesides(list, rule, family);
    return start;
  }

  /** The same for a rule in statements whose expressions are written by a template; what it has besides is the caller's. */
  writeFrom(
    list: MessageList,
    table: unknown,
    chain: unknown,
    family: number,
    flags: number,
    template: RuleTemplate,
    values: readonly ConstantValue[],
  ): number {
    const { writer } = list;
    const start = writer.length;
    const head = this.#head;
    if (head?.table === table && head?.chain === chain && head?.family === family && head?.flags === flags) {
      writer.raw(head.bytes);
      list.renumber(start);
    } else {
      list.begin('newrule', flags, family);
      PLACE.write(writer, { table, chain } as never, { family });
      this.#head = { family, flags, table, chain, bytes: writer.bytes.slice(start, writer.length) };
    }
    template.write(writer, values);
    return start;
  }

  #head: Head | undefined;

  /** Rules in a row that were no copy of the one before. A template is made of some of them only: it costs as much as the rule. */
  #misses = 0;

  /** The rule that was written last has expressions of xtables. */
  #extensions = false;

  #anew(list: MessageList, rule: Fields, family: number, flags: number): void {
    const { writer } = list;
    const { table, chain } = rule;
    this.#template = undefined;
    this.#extensions = false;
    const start = list.begin('newrule', flags, family);
    PLACE.write(writer, { table, chain } as never, { family });
    const expressions = rule.expressions as Expression[] | undefined;
    if (expressions === undefined) return;
    const context: RuleContext = { family, xt: this.#xt };
    const memos: (Memo | undefined)[] = [];
    const remembers = this.#misses < MANY_MISSES || this.#misses % MANY_MISSES === 0;
    const nest = writer.beginNest(C.NFTA_RULE_EXPRESSIONS);
    for (let i = 0; i < expressions.length; i++) {
      const expression = expressions[i]!;
      try {
        const item = writer.beginNest(C.NFTA_LIST_ELEM);
        EXPRESSION.write(writer, acceptedExpression(expression), context);
        writer.endAttribute(item);
      } catch (error) {
        throw within(error, ['expressions', i]);
      }
      if (remembers) memos.push(memoOf(expression, writer.length - start));
      for (const name in expression) if (isExtension(name)) this.#extensions = true;
    }
    try {
      writer.endAttribute(nest);
    } catch (error) {
      throw within(error, ['expressions']);
    }
    if (!remembers || memos.includes(undefined)) return;
    const bytes = writer.bytes.slice(start, writer.length);
    this.#template = { family, flags, table, chain, memos: memos as Memo[], bytes };
  }

  /** False, and nothing is written, where the rule is another one. */
  #repeat(list: MessageList, expressions: readonly Expression[] | undefined, { memos, bytes }: Template): boolean {
    if (expressions?.length !== memos.length) return false;
    let differences = 0;
    for (let i = 0; i < memos.length; i++) {
      const memo = memos[i]!;
      const data = difference(expressions[i]!, memo);
      if (data === OTHER) return false;
      if (data === undefined) continue;
      this.#places[differences] = memo.dataAt;
      this.#data[differences++] = data;
    }
    const { writer } = list;
    const start = writer.length;
    writer.raw(bytes);
    const end = writer.length;
    for (let i = 0; i < differences; i++) {
      writer.length = start + this.#places[i]!;
      if (!writer.hex(this.#data[i]!)) {
        writer.length = start;
        return false;
      }
    }
    writer.length = end;
    list.renumber(start);
    return true;
  }
}

/** Writes what a rule has besides its place and its expressions. Most rules have nothing. */
export function writeBesides(list: MessageList, rule: Fields, family: number): void {
  for (const key in rule) {
    if (key === 'family' || key === 'table' || key === 'chain' || key === 'expressions' || key === 'statements')
      continue;
    BESIDES.write(list.writer, rule as never, { family });
    return;
  }
}

const MANY_MISSES = 8;

const isExtension = (name: string): boolean => name === 'target' || name === 'match';

/** It is another expression. Not hexadecimal, so it is nobody's data. */
const OTHER = '-';

/** The data in which an expression differs from the memo; undefined where it is the same, OTHER where it is another. */
function difference(expression: Expression, { name, keys, values, dataKey }: Memo): string | undefined {
  let inner: Fields | undefined;
  for (const key in expression) {
    if (key !== name) return OTHER;
    inner = (expression as unknown as Record<string, Fields>)[key];
  }
  if (typeof inner !== 'object' || inner === null) return OTHER;
  let count = 0;
  let data: string | undefined;
  for (const key in inner) {
    if (key !== keys[count]) return OTHER;
    const value = inner[key];
    const before = values[count];
    if (value !== before) {
      if (count === dataKey && typeof value === 'string' && value.length === (before as string).length) data = value;
      else if (!sameList(value, before) && !sameObject(value, before)) return OTHER;
    }
    count++;
  }
  return count === keys.length ? data : OTHER;
}

function sameList(value: unknown, other: unknown): boolean {
  if (!Array.isArray(value) || !Array.isArray(other) || value.length !== other.length) return false;
  for (let i = 0; i < value.length; i++) if (value[i] !== other[i]) return false;
  return true;
}

/** The same plain values and lists: a verdict, the structure of a match. */
function sameObject(value: unknown, other: unknown): boolean {
  if (typeof value !== 'object' || value === null || typeof other !== 'object' || other === null) return false;
  if (Array.isArray(value) || Array.isArray(other)) return false;
  let count = 0;
  for (const key in value) {
    const [a, b] = [(value as Fields)[key], (other as Fields)[key]];
    if (a !== b && !sameList(a, b)) return false;
    count++;
  }
  return count === Object.keys(other).length;
}

/** Undefined where an expression holds more than plain values: it is written anew each time. `end` is where it ends in its message. */
function memoOf(expression: Expression, end: number): Memo | undefined {
  const name = Object.keys(expression)[0]!;
  const inner = (expression as unknown as Record<string, Fields>)[name];
  if (typeof inner !== 'object' || inner === null) return undefined;
  const keys = Object.keys(inner);
  const values = keys.map(key => inner[key]);
  for (const [i, value] of values.entries()) {
    if (isPlainList(value)) values[i] = [...value];
    else if (isPlainObject(value)) values[i] = copyOf(value);
    else if (!isPlain(value)) return undefined;
  }
  // The data comes last in both, but for padding.
  const dataKey = name === 'cmp' || name === 'immediate' ? keys.indexOf('data') : -1;
  if (dataKey < 0 || typeof values[dataKey] !== 'string') return { name, keys, values, dataKey: -1, dataAt: -1 };
  return { name, keys, values, dataKey, dataAt: end - (((values[dataKey] as string).length / 2 + 3) & ~3) };
}

const isPlain = (value: unknown): boolean => typeof value !== 'object' && typeof value !== 'function';
const isPlainList = (value: unknown): value is unknown[] => Array.isArray(value) && value.every(isPlain);
const isPlainObject = (value: unknown): value is Fields =>
  typeof value === 'object' &&
  value !== null &&
  Object.getPrototypeOf(value) === Object.prototype &&
  Object.values(value).every(each => isPlain(each) || isPlainList(each));
const copyOf = (value: Fields): Fields =>
  Object.fromEntries(Object.entries(value).map(([key, each]) => [key, Array.isArray(each) ? [...each] : each]));
