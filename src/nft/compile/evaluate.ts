import { fromHex } from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import type { Family } from '../../nf_tables/family.ts';
import { bitmask, prefixMask } from '../bits.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import { describeType } from '../data/descriptions.ts';
import { type Dialect, dialectOf } from '../data/dialects.ts';
import { ct } from '../expressions/ct.ts';
import type { LoadExpression, Loaded } from '../expressions/expression.ts';
import { meta } from '../expressions/meta.ts';
import { expressionOf } from '../expressions/registry.ts';
import type { Header } from '../headers.ts';
import { Names } from '../names.ts';
import { isConstant, isFlags, isNumeric, isText, prefix, setReference, value } from '../nodes.ts';
import { ProtocolContext } from '../protocol-context.ts';
import {
  type List,
  type Node,
  type Prefix,
  type Range,
  refuse,
  refuseWith,
  type SetInfo,
  type Value,
} from '../tree.ts';
import { evaluateBinary } from './binary.ts';
import { evaluateConcatenation } from './concatenation.ts';
import type { CompileContext } from './context.ts';
import { evaluateExthdr, evaluatePayload } from './header.ts';
import type { Evaluator, Expectation, Step } from './ir.ts';
import { fromBytes, toBytes } from './number.ts';
import { parseValue, type WordContext } from './parse-value.ts';
import { evaluateElement, evaluateMap, evaluateMapping, evaluateSet } from './set.ts';
import { setInfo } from './wire-set.ts';

/** The index of `lo` is 1 in every namespace. */
const LOOPBACK = 1;

/** Evaluates a rule as nft does. It finds the type, length and byte order of each term, and adds the matches that a term depends on. */
export class RuleEvaluator implements Evaluator, WordContext {
  readonly dialect: Dialect;
  /** Sets made for this rule. */
  readonly sets: SetInfo[] = [];
  nextSetId: number;
  readonly #context: CompileContext;
  #names: Names | undefined;
  #found: Map<string, SetInfo> | undefined;

  steps: Step[] = [];
  /** The index of the current statement. */
  statement = 0;
  isPayloadStatement = false;
  /** The number of bits that the statement writes, 0 if it writes none. A narrower value that is shifted is widened to them. */
  statementBits = 0;

  type: Datatype | undefined = undefined;
  order: ByteOrder = undefined;
  bits = 0;
  maximum = 0;
  key: Node | undefined = undefined;

  /** The set whose elements are evaluated. */
  set: SetInfo | undefined = undefined;
  /** How many lists and sets the current term is nested in. */
  depth = 0;
  /** The tunnel whose inner headers the statement matches. */
  tunnel: Header | undefined = undefined;

  readonly #outer: ProtocolContext<Family>;
  #inner: ProtocolContext<Family> | undefined;

  constructor(family: Family, context: CompileContext) {
    this.#context = context;
    this.#names = context.names;
    this.dialect = dialectOf(context.version);
    this.nextSetId = context.firstSetId ?? 1;
    this.#outer = new ProtocolContext(family, this.dialect);
  }

  names(): Names {
    this.#names ??= new Names();
    return this.#names;
  }

  interfaceIndex(name: string): number | undefined {
    return name === 'lo' ? LOOPBACK : this.#context.interfaces?.(name);
  }

  findSet(name: string): SetInfo | undefined {
    const { sets } = this.#context;
    if (sets === undefined) return undefined;
    let info = this.#found?.get(name);
    if (info === undefined) {
      const set = typeof sets === 'function' ? sets(name) : sets.find(each => each.name === name);
      if (set === undefined) return undefined;
      info = setInfo(set);
      this.#found ??= new Map();
      this.#found.set(name, info);
    }
    return info;
  }

  /** Begins the next statement. */
  begin(statement: number): void {
    this.statement = statement;
    this.statementBits = 0;
    this.tunnel = undefined;
    this.expectNothing();
  }

  get scope(): ProtocolContext<Family> {
    if (this.tunnel === undefined) return this.#outer;
    this.#inner ??= new ProtocolContext('bridge', this.dialect);
    return this.#inner;
  }

  expect(type: Datatype | undefined, order: ByteOrder, bits: number, maximum = 0): void {
    this.type = type;
    this.order = order;
    this.bits = bits;
    this.maximum = maximum;
    this.key = undefined;
  }

  expectNothing(): void {
    this.expect(undefined, undefined, 0);
  }

  expectType(type: Datatype, bits: number): void {
    this.expect(type, type.order, bits);
  }

  expectation(): Expectation {
    const { type, order, bits, maximum, key } = this;
    return { type, order, bits, maximum, key };
  }

  /** Expects a value of the same type as this term, for the other side of a comparison. */
  expectLike(term: Node, maximum = 0): void {
    this.expect(term.type, term.order, term.bits, maximum);
  }

  evaluate(term: Node): Node {
    switch (term.kind) {
      case 'word':
        if (this.type === undefined || this.type.kind === 'invalid')
          throw refuse(
            term.place,
            'something whose type is known',
            term.word,
            this.type === undefined ? 'No symbol type information' : "Can't parse symbolic invalid expressions",
          );
        return this.evaluate(parseValue(term.word, this.type, term.place, this));
      case 'value':
        return this.#value(term);
      case 'payload':
        return evaluatePayload(this, term);
      case 'exthdr':
        return evaluateExthdr(this, term);
      case 'meta':
        return this.#loaded(term, meta);
      case 'ct':
        return this.#loaded(term, ct);
      case 'load':
        return this.#loaded(term, expressionOf(term));
      case 'named-set': {
        const set = this.findSet(term.name);
        if (set === undefined)
          throw typeError(
            term.place?.path ?? [],
            'the name of a set in the context',
            `@${term.name}`,
            'ERR_UNKNOWN_SET',
          );
        return this.evaluate(setReference(set, set.key, undefined, term.place));
      }
      case 'set-reference':
        this.expectType(term.set.key.type, term.set.key.bits);
        this.key = term.set.key;
        return term;
      case 'prefix':
        return this.#prefix(term);
      case 'range':
        return this.#range(term);
      case 'binary':
        return evaluateBinary(this, term);
      case 'unary':
        return term;
      case 'concat':
        return evaluateConcatenation(this, term);
      case 'list':
        return this.#list(term);
      case 'set':
        return evaluateSet(this, term);
      case 'element':
        return evaluateElement(this, term);
      case 'mapping':
        return evaluateMapping(this, term);
      case 'map':
        return evaluateMap(this, term);
      case 'catch-all':
        if (this.set !== undefined) term.bits = this.set.key.bits;
        return term;
      case 'verdict':
        this.expectLike(term);
        return term;
      default:
        throw refuse(term.place, 'an expression', term.kind);
    }
  }

  #value(term: Value): Node {
    if (isText(term.type)) return this.#text(term);
    if (!isNumeric(term.type)) throw refuse(term.place, 'a number or a text', term.value);
    if (this.maximum > 0 && term.value > BigInt(this.maximum))
      throw refuse(term.place, `0 to ${this.maximum}`, term.value, outOfRange(term.value, this.maximum));
    const bits = this.dialect.widensByStatement ? Math.max(this.statementBits, this.bits) : this.bits;
    if (term.value > bitmask(bits))
      throw refuse(term.place, `at most ${bits} bits`, term.value, outOfRange(term.value, bitmask(bits)));
    term.order = this.order;
    term.bits = bits;
    return term;
  }

  /** Evaluates a text. A '*' at its end stands for any text that begins with it. */
  #text(term: Value): Node {
    const hex = toBytes(term.value, 'host', term.bits / 8).replace(/(00)+$/, '');
    if (hex === '') throw refuse(term.place, 'text that is not empty', '', 'Empty string is not allowed');
    const room = this.bits > 0 ? this.bits : term.bits;
    if (term.bits > room)
      throw refuse(
        term.place,
        `text of at most ${room / 8 - 1} bytes`,
        fromHexText(hex),
        `String exceeds maximum length of ${room / 8}`,
      );
    const type = this.type ?? term.type;
    const filled = (bytes: string) =>
      value(room, fromBytes(bytes.padEnd(room / 4, '0'), 'host'), type, 'host', term.place);
    if (!hex.endsWith(WILDCARD)) return filled(hex);
    const beginning = hex.slice(0, -2);
    if (beginning === '')
      throw refuse(term.place, 'more than a wildcard', '*', 'All-wildcard strings are not supported');
    if (beginning.endsWith(BACKSLASH)) return filled(beginning.slice(0, -2) + WILDCARD);
    const base = filled(beginning);
    return { ...prefix(base, beginning.length * 4, room, term.place), type, order: 'host' };
  }

  #loaded<L extends Loaded>(node: L, { evaluate, maximum }: LoadExpression<L>): Node {
    if (evaluate !== undefined) evaluate(node, this);
    this.expectLike(node, maximum === undefined ? 0 : maximum(node));
    return node;
  }

  #prefix(term: Prefix): Node {
    let base = this.evaluate(term.base);
    if (!isConstant(base)) throw refuse(term.place, 'a prefix of something constant', 'a load');
    if (base.kind !== 'value') throw refuse(term.place, 'a prefix of an address or a number', base.kind);
    if (term.length > base.bits)
      throw refuse(
        term.place,
        `a length of at most ${base.bits} bits`,
        term.length,
        `Prefix length ${term.length} is invalid for type of ${base.bits} bits width`,
      );
    const mask = isText(base.type) ? bitmask(term.length) : prefixMask(base.bits, term.length);
    base = { ...base, value: base.value & mask };
    term.base = base;
    term.type = base.type;
    term.order = base.order;
    term.bits = base.bits;
    return term;
  }

  /** Evaluates both ends. They may be in the wrong order. */
  evaluateEnds(term: Range): void {
    const expected = this.expectation();
    term.left = this.#end(term.left, term);
    Object.assign(this, expected);
    term.right = this.#end(term.right, term);
  }

  #end(end: Node, term: Range): Value {
    const found = this.evaluate(end);
    if (found.kind !== 'value' || !isNumeric(found.type))
      throw refuseWith(
        term.place,
        end.place ?? term.place,
        'a range of numbers or addresses',
        found.kind,
        `Range expression is undefined for ${describeType(found.type)} types`,
      );
    return found;
  }

  #range(term: Range): Node {
    this.evaluateEnds(term);
    const left = term.left as Value;
    const right = term.right as Value;
    if (left.value > right.value)
      throw refuse(
        term.place,
        'a range from the lower to the higher value',
        [left.value, right.value],
        'Range has zero or negative size',
      );
    if (left.value === right.value && this.dialect.singlesAreNoRanges) return left;
    term.type = left.type;
    term.order = left.order;
    term.bits = left.bits;
    return term;
  }

  #list(term: List): Node {
    let all = 0n;
    const { type, bits } = this;
    for (const item of term.items) {
      const found = this.nested(() => this.evaluate(item));
      if (found.kind !== 'value' || !isFlags(found.type))
        throw refuse(
          item.place ?? term.place,
          'one value: only flags are listed here; for one of several values, .in([80, 443])',
          term.items.map(each => (each.kind === 'word' ? each.word : each.kind)),
          `Basetype of type ${describeType(found.type)} is not bitmask`,
        );
      all |= found.value;
    }
    return value(bits, all, type ?? TYPES.invalid, 'host', term.place);
  }

  nested<T>(work: () => T): T {
    this.depth++;
    try {
      return work();
    } finally {
      this.depth--;
    }
  }
}

const outOfRange = (value: bigint, maximum: number | bigint): string =>
  `Value ${value} exceeds valid range 0-${maximum}`;

const WILDCARD = '2a';
const BACKSLASH = '5c';

function fromHexText(hex: string): string {
  return new TextDecoder().decode(fromHex(hex));
}
