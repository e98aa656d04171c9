import fc from 'fast-check';
import {
  type DesiredRuleset,
  Nftables,
  type Rule,
  type RuleEntry,
  RulesetMirror,
  Transaction,
  type TransactionOperation,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { desired, OWNER, PLACE, TABLE } from '../support/nftables-desired.ts';
import { until } from '../support/wait.ts';
import { kernelSuite, where } from '../support/where.ts';

freshNamespaces();

/** What somebody else does between two plans. */
const foreign = fc.constantFrom(
  'nothing',
  'a flush',
  'a removal',
  'another rule',
  'a rule in another place',
  'an element',
);

async function interfere(kind: string): Promise<void> {
  await using other = Nftables.open({ netns });
  // A set of a rule's own goes with it.
  const isAlone = (rule: RuleEntry) => !String(textOf(rule.expressions)).includes('__set');
  const rules = (await other.rules(PLACE)).filter(isAlone);
  const some = rules[rules.length >> 1];
  const transaction = new Transaction();
  const comment = { ...PLACE, chain: 'd', expressions: [], comment: 'theirs' };
  if (kind === 'a flush') transaction.flush({ table: TABLE });
  if (kind === 'a removal' && some?.handle !== undefined)
    transaction.delete({ rule: { ...some, handle: some.handle } });
  if (kind === 'another rule') transaction.insert({ rule: comment });
  if (kind === 'a rule in another place' && some?.handle !== undefined) {
    const { handle, previousHandle: _, ...rule } = some;
    transaction.delete({ rule: { ...some, handle } }).insert({ rule });
  }
  if (kind === 'an element')
    transaction.add({ element: { ...PLACE, set: 'addresses', type: { key: 'ipv4_addr' }, elements: ['10.9.9.9'] } });
  if (transaction.operations.length > 0) await other.commit(transaction);
}

/** Without what passes by itself. */
const plain = (key: string, value: unknown) =>
  key === 'expirationMilliseconds' ? undefined : typeof value === 'bigint' ? `${value}` : value;
const textOf = (value: unknown) => JSON.stringify(value, plain, 1);

/** A mirror may have elements in another order than the kernel, and nobody cares for their order. */
const inNoOrder = (operations: readonly TransactionOperation[]) =>
  operations.map(({ verb, kind, subject }) => {
    const { elements, ...rest } = Object.values(subject)[0] as { elements?: unknown[] };
    return { verb, kind, ...rest, elements: elements?.map(textOf).sort() };
  });

kernelSuite('plans of a handle that has planned before', () => {
  it('are those of a handle that has not, whatever others have changed in between', async () => {
    const mirror = new RulesetMirror();
    const monitor = nft.monitor({ initial: true });
    const fed = (async () => {
      for await (const item of monitor) mirror.apply(item);
    })();
    const step = fc.record({ wanted: desired, change: foreign, reconcile: fc.boolean(), again: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 5 }), async steps => {
        let before: DesiredRuleset | undefined;
        for (const { wanted: drawn, change, reconcile, again } of steps) {
          const wanted = again && before !== undefined ? before : drawn;
          if (reconcile) await nft.reconcile(wanted, OWNER);
          const isThere = (await nft.table(TABLE)) !== undefined;
          if (isThere && (await nft.set({ ...PLACE, name: 'addresses' })) !== undefined) await interfere(change);
          await using other = Nftables.open({ netns });
          const expected = await other.plan(wanted, OWNER);
          expect(textOf(await nft.plan(wanted, OWNER))).toEqual(textOf(expected));
          expect(textOf(await nft.plan(structuredClone(wanted), OWNER))).toEqual(textOf(expected));
          await until(() => mirror.generation === expected.generation);
          const told = await nft.plan(wanted, { ...OWNER, mirror });
          expect(inNoOrder(told.operations)).toEqual(inNoOrder(expected.operations));
          before = wanted;
        }
      }),
      { numRuns: where === 'host' ? 60 : 8 },
    );
    monitor.close();
    await fed;
  });

  it('see what was changed in an object that they have met', async () => {
    const rule: Rule = { ...PLACE, chain: 'c', statements: [{ accept: null }] };
    const elements = ['10.0.0.1'];
    const chain = { ...PLACE, name: 'c', type: 'filter' as const, hook: 'input' as const, priority: 0, comment: 'one' };
    const wanted = {
      tables: [TABLE],
      chains: [chain],
      sets: [{ ...PLACE, name: 's', key: 'ipv4_addr' as const, elements }],
      rules: [rule],
    };
    const changes = async () =>
      (await nft.reconcile(wanted, OWNER)).operations.map(({ verb, kind }) => `${verb} ${kind}`);
    await changes();
    expect(await changes()).toEqual([]);
    rule.statements = [{ drop: null }];
    expect(await changes()).toEqual(['delete rule', 'add rule']);
    elements.push('10.0.0.2');
    expect(await changes()).toEqual(['add element']);
    chain.comment = 'two';
    expect(await changes()).toEqual(['flush chain', 'delete chain', 'create chain', 'add rule']);
    expect(await changes()).toEqual([]);
  });

  it('see that a set of a rule has changed, although the rule has not', async () => {
    const rule: Rule = { ...PLACE, chain: 'c', statements: [{ accept: null }] };
    const match = { match: { op: '==' as const, left: { payload: { protocol: 'ip', field: 'saddr' } }, right: '@s' } };
    const wanted = (key: 'ipv4_addr' | 'inet_service') => ({
      tables: [TABLE],
      chains: [{ ...PLACE, name: 'c' }],
      sets: [{ ...PLACE, name: 's', key }],
      rules: [{ ...rule, statements: [match, { accept: null }] as Rule['statements'] & object }],
    });
    await nft.reconcile(wanted('ipv4_addr'), OWNER);
    await expect(nft.plan(wanted('inet_service'), OWNER)).rejects.toMatchObject({
      path: expect.arrayContaining(['rules']),
    });
    expect((await nft.plan(wanted('ipv4_addr'), OWNER)).operations).toEqual([]);
  });

  it('do not take operations that the caller has changed for the state of the kernel', async () => {
    const wanted = (...elements: string[]) => ({
      tables: [TABLE],
      sets: [
        { ...PLACE, name: 's', key: 'ipv4_addr . ipv4_addr' as const, elements: elements.map(each => [each, each]) },
      ],
    });
    await nft.reconcile(wanted('10.0.0.1', '10.0.0.2'), OWNER);
    const { operations } = await nft.plan(wanted('10.0.0.1'), OWNER);
    const [{ subject }] = operations as unknown as [
      { subject: { element: { elements: { fill(value: string): void }[] } } },
    ];
    for (const element of subject.element.elements) element.fill('10.9.9.9');
    await nft.reconcile(wanted('10.0.0.1'), OWNER);
    expect(await nft.elements({ ...PLACE, name: 's' }, { as: 'values' })).toEqual([['10.0.0.1', '10.0.0.1']]);
  });
});
