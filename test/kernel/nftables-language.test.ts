import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { NetNs } from 'netsteer';
import * as nftables from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ROOT } from '../support/native.ts';
import { kernelSuite } from '../support/where.ts';

const text = fs.readFileSync(path.join(ROOT, 'docs/language.md'), 'utf8');
const LINES = /### (.*?)\n\n(?:```sh\n.*?```\n\n)?```nft\n(.*?)\n```\n\n```js\n(.*?)\n```\n\n```json\n(.*?)\n```/gs;
const lines = [...text.matchAll(LINES)].map(([, title, line, builders, json]) => ({
  title: title!,
  line: line!,
  builders: builders!,
  json: json!,
}));

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

kernelSuite('rules in statements', () => {
  it.each(lines)('docs/language.md: $title', async ({ line, builders, json }) => {
    const statements = new Function(...Object.keys(nftables), `return ${builders}`)(...Object.values(nftables));
    expect(statements).toEqual(JSON.parse(json));
    await nft.apply({ nftables: [{ add: { rule: { ...IN_TABLE, chain: 'c', expr: statements } } }] });
    expect(listed()).toEqual([line]);
  });

  it('there are twenty lines and more', () => {
    expect(lines.length).toBeGreaterThanOrEqual(20);
  });

  it('takes a ruleset as nft lists it', async () => {
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

  it('changes what is there, by all commands', async () => {
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

  it('says where in the document something is wrong', async () => {
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
