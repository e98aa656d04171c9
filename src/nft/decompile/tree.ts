import type { WireElement } from '../../nf_tables/element.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { Header, HeaderField } from './headers.ts';
import type { InParts } from './in-parts.ts';

/*
 * What a rule's bytecode means, as a tree: between the registers and the words of nft's language. Nodes are changed in place while the
 * packet's protocols become known, as nft does it.
 */

/** A set with its elements, as the kernel lists them. */
export type ListedSet = NftSet & { elements?: readonly WireElement[] | undefined };

/** A statement with a state of its own, in a set or an element. The rest of its fields is known to the file of the statement. */
export interface ElementState {
  readonly kind: string;
}

/** What a set's description says about its keys and values. */
export interface SetShape {
  readonly set: ListedSet;
  readonly name: string;
  readonly key: Node;
  /** The set was made with `typeof`, and `key` is that. */
  readonly isTypeof: boolean;
  readonly data: Node | undefined;
  readonly dataIsRange: boolean;
  readonly statements: ElementState[];
  readonly isAnonymous: boolean;
  has(flag: string): boolean;
  /** The elements as nft sorts and joins them. */
  literal(): SetLiteral;
  /** The same, with pauses. */
  literalInParts(): InParts<SetLiteral>;
}

/** A header, option or chunk that the kernel looks for by its number. */
export interface Extension {
  readonly name: string;
  readonly type: number;
  /** nft's number of it, in the user data of sets. */
  readonly number: number;
  readonly fields: readonly HeaderField[];
}

/** Of every node: the type of its value, who reads it, and its length in bits. */
interface Typed {
  type: Datatype;
  order: ByteOrder;
  bits: number;
}

export interface Value extends Typed {
  kind: 'value';
  value: bigint;
}
export interface VerdictNode extends Typed {
  kind: 'verdict';
  verdict: string;
  chain?: string | undefined;
}
export interface Prefix extends Typed {
  kind: 'prefix';
  base: Node;
  length: number;
}
export interface Range extends Typed {
  kind: 'range';
  left: Node;
  right: Node;
}
export interface Concat extends Typed {
  kind: 'concat';
  parts: Node[];
}
export interface List extends Typed {
  kind: 'list';
  parts: Node[];
}
export interface SetLiteral extends Typed {
  kind: 'set';
  elements: SetMember[];
  anonymous: boolean;
}
export interface SetMember extends Typed {
  kind: 'element';
  key: Node;
  /** Milliseconds; 0 is never. */
  timeout?: bigint | undefined;
  expires?: bigint | undefined;
  comment?: string | undefined;
  statements: ElementState[];
  intervalEnd: boolean;
}
export interface CatchAll extends Typed {
  kind: 'catch-all';
}
export interface Mapping extends Typed {
  kind: 'mapping';
  left: Node;
  right: Node;
}
export interface MapLookup extends Typed {
  kind: 'map';
  left: Node;
  right: Node;
}
export interface SetReference extends Typed {
  kind: 'set-reference';
  set: SetShape;
  /** What an anonymous set holds: of this rule alone, to be changed with it. */
  literal?: SetLiteral | undefined;
}
/** Bytes in the other order. */
export interface Unary extends Typed {
  kind: 'unary';
  argument: Node;
}
export type BinaryOperator = '&' | '|' | '^' | '<<' | '>>';
export interface Binary extends Typed {
  kind: 'binary';
  op: BinaryOperator;
  left: Node;
  right: Node;
}
export type RelationOperator = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in' | '!';
/** Operators that compare what is less and what is more. */
export const ORDERS: ReadonlySet<RelationOperator> = /* @__PURE__ */ new Set<RelationOperator>(['<', '>', '<=', '>=']);
export interface Relation extends Typed {
  kind: 'relation';
  op: RelationOperator;
  left: Node;
  right: Node;
}
/** nft 1.0.6: flags of a mask that are set or not. */
export interface FlagComparison extends Typed {
  kind: 'flag-comparison';
  op: RelationOperator;
  left: Node;
  mask: Node;
  right: Node;
}
export interface PayloadNode extends Typed {
  kind: 'payload';
  /** BASE_*. */
  base: number;
  /** Bits. */
  offset: number;
  header: Header | undefined;
  field: HeaderField | undefined;
  /** It says which protocol follows. */
  protocol: boolean;
  /** The header is inside this tunnel. */
  tunnel?: Header | undefined;
}
export interface ExtensionNode extends Typed {
  kind: 'extension';
  op: 'ipv6' | 'tcp' | 'ipv4' | 'sctp' | 'dccp';
  number: number;
  offset: number;
  present: boolean;
  extension: Extension | undefined;
  field: HeaderField | undefined;
}
export interface MetaNode extends Typed {
  kind: 'meta';
  key: string;
  base: number;
  protocol: boolean;
  tunnel?: Header | undefined;
}
export interface CtNode extends Typed {
  kind: 'ct';
  key: string;
  direction: 'original' | 'reply' | undefined;
  base: number;
  protocol: boolean;
  family?: 'ip' | 'ip6' | undefined;
}
export interface RouteNode extends Typed {
  kind: 'rt';
  key: string;
  family?: 'ip' | 'ip6' | undefined;
}
export interface SocketNode extends Typed {
  kind: 'socket';
  key: string;
  level: number;
}
export interface OsfNode extends Typed {
  kind: 'osf';
  ttl: 'loose' | 'skip' | undefined;
  version: boolean;
}
export interface IpsecNode extends Typed {
  kind: 'ipsec';
  key: string;
  family?: 'ip' | 'ip6' | undefined;
  direction: 'in' | 'out';
  index: number;
}
export interface TunnelNode extends Typed {
  kind: 'tunnel';
  key: string;
}
export interface FibNode extends Typed {
  kind: 'fib';
  result: string;
  flags: string[];
  present: boolean;
}
export interface NumgenNode extends Typed {
  kind: 'numgen';
  mode: 'inc' | 'random';
  modulus: number;
  offset: number;
}
export interface HashNode extends Typed {
  kind: 'hash';
  symmetric: boolean;
  argument: Node | undefined;
  modulus: number;
  seed: number | undefined;
  offset: number;
}

export type Node =
  | Value
  | VerdictNode
  | Prefix
  | Range
  | Concat
  | List
  | SetLiteral
  | SetMember
  | CatchAll
  | Mapping
  | MapLookup
  | SetReference
  | Unary
  | Binary
  | Relation
  | FlagComparison
  | PayloadNode
  | ExtensionNode
  | MetaNode
  | CtNode
  | RouteNode
  | SocketNode
  | OsfNode
  | IpsecNode
  | TunnelNode
  | FibNode
  | NumgenNode
  | HashNode;

/** Bytecode that no words of nft's language stand for. */
export class Undecompilable extends Error {}

export function value(bits: number, number: bigint, type: Datatype = TYPES.invalid, order?: ByteOrder): Value {
  return { kind: 'value', type, order, bits, value: number };
}

/** Bytes as they stand in the register: the first one is the highest. */
export function registerValue(hex: string): Value {
  return value(hex.length * 4, hex === '' ? 0n : BigInt(`0x${hex}`));
}

export function untyped(bits = 0): Typed {
  return { type: TYPES.invalid, order: undefined, bits };
}

export function relation(op: RelationOperator, left: Node, right: Node): Relation {
  return { kind: 'relation', ...untyped(), op, left, right };
}

export function binary(op: BinaryOperator, left: Node, right: Node, bits = 0): Binary {
  return { kind: 'binary', type: left.type, order: left.order, bits, op, left, right };
}

export function range(left: Node, right: Node): Range {
  return { kind: 'range', ...untyped(left.bits), left, right };
}

export function prefix(base: Node, length: number, bits = 0): Prefix {
  return { kind: 'prefix', ...untyped(bits), base, length };
}

/** Registers may be read more than once, and what is read is changed. */
export function clone<T extends Node>(node: T): T {
  const copy = { ...node } as Node;
  switch (copy.kind) {
    case 'prefix':
      copy.base = clone(copy.base);
      break;
    case 'range':
    case 'mapping':
    case 'map':
    case 'binary':
    case 'relation':
      copy.left = clone(copy.left);
      copy.right = clone(copy.right);
      break;
    case 'concat':
    case 'list':
      copy.parts = copy.parts.map(clone);
      break;
    case 'unary':
      copy.argument = clone(copy.argument);
      break;
    case 'hash':
      if (copy.argument !== undefined) copy.argument = clone(copy.argument);
      break;
    case 'element':
      copy.key = clone(copy.key);
      break;
    default:
  }
  return copy as T;
}

/** Gives a node a type: prefixes, ranges and sets hand it on to what they hold. */
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
      for (const element of node.elements) setType(element, type, order);
      return;
    case 'set-reference':
      if (node.literal !== undefined) setType(node.literal, type, order);
      return;
    default:
      node.type = type;
      node.order = order;
  }
}

/** Do both load the same from the packet? */
export function isSame(a: Node, b: Node): boolean {
  if (a.kind !== b.kind) return false;
  const left = a as unknown as Record<string, unknown>;
  const right = b as unknown as Record<string, unknown>;
  for (const key in left) {
    const one = left[key];
    const other = right[key];
    if (one === other || key === 'type' || key === 'order') continue;
    if (!isNode(one) || !isNode(other) || !isSame(one, other)) return false;
  }
  return true;
}

function isNode(thing: unknown): thing is Node {
  return typeof thing === 'object' && thing !== null && 'kind' in thing;
}

export const isBitmask = ({ kind }: Datatype): boolean => kind === 'bitmask' || kind === 'label';
export const isString = ({ kind }: Datatype): boolean => kind === 'string';
/** Has the type values of which nft writes the first bits, as 10.0.0.0/8? Once marks, realms and groups of devices had them too. */
export function hasPrefixes({ kind }: Datatype, dialect: Dialect): boolean {
  return kind === 'ipv4' || kind === 'ipv6' || (dialect.prefixesFileNumbers && kind === 'file');
}
