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
 * is told, too. An error of another kind than one of the text or of the kernel fails. The second outcome compares all that nft prints, byte for byte.
 */
export async function refuse(): Promise<Outcome[]> {
  const places = new ScriptPlaces();
  try {
    return filesLike(/^nft-refused.*\.jsonl\.gz$/).flatMap(file => refuseFile(places, file));
  } finally {
    await places.close();
  }
}

function refuseFile(places: ScriptPlaces, file: string): Outcome[] {
  const failures: { name: string; difference: string }[] = [];
  const otherReports: { name: string; difference: string }[] = [];
  const counts = { refused: 0, line: 0, place: 0, first: 0, all: 0, foreign: 0 };
  const cases = readLines<Case>(file);
  for (const one of cases) {
    const { found, report } = refusalOf(places, one);
    if (report?.trimEnd() !== one.stderr.trimEnd())
      otherReports.push({ name: one.name, difference: `is ${report}\nnot ${one.stderr}` });
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
  const total = cases.length;
  return [
    { way: 'refuse', file, total, failures },
    { way: 'refuse-stderr', file, total, failures: otherReports },
  ];
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

interface Refusal {
  /** What a text was refused with; 'taken', or the name of an error that nobody expects. */
  found: Problem[] | string;
  /** The error's message as nft would print it, with the lines and the carets. */
  report?: string;
}

/** The report in an error of the kernel: the part of its message that begins with the place. */
const reportOf = ({ message }: NetlinkError): string =>
  /^(In file included from |[^\n]*:\d+:\d+-\d+: Error: )[\s\S]*$/m.exec(message)?.[0] ?? message;

function refusalOf(places: ScriptPlaces, one: Case): Refusal {
  const place = places.prepared(one);
  try {
    place.nft.sync.apply(one.text, readingOf(one));
    return { found: 'taken' };
  } catch (error) {
    if (error instanceof NftSyntaxError) return { found: [...error.errors], report: error.message };
    const failures = error instanceof BatchError ? error.failures : error instanceof NetlinkError ? [error] : undefined;
    if (failures === undefined)
      return { found: error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error) };
    return { found: failures.map(kernelProblem), report: failures.map(reportOf).join('\n\n') };
  }
}
