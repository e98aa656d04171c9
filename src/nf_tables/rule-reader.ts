import {
  AttributeTable,
  eachAttribute,
  type Field,
  HOST_IS_LITTLE_ENDIAN,
  type Source,
  type Type,
} from '../codec/index.ts';
import { readItem } from '../codec/unknown.ts';
import * as C from '../linux/nf_tables.ts';
import type { Message } from '../netlink/message.ts';
import { nfgenmsg } from '../netlink/nfnetlink.ts';
import { EXPRESSION, type Expression, tableOf } from './expression.ts';
import { LITERALS, type Literal } from './expression-literals.ts';
import type { RuleContext } from './expressions/xt.ts';
import type { Family } from './family.ts';
import { readObject } from './message.ts';
import { type RuleEntry, ruleEntryTable } from './rule.ts';
import { ruleUserdata } from './userdata.ts';
import type { XtLayouts } from './xt/layout.ts';

/** Rules that are read before any is taken as a pattern: a dump of a few gains nothing by one. */
const FEW = 8;
/** Patterns that are made without any use of them; each use allows for a quarter of another. */
const UNPROVEN = 16;
/** Patterns of one length. */
const MOST_OF_A_LENGTH = 8;

/**
 * Reads the rules of one dump. Most rules of a ruleset differ from one before them in a few values only: in an address, a port, a handle. So
 * a rule's message is compared with those that were read before. Where all bytes but those of values are the same, only the values that
 * differ are read. Any other message is read by the tables. Both give the same object.
 */
export class RuleReader {
  readonly #xt: XtLayouts | undefined;
  readonly #patterns = new Map<number, Pattern[]>();
  #last: Pattern | undefined;
  #read = 0;
  #allowance = UNPROVEN;

  /** @param xt the structures of xtables' matches and targets: rules have their bytes without them */
  constructor(xt: XtLayouts | undefined) {
    this.#xt = xt;
  }

  /** The rule in a message. */
  read(message: Message): RuleEntry {
    const { source, payload, end } = message;
    const size = end - payload;
    if (this.#last?.size === size) {
      const rule = this.#last.read(source, payload);
      if (rule !== undefined) {
        this.#allowance += 0.25;
        return rule;
      }
    }
    return this.#readByOther(source, payload, size) ?? this.#readWhole(message, size);
  }

  #readByOther(source: Source, payload: number, size: number): RuleEntry | undefined {
    const patterns = this.#patterns.get(size);
    if (patterns === undefined) return undefined;
    for (const pattern of patterns) {
      if (pattern === this.#last) continue;
      const rule = pattern.read(source, payload);
      if (rule === undefined) continue;
      this.#allowance += 0.25;
      this.#last = pattern;
      return rule;
    }
    return undefined;
  }

  #readWhole(message: Message, size: number): RuleEntry {
    const rule = readObject('newrule', message, this.#xt);
    if (++this.#read <= FEW || this.#allowance < 1) return rule;
    this.#allowance--;
    const pattern = Pattern.of(message, rule, this.#xt);
    if (pattern === undefined) return rule;
    const others = this.#patterns.get(size)?.filter(each => !each.isSpoilt) ?? [];
    this.#patterns.set(size, [pattern, ...others.slice(0, MOST_OF_A_LENGTH - 1)]);
    this.#last = pattern;
    return rule;
  }
}

/** What a word of four bytes belongs to, where it is no value: it must be the same, or it is read each time. */
const FIXED = -1;
const READ_ALWAYS = -2;

/** A value that may differ from rule to rule: where its bytes stand in the message, and its type. */
interface Place {
  readonly start: number;
  readonly end: number;
  readonly type: Type<unknown>;
}

/** An expression: the literal that makes it, and its first value; or where its bytes stand. */
interface Part {
  readonly literal: Literal | undefined;
  readonly at: number;
  readonly start: number;
  readonly end: number;
}

/** Makes the entry of a rule. The comment stands behind the other values of the rule itself. */
type EntryLiteral = (family: Family, values: readonly unknown[], expressions: Expression[]) => object;

/** Rules with other fields, or in another order, are no pattern. */
const ENTRIES: ReadonlyMap<string, EntryLiteral> = /* @__PURE__ */ new Map<string, EntryLiteral>([
  [
    'family table chain handle expressions',
    (family, v, expressions) => ({ family, table: v[0], chain: v[1], handle: v[2], expressions }),
  ],
  [
    'family table chain handle previousHandle expressions',
    (family, v, expressions) => ({ family, table: v[0], chain: v[1], handle: v[2], previousHandle: v[3], expressions }),
  ],
  [
    'family table chain handle expressions comment',
    (family, v, expressions) => ({ family, table: v[0], chain: v[1], handle: v[2], expressions, comment: v[3] }),
  ],
  [
    'family table chain handle previousHandle expressions comment',
    (family, v, expressions) => ({
      family,
      table: v[0],
      chain: v[1],
      handle: v[2],
      previousHandle: v[3],
      expressions,
      comment: v[4],
    }),
  ],
]);

/** User data that is a comment and nothing else. */
const ONLY_COMMENT: Type<unknown> = {
  kind: 'comment',
  write() {},
  read(source, start, end, context) {
    const userdata = ruleUserdata.read(source, start, end, context);
    if (userdata?.comment === undefined) return undefined;
    for (const key in userdata) if (key !== 'comment') return undefined;
    return userdata.comment;
  },
};

/** A rule that was read, as the pattern of those that differ from it in values. */
class Pattern {
  /** Bytes of the message behind the netlink header. */
  readonly size: number;
  /** A value could not be read: its bytes are noted, and it is not. */
  isSpoilt = false;
  /** The message that was read last, four bytes each. */
  readonly #words: Int32Array;
  /** For each word the number of its value, or FIXED or READ_ALWAYS. */
  readonly #owners: Int16Array;
  readonly #places: readonly Place[];
  /** The values of the message that was read last. */
  readonly #values: unknown[];
  /** The numbers of those that are objects: each rule needs its own. */
  readonly #objects: readonly number[];
  readonly #parts: readonly Part[];
  readonly #empty: readonly null[];
  readonly #family: Family;
  readonly #entry: EntryLiteral;
  readonly #context: RuleContext;

  private constructor(
    { source, payload, end }: Message,
    family: Family,
    entry: EntryLiteral,
    { places, values, parts }: Plan,
    context: RuleContext,
  ) {
    this.size = end - payload;
    this.#family = family;
    this.#entry = entry;
    this.#places = places;
    this.#values = values;
    this.#parts = parts;
    this.#context = context;
    this.#empty = parts.map(() => null);
    this.#words = Int32Array.from({ length: this.size / 4 }, (_, i) =>
      source.view.getInt32(payload + 4 * i, HOST_IS_LITTLE_ENDIAN),
    );
    this.#owners = new Int16Array(this.#words.length).fill(FIXED);
    this.#objects = [...values.keys()].filter(i => typeof values[i] === 'object');
    for (const [i, { start, end: behind }] of places.entries())
      this.#owners.fill(typeof values[i] === 'object' ? READ_ALWAYS : i, start / 4, Math.ceil(behind / 4));
    for (const { literal, start, end: behind } of parts)
      if (literal === undefined) this.#owners.fill(READ_ALWAYS, start / 4, Math.ceil(behind / 4));
  }

  /** Undefined if the rule has something that no literal makes. */
  static of(message: Message, rule: RuleEntry, xt: XtLayouts | undefined): Pattern | undefined {
    const { source, payload, end } = message;
    const entry = ENTRIES.get(Object.keys(rule).join(' '));
    if ((end - payload) % 4 !== 0 || entry === undefined) return undefined;
    const context: RuleContext = { family: source.view.getUint8(payload), xt };
    const plan = planOf(message, rule);
    return plan && new Pattern(message, rule.family, entry, plan, context);
  }

  /** The rule in a message of this size; undefined if it does not follow the pattern. */
  read(source: Source, payload: number): RuleEntry | undefined {
    if (this.isSpoilt) return undefined;
    const { view } = source;
    const words = this.#words;
    const owners = this.#owners;
    for (let i = 0, at = payload; i < words.length; i++, at += 4) {
      const word = view.getInt32(at, HOST_IS_LITTLE_ENDIAN);
      if (word === words[i]) continue;
      const owner = owners[i]!;
      if (owner === FIXED) return undefined;
      words[i] = word;
      if (owner !== READ_ALWAYS && !this.#readValue(owner, source, payload)) return undefined;
    }
    for (let i = 0; i < this.#objects.length; i++)
      if (!this.#readValue(this.#objects[i]!, source, payload)) return undefined;
    const expressions = this.#empty.slice() as unknown[] as Expression[];
    for (let i = 0; i < this.#parts.length; i++) {
      const { literal, at, start, end } = this.#parts[i]!;
      const expression =
        literal === undefined
          ? readItem(EXPRESSION, source, payload + start, payload + end, this.#context)
          : literal(this.#values, at);
      if (expression === undefined) return undefined;
      expressions[i] = expression as Expression;
    }
    return this.#entry(this.#family, this.#values, expressions) as RuleEntry;
  }

  #readValue(number: number, source: Source, payload: number): boolean {
    const { type, start, end } = this.#places[number]!;
    const value = readItem(type, source, payload + start, payload + end, this.#context);
    // Another kind of value: an object is made for each rule, and anything else is kept.
    if (value === undefined || (typeof value === 'object') !== (typeof this.#values[number] === 'object')) {
      this.isSpoilt = true;
      return false;
    }
    this.#values[number] = value;
    return true;
  }
}

interface Plan {
  readonly places: Place[];
  readonly values: unknown[];
  readonly parts: Part[];
}

/** Where the values of a rule stand in its message; undefined if they stand otherwise than in the object. */
function planOf({ source, payload, end }: Message, rule: RuleEntry): Plan | undefined {
  const plan: Plan = { places: [], values: [], parts: [] };
  const { expressions, comment, ...values } = rule;
  const { family: _, ...own } = values;
  const nests: Place[] = [];
  const isOwn = eachField(ruleEntryTable, source, payload + nfgenmsg.size, end, (field, start, stop) => {
    const place = { start: start - payload, end: stop - payload, type: field.type };
    if (field.key === 'expressions') nests.push(place);
    else if (field.need === 'inline') plan.places.push({ ...place, type: ONLY_COMMENT });
    else if (Object.hasOwn(own, field.key)) plan.places.push(place);
    else return false;
    return true;
  });
  plan.values.push(...Object.values(own));
  if (comment !== undefined) plan.values.push(comment);
  const nest = nests[0];
  if (!isOwn || nest === undefined || plan.values.length !== plan.places.length) return undefined;
  eachAttribute(source, payload + nest.start, payload + nest.end, (_type, start, stop) => {
    const expression = expressions[plan.parts.length];
    if (expression === undefined) return;
    plan.parts.push(
      partOf(expression, source, start, stop, payload, plan) ?? {
        literal: undefined,
        at: 0,
        start: start - payload,
        end: stop - payload,
      },
    );
  });
  return plan.parts.length === expressions.length ? plan : undefined;
}

/** An expression with a literal, whose values are added to the plan; undefined for any other. */
function partOf(
  expression: Expression,
  source: Source,
  start: number,
  end: number,
  payload: number,
  { places, values }: Plan,
): Part | undefined {
  const name = Object.keys(expression)[0]!;
  const fields: Record<string, unknown> = Reflect.get(expression, name);
  const literal = LITERALS.get([name, ...Object.keys(fields)].join(' '));
  const table = tableOf(name);
  // A class of its own reads more than the rows say.
  if (literal === undefined || table?.constructor !== AttributeTable) return undefined;
  const keys: string[] = [];
  const found: Place[] = [];
  let isWhole = true;
  eachAttribute(source, start, end, (type, first, behind) => {
    if (type !== C.NFTA_EXPR_DATA) return;
    isWhole &&= eachField(table, source, first, behind, (field, from, to) => {
      keys.push(field.key);
      found.push({ start: from - payload, end: to - payload, type: field.type });
      return field.need !== 'inline' && field.type.contextual !== true;
    });
  });
  if (!isWhole || keys.join(' ') !== Object.keys(fields).join(' ')) return undefined;
  const at = values.length;
  values.push(...Object.values(fields));
  places.push(...found);
  return { literal, at, start: start - payload, end: end - payload };
}

/** Gives the row of each attribute and the bounds of its payload to `visit`. Returns false if one has no row, or `visit` has returned false. */
function eachField(
  table: AttributeTable<unknown>,
  source: Source,
  start: number,
  end: number,
  visit: (field: Field, start: number, end: number) => boolean,
): boolean {
  let all = true;
  eachAttribute(source, start, end, (type, first, behind) => {
    const field = table.fields.find(({ number }) => number === type);
    all &&= field !== undefined && visit(field, first, behind);
  });
  return all;
}
