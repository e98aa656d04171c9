import { ofThread } from '../thread.ts';
import type { ExtensionRow } from './extension.ts';
import { matchRows, WORDS } from './matches/registry.ts';
import type { IptablesFamily } from './model.ts';
import { targetRows } from './targets/registry.ts';

/* The extensions by the words after -m and -j. */

type By<K> = Readonly<Record<IptablesFamily, ReadonlyMap<K, ExtensionRow>>>;

/** Made at the first use: an import costs nothing. */
const found = ofThread<{ matches?: By<string>; targets?: By<string>; implied?: By<number> }>('iptables.extensions', {});

function byWord(rows: readonly ExtensionRow[]): By<string> {
  const maps = { ipv4: new Map<string, ExtensionRow>(), ipv6: new Map<string, ExtensionRow>() };
  for (const row of rows)
    for (const family of row.families ?? (['ipv4', 'ipv6'] as const))
      for (const word of [row.name, ...(row.aliases ?? [])]) maps[family].set(word, row);
  return maps;
}

/** The match that a word after -m means. */
export function findMatch(word: string, family: IptablesFamily): ExtensionRow | undefined {
  found.matches ??= byWord(matchRows());
  return found.matches[family].get(word) ?? (Object.hasOwn(WORDS, word) ? WORDS[word] : undefined);
}

/** The target that a word after -j means. */
export function findTarget(word: string, family: IptablesFamily): ExtensionRow | undefined {
  found.targets ??= byWord(targetRows());
  return found.targets[family].get(word);
}

/** The matches that `-p` loads, by the protocol's number. */
function byProtocol(): By<number> {
  const maps = { ipv4: new Map<number, ExtensionRow>(), ipv6: new Map<number, ExtensionRow>() };
  for (const row of matchRows())
    for (const family of row.families ?? (['ipv4', 'ipv6'] as const))
      for (const number of row.protocols ?? []) maps[family].set(number, row);
  return maps;
}

/** The match that `-p` loads for an option that is not known yet. */
export function impliedMatch(protocol: number, family: IptablesFamily): ExtensionRow | undefined {
  found.implied ??= byProtocol();
  return found.implied[family].get(protocol);
}
