import { spawnSync } from 'node:child_process';
import { BatchError, NetlinkError } from '../../src/errors.ts';
import { NftSyntaxError } from '../../src/nftables/index.ts';
import { bytesOf, linesOf } from './batch.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { plain } from './decompile.ts';
import { exactLines } from './kernel.ts';
import { settled } from './load.ts';
import type { Place } from './place.ts';
import { kernelProblem } from './refuse.ts';
import { readingOf, type ScriptCase, ScriptPlaces } from './scripts.ts';

interface Case extends ScriptCase {
  readonly list?: string;
  /** What the kernel said: the text of each errno once. */
  readonly refusal?: readonly string[];
  readonly sent: readonly string[];
  /** What the text itself printed: the replies to list, get, reset and describe. */
  readonly output?: string;
}

/**
 * Way 10: texts that nft takes. Each is applied after its setup, which is applied by us, too. We send the batch that nft has sent (`linesOf` says what
 * does not count). Where it is another one, it leaves the same state, exactly: what the kernel dumps after it is what it dumps after nft's batch. These cases are
 * told by name. What the kernel refused nft, it refuses us, with the same errors. nft then lists what it has listed when the text was its own.
 */
export async function parseScripts(): Promise<Outcome[]> {
  const places = new ScriptPlaces();
  try {
    return filesLike(/^nft-scripts.*\.jsonl\.gz$/).map(file => {
      const others: string[] = [];
      const cases = readLines<Case>(file);
      const outcome = tryAll(
        'parse',
        file,
        cases,
        ({ name }) => name,
        one => difference(places, one, others),
      );
      console.log(`parse ${file}: another batch with the same effect ${others.length}: ${others.join('; ')}`);
      return outcome;
    });
  } finally {
    await places.close();
  }
}

function difference(places: ScriptPlaces, one: Case, others: string[]): string | undefined {
  const place = places.prepared(one);
  place.batches.length = 0;
  let refused: unknown;
  let reply: unknown;
  try {
    reply = place.nft.sync.apply(one.text, readingOf(one));
  } catch (error) {
    refused = error;
  }
  const ours = linesOf(place.batches.slice(-1));
  const theirs = linesOf(one.sent.map(bytesOf));
  const sameBatch = ours.join('\n') === theirs.join('\n');
  if (one.refusal !== undefined) {
    if (refused === undefined) return `was taken, not refused: ${one.refusal}`;
    const is = [...new Set(refusalsOf(refused))].join(', ');
    if (is !== one.refusal.join(', ')) return `is refused: ${is}\n    not ${one.refusal.join(', ')}`;
    if (!sameBatch) others.push(one.name);
    return undefined;
  }
  if (refused !== undefined) throw refused;
  if (!sameBatch) {
    if (differentState(places, one, place) !== undefined) return differentLine('batch', ours, theirs);
    others.push(one.name);
  }
  const answer = one.output === undefined ? undefined : differentAnswer(places, one, reply);
  if (answer !== undefined) return answer;
  return one.list === undefined
    ? undefined
    : differentLine('line', settled(place.text()).split('\n'), settled(one.list).split('\n'));
}

/** What we reply to a text that asks, and nft as JSON does not. The recordings have it as text only. */
function differentAnswer(places: ScriptPlaces, one: Case, reply: unknown): string | undefined {
  const { netns } = places.prepared(one, 'twin');
  const { stdout } = netns.run(() => spawnSync('nft', ['-j', one.text], { encoding: 'utf8' }));
  const linesIn = ({ nftables = [] }: { nftables?: object[] }): string[] =>
    nftables.filter(object => !('metainfo' in object)).map(object => plain(object).replace(/"handle":\d+,?/g, ''));
  let should: string[];
  try {
    const documents = stdout.split('\n').filter(line => line !== '');
    should = documents.flatMap(line => linesIn(JSON.parse(line) as { nftables: object[] }));
  } catch {
    // Of elements that are ranges (get), nft 1.0.6 prints memory that is no JSON.
    return undefined;
  }
  return differentLine('reply', linesIn((reply ?? {}) as { nftables?: object[] }), should);
}

/** What the kernel has after nft's batch and not after ours. */
function differentState(places: ScriptPlaces, one: Case, place: Place): string | undefined {
  const twin = places.prepared(one, 'twin');
  if (!one.sent.every(batch => twin.replay(batch))) return 'the kernel refuses the batch';
  const [is, should] = [place, twin].map(each => exactLines(each.ruleset()));
  return differentLine('state', is!, should!);
}

function differentLine(what: string, is: readonly string[], should: readonly string[]): string | undefined {
  for (let i = 0; i < Math.max(is.length, should.length); i++)
    if (is[i] !== should[i]) return `${what} ${i + 1}: is ${is[i]}\n    not ${should[i]}`;
  return undefined;
}

function refusalsOf(error: unknown): string[] {
  if (error instanceof NftSyntaxError) return error.errors.map(({ message }) => message);
  const failures = error instanceof BatchError ? error.failures : error instanceof NetlinkError ? [error] : undefined;
  if (failures === undefined) throw error;
  return failures.map(failure => kernelProblem(failure).message.replace(/^Could not process rule: /, ''));
}
