import type { WireElement } from '../../nf_tables/element.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { bitmask, bytesOf, paddedBytes, swapped } from '../bits.ts';
import { concatenationOf, type Datatype, datatypeByNumber, TYPES, VERDICT_DATA_TYPE } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { elementOf, isNumeric, isSingleton, value } from '../nodes.ts';
import type { Concat, Element, Mapping, Node, SetInfo, Value } from '../tree.ts';
import { describe, described } from '../typeof.ts';
import type { CompiledSet } from './ir.ts';
import { toBytes } from './number.ts';

/* Converts sets to the fields of messages, and back. */

const typeNumber = (type: Datatype): number => (type.kind === 'verdict' ? VERDICT_DATA_TYPE : type.id);
const orderOf = (term: Node) => (term.order === 'host' ? 'host' : term.order === 'big' ? 'big' : 0);

/** Returns a set of a rule with its elements, as nft sends them. */
export function wireSet(
  info: SetInfo,
  place: { family: NftSet['family']; table: string },
  dialect: Dialect,
): CompiledSet {
  const { key, data } = info;
  const elements = info.members.length === 0 ? [] : wireElements(info);
  const flags: NonNullable<NftSet['flags']> = [];
  if (info.anonymous) flags.push('anonymous', 'constant');
  if (info.interval) flags.push('interval');
  if (info.map && !info.object) flags.push('map');
  if (info.timeout) flags.push('timeout');
  if (info.dynamic) flags.push('dynamic');
  if (info.object) flags.push('object');
  if (info.concatenation) flags.push('concatenation');
  const keyTypeof = describe(key, dialect);
  const dataTypeof = data === undefined ? undefined : describe(data, dialect);
  const size = dialect.countsElementsOfSets && info.anonymous ? oldSize(info) : info.size;
  const fields = info.fields?.map(length => ({ length }));
  const set: CompiledSet['set'] = {
    ...place,
    name: info.name,
    flags,
    keyType: typeNumber(key.type),
    keyLength: bytesOf(key.bits),
    id: info.id ?? 0,
    ...(data !== undefined && !info.object && { dataType: typeNumber(data.type), dataLength: bytesOf(data.bits) }),
    ...(info.objectType !== undefined && { objectType: info.objectType as 'counter' }),
    ...((size !== undefined || fields !== undefined) && {
      description: { ...(size !== undefined && { size }), ...(fields !== undefined && { fields }) },
    }),
    keyByteOrder: orderOf(key) as 'host',
    ...(data !== undefined && !info.object && { dataByteOrder: orderOf(data) as 'host' }),
    ...((info.merges || (dialect.mergesAnonymousSets && info.anonymous && info.interval && !info.map)) && {
      mergeElements: 1,
    }),
    ...(keyTypeof !== undefined && { keyTypeof }),
    ...(dataTypeof !== undefined && { dataTypeof }),
    ...(data !== undefined && { dataInterval: info.dataInterval ? 1 : 0 }),
  };
  return { set, elements };
}

/** Returns the elements as nft sends them. `leadingEnd` marks the gap before the first range, as nft does in empty sets. */
export function wireElements(info: SetInfo, leadingEnd = info.anonymous): WireElement[] {
  if (!info.interval || info.concatenation) return info.members.map(member => wireElement(member, info));
  const elements: WireElement[] = [];
  const length = bytesOf(info.key.bits);
  const ranges = info.members.filter(member => elementOf(member).key.kind === 'range');
  const first = ranges[0];
  if (first !== undefined && endsOf(first).low !== 0n && leadingEnd)
    elements.push({ key: toBytes(0n, 'big', length), flags: ['interval-end'] });
  for (const [i, member] of ranges.entries()) {
    const { low, high } = endsOf(member);
    const isLast = high === bitmask(info.key.bits);
    const element: WireElement = { key: toBytes(low, 'big', length), ...attached(member, info) };
    if (isLast) element.userdataFlags = ['open-interval'];
    elements.push(element);
    const next = ranges[i + 1];
    const touches = info.anonymous && next !== undefined && endsOf(next).low === high + 1n;
    if (!isLast && !touches) elements.push({ key: toBytes(high + 1n, 'big', length), flags: ['interval-end'] });
  }
  for (const member of info.members)
    if (elementOf(member).key.kind === 'catch-all') elements.push(wireElement(member, info));
  return elements;
}

/** Returns the number of elements that nft 1.0.6 announced. It counts two for each range, even if no end is sent, and one for all other keys. */
function oldSize({ members, interval, concatenation }: SetInfo): number {
  if (!interval || concatenation) return members.length;
  const ranges = members.filter(member => elementOf(member).key.kind === 'range');
  const [first] = ranges;
  return members.length + ranges.length + (first !== undefined && endsOf(first).low !== 0n ? 1 : 0);
}

function endsOf(member: Element | Mapping): { low: bigint; high: bigint } {
  const { key } = elementOf(member);
  if (key.kind !== 'range') return { low: 0n, high: 0n };
  return { low: (key.left as Value).value, high: (key.right as Value).value };
}

function wireElement(member: Element | Mapping, info: SetInfo): WireElement {
  const { key } = elementOf(member);
  if (key.kind === 'catch-all') return { flags: ['catch-all'], ...attached(member, info) };
  if (key.kind === 'concat') {
    if (!info.interval) return { key: partsOf(key, keyPart), ...attached(member, info) };
    return {
      key: partsOf(key, part => lowEnd(part, true)),
      keyEnd: partsOf(key, part => highEnd(part, true)),
      ...attached(member, info),
    };
  }
  return { key: toBytes((key as Value).value, key.order, bytesOf(key.bits)), ...attached(member, info) };
}

function partsOf(concat: Concat, write: (part: Node) => string): string {
  let hex = '';
  for (const part of concat.parts) {
    hex += write(part).padEnd(paddedBytes(part.bits) * 2, '0');
  }
  return hex;
}

const keyPart = (part: Node): string => toBytes((part as Value).value, part.order, bytesOf(part.bits));

/** Swaps numbers in the host's order if ranges are compared, because the kernel compares them byte by byte. */
function exported(number: bigint, term: Node, turned: boolean): string {
  const bytes = bytesOf(term.bits);
  const turn = turned && isNumeric(term.type) && term.order === 'host';
  return toBytes(turn ? swapped(number, bytes) : number, term.order, bytes);
}

function lowEnd(part: Node, turned: boolean): string {
  if (part.kind === 'range') return exported((part.left as Value).value, part.left, turned);
  if (part.kind === 'prefix') return exported((part.base as Value).value, part, turned && isNumeric(part.type));
  return exported((part as Value).value, part, turned);
}

function highEnd(part: Node, turned: boolean): string {
  if (part.kind === 'range') return exported((part.right as Value).value, part.right, turned);
  if (part.kind === 'prefix') {
    const bytes = bytesOf(part.bits);
    const low = (part.base as Value).value;
    const rest = bitmask(part.bits - part.length);
    if (!isNumeric(part.type)) return toBytes(low + swapped(rest, bytes), part.order, bytes);
    return exported(low + rest, part, turned);
  }
  return exported((part as Value).value, part, turned);
}

/** Returns the fields that an element has in addition to its key. */
function attached(member: Element | Mapping, info: SetInfo): Partial<WireElement> {
  const element = elementOf(member);
  const { expressions } = element;
  return {
    ...(member.kind === 'mapping' && dataOf(member.right, info)),
    ...(element.timeout !== undefined && { timeoutMilliseconds: element.timeout }),
    ...(element.expires !== undefined && { expirationMilliseconds: element.expires }),
    ...(element.comment !== undefined && { comment: element.comment }),
    ...(expressions.length === 1 && { expression: expressions[0]! }),
    ...(expressions.length > 1 && { expressions: [...expressions] }),
  };
}

function dataOf(term: Node, info: SetInfo): Partial<WireElement> {
  if (info.object) return { object: textOf(term as Value) };
  if (term.kind === 'verdict')
    return { data: { verdict: term.verdict as 'accept', ...(term.chain !== undefined && { chain: term.chain }) } };
  if (term.kind === 'concat') {
    const low = partsOf(term, part => lowEnd(part, false));
    return { data: isSingleton(term) ? low : low + partsOf(term, part => highEnd(part, false)) };
  }
  if (term.kind === 'range' || term.kind === 'prefix') {
    const width = paddedBytes(term.bits) * 2;
    return { data: lowEnd(term, false).padEnd(width, '0') + highEnd(term, false).padEnd(width, '0') };
  }
  return { data: keyPart(term) };
}

export function textOf(term: Value): string {
  const hex = toBytes(term.value, 'host', bytesOf(term.bits)).replace(/(00)+$/, '');
  return Buffer.from(hex, 'hex').toString();
}

const TYPE_BITS = 6;

function typeOf(number: number, bits: number): Datatype {
  if (number === VERDICT_DATA_TYPE) return TYPES.verdict;
  if (number < 1 << TYPE_BITS) return datatypeByNumber(number) ?? TYPES.invalid;
  const parts: Datatype[] = [];
  for (let rest = number; rest > 0; rest = Math.floor(rest / (1 << TYPE_BITS)))
    parts.unshift(datatypeByNumber(rest % (1 << TYPE_BITS)) ?? TYPES.invalid);
  return { ...concatenationOf(parts), bits };
}

/** Returns the facts that a rule needs about an existing set. */
export function setInfo(set: NftSet): SetInfo {
  const flags = new Set(set.flags);
  const keyBits = (set.keyLength ?? 0) * 8;
  const key = termOf(set.keyType ?? 0, keyBits, set.keyByteOrder, set.keyTypeof);
  const map = flags.has('map');
  const object = flags.has('object');
  const data = map
    ? termOf(set.dataType ?? 0, (set.dataLength ?? 0) * 8, set.dataByteOrder, set.dataTypeof)
    : undefined;
  // The description is that of one end of the range.
  if (data !== undefined && set.dataInterval === 1) data.bits = (set.dataLength ?? 0) * 8;
  return {
    name: set.name,
    id: set.id,
    anonymous: flags.has('anonymous'),
    map: map || object,
    object,
    interval: flags.has('interval'),
    concatenation: flags.has('concatenation'),
    merges: set.mergeElements === 1,
    timeout: flags.has('timeout'),
    dynamic: flags.has('dynamic'),
    key,
    data: object ? value(255 * 8, 0n, TYPES.string, 'host') : data,
    dataInterval: set.dataInterval === 1,
    objectType: set.objectType as string | undefined,
    size: set.description?.size,
    fields: set.description?.fields?.map(field => field.length),
    members: [],
  };
}

function termOf(number: number, bits: number, order: unknown, description: string | undefined): Node {
  const known = description === undefined ? undefined : described(description);
  // Some options have names for numbers that the type alone does not name.
  const type = known?.kind === 'exthdr' && known.type.id === number ? known.type : typeOf(number, bits);
  if (known?.kind === 'concat') return { ...known, type, bits };
  const byteOrder = order === 'host' ? 'host' : order === 'big' ? 'big' : type.order;
  return value(type.kind === 'verdict' ? 0 : known?.kind === 'payload' ? known.bits : bits, 0n, type, byteOrder);
}
