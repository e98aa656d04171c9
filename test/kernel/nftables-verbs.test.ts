import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { type Expression, type NewElements, type NewObject, Nftables, Transaction } from '../../src/nftables/index.ts';
import { kernelSuite } from '../support/where.ts';

const T = { family: 'ip', table: 't' } as const;
const COUNT: Expression[] = [{ counter: {} }];

let netns: NetNs;
let nft: Nftables;

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 't' } }));
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

/** What nft prints of the table, without its first and last line and indentation. */
function listed(...more: string[]): string {
  const text = netns.run(() => execFileSync('nft', [...more, 'list', 'table', 'ip', 't'], { encoding: 'utf8' }));
  return text
    .split('\n')
    .slice(1, -2)
    .map(line => line.trim())
    .filter(line => line !== '')
    .join('\n');
}

const rules = (chain: string) => nft.sync.rules({ family: 'ip', table: 't', chain }).map(rule => rule.comment);
const commented = (comment: string, more: object = {}) => ({
  rule: { ...T, chain: 'c', expressions: COUNT, comment, ...more },
});

kernelSuite('every verb over every kind of object', () => {
  const OBJECTS: [string, NewObject, string][] = [
    ['chain', { chain: { ...T, name: 'x', comment: 'hello' } }, 'comment "hello"'],
    [
      'base chain',
      { chain: { ...T, name: 'x', type: 'filter', hook: 'input', priority: 'filter', policy: 'drop' } },
      'type filter hook input priority filter; policy drop;',
    ],
    ['set', { set: { ...T, name: 'x', key: 'ipv4_addr', size: 7 } }, 'type ipv4_addr\nsize 7'],
    ['map', { map: { ...T, name: 'x', key: 'ifname', data: 'mark' } }, 'type ifname : mark'],
    ['verdict map', { map: { ...T, name: 'x', key: 'inet_service', data: 'verdict' } }, 'type inet_service : verdict'],
    ['counter', { counter: { ...T, name: 'x', packets: 1n, bytes: 2n } }, 'packets 1 bytes 2'],
    ['quota', { quota: { ...T, name: 'x', bytes: 2048n } }, '2 kbytes'],
    ['limit', { limit: { ...T, name: 'x', rate: 3n, unitSeconds: 60n } }, 'rate 3/minute'],
    [
      'ctTimeout',
      { ctTimeout: { ...T, name: 'x', l3protocol: 'ip', l4protocol: 'tcp', stateSeconds: { established: 100 } } },
      'protocol tcp',
    ],
    [
      'ctExpectation',
      {
        ctExpectation: {
          ...T,
          name: 'x',
          l3protocol: 'ip',
          l4protocol: 'udp',
          port: 9,
          timeoutMilliseconds: 5000,
          size: 2,
        },
      },
      'protocol udp\ndport 9\ntimeout 5s\nsize 2',
    ],
    [
      'synproxy',
      {
        synproxy: {
          ...T,
          name: 'x',
          maximumSegmentSize: 1460,
          windowScale: 7,
          flags: ['maximum-segment-size', 'window-scale'],
        },
      },
      'mss 1460',
    ],
  ];

  test.each(OBJECTS)('creates once, adds again, deletes by name and by handle, and destroys: %s', (_, object, text) => {
    const [kind] = Object.keys(object) as [keyof NewObject];
    const reference = { [kind]: { ...T, name: 'x' } } as never;
    const { handles } = nft.sync.commit(new Transaction().create(object as never), { echo: true });
    expect(listed()).toContain(text);
    expect(() => nft.sync.commit(new Transaction().create(object as never))).toThrow('EEXIST');
    const again = nft.sync.commit(new Transaction().add(object), { echo: true });
    expect(again.handles, 'of what was there too').toEqual(handles);
    nft.sync.commit(new Transaction().delete(reference).add(object));
    const [handle] = nft.sync.commit(new Transaction().add(object), { echo: true }).handles;
    nft.sync.commit(new Transaction().delete({ [kind]: { ...T, handle } } as never));
    expect(listed()).not.toContain(text);
    expect(() => nft.sync.commit(new Transaction().delete(reference))).toThrow('ENOENT');
    nft.sync.commit(new Transaction().add(object));
    nft.sync.commit(new Transaction().destroy(reference));
    nft.sync.commit(new Transaction().destroy(reference));
    expect(listed()).toBe('');
  });

  test('works for connlimit, which has no name in nft', () => {
    const { handles } = nft.sync.commit(new Transaction().add({ connlimit: { ...T, name: 'x', count: 3 } }), {
      echo: true,
    });
    const [object] = nft.sync.objects({ family: 'ip', table: 't' });
    expect(object).toMatchObject({ type: 'connlimit', name: 'x', data: { count: 3 }, handle: handles[0] });
    nft.sync.commit(new Transaction().delete({ object: { ...T, name: 'x', type: 'connlimit' } }));
    expect(nft.sync.objects()).toEqual([]);
  });

  test('writes objects as they were read', async () => {
    const transaction = new Transaction();
    for (const [i, [, object]] of OBJECTS.entries()) {
      const [[kind, fields]] = Object.entries(object) as [[string, object]];
      transaction.add({ [kind]: { ...fields, name: `x${i}` } } as never);
    }
    nft.sync.commit(transaction);
    const before = nft.sync.ruleset();
    const text = listed();
    nft.sync.commit(new Transaction().flush({ ruleset: {} }));
    const again = new Transaction();
    for (const table of before.tables) again.add({ table });
    for (const chain of before.chains) again.add({ chain });
    for (const { elements: _, ...set } of before.sets) again.add({ set });
    for (const object of before.objects) again.add({ object });
    nft.sync.commit(again);
    expect(listed()).toBe(text);
  });

  test('works for tables: flags, comment, flush, delete by handle, destroy', () => {
    const key = { family: 'ip', name: 'u' } as const;
    const { handles } = nft.sync.commit(
      new Transaction().create({ table: { ...key, flags: ['dormant'], comment: 'mine' } }),
      { echo: true },
    );
    expect(nft.sync.tables().find(({ name }) => name === 'u')).toMatchObject({ flags: ['dormant'], comment: 'mine' });
    nft.sync.commit(new Transaction().delete({ table: { family: 'ip', handle: handles[0]! } }));
    nft.sync.commit(new Transaction().destroy({ table: key }).destroy({ table: key }));
    nft.sync.commit(
      new Transaction()
        .add({ chain: { ...T, name: 'c' } })
        .add(commented('a'))
        .flush({ table: { family: 'ip', name: 't' } }),
    );
    expect(rules('c')).toEqual([]);
    nft.sync.commit(new Transaction().flush({ ruleset: { family: 'ip6' } }));
    expect(nft.sync.tables()).toHaveLength(1);
    nft.sync.commit(new Transaction().flush({ ruleset: {} }));
    expect(nft.sync.tables()).toEqual([]);
  });

  test('renames a chain by its name or its handle', () => {
    const { handles } = nft.sync.commit(new Transaction().add({ chain: { ...T, name: 'a' } }), { echo: true });
    nft.sync.commit(new Transaction().rename({ chain: { ...T, name: 'a', newName: 'b' } }));
    expect(nft.sync.chains().map(({ name }) => name)).toEqual(['b']);
    nft.sync.commit(new Transaction().rename({ chain: { ...T, handle: handles[0]!, newName: 'c' } }));
    expect(nft.sync.chains().map(({ name }) => name)).toEqual(['c']);
    expect(() => nft.sync.commit(new Transaction().rename({ chain: { ...T, name: 'x', newName: 'y' } }))).toThrow(
      'chain.name): there is no such chain in this table',
    );
  });

  test('adds, inserts, replaces and deletes rules, by handle and by index', () => {
    nft.sync.commit(new Transaction().add({ chain: { ...T, name: 'c' } }).add(commented('b')));
    const { handles } = nft.sync.commit(new Transaction().add(commented('d')).insert(commented('a')), { echo: true });
    expect(rules('c')).toEqual(['a', 'b', 'd']);
    nft.sync.commit(new Transaction().insert(commented('c', { position: handles[0] })));
    expect(rules('c')).toEqual(['a', 'b', 'c', 'd']);
    nft.sync.commit(new Transaction().replace(commented('D', { handle: handles[0] }) as never));
    nft.sync.commit(new Transaction().replace(commented('A', { index: 0 }) as never));
    expect(rules('c')).toEqual(['A', 'b', 'c', 'D']);
    nft.sync.commit(
      new Transaction()
        .delete({ rule: { ...T, chain: 'c', index: 3 } })
        .delete({ rule: { ...T, chain: 'c', index: 0 } }),
    );
    expect(rules('c')).toEqual(['b', 'c']);
    expect(() => nft.sync.commit(new Transaction().delete({ rule: { ...T, chain: 'c', handle: 999n } }))).toThrow(
      'rule.handle): there is no rule with this handle',
    );
    nft.sync.commit(new Transaction().flush({ chain: { ...T, name: 'c' } }));
    expect(rules('c')).toEqual([]);
  });

  test('counts an index as earlier operations of the transaction leave the rules', () => {
    nft.sync.commit(
      new Transaction()
        .add({ chain: { ...T, name: 'c' } })
        .add(commented('1'))
        .add(commented('2')),
    );
    const transaction = new Transaction()
      .insert(commented('0'))
      .add(commented('0a', { index: 0 }))
      .insert(commented('1-', { index: 2 }))
      .add(commented('1a', { index: 3 }))
      .insert(commented('1a-', { index: 4 }))
      .delete({ rule: { ...T, chain: 'c', index: 6 } });
    const { handles } = nft.sync.commit(transaction, { echo: true });
    expect(rules('c')).toEqual(['0', '0a', '1-', '1', '1a-', '1a']);
    expect(handles.slice(0, 5).every(handle => handle !== undefined)).toBe(true);
    expect(() => nft.sync.commit(new Transaction().add(commented('x', { index: 6 })))).toThrow(
      '[0].rule.index: expected the place of a rule in its chain, which has 6 then, got 6',
    );
  });

  test('adds, creates, deletes and flushes elements as values in every type of set', () => {
    nft.sync.commit(
      new Transaction()
        .add({ set: { ...T, name: 's', key: 'ipv4_addr', flags: ['interval'], elements: ['10.0.0.0/8'] } })
        .add({ map: { ...T, name: 'm', key: 'ipv4_addr . inet_service', data: 'ipv4_addr . inet_service' } })
        .add({ map: { ...T, name: 'v', key: 'inet_proto', data: 'verdict', flags: ['interval'] } })
        .add({ set: { ...T, name: 'w', key: 'ipv4_addr . inet_service', flags: ['interval'] } }),
    );
    const add = (set: string, ...elements: never[]) => new Transaction().add({ element: { ...T, set, elements } });
    nft.sync.commit(add('s', ...(['192.168.0.0/16', { from: '11.0.0.1', to: '11.0.0.9' }] as never[])));
    nft.sync.commit(add('m', { key: ['10.0.0.1', 80], data: ['10.0.0.2', 8080] } as never));
    nft.sync.commit(
      add('v', { key: { from: 1, to: 5 }, data: 'drop' } as never, { key: '*', data: 'accept' } as never),
    );
    nft.sync.commit(add('w', ['10.0.0.0/24', { from: 80, to: 90 }] as never));
    const text = listed();
    expect(text).toContain('elements = { 10.0.0.0/8, 11.0.0.1-11.0.0.9,\n192.168.0.0/16 }');
    expect(text).toContain('elements = { 10.0.0.1 . 80 : 10.0.0.2 . 8080 }');
    expect(text).toContain('elements = { 1-5 : drop, * : accept }');
    expect(text).toContain('elements = { 10.0.0.0/24 . 80-90 }');
    expect(() =>
      nft.sync.commit(
        new Transaction().create({
          element: { ...T, set: 'm', elements: [{ key: ['10.0.0.1', 80], data: ['10.0.0.2', 8080] }] },
        }),
      ),
    ).toThrow('element.elements[0]): the set has the element already');
    nft.sync.commit(
      new Transaction()
        .delete({ element: { ...T, set: 's', elements: ['10.0.0.0/8'] } })
        .delete({ element: { ...T, set: 'm', elements: [['10.0.0.1', 80]] } })
        .flush({ map: { ...T, name: 'v' } }),
    );
    const after = listed();
    expect(after).not.toContain('10.0.0.0/8');
    expect(after).not.toContain('8080');
    expect(after).not.toContain('accept');
    // Made of what the set is said to be like: nothing has to be asked.
    const type: NewElements['type'] = { key: 'ipv4_addr', flags: ['interval'] };
    nft.sync.commit(new Transaction().add({ element: { ...T, set: 's', type, elements: ['10.0.0.0/8'] } }));
    expect(listed()).toContain('10.0.0.0/8');
  });

  test('splits 100,000 elements of one transaction into messages, and rejects an overlap with ERR_OVERLAP', async () => {
    const elements = Array.from({ length: 100_000 }, (_, i) => ({
      key: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
      data: i % 60_000,
    }));
    const ranges = Array.from({ length: 20_000 }, (_, i) => ({
      from: `11.${i >> 14}.${(i >> 6) & 255}.${(i & 63) * 4}`,
      to: `11.${i >> 14}.${(i >> 6) & 255}.${(i & 63) * 4 + 2}`,
    }));
    await nft.commit(
      new Transaction()
        .add({ map: { ...T, name: 'm', key: 'ipv4_addr', data: 'inet_service', elements } })
        .add({ set: { ...T, name: 's', key: 'ipv4_addr', flags: ['interval'], elements: ranges.slice(0, 16_000) } }),
    );
    expect((await nft.elements({ ...T, name: 'm' } as never)).length).toBe(100_000);
    // The element's own index, in whichever message it went.
    const duplicate = [...elements.slice(0, 90_000), { key: '10.0.0.5', data: 1 }];
    await expect(
      nft.commit(new Transaction().add({ element: { ...T, set: 'm', elements: duplicate } })),
    ).rejects.toThrow('element.elements[90000])');
    const clash = [...ranges.slice(16_000), { from: '11.0.0.1', to: '11.0.0.3' }];
    await expect(
      nft.commit(new Transaction().add({ element: { ...T, set: 's', elements: clash } })),
    ).rejects.toMatchObject({
      code: 'ERR_OVERLAP',
      path: [0, 'element', 'elements', 4000],
    });
  });

  test('removes anonymous sets and chains with the rules that use them', () => {
    const transaction = new Transaction().add({ chain: { ...T, name: 'c' } });
    const ports = transaction.anonymousSet({ ...T, key: 'inet_service' }, [80, 443]);
    const inner = transaction.anonymousChain(T);
    transaction.add({ rule: { ...T, ...inner, expressions: COUNT, comment: 'inner' } }).add({
      rule: {
        ...T,
        chain: 'c',
        expressions: [
          { meta: { key: 'l4proto', register: 1 } },
          { cmp: { register: 1, op: 'eq', data: '06' } },
          { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
          { lookup: { ...ports, sourceRegister: 1 } },
          { immediate: { register: 0, data: { verdict: 'jump', ...inner } } },
        ],
      },
    });
    const map = transaction.anonymousMap({ ...T, key: 'ipv4_addr', data: 'verdict' }, [
      { key: '10.0.0.1', data: 'drop' },
    ]);
    transaction.add({
      rule: {
        ...T,
        chain: 'c',
        expressions: [
          { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
          { lookup: { ...map, sourceRegister: 1, register: 0 } },
        ],
      },
    });
    nft.sync.commit(transaction);
    expect(listed()).toBe(
      'chain c {\ntcp dport { 80, 443 } jump {\ncounter packets 0 bytes 0 comment "inner"\n}\nip saddr vmap { 10.0.0.1 : drop }\n}',
    );
    nft.sync.commit(new Transaction().flush({ chain: { ...T, name: 'c' } }));
    expect(nft.sync.sets(), 'they went with the rules').toEqual([]);
    expect(nft.sync.chains()).toHaveLength(1);
  });

  test('commits a transaction that was extended after a commit, also to another namespace', async () => {
    const other = NetNs.create();
    const second = Nftables.open({ netns: other });
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { ...T, name: 'c' } });
    await nft.commit(transaction);
    transaction.add(commented('later'));
    await Promise.all([nft.commit(transaction), second.commit(transaction)]);
    expect(rules('c')).toEqual(['later']);
    expect(second.sync.rules().map(({ comment }) => comment)).toEqual(['later']);
    expect(transaction.operations.map(({ verb, kind }) => `${verb} ${kind}`)).toEqual([
      'add table',
      'add chain',
      'add rule',
    ]);
    await second[Symbol.asyncDispose]();
    other.close();
  });

  test('returns every handle of 5,000 rules in the order of the operations', async () => {
    const transaction = new Transaction().add({ chain: { ...T, name: 'c' } });
    for (let i = 0; i < 5000; i++) transaction.add(commented(String(i)));
    const { handles, generation } = await nft.commit(transaction, { echo: true });
    expect(generation).toBe(nft.sync.generation());
    expect(handles.slice(1)).toEqual(nft.sync.rules().map(rule => rule.handle));
  });
});

describe('invalid operations', () => {
  test.each<[string, () => unknown, string]>([
    [
      'a kind that does not exist',
      () => new Transaction().add({ thing: {} } as never),
      'expected an object with one key, rule or table or chain',
    ],
    [
      'a verb that does not fit',
      () => new Transaction().flush({ rule: { ...T } } as never),
      'expected an object with one key, table or chain',
    ],
    [
      'no table',
      () => new Transaction().add({ rule: { family: 'ip', chain: 'c', expressions: [] } } as never),
      'rule.table: expected a value',
    ],
    [
      'no chain',
      () => new Transaction().add({ rule: { ...T, expressions: [] } } as never),
      'rule.chain: expected a value',
    ],
    [
      'a family that is none',
      () => new Transaction().add({ table: { family: 'ipv4', name: 't' } } as never),
      'table.family: expected one of',
    ],
    [
      'a type that is none',
      () => new Transaction().add({ set: { ...T, name: 's', key: 'address' as never } }),
      'set.key: expected one of',
    ],
    [
      'a set with values',
      () => new Transaction().add({ set: { ...T, name: 's', key: 'mark', data: 'mark' } as never }),
      'set.data: expected nothing',
    ],
    [
      'a map without',
      () => new Transaction().add({ map: { ...T, name: 's', key: 'mark' } }),
      "map.data: expected nft's name",
    ],
    [
      'an element that does not fit',
      () => new Transaction().add({ set: { ...T, name: 's', key: 'mark', elements: [1, 'x'] } }),
      'set.elements[1]: expected an integer',
    ],
    [
      'neither name nor handle',
      () => new Transaction().delete({ chain: T } as never),
      'chain.name: expected a value (or the handle)',
    ],
    [
      'statements and expressions',
      () => new Transaction().add({ rule: { ...T, chain: 'c', statements: [], expressions: [] } as never }),
      'rule.expressions: expected either',
    ],
    [
      'a negative index',
      () => new Transaction().add(commented('x', { index: -1 })),
      'rule.index: expected an integer from 0 on',
    ],
  ])('are rejected before anything is sent: %s', (_title, run, message) => {
    expect(run).toThrow(message);
  });
});
