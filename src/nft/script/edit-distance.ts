/**
 * Returns the name that nft suggests for one that is not there; undefined if none is like it. Of names that are as like, the first one counts.
 */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const each of names) {
    if (each.length <= 1 && name.length <= 1) continue;
    const distance = likeness(each, name);
    if (distance < least && distance <= most(each.length, name.length)) [best, least] = [each, distance];
  }
  return best;
}

/** Names that differ by more are not suggested: about a third of the longer one. */
function most(a: number, b: number): number {
  const [short, long] = a < b ? [a, b] : [b, a];
  return long - short <= 1 ? Math.max(1, Math.ceil(long / 3)) : Math.ceil((long + 2) / 3);
}

/** Longer names than the kernel takes are cut: a suggestion is worth no time. */
const LONGEST = 256;

/**
 * Counts the letters that must be put in, taken out or changed to make one name of another. This is not quite the usual distance: nft leaves out the
 * first letters, and the last cell of each row of its table is the first of the next. Error messages that are the same as nft's need the same
 * count (nft 1.0.6 and 1.1.6). It can go once nft counts otherwise.
 */
function likeness(from: string, to: string): number {
  const a = from.slice(0, LONGEST);
  const b = to.slice(0, LONGEST);
  const width = b.length;
  const cells = new Array<number>((a.length + 1) * (width + 1)).fill(0);
  for (let i = 0; i <= a.length; i++) cells[i * width] = i;
  for (let j = 0; j <= width; j++) cells[j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= width; j++) {
      // Behind the last letter of both there is the same: nothing.
      const change = a[i] === b[j] ? 0 : 1;
      const above = (i - 1) * width + j;
      cells[i * width + j] = Math.min(cells[above]! + 1, cells[i * width + j - 1]! + 1, cells[above - 1]! + change);
    }
  }
  return cells[a.length * width + width]!;
}
