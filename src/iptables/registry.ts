import type { ExtensionRow } from './extension.ts';
import { matchRows, WORDS } from './matches/registry.ts';
import type { IptablesFamily } from './model.ts';
import { targetRows } from './targets/registry.ts';

/* The extensions by the words after -m and -j. */

type ByWord = Readonly<Record<IptablesFamily, ReadonlyMap<string, ExtensionRow>>>;

let matches: ByWord | undefined;
let targets: ByWord | undefined;

function byWord(rows: readonly ExtensionRow[]): ByWord {
  const maps = { ipv4: new Map<string, ExtensionRow>(), ipv6: new Map<string, ExtensionRow>() };
  for (const row of rows)
    for (const family of row.families ?? (['ipv4', 'ipv6'] as const))
      for (const word of [row.name, ...(row.aliases ?? [])]) maps[family].set(word, row);
  return maps;
}

/** The match that a word after -m means. */
export function findMatch(word: string, family: IptablesFamily): ExtensionRow | undefined {
  matches ??= byWord(matchRows());
  return matches[family].get(word) ?? (Object.hasOwn(WORDS, word) ? WORDS[word] : undefined);
}

/** The target that a word after -j means. */
export function findTarget(word: string, family: IptablesFamily): ExtensionRow | undefined {
  targets ??= byWord(targetRows());
  return targets[family].get(word);
}

let implied: Readonly<Record<IptablesFamily, ReadonlyMap<number, ExtensionRow>>> | undefined;

/** The match that `-p` loads for an option that is not known yet. */
export function impliedMatch(protocol: number, family: IptablesFamily): ExtensionRow | undefined {
  if (implied === undefined) {
    const maps = { ipv4: new Map<number, ExtensionRow>(), ipv6: new Map<number, ExtensionRow>() };
    for (const row of matchRows())
      for (const one of row.families ?? (['ipv4', 'ipv6'] as const))
        for (const number of row.protocols ?? []) maps[one].set(number, row);
    implied = maps;
  }
  return implied[family].get(protocol);
}
