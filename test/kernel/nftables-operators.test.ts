import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { BatchError } from 'netsteer';
import { compileRule, formatRule, type RuleEntry, type Statement, Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { runRule } from '../support/rule-machine.ts';
import { kernelSuite } from '../support/where.ts';

/*
 * Calculations of any depth, where nft's language takes them: written by us, printed for nft 1.0.6, loaded by Debian's nft, and run beside the
 * first on packets that are made up. What is printed as a comment is not loaded.
 */

const LOADS: unknown[] = [
  { meta: { key: 'mark' } },
  { ct: { key: 'mark' } },
  { meta: { key: 'priority' } },
  { payload: { protocol: 'ip', field: 'id' } },
  { payload: { protocol: 'tcp', field: 'dport' } },
  { payload: { protocol: 'ip', field: 'saddr' } },
  { payload: { protocol: 'ip', field: 'dscp' } },
  { payload: { protocol: 'tcp', field: 'flags' } },
  { payload: { base: 'th', offset: 32, len: 32 } },
  { ct: { key: 'state' } },
  { meta: { key: 'length' } },
];
const WRITABLE = 5;
const WHOLE = LOADS.filter(load => load !== LOADS[6]);
const OPERATORS = ['&', '|', '^', '<<', '>>'];

const constants = fc.oneof(fc.nat(7), fc.nat(255), fc.nat(0xffff), fc.constantFrom(0xff00, 0xffff0000));
const loads = fc.constantFrom(...LOADS);

/** On the left mostly what is loaded, on the right mostly what is not: the rest is refused more often. */
const calculations = fc.letrec<{ tree: unknown; calculation: unknown }>(tie => ({
  tree: fc.oneof({ maxDepth: 4, depthSize: 'medium' }, loads, constants, tie('calculation')),
  calculation: fc
    .tuple(
      fc.constantFrom(...OPERATORS),
      fc.oneof({ maxDepth: 4, depthSize: 'medium' }, loads, loads, tie('tree')),
      fc.oneof({ maxDepth: 4, depthSize: 'medium' }, constants, constants, constants, tie('tree')),
    )
    .map(([op, left, right]) => ({ [op]: [left, right] })),
})).calculation;

const sets = fc.uniqueArray(constants, { minLength: 1, maxLength: 3 });
const ranges = fc
  .tuple(constants, constants)
  .map(([one, other]) => ({ range: [Math.min(one, other), Math.max(one, other)] }));
const statements = fc.oneof(
  fc
    .tuple(fc.constantFrom('==', '!=', '<', '>=', 'in', '!'), calculations, constants)
    .map(([op, left, right]) => ({ match: { op, left, right } })),
  fc
    .tuple(
      fc.constantFrom('==', '!='),
      calculations,
      fc.oneof(
        sets.map(set => ({ set })),
        ranges,
      ),
    )
    .map(([op, left, right]) => ({ match: { op, left, right } })),
  fc
    .tuple(fc.constantFrom(...LOADS.slice(0, WRITABLE)), calculations)
    .map(([key, value]) => ({ mangle: { key, value } })),
  fc
    .tuple(calculations, sets)
    .map(([key, set]) => ({ vmap: { key, data: { set: set.map(each => [each, { accept: null }]) } } })),
  fc.tuple(calculations, sets).map(([key, set]) => ({
    mangle: { key: LOADS[0], value: { map: { key, data: { set: set.map((each, i) => [each, i]) } } } },
  })),
  // Fields of single bits nft 1.0.6 lists with a shift that it then takes twice.
  fc.tuple(calculations, fc.constantFrom(...WHOLE), constants, constants).map(([one, other, a, b]) => ({
    match: { op: '==', left: { concat: [one, other] }, right: { set: [{ concat: [a, b] }] } },
  })),
);

const RULES = 6000;
const PACKETS = 60;

const chainOf = (number: number): string => `c${number}`;

function compiles(statement: Statement): boolean {
  try {
    return compileRule({ family: 'ip', statements: [statement] }, { table: 't' }).expressions.length > 0;
  } catch {
    return false;
  }
}

/** All in one transaction; without those that the kernel has something against. */
async function commit(given: readonly Statement[]): Promise<void> {
  await nft.commit(new Transaction().add({ table: { family: 'ip', name: 't' } }));
  for (let rules = [...given]; ; ) {
    const transaction = new Transaction();
    for (const [i, statement] of rules.entries()) {
      transaction.add({ chain: { family: 'ip', table: 't', name: chainOf(i) } });
      transaction.add({ rule: { family: 'ip', table: 't', chain: chainOf(i), statements: [statement] } });
    }
    try {
      await nft.commit(transaction);
      return;
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      const refused = new Set(error.failures.map(({ index }) => Math.floor(index! / 2)));
      rules = rules.filter((_, i) => !refused.has(i));
    }
  }
}

interface Printed {
  readonly rule: RuleEntry;
  readonly text: string;
}

/** Has Debian's nft load them; those that it has something against. */
function refusedOf(printed: readonly Printed[]): string[] {
  const lines = printed.map(({ rule, text }) => `add chain ip u ${rule.chain}\nadd rule ip u ${rule.chain} ${text}\n`);
  const input = `add table ip u\n${lines.join('')}`;
  const { status, stderr } = netns.run(() => spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input }));
  if (status === 0) return [];
  if (printed.length === 1) return [`${printed[0]!.text}: ${stderr}`];
  const half = printed.length >> 1;
  return [...refusedOf(printed.slice(0, half)), ...refusedOf(printed.slice(half))];
}

/** Bytes of a packet, of its meta data, of its connection: most of them zeros in one packet, none in another. */
function packet(random: () => number): (what: string, length?: number) => Buffer {
  const loaded = new Map<string, Buffer>();
  return (what, length = 4) => {
    let bytes = loaded.get(what);
    if (bytes === undefined) {
      const kind = Math.floor(random() * 3);
      bytes = Buffer.alloc(16);
      for (let i = 0; i < 16 && kind > 0; i++) bytes[i] = kind === 1 || i % 4 === 0 ? random() * 256 : 0;
      loaded.set(what, bytes);
    }
    return bytes.subarray(0, length);
  };
}

/** Park and Miller's. */
function numbersFrom(seed: number): () => number {
  let state = (seed % 2147483646) + 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

freshNamespaces();

kernelSuite('calculations that are printed for nft 1.0.6', () => {
  it('are loaded by it and have the same effect on packets', async () => {
    const seed = Number(process.env.SEED ?? 129147489);
    const all = fc.sample(statements, { numRuns: RULES, seed }) as unknown as Statement[];
    await commit(all.filter(compiles));
    const before = await nft.ruleset({ elements: true });
    const printed = before.rules
      .map(rule => ({ rule, text: formatRule(rule, { version: '1.0.6', sets: before.sets }) }))
      .filter(({ text }) => !text.startsWith('#'));
    expect(printed.length, `seed ${seed}`).toBeGreaterThan(RULES / 20);
    expect(refusedOf(printed), `seed ${seed}`).toEqual([]);
    const after = await nft.ruleset({ elements: true });
    const loadedAgain = new Map(after.rules.filter(({ table }) => table === 'u').map(rule => [rule.chain, rule]));
    const setsOf = (table: string) => (name: string) =>
      after.sets.find(set => set.table === table && set.name === name);
    const random = numbersFrom(seed);
    for (const { rule, text } of printed) {
      const again = loadedAgain.get(rule.chain) as RuleEntry;
      for (let i = 0; i < PACKETS; i++) {
        const load = packet(random);
        const expected = runRule(rule.expressions, load, setsOf('t'));
        expect(runRule(again.expressions, load, setsOf('u')), `seed ${seed}: ${text}`).toBe(expected);
      }
    }
  });
});
