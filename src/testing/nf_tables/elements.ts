import { NLM_F_EXCL } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { isSince } from '../machine/state.ts';
import { EBUSY, EEXIST, EINVAL, ENFILE, ENOENT, EOPNOTSUPP, ERANGE, refuse } from '../refusal.ts';
import type { Attribute, Attributes, Writer } from '../wire/attributes.ts';
import type { Codec, RuleContext, Work } from './context.ts';
import { count, readData, writeData } from './data.ts';
import { cloned, isStateful } from './expressions/stateful.ts';
import { compare } from './expressions/type.ts';
import { pointingAt } from './rules.ts';
import { backendOf, forget, identity, isEnd, isExpired, isWithin, sortedElements } from './set-lookup.ts';
import { setOfMessage } from './sets.ts';
import type { Element, Expression, NftObject, NftSet } from './state.ts';
import { tableOf } from './tables.ts';

const MAX_LENGTH = 64;
/** HZ 250: times are cut to jiffies. */
const JIFFY = 4n;
const UPDATES = [6, 12] as const;

/** Milliseconds as the kernel keeps them: whole jiffies, at least one. */
const jiffies = (milliseconds: bigint): bigint => {
  const cut = (milliseconds / JIFFY) * JIFFY;
  return cut === 0n && milliseconds > 0n ? JIFFY : cut;
};

/** Keeps the elements of a set as they are before a batch takes some away or changes them. */
function keep({ batch }: Work, set: NftSet): void {
  if (batch.kept.has(set)) return;
  batch.kept.add(set);
  const { elements, catchAll } = set;
  const copies = new Map([...elements].map(([name, element]) => [name, { ...element }]));
  batch.undo.push(() => {
    elements.clear();
    for (const [name, element] of copies) elements.set(name, element);
    set.catchAll = catchAll;
    forget(set);
  });
}

export interface ElementChange {
  readonly set: NftSet;
  readonly elements: readonly Element[];
}

/** Adds elements until the first that the kernel refuses. */
export function newElements(work: Work): ElementChange {
  const { attributes } = work;
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) return refuse(EINVAL);
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, Nft.NFTA_SET_ELEM_LIST_SET_ID);
  if (set.bound && (set.flags & (Nft.NFT_SET_CONSTANT | Nft.NFT_SET_ANONYMOUS)) !== 0) refuse(EBUSY);
  const changed: Element[] = [];
  for (const attribute of list.list())
    pointingAt(attribute, () => {
      const added = add(work, set, list.inside(attribute));
      if (added !== undefined) changed.push(added);
    });
  if (changed.some(({ verdict }) => verdict?.chain !== undefined)) work.batch.toValidate.add(table);
  return { set, elements: changed };
}

/** @returns the element, if the set has changed */
function add(work: Work, set: NftSet, inside: Attributes): Element | undefined {
  const { request, engine, batch } = work;
  const element = read(work, set, inside);
  const isExclusive = (request.flags & NLM_F_EXCL) !== 0;
  const existing = conflicting(set, element, engine.now, isExclusive);
  if (existing !== undefined) return refresh(work, set, existing, element);
  if ((element.flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0) {
    set.catchAll = element;
    batch.undo.push(() => {
      set.catchAll = undefined;
    });
  } else {
    const name = identity(element);
    if (set.size > 0 && !isEnd(element) && counted(set) >= set.size) refuse(ENFILE);
    keepExpired(work, set, name);
    set.elements.delete(name);
    set.elements.set(name, element);
    forget(set);
    batch.undo.push(() => {
      set.elements.delete(name);
      forget(set);
    });
  }
  count({ work }, element.verdict, 1);
  const { object } = element;
  if (object !== undefined) {
    object.users++;
    batch.undo.push(() => {
      object.users--;
    });
  }
  return element;
}

/** One that has expired and still takes the place of a new one. */
function keepExpired(work: Work, set: NftSet, name: string): void {
  if (set.elements.has(name)) keep(work, set);
}

/** Sets of intervals count starts only. */
const counted = ({ elements, flags }: NftSet): number =>
  (flags & Nft.NFT_SET_INTERVAL) === 0 ? elements.size : [...elements.values()].filter(each => !isEnd(each)).length;

/** The element that is there already. Refuses what clashes with others. */
function conflicting(set: NftSet, element: Element, now: bigint, isExclusive: boolean): Element | undefined {
  if ((element.flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0) {
    const { catchAll } = set;
    if (catchAll === undefined || isExpired(catchAll, now)) return undefined;
    return same(catchAll, element, isExclusive);
  }
  const backend = backendOf(set);
  if (backend === 'hash') {
    const existing = set.elements.get(identity(element));
    return existing === undefined || isExpired(existing, now) ? undefined : same(existing, element, isExclusive);
  }
  if (backend === 'ranges') {
    const from = element.key!;
    const to = element.keyEnd ?? from;
    if (outOfOrder(set, from, to)) refuse(EINVAL);
    for (const each of set.elements.values()) {
      if (isExpired(each, now)) continue;
      if (!isWithin(set, each, from) && !isWithin(set, each, to)) continue;
      const isSame = compare(each.key!, from) === 0 && compare(each.keyEnd ?? each.key!, to) === 0;
      if (!isSame) return refuse(EEXIST);
      return same(each, element, isExclusive);
    }
    return undefined;
  }
  return inTree(set, element, now, isExclusive);
}

function outOfOrder({ fields }: NftSet, from: Uint8Array, to: Uint8Array): boolean {
  let at = 0;
  for (const length of fields) {
    if (compare(from.subarray(at, at + length), to.subarray(at, at + length)) > 0) return true;
    at += (length + 3) & ~3;
  }
  return false;
}

/** A start or an end strictly inside of another interval, and a pair around one, are refused (__nft_rbtree_insert). */
function inTree(set: NftSet, element: Element, now: bigint, isExclusive: boolean): Element | undefined {
  const existing = set.elements.get(identity(element));
  if (existing !== undefined && !isExpired(existing, now)) return same(existing, element, isExclusive);
  const sorted = sortedElements(set).filter(each => !isExpired(each, now));
  const above = sorted.findIndex(each => compare(each.key!, element.key!) > 0);
  const at = above < 0 ? sorted.length : above;
  const previous = sorted.slice(0, at).findLast(each => compare(each.key!, element.key!) < 0);
  const next = sorted[at];
  if (!isEnd(element)) {
    const isBoundary = sorted.some(each => isEnd(each) && compare(each.key!, element.key!) === 0);
    // Inside of an interval that began before and ends behind.
    if (previous !== undefined && !isEnd(previous) && !isBoundary && next !== undefined && isEnd(next)) refuse(EEXIST);
    return undefined;
  }
  const startsHere = sorted.some(each => !isEnd(each) && compare(each.key!, element.key!) === 0);
  // An end behind another end that no start precedes: it would close what encloses others.
  if (previous !== undefined && isEnd(previous) && !startsHere && sorted.length > 0) refuse(EEXIST);
  return undefined;
}

/** The identical element may be there already, without NLM_F_EXCL; with other data it may not. */
function same(existing: Element, element: Element, isExclusive: boolean): Element {
  if (isExclusive) refuse(EEXIST);
  const { data, verdict, object } = existing;
  const isSame =
    (data === undefined
      ? element.data === undefined
      : element.data !== undefined && compare(data, element.data) === 0) &&
    verdict?.code === element.verdict?.code &&
    verdict?.chain === element.verdict?.chain &&
    object === element.object;
  return isSame ? existing : refuse(EEXIST);
}

/** Another timeout is taken over (Linux 6.12); all else stays as it is. */
function refresh(work: Work, set: NftSet, existing: Element, element: Element): Element | undefined {
  if (!isSince(work.engine.release, UPDATES)) return undefined;
  if (existing.timeout === undefined || element.timeout === undefined || existing.timeout === element.timeout)
    return undefined;
  keep(work, set);
  existing.timeout = element.timeout;
  existing.expires = element.expires;
  return existing;
}

function read(work: Work, set: NftSet, inside: Attributes): Element {
  const { engine } = work;
  const { table } = set;
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  const isInterval = (set.flags & Nft.NFT_SET_INTERVAL) !== 0;
  const ends = (flags & Nft.NFT_SET_ELEM_INTERVAL_END) !== 0;
  const isCatchAll = (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  if ((flags & ~3) !== 0) refuse(EOPNOTSUPP);
  if (ends && (!isInterval || isCatchAll)) refuse(EINVAL);
  if (isCatchAll === inside.has(Nft.NFTA_SET_ELEM_KEY)) refuse(EINVAL);
  const dataAttribute = inside.get(Nft.NFTA_SET_ELEM_DATA);
  const isMap = (set.flags & Nft.NFT_SET_MAP) !== 0;
  if (isMap ? dataAttribute === undefined && !ends : dataAttribute !== undefined) refuse(EINVAL);
  const objectAttribute = inside.get(Nft.NFTA_SET_ELEM_OBJREF);
  const isObjects = (set.flags & Nft.NFT_SET_OBJECT) !== 0;
  if (isObjects ? objectAttribute === undefined && !ends : objectAttribute !== undefined) refuse(EINVAL);
  const forStarts = [
    Nft.NFTA_SET_ELEM_DATA,
    Nft.NFTA_SET_ELEM_OBJREF,
    Nft.NFTA_SET_ELEM_TIMEOUT,
    Nft.NFTA_SET_ELEM_EXPIRATION,
    Nft.NFTA_SET_ELEM_USERDATA,
    Nft.NFTA_SET_ELEM_EXPR,
    Nft.NFTA_SET_ELEM_EXPRESSIONS,
  ];
  if (ends && forStarts.some(each => inside.has(each))) refuse(EINVAL);
  const { timeout, expires } = times(set, inside, ends, engine.now);
  const context: RuleContext = { work, table, chain: undefined, written: 0 };
  const key = (type: number): Uint8Array | undefined => {
    const attribute = inside.get(type);
    if (attribute === undefined) return undefined;
    const value = readData(context, inside, attribute, MAX_LENGTH, true);
    return value instanceof Uint8Array && value.length === set.keyLength ? value : refuse(EINVAL);
  };
  let data: Element['data'];
  let verdict: Element['verdict'];
  const first = key(Nft.NFTA_SET_ELEM_KEY);
  const keyEnd = key(Nft.NFTA_SET_ELEM_KEY_END);
  if (dataAttribute !== undefined) {
    const value = readData(context, inside, dataAttribute, MAX_LENGTH, true);
    const isVerdict = !(value instanceof Uint8Array);
    if (isVerdict !== set.dataType > 0xffff_fe00) refuse(EINVAL);
    if (isVerdict) verdict = value;
    else if (value.length !== set.dataLength) refuse(EINVAL);
    else data = value;
  }
  let object: NftObject | undefined;
  if (objectAttribute !== undefined) {
    const name = inside.text(Nft.NFTA_SET_ELEM_OBJREF);
    object = table.objects.find(each => each.name === name && each.type === set.objectType) ?? refuse(ENOENT);
  }
  const own = readExpressions(context, set, inside);
  const expressions = own.length > 0 || ends ? own : set.expressions.map(each => cloned(each, engine.now));
  const userdata = inside.get(Nft.NFTA_SET_ELEM_USERDATA)?.bytes.slice();
  return { key: first, keyEnd, flags, data, verdict, object, expressions, timeout, expires, userdata };
}

function times(set: NftSet, inside: Attributes, ends: boolean, now: bigint): Pick<Element, 'timeout' | 'expires'> {
  const hasTimeouts = (set.flags & Nft.NFT_SET_TIMEOUT) !== 0;
  const given = inside.u64be(Nft.NFTA_SET_ELEM_TIMEOUT);
  const left = inside.u64be(Nft.NFTA_SET_ELEM_EXPIRATION);
  if ((given !== undefined || left !== undefined) && !hasTimeouts) refuse(EINVAL);
  const timeout = given === undefined ? (hasTimeouts && !ends ? set.timeout : 0n) : jiffies(given);
  if (left !== undefined) {
    if (timeout === 0n) refuse(EOPNOTSUPP);
    if (left > timeout) refuse(ERANGE);
  }
  if (timeout === 0n) return { timeout: undefined, expires: undefined };
  return { timeout, expires: now + (left === undefined ? timeout : jiffies(left)) };
}

function readExpressions(context: RuleContext, set: NftSet, inside: Attributes): Expression[] {
  const one = inside.get(Nft.NFTA_SET_ELEM_EXPR);
  const many = inside.nested(Nft.NFTA_SET_ELEM_EXPRESSIONS);
  const given = one === undefined ? (many?.list() ?? []).map(each => many!.inside(each)) : [inside.inside(one)];
  const expressions = given.map(each => context.work.engine.read(each, context));
  if (!expressions.every(each => isStateful(each.name))) refuse(EOPNOTSUPP);
  const wanted = set.expressions;
  const fits = wanted.length === expressions.length && wanted.every((each, i) => each.name === expressions[i]!.name);
  if (expressions.length > 0 && wanted.length > 0 && !fits) refuse(EOPNOTSUPP);
  return expressions;
}

/** Deletes the elements that a message lists, or all where it lists none. */
export function deleteElements(work: Work, isDestroy: boolean): ElementChange {
  const { attributes } = work;
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, 0);
  if ((set.flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EOPNOTSUPP);
  if (set.bound && (set.flags & Nft.NFT_SET_CONSTANT) !== 0) refuse(EBUSY);
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  keep(work, set);
  if (list === undefined) {
    const all = [...set.elements.values(), ...(set.catchAll ? [set.catchAll] : [])].filter(
      each => !isExpired(each, work.engine.now),
    );
    for (const element of all) remove(work, set, element);
    return { set, elements: all };
  }
  const deleted: Element[] = [];
  for (const attribute of list.list()) {
    const element = pointingAt(attribute, () => find(work, set, list, attribute, isDestroy));
    if (element === undefined) continue;
    remove(work, set, element);
    deleted.push(element);
  }
  return { set, elements: deleted };
}

function find(
  work: Work,
  set: NftSet,
  list: Attributes,
  attribute: Attribute,
  isDestroy: boolean,
): Element | undefined {
  const inside = list.inside(attribute);
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  const isCatchAll = (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  if (!isCatchAll && !inside.has(Nft.NFTA_SET_ELEM_KEY)) refuse(EINVAL);
  const context = { work, table: set.table };
  const key = (type: number): Uint8Array | undefined => {
    const each = inside.get(type);
    const value = each && readData(context, inside, each, MAX_LENGTH, true);
    if (value === undefined) return undefined;
    return value instanceof Uint8Array && value.length === set.keyLength ? value : refuse(EINVAL);
  };
  const element = isCatchAll
    ? set.catchAll
    : found(set, { key: key(Nft.NFTA_SET_ELEM_KEY), keyEnd: key(Nft.NFTA_SET_ELEM_KEY_END), flags });
  if (element === undefined || isExpired(element, work.engine.now)) return isDestroy ? undefined : refuse(ENOENT);
  return element;
}

/** The element that has exactly these keys; an end that is the same as the key may be left out. */
export function found(set: NftSet, keys: Pick<Element, 'key' | 'keyEnd' | 'flags'>): Element | undefined {
  const exact = set.elements.get(identity(keys));
  if (exact !== undefined || backendOf(set) !== 'ranges') return exact;
  const { key, keyEnd = key } = keys;
  for (const each of set.elements.values())
    if (compare(each.key!, key!) === 0 && compare(each.keyEnd ?? each.key!, keyEnd!) === 0) return each;
  return undefined;
}

function remove(work: Work, set: NftSet, element: Element): void {
  if (element === set.catchAll) set.catchAll = undefined;
  else set.elements.delete(identity(element));
  forget(set);
  count({ work }, element.verdict, -1);
  const { object } = element;
  if (object === undefined) return;
  object.users--;
  work.batch.undo.push(() => {
    object.users++;
  });
}

export function writeElement(writer: Writer, set: NftSet, element: Element, engine: Codec): void {
  const { key, keyEnd, data, verdict, object, expressions, flags, timeout, expires, userdata } = element;
  if (key !== undefined) writeData(writer, Nft.NFTA_SET_ELEM_KEY, key);
  if (keyEnd !== undefined) writeData(writer, Nft.NFTA_SET_ELEM_KEY_END, keyEnd);
  const told = verdict ?? data;
  if (told !== undefined) writeData(writer, Nft.NFTA_SET_ELEM_DATA, told);
  if (expressions.length === 1) writer.nest(Nft.NFTA_SET_ELEM_EXPR, () => engine.write(expressions[0]!, writer));
  else if (expressions.length > 1)
    writer.nest(Nft.NFTA_SET_ELEM_EXPRESSIONS, () => {
      for (const each of expressions) writer.nest(Nft.NFTA_LIST_ELEM, () => engine.write(each, writer));
    });
  if (object !== undefined) writer.text(Nft.NFTA_SET_ELEM_OBJREF, object.name);
  if (flags !== 0) writer.u32be(Nft.NFTA_SET_ELEM_FLAGS, flags);
  if (timeout !== undefined && timeout !== set.timeout) writer.u64be(Nft.NFTA_SET_ELEM_TIMEOUT, timeout);
  if (expires !== undefined) {
    const left = expires - engine.now;
    writer.u64be(Nft.NFTA_SET_ELEM_EXPIRATION, left > 0n ? left : 0n);
  }
  if (userdata !== undefined) writer.attribute(Nft.NFTA_SET_ELEM_USERDATA, userdata);
}
