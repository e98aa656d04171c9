import { spawnSync } from 'node:child_process';
import type { NetNs } from '../../src/netns/index.ts';

/** What the installed nft did in a namespace. */
export interface NftRun {
  /** The signal that ended it: 'SIGSEGV' where it crashed. */
  readonly signal: string | null;
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LARGEST_OUTPUT = 256 * 1024 * 1024;

/** Runs Debian's nft in a namespace. */
export function runNft(netns: NetNs, parameters: readonly string[], input = ''): NftRun {
  const options = { encoding: 'utf8', input, maxBuffer: LARGEST_OUTPUT } as const;
  const { signal, status, stdout, stderr } = netns.run(() => spawnSync('nft', parameters, options));
  return { signal, status, stdout: stdout ?? '', stderr: stderr ?? '' };
}

/** nft ended by a signal. */
export class Crash extends Error {}

/** `nft list ruleset`. @throws Crash, or Error where nft refuses */
export function listRuleset(netns: NetNs): string {
  const { signal, status, stdout, stderr } = runNft(netns, ['list', 'ruleset']);
  if (signal !== null) throw new Crash(`nft list ruleset: ${signal} ${stderr}`);
  if (status !== 0) throw new Error(`nft list ruleset: exit ${status} ${stderr}`);
  return stdout;
}

/** What stands in each table of a listing, by the head that it has there: 'ip filter'. */
export function tablesIn(listing: string): Map<string, string> {
  const tables = new Map<string, string>();
  for (const [, head, body] of listing.matchAll(/^table (\S+ \S+) \{[^\n]*\n((?:(?!\}).*\n)*)\}$/gm))
    tables.set(head!, body!);
  return tables;
}

/** White space at line ends apart, and how much of a timeout is left. */
export const settled = (listing: string): string => listing.replace(/[ \t]+$/gm, '').replaceAll(/ expires \w+/g, '');
