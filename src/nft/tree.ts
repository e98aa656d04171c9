import { type ArgumentError, beside, inNftsWords, type Path, rangeError } from '../errors.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { NftSet } from '../nf_tables/set.ts';
import type { ByteOrder, Datatype } from './data/datatypes.ts';
import type { AddressFamily, Direction } from './data/keys.ts';
import type { Extension, Header, HeaderField } from './headers.ts';

/*
 * The tree of a rule, for both directions. The compiler parses nft's JSON into it, gives each node its type, length and byte order, and
 * writes the kernel's instructions. The decompiler builds it from the instructions, and prints it as JSON or text. Nodes are changed in
 * place when more becomes known, as in nft. Each kind has the name that nft gives the expression.
 */

/** The place of a node in the caller's statements. It links to the place around it, so that a path is only made for an error. */
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

/** Makes the error for input that nft refuses too. `nftMessage` is what nft says of it, for texts. */
export function refuse(
  place: Place | undefined,
  expected: string,
  value: unknown,
  nftMessage?: string,
): RangeError & ArgumentError {
  const error = rangeError(place?.path ?? [], expected, value);
  return nftMessage === undefined ? error : inNftsWords(error, nftMessage);
}

/** The same, with another part that nft marks: the value does not go together with it. */
export const refuseWith = (other: Place | undefined, ...error: Parameters<typeof refuse>): ReturnType<typeof refuse> =>
  beside(refuse(...error), other?.path);

/** The statement that a place is in. */
export function statementOf(place: Place | undefined): Place | undefined {
  let found = place;
  while (found?.parent !== undefined) found = found.parent;
  return found;
}

/** Bytecode that nft's language has no words for. */
export class Undecompilable extends Error {}

/** The fields of every node: the type of its value, its byte order in the register, and its length in bits. */
export interface Typed {
  /** Only parsed nodes have one. */
  readonly place: Place | undefined;
  type: Datatype;
  order: ByteOrder;
  bits: number;
}

/** A fixed value: a number, an address or a text. Texts are numbers in the host's byte order. */
export interface Value extends Typed {
  readonly kind: 'value';
  value: bigint;
}

/** Only parsed: a word or number. Its meaning depends on the expected type. */
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
  /** The chain by its number within its own transaction: a chain without a name. */
  readonly chainId: number | undefined;
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

/** A set with its elements. It is written in a rule, or listed by the kernel. */
export interface SetLiteral extends Typed {
  readonly kind: 'set';
  members: SetMember[];
  /** Some members are ranges. */
  interval: boolean;
  /** Some members are concatenations of ranges. */
  concatenation: boolean;
  /** The set has no name and belongs to one rule. */
  readonly anonymous: boolean;
}

/** An element of a set. In a map it has a value. */
export type SetMember = Element | Mapping;

export interface Element extends Typed {
  readonly kind: 'element';
  key: Node;
  /** In milliseconds; 0 is never. */
  readonly timeout: bigint | undefined;
  /** In milliseconds. */
  readonly expires: bigint | undefined;
  readonly comment: string | undefined;
  /** Counters and the like, as the compiler writes them. */
  readonly expressions: readonly Expression[];
  /** The same, as the decompiler reads them. */
  readonly statements: readonly ElementState[];
  /** Only listed: the element is the first key behind a range. */
  readonly intervalEnd: boolean;
}

/** A key of a map with its value. */
export interface Mapping extends Typed {
  readonly kind: 'mapping';
  left: Element;
  right: Node;
}

/** '*': stands for every key that has no element. */
export interface CatchAll extends Typed {
  readonly kind: 'catch-all';
}

export interface SetReference extends Typed {
  readonly kind: 'set-reference';
  readonly set: SetInfo;
  /** Only listed: the elements of an anonymous set. They belong to this rule alone, and change with it. */
  readonly literal: SetLiteral | undefined;
}

/** A look-up of a key's value in a map. */
export interface MapLookup extends Typed {
  readonly kind: 'map';
  key: Node;
  mappings: Node;
}

/** The same bytes in the other order. It has no text: the compiler adds it. */
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
/** The operators that compare by size. */
export const ORDERS: ReadonlySet<RelationOperator> = /* @__PURE__ */ new Set<RelationOperator>(['<', '>', '<=', '>=']);

/** A match. The left side is loaded from the packet, and compared with the right side. */
export interface Relation extends Typed {
  readonly kind: 'relation';
  op: RelationOperator;
  left: Node;
  right: Node;
}

/** Only listed, for nft 1.0.6: tests whether flags of a mask are set. */
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
  /** In bits. */
  offset: number;
  header: Header | undefined;
  field: HeaderField | undefined;
  /** The field says which protocol follows. */
  readonly tellsProtocol: boolean;
  /** The header is inside this tunnel. */
  tunnel: Header | undefined;
  /** Set by the compiler: it may be loaded for any protocol. */
  raw: boolean;
  /** Set by the compiler: the type is known, and the matches that the field depends on are there. */
  evaluated: boolean;
}

/** A field of an extension header, an option or a chunk. With `present`, the question whether it is there. */
export interface Exthdr extends Typed {
  readonly kind: 'exthdr';
  readonly op: 'ipv6' | 'tcp' | 'ipv4' | 'sctp' | 'dccp';
  /** The number by which the kernel finds the extension. */
  readonly number: number;
  /** In bits. */
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
  /** The layer that a match of the key tells about; 0 if it tells nothing. */
  readonly base: number;
  readonly tellsProtocol: boolean;
  tunnel: Header | undefined;
}

/** A key of connection tracking. */
export interface Ct extends Typed {
  readonly kind: 'ct';
  readonly key: string;
  readonly direction: Direction | undefined;
  family: AddressFamily | undefined;
  /** The layer that a match of the key tells about; 0 if it tells nothing. */
  readonly base: number;
  readonly tellsProtocol: boolean;
}

/** All other loads by one instruction. Each has a file in expressions/, which adds its own fields. */
export interface Load extends Typed {
  readonly kind: 'load';
  /** nft's name of the expression, as in the registry. */
  readonly name: string;
  /** The value that the expression calculates with. */
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

/** A set that a rule refers to. It has a name, or is made for the rule. */
export interface SetInfo {
  readonly name: string;
  /** The number of the set within its own transaction; undefined if the set exists already. */
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
  /** The bytes of each part of the key, if the kernel has to know them. */
  fields: number[] | undefined;
  members: SetMember[];
}

/** A set with its elements, as the kernel lists them. */
export type ListedSet = NftSet & {
  /** The elements, where they were read. */
  elements?: readonly WireElement[] | undefined;
};

/** A statement with a state of its own, in a set or an element. The file of the statement knows the other fields. */
export interface ElementState {
  readonly kind: string;
}

/* Constructors. Every node of a kind has the same fields in the same order. */
