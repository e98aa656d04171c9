import { spawnSync } from 'node:child_process';
import {
  type Chain,
  type DesiredRuleset,
  type Expression,
  formatPlan,
  type NewMap,
  type NftObject,
  type Rule,
  type Statement,
  Transaction,
} from 'netsteer/nftables';
import { expect, it, test } from 'vitest';
import { EXPRESSIONS } from '../../src/nf_tables/expression.ts';
import { debian, freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { SAMPLES } from '../support/nftables-samples.ts';
import { kernelSuite } from '../support/where.ts';

/* After a plan was carried out nothing is left to do, whatever the kernel gives back otherwise than it was asked for. */

const EVERYTHING = { prefix: '' };
const PLACE = { family: 'inet', table: 't' } as const;
const INPUT = { ...PLACE, name: 'c', type: 'filter', hook: 'input', priority: 0 } as const satisfies Chain;

freshNamespaces();

type Parts = Partial<Record<'chains' | 'sets' | 'objects' | 'rules', readonly object[]>> & { table?: object };

/** A ruleset of one table and one chain, and what is given. */
const wanting = ({ table, chains = [], sets = [], objects = [], rules = [] }: Parts): DesiredRuleset => {
  const here = (list: readonly object[]) => list.map(one => ({ ...PLACE, ...one }));
  return {
    tables: [{ family: 'inet', name: 't', ...table }],
    chains: [INPUT, ...(here(chains) as Chain[])],
    sets: here(sets) as NewMap[],
    objects: here(objects) as NftObject[],
    rules: rules.map(rule => ({ ...PLACE, chain: 'c', ...rule })) as Rule[],
  };
};

/** Nothing is left to do, for what is wanted and for what is read; and Debian's nft lists it. */
async function settles(desired: DesiredRuleset, isListed = true): Promise<void> {
  await nft.reconcile(desired, EVERYTHING);
  expect(formatPlan(await nft.plan(desired, EVERYTHING))).toBe('');
  expect(formatPlan(await nft.plan(await nft.ruleset({ elements: true }), EVERYTHING))).toBe('');
  if (isListed) debian('', 'list', 'ruleset');
}

const COUNTER: Expression = { counter: {} };
const said = (...statements: object[]) => ({ statements: statements as Statement[] });
const SADDR = { payload: { protocol: 'ip', field: 'saddr' } };
const DPORT = { payload: { protocol: 'tcp', field: 'dport' } };
const meter = (more: object = {}) =>
  said({ meter: { name: 'm', key: SADDR, stmt: { limit: { rate: 10, per: 'second' } }, ...more } });

const CASES: readonly [string, Parts][] = [
  [
    'a set whose elements count',
    { sets: [{ name: 's', key: 'ipv4_addr', expressions: [COUNTER], elements: ['10.0.0.1'] }] },
  ],
  [
    'a set whose elements have two expressions',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          expressions: [COUNTER, { limit: { rate: 10n, unitSeconds: 1n } }],
          elements: ['10.0.0.1', '10.0.0.2'],
        },
      ],
    },
  ],
  [
    'a set of ranges whose elements count',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          flags: ['interval'],
          expressions: [COUNTER],
          elements: ['10.0.0.0/24', '10.0.5.0/24'],
        },
      ],
    },
  ],
  [
    'a map whose elements have a quota',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          data: 'verdict',
          expressions: [{ quota: { bytes: 1000n } }],
          elements: [{ key: '10.0.0.1', data: 'accept' }],
        },
      ],
    },
  ],
  [
    'elements with expressions of their own',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          expressions: [COUNTER],
          elements: [{ key: '10.0.0.1', expressions: [COUNTER] }, '10.0.0.2'],
        },
      ],
    },
  ],
  ['a meter', { rules: [meter()] }],
  ['a meter with a size', { rules: [meter({ size: 128 })] }],
  ['a meter whose elements time out', { rules: [meter({ key: { elem: { val: SADDR, timeout: 30 } } })] }],
  [
    'two rules with one meter',
    { rules: [meter(), said({ match: { op: '==', left: DPORT, right: 80 } }, ...meter().statements)] },
  ],
  [
    'a meter whose set is wanted',
    { sets: [{ name: 'm', key: 'ipv4_addr', flags: ['dynamic'], size: 100 }], rules: [meter()] },
  ],
  [
    'socket transparent',
    { rules: [said({ match: { op: '==', left: { socket: { key: 'transparent' } }, right: 1 } })] },
  ],
  ['socket mark', { rules: [said({ match: { op: '==', left: { socket: { key: 'mark' } }, right: 5 } })] }],
  ['socket wildcard', { rules: [said({ match: { op: '==', left: { socket: { key: 'wildcard' } }, right: 1 } })] }],
  [
    'ranges that time out',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          flags: ['interval'],
          timeoutMilliseconds: 3_600_000n,
          elements: ['10.0.0.0/24', '10.0.5.0/24'],
        },
      ],
    },
  ],
  [
    'ranges that time out, marked from the beginning on',
    {
      sets: [
        {
          name: 's',
          key: 'inet_service',
          data: 'verdict',
          flags: ['interval', 'timeout'],
          timeoutMilliseconds: 3_600_000n,
          leadingEnd: true,
          elements: [
            { key: { from: 80, to: 90 }, data: 'accept' },
            { key: 100, data: 'drop', timeoutMilliseconds: 7_200_000n },
          ],
        },
      ],
    },
  ],
  [
    'timeouts that are no ticks of the kernel',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          timeoutMilliseconds: 3_600_003n,
          flags: ['dynamic'],
          elements: [{ key: '10.0.0.1', timeoutMilliseconds: 3_601_005n }],
        },
      ],
      rules: [
        {
          expressions: [
            { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
            { dynset: { set: 's', op: 'update', keyRegister: 1, timeoutMilliseconds: 3_605_007n } },
          ],
        },
      ],
    },
  ],
  [
    "an element with the set's timeout",
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          timeoutMilliseconds: 3_600_000n,
          elements: [{ key: '10.0.0.1', timeoutMilliseconds: 3_600_000n }],
        },
      ],
    },
  ],
  [
    'a set that is cleaned every minute',
    { sets: [{ name: 's', key: 'ipv4_addr', timeoutMilliseconds: 3_600_000n, gcIntervalMilliseconds: 60_000 }] },
  ],
  ['a dormant table', { table: { flags: ['dormant'] } }],
  ['a base chain of the default type', { chains: [{ name: 'd', hook: 'output', priority: 'filter' }] }],
  [
    'a chain that says what is so anyway',
    { chains: [{ name: 'd', type: 'filter', hook: 'output', priority: 0, policy: 'accept', flags: [] }] },
  ],
  ['a table that says what is so anyway', { table: { flags: [] } }],
  [
    'a set that says what is so anyway',
    {
      sets: [
        {
          name: 's',
          key: 'ipv4_addr',
          flags: [],
          policy: 'performance',
          size: 0,
          timeoutMilliseconds: 0n,
          gcIntervalMilliseconds: 0,
        },
      ],
    },
  ],
  [
    'timeouts of connections',
    {
      objects: [
        {
          name: 'o',
          type: 'ct-timeout',
          data: { l3protocol: 'ip', l4protocol: 'tcp', stateSeconds: { established: 100 } },
        },
      ],
    },
  ],
  [
    'an expectation',
    {
      objects: [
        {
          name: 'o',
          type: 'ct-expectation',
          data: { l3protocol: 'ip', l4protocol: 'tcp', port: 9876, timeoutMilliseconds: 60_003, size: 12 },
        },
      ],
    },
  ],
  [
    'objects of every kind',
    {
      objects: [
        { name: 'a', type: 'counter', data: {} },
        { name: 'b', type: 'counter', data: { packets: 5n, bytes: 6n } },
        { name: 'c', type: 'quota', data: { bytes: 1000n } },
        { name: 'd', type: 'quota', data: { bytes: 1000n, consumed: 5n, flags: [] } },
        { name: 'e', type: 'limit', data: { rate: 5n, unitSeconds: 1n } },
        { name: 'f', type: 'limit', data: { rate: 5n, unitSeconds: 1n, burst: 5, type: 'packets', flags: [] } },
        {
          name: 'i',
          type: 'synproxy',
          data: { maximumSegmentSize: 1460, windowScale: 7, flags: ['maximum-segment-size', 'window-scale'] },
        },
      ],
    },
  ],
];

kernelSuite('plans without differences', () => {
  test.each(CASES)('are empty for %s', (_, parts) => settles(wanting(parts)));

  it('are empty for every sample, and for the value of each field that equals its absence', async () => {
    let tried = 0;
    for (const commands of Object.values(SAMPLES)) {
      await nft.commit(new Transaction().flush({ ruleset: {} }));
      // Line by line: this kernel may not have all of it.
      netns.run(() => spawnSync('nft', ['-i'], { input: `${commands.join('\n')}\n` }));
      const read = await nft.ruleset({ elements: true });
      expect(formatPlan(await nft.plan(read, EVERYTHING))).toBe('');
      const variants: Rule[] = [];
      for (const { handle: _, previousHandle: __, ...rule } of read.rules) {
        for (const expressions of withDefaults(rule.expressions)) {
          const variant = { ...rule, expressions };
          try {
            await nft.commit(new Transaction().add({ rule: variant }));
          } catch {
            continue;
          }
          variants.push(variant);
        }
      }
      tried += variants.length;
      const { operations } = await nft.plan({ ...read, rules: [...read.rules, ...variants] }, EVERYTHING);
      expect(operations.map(({ subject }) => subject)).toEqual([]);
    }
    expect(tried).toBeGreaterThan(50);
  });

  it('become empty after a dormant table was made active, and back', async () => {
    const chains = { rules: [{ expressions: [COUNTER] }] };
    const awake = wanting(chains);
    const asleep = wanting({ ...chains, table: { flags: ['dormant'] } });
    await settles(awake);
    debian('add table inet t { flags dormant; }\n', '-f', '-');
    expect(formatPlan(await nft.plan(awake, EVERYTHING))).toBe('~ table inet t flags none\n');
    await settles(awake);
    expect(await nft.tables()).toMatchObject([{ flags: [] }]);
    await settles(asleep);
    // With a chain that is new, one that goes, another policy, and one that is made anew.
    const more = { ...PLACE, name: 'e', type: 'filter', hook: 'input', priority: 0 } as const;
    await settles({ ...awake, chains: [{ ...INPUT, policy: 'drop' }, more] });
    await settles({ ...asleep, chains: [{ ...INPUT, policy: 'accept' }] });
    await settles({ ...awake, chains: [{ ...INPUT, priority: 5 }, more] });
    expect(await nft.tables()).toMatchObject([{ flags: [] }]);
  });

  it('are empty for named connection limits, which no nft knows', async () => {
    const objects = [
      { name: 'g', type: 'connlimit', data: { count: 5 } },
      { name: 'h', type: 'connlimit', data: { count: 5, flags: [] } },
    ];
    await settles(wanting({ objects }), false);
  });

  it('remove the set of a meter with its rule', async () => {
    await settles(wanting({ rules: [meter()] }));
    expect((await nft.sets()).map(({ name }) => name)).toEqual(['m']);
    await settles(wanting({}));
    expect(await nft.sets()).toEqual([]);
  });

  it('are empty for sets that were read with their elements', async () => {
    await settles(wanting(VALUED));
    const read = await nft.ruleset();
    const sets = [];
    for (const set of read.sets) sets.push({ ...set, elements: await nft.elements(set, { as: 'values' }) });
    const desired: DesiredRuleset = { ...read, sets };
    expect(formatPlan(await nft.plan(desired, EVERYTHING))).toBe('');
    await nft.commit(new Transaction().flush({ ruleset: {} }));
    await settles(desired);
    expect(formatPlan(await nft.plan(wanting(VALUED), EVERYTHING))).toBe('');
  });

  it('keep the elements of sets that the desired state leaves out, though the set is recreated and a chain deleted', async () => {
    const chains = [{ name: 'd' }, { name: 'e' }];
    const ways = (more: object) => ({ name: 'w', key: 'ipv4_addr', data: 'verdict', ...more });
    const to = (key: string, chain: string) => ({ key, data: { verdict: 'jump', chain } });
    const elements = [to('10.0.0.1', 'd'), to('10.0.0.2', 'e')];
    await settles(wanting({ chains, sets: [ways({ elements })] }));
    await settles(wanting({ chains: [{ name: 'd', comment: 'anew' }], sets: [ways({})] }));
    const kept = [{ key: '10.0.0.1', data: { verdict: 'jump', chain: 'd' } }];
    expect(await nft.elements({ ...PLACE, name: 'w' }, { as: 'values' })).toEqual(kept);
    await settles(wanting({ chains: [{ name: 'd', comment: 'anew' }], sets: [ways({ comment: 'anew' })] }));
    expect(await nft.elements({ ...PLACE, name: 'w' }, { as: 'values' })).toEqual(kept);
  });

  it('recreate a rule whose anonymous map leads to a chain that is recreated', async () => {
    const vmap = said({ vmap: { key: DPORT, data: { set: [[80, { jump: { target: 'd' } }]] } } });
    await settles(wanting({ chains: [{ name: 'd' }], rules: [vmap] }));
    await settles(wanting({ chains: [{ name: 'd', comment: 'anew' }], rules: [vmap] }));
  });
});

const VALUED: Parts = {
  objects: [{ name: 'hits', type: 'counter', data: {} }],
  sets: [
    { name: 'ports', key: 'inet_service', data: 'inet_service', elements: [{ key: 80, data: 25565 }] },
    { name: 'names', key: 'ifname', elements: ['eth0', 'abcd'] },
    {
      name: 'ranges',
      key: 'ipv4_addr',
      flags: ['interval'],
      timeoutMilliseconds: 3_600_000n,
      elements: ['10.0.0.0/24', '10.0.5.0/24'],
    },
    {
      name: 'pairs',
      key: 'ipv4_addr . inet_service',
      flags: ['interval'],
      elements: [['10.0.0.0/8', { from: 1, to: 5 }]],
    },
    {
      name: 'ways',
      key: 'ipv4_addr',
      data: 'verdict',
      elements: [{ key: '10.0.0.1', data: { verdict: 'jump', chain: 'd' } }],
    },
    { name: 'counted', key: 'inet_service', objectType: 'counter', elements: [{ key: 80, data: 'hits' }] },
    { name: 'marks', key: 'mark', flags: ['interval'], elements: [5, { from: 7, to: 9 }] },
  ],
  chains: [{ name: 'd' }],
};

const NOTHINGS = [0, 0n, [], ''];

/** The expressions, each time with one more field that says nothing: a zero, an empty list. */
function* withDefaults(expressions: readonly Expression[]): Iterable<Expression[]> {
  for (const [i, expression] of expressions.entries()) {
    const [name, fields] = Object.entries(expression)[0] as [keyof typeof EXPRESSIONS, Record<string, unknown>];
    const known =
      (EXPRESSIONS[name] as { fields?: readonly { key: string; need: string }[] } | undefined)?.fields ?? [];
    for (const { key, need } of known) {
      if (need !== 'optional' || fields[key] !== undefined) continue;
      for (const nothing of NOTHINGS) {
        const changed = { [name]: { ...fields, [key]: nothing } } as unknown as Expression;
        yield expressions.map((one, at) => (at === i ? changed : one));
      }
    }
  }
}
