import { NLM_F_EXCL } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { isSince } from '../machine/state.ts';
import { E2BIG, EBUSY, EEXIST, EINVAL, ENFILE, ENOENT, EOPNOTSUPP, ERANGE, Refusal, refuse } from '../refusal.ts';
import type { Attributes, Writer } from '../wire/attributes.ts';
import type { Codec, RuleContext, Work } from './context.ts';
import { count, jiffies, presentBytes, readData, readValue, writeData } from './data.ts';
import { DATA_VERDICT } from './expressions/lookups.ts';
import { cloned, readStateful } from './expressions/stateful.ts';
import { compare } from './expressions/type.ts';
import { ELEMENT } from './policies.ts';
import { parsedInside, silently } from './policy.ts';
import { pointingAt } from './rules.ts';
import {
  backendOf,
  collectByClock,
  forget,
  identity,
  isEnd,
  isExpired,
  isWithin,
  sortedElements,
  storageOf,
} from './set-lookup.ts';
import { setOfMessage } from './sets.ts';
import type { Element, Expression, NftObject, NftSet } from './state.ts';
import { tableOf } from './tables.ts';

const MAX_LENGTH = 64;
const MAX_EXPRESSIONS = 2;
const UPDATES = [6, 12] as const;
/** Linux 6.1 does not point at a set that it does not find. */
const POINTED = [6, 3] as const;
/** Starts and ends that are there already have to belong together (6.18, by its stable updates). */
const PAIRED = [6, 18] as const;

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

/** Tells one element that is added, changed or taken away, and what takes effect with the batch. */
type Tell = (set: NftSet, element: Element, apply?: () => void) => void;

/** Adds elements until the first that the kernel refuses. */
export function newElements(work: Work, tell: Tell): void {
  const { attributes } = work;
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) throw new Refusal(EINVAL);
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const find = () => setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, Nft.NFTA_SET_ELEM_LIST_SET_ID);
  const set = isSince(work.engine.release, POINTED) ? find() : silently(find);
  if (set.users > 0 && (set.flags & (Nft.NFT_SET_CONSTANT | Nft.NFT_SET_ANONYMOUS)) !== 0) refuse(EBUSY);
  // What the batch would put back if it failed is left alone.
  if (!work.batch.kept.has(set)) collectByClock(set, work.engine.now);
  for (const attribute of list.list())
    pointingAt(attribute, () => add(work, set, parsedInside(list, attribute, ELEMENT), tell));
}

function add(work: Work, set: NftSet, inside: Attributes, tell: Tell): void {
  const { request, batch } = work;
  const element = read(work, set, inside);
  const isExclusive = (request.flags & NLM_F_EXCL) !== 0;
  const existing = conflicting(work, set, element, isExclusive);
  if (existing === 'nothing') return;
  if (existing !== undefined) {
    refresh(work, set, existing, element, inside, tell);
    return;
  }
  const isCatchAll = (element.flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  if (isCatchAll) {
    set.catchAll = element;
    batch.undo.push(() => {
      set.catchAll = undefined;
    });
  } else {
    const name = identity(element);
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
  if (element.verdict?.chain !== undefined && set.users > 0) batch.toValidate.add(set.table);
  tell(set, element);
  // The one too many stays in the batch, which fails.
  if (!isCatchAll && set.elements.size > mostOf(set)) refuse(ENFILE);
}

/** How many elements a set takes: a tree has two for each of the program's, and room for the end at zero (nft_set_maxsize). */
function mostOf(set: NftSet): number {
  if (set.size === 0) return Number.POSITIVE_INFINITY;
  if (storageOf(set) !== 'tree') return set.size;
  const [lowest] = sortedElements(set);
  // The kernel looks for a byte of 1 where it means to look for one that is not 0.
  const hasNull = lowest !== undefined && isEnd(lowest) && !lowest.key!.includes(1);
  return 2 * set.size + (hasNull ? 1 : 0);
}

/** One that has expired and still takes the place of a new one. */
function keepExpired(work: Work, set: NftSet, name: string): void {
  if (set.elements.has(name)) keep(work, set);
}

/** The element that is there already; 'nothing' where the new one is ignored. Refuses what clashes with others. */
function conflicting(work: Work, set: NftSet, element: Element, isExclusive: boolean): Element | 'nothing' | undefined {
  const { now } = work.engine;
  if ((element.flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0) {
    const { catchAll } = set;
    return catchAll === undefined ? undefined : same(catchAll, element, isExclusive);
  }
  const backend = backendOf(set);
  if (backend === 'hash') {
    const existing = set.elements.get(identity(element));
    return existing === undefined || isExpired(existing, now) ? undefined : same(existing, element, isExclusive);
  }
  if (backend === 'ranges') {
    const from = element.key!;
    const to = element.keyEnd ?? from;
    const live = [...set.elements.values()].filter(each => !isExpired(each, now));
    const first = live.find(each => isWithin(set, each, from));
    if (first !== undefined) {
      const isSame = compare(first.key!, from) === 0 && compare(first.keyEnd ?? first.key!, to) === 0;
      return isSame ? same(first, element, isExclusive) : refuse(EEXIST);
    }
    if (live.some(each => isWithin(set, each, to))) refuse(EEXIST);
    if (outOfOrder(set, from, to)) refuse(EINVAL);
    return undefined;
  }
  return inTree(work, set, element, isExclusive);
}

function outOfOrder({ fields }: NftSet, from: Uint8Array, to: Uint8Array): boolean {
  let at = 0;
  for (const length of fields) {
    if (compare(from.subarray(at, at + length), to.subarray(at, at + length)) > 0) return true;
    at += (length + 3) & ~3;
  }
  return false;
}

/** Looks at the neighbours of a start or an end, from the highest key down (__nft_rbtree_insert). */
function inTree(work: Work, set: NftSet, element: Element, isExclusive: boolean): Element | 'nothing' | undefined {
  const { now, release } = work.engine;
  const key = element.key!;
  const starts = !isEnd(element);
  const live = sortedElements(set).filter(each => !isExpired(each, now));
  const at = (wanted: boolean) => live.find(each => isEnd(each) === wanted && compare(each.key!, key) === 0);
  const equalStart = at(false);
  const equalEnd = at(true);
  const above = live.find(each => compare(each.key!, key) > 0);
  const below = live.findLast(each => compare(each.key!, key) < 0);
  // The nearest that are not lower, and not higher: at an equal key the start is among the former, the end among the latter.
  const greater = equalStart ?? above;
  const less = equalEnd ?? below;
  if (starts && equalStart !== undefined) {
    work.batch.repeated.set(set, equalStart);
    return same(equalStart, element, isExclusive);
  }
  if (!starts && equalEnd !== undefined) {
    const begun = work.batch.repeated.get(set);
    work.batch.repeated.delete(set);
    if (isNull(key)) return 'nothing';
    // The end of the interval whose start was repeated, and no other one's.
    if (begun !== undefined && isSince(release, PAIRED) && below !== begun) refuse(EEXIST);
    return same(equalEnd, element, isExclusive);
  }
  if (starts && less !== undefined && !isEnd(less)) {
    if ((set.flags & Nft.NFT_SET_ANONYMOUS) === 0) refuse(EEXIST);
    const behind = live[live.indexOf(less) + 1];
    if (behind !== undefined && isEnd(behind)) refuse(EEXIST);
  }
  if (!starts && less !== undefined && isEnd(less)) refuse(EEXIST);
  if (!starts && greater !== undefined && isEnd(greater)) refuse(EEXIST);
  return undefined;
}

const isNull = (key: Uint8Array): boolean => key.every(each => each === 0);

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

/** Another timeout, or what is left of it, is taken over with the batch (Linux 6.12); all else stays as it is. */
function refresh(work: Work, set: NftSet, existing: Element, element: Element, inside: Attributes, tell: Tell): void {
  if (!isSince(work.engine.release, UPDATES) || (set.flags & Nft.NFT_SET_TIMEOUT) === 0) return;
  const hasExpiration = (inside.u64be(Nft.NFTA_SET_ELEM_EXPIRATION) ?? 0n) !== 0n;
  const isOther = existing.timeout !== element.timeout;
  if (!isOther && !hasExpiration) return;
  tell(set, existing, () => {
    if (isOther) existing.timeout = element.timeout;
    if (element.expires !== undefined || isOther) existing.expires = element.expires;
  });
}

function read(work: Work, set: NftSet, inside: Attributes): Element {
  const { engine } = work;
  const { table } = set;
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  const ends = (flags & Nft.NFT_SET_ELEM_INTERVAL_END) !== 0;
  const isCatchAll = (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  checkFlags(set, flags);
  if (isCatchAll === inside.has(Nft.NFTA_SET_ELEM_KEY)) refuse(EINVAL);
  const dataAttribute = inside.get(Nft.NFTA_SET_ELEM_DATA);
  const isMap = (set.flags & Nft.NFT_SET_MAP) !== 0;
  if (isMap ? dataAttribute === undefined && !ends : dataAttribute !== undefined) refuse(EINVAL);
  const objectAttribute = inside.get(Nft.NFTA_SET_ELEM_OBJREF);
  const isObjects = (set.flags & Nft.NFT_SET_OBJECT) !== 0;
  if (isObjects ? objectAttribute === undefined && !ends : objectAttribute !== undefined) refuse(EINVAL);
  checkKeyEnd(set, inside, flags);
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
  const own = readExpressions(context, set, inside);
  const keys = readKeys(work, set, inside);
  let object: NftObject | undefined;
  if (objectAttribute !== undefined) {
    const name = inside.text(Nft.NFTA_SET_ELEM_OBJREF);
    object = table.objects.find(each => each.name === name && each.type === set.objectType) ?? refuse(ENOENT);
  }
  let data: Element['data'];
  let verdict: Element['verdict'];
  if (dataAttribute !== undefined) {
    const isVerdict = set.dataType === DATA_VERDICT;
    const value = readData(context, inside, dataAttribute, MAX_LENGTH, {
      wants: isVerdict ? 'verdict' : 'value',
      length: set.dataLength,
      ofElement: true,
    });
    if (value instanceof Uint8Array) data = value;
    else verdict = value;
  }
  const expressions = own.length > 0 || ends ? own : set.expressions.map(each => cloned(each, engine.now));
  const userdata = presentBytes(inside.get(Nft.NFTA_SET_ELEM_USERDATA)?.bytes);
  return { ...keys, flags, data, verdict, object, expressions, timeout, expires, userdata };
}

function checkFlags(set: NftSet, flags: number): void {
  const ends = (flags & Nft.NFT_SET_ELEM_INTERVAL_END) !== 0;
  const isInterval = (set.flags & Nft.NFT_SET_INTERVAL) !== 0;
  if ((flags & ~(Nft.NFT_SET_ELEM_INTERVAL_END | Nft.NFT_SET_ELEM_CATCHALL)) !== 0) refuse(EOPNOTSUPP);
  if (ends && (!isInterval || (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0)) refuse(EINVAL);
}

const RANGES = Nft.NFT_SET_CONCAT | Nft.NFT_SET_INTERVAL;

/** Elements of ranges have the end of the key with them, and no others do (nft_setelem_valid_key_end). */
function checkKeyEnd(set: NftSet, inside: Attributes, flags: number): void {
  const hasEnd = inside.has(Nft.NFTA_SET_ELEM_KEY_END);
  if ((set.flags & RANGES) === RANGES) {
    if ((flags & Nft.NFT_SET_ELEM_INTERVAL_END) !== 0) refuse(EINVAL);
    if (hasEnd && (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0) refuse(EINVAL);
  } else if (hasEnd) refuse(EINVAL);
}

function readKeys(work: Work, set: NftSet, inside: Attributes): Pick<Element, 'key' | 'keyEnd'> {
  const context = { work, table: set.table };
  const key = (type: number): Uint8Array | undefined => {
    const attribute = inside.get(type);
    return attribute && readValue(context, inside, attribute, MAX_LENGTH, set.keyLength);
  };
  return { key: key(Nft.NFTA_SET_ELEM_KEY), keyEnd: key(Nft.NFTA_SET_ELEM_KEY_END) };
}

function times(set: NftSet, inside: Attributes, ends: boolean, now: bigint): Pick<Element, 'timeout' | 'expires'> {
  const hasTimeouts = (set.flags & Nft.NFT_SET_TIMEOUT) !== 0;
  const given = inside.u64be(Nft.NFTA_SET_ELEM_TIMEOUT);
  const left = inside.u64be(Nft.NFTA_SET_ELEM_EXPIRATION);
  if (given !== undefined && !hasTimeouts) refuse(EINVAL);
  const timeout = given === undefined ? (hasTimeouts && !ends ? set.timeout : 0n) : jiffies(given);
  const expiration = jiffies(left ?? 0n);
  if (left !== undefined) {
    if (!hasTimeouts) refuse(EINVAL);
    if (timeout === 0n) refuse(EOPNOTSUPP);
    if (expiration > timeout) refuse(ERANGE);
  }
  if (timeout === 0n) return { timeout: undefined, expires: undefined };
  return { timeout, expires: now + (expiration || timeout) };
}

function readExpressions(context: RuleContext, set: NftSet, inside: Attributes): Expression[] {
  const own = set.expressions;
  const one = inside.get(Nft.NFTA_SET_ELEM_EXPR);
  if (one !== undefined) {
    if (own.length > 1) refuse(EOPNOTSUPP);
    const expression = readStateful(context, set, inside.inside(one));
    if (own.length === 1 && own[0]!.name !== expression.name) refuse(EOPNOTSUPP);
    return [expression];
  }
  const many = inside.nested(Nft.NFTA_SET_ELEM_EXPRESSIONS);
  if (many === undefined) return [];
  const expressions = many.list().map((each, i) => {
    if (i >= MAX_EXPRESSIONS || (own.length > 0 && i >= own.length)) refuse(E2BIG);
    if (each.type !== Nft.NFTA_LIST_ELEM) refuse(EINVAL);
    const expression = readStateful(context, set, many.inside(each));
    if (own.length > 0 && own[i]!.name !== expression.name) refuse(EOPNOTSUPP);
    return expression;
  });
  if (own.length > 0 && own.length !== expressions.length) refuse(EOPNOTSUPP);
  return expressions;
}

/** Deletes the elements that a message lists, or all where it lists none. */
export function deleteElements(work: Work, isDestroy: boolean, tell: Tell): void {
  const { attributes } = work;
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, undefined);
  if ((set.flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EOPNOTSUPP);
  if (set.users > 0 && (set.flags & Nft.NFT_SET_CONSTANT) !== 0) refuse(EBUSY);
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  keep(work, set);
  const removed = (element: Element) => {
    remove(work, set, element);
    tell(set, element);
  };
  if (list === undefined) {
    for (const element of inOrder(set)) removed(element);
    return;
  }
  for (const attribute of list.list()) {
    const element = pointingAt(attribute, () => find(work, set, parsedInside(list, attribute, ELEMENT), isDestroy));
    if (element !== undefined) removed(element);
  }
}

/** All elements as the kernel goes through them: trees from the highest key down, the catch-all element last. */
export function inOrder(set: NftSet): Element[] {
  const elements = backendOf(set) === 'tree' ? sortedElements(set).toReversed() : [...set.elements.values()];
  return set.catchAll === undefined ? elements : [...elements, set.catchAll];
}

function find(work: Work, set: NftSet, inside: Attributes, isDestroy: boolean): Element | undefined {
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  checkFlags(set, flags);
  const isCatchAll = (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  if (!isCatchAll && !inside.has(Nft.NFTA_SET_ELEM_KEY)) refuse(EINVAL);
  checkKeyEnd(set, inside, flags);
  const keys = readKeys(work, set, inside);
  const element = isCatchAll ? set.catchAll : found(set, { ...keys, flags }, work.engine.now);
  return element ?? (isDestroy ? undefined : refuse(ENOENT));
}

/** The element of these keys; in a set of ranges the first that the key lies in. */
function found(set: NftSet, keys: Pick<Element, 'key' | 'keyEnd' | 'flags'>, now: bigint): Element | undefined {
  const isLive = (each: Element) => !isExpired(each, now);
  if (backendOf(set) === 'ranges')
    return [...set.elements.values()].find(each => isLive(each) && isWithin(set, each, keys.key!));
  const exact = set.elements.get(identity(keys));
  return exact !== undefined && isLive(exact) ? exact : undefined;
}

/** The element that a program asks for: in a tree also the one that a key lies in (nft_get_set_elem). */
export function wanted(work: Work, set: NftSet, inside: Attributes): Element {
  const { now } = work.engine;
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  checkFlags(set, flags);
  const isCatchAll = (flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0;
  if (!isCatchAll && !inside.has(Nft.NFTA_SET_ELEM_KEY)) refuse(EINVAL);
  const keys = readKeys(work, set, inside);
  if (isCatchAll) return set.catchAll !== undefined && !isExpired(set.catchAll, now) ? set.catchAll : refuse(ENOENT);
  const element =
    backendOf(set) === 'tree' ? nearest(set, keys.key!, flags, now) : found(set, { ...keys, flags: 0 }, now);
  return element ?? refuse(ENOENT);
}

/** The start or the end at a key, or the one of the interval around it (__nft_rbtree_get). */
function nearest(set: NftSet, key: Uint8Array, flags: number, now: bigint): Element | undefined {
  const wantsEnd = (flags & Nft.NFT_SET_ELEM_INTERVAL_END) !== 0;
  const elements = sortedElements(set);
  const equal = elements.find(each => isEnd(each) === wantsEnd && compare(each.key!, key) === 0);
  if (equal !== undefined) return isExpired(equal, now) ? undefined : equal;
  const other = elements.find(each => compare(each.key!, key) === 0);
  const beside = wantsEnd
    ? elements.find(each => compare(each.key!, key) > 0)
    : other !== undefined
      ? undefined
      : elements.findLast(each => compare(each.key!, key) < 0);
  return beside !== undefined && isEnd(beside) === wantsEnd && !isExpired(beside, now) ? beside : undefined;
}

function remove(work: Work, set: NftSet, element: Element): void {
  const { batch } = work;
  if (element === set.catchAll) set.catchAll = undefined;
  else {
    set.elements.delete(identity(element));
    batch.deactivated.set(set, (batch.deactivated.get(set) ?? 0) + 1);
  }
  forget(set);
  count({ work }, element.verdict, -1);
  const { object } = element;
  if (object === undefined) return;
  object.users--;
  batch.undo.push(() => {
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
  if ((set.flags & Nft.NFT_SET_TIMEOUT) !== 0 && (timeout ?? 0n) !== set.timeout)
    writer.u64be(Nft.NFTA_SET_ELEM_TIMEOUT, timeout ?? 0n);
  if (expires !== undefined) {
    const left = expires - engine.now;
    writer.u64be(Nft.NFTA_SET_ELEM_EXPIRATION, left > 0n ? left : 0n);
  }
  if (userdata !== undefined) writer.attribute(Nft.NFTA_SET_ELEM_USERDATA, userdata);
}
