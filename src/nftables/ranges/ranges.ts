import type { WireElement } from '../../nf_tables/element.ts';
import type { ElementShape } from '../../nft/set-types.ts';

/* The ranges of one set, in the order of their keys. Keys are hex of one length each, so that they compare as the kernel compares their bytes. */

/** All keys from the first to the last; of a concatenation, all whose parts are between those of the first and of the last. */
export interface Range {
  readonly from: string;
  readonly to: string;
  /** The element as the kernel has it; its end, where it has one apart, is none of it. */
  readonly element: WireElement;
  /** False where the kernel has no mark for its end: it reaches to the next range, or to the last key. */
  readonly ends: boolean;
  /** It was given in the kernel's own form. */
  readonly wire?: boolean;
}

/** Where a part of a key stands in its hex. */
type Part = readonly [start: number, end: number];

/** Ranges that are near to each other: an insertion moves no more than these. */
interface Chunk {
  readonly ranges: Range[];
  /** The greatest last key of the part that is sorted by. */
  last: string;
}

const CHUNK = 256;

function partsOf({ ranges, keyLength, key }: ElementShape): Part[] {
  if (ranges !== 'keys') return [[0, 2 * keyLength]];
  const parts: Part[] = [];
  let at = 0;
  for (const { bytes } of key) {
    const size = 2 * ((bytes + 3) & ~3);
    parts.push([at, at + size]);
    at += size;
  }
  return parts;
}

/** A set's ranges, found by what they overlap. */
export class RangeModel {
  readonly #parts: readonly Part[];
  /** The part that ranges are sorted by: of a concatenation the one that tells most of them apart. */
  #by: Part;
  #chunks: Chunk[] = [];
  #size = 0;

  constructor(shape: ElementShape, ranges: readonly Range[] = []) {
    this.#parts = partsOf(shape);
    this.#by = this.#parts[0]!;
    if (ranges.length > 0) this.#load(ranges);
  }

  get size(): number {
    return this.#size;
  }

  #load(ranges: readonly Range[]): void {
    this.#by = this.#bestPart(ranges);
    const keys = new Map<Range, string>();
    for (const range of ranges) keys.set(range, this.#first(range));
    const sorted = [...ranges].sort((a, b) => {
      const [one, other] = [keys.get(a)!, keys.get(b)!];
      return one < other ? -1 : one > other ? 1 : 0;
    });
    this.#chunks = [];
    for (let i = 0; i < sorted.length; i += CHUNK) {
      const part = sorted.slice(i, i + CHUNK);
      this.#chunks.push({ ranges: part, last: this.#greatest(part) });
    }
    this.#size = ranges.length;
  }

  #bestPart(ranges: readonly Range[]): Part {
    let best = this.#parts[0]!;
    let most = 0;
    for (const part of this.#parts.length > 1 ? this.#parts : []) {
      const { size } = new Set(ranges.map(({ from }) => from.slice(...part)));
      if (size > most) [best, most] = [part, size];
    }
    return best;
  }

  #first = ({ from }: Range): string => from.slice(...this.#by);
  #last = ({ to }: Range): string => to.slice(...this.#by);

  #greatest(ranges: readonly Range[]): string {
    let greatest = '';
    for (const range of ranges) if (this.#last(range) > greatest) greatest = this.#last(range);
    return greatest;
  }

  /** The chunk that a first key belongs to, and the place in it, behind those that are equal. */
  #placeOf(first: string): [chunk: number, at: number] {
    const chunks = this.#chunks;
    let chunk = bisect(chunks.length, i => this.#first(chunks[i]!.ranges[0]!) <= first) - 1;
    if (chunk < 0) chunk = 0;
    const ranges = chunks[chunk]?.ranges ?? [];
    return [chunk, bisect(ranges.length, i => this.#first(ranges[i]!) <= first)];
  }

  add(range: Range): void {
    if (this.#size === 0) {
      this.#load([range]);
      return;
    }
    const [index, at] = this.#placeOf(this.#first(range));
    const chunk = this.#chunks[index]!;
    chunk.ranges.splice(at, 0, range);
    if (this.#last(range) > chunk.last) chunk.last = this.#last(range);
    this.#size++;
    if (chunk.ranges.length < 2 * CHUNK) return;
    const half = chunk.ranges.splice(CHUNK);
    chunk.last = this.#greatest(chunk.ranges);
    this.#chunks.splice(index + 1, 0, { ranges: half, last: this.#greatest(half) });
  }

  remove(range: Range): void {
    const [start] = this.#placeOf(this.#first(range));
    // Equal first keys may reach back over several chunks.
    for (let index = start; index >= 0; index--) {
      const chunk = this.#chunks[index]!;
      const at = chunk.ranges.indexOf(range);
      if (at < 0) continue;
      chunk.ranges.splice(at, 1);
      this.#size--;
      if (chunk.ranges.length === 0) this.#chunks.splice(index, 1);
      else if (chunk.last === this.#last(range)) chunk.last = this.#greatest(chunk.ranges);
      return;
    }
  }

  clear(): void {
    this.#chunks = [];
    this.#size = 0;
  }

  /** Those that have a key in common with this one. */
  *overlapping({ from, to }: Pick<Range, 'from' | 'to'>): Generator<Range> {
    const [start, end] = this.#by;
    const first = from.slice(start, end);
    const last = to.slice(start, end);
    const chunks = this.#chunks;
    // Where the whole key is sorted by, ranges lie side by side, and so do the last keys of chunks.
    let index = this.#parts.length === 1 ? bisect(chunks.length, i => chunks[i]!.last < first) : 0;
    for (; index < chunks.length; index++) {
      const chunk = chunks[index]!;
      if (this.#first(chunk.ranges[0]!) > last) return;
      if (chunk.last < first) continue;
      for (const range of chunk.ranges) {
        if (this.#first(range) > last) break;
        if (this.#last(range) >= first && this.#meets(range, from, to)) yield range;
      }
    }
  }

  #meets(range: Range, from: string, to: string): boolean {
    if (this.#parts.length === 1) return range.from <= to && from <= range.to;
    return this.#parts.every(
      ([start, end]) =>
        range.from.slice(start, end) <= to.slice(start, end) && from.slice(start, end) <= range.to.slice(start, end),
    );
  }

  /** The one with these keys. */
  exact({ from, to }: Pick<Range, 'from' | 'to'>): Range | undefined {
    for (const range of this.overlapping({ from, to })) if (range.from === from && range.to === to) return range;
    return undefined;
  }

  *[Symbol.iterator](): Generator<Range> {
    for (const { ranges } of this.#chunks) yield* ranges;
  }
}

/** How many of the first `length` a condition holds for, which holds for none behind one that it does not hold for. */
function bisect(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The key behind, or before; undefined where there is none. */
export function neighbour(hex: string, step: 1 | -1): string | undefined {
  const end = step === 1 ? 'f' : '0';
  if (hex === end.repeat(hex.length)) return undefined;
  return (BigInt(`0x${hex}`) + BigInt(step)).toString(16).padStart(hex.length, '0');
}
