import {
  NFT_SET_CONCAT,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_EVAL,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NFT_SET_OBJECT,
  NFT_SET_POL_MEMORY,
  NFT_SET_TIMEOUT,
} from '../../linux/nf_tables.ts';
import { compare } from './expressions/type.ts';
import type { Element, NftSet } from './state.ts';

/** How the kernel keeps a set: what it finds, and what it refuses to put in, depend on it (nft_select_set_ops). */
export type Backend = 'hash' | 'tree' | 'ranges';

export function backendOf({ flags, fields }: Pick<NftSet, 'flags' | 'fields'>): Backend {
  if ((flags & NFT_SET_INTERVAL) === 0) return 'hash';
  return (flags & NFT_SET_CONCAT) !== 0 && fields.length > 1 ? 'ranges' : 'tree';
}

/** The kernel's collection, for what depends on it; undefined where it has none that fits. */
export type Storage = 'growing hash' | 'fixed hash' | 'bitmap' | 'tree' | 'ranges';

interface Chosen extends Pick<NftSet, 'flags' | 'fields' | 'keyLength' | 'size' | 'policy' | 'hasExpressions'> {}

/** PIPAPO takes fields of at most so many bytes. */
const MAX_RANGE_FIELD = 16;

export function storageOf({ flags, fields, keyLength, size, hasExpressions, policy }: Chosen): Storage | undefined {
  const has = (flag: number) => (flags & flag) !== 0;
  if (has(NFT_SET_INTERVAL)) {
    if (has(NFT_SET_EVAL)) return undefined;
    if (fields.length < 2) return 'tree';
    return fields.every(each => each <= MAX_RANGE_FIELD) ? 'ranges' : undefined;
  }
  const isPlain = !has(NFT_SET_MAP | NFT_SET_OBJECT | NFT_SET_TIMEOUT | NFT_SET_EVAL);
  const isSized = size > 0 && !has(NFT_SET_TIMEOUT | NFT_SET_EVAL);
  if (isPlain && keyLength <= 2 && !hasExpressions && !(isSized && policy === NFT_SET_POL_MEMORY)) return 'bitmap';
  return isSized ? 'fixed hash' : 'growing hash';
}

export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

/** The key of an element in its set's collection. */
export function identity(element: Pick<Element, 'key' | 'keyEnd' | 'flags'>): string {
  const isEnd = (element.flags & NFT_SET_ELEM_INTERVAL_END) !== 0;
  const end = element.keyEnd === undefined ? '' : `-${hex(element.keyEnd)}`;
  return `${hex(element.key!)}${end}${isEnd ? ' end' : ''}`;
}

export const isExpired = (element: Element, now: bigint): boolean =>
  element.expires !== undefined && element.expires <= now;
export const isEnd = (element: Element): boolean => (element.flags & NFT_SET_ELEM_INTERVAL_END) !== 0;

/** How often the kernel looks for expired elements where the set does not say: each second, in milliseconds. */
const USUAL_INTERVAL = 1000;

const intervalOf = ({ gcInterval }: NftSet): bigint => BigInt(gcInterval === 0 ? USUAL_INTERVAL : gcInterval);

function free(set: NftSet, element: Element): void {
  set.elements.delete(identity(element));
  if (element.verdict?.chain !== undefined) element.verdict.chain.jumps--;
  if (element.object !== undefined) element.object.users--;
  forget(set);
}

/** Frees the places of elements that had expired when the kernel's worker last came to a growing hash, by the clock (nft_rhash_gc). */
export function collectByClock(set: NftSet, now: bigint): void {
  if (set.collected === undefined || (set.flags & NFT_SET_INTERVAL) !== 0) return;
  const interval = intervalOf(set);
  const times = (now - set.collected) / interval;
  if (times < 1n) return;
  set.collected += times * interval;
  for (const element of [...set.elements.values()]) if (isExpired(element, set.collected)) free(set, element);
}

/**
 * Trees and ranges are freed when a batch that has changed them is carried out, if that is due by the clock (nft_rbtree_gc, pipapo_gc). The kernel also
 * frees what it meets on its way through a tree to the place of a new element: that depends on the shape of the tree, and is left out.
 */
export function collectAtCommit(set: NftSet, now: bigint): void {
  if ((set.flags & NFT_SET_INTERVAL) === 0) return;
  if (set.collected !== undefined && now - set.collected < intervalOf(set)) return;
  set.collected = now;
  let end: Element | undefined;
  for (const element of backendOf(set) === 'tree' ? sortedElements(set).toReversed() : [...set.elements.values()]) {
    if (isEnd(element)) end = element;
    else if (isExpired(element, now)) {
      if (end !== undefined) free(set, end);
      free(set, element);
      end = undefined;
    }
  }
}

/** Whether a key lies in an element of ranges, field by field; each field is padded to whole words. */
export function isWithin({ fields }: NftSet, element: Element, key: Uint8Array): boolean {
  const { key: from, keyEnd: to = from } = element;
  let at = 0;
  for (const length of fields) {
    const part = key.subarray(at, at + length);
    if (compare(part, from!.subarray(at, at + length)) < 0 || compare(part, to!.subarray(at, at + length)) > 0)
      return false;
    at += (length + 3) & ~3;
  }
  return true;
}

/** Starts before ends at the same place, so that the greatest of them is a start: adjacent intervals share a boundary. */
export function sortedElements(set: NftSet): readonly Element[] {
  if (set.sorted?.length === set.elements.size) return set.sorted;
  set.sorted = [...set.elements.values()].sort(
    (a, b) => compare(a.key!, b.key!) || Number(isEnd(b)) - Number(isEnd(a)),
  );
  return set.sorted;
}

/** A set has changed: what was sorted is not any more. */
export function forget(set: NftSet): void {
  set.sorted = undefined;
}

/** The element that a packet's key finds; the catch-all element answers last. */
export function lookup(set: NftSet, key: Uint8Array, now: bigint): Element | undefined {
  return (
    found(set, key, now) ?? (set.catchAll !== undefined && !isExpired(set.catchAll, now) ? set.catchAll : undefined)
  );
}

function found(set: NftSet, key: Uint8Array, now: bigint): Element | undefined {
  switch (backendOf(set)) {
    case 'hash': {
      const element = set.elements.get(hex(key));
      return element !== undefined && !isExpired(element, now) ? element : undefined;
    }
    case 'ranges':
      for (const element of set.elements.values())
        if (!isExpired(element, now) && isWithin(set, element, key)) return element;
      return undefined;
    case 'tree': {
      const elements = sortedElements(set);
      // The greatest element that is not above the key: a start contains it, an end does not.
      let low = 0;
      let high = elements.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (compare(elements[middle]!.key!, key) <= 0) low = middle + 1;
        else high = middle;
      }
      for (let i = low - 1; i >= 0; i--) {
        const element = elements[i]!;
        if (isExpired(element, now)) continue;
        return isEnd(element) ? undefined : element;
      }
      return undefined;
    }
  }
}
