import { printable } from '../../errors.ts';
import { TYPES } from '../data/datatypes.ts';
import type { NamedKind } from '../data/reserved.ts';
import { expressionOf } from '../expressions/registry.ts';
import { elementOf, isFlags, isVerdictMap } from '../nodes.ts';
import { stateText } from '../statements/stateful.ts';
import {
  type Binary,
  type FlagComparison,
  type Node,
  ORDERS,
  type Range,
  type Relation,
  type SetLiteral,
  type SetMember,
  Undecompilable,
  type Verdict,
} from '../tree.ts';
import { formatDuration, type Style, textValue, type Vocabulary } from './format-value.ts';
import { ELEMENTS_AT_ONCE, finish, type InParts } from './in-parts.ts';
import { isWritableComment } from './unwritable.ts';

/* Nodes as `nft list ruleset` writes them. */

export interface TextOptions {
  words: Vocabulary;
  stateless?: boolean;
  style?: Style;
  /** One element a line, as in named sets whose elements have more than keys. */
  oneEachLine?: boolean;
  /** Returns the rules of a chain without a name, which stand between braces. */
  nestedChain?: ((name: string) => string | undefined) | undefined;
}

const PRECEDENCE: Readonly<Record<string, number>> = { '<<': 1, '>>': 1, '&': 2, '^': 3, '|': 4 };

const newer = (what: string, { words }: TextOptions): void => words.unwritable.newer(what, words.dialect);

const named = (kind: NamedKind, name: string | undefined, { words }: TextOptions): string =>
  words.unwritable.name(kind, name, words.dialect);

/** Does nft 1.0.6 accept the node behind an operator? */
function isConstant(node: Node): boolean {
  if (node.kind === 'binary') return isConstant(node.left) && isConstant(node.right);
  return node.kind === 'value' || node.kind === 'list';
}

export function nodeText(node: Node, options: TextOptions): string {
  const text = (inner: Node) => nodeText(inner, options);
  switch (node.kind) {
    case 'value':
      return printable(textValue(node, options.words, options.style ?? 'names'));
    case 'verdict':
      return verdictText(node, options);
    case 'prefix':
      return `${text(node.base)}/${node.length}`;
    case 'range': {
      const numbers: TextOptions = { ...options, style: 'numbers' };
      if (isReversed(node)) options.words.unwritable.note('a range that ends before it begins');
      return `${nodeText(node.left, numbers)}-${nodeText(node.right, numbers)}`;
    }
    case 'concat':
      return node.parts.map(text).join(' . ');
    case 'list':
      return node.items.map(text).join(',');
    case 'set':
      return finish(setText(node, options));
    case 'element':
    case 'mapping':
      return memberText(node, options, false);
    case 'catch-all':
      return '*';
    case 'map':
      return `${text(node.key)} ${isVerdictMap(node) ? 'vmap' : 'map'} ${text(node.mappings)}`;
    case 'set-reference':
      return node.literal === undefined ? `@${named('set', node.set.name, options)}` : text(node.literal);
    case 'unary':
      return text(node.argument);
    case 'binary':
      if (!isConstant(node.right)) newer('an operand that is not constant', options);
      if (node.left.type === TYPES.boolean) options.words.unwritable.note('bits of a truth value');
      return `${operand(node, node.left, options)} ${node.op} ${rightOperand(node, options)}`;
    case 'relation':
      return relationText(node, options);
    case 'flag-comparison':
      return flagComparisonText(node, options);
    case 'payload':
    case 'exthdr':
    case 'meta':
    case 'ct':
    case 'load':
      return expressionOf(node).text(node, options, nodeText);
    default:
      throw new Undecompilable(`a ${node.kind}`);
  }
}

/** Does the range end before it begins? Only times of the day may. */
function isReversed({ left, right }: Range): boolean {
  return left.kind === 'value' && right.kind === 'value' && left.type.kind !== 'hour' && left.value > right.value;
}

function verdictText({ verdict, chain }: Verdict, options: TextOptions): string {
  return verdict === 'jump' || verdict === 'goto' ? `${verdict} ${named('chain', chain, options)}` : verdict;
}

/** The part of a node that nft shows: it shows no changes of byte order. */
const shown = (node: Node): Node => (node.kind === 'unary' ? shown(node.argument) : node);

/** An operand, in brackets if it binds less than its operator. */
function operand({ op }: Binary | Relation, node: Node, options: TextOptions): string {
  const text = nodeText(node, options);
  const own = PRECEDENCE[op];
  const inner = shown(node);
  if (inner.kind === 'map' && own !== undefined) options.words.unwritable.note('a calculation with the value of a map');
  return inner.kind === 'binary' && own !== undefined && own < PRECEDENCE[inner.op]! ? inBrackets(text) : text;
}

/**
 * Operators of one rank bind from the left: the right operand needs brackets where nft prints none, unless it is a list of flags, which
 * gives the same either way.
 */
function rightOperand(node: Binary, options: TextOptions): string {
  const { op, right } = node;
  const inner = shown(right);
  if (inner.kind !== 'binary' || isConstant(inner) || PRECEDENCE[op]! > PRECEDENCE[inner.op]!)
    return operand(node, right, options);
  return inBrackets(nodeText(right, options));
}

/** nft's scanner cannot read `1:2)` as a class of traffic: it needs a space behind it. */
const inBrackets = (text: string): string =>
  `(${text}${/(?<![0-9a-f:])[0-9a-f]{1,4}:[0-9a-f]{1,4}$/.test(text) ? ' ' : ''})`;

/** Is one of the values longer than the field of its comparison? No packet has such a value, and nft cannot read it. */
function exceeds(node: Node, bits: number): boolean {
  switch (node.kind) {
    case 'value':
      return node.value >> BigInt(bits) !== 0n;
    case 'range':
      return exceeds(node.left, bits) || exceeds(node.right, bits);
    case 'set-reference':
      return node.literal?.members.some(member => exceeds(elementOf(member).key, bits)) ?? false;
    default:
      return false;
  }
}

function relationText(node: Relation, options: TextOptions): string {
  const { op, left, right } = node;
  if (left.kind === 'concat' && left.parts.some(part => part.kind === 'value')) newer('a constant in a key', options);
  if (
    left.kind === 'load' &&
    left.name === 'fib' &&
    right.kind === 'set-reference' &&
    right.set.key.type.name === 'ifname' &&
    right.literal === undefined
  )
    newer('interfaces of fib in a set of names', options);
  // nft prints no operator before several flags, although it then reads that one of them is enough.
  const equals = (isFlags(right.type) && (right.kind === 'value' || right.kind === 'binary')) || left.kind === 'binary';
  if (left.kind === 'payload' && left.bits % 8 !== 0 && exceeds(right, left.bits))
    options.words.unwritable.note('a number that the field has no room for');
  if (right.kind === 'payload' || right.kind === 'meta' || right.kind === 'ct' || right.kind === 'unary')
    options.words.unwritable.note('a comparison with what is not constant');
  if (right.kind === 'prefix' && ORDERS.has(op)) options.words.unwritable.note('an order of prefixes');
  const sign = op === 'in' || (op === '==' && !equals) ? ' ' : ` ${op} `;
  return `${operand(node, left, options)}${sign}${operand(node, right, options)}`;
}

function flagComparisonText({ op, left, mask, right }: FlagComparison, options: TextOptions): string {
  const { unwritable } = options.words;
  if (!isConstant(mask) || (mask.kind === 'list' && !mask.items.every(isConstant)))
    unwritable.note('a mask of flags that is not constant');
  const operator = op === '!=' ? ' != ' : ' ';
  if (mask.kind === 'list')
    return `${nodeText(left, options)}${operator}${nodeText(right, options)} / ${nodeText(mask, options)}`;
  // nft prints one flag so, too, and then cannot read it.
  const values = (right.kind === 'list' ? right.items : [right]).map(part => nodeText(part, options)).join(' | ');
  return `${nodeText(left, options)} & ${nodeText(mask, options)} ${op} ${values}`;
}

const NEW_LINE = ',\n\t\t\t     ';
/** The number of elements in a line, by type; default one. */
const IN_LINE: Readonly<Record<string, number>> = {
  nf_proto: 5,
  integer: 5,
  arp_op: 5,
  inet_proto: 5,
  inet_service: 5,
  tcp_flag: 5,
  dccp_pkttype: 5,
  mark: 5,
  iface_index: 5,
  classid: 5,
  uid: 5,
  gid: 5,
  ct_dir: 5,
  ipv4_addr: 2,
  ct_state: 2,
  ct_status: 2,
  pkt_type: 2,
};

function hasRangeInValue(member: SetMember): boolean {
  const parts = member.kind === 'mapping' && member.right.kind === 'concat' ? member.right.parts : [];
  return parts.some(({ kind }) => kind === 'range' || kind === 'prefix');
}

/** The elements of a set, between braces. */
export function* setText(node: SetLiteral, options: TextOptions): InParts<string> {
  const inLine = IN_LINE[node.type.name] ?? 1;
  if (node.anonymous && new Set(node.members.map(hasRangeInValue)).size > 1)
    newer('values with and without ranges in a map of a rule', options);
  let text = '';
  for (const [i, member] of node.members.entries()) {
    if (i > 0) text += node.anonymous || (!options.oneEachLine && i % inLine !== 0) ? ', ' : NEW_LINE;
    text += memberText(member, options, node.anonymous);
    if (i % ELEMENTS_AT_ONCE === 0) yield;
  }
  return `{ ${text} }`;
}

function memberText(member: SetMember, options: TextOptions, inRule: boolean): string {
  const { key, statements, timeout, expires, comment } = elementOf(member);
  const { printsNever } = options.words.dialect;
  let text = nodeText(key, options);
  if (member.kind === 'mapping' && statements.length > 0 && inRule)
    newer('states of elements in a map of a rule', options);
  for (const statement of statements) text += ` ${stateText(statement, options)}`;
  if (timeout !== undefined && (printsNever || timeout !== 0n))
    text += ` timeout ${timeout === 0n ? 'never' : formatDuration(timeout)}`;
  if (!options.stateless && expires && (!printsNever || timeout !== 0n)) text += ` expires ${formatDuration(expires)}`;
  if (comment !== undefined && isWritableComment(comment)) text += ` comment "${comment}"`;
  return member.kind === 'mapping' ? `${text} : ${nodeText(member.right, options)}` : text;
}
