import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UnsupportedError } from '../../src/errors.ts';
import { filesLike, readLines } from '../conformance/corpus.ts';
import type { Case } from '../conformance/kernel.ts';
import { anyFrame, type Frame, isFollowed } from '../support/packet-arbitrary.ts';
import { type Chains, chains, type RuleFamily, textOf } from '../support/packet-rules.ts';
import { PacketTwins } from '../support/packet-twins.ts';

/*
 * The kernel in memory is judged by the one that runs: the same rules, the same frames; the same frames out, answers, messages of NFLOG, traces,
 * and what rules, sets and objects have counted.
 */

const LONG = process.env.NETSTEER_LONG !== undefined;
const FRAMES = LONG ? 40 : 8;
const SEED = Number(process.env.NETSTEER_SEED ?? 20);

let twins: PacketTwins;
beforeAll(() => {
  twins = new PacketTwins();
});
afterAll(async () => {
  await twins.close();
});

/** What has been compared. */
class Tally {
  packets = 0;
  unmodelled = 0;
}

/** Lets both kernels have the frames, and compares all that can be seen. */
function compare(frames: readonly Frame[], tally: Tally, about: string): void {
  const { unmodelled } = tally;
  for (const { type, bytes } of frames) {
    const packet = Buffer.from(bytes).toString('hex');
    try {
      const [kernel, memory] = twins.receive(type, bytes);
      expect(memory, `${about}\n${packet}`).toEqual(kernel);
      tally.packets++;
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      tally.unmodelled++;
    }
  }
  // What one of them has not counted tells nothing.
  if (unmodelled < tally.unmodelled) return;
  const [kernel, memory] = twins.states();
  expect(memory, about).toEqual(kernel);
}

/** The chains without rules that the language does not have: two protocols at once and the like. */
function sound(wanted: Chains): Chains {
  const rulesOf = (part: 'base' | 'other') =>
    wanted[part].filter(each => twins.takes(textOf({ ...wanted, base: [], other: [], [part]: [each] })));
  return { ...wanted, base: rulesOf('base'), other: rulesOf('other') };
}

test('random packets through random rules come out of the kernel in memory as out of the real one', () => {
  const tally = new Tally();
  const frames = fc.array(anyFrame, { minLength: FRAMES, maxLength: FRAMES });
  fc.assert(
    fc.property(chains, frames, (wanted, all) => {
      const text = textOf(sound(wanted));
      const [kernel, memory] = twins.apply(text);
      expect(memory, text).toBe(kernel);
      if (kernel === 'ok') compare(all, tally, text);
    }),
    { numRuns: LONG ? 2500 : 130, seed: SEED, endOnFailure: true },
  );
  expect(tally.packets).toBeGreaterThan(LONG ? 90_000 : 900);
  expect(tally.unmodelled).toBeLessThan(tally.packets / 20);
});

/** Rules whose meaning differs from one moment or machine to the next. */
const UNSTEADY =
  /random|symhash|meta (time|hour|day|random|cpu)|jhash(?!.*seed)|rtclassid|cgroup|queue|limit|quota|device "lo"/;
const HOOKS = ['prerouting', 'input', 'forward', 'postrouting'] as const;

test('random packets through recorded rules come out of the kernel in memory as out of the real one', () => {
  const tally = new Tally();
  const recorded = filesLike(/^nft-1.1.6-rules/)
    .flatMap(file => readLines<Case>(file))
    .filter(({ rule, family }) => rule !== undefined && ['ip', 'ip6', 'inet'].includes(family ?? ''))
    .filter(({ rule }) => !UNSTEADY.test(rule!));
  const of = (family: RuleFamily) => recorded.filter(each => each.family === family).map(({ rule }) => rule!);
  const cases = fc
    .record({ family: fc.constantFrom<RuleFamily>('ip', 'ip6', 'inet'), hook: fc.constantFrom(...HOOKS) })
    .chain(({ family, hook }) =>
      fc.record({
        family: fc.constant(family),
        hook: fc.constant(hook),
        priority: fc.constantFrom(0, -300),
        policy: fc.constant('accept' as const),
        base: fc.array(fc.constantFrom(...of(family)), { minLength: 4, maxLength: 8 }),
        other: fc.constant([]),
        traced: fc.boolean(),
      }),
    );
  fc.assert(
    fc.property(
      cases,
      fc.array(anyFrame.filter(isFollowed), { minLength: FRAMES, maxLength: FRAMES }),
      (wanted, all) => {
        const counting = { ...wanted, base: wanted.base.map(each => `${each}\n    counter`) };
        const text = textOf(sound(counting));
        const [kernel, memory] = twins.apply(text, { tracks: true });
        expect(memory, text).toBe(kernel);
        if (kernel !== 'ok') return;
        twins.flush();
        compare(all, tally, text);
      },
    ),
    { numRuns: LONG ? 500 : 40, seed: SEED, endOnFailure: true },
  );
  expect(tally.packets).toBeGreaterThan(LONG ? 15_000 : 150);
});
