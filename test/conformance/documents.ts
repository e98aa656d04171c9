import { rulesetJson } from '../../src/nft/ruleset-json.ts';
import { compileDocument } from '../../src/nftables/commands.ts';
import type { NftDocument } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { runNft } from './debian.ts';
import { plain, versionOf } from './decompile.ts';
import { Place } from './place.ts';

interface Case {
  name: string;
  sent?: string[];
  json?: { nftables: Record<string, unknown>[] };
}

/**
 * Way 7: whole rulesets. The document that nft lists is applied to an empty namespace, where what the kernel has is listed as the same
 * document. What nft 1.1.6 has sent runs the same bytecode, too: that is the nft which apply() compiles as.
 */
export async function documents(): Promise<Outcome[]> {
  const [from, to] = [new Place(), new Place()];
  try {
    return filesLike(/^nft-.*-rulesets\.jsonl\.gz$/).map(file => {
      const refused: string[] = [];
      const garbled: string[] = [];
      const cases = readLines<Case>(file).filter(one => {
        if (one.json === undefined || (one.sent ?? []).length === 0) return false;
        from.empty();
        if (!one.sent!.every(batch => from.replay(batch))) {
          refused.push(one.name);
          return false;
        }
        if (isDocument(to, one.json as unknown as NftDocument)) return true;
        garbled.push(one.name);
        return false;
      });
      if (garbled.length > 0)
        console.log(
          `documents ${file}: what nft printed is not its own JSON in ${garbled.length}: ${garbled.join('; ')}`,
        );
      if (refused.length > 0)
        console.log(`documents ${file}: this kernel refuses ${refused.length}: ${refused.join('; ')}`);
      const nameOf = ({ name }: Case) => name;
      return tryAll('documents', file, cases, nameOf, one => difference(from, to, one, versionOf(file)));
    });
  } finally {
    await from.close();
    await to.close();
  }
}

/** nft prints some things as JSON that no nft reads back: where we refuse a document, Debian's nft must refuse it, too. */
function isDocument(place: Place, json: NftDocument): boolean {
  try {
    compileDocument(json);
    return true;
  } catch {
    place.empty();
    return runNft(place.netns, ['-j', '-f', '-'], JSON.stringify(json)).status === 0;
  }
}

function difference(from: Place, to: Place, one: Case, version: '1.0.6' | '1.1.6'): string | undefined {
  from.empty();
  to.empty();
  for (const batch of one.sent!) from.replay(batch);
  to.nft.sync.apply(one.json as unknown as NftDocument);
  const after = to.ruleset();
  const [expected, actual] = [one.json!, rulesetJson(after, { version })].map(({ nftables }) => contentOf(nftables));
  for (const [i, line] of expected!.entries()) if (line !== actual![i]) return `${line}\n    became ${actual![i]}`;
  if (actual!.length > expected!.length) return `more: ${actual![expected!.length]}`;
  if (version !== '1.1.6') return undefined;
  const [sent, applied] = [from.ruleset(), after].map(({ rules }) => rules.map(rule => bytecodeOf(rule.expressions)));
  for (const [i, line] of sent!.entries()) if (line !== applied![i]) return `${line}\n    became ${applied![i]}`;
  return undefined;
}

/** What the kernel numbers or counts down itself. */
const DROPPED = new Set(['handle', 'expires']);
/** Elements come in the order of the kernel's table, which nobody chose. */
const UNORDERED = new Set(['elem', 'set']);

function sorted(value: unknown): unknown {
  return Array.isArray(value) ? [...value].sort((a, b) => (plain(a) < plain(b) ? -1 : 1)) : value;
}

function contentOf(nftables: Record<string, unknown>[]): string[] {
  return nftables.filter(object => !('metainfo' in object)).map(object => plain(without(object)));
}

function without(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(without);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([key]) => !DROPPED.has(key));
  return Object.fromEntries(
    fields.map(([key, each]) => [key, UNORDERED.has(key) ? sorted(without(each)) : without(each)]),
  );
}

/** Names that the kernel numbers itself are all one. */
function bytecodeOf(expressions: unknown): string {
  return plain(expressions).replaceAll(/"(__(?:set|map|chain|objmap)\d+)"/g, '"__own"');
}
