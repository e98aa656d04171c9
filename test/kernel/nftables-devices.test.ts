import { Links } from 'netsteer';
import { formatRule, type NftDocument, prepare, type Statement, Transaction } from 'netsteer/nftables';
import { beforeEach, expect, it } from 'vitest';
import { debian, freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* Devices that rules know by their index: nft resolves names in the namespace that it runs in, we in that of the handle. */

freshNamespaces();

const AT = { family: 'inet', table: 't' } as const;
const RULE = { ...AT, chain: 'c' } as const;
const RULES = [
  'iif "web0"',
  'oif != "web1"',
  'iif { "lo", "web0", "web1" }',
  'iif . ip saddr { "web0" . 10.0.0.1, "web1" . 10.0.0.2 }',
  'iif vmap { "web0" : accept, "web1" : drop }',
  'iif @ifs',
  'dup to 10.0.0.9 device "web1"',
];

const WRITTEN = `
  table inet t {
    set ifs { type iface_index; elements = { "web0", "web1" }; }
    chain c {
      ${RULES.filter(rule => !rule.startsWith('dup')).join('\n      ')}
    }
  }
  table ip u {
    chain c {
      dup to 10.0.0.9 device "web1"
    }
  }
`;

const iif = (name: string): Statement[] => [{ match: { op: '==', left: { meta: { key: 'iif' } }, right: name } }];

/** What a listing has: the order of its objects, and of elements without one, is another in each version of nft. */
function content(json: unknown): string[] {
  const plain = JSON.stringify(json, (key, value) => {
    if (key === 'handle') return undefined;
    return key === 'set' && Array.isArray(value) ? value.map(each => JSON.stringify(each)).sort() : value;
  });
  const { nftables } = JSON.parse(plain) as { nftables: object[] };
  return nftables
    .slice(1)
    .map(each => JSON.stringify(each))
    .sort();
}

beforeEach(async () => {
  await using links = Links.open({ netns });
  await links.createVeth({ name: 'web0', peer: { name: 'web1' } });
});

kernelSuite('devices, which the kernel stores by index', () => {
  it('are listed by name, as by nft', async () => {
    debian(WRITTEN, '-f', '-');
    expect(content(await nft.ruleset({ as: 'json' }))).toEqual(
      content(JSON.parse(debian('', '-j', 'list', 'ruleset'))),
    );
    const text = await nft.ruleset({ as: 'text' });
    const tables = debian('', 'list', 'ruleset');
    const plain = RULES.filter(rule => !rule.includes('{'));
    for (const rule of plain) for (const listed of [text, tables]) expect(listed).toContain(`\t\t${rule}\n`);
    expect(text).toMatch(/elements = \{ "web\d", "web\d" \}/);
    const query = { nftables: [{ list: { chain: { ...AT, name: 'c' } } }] };
    const asked = JSON.parse(debian('', '-j', 'list', 'chain', 'inet', 't', 'c'));
    expect(content(await nft.apply(query as never))).toEqual(content(asked));
  });

  it('are shown as numbers once they are gone', async () => {
    debian(WRITTEN, '-f', '-');
    {
      await using links = Links.open({ netns });
      await links.remove('web0');
    }
    expect(content(await nft.ruleset({ as: 'json' }))).toEqual(
      content(JSON.parse(debian('', '-j', 'list', 'ruleset'))),
    );
    expect(nft.sync.ruleset({ as: 'text' })).toMatch(/\t\tiif \d+\n/);
  });

  it('are written by name', async () => {
    debian(WRITTEN, '-f', '-');
    const json = await nft.ruleset({ as: 'json' });
    const before = debian('', 'list', 'ruleset');
    await nft.commit(new Transaction().flush({ ruleset: {} }));
    await nft.apply(json as unknown as NftDocument);
    expect(debian('', 'list', 'ruleset')).toBe(before);
  });

  it('have another index in each namespace to which a transaction is committed', async () => {
    const transaction = new Transaction()
      .add({ table: { family: 'inet', name: 't' } })
      .add({ chain: { ...AT, name: 'c' } })
      .add({ rule: { ...RULE, statements: iif('web1') } });
    await nft.commit(transaction);
    {
      await using links = Links.open({ netns });
      await links.remove('web0');
      await links.createVeth({ name: 'web1', peer: { name: 'web0' } });
    }
    await nft.commit(transaction);
    const [gone, there] = (await nft.rules()).map(rule => formatRule(rule));
    expect(gone).toMatch(/^iif \d+$/);
    expect(there).not.toBe(gone);
    expect(debian('', 'list', 'chain', 'inet', 't', 'c')).toContain(`\t\t${gone}\n\t\tiif "web1"\n`);
  });

  it('are found by name when a ruleset is planned', async () => {
    const desired = {
      tables: [{ family: 'inet', name: 't' }],
      chains: [{ ...AT, name: 'c' }],
      rules: [{ ...RULE, statements: iif('web1') }],
    } as const;
    await nft.reconcile(desired as never, { prefix: 't' });
    expect(debian('', 'list', 'ruleset')).toContain('\t\tiif "web1"\n');
    expect((await nft.plan(desired as never, { prefix: 't' })).operations).toEqual([]);
  });

  it('are rejected where the namespace has none of that name', async () => {
    const transaction = new Transaction()
      .add({ table: { family: 'inet', name: 't' } })
      .add({ chain: { ...AT, name: 'c' } })
      .add({ rule: { ...RULE, statements: iif('web7') } });
    await expect(nft.commit(transaction)).rejects.toMatchObject({
      path: [2, 'rule', 'statements', 0, 'match', 'right'],
    });
    const nftables = transaction.operations.map(({ verb, subject }) => ({ [verb]: subject }));
    nftables[2] = { add: { rule: { ...RULE, expr: iif('web1:0') } } };
    await expect(nft.apply({ nftables } as never)).rejects.toMatchObject({
      path: ['nftables', 2, 'add', 'rule', 'expr', 0, 'match', 'right'],
      message: expect.stringContaining('an interface that exists'),
    });
    expect(await nft.tables()).toEqual([]);
  });

  it('are rejected without a namespace', () => {
    expect(() => prepare(() => ({ rule: { ...RULE, statements: iif('web1') } }), {})).toThrow(
      /ERR_NOT_A_TEMPLATE|one message/,
    );
    expect(formatRule({ family: 'inet', statements: iif('web1') })).toBe('iif "web1"');
  });
});
