import type { Json, JsonObject } from '../json-object.ts';
import { attachments, copyNotes } from './element-options.ts';
import type { Parser } from './parser.ts';
import { T, type TokenKind } from './tokens.ts';

/* The expressions of nft's language: calculations, concatenations, ranges, lists, sets and maps. What they are made of is in expressions/. */

/** Calculations: the operator in nft's JSON and how tightly it binds. */
const OPERATORS: ReadonlyMap<TokenKind, { readonly op: string; readonly binding: number }> = /* @__PURE__ */ new Map([
  [T.OR, { op: '|', binding: 1 }],
  [T.XOR, { op: '^', binding: 2 }],
  [T.AND, { op: '&', binding: 3 }],
  [T.LSHIFT, { op: '<<', binding: 4 }],
  [T.RSHIFT, { op: '>>', binding: 4 }],
]);

/** Keywords that are values, too: names of protocols, of ICMP types and of flags. */
const VALUES: ReadonlySet<string> = /* @__PURE__ */ new Set(
  (
    'ether ip ip6 vlan arp dnat snat ecn reset original reply label last tcp udp udplite esp ah icmp igmp icmpv6 gre comp dccp sctp redirect ' +
    'destroy'
  ).split(' '),
);

const BOOLEANS: ReadonlyMap<string, boolean> = /* @__PURE__ */ new Map([
  ['exists', true],
  ['missing', false],
]);

type Read = (p: Parser) => Json;

/** A word, a number or a text, whose meaning depends on the other side; or the value of a variable. */
function symbol(p: Parser): Json | undefined {
  const { kind } = p;
  if (kind === T.NUMBER) {
    const { value } = p;
    p.next();
    return value;
  }
  if (kind === T.QUOTED || kind === T.STAR_WORD || (kind === T.WORD && (p.isAddress || p.isString()))) {
    const { text } = p;
    p.next();
    return text;
  }
  return kind === T.DOLLAR ? variable(p) : undefined;
}

/** `$name`. */
export function variable(p: Parser): Json {
  const { start } = p;
  p.next();
  const at = p.start;
  const name = p.name();
  const found = p.variables?.find(name);
  if (found === undefined) {
    const near = p.variables?.nearest?.(name);
    const hint = near === undefined ? '' : `; did you mean identifier ‘${near}’?`;
    return p.fail(`unknown identifier '${name}'${hint}`, at);
  }
  p.variable = { start, end: p.lastEnd, span: found.span };
  return found.value;
}

/** The value of a part of the packet, or a symbol. */
function primary(p: Parser): Json {
  if (p.led !== undefined) {
    const word = p.led;
    p.led = undefined;
    return p.grammar.expressions.get(word)!(p, word);
  }
  if (p.kind === T.WORD && !p.isAddress) {
    const word = p.text;
    const read = p.grammar.expressions.get(word);
    if (read !== undefined && p.isKeyword()) {
      p.next();
      return read(p, word);
    }
  }
  const found = symbol(p);
  if (found !== undefined) return found;
  if (p.kind === T.LPAREN) return inBrackets(p, calculation);
  if (p.kind === T.AT) {
    p.next();
    return p.grammar.expressions.get('@')!(p, '@');
  }
  return p.unexpected();
}

function inBrackets(p: Parser, read: Read): Json {
  p.next();
  const inner = p.nested(() => read(p));
  p.expect(T.RPAREN);
  return inner;
}

/** One value of a right side. */
function constantPrimary(p: Parser): Json {
  const found = symbol(p);
  if (found !== undefined) return found;
  if (p.kind === T.WORD) {
    const word = p.text;
    const boolean = BOOLEANS.get(word);
    if (boolean !== undefined || VALUES.has(word)) {
      p.next();
      return boolean ?? word;
    }
  }
  if (p.kind === T.LPAREN) return inBrackets(p, constantCalculation);
  return p.unexpected();
}

/** A value of a statement: constants and what the packet has. */
function valuePrimary(p: Parser): Json {
  if (p.kind === T.WORD && !p.isAddress) {
    if (!p.dialect.hasNewerExpressions && isNoValue(p)) p.unexpected();
    const boolean = BOOLEANS.get(p.text);
    if (boolean !== undefined) {
      p.next();
      return boolean;
    }
    if (VALUES.has(p.text) && isLoneWord(p)) {
      const word = p.text;
      p.next();
      return word;
    }
  }
  if (p.kind === T.LPAREN) return inBrackets(p, valueCalculation);
  return primary(p);
}

/** Expressions that nft 1.0.6 takes on the left side of a match only. */
const NO_VALUES: ReadonlySet<string> = /* @__PURE__ */ new Set('fib frag exthdr hbh rt0 rt2 srh mh dst'.split(' '));

const isNoValue = (p: Parser): boolean => NO_VALUES.has(p.text) && p.isKeyword();

/** Is the keyword a value here, and not the beginning of an expression? */
function isLoneWord(p: Parser): boolean {
  return !p.grammar.expressions.has(p.text);
}

function calculate(p: Parser, first: Read, rest: Read, binding = 0): Json {
  const { start } = p;
  let left = first(p);
  /** The operands of the last operator, which take those of the same operator, too: nft 1.1.6 has one list of all. */
  let operands: Json[] | undefined;
  let last: string | undefined;
  for (;;) {
    const found = OPERATORS.get(p.kind);
    if (found === undefined || found.binding <= binding) return left;
    const { op } = found;
    const end = p.lastEnd;
    p.next();
    const from = p.start;
    const right = calculate(p, rest, rest, found.binding);
    if (operands !== undefined && last === op && p.dialect.flattensOperands && op !== '<<' && op !== '>>') {
      operands.push(right);
    } else {
      operands = [left, right];
      p.noteSpan(operands, 0, start, end);
      left = { [op]: operands };
    }
    last = op;
    p.note(operands, operands.length - 1, from);
    p.note(left as JsonObject, op, start);
  }
}

const isObject = (json: Json | undefined): json is JsonObject =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

export function calculation(p: Parser): Json {
  return calculate(p, primary, p.dialect.hasNewerExpressions ? leftOperand : constantPrimary);
}

/** An operand behind the first one of a left side: a constant, or since 1.1.6 what the packet has. */
function leftOperand(p: Parser): Json {
  if (p.kind === T.WORD && VALUES.has(p.text) && !p.grammar.expressions.has(p.text)) return constantPrimary(p);
  if (p.kind === T.LPAREN) return inBrackets(p, constantOrExpression);
  return primary(p);
}

const constantOrExpression = (p: Parser): Json => calculate(p, leftOperand, leftOperand);
const constantCalculation = (p: Parser): Json => calculate(p, constantPrimary, constantPrimary);
const valueCalculation = (p: Parser): Json => calculate(p, valuePrimary, valuePrimary);

/** Parts with points between them: one part alone, or a concatenation. */
function concatenated(p: Parser, read: Read): Json {
  let { start } = p;
  const first = read(p);
  if (p.kind !== T.DOT) return first;
  const parts: Json[] = [];
  // A variable may be a concatenation itself.
  const add = (part: Json) => {
    const inner = isObject(part) ? part.concat : undefined;
    if (Array.isArray(inner)) parts.push(...inner);
    else parts.push(part);
    p.note(parts, parts.length - 1, start);
  };
  add(first);
  while (p.accept(T.DOT)) {
    start = p.start;
    add(read(p));
  }
  return { concat: parts };
}

export function expression(p: Parser): Json {
  return concatenated(p, calculation);
}

/** A value with its prefix length, or a range of two values. */
function wide(p: Parser, read: Read): Json {
  const { start } = p;
  const from = read(p);
  if (p.kind === T.DASH) {
    const end = p.lastEnd;
    p.next();
    const second = p.start;
    const range = [from, read(p)];
    p.noteSpan(range, 0, start, end);
    p.note(range, 1, second);
    return { range };
  }
  if (p.kind !== T.SLASH) return from;
  const end = p.lastEnd;
  p.next();
  if (!p.is(T.NUMBER)) {
    if (p.isList) p.unexpected('number');
    // `tcp flags syn / syn,ack`: the mask of a comparison of flags.
    p.mask = { value: from };
    return from;
  }
  const { value } = p;
  const at = p.start;
  p.next();
  if (p.is(T.COMMA) && p.takesMask && !p.isList) {
    p.mask = { value: from, first: value, at };
    return from;
  }
  const prefix = { addr: from, len: Number(value) };
  p.noteSpan(prefix, 'addr', start, end);
  p.noteSpan(prefix, 'len', at, p.lastEnd);
  return { prefix };
}

const constantPart = (p: Parser): Json => wide(p, constantCalculation);
const valuePart = (p: Parser): Json => wide(p, valueCalculation);

/** Values with points between them. */
const constants = (p: Parser): Json => concatenated(p, constantPart);

/** Values with commas between them: flags. */
export function listed(p: Parser, first: Json, start: number): Json {
  const list = [first];
  p.note(list, 0, start);
  while (p.accept(T.COMMA)) {
    const at = p.start;
    list.push(constantCalculation(p));
    p.note(list, list.length - 1, at);
  }
  return list;
}

/** The mask of a comparison of flags. */
export function flags(p: Parser, given?: Json, at = p.start): Json {
  const first = given ?? constantCalculation(p);
  if (p.kind !== T.COMMA) return p.unexpected('comma');
  return listed(p, first, at);
}

/** The right side of a match. */
export function constant(p: Parser): Json {
  if (p.kind === T.LBRACE) return set(p);
  if (p.kind === T.AT) return setName(p);
  const { start } = p;
  const first = constants(p);
  return p.kind === T.COMMA && p.mask === undefined ? listed(p, first, start) : first;
}

/** `@name`. */
export function setName(p: Parser): string {
  p.expect(T.AT, "'$'");
  if (p.kind === T.DOLLAR) {
    const name = variable(p);
    return `@${String(name)}`;
  }
  return `@${p.name()}`;
}

/** The value of a statement. */
export function value(p: Parser): Json {
  const { start } = p;
  const first = concatenated(p, valuePart);
  if (p.isWord('map')) return mapOf(p, first, start);
  return p.kind === T.COMMA && !p.isList ? listed(p, first, start) : first;
}

/** `key map { ... }`, at the word `map`. */
export function mapOf(p: Parser, key: Json, start: number): Json {
  const map: JsonObject = { key };
  p.note(map, 'key', start);
  p.next();
  const at = p.start;
  map.data = mappings(p);
  p.note(map, 'data', at);
  const whole = { map };
  p.note(whole, 'map', start);
  return whole;
}

/** The elements of a map: in braces, or those of a set by its name. */
export function mappings(p: Parser): Json {
  if (p.kind === T.LBRACE) return set(p);
  if (p.kind === T.AT) return setName(p);
  if (p.kind === T.DOLLAR) return variable(p);
  return p.unexpected('@', "'{'", "'$'");
}

/** The verdicts of a map: in braces, or those of a map by its name. */
export function verdicts(p: Parser): Json {
  if (p.kind !== T.LBRACE) return mappings(p);
  const outer = p.takesVerdicts;
  p.takesVerdicts = true;
  const found = set(p);
  p.takesVerdicts = outer;
  return found;
}

/* Sets. */

/** A set in braces, as an expression. */
export function set(p: Parser): JsonObject {
  const { start } = p;
  const members = elements(p);
  if (members.length === 0) p.fail("syntax error, unexpected '}'", p.lastEnd - 1);
  const whole = { set: members };
  p.note(whole, 'set', start);
  return whole;
}

/** Elements in braces. */
export function elements(p: Parser): Json[] {
  const members: Json[] = [];
  const { isList } = p;
  p.isList = true;
  p.expect(T.LBRACE);
  p.nested(() => {
    p.newlines();
    while (p.kind !== T.RBRACE) {
      if (p.kind !== T.COMMA) {
        if (members.length > 0 && !canBeElement(p)) p.unexpected('comma', "'}'");
        member(p, members);
        p.newlines();
      } else if (members.length === 0) {
        p.unexpected();
      }
      if (p.kind === T.COMMA) p.next();
      else if (!p.is(T.RBRACE)) p.unexpected('comma', "'}'");
      p.newlines();
    }
  });
  p.next();
  p.isList = isList;
  return members;
}

/** Can an element of a set begin with the current token? */
function canBeElement(p: Parser): boolean {
  switch (p.kind) {
    case T.WORD:
      return p.isAddress || !p.isKeyword() || VALUES.has(p.text) || BOOLEANS.has(p.text);
    case T.NUMBER:
    case T.QUOTED:
    case T.STAR_WORD:
    case T.STAR:
    case T.DOLLAR:
    case T.LPAREN:
    case T.LBRACE:
      return true;
    default:
      return false;
  }
}

function member(p: Parser, members: Json[]): void {
  const { start } = p;
  const key = p.kind === T.LBRACE ? set(p) : p.kind === T.STAR ? star(p) : constants(p);
  const inner = isObject(key) ? key.set : undefined;
  const keyEnd = p.lastEnd;
  const attached = attachments(p);
  const left: Json = attached === undefined ? key : { elem: { val: key, ...attached } };
  if (attached !== undefined && p.places !== undefined)
    noteElement(p, (left as JsonObject).elem as JsonObject, attached, start, keyEnd);
  if (p.takesVerdicts && p.kind !== T.COLON) p.unexpected('colon');
  if (p.kind !== T.COLON) {
    // The elements of a set within a set belong to the outer one.
    if (attached === undefined && Array.isArray(inner)) members.push(...inner);
    else members.push(left);
    p.note(members, members.length - 1, start);
    return;
  }
  const end = p.lastEnd;
  p.next();
  const at = p.start;
  const right = verdict(p) ?? (p.takesVerdicts ? p.unexpected() : p.is(T.LBRACE) ? set(p) : constants(p));
  for (const each of attached === undefined && Array.isArray(inner) ? inner : [left]) {
    const pair: Json[] = [each, right];
    p.noteSpan(pair, 0, start, end);
    p.note(pair, 1, at);
    members.push(pair);
    p.note(members, members.length - 1, start);
  }
}

function star(p: Parser): Json {
  p.next();
  return '*';
}

function noteElement(p: Parser, elem: JsonObject, attached: JsonObject, start: number, keyEnd: number): void {
  p.noteSpan(elem, 'val', start, keyEnd);
  copyNotes(p, attached, elem);
}

/* Verdicts. */

const PLAIN_VERDICTS: ReadonlySet<string> = /* @__PURE__ */ new Set(['accept', 'drop', 'continue', 'return']);

/** A verdict, if the current word is one. */
export function verdict(p: Parser): JsonObject | undefined {
  if (p.kind !== T.WORD) return undefined;
  const { text } = p;
  if (PLAIN_VERDICTS.has(text)) {
    p.next();
    return { [text]: null };
  }
  if (text !== 'jump' && text !== 'goto') return undefined;
  p.next();
  return { [text]: { target: chainName(p) } };
}

/** The name of a chain, or a variable that has one. */
export function chainName(p: Parser): Json {
  if (p.kind !== T.DOLLAR) return p.name("'$'");
  const { start } = p;
  const value = variable(p);
  // As nft does it: of a set, the only element.
  const [only = value, ...others] =
    typeof value === 'object' && value !== null ? [(value as JsonObject).set].flat() : [];
  if (others.length > 0 || typeof only === 'object') p.fail('invalid chain name', start);
  return String(only);
}

/** The value of a variable: what `define` takes. */
export function initializer(p: Parser): Json {
  // Only priorities can be negative.
  if (p.kind === T.DASH) {
    p.next();
    return -Number(p.number());
  }
  // A variable may be a set without elements.
  if (p.kind === T.LBRACE) return { set: elements(p) };
  return constant(p);
}
