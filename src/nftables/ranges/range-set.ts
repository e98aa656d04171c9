import { toBytes } from '../../codec/index.ts';
import { rangeError } from '../../errors.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { asValues, type GivenElement } from '../../nft/element-forms.ts';
import { type WiredElements, wireElements } from '../../nft/element-values.ts';
import { type ElementKey, readFields } from '../../nft/field-values.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import type { Verb } from '../write/new-objects.ts';
import { type GivenRange, type RangeList, rangeList, wireRange } from './range-lists.ts';
import { neighbour, type Range, RangeModel } from './ranges.ts';

/** The elements that an operation sends: first those to remove, then those to add. The origin of an element is the index of its value, or -1. */
export interface RangeChange {
  readonly removed: WiredElements;
  readonly added: WiredElements;
}

/** An element is not there, whole, that is to be deleted; or is there that is to be created. */
export class RefusedRange extends Error {
  readonly code: 'ENOENT' | 'EEXIST';
  /** The value in the list. */
  readonly index: number;
  constructor(code: 'ENOENT' | 'EEXIST', index: number) {
    super(code === 'ENOENT' ? 'the set has no such element' : 'the set has the element already');
    this.code = code;
    this.index = index;
  }
}

/** Sets whose ranges become one where they touch. Ranges of maps keep their values apart. */
export const mergesRanges = (set: Pick<NftSet, 'flags' | 'mergeElements'>, shape: ElementShape): boolean =>
  set.mergeElements === 1 && shape.ranges === 'marks' && shape.values === 'none';

/**
 * The ranges of one set as a transaction changes them. The kernel sees of a range its ends, and takes two ranges that overlap where they share one: what
 * is then deleted leaves a mark behind that opens the set. So each operation is tried here first.
 */
export class RangeSet {
  readonly shape: ElementShape;
  readonly merges: boolean;
  /** Elements neither time out nor count: they stay the same until the next commit. */
  #lasts: boolean;
  /** Undefined after the caller has written marks piece by piece: only the kernel knows the ranges then. */
  #model: RangeModel | undefined;
  /** The changes of the last `apply`, for `undo`. */
  #done: { range: Range; added: boolean }[] = [];
  /** Where ranges merge: what all operations together have changed. */
  readonly #net: Net = { removed: new Set(), added: new Set(), origins: new Map() };
  /** The kernel has certainly changed the set: its generation is the next one. */
  changed = false;

  constructor(shape: ElementShape, merges: boolean, ranges: readonly Range[] = [], lasts = false) {
    this.shape = shape;
    this.merges = merges;
    this.#lasts = lasts;
    this.#model = new RangeModel(shape, ranges);
  }

  get lasts(): boolean {
    return this.#lasts && this.#model !== undefined;
  }

  get size(): number {
    return this.#model?.size ?? 0;
  }

  flush(): void {
    const { added, removed } = this.#net;
    // Changes that are not sent yet: the kernel lacks what was added, and still has what was removed.
    if (this.size - added.size + removed.size > 0) this.changed = true;
    this.#model = new RangeModel(this.shape);
    this.#forget();
  }

  #forget(): void {
    this.#net.removed.clear();
    this.#net.added.clear();
    this.#net.origins.clear();
  }

  /**
   * Applies the operation, and returns what it sends. Where ranges merge it sends nothing of them: a range may come and go several times in one
   * transaction, which the kernel does not follow. `netChange` tells the result of all operations.
   * @throws RangeError ERR_OVERLAP, RefusedRange: nothing has changed then
   */
  apply(verb: Verb, list: RangeList): RangeChange {
    this.#done = [];
    const model = this.#model;
    if (model === undefined || list.pieces) {
      this.#model = undefined;
      this.changed = true;
      return asGiven(verb, list);
    }
    try {
      const change = this.#apply(model, verb, list);
      if (this.#done.length > 0 && !this.merges) this.changed = true;
      return change;
    } catch (error) {
      this.undo();
      throw error;
    }
  }

  /** Takes back what the last `apply` did. */
  undo(): void {
    for (const { range, added } of this.#done.reverse()) {
      if (added) this.#model?.remove(range);
      else this.#model?.add(range);
      this.#note(range, !added);
    }
    this.#done = [];
  }

  /** The result of all operations on ranges that merge, since the last call. */
  netChange(): RangeChange {
    const { removed, added, origins } = this.#net;
    const change: RangeChange = { removed: { elements: [], origin: [] }, added: { elements: [], origin: [] } };
    const there = new Map([...removed].map(range => [keyOf(range), range]));
    for (const range of added) {
      const same = there.get(keyOf(range));
      if (same !== undefined && lifetimeOf(same.element) === lifetimeOf(range.element)) removed.delete(same);
      else push(change.added, range, origins.get(range) ?? -1, this.shape);
    }
    for (const range of removed) push(change.removed, range, -1, this.shape, true);
    if (change.added.elements.length > 0 || change.removed.elements.length > 0) this.changed = true;
    this.#forget();
    return change;
  }

  #apply(model: RangeModel, verb: Verb, list: RangeList): RangeChange {
    const { others } = list;
    if (verb === 'add' || verb === 'create') {
      if (this.merges) this.#merge(model, verb, list);
      else for (const range of list.ranges) this.#addOne(model, verb, range, list);
      return this.merges ? { removed: NOTHING, added: others } : asGiven(verb, list);
    }
    if (this.merges) {
      for (const range of list.ranges) this.#cut(model, verb, range);
      return { removed: others, added: NOTHING };
    }
    const removed: WiredElements = { elements: [...others.elements], origin: [...others.origin] };
    for (const range of list.ranges) {
      const there = model.exact(range);
      if (there !== undefined) {
        this.#remove(model, there);
        push(removed, there, range.origin, this.shape, true);
      } else if (verb === 'delete') {
        throw new RefusedRange('ENOENT', range.origin);
      }
    }
    return { removed, added: NOTHING };
  }

  /** Cuts a part out of a range that contains it. The rest of the range stays. */
  #cut(model: RangeModel, verb: Verb, range: GivenRange): void {
    const [there] = model.overlapping(range);
    if (there === undefined || there.from > range.from || there.to < range.to) {
      if (verb === 'destroy') return;
      throw new RefusedRange('ENOENT', range.origin);
    }
    this.#remove(model, there);
    const { element } = there;
    for (const part of [
      { from: there.from, to: neighbour(range.from, -1), ends: true },
      { from: neighbour(range.to, 1), to: there.to, ends: there.ends },
    ]) {
      const { from, to, ends } = part;
      if (from === undefined || to === undefined || from > to) continue;
      this.#add(model, { from, to, element, ends }, range.origin);
    }
  }

  #addOne(model: RangeModel, verb: Verb, range: GivenRange, list: RangeList): void {
    for (const there of model.overlapping(range)) {
      if (there.from === range.from && there.to === range.to) {
        if (verb === 'create') throw new RefusedRange('EEXIST', range.origin);
        // It may come once more; of maps the kernel compares the values.
        return;
      }
      // Of concatenations the kernel lists the first that matches first, and takes them so again.
      if (this.shape.ranges === 'keys' && range.wire && list.ranges.includes(there as GivenRange)) continue;
      throw this.#overlap(range, there, list);
    }
    this.#add(model, range);
  }

  #merge(model: RangeModel, verb: Verb, list: RangeList): void {
    const own = new Set<Range>();
    for (const range of list.ranges) {
      let { from, to } = range;
      let first: Range = range;
      const lifetime = lifetimeOf(range.element);
      const near = { from: neighbour(from, -1) ?? from, to: neighbour(to, 1) ?? to };
      const touched: Range[] = [];
      let covered = false;
      for (const there of model.overlapping(near)) {
        const overlaps = there.from <= to && from <= there.to;
        const isSame = there.from === range.from && there.to === range.to;
        const lasts = lifetimeOf(there.element) === lifetime;
        if (verb === 'create' && overlaps && !own.has(there)) {
          if (isSame) throw new RefusedRange('EEXIST', range.origin);
          throw this.#overlap(range, there, list);
        }
        if (overlaps && !lasts && !isSame) throw this.#overlap(range, there, list);
        if (lasts || isSame) touched.push(there);
        covered ||= lasts && there.from <= range.from && range.to <= there.to;
      }
      if (covered) continue;
      for (const there of touched) {
        if (there.from < first.from) first = there;
        if (there.from < from) from = there.from;
        if (there.to > to) to = there.to;
        this.#remove(model, there);
      }
      // The lifetime of a merged range begins again.
      const { expirationMilliseconds: _, ...element } = first.element;
      const merged: Range = touched.length === 0 ? range : { from, to, element, ends: true };
      own.add(merged);
      this.#add(model, merged, range.origin);
    }
  }

  #add(model: RangeModel, range: Range, origin = -1): void {
    model.add(range);
    this.#done.push({ range, added: true });
    if (this.merges) this.#net.origins.set(range, origin);
    this.#note(range, true);
  }

  #remove(model: RangeModel, range: Range): void {
    model.remove(range);
    this.#done.push({ range, added: false });
    this.#note(range, false);
  }

  #note(range: Range, added: boolean): void {
    if (!this.merges) return;
    const { removed, added: came } = this.#net;
    if (added) {
      if (!removed.delete(range)) came.add(range);
    } else if (!came.delete(range)) {
      removed.add(range);
    }
  }

  #overlap(range: GivenRange, there: Range, { ranges }: RangeList): Error {
    const other = ranges.find(each => each === there);
    const where = other === undefined ? 'which the set has' : `which is [${other.origin}] of the list`;
    const expected = `a range that does not overlap ${rangeText(there, this.shape)}, ${where}`;
    const differ = this.merges ? ' (ranges merge where their timeouts are the same)' : '';
    return rangeError([range.origin], expected + differ, rangeText(range, this.shape), 'ERR_OVERLAP');
  }
}

interface Net {
  readonly removed: Set<Range>;
  readonly added: Set<Range>;
  /** The value that a range came of. */
  readonly origins: Map<Range, number>;
}

const keyOf = ({ from, to }: Range): string => `${from} ${to}`;

const NOTHING: WiredElements = { elements: [], origin: [] };

function asGiven(verb: Verb, { wired }: RangeList): RangeChange {
  return verb === 'add' || verb === 'create' ? { removed: NOTHING, added: wired } : { removed: wired, added: NOTHING };
}

/** An element that is to go is named by its keys alone. */
function push(to: WiredElements, range: Range, origin: number, shape: ElementShape, keysOnly = false): void {
  for (const element of wireRange(keysOnly ? { ...range, element: {} } : range, shape)) {
    to.elements.push(element);
    to.origin.push(origin);
  }
}

const lifetimeOf = ({ timeoutMilliseconds }: WireElement): string => String(timeoutMilliseconds ?? '');

/** '10.0.0.0/8', '80-90', '10.0.0.1 . 80-90' */
export function rangeText({ from, to }: Pick<Range, 'from' | 'to'>, { key }: ElementShape): string {
  const text = (value: ElementKey): string => {
    if (Array.isArray(value)) return value.map(text).join(' . ');
    if (typeof value === 'object' && 'from' in value) return `${value.from}-${value.to}`;
    return String(value);
  };
  return text(readFields(toBytes(from)!, toBytes(to)!, key));
}

/** The elements of a set whose ranges merge, as they are once all of them are in it. */
export function mergedElements(
  given: readonly GivenElement[],
  shape: ElementShape,
  wasRead: boolean,
): readonly GivenElement[] {
  const list = rangeList(wireElements(asValues(given, shape, wasRead), shape), shape, () => false);
  if (list.pieces || list.ranges.length < 2) return given;
  const set = new RangeSet(shape, true);
  set.apply('add', list);
  const { added } = set.netChange();
  // Nothing merges: each keeps its own form, and its place in the list.
  if (set.size === list.ranges.length) return given;
  return [...list.others.elements, ...added.elements].map(wire => ({ wire }));
}
