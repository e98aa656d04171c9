import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { NetNs } from 'netsteer';
import * as nftables from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ROOT } from '../support/native.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const text = fs.readFileSync(path.join(ROOT, 'docs/language.md'), 'utf8');
const LINES = /### (.*?)\n\n(?:```sh\n.*?```\n\n)?```nft\n(.*?)\n```\n\n```js\n(.*?)\n```\n\n```json\n(.*?)\n```/gs;
const lines = [...text.matchAll(LINES)].map(([, title, line, builders, json]) => ({
  title: title!,
  line: line!,
  builders: builders!,
  json: json!,
}));

const page = new SnippetsOf('test/kernel/nftables-language.test.ts');

const IN_TABLE = { family: 'inet', table: 't' } as const;

let netns: NetNs;
let nft: nftables.Nftables;

beforeEach(async () => {
  netns = NetNs.create();
  nft = nftables.Nftables.open({ netns });
  await nft.apply({
    nftables: [
      { table: { family: 'inet', name: 't' } },
      { chain: { ...IN_TABLE, name: 'c' } },
      { set: { ...IN_TABLE, name: 'clients', type: 'ipv4_addr', flags: ['dynamic'], size: 65535 } },
    ],
  });
});

afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

const list = (...parameters: string[]) => netns.run(() => execFileSync('nft', parameters, { encoding: 'utf8' }));
const listed = () =>
  list('list', 'chain', 'inet', 't', 'c')
    .split('\n')
    .slice(2, -3)
    .map(line => line.trim());

kernelSuite('the language of rules', () => {
  it.each(lines)('has the example of docs/language.md: $title', async ({ line, builders, json }) => {
    const { code } = page.take(builders);
    const statements = new Function(...Object.keys(nftables), `return ${code}`)(...Object.values(nftables));
    expect(statements).toEqual(JSON.parse(json));
    await nft.apply({ nftables: [{ add: { rule: { ...IN_TABLE, chain: 'c', expr: statements } } }] });
    expect(listed()).toEqual([line]);
  });

  it('has at least twenty such examples', () => {
    expect(lines.length).toBeGreaterThanOrEqual(20);
  });

  it("runs docs/language.md's example of a transaction, and its example of a list behind it", async () => {
    const example = ['Nftables.open', 'const answer'].map(mark => page.take(mark).code).join('');
    const AsyncFunction = (async () => {}).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<void>;
    const printed: string[] = [];
    const fake = { log: (text: string) => printed.push(text) };
    const run = new AsyncFunction('netns', 'console', ...Object.keys(nftables), example.replace(/^import .*$/m, ''));
    await run(netns, fake, ...Object.values(nftables));
    expect(list('list', 'chain', 'inet', 'web', 'input')).toContain('tcp dport { 80, 443 } accept');
    const objects = (document: { nftables: object[] }) => document.nftables.filter(each => !('metainfo' in each));
    expect(objects(JSON.parse(printed.join()))).toEqual(
      objects(JSON.parse(list('-j', 'list', 'chain', 'inet', 'web', 'input'))),
    );
  });

  it('has no example on the page that this file does not run', () => {
    expect(page.left).toEqual([]);
  });

  it('accepts a ruleset as nft lists it', async () => {
    const ruleset = [
      'flush ruleset',
      'table inet web {',
      '  counter hits { packets 1 bytes 2 }',
      '  map targets { type inet_service : verdict; elements = { 80 : jump web, 443 : drop } }',
      '  set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.9 } }',
      '  chain web { counter name hits accept; }',
      '  chain input { type filter hook input priority filter + 5; policy drop; ip saddr @nets tcp dport vmap @targets; }',
      '}',
    ];
    netns.run(() => execFileSync('nft', ['-f', '-'], { input: ruleset.join('\n') }));
    const before = list('list', 'ruleset');
    const document = JSON.parse(list('-j', 'list', 'ruleset'));
    await nft.apply({ nftables: [{ flush: { ruleset: null } }] });
    expect(list('list', 'ruleset')).toBe('');
    await nft.apply(document);
    expect(list('list', 'ruleset')).toBe(before);
  });

  it('changes objects by every command', async () => {
    const rule = (port: number) => ({
      ...IN_TABLE,
      chain: 'c',
      expr: [nftables.tcp.dport.eq(port), nftables.accept()],
    });
    await nft.apply({ nftables: [{ add: { rule: rule(1) } }, { add: { rule: rule(3) } }] });
    await nft.apply({
      nftables: [
        { metainfo: {} },
        { insert: { rule: rule(0) } },
        { add: { rule: { ...rule(2), index: 1 } } },
        { create: { set: { ...IN_TABLE, name: 's', type: ['ipv4_addr', 'inet_service'] } } },
        { add: { element: { ...IN_TABLE, name: 's', elem: [{ concat: ['10.0.0.1', 80] }] } } },
        { rename: { chain: { ...IN_TABLE, name: 'c', newname: 'd' } } },
        { add: { chain: { ...IN_TABLE, name: 'c' } } },
      ],
    });
    expect(list('list', 'chain', 'inet', 't', 'd').match(/dport \d/g)).toEqual([
      'dport 0',
      'dport 1',
      'dport 2',
      'dport 3',
    ]);
    // Elements of a set that only the kernel knows.
    await nft.apply({
      nftables: [{ add: { element: { ...IN_TABLE, name: 's', elem: [{ concat: ['10.0.0.2', 81] }] } } }],
    });
    await nft.apply({
      nftables: [{ delete: { element: { ...IN_TABLE, name: 's', elem: [{ concat: ['10.0.0.1', 80] }] } } }],
    });
    expect(list('list', 'set', 'inet', 't', 's')).toContain('elements = { 10.0.0.2 . 81 }');
  });

  it('returns a ruleset as it was written', async () => {
    const { ip, tcp, accept, drop, jump } = nftables;
    const at = { family: 'ip', table: 'w' } as const;
    const given = [
      { table: { family: 'ip', name: 'w' } },
      { chain: { ...at, name: 'web' } },
      { chain: { ...at, name: 'in', type: 'filter', hook: 'input', prio: 5, policy: 'drop' } },
      { counter: { ...at, name: 'hits', packets: 1, bytes: 2 } },
      {
        set: {
          ...at,
          name: 'nets',
          type: 'ipv4_addr',
          flags: ['interval'],
          elem: [{ range: ['10.0.0.1', '10.0.0.9'] }],
        },
      },
      { map: { ...at, name: 'to', type: 'inet_service', map: 'verdict', elem: [[80, { jump: { target: 'web' } }]] } },
      { rule: { ...at, chain: 'web', comment: 'web', expr: [{ counter: 'hits' }, accept()] } },
      { rule: { ...at, chain: 'in', expr: [ip.saddr.eq('@nets'), tcp.dport.in([22, 443]), jump('web')] } },
      { rule: { ...at, chain: 'in', expr: [ip.daddr.eq({ prefix: { addr: '10.1.0.0', len: 16 } }), drop()] } },
    ] as nftables.JsonCommand[];
    await nft.apply({ nftables: [{ delete: { table: { family: 'inet', name: 't' } } }, ...given] });
    const { nftables: found } = await nft.ruleset({ as: 'json' });
    const bare = found.slice(1).map(entry => {
      const [[kind, { handle: _, ...fields }]] = Object.entries(entry) as [[string, Record<string, unknown>]];
      return { [kind]: fields };
    });
    expect(bare).toHaveLength(given.length);
    expect(bare).toEqual(expect.arrayContaining(given));
  });

  it('answers list as nft does', async () => {
    const ruleset = [
      'table inet t {',
      '  counter k { packets 1 bytes 2 }',
      '  counter k2 { packets 3 bytes 4 }',
      '  quota q { 10 bytes }',
      '  set s { type ipv4_addr; elements = { 1.2.3.4 } }',
      '  map m { type ipv4_addr : mark; elements = { 1.2.3.4 : 5 } }',
      '  chain d { type filter hook input priority 0; counter packets 3 bytes 4 jump c; }',
      '}',
      'table ip u { counter k { packets 5 bytes 6; }; chain c { }; }',
    ];
    netns.run(() => execFileSync('nft', ['-f', '-'], { input: ruleset.join('\n') }));
    const named = (name: string) => ({ ...IN_TABLE, name });
    const queries: [string, nftables.JsonListed][] = [
      ['tables', { tables: null }],
      ['tables ip', { tables: { family: 'ip' } }],
      ['chains', { chains: null }],
      ['chain inet t d', { chain: named('d') }],
      ['set inet t s', { set: named('s') }],
      ['map inet t m', { map: named('m') }],
      ['maps', { maps: null }],
      ['counters', { counters: null }],
      ['counters table inet t', { counters: IN_TABLE }],
      ['counter inet t k', { counter: named('k') }],
      ['quotas', { quotas: {} }],
      ['flowtables', { flowtables: null }],
      ['table ip u', { table: { family: 'ip', name: 'u' } }],
      ['ruleset ip', { ruleset: { family: 'ip' } }],
    ];
    // nft 1.0 lists objects of a table before its chains.
    const entries = ({ nftables: [, ...rest] }: nftables.RulesetJson) => rest.map(each => JSON.stringify(each)).sort();
    for (const [words, query] of queries) {
      const answer = await nft.apply({ nftables: [{ list: query }] });
      expect([words, ...entries(answer)]).toEqual([
        words,
        ...entries(JSON.parse(list('-j', 'list', ...words.split(' ')))),
      ]);
    }
    const both = nft.sync.apply({ nftables: [{ metainfo: {} }, { list: { quotas: null } }, { list: { maps: null } }] });
    expect(both.nftables.map(each => Object.keys(each)[0])).toEqual(['metainfo', 'quota', 'map']);
  });

  it('answers reset with the values from before', async () => {
    const counter = (name: string) => ({ counter: { ...IN_TABLE, name, packets: 7, bytes: 8 } });
    const expr = [{ counter: { packets: 1, bytes: 2 } }, nftables.accept()];
    await nft.apply({
      nftables: [counter('a'), counter('b'), { rule: { ...IN_TABLE, chain: 'c', expr } }],
    });
    const one = await nft.apply({ nftables: [{ reset: { counter: { ...IN_TABLE, name: 'a' } } }] });
    expect(one.nftables.slice(1)).toMatchObject([{ counter: { name: 'a', packets: 7, bytes: 8 } }]);
    const all = await nft.apply({ nftables: [{ reset: { counters: null } }] });
    expect(all.nftables.slice(1)).toMatchObject([
      { counter: { name: 'a', packets: 0, bytes: 0 } },
      { counter: { name: 'b', packets: 7, bytes: 8 } },
    ]);
    expect(list('list', 'counters')).not.toContain('packets 7');
    const rules = await nft.apply({ nftables: [{ reset: { rules: { ...IN_TABLE, chain: 'c' } } }] });
    expect(rules.nftables.slice(1)).toMatchObject([{ rule: { chain: 'c', expr } }]);
    expect(list('list', 'ruleset')).toContain('counter packets 0 bytes 0 accept');
  });

  it('rejects queries beside changes, and those of missing objects', async () => {
    const mixed = { nftables: [{ list: { tables: null } }, { flush: { ruleset: null } }] };
    await expect(nft.apply(mixed as never)).rejects.toMatchObject({ path: ['nftables', 1] });
    await expect(nft.apply({ nftables: [{ list: { wrong: null } as never }] })).rejects.toMatchObject({
      path: ['nftables', 0, 'list'],
    });
    const nowhere = { family: 'inet', table: 't', name: 'none' } as const;
    for (const query of [
      { chain: nowhere },
      { set: nowhere },
      { counter: nowhere },
      { counters: { ...nowhere, table: 'x' } },
    ])
      await expect(nft.apply({ nftables: [{ list: query }] })).rejects.toMatchObject({ code: 'ENOENT' });
    expect(list('list', 'tables')).toContain('inet t');
  });

  it('rejects an error in a document at its place, a missing set with ERR_UNKNOWN_SET', async () => {
    const wrong = { add: { rule: { ...IN_TABLE, chain: 'c', expr: [nftables.tcp.dport.eq(70_000)] } } };
    await expect(nft.apply({ nftables: [{ metainfo: {} }, wrong] })).rejects.toMatchObject({
      path: ['nftables', 1, 'add', 'rule', 'expr', 0, 'match', 'right'],
    });
    const missing = { add: { rule: { ...IN_TABLE, chain: 'none', expr: [nftables.accept()] } } };
    await expect(nft.apply({ nftables: [{ metainfo: {} }, missing] })).rejects.toMatchObject({
      failures: [{ code: 'ENOENT', index: 1, path: ['nftables', 1, 'add', 'rule', 'chain'] }],
    });
    const unknown = { element: { ...IN_TABLE, name: 'none', elem: [1] } };
    await expect(nft.apply({ nftables: [unknown] })).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_SET',
      path: ['nftables', 0, 'element', 'name'],
    });
  });
});
