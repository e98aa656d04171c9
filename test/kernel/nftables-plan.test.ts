import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { NetNs } from 'netsteer';
import {
  type Chain,
  type DesiredRuleset,
  type ElementValue,
  formatPlan,
  type NewMap,
  Nftables,
  type Rule,
  Transaction,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { desired, OWNER, PLACE, TABLE } from '../support/nftables-desired.ts';
import { kernelSuite, where } from '../support/where.ts';

freshNamespaces();

kernelSuite('plan and reconcile', () => {
  it('lead from any state to any other in one transaction, after which nothing is left to do', async () => {
    const foreign = new Transaction()
      .add({ table: { family: 'ip', name: 'foreign' } })
      .add({ chain: { family: 'ip', table: 'foreign', name: 'c' } });
    await nft.commit(foreign);
    const foreignState = async () => JSON.stringify(await nft.ruleset({ family: 'ip', table: 'foreign' }), bigints);
    const before = (await foreignState()).replace(/"generation":\d+/, '');
    await fc.assert(
      fc.asyncProperty(desired, async wanted => {
        const generation = await nft.generation();
        const { operations } = await nft.reconcile(wanted, OWNER);
        expect(await nft.generation()).toBe(generation + (operations.length > 0 ? 1 : 0));
        const again = await nft.plan(wanted, OWNER);
        expect(formatPlan(again)).toBe('');
      }),
      { numRuns: 150 },
    );
    expect((await foreignState()).replace(/"generation":\d+/, '')).toBe(before);
  });

  it('make of any state what a fresh namespace would have', async () => {
    const other = NetNs.create();
    await using fresh = Nftables.open({ netns: other });
    const changed = fc.tuple(desired, desired, fc.boolean()).map(([one, two, asRead]) => ({ one, two, asRead }));
    await fc.assert(
      fc.asyncProperty(changed, async ({ one, two, asRead }) => {
        await nft.reconcile(one, OWNER);
        await nft.reconcile(two, OWNER);
        await fresh.commit(new Transaction().flush({ ruleset: {} }));
        // A copy of what was read, or what is wanted itself.
        await fresh.reconcile(asRead ? await nft.ruleset({ elements: true }) : two, OWNER);
        expect(blocksOf(netns)).toEqual(blocksOf(other));
      }),
      { numRuns: where === 'host' ? 40 : 5 },
    );
    other.close();
  });

  it('have nothing to do for any state that was read', async () => {
    await fc.assert(
      fc.asyncProperty(desired, desired, async (first, second) => {
        await nft.reconcile(first, OWNER);
        const read = await nft.ruleset({ elements: true });
        expect(formatPlan(await nft.plan(read, OWNER))).toBe('');
        await nft.reconcile(second, OWNER);
        await nft.reconcile(read, OWNER);
        expect(formatPlan(await nft.plan(first, OWNER))).toBe('');
      }),
      { numRuns: 40 },
    );
  });

  it('keep unchanged rules, and name only what changes', async () => {
    const chain = { ...PLACE, name: 'a' };
    const mark = (n: number): Rule => ({
      ...PLACE,
      chain: 'a',
      expressions: [
        { counter: { packets: BigInt(n), bytes: 0n } },
        { immediate: { register: 1, data: `0000000${n}` } },
        { meta: { key: 'mark', sourceRegister: 1 } },
      ],
    });
    const state = (...numbers: number[]): DesiredRuleset => ({
      tables: [TABLE],
      chains: [chain],
      rules: numbers.map(mark),
    });
    await nft.reconcile(state(1, 2, 3, 4), OWNER);
    const handles = new Map(
      (await nft.rules()).map(({ handle, expressions }) => [JSON.stringify(expressions[1]), handle]),
    );
    const plan = await nft.reconcile(state(1, 5, 3, 6, 4, 7), OWNER);
    expect(formatPlan(plan).split('\n')).toEqual([
      expect.stringMatching(/^- rule ip mine-t a handle \d+$/),
      expect.stringMatching(/^\+ rule ip mine-t a before handle \d+: counter immediate meta$/),
      expect.stringMatching(/^\+ rule ip mine-t a before handle \d+: counter immediate meta$/),
      '+ rule ip mine-t a: counter immediate meta',
      '',
    ]);
    const after = await nft.rules();
    expect(after.map(({ expressions }) => (expressions[1] as { immediate: { data: string } }).immediate.data)).toEqual(
      [1, 5, 3, 6, 4, 7].map(n => `0000000${n}`),
    );
    for (const n of [1, 3, 4]) {
      const { handle, expressions } = after.find(one => JSON.stringify(one.expressions[1])?.includes(`0${n}"`))!;
      expect(handles.get(JSON.stringify(expressions[1]))).toBe(handle);
      // The counter of a rule that stays goes on from where it was.
      expect(expressions[0]).toEqual({ counter: { packets: BigInt(n), bytes: 0n } });
    }
  });

  it('change single elements, and a policy in place', async () => {
    const set = (...elements: ElementValue[]): NewMap => ({
      ...PLACE,
      name: 's',
      key: 'ipv4_addr',
      flags: ['interval'],
      elements,
    });
    const chain = (policy: 'accept' | 'drop'): Chain => ({
      ...PLACE,
      name: 'a',
      type: 'filter',
      hook: 'input',
      priority: 0,
      policy,
    });
    await nft.reconcile({ tables: [TABLE], chains: [chain('accept')], sets: [set('10.0.0.0/8', '11.0.0.1')] }, OWNER);
    const plan = await nft.reconcile(
      { tables: [TABLE], chains: [chain('drop')], sets: [set('11.0.0.1', { from: '12.0.0.0', to: '12.0.0.5' })] },
      OWNER,
    );
    expect(formatPlan(plan)).toBe(
      '- element ip mine-t s: 10.0.0.0/8\n~ chain ip mine-t a policy drop\n+ element ip mine-t s: 12.0.0.0-12.0.0.5\n',
    );
    expect(formatPlan(await nft.plan({ tables: [] }, OWNER))).toBe('- table ip mine-t\n');
    // A set of which nothing is said keeps its elements.
    const { elements: _, ...bare } = set();
    expect(formatPlan(await nft.plan({ tables: [TABLE], chains: [chain('drop')], sets: [bare] }, OWNER))).toBe('');
  });

  it('recognise their tables by comment, prefix or socket, and reject others with ERR_FOREIGN_TABLE', async () => {
    await nft.commit(new Transaction().add({ table: { family: 'ip', name: 'theirs' } }));
    const wanted: DesiredRuleset = { tables: [{ family: 'ip', name: 'a' }] };
    expect(formatPlan(await nft.reconcile(wanted, { comment: 'ours' }))).toBe('+ table ip a comment ours\n');
    expect(formatPlan(await nft.reconcile({ tables: [] }, { comment: 'another' }))).toBe('');
    expect(formatPlan(await nft.reconcile({ tables: [] }, { comment: 'ours' }))).toBe('- table ip a\n');
    await nft.reconcile(wanted, { flag: true });
    expect((await nft.tables()).find(({ name }) => name === 'a')).toMatchObject({ flags: ['owner'] });
    await using other = Nftables.open({ netns });
    await expect(other.reconcile({ tables: [] }, { flag: true })).resolves.toMatchObject({ operations: [] });
    expect(formatPlan(await nft.reconcile(wanted, { flag: true }))).toBe('');
    await expect(
      nft.reconcile({ tables: [{ family: 'ip', name: 'theirs' }] }, { comment: 'ours' }),
    ).rejects.toMatchObject({
      name: 'StateError',
      code: 'ERR_FOREIGN_TABLE',
      message: expect.stringContaining('tables[0].name') as string,
    });
    await expect(nft.plan(wanted, OWNER)).rejects.toThrow('tables[0].name');
    await expect(nft.plan(wanted, {} as never)).rejects.toThrow('owner');
    await nft.reconcile({ tables: [] }, { flag: true });
    expect((await nft.tables()).map(({ name }) => name)).toEqual(['theirs']);
  });

  it('report errors in the desired state with their path', async () => {
    const plan = (more: Partial<DesiredRuleset>) => nft.plan({ tables: [TABLE], ...more }, OWNER);
    const one: Rule = { ...PLACE, chain: 'a', expressions: [] };
    await expect(plan({ rules: [one] })).rejects.toThrow('rules[0].chain');
    await expect(plan({ chains: [{ ...PLACE, table: 'x', name: 'a' }] })).rejects.toThrow('chains[0].table');
    await expect(
      plan({ chains: [{ ...PLACE, name: 'a' }], rules: [one, { ...one, expressions: [{ cmp: {} } as never] }] }),
    ).rejects.toThrow('rules[1].');
    await expect(plan({ sets: [{ ...PLACE, name: 's', key: 'ipv4_addr', elements: ['10.0.0.256'] }] })).rejects.toThrow(
      'sets[0].',
    );
  });

  it('plan again when others commit in between', async () => {
    await using other = Nftables.open({ netns });
    const done: Promise<unknown>[] = [];
    for (let i = 0; i < 20; i++) {
      const wanted: DesiredRuleset = { tables: [TABLE], chains: [{ ...PLACE, name: `c${i}` }] };
      done.push(nft.reconcile(wanted, OWNER));
      done.push(other.commit(new Transaction().add({ table: { family: 'ip', name: `other${i}` } })));
    }
    await Promise.all(done);
    expect((await nft.chains()).map(({ name }) => name)).toEqual(['c19']);
  });
});

/** What nft lists, in an order of its own: the kernel lists objects as they were made. */
const blocksOf = (inside: NetNs): string[] =>
  inside
    .run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }))
    .replaceAll(/ expires \w+/g, '')
    .split(/\n\n|\{\n(?=\t\w)/)
    .map(block => block.replace(/\n\}\n$/, ''))
    .sort();

const bigints = (_key: string, value: unknown) => (typeof value === 'bigint' ? `${value}` : value);
