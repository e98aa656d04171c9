/** Work that may be long. At each yield the caller can let other work run. */
export type InParts<T, Part = undefined> = Generator<Part, T>;

/** Does the work without a pause. */
export function finish<T>(work: InParts<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Elements of a set between two yields: each takes some microseconds. */
export const ELEMENTS_AT_ONCE = 4;
/** Items that are sorted without a yield. */
const RUN = 32;
/** Items that are merged between two yields. */
const MERGED_AT_ONCE = 64;

/** The items in order; equal ones keep their order. `sort` would block the event loop for a long list. */
export function* sortInParts<T>(items: readonly T[], compare: (a: T, b: T) => number): InParts<T[]> {
  let sorted: T[] = [];
  for (let start = 0; start < items.length; start += RUN) {
    for (const item of items.slice(start, start + RUN).sort(compare)) sorted.push(item);
    yield;
  }
  for (let width = RUN; width < sorted.length; width *= 2) {
    const merged: T[] = [];
    for (let start = 0; start < sorted.length; start += 2 * width) {
      const middle = Math.min(start + width, sorted.length);
      const end = Math.min(middle + width, sorted.length);
      let left = start;
      let right = middle;
      while (left < middle || right < end) {
        const takesLeft = right === end || (left < middle && compare(sorted[left]!, sorted[right]!) <= 0);
        merged.push(sorted[takesLeft ? left++ : right++]!);
        if (merged.length % MERGED_AT_ONCE === 0) yield;
      }
    }
    sorted = merged;
  }
  return sorted;
}
