import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { Data } from '../../nf_tables/data.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { bitmask, bytesOf, paddedBits, reverseBytes, switchOrder, textNumber } from '../bits.ts';
import {
  type ByteOrder,
  concatenationOf,
  type Datatype,
  datatypeByNumber,
  TYPES,
  VERDICT_DATA_TYPE,
} from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import {
  catchAll,
  concat,
  element,
  elementOf,
  isFlags,
  isText,
  mapping,
  range,
  registerValue,
  setLiteral,
  value,
  verdict,
} from '../nodes.ts';
import { readStates } from '../statements/stateful.ts';
import {
  type Concat,
  type ElementState,
  type ListedSet,
  type Node,
  type SetInfo,
  type SetLiteral,
  type SetMember,
  Undecompilable,
  type Value,
  type Verdict,
} from '../tree.ts';
import { described } from '../typeof.ts';
import { ELEMENTS_AT_ONCE, finish, type InParts, sortInParts } from './in-parts.ts';
import { joinRanges, rangeOrPrefix, rangesOf } from './intervals.ts';
import { flagsToTree } from './values.ts';

/** The keys and values of a set, from its description. */
export class ReadShape implements SetInfo {
  readonly set: ListedSet;
  readonly name: string;
  readonly id: number | undefined;
  readonly flags: readonly (string | number)[];
  readonly anonymous: boolean;
  readonly map: boolean;
  readonly object: boolean;
  readonly interval: boolean;
  readonly concatenation: boolean;
  readonly merges: boolean;
  readonly timeout: boolean;
  readonly dynamic: boolean;
  readonly key: Node;
  /** The set was made with `typeof`, and `key` is its expression. */
  readonly isTypeof: boolean;
  readonly data: Node | undefined;
  readonly dataInterval: boolean;
  readonly objectType: string | undefined;
  readonly size: number | undefined;
  readonly fields: number[] | undefined;
  readonly members: SetMember[] = [];
  readonly statements: ElementState[];
  readonly dialect: Dialect;

  constructor(set: ListedSet, dialect: Dialect) {
    this.set = set;
    this.dialect = dialect;
    this.name = set.name;
    this.id = set.id;
    this.flags = set.flags ?? [];
    this.anonymous = this.has('anonymous');
    this.map = this.has('map');
    this.object = this.has('object');
    this.interval = this.has('interval');
    this.concatenation = this.has('concatenation');
    this.merges = set.mergeElements === 1;
    this.timeout = this.has('timeout');
    this.dynamic = this.has('dynamic');
    this.dataInterval = (set.dataInterval ?? 0) !== 0;
    this.objectType = set.objectType as string | undefined;
    this.size = set.description?.size;
    this.fields = set.description?.fields?.map(({ length }) => length);
    const dataTypeof = set.dataTypeof === undefined ? undefined : described(set.dataTypeof);
    let keyTypeof = set.keyTypeof === undefined ? undefined : described(set.keyTypeof);
    if (this.map) {
      const bits = (set.dataLength ?? 0) * 8;
      const exact = this.dataInterval ? bits / 2 : bits;
      const isVerdict = set.dataType === VERDICT_DATA_TYPE;
      if (dataTypeof !== undefined && (isVerdict || bytesOf(dataTypeof.bits) === Math.floor(exact / 8))) {
        dataTypeof.bits = bits;
        this.data = dataTypeof;
      } else {
        this.data = value(bits, 0n, typeOf(set.dataType ?? 0), set.dataByteOrder as ByteOrder);
        keyTypeof = undefined;
      }
    } else if (this.object) {
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

  /** The elements in nft's order, with joined ranges. */
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
    const { interval } = this;
    const sortedMembers =
      interval && (this.set.description?.fields?.length ?? 0) > 1
        ? yield* joinRanges(members, this.dialect)
        : interval
          ? yield* rangesOf(members, this.dialect)
          : yield* sorted(members, this.dialect);
    return setLiteral(sortedMembers, undefined, this.key.type, this.anonymous);
  }

  #read(element: WireElement, members: SetMember[]): void {
    const isEnd = element.flags?.includes('interval-end') ?? false;
    if (element.flags?.includes('catch-all')) {
      members.push(this.#member(element, catchAll(this.key.bits), false));
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
    if (!this.interval && number.order === 'host') switchOrder(number);
    return isFlags(type) ? flagsToTree(number) : number;
  }

  #member(wire: WireElement, key: Node, intervalEnd: boolean): SetMember {
    const read = element(key, {
      timeout: wire.timeoutMilliseconds,
      expires: wire.expirationMilliseconds,
      comment: wire.comment,
      statements: readStates(wire),
      intervalEnd,
    });
    if (this.map) return wire.data === undefined ? read : mapping(read, this.#data(wire.data));
    if (!this.object || wire.object === undefined) return read;
    const name = textNumber(wire.object);
    return mapping(read, value(name.bits, name.value, TYPES.string, 'host'));
  }

  #data(data: Data): Node {
    if (typeof data !== 'string') return verdictOf(data);
    const own = this.data!;
    const number = registerValue(data);
    number.type = own.type.name === 'queue' ? TYPES.integer : own.type;
    number.order = own.order;
    if (own.type.parts !== undefined) return this.#concat(own, number, this.dataInterval);
    if (this.dataInterval) {
      const half = number.bits / 2;
      const order = own.type.order;
      const side = (part: bigint) =>
        value(
          half,
          order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverseBytes(part, half / 8) : part,
          number.type,
          order,
        );
      return rangeOrPrefix(side(number.value >> BigInt(half)), side(number.value & bitmask(half)));
    }
    if (number.order === 'host') switchOrder(number);
    return number;
  }

  /** A key, or data, of several parts. Each part has registers of its own. */
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
        if (isText(part.type) || (!this.interval && part.order === 'host')) switchOrder(part);
        whole.bits -= Math.min(whole.bits, paddedBits(bits) - bits);
        return part;
      });
    const parts: Node[] = take();
    if (ranges) {
      const ends = take();
      for (const [i, end] of ends.entries()) parts[i] = reduced(parts[i] as Value, end);
    } else {
      for (const [i, part] of parts.entries()) if (isFlags(part.type)) parts[i] = flagsToTree(part as Value);
    }
    const node = concat(parts);
    node.type = shape.type;
    return node;
  }
}

/** The type with this number, which has six bits for each part of a concatenation. */
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
  const part = value(bits, (from.value >> BigInt(rest)) & bitmask(bits));
  from.bits = rest;
  return part;
}

export function verdictOf({ verdict: name, chain }: Exclude<Data, string>): Verdict {
  if (typeof name !== 'string') throw new Undecompilable(`the verdict ${name}`);
  return verdict(name, chain);
}

function reduced(left: Value, right: Value): Node {
  if (left.value === right.value) return left;
  return left.type.kind === 'ipv4' || left.type.kind === 'ipv6' ? rangeOrPrefix(left, right) : range(left, right);
}

function* sorted(members: readonly SetMember[], dialect: Dialect): InParts<SetMember[]> {
  const given = dialect.sortsEqualsBackwards ? [...members].reverse() : members;
  const keyed: { member: SetMember; at: bigint }[] = [];
  for (const member of given) {
    keyed.push({ member, at: sortValue(elementOf(member).key, dialect) });
    if (keyed.length % ELEMENTS_AT_ONCE === 0) yield;
  }
  const inOrder = yield* sortInParts(keyed, (a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  return inOrder.map(({ member }) => member);
}

/** The number that nft sorts by: texts are numbers, too, and come behind the others. */
function sortValue(node: Node, dialect: Dialect): bigint {
  switch (node.kind) {
    case 'binary':
    case 'range':
      return sortValue(node.left, dialect);
    case 'value': {
      if (dialect.sortsByMemory || !isText(node.type)) return node.value;
      const bytes = bytesOf(node.bits);
      const text = HOST_IS_LITTLE_ENDIAN ? reverseBytes(node.value, bytes) : node.value;
      return text << BigInt((node.bits - bytes) * 8);
    }
    case 'concat':
      return dialect.sortsByMemory ? memoryValue(node.parts) : joinedValue(node.parts);
    case 'catch-all':
      return bitmask(node.bits);
    default:
      throw new Undecompilable(`an element that is a ${node.kind}`);
  }
}

function joinedValue(parts: readonly Node[]): bigint {
  let whole = 0n;
  for (const part of parts) {
    const bits = bytesOf(part.bits) * 8;
    whole = (whole << BigInt(bits)) | (part.kind === 'value' ? part.value & bitmask(bits) : 0n);
  }
  return whole;
}

/** Each part in its own byte order, all together as a number of this machine. */
function memoryValue(parts: readonly Node[]): bigint {
  let whole = 0n;
  let bytes = 0;
  for (const part of parts) {
    const length = bytesOf(part.bits);
    const number = part.kind === 'value' ? part.value & bitmask(length * 8) : 0n;
    const memory = part.order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverseBytes(number, length) : number;
    whole = (whole << BigInt(length * 8)) | memory;
    bytes += length;
  }
  return HOST_IS_LITTLE_ENDIAN ? reverseBytes(whole, bytes) : whole;
}

/** Finds a set by its name, or, in a rule that is compiled and not yet written, by its number. */
export type SetFinder = (name: string, id?: number) => ListedSet | undefined;

/** The sets that rules refer to. */
export class Sets {
  readonly #find: SetFinder;
  readonly #dialect: Dialect;
  readonly #shapes = new Map<ListedSet, ReadShape>();

  constructor(find: SetFinder, dialect: Dialect) {
    this.#find = find;
    this.#dialect = dialect;
  }

  /** The set as it was listed. */
  listed(name: string, id?: number): ListedSet | undefined {
    return this.#find(name, id);
  }

  find(name: string | undefined, id?: number): ReadShape {
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
