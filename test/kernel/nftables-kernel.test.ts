import { expect, test } from 'vitest';
import { ip, log, type RuleEntry, Transaction, tcp } from '../../src/nftables/index.ts';
import { KernelNftables, type KernelRule, KernelTransaction } from '../../src/nftables/kernel/index.ts';
import { freshNamespaces, netns, nft, other, otherNamespaces, there } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

const T = { family: 'ip', table: 't' } as const;
const CHAIN = { ...T, name: 'c', type: 'nat', hook: 'prerouting', priority: -100 } as const;
const TABLE = { family: 'ip', name: 't' } as const;
const SET = { ...T, name: 's', keyType: 7, keyLength: 4 } as const;

/** A redirect of one port. */
const redirect = (port: number): KernelRule => ({
  ...T,
  chain: 'c',
  expressions: [
    { meta: { key: 'l4proto', register: 1 } },
    { cmp: { register: 1, op: 'eq', data: '06' } },
    { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
    { cmp: { register: 1, op: 'eq', data: port.toString(16).padStart(4, '0') } },
    { immediate: { register: 1, data: '1f90' } },
    { redir: { portRegister: 1 } },
  ],
});

/** Without what the kernel numbers anew. */
const plain = (rules: readonly RuleEntry[]) =>
  rules.map(rule => ({ ...rule, handle: undefined, previousHandle: undefined }));

kernelSuite('netsteer/nftables/kernel', () => {
  freshNamespaces();
  otherNamespaces();

  test('commits and lists in the promise and the synchronous form what netsteer/nftables does', async () => {
    using kernel = KernelNftables.open({ netns });
    const tx = new KernelTransaction().add({ table: TABLE }).add({ chain: CHAIN });
    tx.add({ set: { ...SET, elements: [{ key: '0a000001' }, { key: '0a000002' }] } });
    for (let port = 1; port <= 300; port++) tx.add({ rule: redirect(port) });
    tx.add({ counter: { ...T, name: 'hits' } });
    await kernel.commit(tx);

    expect(await kernel.tables()).toEqual(nft.sync.tables());
    expect(kernel.sync.chains({ family: 'ip', table: 't' })).toEqual(nft.sync.chains());
    expect(await kernel.rules({ ...T, chain: 'c' })).toEqual(nft.sync.rules());
    expect(kernel.sync.rules()).toHaveLength(300);
    expect(kernel.sync.sets()).toEqual(nft.sync.sets());
    expect((await kernel.elements(SET)).map(({ key }) => key).sort()).toEqual(['0a000001', '0a000002']);
    expect(kernel.sync.objects()).toMatchObject([{ name: 'hits', type: 'counter' }]);
    expect(kernel.sync.flowtables()).toEqual([]);
    expect(kernel.sync.ruleset({ elements: true })).toEqual(nft.sync.ruleset({ elements: true }));
    expect(kernel.sync.generation()).toBe(nft.sync.generation());
  });

  test('writes what was read to another namespace, rules of nft and matches of xtables among them', async () => {
    const statements = [ip.daddr.eq('10.0.0.1'), tcp.dport.eq(80), log({ prefix: 'a ' })];
    const comment = { name: 'comment', revision: 0, info: { comment: 'x' } } as const;
    await nft.commit(
      new Transaction()
        .add({ table: TABLE })
        .add({ chain: CHAIN })
        .add({ rule: { ...T, chain: 'c', statements, comment: 'made by nft' } })
        .add({ rule: { ...T, chain: 'c', expressions: [{ match: comment }, { counter: {} }] } })
        .add({
          map: { ...T, name: 'm', key: 'inet_service', data: 'verdict', elements: [{ key: 80, data: 'accept' }] },
        }),
    );
    using from = KernelNftables.open({ netns });
    using to = KernelNftables.open({ netns: other });
    const { tables, chains, sets, rules } = from.sync.ruleset({ elements: true });
    const tx = new KernelTransaction();
    for (const table of tables) tx.add({ table });
    for (const chain of chains) tx.add({ chain });
    for (const set of sets) tx.add({ map: set });
    for (const rule of rules) tx.add({ rule });
    to.sync.commit(tx);
    // The structures of xtables are bytes here.
    expect(rules[1]!.expressions).toMatchObject([
      { match: { ...comment, info: `78${'00'.repeat(255)}` } },
      { counter: {} },
    ]);
    expect(nft.sync.rules()[1]!.expressions).toMatchObject([{ match: comment }, { counter: {} }]);
    expect(plain(there.sync.rules())).toEqual(plain(nft.sync.rules()));
    expect(there.sync.ruleset({ as: 'text' })).toBe(nft.sync.ruleset({ as: 'text' }));
  });

  test('inserts, replaces, deletes, destroys, flushes and renames', () => {
    using kernel = KernelNftables.open({ netns });
    const commit = (change: (tx: KernelTransaction) => void) => {
      const tx = new KernelTransaction();
      change(tx);
      kernel.sync.commit(tx);
    };
    const comments = () => kernel.sync.rules().map(rule => rule.comment);
    const commented = (comment: string) => ({ ...T, chain: 'c', comment, expressions: [{ counter: {} }] });
    commit(tx => tx.create({ table: TABLE }).add({ chain: CHAIN }).add({ set: SET }));
    commit(tx => tx.add({ rule: commented('b') }).insert({ rule: commented('a') }));
    commit(tx => tx.add({ rule: { ...commented('ab'), position: kernel.sync.rules()[0]!.handle } }));
    expect(comments()).toEqual(['a', 'ab', 'b']);
    const [first, second] = kernel.sync.rules();
    commit(tx => tx.replace({ rule: { ...commented('A'), handle: first!.handle } }));
    commit(tx => tx.delete({ rule: second! }));
    expect(comments()).toEqual(['A', 'b']);
    commit(tx => tx.add({ element: { ...T, set: 's', elements: [{ key: '01020304' }, { key: '05060708' }] } }));
    commit(tx => tx.delete({ element: { ...T, set: 's', elements: [{ key: '01020304' }] } }));
    expect(kernel.sync.elements(SET)).toMatchObject([{ key: '05060708' }]);
    commit(tx => tx.flush({ set: SET }).flush({ chain: CHAIN }));
    expect([kernel.sync.elements(SET), comments()]).toEqual([[], []]);
    const { handle } = kernel.sync.chains()[0] as { handle: bigint };
    commit(tx => tx.rename({ chain: { ...T, handle, newName: 'd' } }));
    expect(kernel.sync.chains()).toMatchObject([{ name: 'd' }]);
    commit(tx => tx.destroy({ chain: { ...T, name: 'd' } }).destroy({ chain: { ...T, name: 'd' } }));
    commit(tx =>
      tx
        .delete({ set: { ...T, name: 's' } })
        .destroy({ table: TABLE })
        .destroy({ table: TABLE }),
    );
    expect(kernel.sync.tables()).toEqual([]);
    commit(tx => tx.add({ table: TABLE }).flush({ ruleset: {} }));
    expect(kernel.sync.tables()).toEqual([]);
  });

  test('rejects what the kernel refuses with its path, and commits nothing: ENOENT, EEXIST, ERESTART', async () => {
    using kernel = KernelNftables.open({ netns });
    const generation = kernel.sync.generation();
    const rules = new KernelTransaction().add({ table: TABLE }).add({ rule: redirect(80) });
    await expect(kernel.commit(rules)).rejects.toMatchObject({
      code: 'ENOENT',
      outcome: 'none',
      failures: [{ index: 1, path: ['rule', 'chain'], operation: 'nftables.commit' }],
    });
    kernel.sync.commit(new KernelTransaction().add({ table: TABLE }), { dryRun: true });
    expect([kernel.sync.generation(), kernel.sync.tables()]).toEqual([generation, []]);
    kernel.sync.commit(new KernelTransaction().create({ table: TABLE }), { generation });
    const again = new KernelTransaction().create({ table: TABLE });
    expect(() => kernel.sync.commit(again)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    await expect(kernel.commit(again, { generation })).rejects.toMatchObject({ code: 'ERESTART' });
  });

  test('rejects statements, values of elements and fields of xtables with ERR_INVALID_ARG_TYPE, and unknown options with ERR_UNKNOWN_FIELD', () => {
    const tx = new KernelTransaction();
    const refused = (change: () => unknown) => {
      try {
        change();
      } catch (error) {
        return { code: (error as { code?: string }).code, attribute: (error as { attribute?: string }).attribute };
      }
      return undefined;
    };
    const invalid = 'ERR_INVALID_ARG_TYPE';
    expect(refused(() => tx.add({ rule: { ...T, chain: 'c', statements: [] } as never }))).toEqual({
      code: invalid,
      attribute: 'rule',
    });
    const elements = ['10.0.0.1'] as never;
    expect(refused(() => tx.add({ element: { ...T, set: 's', elements } }))?.attribute).toMatch(/^element/);
    expect(refused(() => tx.replace({ rule: redirect(80) as never }))).toEqual({
      code: 'ERR_MISSING',
      attribute: 'rule.handle',
    });
    const typed = { name: 'comment', revision: 0, info: { comment: 'x' } } as const;
    expect(refused(() => tx.add({ rule: { ...T, chain: 'c', expressions: [{ match: typed }] } }))).toEqual({
      code: invalid,
      attribute: 'rule.expressions[0].match.info',
    });
    expect(refused(() => tx.rename({ chain: { ...T, name: 'c', newName: 'd' } as never }))?.code).toBe('ERR_MISSING');
    expect(tx.length).toBe(0);
    using kernel = KernelNftables.open({ netns });
    expect(refused(() => kernel.sync.commit(tx, { echo: true } as never))?.code).toBe('ERR_UNKNOWN_FIELD');
    expect(refused(() => kernel.sync.commit(new Transaction() as never))?.code).toBe(invalid);
  });
});
