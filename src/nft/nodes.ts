import { type ByteOrder, type Datatype, TYPES } from './data/datatypes.ts';
import type { Dialect } from './data/dialects.ts';
import type {
  Binary,
  BinaryOperator,
  CatchAll,
  Concat,
  Element,
  List,
  MapLookup,
  Mapping,
  Node,
  Payload,
  Place,
  Prefix,
  Range,
  Relation,
  RelationOperator,
  SetInfo,
  SetLiteral,
  SetMember,
  SetReference,
  Typed,
  Unary,
  Value,
  Verdict,
} from './tree.ts';

/* Nodes of the tree: constructors, copies, comparisons, and questions about one node. */

export function untyped(bits = 0, place?: Place): Typed {
  return { place, type: TYPES.invalid, order: undefined, bits };
}

export function value(
  bits: number,
  number: bigint,
  type: Datatype = TYPES.invalid,
  order?: ByteOrder,
  place?: Place,
): Value {
  return { kind: 'value', place, type, order, bits, value: number };
}

/** Makes a value of the bytes in a register. The first byte is the highest. */
export function registerValue(hex: string): Value {
  return value(hex.length * 4, hex === '' ? 0n : BigInt(`0x${hex}`));
}

export function verdict(name: string, chain?: string, place?: Place, chainId?: number): Verdict {
  return { kind: 'verdict', place, type: TYPES.verdict, order: undefined, bits: 0, verdict: name, chain, chainId };
}

export function prefix(base: Node, length: number, bits = 0, place?: Place): Prefix {
  return { kind: 'prefix', place, type: TYPES.invalid, order: undefined, bits, base, length };
}

export function range(left: Node, right: Node, place?: Place): Range {
  return { kind: 'range', place, type: TYPES.invalid, order: undefined, bits: left.bits, left, right };
}

export function concat(parts: Node[], place?: Place): Concat {
  return {
    kind: 'concat',
    place,
    type: TYPES.invalid,
    order: undefined,
    bits: 0,
    parts,
    fields: [],
    constant: false,
    singleton: false,
  };
}

export function list(items: Node[], place?: Place): List {
  return { kind: 'list', place, type: TYPES.invalid, order: undefined, bits: 0, items };
}

export function setLiteral(
  members: SetMember[],
  place?: Place,
  type: Datatype = TYPES.invalid,
  anonymous = true,
): SetLiteral {
  return {
    kind: 'set',
    place,
    type,
    order: undefined,
    bits: 0,
    members,
    interval: false,
    concatenation: false,
    anonymous,
  };
}

/** The fields that an element has in addition to its key. */
export type Attached = Partial<
  Pick<Element, 'timeout' | 'expires' | 'comment' | 'expressions' | 'statements' | 'intervalEnd'>
>;

export function element(key: Node, attached: Attached = NOTHING, place?: Place): Element {
  return {
    kind: 'element',
    place,
    type: key.type,
    order: key.order,
    bits: key.bits,
    key,
    timeout: attached.timeout,
    expires: attached.expires,
    comment: attached.comment,
    expressions: attached.expressions ?? NONE,
    statements: attached.statements ?? NONE,
    intervalEnd: attached.intervalEnd ?? false,
  };
}

const NOTHING: Attached = {};
const NONE: readonly never[] = [];

export function mapping(left: Element, right: Node, place?: Place): Mapping {
  return { kind: 'mapping', place, type: left.type, order: left.order, bits: 0, left, right };
}

export function catchAll(bits: number, place?: Place): CatchAll {
  return { kind: 'catch-all', place, type: TYPES.invalid, order: undefined, bits };
}

/** Makes a reference to a set. `like` has the type of the reference: it is the set's key, or the value of a map. */
export function setReference(set: SetInfo, like: Typed, literal?: SetLiteral, place?: Place): SetReference {
  return { kind: 'set-reference', place, type: like.type, order: like.order, bits: like.bits, set, literal };
}

export function mapLookup(key: Node, mappings: Node, place?: Place): MapLookup {
  return { kind: 'map', place, type: TYPES.invalid, order: undefined, bits: 0, key, mappings };
}

export function unary(argument: Node, to: 'host' | 'big'): Unary {
  return { kind: 'unary', place: argument.place, type: argument.type, order: to, bits: argument.bits, to, argument };
}

export function binary(op: BinaryOperator, left: Node, right: Node, bits = 0, place?: Place): Binary {
  return { kind: 'binary', place, type: left.type, order: left.order, bits, op, left, right };
}

export function relation(op: RelationOperator, left: Node, right: Node, place?: Place): Relation {
  return { kind: 'relation', place, type: TYPES.invalid, order: undefined, bits: 0, op, left, right };
}

/* Questions about nodes. */

/** Returns the element of a member of a set or map. */
export const elementOf = (member: SetMember): Element => (member.kind === 'mapping' ? member.left : member);

/** Returns whether the value is known without the packet. The node must have been evaluated. */
export function isConstant(node: Node): boolean {
  switch (node.kind) {
    case 'value':
    case 'verdict':
    case 'set':
    case 'set-reference':
    case 'map':
    case 'catch-all':
    case 'prefix':
    case 'range':
    case 'mapping':
      return true;
    case 'element':
      return isConstant(node.key);
    case 'concat':
      return node.constant;
    default:
      return false;
  }
}

/** Returns whether the node stands for one value only. */
export function isSingleton(node: Node): boolean {
  switch (node.kind) {
    case 'value':
    case 'verdict':
    case 'catch-all':
      return true;
    case 'element':
      return isSingleton(node.key);
    case 'mapping':
      return isSingleton(node.left);
    case 'concat':
      return node.singleton;
    default:
      return false;
  }
}

/** Returns whether the map gives verdicts. */
export const isVerdictMap = ({ mappings }: MapLookup): boolean =>
  mappings.kind === 'set-reference' && mappings.set.data?.type.kind === 'verdict';

/** Returns whether the bits are a field that has a name. */
export const isKnown = (node: Payload): boolean => node.header !== undefined && node.field !== undefined;

export const isText = ({ kind }: Datatype): boolean => kind === 'string';
/** Returns whether the values are numbers, in whatever form they are printed. */
export const isNumeric = ({ kind }: Datatype): boolean =>
  kind !== 'string' && kind !== 'verdict' && kind !== 'invalid' && kind !== 'concatenation';
/** Returns whether the values are flags that have names. */
export const isFlags = ({ kind }: Datatype): boolean => kind === 'bitmask' || kind === 'label';
/** Returns whether nft writes prefixes of the type, as 10.0.0.0/8. nft 1.0.6 wrote them for marks, realms and groups of devices, too. */
export function hasPrefixes({ kind }: Datatype, dialect: Dialect): boolean {
  return kind === 'ipv4' || kind === 'ipv6' || (dialect.prefixesFileNumbers && kind === 'file');
}

/** Copies a node. A register may be read more than once, and each reader changes its own copy. */
export function clone<T extends Node>(node: T): T {
  const copy: Node = { ...node };
  switch (copy.kind) {
    case 'prefix':
      copy.base = clone(copy.base);
      break;
    case 'range':
    case 'binary':
    case 'relation':
      copy.left = clone(copy.left);
      copy.right = clone(copy.right);
      break;
    case 'mapping':
      copy.left = clone(copy.left);
      copy.right = clone(copy.right);
      break;
    case 'map':
      copy.key = clone(copy.key);
      copy.mappings = clone(copy.mappings);
      break;
    case 'concat':
      copy.parts = copy.parts.map(clone);
      break;
    case 'list':
      copy.items = copy.items.map(clone);
      break;
    case 'unary':
      copy.argument = clone(copy.argument);
      break;
    case 'load':
      if (copy.argument !== undefined) copy.argument = clone(copy.argument);
      break;
    case 'element':
      copy.key = clone(copy.key);
      break;
    default:
  }
  return copy as T;
}

/** Gives a node a type. Prefixes, ranges and sets hand it on to their parts. */
export function setType(node: Node, type: Datatype, order: ByteOrder): void {
  switch (node.kind) {
    case 'prefix':
      setType(node.base, type, order);
      return;
    case 'range':
      setType(node.left, type, order);
      setType(node.right, type, order);
      return;
    case 'mapping':
      setType(node.left, type, order);
      return;
    case 'element':
      setType(node.key, type, order);
      return;
    case 'set':
      for (const member of node.members) setType(member, type, order);
      return;
    case 'set-reference':
      if (node.literal !== undefined) setType(node.literal, type, order);
      return;
    default:
      node.type = type;
      node.order = order;
  }
}

/** Fields that do not affect which bytes are loaded. */
const BESIDES: ReadonlySet<string> = /* @__PURE__ */ new Set(['place', 'type', 'order', 'raw', 'evaluated']);

/** Returns whether both nodes load the same from the packet. */
export function isSame(a: Node, b: Node): boolean {
  if (a.kind !== b.kind) return false;
  const others: Readonly<Record<string, unknown>> = { ...b };
  for (const [key, one] of Object.entries<unknown>({ ...a })) {
    const other = others[key];
    if (one === other || BESIDES.has(key)) continue;
    if (!isNode(one) || !isNode(other) || !isSame(one, other)) return false;
  }
  return true;
}

function isNode(thing: unknown): thing is Node {
  return typeof thing === 'object' && thing !== null && 'kind' in thing;
}
