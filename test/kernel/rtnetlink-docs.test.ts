import fs from 'node:fs';
import { NetNs } from 'netsteer';
import { Links } from 'netsteer/rtnetlink';
import { expect, test } from 'vitest';
import { KINDS } from '../../src/rtnetlink/links/kinds.ts';
import { AsyncFunction, SnippetsOf } from '../support/snippets.ts';

const page = new SnippetsOf('test/kernel/rtnetlink-docs.test.ts');

test("docs/rtnetlink.md's example joins two namespaces and lists what it created", async () => {
  const body = page.take('NetNs.create').code.replace(/^import .*$/gm, '');
  const made: NetNs[] = [];
  const create = () => {
    made.push(NetNs.create());
    return made.at(-1);
  };
  const printed: unknown[][] = [];
  const handles: Links[] = [];
  const open = (options: Parameters<typeof Links.open>[0]) => {
    handles.push(Links.open(options));
    return handles.at(-1);
  };
  await new AsyncFunction('Links', 'NetNs', 'console', body)(
    { open },
    { create },
    {
      log: (...values: unknown[]) => printed.push(values),
    },
  );
  expect(printed).toEqual(
    expect.arrayContaining([
      ['lo', undefined, false],
      ['eth0', 'veth', true],
      ['default', '10.9.0.1', 'eth0'],
      ['10.9.0.0/24', undefined, 'eth0'],
    ]),
  );
  for (const handle of handles) await handle[Symbol.asyncDispose]();
  for (const netns of made) netns.close();
});

test("docs/rtnetlink.md's nexthop objects carry a route, which follows when one is replaced", async () => {
  using netns = NetNs.create();
  await using links = Links.open({ netns });
  await links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth1' } });
  await links.set('eth1', { up: true });
  await links.addAddress('eth0', '10.9.0.1/24');
  const printed: unknown[] = [];
  const { code } = page.take('addNextHopObject');
  await new AsyncFunction('links', 'console', code)(links, { log: (value: unknown) => printed.push(value) });
  expect(printed).toEqual([
    [
      ['10.9.0.9', 3],
      ['10.9.0.3', 1],
    ],
  ]);
});

test("docs/rtnetlink.md's settings of a kind are created, changed and read by one name", async () => {
  using netns = NetNs.create();
  await using links = Links.open({ netns });
  const printed: unknown[] = [];
  const { code } = page.take('createVxlan');
  await new AsyncFunction('links', 'console', code)(links, { log: (value: unknown) => printed.push(value) });
  expect(printed).toEqual(['192.0.2.3']);
});

test.each([
  ['hairpin', [[true]]],
  [
    'addRule',
    [
      [undefined, undefined, 'local'],
      ['10.1.0.0/16', undefined, 100],
      [undefined, 7, 101],
      [undefined, undefined, 'main'],
      [undefined, undefined, 'default'],
    ],
  ],
])("docs/rtnetlink.md's example of %s prints what it says", async (mark, wanted) => {
  using netns = NetNs.create();
  await using links = Links.open({ netns });
  const printed: unknown[][] = [];
  await new AsyncFunction('links', 'console', page.take(mark).code)(links, {
    log: (...values: unknown[]) => printed.push(values),
  });
  expect(printed.toSorted()).toEqual(wanted.toSorted());
});

test("docs/rtnetlink.md's monitor begins with the state", async () => {
  using netns = NetNs.create();
  const links = Links.open({ netns });
  const printed: unknown[] = [];
  const log = (value: unknown) => {
    printed.push(value);
    void links[Symbol.asyncDispose]();
  };
  await new AsyncFunction('links', 'console', page.take('monitor(').code)(links, { log });
  expect(printed[0]).toBeGreaterThanOrEqual(1);
});

test('docs/rtnetlink.md has a line for each kind of link', () => {
  const text = fs.readFileSync('docs/rtnetlink.md', 'utf8');
  const lines = [...text.matchAll(/^\| `(\w+)`/gm)].map(([, kind]) => kind);
  expect(lines).toEqual(KINDS.map(({ name }) => name));
});

test('every example of docs/rtnetlink.md has run', () => {
  expect(page.left).toEqual([]);
});
