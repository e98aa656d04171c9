import {
  type ElementValue,
  type Expression,
  Nftables,
  type ResetValues,
  type SetKey,
  type SetType,
  Transaction,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { NetlinkError, UnsupportedError } from '../../src/errors.ts';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

const TABLE = { family: 'ip', name: 't' } as const;
const PLACE = { family: 'ip', table: 't' } as const;
const SET: SetKey = { ...PLACE, name: 's' };

freshNamespaces();

const mark = (number: number): Expression[] => [
  { immediate: { register: 1, data: number.toString(16).padStart(8, '0') } },
  { meta: { key: 'mark', sourceRegister: 1 } },
];
const address = (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;

async function everyKind(): Promise<void> {
  const transaction = new Transaction()
    .add({ table: { ...TABLE, comment: 'mine' } })
    .add({ chain: { ...PLACE, name: 'c', type: 'filter', hook: 'input', priority: 0 } })
    .add({ set: { ...SET, key: 'ipv4_addr', flags: ['interval'], elements: ['10.0.0.0/8', '11.0.0.1'] } })
    .add({
      map: {
        ...PLACE,
        name: 'm',
        key: 'ipv4_addr . inet_service',
        data: 'mark',
        elements: [{ key: ['10.0.0.1', 80], data: 7 }],
      },
    })
    .add({ counter: { ...PLACE, name: 'k', packets: 5n, bytes: 500n } })
    .add({ quota: { ...PLACE, name: 'q', bytes: 1000n, consumed: 10n } })
    .add({ limit: { ...PLACE, name: 'l', rate: 5n, unitSeconds: 1n } });
  const anonymous = transaction.anonymousSet({ ...PLACE, key: 'inet_service' }, [80, 443]);
  transaction.add({
    rule: {
      ...PLACE,
      chain: 'c',
      expressions: [
        { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
        { lookup: { ...anonymous, sourceRegister: 1 } },
        { counter: { packets: 3n, bytes: 300n } },
      ],
    },
  });
  transaction.add({ table: { family: 'ip6', name: 't' } }).add({ chain: { family: 'ip6', table: 't', name: 'c' } });
  await nft.commit(transaction);
}

kernelSuite('reading the ruleset', () => {
  it('gives every kind of object, all of one generation', async () => {
    await everyKind();
    const ruleset = await nft.ruleset({ elements: true });
    expect(ruleset.generation).toBe(await nft.generation());
    expect(ruleset.tables.map(({ family, name, comment }) => [family, name, comment])).toEqual([
      ['ip', 't', 'mine'],
      ['ip6', 't', undefined],
    ]);
    expect(ruleset.sets.map(({ name, elements }) => [name, elements?.length])).toEqual([
      ['s', 4],
      ['m', 1],
      ['__set0', 2],
    ]);
    expect(ruleset.objects.map(({ name, type }) => [name, type]).sort()).toEqual([
      ['k', 'counter'],
      ['l', 'limit'],
      ['q', 'quota'],
    ]);
    expect(ruleset.rules).toMatchObject([
      { chain: 'c', expressions: [{ payload: {} }, { lookup: { set: '__set0' } }, { counter: { packets: 3n } }] },
    ]);
    expect(ruleset.flowtables).toEqual([]);
    expect(nft.sync.ruleset({ elements: true })).toEqual(ruleset);
  });

  it('leaves out elements of named sets unless asked, and always includes those of anonymous sets', async () => {
    await everyKind();
    const { sets } = await nft.ruleset();
    expect(sets.map(({ name, elements }) => [name, elements?.length])).toEqual([
      ['s', undefined],
      ['m', undefined],
      ['__set0', 2],
    ]);
  });

  it('filters by family and table, in each list', async () => {
    await everyKind();
    expect((await nft.ruleset({ family: 'ip6' })).chains.map(({ family }) => family)).toEqual(['ip6']);
    const one = await nft.ruleset({ family: 'ip6', table: 't' });
    expect([one.tables.length, one.chains.length, one.sets.length, one.rules.length, one.objects.length]).toEqual([
      1, 1, 0, 0, 0,
    ]);
    expect(await nft.sets(PLACE)).toHaveLength(3);
    expect(await nft.objects({ family: 'ip' })).toHaveLength(3);
    expect(await nft.rules({ ...PLACE, chain: 'c' })).toHaveLength(1);
    expect(await nft.flowtables(PLACE)).toEqual([]);
    const absent = { family: 'ip', table: 'absent' } as const;
    for (const list of ['tables', 'chains', 'rules', 'sets', 'objects', 'flowtables'] as const)
      expect(await nft[list](absent)).toEqual([]);
    await expect(nft.sets({ table: 't' })).rejects.toThrow('family');
    await expect(nft.rules({ family: 'ip', chain: 'c' })).rejects.toThrow('table');
  });

  it('gives elements as values, and as the kernel stores them', async () => {
    await everyKind();
    expect(await nft.elements(SET, { as: 'values' })).toEqual(['10.0.0.0/8', '11.0.0.1']);
    expect(await nft.elements({ ...PLACE, name: 'm' }, { as: 'values' })).toEqual([{ key: ['10.0.0.1', 80], data: 7 }]);
    const wire = await nft.elements(SET);
    expect(wire.map(({ key }) => key).sort()).toEqual(['0a000000', '0b000000', '0b000001', '0b000002']);
    await expect(nft.elements({ ...PLACE, name: 'absent' })).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(nft.elements({ ...PLACE, name: 'absent' }, { as: 'values' })).rejects.toBeInstanceOf(NetlinkError);
    await expect(nft.elements({ table: 't', name: 's' } as never)).rejects.toThrow('family');
    await expect(nft.elements(SET, { as: 'text' as never })).rejects.toThrow('as');
  });

  it('reads large sets and chains completely', async () => {
    const transaction = new Transaction().add({ table: TABLE }).add({ chain: { ...PLACE, name: 'c' } });
    for (let i = 0; i < 20_000; i++) transaction.add({ rule: { ...PLACE, chain: 'c', expressions: mark(i) } });
    const elements = Array.from({ length: 50_000 }, (_, i) => address(i));
    await nft.commit(transaction.add({ set: { ...SET, key: 'ipv4_addr', elements } }));
    const [ruleset, values] = await Promise.all([nft.ruleset(), nft.elements(SET, { as: 'values' })]);
    expect(ruleset.rules).toHaveLength(20_000);
    expect(
      ruleset.rules.map(({ expressions }) => (expressions[0] as { immediate: { data: string } }).immediate.data),
    ).toEqual(Array.from({ length: 20_000 }, (_, i) => i.toString(16).padStart(8, '0')));
    expect(new Set(values as string[])).toEqual(new Set(elements));
  });

  it('never mixes two generations while others commit', async () => {
    // Each commit puts the same number into both chains and the set: a reading that shows two numbers is none.
    const chains = ['a', 'b'];
    const setUp = new Transaction().add({ table: TABLE }).add({ set: { ...SET, key: 'mark' } });
    for (const name of chains) setUp.add({ chain: { ...PLACE, name } });
    await nft.commit(setUp);
    await using writer = Nftables.open({ netns });
    let writing = true;
    let commits = 0;
    const write = (async () => {
      while (writing && commits < 10_000) {
        const n = ++commits;
        const transaction = new Transaction().flush({ set: SET });
        for (const chain of chains) {
          transaction.flush({ chain: { ...PLACE, name: chain } });
          for (let i = 0; i < 20; i++) transaction.add({ rule: { ...PLACE, chain, expressions: mark(n) } });
        }
        transaction.add({ element: { ...PLACE, set: 's', elements: [n], type: { key: 'mark' } } });
        await writer.commit(transaction);
        if (n % 5 === 0) await new Promise(resolve => setImmediate(resolve));
      }
    })();
    try {
      for (let i = 0; isLong ? commits < 10_000 : i < 200; i++) {
        const { rules, sets } = await nft.ruleset({ elements: true });
        const numbers = new Set(
          rules.map(({ expressions }) => (expressions[0] as { immediate: { data: string } }).immediate.data),
        );
        const [{ elements = [] } = {}] = sets;
        // A mark's bytes are in the host's order.
        const keys = elements.map(({ key }) => String(key).match(/../g)!.reverse().join(''));
        expect([...numbers]).toEqual(keys);
        expect(rules).toHaveLength(elements.length * 40);
        await new Promise(resolve => setImmediate(resolve));
      }
    } finally {
      writing = false;
      await write;
    }
    expect(commits).toBeGreaterThan(200);
  });
});

kernelSuite('reset', () => {
  /** Rules begin anew from Linux 6.2 on, elements from 6.5 on. */
  const isOld = where === '6.1';
  const counted = (name: string, key: SetType, more: object = {}) => ({
    set: { ...PLACE, name, key, expressions: [{ counter: {} }], ...more },
  });
  const having = (key: unknown, packets: bigint) =>
    ({ key, expressions: [{ counter: { packets, bytes: 10n * packets } }] }) as ElementValue;

  it('returns the values from before, and restarts them', async () => {
    await everyKind();
    const counter = { counter: { ...PLACE, name: 'k' } };
    expect((await nft.reset(counter)).objects).toMatchObject([{ name: 'k', data: { packets: 5n, bytes: 500n } }]);
    expect((await nft.reset(counter)).objects).toMatchObject([{ data: { packets: 0n, bytes: 0n } }]);
    expect(await nft.reset({ quota: { ...PLACE } })).toMatchObject({
      objects: [{ name: 'q', data: { consumed: 10n } }],
      rules: [],
    });
    await expect(nft.reset({ counter: { ...PLACE, name: 'absent' } })).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(nft.reset({} as never)).rejects.toThrow('counter, quota');
    await expect(nft.reset({ counter: { family: 'ip' } as never })).rejects.toThrow('counter.table');
  });

  it('resets one rule or all, or reports the first kernel that can', async () => {
    await everyKind();
    const [rule] = await nft.rules();
    const one = { rule: { ...PLACE, chain: 'c', handle: rule!.handle } };
    if (isOld) {
      await expect(nft.reset(one)).rejects.toMatchObject({ feature: 'resetting the counters of rules' });
      await expect(nft.reset({ table: TABLE })).rejects.toBeInstanceOf(UnsupportedError);
      return;
    }
    expect((await nft.reset(one)).rules).toMatchObject([
      { handle: rule!.handle, expressions: [{}, {}, { counter: { packets: 3n, bytes: 300n } }] },
    ]);
    expect((await nft.reset({ table: TABLE })).rules).toMatchObject([
      { expressions: [{}, {}, { counter: { packets: 0n } }] },
    ]);
    await everyKind();
    const all = await nft.reset({ ruleset: {} });
    expect(all.objects.map(({ name }) => name).sort()).toEqual(['k', 'q']);
    expect(all.rules).not.toEqual([]);
  });

  it('resets all elements of a set or given ones, or reports the first kernel that can', async () => {
    await nft.commit(
      new Transaction()
        .add({ table: TABLE })
        .add(counted('hosts', 'ipv4_addr', { elements: [having('10.0.0.1', 9n), having('10.0.0.2', 8n)] }))
        .add(
          counted('nets', 'ipv4_addr', {
            flags: ['interval'],
            elements: [having('10.0.0.0/8', 7n), having('192.168.0.0/16', 6n)],
          }),
        )
        .add(
          counted('pairs', 'ipv4_addr . inet_service', {
            flags: ['interval'],
            elements: [having(['10.0.0.0/8', 80], 5n), having(['10.0.0.0/8', { from: 90, to: 99 }], 4n)],
          }),
        ),
    );
    const set = { set: { ...PLACE, name: 'hosts' } };
    const element = (name: string, ...elements: ElementValue[]) =>
      nft.reset({ element: { ...PLACE, set: name, elements } });
    if (isOld) {
      for (const refused of [nft.reset(set), element('hosts', '10.0.0.1')])
        await expect(refused).rejects.toMatchObject({
          feature: 'resetting the counters of elements',
          minimumKernel: '6.5',
        });
      return;
    }
    const packets = (values: ResetValues) =>
      values.elements.map(({ expression }) => (expression as { counter: { packets: bigint } }).counter.packets);
    expect(packets(await element('hosts', '10.0.0.2'))).toEqual([8n]);
    expect(packets(await nft.reset(set)).sort()).toEqual([0n, 9n]);
    expect(packets(await nft.reset(set))).toEqual([0n, 0n]);
    expect(packets(await element('nets', '192.168.0.0/16'))).toEqual([6n]);
    expect(packets(await element('nets', '10.0.0.0/8', '192.168.0.0/16'))).toEqual([7n, 0n]);
    expect(packets(await element('pairs', ['10.0.0.0/8', { from: 90, to: 99 }]))).toEqual([4n]);
    expect(packets(await element('pairs', ['10.0.0.0/8', 80]))).toEqual([5n]);
    await expect(element('hosts', '10.0.0.3')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(element('hosts', 'nothing')).rejects.toThrow('element.elements[0]');
    await expect(element('absent', '10.0.0.3')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
