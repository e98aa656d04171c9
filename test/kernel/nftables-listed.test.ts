import { spawnSync } from 'node:child_process';
import { type DesiredRuleset, type NftDocument, type Rule, type Statement, Transaction } from 'netsteer/nftables';
import { beforeEach, expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { rulesOverTerms } from '../support/nftables-terms.ts';
import { kernelSuite, where } from '../support/where.ts';

/*
 * Debian's nft lists what this library has written, in every way of writing: it crashes at descriptions of sets that it does not know (SIGSEGV).
 */

const PLACE = { family: 'inet', table: 't' } as const;

freshNamespaces();

/** In a guest, where all is emulated, a few of each kind. */
const EACH = where === 'host' ? 1 : 20;
const rules = rulesOverTerms().filter((_, i) => i % EACH === 0);
const chainOf = (i: number) => `c${i}`;

/** The signal that ends nft when it lists the ruleset. */
const crash = (): string | null =>
  netns.run(() => spawnSync('nft', ['list', 'ruleset'], { maxBuffer: 1 << 28 })).signal;

/** Those that the kernel takes: not all of them in every family. */
const taken: Statement[][] = [];

beforeEach(async () => {
  taken.length = 0;
  const fresh = new Transaction().flush({ ruleset: {} }).add({ table: { family: 'inet', name: 't' } });
  await nft.commit(fresh);
  for (const [i, statements] of rules.entries()) {
    const transaction = new Transaction()
      .add({ chain: { ...PLACE, name: chainOf(i) } })
      .add({ rule: { ...PLACE, chain: chainOf(i), statements } });
    const done = await nft.commit(transaction).then(
      () => true,
      () => false,
    );
    if (done) taken.push(statements);
  }
});

/** The rules of which nft dies, where it dies of all of them together. */
async function deadly(write: (some: readonly Statement[][]) => Promise<unknown>): Promise<Statement[][]> {
  const dies = async (some: readonly Statement[][]) => {
    await nft.commit(new Transaction().flush({ ruleset: {} }));
    await write(some);
    return crash() !== null;
  };
  const found: Statement[][] = [];
  const search = async (some: Statement[][]): Promise<void> => {
    if (!(await dies(some))) return;
    if (some.length === 1) {
      found.push(...some);
      return;
    }
    const half = some.length >> 1;
    await search(some.slice(0, half));
    await search(some.slice(half));
  };
  await search(taken);
  return found;
}

const named = (some: readonly Statement[][]) =>
  some.map((statements, i): Rule => ({ ...PLACE, chain: chainOf(i), statements }));
const chainsOf = (some: readonly Statement[][]) => some.map((_, i) => ({ ...PLACE, name: chainOf(i) }));

kernelSuite("Debian's nft", () => {
  it('lists what commit has written as intended', async () => {
    expect(taken.length).toBeGreaterThan(rules.length / 2);
    const write = (some: readonly Statement[][]) => {
      const transaction = new Transaction().add({ table: { family: 'inet', name: 't' } });
      for (const chain of chainsOf(some)) transaction.add({ chain });
      for (const rule of named(some)) transaction.add({ rule });
      return nft.commit(transaction);
    };
    expect((await deadly(write)).map(one => JSON.stringify(one))).toEqual([]);
  });

  it('lists what reconcile has made as intended', async () => {
    const write = (some: readonly Statement[][]) => {
      const tables: DesiredRuleset['tables'] = [{ family: 'inet', name: 't' }];
      return nft.reconcile({ tables, chains: chainsOf(some), rules: named(some) }, { prefix: '' });
    };
    expect((await deadly(write)).map(one => JSON.stringify(one))).toEqual([]);
    const plan = await nft.plan(
      { tables: [{ family: 'inet', name: 't' }], chains: chainsOf(taken), rules: named(taken) },
      { prefix: '' },
    );
    expect(plan.operations).toEqual([]);
  });

  it('lists what apply has made as intended, named sets included', async () => {
    const write = (some: readonly Statement[][]) => {
      const nftables: unknown[] = [{ add: { table: { family: 'inet', name: 't' } } }];
      for (const [i, expr] of some.entries()) {
        nftables.push({ add: { chain: { ...PLACE, name: chainOf(i) } } });
        const [statement] = expr as unknown as { match?: { left: unknown; right: { set: unknown[] } } }[];
        const type = { typeof: statement?.match?.left };
        const left = statement?.match?.left ?? { concat: [] };
        if (statement?.match === undefined || 'concat' in (left as object))
          nftables.push({ add: { rule: { ...PLACE, chain: chainOf(i), expr } } });
        else nftables.push({ add: { set: { ...PLACE, name: `s${i}`, type, elem: statement.match.right.set } } });
      }
      return nft.apply({ nftables } as NftDocument);
    };
    expect((await deadly(write)).map(one => JSON.stringify(one))).toEqual([]);
  });
});
