import { BatchError, NetlinkError } from '../../src/errors.ts';
import { NftSyntaxError } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines } from './corpus.ts';
import { readingOf, type ScriptCase, ScriptPlaces } from './scripts.ts';

interface Problem {
  source: string;
  line?: number;
  column?: number;
  endColumn?: number;
  message: string;
}

interface Case extends ScriptCase {
  readonly errors: readonly Problem[];
  readonly stderr: string;
  readonly newer?: boolean;
  readonly kernel?: boolean;
}

/**
 * Way 11: texts that nft refuses. Each is refused with the same first error: its line, columns and words. How many have all errors alike, or are refused at all,
 * is told, too. An error of another kind than one of the text or of the kernel fails.
 */
export async function refuse(): Promise<Outcome[]> {
  const places = new ScriptPlaces();
  try {
    return filesLike(/^nft-refused.*\.jsonl\.gz$/).map(file => refuseFile(places, file));
  } finally {
    await places.close();
  }
}

function refuseFile(places: ScriptPlaces, file: string): Outcome {
  const failures: { name: string; difference: string }[] = [];
  const counts = { refused: 0, line: 0, place: 0, first: 0, all: 0, foreign: 0 };
  const cases = readLines<Case>(file);
  for (const one of cases) {
    const found = refusalOf(places, one);
    if (typeof found === 'string') {
      if (found !== 'taken') counts.foreign++;
      failures.push({
        name: one.name,
        difference: `${found}: ${shown(one.errors[0])}\n    ${JSON.stringify(one.text.slice(0, 200))}`,
      });
      continue;
    }
    counts.refused++;
    const [is, should] = [found[0], one.errors[0]];
    if (is?.line === should?.line) counts.line++;
    if (samePlace(is, should)) counts.place++;
    if (shown(is) === shown(should)) counts.first++;
    else
      failures.push({
        name: one.name,
        difference: `is ${shown(is)}\n    not ${shown(should)}\n    ${JSON.stringify(one.text.slice(0, 200))}`,
      });
    if (found.map(shown).join('\n') === one.errors.map(shown).join('\n')) counts.all++;
  }
  const { refused, line, place, first, all, foreign } = counts;
  console.log(
    `refuse ${file}: of ${cases.length} refused ${refused}, the same line ${line}, place ${place}, first error ${first}, all errors ${all}, another kind of error ${foreign}`,
  );
  return { way: 'refuse', file, total: cases.length, failures };
}

const samePlace = (a: Problem | undefined, b: Problem | undefined): boolean =>
  a?.line === b?.line && a?.column === b?.column && a?.endColumn === b?.endColumn;

const shown = (problem: Problem | undefined): string =>
  problem === undefined
    ? 'nothing'
    : `${problem.line ?? ''}:${problem.column ?? ''}-${problem.endColumn ?? ''} ${problem.message}`;

/** What the kernel has refused, in the words that the error's own message has for it. */
export function kernelProblem({ message, source = '', line, column, endColumn }: NetlinkError): Problem {
  const words = /^.*:\d+:\d+-\d+: Error: (.*)$/m.exec(message)?.[1] ?? message;
  return {
    source,
    message: words,
    ...(line !== undefined && { line }),
    ...(column !== undefined && { column }),
    ...(endColumn !== undefined && { endColumn }),
  };
}

/** What a text was refused with; 'taken', or the name of an error that nobody expects. */
function refusalOf(places: ScriptPlaces, one: Case): Problem[] | string {
  const place = places.prepared(one);
  try {
    place.nft.sync.apply(one.text, readingOf(one));
    return 'taken';
  } catch (error) {
    if (error instanceof NftSyntaxError) return [...error.errors];
    const failures = error instanceof BatchError ? error.failures : error instanceof NetlinkError ? [error] : undefined;
    if (failures === undefined)
      return error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error);
    return failures.map(kernelProblem);
  }
}
