/** Above this many pairs the exact answer takes too long. */
const EXACT_PAIRS = 4_000_000;

/**
 * The longest common sequence of two lists of texts: for each of the second, the index in the first that it matches, or -1. What both begin and
 * end with matches; between, the answer is exact up to some thousand on either side, and beyond that the longest one in which the n-th of equal texts
 * matches the n-th.
 */
export function matches(before: readonly string[], after: readonly string[]): Int32Array {
  const found = new Int32Array(after.length).fill(-1);
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) {
    found[start] = start;
    start++;
  }
  let beforeEnd = before.length;
  let afterEnd = after.length;
  while (beforeEnd > start && afterEnd > start && before[beforeEnd - 1] === after[afterEnd - 1]) {
    found[--afterEnd] = --beforeEnd;
  }
  const rows = beforeEnd - start;
  const columns = afterEnd - start;
  if (rows === 0 || columns === 0) return found;
  if (rows * columns <= EXACT_PAIRS) exact(before, after, start, rows, columns, found);
  else increasing(before, after, start, beforeEnd, afterEnd, found);
  return found;
}

function exact(
  before: readonly string[],
  after: readonly string[],
  start: number,
  rows: number,
  columns: number,
  found: Int32Array,
): void {
  const width = columns + 1;
  /** The longest common length of what follows. */
  const lengths = new Uint16Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      lengths[i * width + j] =
        before[start + i] === after[start + j]
          ? lengths[(i + 1) * width + j + 1]! + 1
          : Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns; ) {
    if (before[start + i] === after[start + j]) found[start + j++] = start + i++;
    else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) i++;
    else j++;
  }
}

/** The longest increasing sequence of the places that equal texts have. */
function increasing(
  before: readonly string[],
  after: readonly string[],
  start: number,
  beforeEnd: number,
  afterEnd: number,
  found: Int32Array,
): void {
  const places = new Map<string, number[]>();
  for (let i = beforeEnd - 1; i >= start; i--) {
    const list = places.get(before[i]!);
    if (list === undefined) places.set(before[i]!, [i]);
    else list.push(i);
  }
  /** For each length, the index in `after` that ends the best sequence of it. */
  const tails: number[] = [];
  const place = new Int32Array(after.length).fill(-1);
  const previous = new Int32Array(after.length).fill(-1);
  for (let j = start; j < afterEnd; j++) {
    const at = places.get(after[j]!)?.pop();
    if (at === undefined) continue;
    place[j] = at;
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (place[tails[middle]!]! < at) low = middle + 1;
      else high = middle;
    }
    if (low > 0) previous[j] = tails[low - 1]!;
    tails[low] = j;
  }
  for (let j = tails.at(-1) ?? -1; j >= 0; j = previous[j]!) found[j] = place[j]!;
}
