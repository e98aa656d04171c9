import { type ArgumentError, type Path, rangeError } from '../errors.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { NftSet } from '../nf_tables/set.ts';
import type { ByteOrder, Datatype } from './data/datatypes.ts';
import type { AddressFamily, Direction } from './data/keys.ts';
import type { Extension, Header, HeaderField } from './headers.ts';

/*
 * The tree of a rule, in both directions: the compiler parses nft's JSON into it, gives each node its type, length and byte order, and writes
 * the kernel's instructions; the decompiler builds it from the instructions, and prints it as JSON or text. Nodes are changed in place while
 * more becomes known, as nft does it. Each kind has the name that nft gives the expression.
 */

/** Where a node stands in the caller's statements: a link to the place that contains it, so that a path is only made for an error. */
export class Place {
  readonly parent: Place | undefined;
  readonly key: string | number;

  constructor(parent: Place | undefined, key: string | number) {
    this.parent = parent;
    this.key = key;
  }

  get path(): Path {
    return this.parent === undefined ? [this.key] : [...this.parent.path, this.key];
  }
}

/** The error for something that nft refuses too. */
export function refuse(place: Place | undefined, expected: string, value: unknown): RangeError & ArgumentError {
  return rangeError(place?.path ?? [], expected, value);
}

/** Bytecode that nft's language has no words for. */
export class Undecompilable extends Error {}

/** Of every node: the type of its value, the byte order in the register, and the length in bits. */
export interface Typed {
  /** Only nodes that were parsed have one. */
  readonly place: Place | undefined;
  type: Datatype;
  order: ByteOrder;
  bits: number;
}

/** A number, an address, a text: anything with a fixed value. Texts are numbers in the host's byte order. */
export interface Value extends Typed {
  readonly kind: 'value';
  value: bigint;
}

/** Only parsed: a word or number whose meaning depends on the type that is expected. */
export interface Word extends Typed {
  readonly kind: 'word';
  readonly word: string | number | bigint;
}

/** Only parsed: '@name', before the set is looked up. */
export interface NamedSet extends Typed {
  readonly kind: 'named-set';
  readonly name: string;
}

export interface Verdict extends Typed {
  readonly kind: 'verdict';
  readonly verdict: string;
  readonly chain: string | undefined;
}

export interface Prefix extends Typed {
  readonly kind: 'prefix';
  base: Node;
  readonly length: number;
}

export interface Range extends Typed {
  readonly kind: 'range';
  left: Node;
  right: Node;
}

export interface Concat extends Typed {
  readonly kind: 'concat';
  parts: Node[];
  /** Set by the compiler: bytes of each part, without padding. */
  fields: number[];
  /** Set by the compiler: all parts are constants. */
  constant: boolean;
  /** Set by the compiler: each part is one value. */
  singleton: boolean;
}

/** Flags of a bitmask. */
export interface List extends Typed {
  readonly kind: 'list';
  items: Node[];
}

/** A set with its elements: written in a rule, or as it was listed. */
export interface SetLiteral extends Typed {
  readonly kind: 'set';
  members: SetMember[];
  /** Some members are ranges. */
  interval: boolean;
  /** Some members are concatenations of ranges. */
  concatenation: boolean;
  /** It belongs to the rule. */
  readonly anonymous: boolean;
}

/** An element of a set: alone, or with the value that a map has for it. */
export type SetMember = Element | Mapping;

export interface Element extends Typed {
  readonly kind: 'element';
  key: Node;
  /** Milliseconds; 0 is never. */
  readonly timeout: bigint | undefined;
  /** Milliseconds. */
  readonly expires: bigint | undefined;
  readonly comment: string | undefined;
  /** Counters and the like, as the compiler writes them. */
  readonly expressions: readonly Expression[];
  /** The same, as the decompiler reads them. */
  readonly statements: readonly ElementState[];
  /** Only listed: the first key behind a range. */
  readonly intervalEnd: boolean;
}

/** A key of a map with its value. */
export interface Mapping extends Typed {
  readonly kind: 'mapping';
  left: Element;
  right: Node;
}

/** '*': every key that has no element. */
export interface CatchAll extends Typed {
  readonly kind: 'catch-all';
}

export interface SetReference extends Typed {
  readonly kind: 'set-reference';
  readonly set: SetInfo;
  /** Only listed: the elements of an anonymous set. They belong to this rule alone, and are changed with it. */
  readonly literal: SetLiteral | undefined;
}

/** The value that a map has for a key. */
export interface MapLookup extends Typed {
  readonly kind: 'map';
  key: Node;
  mappings: Node;
}

/** The same bytes in the other order. It is never written: the compiler puts it in. */
export interface Unary extends Typed {
  readonly kind: 'unary';
  readonly to: 'host' | 'big';
  argument: Node;
}

export type BinaryOperator = '&' | '|' | '^' | '<<' | '>>';

export interface Binary extends Typed {
  readonly kind: 'binary';
  op: BinaryOperator;
  left: Node;
  right: Node;
}

export type RelationOperator = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in' | '!';
/** Operators that compare which value is less. */
export const ORDERS: ReadonlySet<RelationOperator> = /* @__PURE__ */ new Set<RelationOperator>(['<', '>', '<=', '>=']);

/** A match: the left side is loaded from the packet, and compared with the right side. */
export interface Relation extends Typed {
  readonly kind: 'relation';
  op: RelationOperator;
  left: Node;
  right: Node;
}

/** Only listed, for nft 1.0.6: flags of a mask that are set or not. */
export interface FlagComparison extends Typed {
  readonly kind: 'flag-comparison';
  readonly op: RelationOperator;
  readonly left: Node;
  readonly mask: Node;
  readonly right: Node;
}

/** Bytes of the packet: a field of a header, or any bits. */
export interface Payload extends Typed {
  readonly kind: 'payload';
  /** The layer that the offset counts from. */
  readonly base: number;
  /** Bits. */
  offset: number;
  header: Header | undefined;
  field: HeaderField | undefined;
  /** It says which protocol follows. */
  readonly tellsProtocol: boolean;
  /** The header is inside this tunnel. */
  tunnel: Header | undefined;
  /** Set by the compiler: it may be loaded whatever the protocol is. */
  raw: boolean;
  /** Set by the compiler: it has its type, and the matches that it depends on are there. */
  evaluated: boolean;
}

/** A field of an extension header, an option or a chunk; or, with `present`, whether it is there. */
export interface Exthdr extends Typed {
  readonly kind: 'exthdr';
  readonly op: 'ipv6' | 'tcp' | 'ipv4' | 'sctp' | 'dccp';
  /** The number by which the kernel looks for it. */
  readonly number: number;
  /** Bits. */
  offset: number;
  present: boolean;
  extension: Extension | undefined;
  field: HeaderField | undefined;
}

/** Meta data of the packet. */
export interface Meta extends Typed {
  readonly kind: 'meta';
  /** nft's word. */
  readonly key: string;
  /** The layer that a match of it tells about; 0 where it tells nothing. */
  readonly base: number;
  readonly tellsProtocol: boolean;
  tunnel: Header | undefined;
}

/** What connection tracking knows. */
export interface Ct extends Typed {
  readonly kind: 'ct';
  readonly key: string;
  readonly direction: Direction | undefined;
  family: AddressFamily | undefined;
  /** The layer that a match of it tells about; 0 where it tells nothing. */
  readonly base: number;
  readonly tellsProtocol: boolean;
}

/** Everything else that one instruction loads. Each has a file in expressions/, which adds its own fields. */
export interface Load extends Typed {
  readonly kind: 'load';
  /** nft's name of the expression, as in the registry. */
  readonly name: string;
  /** The value that is calculated with. */
  argument: Node | undefined;
}

export type Node =
  | Value
  | Word
  | NamedSet
  | Verdict
  | Prefix
  | Range
  | Concat
  | List
  | SetLiteral
  | Element
  | Mapping
  | CatchAll
  | SetReference
  | MapLookup
  | Unary
  | Binary
  | Relation
  | FlagComparison
  | Payload
  | Exthdr
  | Meta
  | Ct
  | Load;

/** A set that a rule refers to: one with a name, or one that is made for the rule. */
export interface SetInfo {
  readonly name: string;
  /** The number that it has within its own transaction; absent where it is there already. */
  readonly id: number | undefined;
  readonly anonymous: boolean;
  map: boolean;
  object: boolean;
  interval: boolean;
  concatenation: boolean;
  /** nft's auto-merge. */
  merges: boolean;
  timeout: boolean;
  dynamic: boolean;
  key: Node;
  data: Node | undefined;
  /** The values are ranges. */
  dataInterval: boolean;
  objectType: string | undefined;
  size: number | undefined;
  /** Bytes of each part of the key, where the kernel has to know. */
  fields: number[] | undefined;
  members: SetMember[];
}

/** A set with its elements, as the kernel lists them. */
export type ListedSet = NftSet & { elements?: readonly WireElement[] | undefined };

/** A statement with a state of its own, in a set or an element. The rest of its fields is known to the file of the statement. */
export interface ElementState {
  readonly kind: string;
}

/* Constructors. Every node of a kind has the same fields in the same order. */
