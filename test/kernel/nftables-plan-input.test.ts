import { type DesiredRuleset, formatPlan, type Rule, type TableOwner, Transaction } from 'netsteer/nftables';
import { expect, it, test } from 'vitest';
import { freshNamespaces, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* What is wanted must be well formed before anything is compared: else what was misspelt would be deleted. */

const OWNER = { comment: 'ours' };
const PLACE = { family: 'inet', table: 't' } as const;

const whole = {
  tables: [{ family: 'inet', name: 't' }],
  chains: [
    { ...PLACE, name: 'c', type: 'filter', hook: 'input', priority: 0 },
    { ...PLACE, name: 'd' },
  ],
  sets: [
    { ...PLACE, name: 's', key: 'ipv4_addr', elements: ['10.0.0.1'] },
    { ...PLACE, name: 'm', key: 'inet_service', data: 'verdict', elements: [{ key: 80, data: 'accept' }] },
  ],
  rules: [
    { ...PLACE, chain: 'c', statements: [{ counter: null }, { jump: { target: 'd' } }] },
    { ...PLACE, chain: 'c', expressions: [{ counter: {} }], comment: 'counts' },
  ],
  objects: [{ ...PLACE, name: 'hits', type: 'counter', data: {} }],
  flowtables: [],
} as const;

/** A copy in which the place has another value; undefined takes it away. */
function changed(path: readonly (string | number)[], value: unknown): DesiredRuleset {
  const copy = structuredClone(whole) as unknown as Record<string | number, unknown>;
  let at = copy;
  for (const part of path.slice(0, -1)) at = at[part] as typeof copy;
  at[path.at(-1)!] = value;
  return copy as unknown as DesiredRuleset;
}

/** The list with one more object. */
const withOne = (kind: keyof typeof whole, object: object): DesiredRuleset => changed([kind], [...whole[kind], object]);

const printed = (path: readonly (string | number)[]) =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');

const rule = (more: object): DesiredRuleset => withOne('rules', { ...PLACE, chain: 'c', ...more });

freshNamespaces();

const UNKNOWN: readonly (readonly (string | number)[])[] = [
  ['rule'],
  ['Tables'],
  ['tables', 0, 'flag'],
  ['chains', 0, 'polcy'],
  ['chains', 1, 'hooks'],
  ['sets', 0, 'element'],
  ['sets', 0, 'timeout'],
  ['sets', 1, 'elements', 0, 'dat'],
  ['rules', 0, 'statement'],
  ['rules', 0, 'position'],
  ['rules', 1, 'index'],
  ['rules', 1, 'coment'],
  ['rules', 1, 'expressions', 0, 'counter', 'packet'],
  ['objects', 0, 'packets'],
  ['objects', 0, 'data', 'packet'],
];

kernelSuite('the desired state', () => {
  it('is accepted as it stands', async () => {
    await nft.reconcile(whole as unknown as DesiredRuleset, OWNER);
    expect(formatPlan(await nft.plan(whole as unknown as DesiredRuleset, OWNER))).toBe('');
  });

  test.each(UNKNOWN.map(path => [printed(path), path] as const))(
    'rejects %s with ERR_UNKNOWN_FIELD',
    async (attribute, path) => {
      await nft.reconcile(whole as unknown as DesiredRuleset, OWNER);
      const before = await nft.generation();
      const desired = changed(path, 1);
      await expect(nft.plan(desired, OWNER)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_FIELD', attribute });
      await expect(nft.reconcile(desired, OWNER)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_FIELD', attribute });
      expect(await nft.generation()).toBe(before);
    },
  );

  test.each([
    ['a table', withOne('tables', { family: 'inet', name: 't' }), 'tables[1].name'],
    ['a chain', withOne('chains', { ...PLACE, name: 'c' }), 'chains[2].name'],
    ['a set', withOne('sets', { ...PLACE, name: 'm', key: 'ipv4_addr' }), 'sets[2].name'],
    ['an object', withOne('objects', { ...PLACE, name: 'hits', type: 'counter', data: {} }), 'objects[1].name'],
    [
      'a flowtable',
      changed(
        ['flowtables'],
        [0, 1].map(() => ({ ...PLACE, name: 'f', hook: 'ingress', priority: 0, devices: ['lo'] })),
      ),
      'flowtables[1].name',
    ],
    [
      "a map's key",
      changed(
        ['sets', 1, 'elements'],
        [
          { key: 80, data: 'accept' },
          { key: 443, data: 'drop' },
          { key: 80, data: 'drop' },
        ],
      ),
      'sets[1].elements[2]',
    ],
    [
      "a map's key in another form",
      withOne('sets', {
        ...PLACE,
        name: 'n',
        key: 'ipv4_addr',
        data: 'inet_service',
        flags: ['interval'],
        elements: [
          { key: '10.0.0.0/24', data: 80 },
          { key: { from: '10.0.0.0', to: '10.0.0.255' }, data: 81 },
        ],
      }),
      'sets[2].elements[1]',
    ],
    [
      'an element that differs',
      changed(['sets', 0, 'elements'], ['10.0.0.1', { key: '10.0.0.1', comment: 'again' }]),
      'sets[0].elements[1]',
    ],
  ])('rejects %s twice with ERR_DUPLICATE', async (_, desired, attribute) => {
    await expect(nft.plan(desired, OWNER)).rejects.toMatchObject({ code: 'ERR_DUPLICATE', attribute });
  });

  test.each([
    [
      'a jump',
      rule({ statements: [{ counter: null }, { jump: { target: 'x' } }] }),
      'rules[2].statements[1].jump.target',
      'CHAIN',
    ],
    [
      'a map of a rule',
      rule({
        statements: [
          {
            vmap: {
              key: { payload: { protocol: 'tcp', field: 'dport' } },
              data: {
                set: [
                  [80, { accept: null }],
                  [81, { goto: { target: 'x' } }],
                ],
              },
            },
          },
        ],
      }),
      'rules[2].statements[0].vmap.data.set[1][1].goto.target',
      'CHAIN',
    ],
    [
      'an expression',
      rule({ expressions: [{ immediate: { register: 0, data: { verdict: 'jump', chain: 'x' } } }] }),
      'rules[2].expressions[0].immediate.data.chain',
      'CHAIN',
    ],
    [
      'an element',
      changed(['sets', 1, 'elements'], [{ key: 80, data: { verdict: 'jump', chain: 'x' } }]),
      'sets[1].elements[0].data.chain',
      'CHAIN',
    ],
    ['a rule', withOne('rules', { ...PLACE, chain: 'x', expressions: [] }), 'rules[2].chain', 'CHAIN'],
    ['a counter', rule({ statements: [{ counter: 'x' }] }), 'rules[2].statements[0].counter', 'OBJECT'],
    [
      'an object by another type',
      rule({ expressions: [{ objref: { type: 'quota', name: 'hits' } }] }),
      'rules[2].expressions[0].objref.name',
      'OBJECT',
    ],
    [
      'a set',
      rule({
        expressions: [
          { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
          { lookup: { set: 'x', sourceRegister: 1 } },
        ],
      }),
      'rules[2].expressions[1].lookup.set',
      'SET',
    ],
    [
      'a flowtable',
      rule({ statements: [{ flow: { op: 'add', flowtable: '@x' } }] }),
      'rules[2].statements[0].flow.flowtable',
      'FLOWTABLE',
    ],
  ])('rejects %s that names a missing object with ERR_UNKNOWN_...', async (_, desired, attribute, kind) => {
    await expect(nft.plan(desired, OWNER)).rejects.toMatchObject({ code: `ERR_UNKNOWN_${kind}`, attribute });
  });

  test.each([
    [{ ...OWNER, prefx: 'a' }, 'ERR_UNKNOWN_FIELD', 'owner.prefx'],
    [{ coment: 'ours' }, 'ERR_UNKNOWN_FIELD', 'owner.coment'],
    [{ ...OWNER, prefix: 'a' }, 'ERR_INVALID_ARG_TYPE', 'owner'],
    [undefined, 'ERR_INVALID_ARG_TYPE', 'owner'],
    [{ prefix: 5 }, 'ERR_INVALID_ARG_TYPE', 'owner.prefix'],
  ])('rejects the owner %o with ERR_UNKNOWN_FIELD or ERR_INVALID_ARG_TYPE', async (owner, code, attribute) => {
    const given = owner as unknown as TableOwner;
    await expect(nft.plan({ tables: [] }, given)).rejects.toMatchObject({ code, attribute });
    await expect(nft.reconcile({ tables: [] }, given)).rejects.toMatchObject({ code, attribute });
  });

  test.each([
    ['no tables', { chains: [] }, 'ERR_MISSING', 'tables'],
    ['a list that is none', { tables: [], rules: {} }, 'ERR_INVALID_ARG_TYPE', 'rules'],
    ['an object that is none', { tables: [null] }, 'ERR_INVALID_ARG_TYPE', 'tables[0]'],
    ['both forms of a rule', rule({ statements: [], expressions: [] }), 'ERR_INVALID_ARG_TYPE', 'rules[2].expressions'],
    ['neither form of a rule', rule({}), 'ERR_MISSING', 'rules[2].expressions'],
  ])('rejects %s with ERR_MISSING or ERR_INVALID_ARG_TYPE', async (_, desired, code, attribute) => {
    await expect(nft.plan(desired as DesiredRuleset, OWNER)).rejects.toMatchObject({ code, attribute });
  });

  it('rejects the table of another owner with ERR_FOREIGN_TABLE', async () => {
    await nft.commit(new Transaction().add({ table: { family: 'inet', name: 't' } }));
    const refused = { name: 'StateError', code: 'ERR_FOREIGN_TABLE' };
    await expect(nft.plan(whole as unknown as DesiredRuleset, OWNER)).rejects.toMatchObject(refused);
    await expect(nft.reconcile(whole as unknown as DesiredRuleset, OWNER)).rejects.toMatchObject(refused);
  });

  it('reports a refusal of the kernel by its path in the desired state', async () => {
    const masquerade: Rule = { ...PLACE, chain: 'c', statements: [{ counter: null }, { masquerade: null }] };
    const refused: unknown = await nft.reconcile(rule(masquerade), OWNER).catch((error: unknown) => error);
    expect(refused).toMatchObject({ outcome: 'none', failures: [{ index: 2, path: ['rules', 2] }] });
    const unknownHelper = withOne('objects', {
      ...PLACE,
      name: 'h',
      type: 'ct-helper',
      data: { helper: 'nobody', l4protocol: 'tcp' },
    });
    await expect(nft.reconcile(unknownHelper, OWNER)).rejects.toMatchObject({
      failures: [{ index: 1, path: ['objects', 1], subject: unknownHelper }],
    });
  });
});
