/**
 * Returns the name to suggest for one that is not there; undefined if none is like it. Of names that are as like, the first one counts.
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

/** Names that differ by more are not suggested: a third of the longer one. */
const most = (a: number, b: number): number => Math.max(1, Math.ceil(Math.max(a, b) / 3));

/** Longer names than the kernel takes are cut: a suggestion is worth no time. */
const LONGEST = 256;

/** Counts the letters that must be put in, taken out or changed to make one name of another (Levenshtein's distance). */
function likeness(from: string, to: string): number {
  const a = from.slice(0, LONGEST);
  const b = to.slice(0, LONGEST);
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + change));
    }
    above = row;
  }
  return above[b.length]!;
}
