import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { settled } from './load.ts';
import { readingOf, type ScriptCase, ScriptPlaces } from './scripts.ts';

interface Case extends ScriptCase {
  readonly list?: string;
  readonly refusal?: readonly string[];
  readonly sent: readonly string[];
}

/** Way 10: texts that nft takes. Each is applied after its setup, and nft then lists what it has listed when the text was its own. */
export async function parseScripts(): Promise<Outcome[]> {
  const places = new ScriptPlaces();
  try {
    return filesLike(/^nft-scripts.*\.jsonl\.gz$/).map(file =>
      tryAll(
        'parse',
        file,
        readLines<Case>(file),
        ({ name }) => name,
        one => difference(places, one),
      ),
    );
  } finally {
    await places.close();
  }
}

function difference(places: ScriptPlaces, one: Case): string | undefined {
  const place = places.prepared(one);
  let refused: unknown;
  try {
    place.nft.sync.apply(one.text, readingOf(one));
  } catch (error) {
    refused = error;
  }
  if (one.refusal !== undefined) return refused === undefined ? `was taken, not refused: ${one.refusal}` : undefined;
  if (refused !== undefined) throw refused;
  if (one.list === undefined) return undefined;
  const [is, should] = [settled(place.text()), settled(one.list)].map(text => text.split('\n'));
  for (let i = 0; i < Math.max(is!.length, should!.length); i++)
    if (is![i] !== should![i])
      return `line ${i + 1}: is ${JSON.stringify(is![i])}\n    not ${JSON.stringify(should![i])}`;
  return undefined;
}
