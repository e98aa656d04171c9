import { execFileSync } from 'node:child_process';
import { Links, NetNs } from 'netsteer';
import { type DesiredRuleset, Nftables, type Ruleset, Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nft as load } from '../support/nflog-lab.ts';
import { kernelSuite } from '../support/where.ts';

/* What nft has written is read, written into another namespace, and listed by nft as before: things that the kernel gives and does not take. */

let from: NetNs;
let to: NetNs;
let reader: Nftables;
let writer: Nftables;

beforeEach(() => {
  [from, to] = [NetNs.create(), NetNs.create()];
  for (const netns of [from, to]) {
    using links = Links.open({ netns });
    links.sync.createVeth({ name: 'v0', peer: { name: 'v1' } });
  }
  [reader, writer] = [Nftables.open({ netns: from }), Nftables.open({ netns: to })];
});
afterEach(async () => {
  for (const nft of [reader, writer]) await nft[Symbol.asyncDispose]();
  for (const netns of [from, to]) netns.close();
});

const listed = (netns: NetNs) => netns.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }));

const CHAIN = `add table inet t
add chain inet t c { type filter hook input priority 0; }
`;
const CASES: [string, string][] = [
  [
    'a set that rules fill has the size that the kernel gave it',
    'add set inet t s { type ipv4_addr; }\nadd rule inet t c add @s { ip saddr }',
  ],
  [
    'and one that may be filled by flag',
    'add set inet t s { type ipv4_addr; flags dynamic; }\nadd rule inet t c add @s { ip saddr counter }',
  ],
  [
    'several expressions of one element',
    'add set inet t s { type ipv4_addr; flags dynamic; }\nadd rule inet t c update @s { ip saddr counter limit rate 1/second }',
  ],
  ['a meter', 'add rule inet t c tcp dport 80 meter m { ip saddr timeout 30s limit rate 10/second }'],
  ['an option that is removed', 'add rule inet t c reset tcp option sack-perm'],
  ['an option that is written', 'add rule inet t c tcp option maxseg size set 1360'],
  [
    'a quota with what was used of it',
    'add quota inet t q { over 500 bytes used 10 bytes; }\nadd rule inet t c quota over 500 bytes used 6 bytes',
  ],
  ['the fingerprint of a system', 'add rule inet t c osf name "Linux"'],
  [
    'an anonymous map of objects',
    'add counter inet t a\nadd counter inet t b\nadd rule inet t c counter name tcp dport map { 80 : "a", 443 : "b" }',
  ],
];

const expressionsOf = ({ rules }: Ruleset) => rules.map(({ expressions }) => expressions);

kernelSuite('a copy of a ruleset', () => {
  test.each(CASES)('equals the original after it was read and written: %s', (_, commands) => {
    load(from, CHAIN + commands);
    const ruleset = reader.sync.ruleset({ elements: true });
    writer.sync.reconcile(ruleset, { prefix: '' });
    expect(listed(to)).toBe(listed(from));
    expect(writer.sync.plan(ruleset, { prefix: '' }).operations).toEqual([]);
  });

  test('takes rules as they were read', () => {
    const plain = CASES.map(([, commands]) => commands).filter(
      commands => !/meter|map|set inet|quota inet/.test(commands),
    );
    load(from, CHAIN + plain.join('\n'));
    const ruleset = reader.sync.ruleset();
    const copy = new Transaction();
    for (const table of ruleset.tables) copy.add({ table });
    for (const chain of ruleset.chains) copy.add({ chain });
    for (const rule of ruleset.rules) copy.add({ rule });
    writer.sync.commit(copy);
    expect(ruleset.rules).toHaveLength(plain.length);
    expect(expressionsOf(writer.sync.ruleset())).toEqual(expressionsOf(ruleset));
  });

  test('with a set without a size, which rules fill, has no difference to it', () => {
    const place = { family: 'inet', table: 't' } as const;
    const desired: DesiredRuleset = {
      tables: [{ family: 'inet', name: 't' } as const],
      chains: [{ ...place, name: 'c' }],
      sets: [{ ...place, name: 's', key: 'ipv4_addr' as const, flags: ['dynamic' as const] }],
      rules: [
        {
          ...place,
          chain: 'c',
          statements: [
            { set: { op: 'add' as const, elem: { payload: { protocol: 'ip', field: 'saddr' } }, set: '@s' } },
          ],
        },
      ],
    };
    writer.sync.reconcile(desired, { prefix: '' });
    expect(writer.sync.sets()).toMatchObject([{ name: 's', description: { size: 65535 } }]);
    expect(writer.sync.plan(desired, { prefix: '' }).operations).toEqual([]);
  });
});
