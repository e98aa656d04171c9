import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseIptables, toNft } from '../../src/iptables/index.ts';
import { CORPUS, type Outcome, readLines, tryAll } from './corpus.ts';

interface FileCase {
  name: string;
  cmd: string;
  text: string;
  /** What nft lists of the translation of iptables-restore-translate. */
  translateJson?: { nftables: Record<string, Record<string, unknown>>[] };
}

const FILES = 'iptables-files.jsonl.gz';

/** Each file, translated: as nft lists what iptables-restore-translate makes. */
export function iptablesTranslate(): Outcome[] {
  if (!existsSync(join(CORPUS, FILES))) return [];
  const cases = readLines<FileCase>(FILES).filter(({ translateJson }) => translateJson !== undefined);
  return [
    tryAll(
      'iptables-translate',
      FILES,
      cases,
      ({ name }) => name,
      ({ cmd, text, translateJson }) => {
        const family = cmd.startsWith('ip6') ? 'ipv6' : 'ipv4';
        const is = linesOf(toNft(parseIptables(text, { family })).nftables as never);
        const not = linesOf(translateJson!.nftables);
        for (let i = 0; i < Math.max(is.length, not.length); i++)
          if (is[i] !== not[i]) return `is ${is[i]}\n    not ${not[i]}`;
        return undefined;
      },
    ),
  ];
}

/** Without what only the kernel knows, and in an order of tables that does not matter. */
function linesOf(objects: readonly Record<string, Record<string, unknown>>[]): string[] {
  return objects
    .filter(one => !('metainfo' in one))
    .map(one => {
      const [[kind, { handle: _, ...fields }]] = Object.entries(one) as [[string, Record<string, unknown>]];
      // nft 1.0.6 lists a set with the flag `dynamic` without it.
      if (kind === 'set') delete fields.flags;
      return `${String(fields.table ?? fields.name)} ${kind} ${stable(fields)}`;
    })
    .map((line, i) => ({ line, i, table: line.slice(0, line.indexOf(' ')), rank: rankOf(line) }))
    .sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : a.rank - b.rank || a.i - b.i))
    .map(({ line }) => line);
}

const rankOf = (line: string): number => ['table', 'chain', 'set', 'rule'].indexOf(line.split(' ')[1]!);

const stable = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'bigint'
      ? Number(inner)
      : typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
  );
