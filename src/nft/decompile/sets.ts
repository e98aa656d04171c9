import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { Data } from '../../nf_tables/data.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import {
  type ByteOrder,
  concatenationOf,
  type Datatype,
  datatypeByNumber,
  TYPES,
  VERDICT_DATA_TYPE,
} from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { readStates } from '../statements/stateful.ts';
import { bytesOf, ones, paddedBits, reverseBytes, switchOrder, textNumber } from './bits.ts';
import { ELEMENTS_AT_ONCE, finish, type InParts, sortInParts } from './in-parts.ts';
import { joinRanges, rangeOrPrefix, rangesOf } from './intervals.ts';
import {
  type Concat,
  type ElementState,
  isBitmask,
  isString,
  type ListedSet,
  type Mapping,
  type Node,
  range,
  registerValue,
  type SetLiteral,
  type SetMember,
  type SetShape,
  Undecompilable,
  untyped,
  type Value,
  type VerdictNode,
  value,
} from './tree.ts';
import { readTypeof } from './typeof.ts';
import { flagsToTree } from './values.ts';

/** What a set's description says about its keys and values. */
export class ReadShape implements SetShape {
  readonly set: ListedSet;
  readonly name: string;
  readonly flags: readonly (string | number)[];
  readonly key: Node;
  /** The set was made with `typeof`, and `key` is that. */
  readonly isTypeof: boolean;
  readonly data: Node | undefined;
  readonly dataIsRange: boolean;
  readonly statements: ElementState[];
  readonly dialect: Dialect;

  constructor(set: ListedSet, dialect: Dialect) {
    this.set = set;
    this.dialect = dialect;
    this.name = set.name;
    this.flags = set.flags ?? [];
    this.dataIsRange = (set.dataInterval ?? 0) !== 0;
    const dataTypeof = set.dataTypeof === undefined ? undefined : readTypeof(set.dataTypeof);
    let keyTypeof = set.keyTypeof === undefined ? undefined : readTypeof(set.keyTypeof);
    if (this.has('map')) {
      const bits = (set.dataLength ?? 0) * 8;
      const exact = this.dataIsRange ? bits / 2 : bits;
      const isVerdict = set.dataType === VERDICT_DATA_TYPE;
      if (dataTypeof !== undefined && (isVerdict || bytesOf(dataTypeof.bits) === Math.floor(exact / 8))) {
        dataTypeof.bits = bits;
        this.data = dataTypeof;
      } else {
        this.data = value(bits, 0n, typeOf(set.dataType ?? 0), set.dataByteOrder as ByteOrder);
        keyTypeof = undefined;
      }
    } else if (this.has('object')) {
      this.data = value(0, 0n, TYPES.string, 'host');
    }
    const bits = (set.keyLength ?? 0) * 8;
    this.isTypeof = keyTypeof !== undefined && bytesOf(keyTypeof.bits) === set.keyLength;
    this.key = this.isTypeof ? keyTypeof! : value(bits, 0n, typeOf(set.keyType ?? 0), set.keyByteOrder as ByteOrder);
    this.statements = readStates(set);
  }

  has(flag: string): boolean {
    return this.flags.includes(flag);
  }

  get isAnonymous(): boolean {
    return this.has('anonymous');
  }

  /** The elements as nft sorts and joins them. */
  literal(): SetLiteral {
    return finish(this.literalInParts());
  }

  *literalInParts(): InParts<SetLiteral> {
    const members: SetMember[] = [];
    let read = 0;
    for (const element of this.set.elements ?? []) {
      this.#read(element, members);
      if (++read % ELEMENTS_AT_ONCE === 0) yield;
    }
    const interval = this.has('interval');
    const elements =
      interval && (this.set.description?.fields?.length ?? 0) > 1
        ? yield* joinRanges(members, this.dialect)
        : interval
          ? yield* rangesOf(members, this.dialect)
          : yield* sorted(members, this.dialect);
    return {
      kind: 'set',
      ...untyped(),
      type: this.key.type,
      elements,
      anonymous: this.isAnonymous,
    };
  }

  #read(element: WireElement, members: SetMember[]): void {
    const isEnd = element.flags?.includes('interval-end') ?? false;
    if (element.flags?.includes('catch-all')) {
      members.push(this.#member(element, { kind: 'catch-all', ...untyped(this.key.bits) }, false));
      return;
    }
    if (typeof element.key !== 'string') throw new Undecompilable('an element without a key');
    members.push(this.#member(element, this.#key(element.key), isEnd));
    if (!isEnd && element.keyEnd !== undefined) {
      if (typeof element.keyEnd !== 'string') throw new Undecompilable('an element without a key');
      members.push(this.#member(element, this.#key(element.keyEnd), true));
    }
  }

  #key(hex: string): Node {
    const { type } = this.key;
    const number = registerValue(hex);
    number.type = type;
    number.order = this.key.order;
    if (type.parts !== undefined) return this.#concat(this.key, number);
    if (!this.has('interval') && number.order === 'host') switchOrder(number);
    return isBitmask(type) ? flagsToTree(number) : number;
  }

  #member(element: WireElement, plain: Node, intervalEnd: boolean): SetMember {
    let key = plain;
    if (this.has('map')) {
      if (element.data !== undefined) key = mapping(plain, this.#data(element.data));
    } else if (this.has('object') && element.object !== undefined) {
      const name = textNumber(element.object);
      key = mapping(plain, value(name.bits, name.value, TYPES.string, 'host'));
    }
    return {
      kind: 'element',
      type: key.type,
      order: key.order,
      bits: key.bits,
      key,
      timeout: element.timeoutMilliseconds,
      expires: element.expirationMilliseconds,
      comment: element.comment,
      statements: readStates(element),
      intervalEnd,
    };
  }

  #data(data: Data): Node {
    if (typeof data !== 'string') return verdict(data);
    const own = this.data!;
    const number = registerValue(data);
    number.type = own.type.name === 'queue' ? TYPES.integer : own.type;
    number.order = own.order;
    if (own.type.parts !== undefined) return this.#concat(own, number, this.dataIsRange);
    if (this.dataIsRange) {
      const half = number.bits / 2;
      const order = own.type.order;
      const side = (part: bigint) =>
        value(
          half,
          order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverseBytes(part, half / 8) : part,
          number.type,
          order,
        );
      return rangeOrPrefix(side(number.value >> BigInt(half)), side(number.value & ones(half)));
    }
    if (number.order === 'host') switchOrder(number);
    return number;
  }

  /** A key, or data, of several parts: each has registers of its own. */
  #concat(shape: Node, whole: Value, ranges = false): Concat {
    const types = shape.type.parts!;
    const fields = shape.kind === 'concat' && shape === this.key ? shape.parts : undefined;
    const take = () =>
      types.map((type, i) => {
        const field = fields?.[i];
        const bits = bytesOf(field?.bits ?? type.bits) * 8;
        const part = splice(whole, bits);
        part.type = field?.type ?? type;
        part.order = field === undefined ? type.order : field.order;
        part.bits = field?.bits ?? bits;
        if (isString(part.type) || (!this.has('interval') && part.order === 'host')) switchOrder(part);
        whole.bits -= Math.min(whole.bits, paddedBits(bits) - bits);
        return part;
      });
    const parts: Node[] = take();
    if (ranges) {
      const ends = take();
      for (const [i, end] of ends.entries()) parts[i] = reduced(parts[i] as Value, end);
    } else {
      for (const [i, part] of parts.entries()) if (isBitmask(part.type)) parts[i] = flagsToTree(part as Value);
    }
    return { kind: 'concat', ...untyped(), type: shape.type, parts };
  }
}

export function mapping(left: Node, right: Node): Mapping {
  return { kind: 'mapping', type: left.type, order: left.order, bits: 0, left, right };
}

/** The type that a set's number stands for: six bits for each part of a concatenation. */
export function typeOf(number: number): Datatype {
  if (number === VERDICT_DATA_TYPE) return TYPES.verdict;
  if (number < 64) {
    const found = datatypeByNumber(number);
    if (found === undefined) throw new Undecompilable(`a set of the unknown type ${number}`);
    return found;
  }
  const parts: Datatype[] = [];
  for (let rest = number; rest > 0; rest = Math.floor(rest / 64)) parts.unshift(typeOf(rest % 64));
  return concatenationOf(parts);
}

/** Takes the highest bits off. */
export function splice(from: Value, bits: number): Value {
  const rest = from.bits - bits;
  if (rest < 0) throw new Undecompilable('a value that is shorter than its parts');
  const part = value(bits, (from.value >> BigInt(rest)) & ones(bits));
  from.bits = rest;
  return part;
}

export function verdict({ verdict: name, chain }: Exclude<Data, string>): VerdictNode {
  if (typeof name !== 'string') throw new Undecompilable(`the verdict ${name}`);
  return { kind: 'verdict', ...untyped(), type: TYPES.verdict, verdict: name, chain };
}

function reduced(left: Value, right: Value): Node {
  if (left.value === right.value) return left;
  return left.type.kind === 'ipv4' || left.type.kind === 'ipv6' ? rangeOrPrefix(left, right) : range(left, right);
}

function* sorted(members: readonly SetMember[], dialect: Dialect): InParts<SetMember[]> {
  const given = dialect.sortsEqualsBackwards ? [...members].reverse() : members;
  const keyed: { member: SetMember; at: bigint }[] = [];
  for (const member of given) {
    keyed.push({ member, at: sortValue(member.key, dialect) });
    if (keyed.length % ELEMENTS_AT_ONCE === 0) yield;
  }
  const inOrder = yield* sortInParts(keyed, (a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  return inOrder.map(({ member }) => member);
}

/** By what nft sorts: texts as the bytes that they are, and behind all numbers. */
function sortValue(node: Node, dialect: Dialect): bigint {
  switch (node.kind) {
    case 'binary':
    case 'mapping':
    case 'range':
      return sortValue(node.left, dialect);
    case 'value': {
      if (dialect.sortsByMemory || !isString(node.type)) return node.value;
      const bytes = bytesOf(node.bits);
      const text = HOST_IS_LITTLE_ENDIAN ? reverseBytes(node.value, bytes) : node.value;
      return text << BigInt((node.bits - bytes) * 8);
    }
    case 'concat':
      return dialect.sortsByMemory ? memoryValue(node.parts) : joinedValue(node.parts);
    case 'catch-all':
      return ones(node.bits);
    default:
      throw new Undecompilable(`an element that is a ${node.kind}`);
  }
}

function joinedValue(parts: readonly Node[]): bigint {
  let whole = 0n;
  for (const part of parts) {
    const bits = bytesOf(part.bits) * 8;
    whole = (whole << BigInt(bits)) | (part.kind === 'value' ? part.value & ones(bits) : 0n);
  }
  return whole;
}

/** Each part in its own order, and all of it as a number of this machine. */
function memoryValue(parts: readonly Node[]): bigint {
  let whole = 0n;
  let bytes = 0;
  for (const part of parts) {
    const length = bytesOf(part.bits);
    const number = part.kind === 'value' ? part.value & ones(length * 8) : 0n;
    const memory = part.order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverseBytes(number, length) : number;
    whole = (whole << BigInt(length * 8)) | memory;
    bytes += length;
  }
  return HOST_IS_LITTLE_ENDIAN ? reverseBytes(whole, bytes) : whole;
}

/** Sets by name; those of a rule that was compiled and not yet written, by the number that they have there. */
export type SetFinder = (name: string, id?: number) => ListedSet | undefined;

/** The sets that rules refer to. */
export class Sets {
  readonly #find: SetFinder;
  readonly #dialect: Dialect;
  readonly #shapes = new Map<ListedSet, SetShape>();

  constructor(find: SetFinder, dialect: Dialect) {
    this.#find = find;
    this.#dialect = dialect;
  }

  /** The set as it was listed. */
  listed(name: string, id?: number): ListedSet | undefined {
    return this.#find(name, id);
  }

  find(name: string | undefined, id?: number): SetShape {
    const set = name === undefined ? undefined : this.#find(name, id);
    if (set === undefined) throw new Undecompilable(`a set that is not known: ${name}`);
    let shape = this.#shapes.get(set);
    if (shape === undefined) {
      shape = new ReadShape(set, this.#dialect);
      this.#shapes.set(set, shape);
    }
    return shape;
  }
}
