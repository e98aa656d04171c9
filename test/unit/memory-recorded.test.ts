import { MemoryKernel } from 'netsteer/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { corpusExists, filesLike, readLines } from '../conformance/corpus.ts';
import { readDump } from '../conformance/dump.ts';
import { type Case, comparable, nameOf, prepared } from '../conformance/kernel.ts';
import { Place } from '../conformance/place.ts';
import { isLong } from '../support/where.ts';

/*
 * Recorded batches of nft and iptables, sent to a kernel in memory as they are: it takes what the kernel of the recording took, and has what
 * that kernel had then.
 */

interface Recorded extends Case {
  dump?: string[];
}

/** What it does not have as the recording has it, and why. Each is looked at: one that is the same after all fails, too. */
const KNOWN: Readonly<Record<string, string>> = {};
/** In the long run all are replayed. */
const EVERY = isLong ? 1 : 4;

let memory: Place;
beforeAll(() => {
  memory = new Place(MemoryKernel.create({ release: '6.18' }).container('memory').netns);
});
afterAll(() => memory.close());

describe('a kernel in memory', () => {
  test.runIf(corpusExists())('takes the batches of recordings, and has what the recorded kernel had', () => {
    const wrong: string[] = [];
    let replayed = 0;
    for (const file of filesLike(/-(rules|rulesets)\.jsonl\.gz$/)) {
      // Rules about sets and objects with names need those that the recordings made before them.
      const cases = readLines<Recorded>(file).filter(
        ({ sent, dump, t, rule = '' }) =>
          (sent ?? []).length > 0 && dump !== undefined && !rule.includes('@') && t !== 'ip/objects.t',
      );
      let same = 0;
      for (const one of cases.filter((_, i) => i % EVERY === 0)) {
        replayed++;
        const said = difference(one);
        const known = KNOWN[nameOf(one)];
        if (said === undefined) same++;
        if (said !== undefined && known === undefined) wrong.push(`${nameOf(one)}: ${said}`);
        if (said === undefined && known !== undefined) wrong.push(`${nameOf(one)} is the same: ${known}`);
      }
      console.log(`${file}: ${same} the same of ${Math.ceil(cases.length / EVERY)}`);
    }
    expect(wrong).toEqual([]);
    expect(replayed).toBeGreaterThan(6000 / EVERY);
  });
});

function difference(one: Recorded): string | undefined {
  memory.empty();
  prepared(memory, one);
  const refused = one.sent!.flatMap(batch => memory.refusals(batch));
  if (refused.length > 0) return `refused ${refused.join('; ')}`;
  const expected = told(comparable(readDump(one.dump!) as never), one);
  const actual = told(comparable(memory.ruleset()), one);
  const at = expected.findIndex((line, i) => line !== actual[i]);
  return at < 0 ? undefined : `${expected[at]} became ${actual[at]}`;
}

/** Recordings of rules have the rule, its sets, and sets of the rules before it. The place of a rule is that of a kernel's count. */
const told = (lines: readonly string[], { rule, args }: Case): string[] =>
  lines
    .filter(
      line =>
        /^rule |^set .*"name":"__/.test(line) ||
        (rule === undefined && args === undefined && /^(set|object) /.test(line)),
    )
    .map(line => line.replace(/"position":"\d+",?/, ''));
