import { fromHex } from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import type { Family } from '../../nf_tables/family.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import { type Dialect, dialectOf } from '../data/dialects.ts';
import { Names } from '../names.ts';
import { evaluateBinary } from './binary.ts';
import { evaluateConcatenation } from './concatenation.ts';
import type { CompileContext } from './context.ts';
import { evaluateExthdr, evaluatePayload } from './header.ts';
import type { Evaluator, Expectation, Step } from './ir.ts';
import { fromBytes, toBytes } from './number.ts';
import { parseValue, type WordContext } from './parse-value.ts';
import { ProtocolContext } from './protocol-context.ts';
import { evaluateElement, evaluateMap, evaluateMapping, evaluateSet } from './set.ts';
import {
  bitmask,
  type Ct,
  isConstant,
  isFlags,
  isNumeric,
  isText,
  type List,
  type Load,
  type Meta,
  NETWORK,
  type Prefix,
  prefixMask,
  type Range,
  refuse,
  type SetInfo,
  type Term,
  TRANSPORT,
  type Value,
  value,
} from './term.ts';
import { setInfo } from './wire-set.ts';

/** Always the index of `lo`. */
const LOOPBACK = 1;

/** nft's evaluation: types, lengths and byte orders of all terms, and the matches that a term depends on. */
export class RuleEvaluator implements Evaluator, WordContext {
  readonly dialect: Dialect;
  /** Sets made for this rule. */
  readonly sets: SetInfo[] = [];
  nextSetId: number;
  readonly #context: CompileContext;
  #names: Names | undefined;
  #found: Map<string, SetInfo> | undefined;

  steps: Step[] = [];
  /** The statement that is worked on. */
  statement = 0;
  isPayloadStatement = false;
  /** Bits that the statement writes, where that gives room for shifts. */
  statementBits = 0;

  type: Datatype | undefined = undefined;
  order: ByteOrder = undefined;
  bits = 0;
  maximum = 0;
  key: Term | undefined = undefined;

  /** The set whose elements are evaluated. */
  set: SetInfo | undefined = undefined;
  /** How many lists and sets we are in. */
  depth = 0;
  /** The tunnel whose inner headers are looked at. */
  tunnel: string | undefined = undefined;

  readonly #outer: ProtocolContext;
  #inner: ProtocolContext | undefined;

  constructor(family: Family, context: CompileContext) {
    this.#context = context;
    this.#names = context.names;
    this.dialect = dialectOf(context.version);
    this.nextSetId = context.firstSetId ?? 1;
    this.#outer = new ProtocolContext(family);
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

  /** Goes on with another statement. */
  begin(statement: number): void {
    this.statement = statement;
    this.statementBits = 0;
    this.tunnel = undefined;
    this.expectNothing();
  }

  get scope(): ProtocolContext {
    if (this.tunnel === undefined) return this.#outer;
    this.#inner ??= new ProtocolContext('bridge');
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

  /** What is looked at decides about what it is compared with. */
  expectLike(term: Term, maximum = 0): void {
    this.expect(term.type, term.order, term.bits, maximum);
  }

  evaluate(term: Term): Term {
    switch (term.kind) {
      case 'word':
        if (this.type === undefined || this.type.kind === 'invalid')
          throw refuse(term.place, 'something whose type is known', term.word);
        return this.evaluate(parseValue(term.word, this.type, term.place, this));
      case 'value':
        return this.#value(term);
      case 'payload':
        return evaluatePayload(this, term);
      case 'exthdr':
        return evaluateExthdr(this, term);
      case 'meta':
        return this.#meta(term);
      case 'ct':
        return this.#ct(term);
      case 'load':
        return this.#load(term);
      case 'named-set': {
        const set = this.findSet(term.name);
        if (set === undefined)
          throw typeError(
            term.place?.path ?? [],
            'the name of a set in the context',
            `@${term.name}`,
            'ERR_UNKNOWN_SET',
          );
        const { type, order, bits } = set.key;
        return this.evaluate({ kind: 'set-reference', place: term.place, type, order, bits, set });
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
      case 'conversion':
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
    }
  }

  #value(term: Value): Term {
    if (isText(term.type)) return this.#text(term);
    if (!isNumeric(term.type)) throw refuse(term.place, 'a number or a text', term.value);
    if (this.maximum > 0 && term.value > BigInt(this.maximum))
      throw refuse(term.place, `0 to ${this.maximum}`, term.value);
    const bits = this.dialect.widensByStatement ? Math.max(this.statementBits, this.bits) : this.bits;
    if (term.value > bitmask(bits)) throw refuse(term.place, `at most ${bits} bits`, term.value);
    term.order = this.order;
    term.bits = bits;
    return term;
  }

  /** A text, or with '*' at its end whatever begins so. */
  #text(term: Value): Term {
    const hex = toBytes(term.value, 'host', term.bits / 8).replace(/(00)+$/, '');
    if (hex === '') throw refuse(term.place, 'text that is not empty', '');
    const room = this.bits > 0 ? this.bits : term.bits;
    if (term.bits > room) throw refuse(term.place, `text of at most ${room / 8 - 1} bytes`, fromHexText(hex));
    const type = this.type ?? term.type;
    const filled = (bytes: string) =>
      value(term.place, type, 'host', room, fromBytes(bytes.padEnd(room / 4, '0'), 'host'));
    if (!hex.endsWith(WILDCARD)) return filled(hex);
    const beginning = hex.slice(0, -2);
    if (beginning === '') throw refuse(term.place, 'more than a wildcard', '*');
    if (beginning.endsWith(BACKSLASH)) return filled(beginning.slice(0, -2) + WILDCARD);
    const base = filled(beginning);
    return { kind: 'prefix', place: term.place, type, order: 'host', bits: room, base, length: beginning.length * 4 };
  }

  #meta(term: Meta): Term {
    this.expectLike(term, term.key === 'day' ? 6 : 0);
    return term;
  }

  #ct(term: Ct): Term {
    const base = this.scope.at(NETWORK);
    if (term.key === 'saddr' || term.key === 'daddr') {
      const family = base === 'ip' || base === 'ip6' ? base : undefined;
      if (family === undefined)
        throw refuse(term.place, `ip or ip6 ${term.key}, for the rule's family does not tell`, term.key);
      term.type = family === 'ip' ? TYPES.ipv4_addr : TYPES.ipv6_addr;
      term.bits = term.type.bits;
      term.family = family;
    } else if ((term.key.startsWith('ip ') && base === 'ip6') || (term.key.startsWith('ip6 ') && base === 'ip')) {
      throw refuse(term.place, `the address family of the match before it (${base})`, term.key);
    } else if ((term.key === 'proto-src' || term.key === 'proto-dst') && this.scope.at(TRANSPORT) !== undefined) {
      term.type = TYPES.inet_service;
    }
    this.expectLike(term);
    return term;
  }

  #load(term: Load): Term {
    if (term.name === 'rt' && term.key.startsWith('nexthop')) {
      const base = this.scope.at(NETWORK);
      if (term.key === 'nexthop4' && base === 'ip6') {
        term.key = 'nexthop6';
        term.instruction = { key: 'nexthop6' };
        term.type = TYPES.ipv6_addr;
      } else if (term.key === 'nexthop4' && base === 'ip') {
        term.type = TYPES.ipv4_addr;
      }
      if (term.type.kind === 'invalid') throw refuse(term.place, 'a family: ip or ip6', 'nexthop');
      term.bits = term.type.bits;
    }
    if (term.name === 'xfrm' && !['ip', 'ip6', 'inet'].includes(this.scope.family))
      throw refuse(term.place, 'a rule of family ip, ip6 or inet', this.scope.family);
    if (term.name === 'fib' && term.type.kind === 'boolean') term.bits = this.dialect.fibBooleanBits;
    if (term.name === 'numgen' || term.name === 'hash') {
      // A number fits whatever else is 32 bits long: an address, a mark.
      if (this.type !== undefined && this.bits === 32 && isNumeric(this.type) && !isFlags(this.type)) {
        term.type = this.type;
        term.bits = 32;
      }
      if (term.argument !== undefined) {
        this.expectNothing();
        term.argument = this.evaluate(term.argument);
      }
    }
    this.expectLike(term, term.maximum ?? 0);
    return term;
  }

  #prefix(term: Prefix): Term {
    let base = this.evaluate(term.base);
    if (!isConstant(base)) throw refuse(term.place, 'a prefix of something constant', 'a load');
    if (base.kind !== 'value') throw refuse(term.place, 'a prefix of an address or a number', base.kind);
    if (term.length > base.bits) throw refuse(term.place, `a length of at most ${base.bits} bits`, term.length);
    const mask = isText(base.type) ? bitmask(term.length) : prefixMask(base.bits, term.length);
    base = { ...base, value: base.value & mask };
    term.base = base;
    term.type = base.type;
    term.order = base.order;
    term.bits = base.bits;
    return term;
  }

  /** Both ends, without a look at which is lower. */
  evaluateEnds(term: Range): void {
    const expected = this.expectation();
    term.left = this.#end(term.left, term);
    Object.assign(this, expected);
    term.right = this.#end(term.right, term);
  }

  #end(end: Term, term: Range): Value {
    const found = this.evaluate(end);
    if (found.kind !== 'value' || !isNumeric(found.type))
      throw refuse(term.place, 'a range of numbers or addresses', found.kind);
    return found;
  }

  #range(term: Range): Term {
    this.evaluateEnds(term);
    const left = term.left as Value;
    const right = term.right as Value;
    if (left.value > right.value)
      throw refuse(term.place, 'a range from the lower to the higher value', [left.value, right.value]);
    if (left.value === right.value && this.dialect.singlesAreNoRanges) return left;
    term.type = left.type;
    term.order = left.order;
    term.bits = left.bits;
    return term;
  }

  #list(term: List): Term {
    let all = 0n;
    const { type, bits } = this;
    for (const item of term.items) {
      const found = this.nested(() => this.evaluate(item));
      if (found.kind !== 'value' || !isFlags(found.type)) throw refuse(term.place, 'a list of flags', found.kind);
      all |= found.value;
    }
    return value(term.place, type ?? TYPES.invalid, 'host', bits, all);
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

const WILDCARD = '2a';
const BACKSLASH = '5c';

function fromHexText(hex: string): string {
  return new TextDecoder().decode(fromHex(hex));
}
