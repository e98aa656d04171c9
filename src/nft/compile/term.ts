import { type ArgumentError, type Path, rangeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type ByteOrder, type Datatype, TYPES } from '../data/datatypes.ts';
import type { FieldRow, IcmpDependency } from '../data/protocols.ts';

/*
 * The terms that a rule is compiled by way of: what the JSON says, then, evaluated, what each part's type, length and byte order is.
 */

/** Where a term stands in the caller's statements: a link to what holds it, so that nothing is copied unless there is an error. */
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

/** Something that nft refuses too. */
export function refuse(place: Place | undefined, expected: string, value: unknown): RangeError & ArgumentError {
  return rangeError(place?.path ?? [], expected, value);
}

/** Layers of the packet, as nft counts them. */
export const LINK = 1;
export const NETWORK = 2;
export const TRANSPORT = 3;
export const INNER = 4;
/** The tunnel's own header, seen from inside. */
export const TUNNEL_HEADER = 5;

interface Typed {
  readonly place: Place | undefined;
  type: Datatype;
  order: ByteOrder;
  bits: number;
}

/** A number, an address, a text: whatever has a fixed value. Texts are read as numbers in the host's byte order. */
export interface Value extends Typed {
  readonly kind: 'value';
  value: bigint;
}

/** A word or number of which only its place tells what it means. */
export interface Word extends Typed {
  readonly kind: 'word';
  readonly word: string | number | bigint;
}

/** '@name' */
export interface NamedSet extends Typed {
  readonly kind: 'named-set';
  readonly name: string;
}

export interface Prefix extends Typed {
  readonly kind: 'prefix';
  base: Term;
  readonly length: number;
}

export interface Range extends Typed {
  readonly kind: 'range';
  left: Term;
  right: Term;
}

export interface Payload extends Typed {
  readonly kind: 'payload';
  /** The header's protocol, where it is known. */
  readonly protocol: string | undefined;
  readonly field: FieldRow | undefined;
  readonly fieldName: string | undefined;
  readonly icmp: IcmpDependency | undefined;
  base: number;
  /** Bits. */
  offset: number;
  raw: boolean;
  tunnel: string | undefined;
  evaluated: boolean;
  /** It says what protocol comes next. */
  readonly tellsProtocol: boolean;
}

export interface Exthdr extends Typed {
  readonly kind: 'exthdr';
  readonly op: 'ipv6' | 'tcp' | 'ipv4' | 'sctp' | 'dccp';
  /** The number by which the kernel looks for it. */
  readonly header: number;
  /** nft's numbers of header and field, in the user data of sets. */
  readonly number: number;
  readonly fieldNumber: number;
  /** Bits. */
  offset: number;
  readonly present: boolean;
}

export interface Meta extends Typed {
  readonly kind: 'meta';
  /** nft's word. */
  readonly key: string;
  tunnel: string | undefined;
}

export interface Ct extends Typed {
  readonly kind: 'ct';
  readonly key: string;
  readonly direction: 'original' | 'reply' | undefined;
  family: 'ip' | 'ip6' | undefined;
}

/** Everything else that is loaded with one instruction. */
export interface Load extends Typed {
  readonly kind: 'load';
  readonly name: 'rt' | 'socket' | 'osf' | 'fib' | 'numgen' | 'hash' | 'xfrm' | 'tunnel';
  key: string;
  /** The instruction without its register. */
  instruction: Record<string, unknown>;
  /** nft's numbers, in the user data of sets. */
  readonly numbers: readonly (readonly [type: number, value: number])[];
  /** The highest value that it can have, where it has a limit. */
  readonly maximum?: number;
  /** Of a Jenkins hash. */
  argument?: Term;
}

export interface Concatenation extends Typed {
  readonly kind: 'concat';
  readonly parts: Term[];
  /** Bytes of each part, without padding. */
  fields: number[];
  constant: boolean;
  singleton: boolean;
}

/** Flags of a bitmask. */
export interface List extends Typed {
  readonly kind: 'list';
  readonly items: Term[];
}

export interface Element extends Typed {
  readonly kind: 'element';
  key: Term;
  readonly timeoutMilliseconds: bigint | undefined;
  readonly expirationMilliseconds: bigint | undefined;
  readonly comment: string | undefined;
  readonly expressions: readonly Expression[];
}

/** A key of a map with its value. */
export interface Mapping extends Typed {
  readonly kind: 'mapping';
  readonly left: Element;
  right: Term;
}

export interface SetLiteral extends Typed {
  readonly kind: 'set';
  members: (Element | Mapping)[];
  interval: boolean;
  concatenation: boolean;
}

export interface SetReference extends Typed {
  readonly kind: 'set-reference';
  readonly set: SetInfo;
}

export interface MapTerm extends Typed {
  readonly kind: 'map';
  key: Term;
  mappings: Term;
}

/** A change of byte order; made here, never written. */
export interface Conversion extends Typed {
  readonly kind: 'conversion';
  readonly to: 'host' | 'big';
  readonly argument: Term;
}

export type BinaryOperator = '&' | '|' | '^' | '<<' | '>>';

export interface Binary extends Typed {
  readonly kind: 'binary';
  op: BinaryOperator;
  left: Term;
  right: Term;
}

export interface VerdictTerm extends Typed {
  readonly kind: 'verdict';
  readonly verdict: 'accept' | 'drop' | 'continue' | 'return' | 'jump' | 'goto';
  readonly chain: string | undefined;
}

/** '*': every key that has no element. */
export interface CatchAll extends Typed {
  readonly kind: 'catch-all';
}

export type Term =
  | Value
  | Word
  | NamedSet
  | Prefix
  | Range
  | Payload
  | Exthdr
  | Meta
  | Ct
  | Load
  | Concatenation
  | List
  | Element
  | Mapping
  | SetLiteral
  | SetReference
  | MapTerm
  | Conversion
  | Binary
  | VerdictTerm
  | CatchAll;

/** A set that a rule refers to: one with a name, or one that is made for it. */
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
  key: Term;
  data: Term | undefined;
  /** The values are ranges. */
  dataInterval: boolean;
  objectType: string | undefined;
  size: number | undefined;
  /** Bytes of each part of the key, where the kernel has to know. */
  fields: number[] | undefined;
  members: (Element | Mapping)[];
}

export function value(place: Place | undefined, type: Datatype, order: ByteOrder, bits: number, number: bigint): Value {
  return { kind: 'value', place, type, order, bits, value: number };
}

/** Stands for the values of a map of verdicts. */
export function anyVerdict(): VerdictTerm {
  const typed = { place: undefined, type: TYPES.verdict, order: undefined, bits: 0 };
  return { kind: 'verdict', ...typed, verdict: 'accept', chain: undefined };
}

export function binary(place: Place | undefined, op: BinaryOperator, left: Term, right: Term): Binary {
  return { kind: 'binary', place, type: TYPES.invalid, order: undefined, bits: 0, op, left, right };
}

export function range(place: Place | undefined, left: Term, right: Term): Range {
  return { kind: 'range', place, type: TYPES.invalid, order: undefined, bits: 0, left, right };
}

export function prefix(place: Place | undefined, base: Term, length: number): Prefix {
  return { kind: 'prefix', place, type: TYPES.invalid, order: undefined, bits: 0, base, length };
}

export function element(place: Place | undefined, key: Term): Element {
  return {
    kind: 'element',
    place,
    type: TYPES.invalid,
    order: undefined,
    bits: 0,
    key,
    timeoutMilliseconds: undefined,
    expirationMilliseconds: undefined,
    comment: undefined,
    expressions: [],
  };
}

export function setLiteral(place: Place | undefined, members: (Element | Mapping)[]): SetLiteral {
  return {
    kind: 'set',
    place,
    type: TYPES.invalid,
    order: undefined,
    bits: 0,
    members,
    interval: false,
    concatenation: false,
  };
}

export function concatenation(place: Place | undefined, parts: Term[]): Concatenation {
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

/** Known without the packet. */
export function isConstant(term: Term): boolean {
  switch (term.kind) {
    case 'value':
    case 'verdict':
    case 'set':
    case 'set-reference':
    case 'map':
    case 'catch-all':
      return true;
    case 'prefix':
    case 'range':
    case 'mapping':
      // Only those that have been evaluated are asked.
      return true;
    case 'element':
      return isConstant(term.key);
    case 'concat':
      return term.constant;
    default:
      return false;
  }
}

/** Stands for one value only. */
export function isSingleton(term: Term): boolean {
  switch (term.kind) {
    case 'value':
    case 'verdict':
    case 'catch-all':
      return true;
    case 'element':
      return isSingleton(term.key);
    case 'mapping':
      return isSingleton(term.left);
    case 'concat':
      return term.singleton;
    default:
      return false;
  }
}

export const isText = (type: Datatype): boolean => type.kind === 'string';
/** Of numbers, whatever they are printed as. */
export const isNumeric = (type: Datatype): boolean =>
  type.kind !== 'string' && type.kind !== 'verdict' && type.kind !== 'invalid' && type.kind !== 'concatenation';
/** Made of flags that have names. */
export const isFlags = (type: Datatype): boolean => type.kind === 'bitmask' || type.kind === 'label';

export const bytesOf = (bits: number): number => (bits + 7) >> 3;
/** Registers are four bytes each. */
export const paddedBytes = (bits: number): number => ((bits + 31) >> 5) * 4;
const MASKS: readonly bigint[] = /* @__PURE__ */ Array.from({ length: 129 }, (_, bits) => (1n << BigInt(bits)) - 1n);
export const bitmask = (bits: number): bigint => MASKS[bits] ?? (1n << BigInt(bits)) - 1n;

export const prefixMask = (bits: number, length: number): bigint => bitmask(bits) ^ bitmask(bits - length);
