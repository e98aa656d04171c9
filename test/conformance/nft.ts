import { spawnSync } from 'node:child_process';
import type { Place } from './place.ts';

/**
 * Loads many texts into an emptied namespace, with as few runs of nft as it takes: for each, what nft has against it, or undefined.
 * Each text ends with a newline, and no two are about the same table.
 */
export function loadTexts(place: Place, texts: readonly string[]): (string | undefined)[] {
  const refused = new Map<number, string>();
  place.empty();
  let left = texts.map((_, i) => i);
  while (left.length > 0) {
    const faults = faultsOf(place, texts, left);
    if (faults === undefined) break;
    // It crashed, or named no place: one by one.
    if (faults.size === 0) {
      for (const i of left) {
        place.empty();
        const alone = faultsOf(place, texts, [i]);
        if (alone !== undefined) refused.set(i, alone.get(i) ?? 'nft crashed');
      }
      place.empty();
    }
    for (const [i, message] of faults) refused.set(i, message);
    left = left.filter(i => !refused.has(i));
  }
  return texts.map((_, i) => refused.get(i));
}

/** nft tells up to ten faults a run, by line. */
function faultsOf(place: Place, texts: readonly string[], indexes: readonly number[]): Map<number, string> | undefined {
  const begins: { line: number; index: number }[] = [];
  let line = 1;
  for (const index of indexes) {
    begins.push({ line, index });
    line += texts[index]!.split('\n').length - 1;
  }
  const input = indexes.map(index => texts[index]).join('');
  const { status, stderr } = place.netns.run(() => spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input }));
  if (status === 0) return undefined;
  const faults = new Map<number, string>();
  for (const [, at, message, source] of stderr.matchAll(/^\/dev\/stdin:(\d+):[^\n]*: Error: ([^\n]*)\n([^\n]*)/gm)) {
    const owner = begins.findLast(begin => begin.line <= Number(at));
    if (owner !== undefined && !faults.has(owner.index)) faults.set(owner.index, `${message}: ${source!.trim()}`);
  }
  return faults;
}
