import { UnsupportedError } from 'netsteer';
import { MemoryKernel } from 'netsteer/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { corpusExists, filesLike, readLines } from '../conformance/corpus.ts';
import { type Case, comparable, nameOf, prepared } from '../conformance/kernel.ts';
import { Place } from '../conformance/place.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { knownModules } from '../support/nf_tables/known-modules.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/* Recorded batches of nft and iptables, sent to this kernel and to one in memory: the same refusals, errno and offset, and the same ruleset. */

/** What the kernel in memory does otherwise, and why. One that has become the same fails, too. */
const KNOWN: Readonly<Record<string, string>> = {
  sets_0075tunnel_0: 'tunnels as objects are not modelled, and that is said',
};
/** In the long run all are replayed. */
const EVERY = isLong ? 1 : 8;

kernelSuite('a kernel in memory', () => {
  let real: Place;
  let memory: Place;
  beforeAll(async () => {
    const probe = new KernelSide(NetNs.create());
    const modules = knownModules(probe);
    await probe.close();
    real = new Place();
    memory = new Place(MemoryKernel.create({ release: '6.18', modules }).container('memory').netns);
  });
  afterAll(async () => {
    await real.close();
    await memory.close();
  });

  test.runIf(corpusExists() && where === 'host')(
    'takes and refuses recorded batches as this kernel does',
    { timeout: patience(1_800_000) },
    () => {
      const wrong: string[] = [];
      let replayed = 0;
      for (const file of filesLike(/-(rules|rulesets|scripts)\.jsonl\.gz$|^iptables-files/)) {
        const cases = readLines<Case>(file).filter(({ sent }) => (sent ?? []).length > 0);
        let same = 0;
        const chosen = cases.filter((_, i) => i % EVERY === 0);
        replayed += chosen.length;
        for (const one of chosen) {
          const said = difference(one);
          const known = KNOWN[nameOf(one)];
          if (said === undefined) same++;
          if (said !== undefined && known === undefined) wrong.push(`${nameOf(one)}: ${said}`);
          if (said === undefined && known !== undefined) wrong.push(`${nameOf(one)} is the same: ${known}`);
        }
        console.log(`${file}: ${same} the same of ${chosen.length}`);
      }
      expect(wrong).toEqual([]);
      expect(replayed).toBeGreaterThan(8000 / EVERY);
    },
  );

  function difference(one: Case): string | undefined {
    try {
      return differenceOf(one);
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      return error.message;
    }
  }

  function differenceOf(one: Case): string | undefined {
    const answers = [real, memory].map(place => {
      place.empty();
      return JSON.stringify([prepared(place, one), ...one.sent!.map(batch => place.refusals(batch))]);
    });
    if (answers[0] !== answers[1]) return `answers ${answers[0]}, in memory ${answers[1]}`;
    const [expected, actual] = [real, memory].map(place => comparable(place.ruleset()).map(withoutTimes)) as [
      string[],
      string[],
    ];
    const at = expected.findIndex((line, i) => line !== actual[i]);
    if (at < 0 && expected.length === actual.length) return undefined;
    const from = at < 0 ? expected.length : at;
    return `has ${expected[from]}, in memory ${actual[from]}`;
  }
});

/** What is left of a time depends on the moment. */
const withoutTimes = (line: string): string => line.replace(/\\"expirationMilliseconds\\":\\"\d+\\",?/g, '');
