import { toHex } from '../../codec/index.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { WiredElements } from '../../nft/element-values.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import { neighbour, type Range } from './ranges.ts';

/** A range of one operation, and the value that it was given as. */
export interface GivenRange extends Range {
  readonly origin: number;
}

/** The elements of one operation: ranges, and what stands for none (the catch-all, a mark before the first range). */
export interface RangeList {
  readonly ranges: readonly GivenRange[];
  readonly others: WiredElements;
  /** As they were given. */
  readonly wired: WiredElements;
  /** The list has marks that make no whole ranges: the caller writes the kernel's own form, piece by piece. */
  readonly pieces: boolean;
}

const isEnd = ({ flags }: WireElement): boolean => flags?.includes('interval-end') === true;
const isOpen = ({ userdataFlags }: WireElement): boolean => userdataFlags?.includes('open-interval') === true;
const keyOf = (key: unknown): string | undefined =>
  typeof key === 'string' ? key : key instanceof Uint8Array ? toHex(key) : undefined;

/** Reads elements in the kernel's form as ranges. `wire`: tells the values that were given in that form. */
export function rangeList(wired: WiredElements, shape: ElementShape, wire: (origin: number) => boolean): RangeList {
  const { elements, origin } = wired;
  const length = 2 * shape.keyLength;
  const ranges: GivenRange[] = [];
  const others: WiredElements = { elements: [], origin: [] };
  const marks: { element: WireElement; key: string; origin: number }[] = [];
  let pieces = false;
  for (let i = 0; i < elements.length; i++) {
    const element = elements[i]!;
    const from = keyOf(element.key);
    const from_ = origin[i]!;
    if (from?.length !== length) {
      pieces ||= from !== undefined;
      others.elements.push(element);
      others.origin.push(from_);
    } else if (shape.ranges === 'keys') {
      const to = element.keyEnd === undefined ? from : keyOf(element.keyEnd);
      if (to?.length === length) ranges.push({ from, to, element, ends: true, wire: wire(from_), origin: from_ });
      else pieces = true;
    } else {
      const next = elements[i + 1];
      const end = next !== undefined && origin[i + 1] === from_ && isEnd(next) ? keyOf(next.key) : undefined;
      if (!isEnd(element) && end !== undefined && end > from) {
        ranges.push({ from, to: neighbour(end, -1)!, element, ends: true, wire: wire(from_), origin: from_ });
        i++;
      } else {
        marks.push({ element, key: from, origin: from_ });
      }
    }
  }
  if (marks.length > 0) pieces = !pairMarks(marks, ranges, others) || pieces;
  return { ranges, others, wired: marks.length > 0 && !pieces ? inOrder(ranges, others, shape) : wired, pieces };
}

/** The kernel does not take an end that comes before its beginning where another range begins. */
function inOrder(ranges: readonly GivenRange[], others: WiredElements, shape: ElementShape): WiredElements {
  const wired: WiredElements = { elements: [...others.elements], origin: [...others.origin] };
  for (const range of ranges) {
    for (const element of wireRange(range, shape)) {
      wired.elements.push(element);
      wired.origin.push(range.origin);
    }
  }
  return wired;
}

type Mark = { element: WireElement; key: string; origin: number };

/** Beginnings and ends that were given apart. False where some of them have no other. */
function pairMarks(marks: Mark[], ranges: GivenRange[], others: WiredElements): boolean {
  marks.sort((a, b) =>
    a.key !== b.key ? (a.key < b.key ? -1 : 1) : Number(isEnd(b.element)) - Number(isEnd(a.element)),
  );
  let whole = true;
  for (let i = 0; i < marks.length; i++) {
    const { element, key, origin } = marks[i]!;
    const next = marks[i + 1];
    if (isEnd(element)) {
      // Marks what lies before the first range.
      if (!/^0*$/.test(key)) whole = false;
      others.elements.push(element);
      others.origin.push(origin);
    } else if (next !== undefined && isEnd(next.element) && next.key > key) {
      ranges.push({ from: key, to: neighbour(next.key, -1)!, element, ends: true, wire: true, origin });
      i++;
    } else {
      if (!isOpen(element)) whole = false;
      ranges.push({ from: key, to: 'f'.repeat(key.length), element, ends: false, wire: true, origin });
    }
  }
  return whole;
}

/** The ranges of a set as the kernel lists them. Ends without a beginning are left from ranges that have timed out: they mean nothing. */
export function kernelRanges(wire: readonly WireElement[], shape: ElementShape): Range[] {
  const length = 2 * shape.keyLength;
  const keyed = wire.filter(({ key }) => typeof key === 'string' && key.length === length);
  if (shape.ranges === 'keys')
    return keyed.map(element => {
      const { key, keyEnd = key } = element;
      return { from: key as string, to: keyEnd as string, element, ends: true };
    });
  keyed.sort((a, b) => {
    if (a.key !== b.key) return (a.key as string) < (b.key as string) ? -1 : 1;
    return Number(isEnd(b)) - Number(isEnd(a));
  });
  const ranges: Range[] = [];
  for (let i = 0; i < keyed.length; i++) {
    const element = keyed[i]!;
    if (isEnd(element)) continue;
    const from = element.key as string;
    const next = keyed[i + 1];
    const to = next === undefined ? 'f'.repeat(length) : neighbour(next.key as string, -1)!;
    ranges.push({ from, to, element, ends: next !== undefined && isEnd(next) });
  }
  return ranges;
}

/** A range as the kernel takes it. */
export function wireRange({ from, to, element, ends }: Range, shape: ElementShape): WireElement[] {
  if (shape.ranges === 'keys') return [{ ...element, key: from, keyEnd: to }];
  const { userdataFlags: _, ...rest } = element;
  const behind = ends ? neighbour(to, 1) : undefined;
  if (behind !== undefined)
    return [
      { ...rest, key: from },
      { key: behind, flags: ['interval-end'] },
    ];
  return [{ ...rest, key: from, ...(neighbour(to, 1) === undefined && { userdataFlags: ['open-interval'] }) }];
}
