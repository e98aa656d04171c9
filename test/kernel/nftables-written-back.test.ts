import fc from 'fast-check';
import type { Family } from 'netsteer';
import { type NewObject, type Nftables, type RuleEntry, type RulesetEvent, Transaction } from 'netsteer/nftables';
import { describe, expect, test } from 'vitest';
import { copyOf } from '../conformance/readings.ts';
import { debian, freshNamespaces, nft, otherNamespaces, there } from '../support/fresh-namespace.ts';
import { stateOf } from '../support/nftables-state.ts';
import { kernelSuite } from '../support/where.ts';

/* What any reading returns can be written as it is: it tells what there was, not where it goes. */

freshNamespaces();
otherNamespaces();

const T = { family: 'ip', table: 't' } as const;
const inTable = () => new Transaction().add({ table: { family: 'ip', name: 't' } }).add({ chain: { ...T, name: 'c' } });
const rule = (comment: string) => ({ rule: { ...T, chain: 'c', expressions: [], comment } });
const comments = (handle: Nftables) => handle.sync.rules().map(({ comment }) => comment);

/** Without the numbers that the kernel gives by itself. */
const state = (handle: Nftables) =>
  JSON.parse(
    JSON.stringify(stateOf(handle.sync.ruleset({ elements: true })), (key, value) => {
      if (key === 'handle' || key === 'previousHandle') return undefined;
      return typeof value === 'bigint' ? String(value) : value;
    }).replace(/__(set|map|chain)\d+/g, '__$1'),
  );

kernelSuite('an object that was read and is written again', () => {
  test('comes last as an added rule and first as an inserted one, wherever it stood', () => {
    const first = inTable();
    for (const name of ['20', '21', '22', '23', '24']) first.add(rule(name));
    nft.sync.commit(first);
    const source = inTable();
    for (const name of ['1', '2', '3']) source.add(rule(name));
    there.sync.commit(source);
    const [, two, three] = there.sync.rules();
    nft.sync.commit(new Transaction().add({ rule: two! }).add({ rule: three! }));
    expect(comments(nft)).toEqual(['20', '21', '22', '23', '24', '2', '3']);
    nft.sync.commit(new Transaction().insert({ rule: three! }));
    expect(comments(nft)).toEqual(['3', '20', '21', '22', '23', '24', '2', '3']);
    // By place and by handle they go where they are sent.
    nft.sync.commit(new Transaction().add({ rule: { ...two!, index: 0 } }));
    expect(comments(nft)).toEqual(['3', '2', '20', '21', '22', '23', '24', '2', '3']);
    const last = nft.sync.rules().at(-1)!;
    nft.sync.commit(
      new Transaction().replace({ rule: { ...last, comment: 'new' } }).delete({ rule: nft.sync.rules()[0]! }),
    );
    expect(comments(nft)).toEqual(['2', '20', '21', '22', '23', '24', '2', 'new']);
  });

  test('is not taken for an index by the handle of its rule', () => {
    nft.sync.commit(inTable().add(rule('a')).add(rule('b')).add(rule('c')));
    const [a] = nft.sync.rules();
    // The copy of `a` comes last, so that it is the fourth.
    nft.sync.commit(
      new Transaction().add({ rule: { ...a!, comment: 'd' } }).insert({ rule: { ...a!, comment: 'e', index: 3 } }),
    );
    expect(comments(nft)).toEqual(['a', 'b', 'c', 'e', 'd']);
  });

  test('never has a `position`', async () => {
    const monitor = nft.monitor();
    const items = monitor[Symbol.asyncIterator]();
    const next = items.next();
    nft.sync.commit(
      inTable()
        .add(rule('a'))
        .add({ rule: { ...rule('b').rule, expressions: [{ counter: {} }] } }),
    );
    const { value } = await next;
    await monitor.close();
    const told = value?.type === 'transaction' ? value.events : [];
    const events = told.filter(({ kind }) => kind === 'rule').map(({ object }) => object as RuleEntry);
    const [a, b] = nft.sync.rules();
    const reset = nft.sync.reset({ rule: { ...T } }).rules;
    const read = [b!, nft.sync.ruleset().rules[1]!, ...reset];
    expect(read).toHaveLength(3);
    for (const each of read) expect(each.previousHandle).toBe(a!.handle);
    // Told of at the end of its chain, or asked for alone, a rule comes without it.
    for (const each of [...read, events[1], nft.sync.rule(b!)]) expect(each).not.toHaveProperty('position');
    expect(a).not.toHaveProperty('previousHandle');
  });

  test('is found by its name, or undefined, in both forms', async () => {
    debian(
      `table ip t {
        counter hits { packets 3 bytes 120 }
        quota most { over 100 mbytes }
        limit slow { rate 10 bytes/second }
        set s { type ipv4_addr; }
        map m { type ipv4_addr : verdict; }
        chain c { type filter hook input priority 0; counter; }
      }`,
      '-f',
      '-',
    );
    const name = (name: string) => ({ ...T, name });
    const { sync } = nft;
    expect(sync.table({ family: 'ip', name: 't' })).toEqual(sync.tables()[0]);
    expect(await nft.chain(name('c'))).toEqual(sync.chains()[0]);
    expect(sync.set(name('s'))).toEqual(sync.sets().find(set => set.name === 's'));
    expect(await nft.map(name('m'))).toEqual(sync.sets().find(set => set.name === 'm'));
    expect(sync.map(name('s'))).toBeUndefined();
    expect(sync.rule(sync.rules()[0]!)).toEqual(sync.rules()[0]);
    const hits = sync.objects().find(object => object.name === 'hits');
    expect(await nft.object(name('hits'))).toEqual(hits);
    expect(sync.object({ ...name('hits'), type: 'counter' })).toEqual(hits);
    expect(sync.object({ ...name('hits'), type: 'quota' })).toBeUndefined();
    expect(await nft.counter(name('hits'))).toEqual({
      ...name('hits'),
      packets: 3n,
      bytes: 120n,
      handle: hits!.handle,
      use: 0,
    });
    expect(sync.quota(name('most'))).toMatchObject({ name: 'most', bytes: 104_857_600n });
    expect(sync.limit(name('slow'))).toMatchObject({ name: 'slow', type: 'bytes' });
    for (const kind of [
      'chain',
      'set',
      'map',
      'flowtable',
      'object',
      'counter',
      'quota',
      'limit',
      'connlimit',
      'ctHelper',
      'ctTimeout',
      'ctExpectation',
      'synproxy',
      'secmark',
      'tunnel',
    ] as const) {
      expect(sync[kind](name('none')), kind).toBeUndefined();
      expect(await nft[kind]({ family: 'inet', table: 'none', name: 'none' }), kind).toBeUndefined();
    }
    expect(await nft.table({ family: 'ip6', name: 't' })).toBeUndefined();
    expect(sync.rule({ ...T, chain: 'c', handle: 999n })).toBeUndefined();
  });

  test('rejects a name that several objects have without a type with ERR_MISSING', () => {
    debian('table ip t { counter x { packets 0 bytes 0; }; quota x { 5 bytes; }; }', '-f', '-');
    expect(() => nft.sync.object({ ...T, name: 'x' })).toThrow(
      expect.objectContaining({ code: 'ERR_MISSING', path: ['type'] }),
    );
    expect(nft.sync.object({ ...T, name: 'x', type: 'quota' })?.type).toBe('quota');
  });

  test.each([
    [{ family: 'ipv4', table: 't', name: 'x' }, 'family'],
    [{ family: 'ip', name: 'x' }, 'table'],
    [{ family: 'ip', table: 't' }, 'name'],
    [{ family: 'ip', table: 't', name: 5 }, 'name'],
    [{ family: 'ip', table: 't', name: '' }, 'name'],
  ])('rejects the reference %j at its field', (reference, field) => {
    for (const ask of ['chain', 'set', 'object', 'counter', 'flowtable'] as const)
      expect(() => nft.sync[ask](reference as never)).toThrow(expect.objectContaining({ path: [field] }));
    expect(() => nft.sync.chain(undefined as never)).toThrow(TypeError);
  });

  test('rejects another type than the name has with ERR_OUT_OF_RANGE', () => {
    expect(() =>
      new Transaction().add({ counter: { ...T, name: 'x', type: 'quota', data: { bytes: 1n } } as never }),
    ).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', path: ['counter', 'type'] }));
  });
});

/** Parts of tables, each alone and with any of the others. */
const PARTS: Record<string, string> = {
  names: 'set x_names { type ifname; elements = { "eth0", "lo" }; }',
  wild: 'set x_wild { type ifname; flags interval; elements = { "eth*", "lo" }; }',
  ranges:
    'set x_ranges { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.9, 255.0.0.0/8 }; }',
  whole: 'set x_whole { type inet_service; flags interval; elements = { 0-65535 }; }',
  open: 'set x_open { type inet_service; flags interval; elements = { 65000-65535 }; }',
  six: 'set x_six { type ipv6_addr; flags interval; auto-merge; elements = { fe80::/10, 2001:db8::1 comment "one" }; }',
  concat:
    'set x_concat { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90, 1.2.3.4 . 443 }; }',
  devices: 'set x_devices { type ifname . ipv4_addr; elements = { "eth0" . 10.0.0.1 comment "x" }; }',
  counted: 'set x_counted { type ipv4_addr; counter; elements = { 10.0.0.1 counter packets 0 bytes 0, 10.0.0.2 }; }',
  countedRanges:
    'set x_countedRanges { type ipv4_addr; flags interval; counter; elements = { 10.0.0.0/24, 10.1.0.0/16 }; }',
  filled:
    'set x_filled { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; elements = { 10.0.0.1 timeout 30m }; }',
  lifetimes:
    'set x_lifetimes { type ipv4_addr; flags interval,timeout; timeout 1h; elements = { 10.0.0.0/24, 10.0.5.0/24 timeout 2h }; }',
  ports:
    'map x_ports { type ipv4_addr . inet_service : inet_service; elements = { 10.0.0.1 . 80 : 8080, 10.0.0.1 . 443 : 8443 }; }',
  spans:
    'map x_spans { type inet_service : ipv4_addr; flags interval; elements = { 1-9 : 10.0.0.1, 20 : 10.0.0.2, * : 10.0.0.3 }; }',
  targets:
    'map x_targets { type ipv4_addr : interval ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/24 : 1.1.1.1-1.1.1.9 . 80-90 }; }',
  marks: 'map x_marks { type mark : ifname; elements = { 0x1 : "eth0", 0x2 : "lo" }; }',
  verdicts:
    'map x_verdicts { type inet_service : verdict; flags interval; elements = { 1-9 : jump x_sub, 80 : accept }; }',
  counting: 'map x_counting { type ipv4_addr : counter; elements = { 10.0.0.1 : "hits", 10.0.0.2 : "hits" }; }',
  objects:
    'quota x_most { over 100 mbytes used 4 kbytes; }\nlimit x_slow { rate 400 kbytes/second burst 9 kbytes; }\nlimit x_few { rate over 5/minute; }',
  bound: 'chain x_bound { type filter hook forward priority 5; policy drop; ct state established accept; }',
  turned:
    'chain x_turned { type nat hook prerouting priority dstnat; comment "in"; tcp dport { 80, 443 } redirect to :8080; dnat ip to ip daddr map { 10.0.0.1 : 10.0.0.2 }; }',
  inner:
    'chain x_inner { type filter hook input priority 7; tcp dport { 22, 80-90 } jump { ip saddr 10.0.0.0/8 accept; ip saddr 11.0.0.0/8 drop; }; counter packets 0 bytes 0 comment "last"; }',
  loud: 'chain x_loud { type filter hook output priority -5; limit rate 5/second burst 9 packets log prefix "a b" group 5; quota over 500 bytes used 10 bytes drop; meta mark set ip saddr map { 10.0.0.0/8 : 1, 11.0.0.1 : 2 }; }',
};
const FIXED = 'counter hits { packets 7 bytes 900; }\nchain x_sub { counter packets 3 bytes 4; }';
const FAMILIES: Family[] = ['ip', 'inet'];

const documents = fc
  .tuple(fc.constantFrom(...FAMILIES), fc.subarray(Object.keys(PARTS), { minLength: 1 }), fc.boolean())
  .map(([family, names, reversed]) => {
    const parts = reversed ? [...names].reverse() : names;
    return `table ${family} t {\n${[FIXED, ...parts.map(name => PARTS[name]!)].join('\n')}\n}`;
  });

kernelSuite('a ruleset of random parts', () => {
  describe.each(['ruleset', 'wire', 'values'] as const)('with elements by %s', form => {
    test('is the same state after it is written to an empty namespace', () => {
      fc.assert(
        fc.property(documents, text => {
          nft.sync.commit(new Transaction().flush({ ruleset: {} }));
          there.sync.commit(new Transaction().flush({ ruleset: {} }));
          debian(text, '-f', '-');
          there.sync.commit(copyOf(nft, form));
          expect(state(there)).toEqual(state(nft));
        }),
        { numRuns: 60 },
      );
    });
  });

  test('is the same state after the events of its creation are written in order', async () => {
    const monitor = nft.monitor();
    const items = monitor[Symbol.asyncIterator]();
    await fc.assert(
      fc.asyncProperty(documents, async text => {
        there.sync.commit(new Transaction().flush({ ruleset: {} }));
        debian(text, '-f', '-');
        const { value } = await items.next();
        const copy = new Transaction();
        const events = (value?.type === 'transaction' ? value.events : []) as RulesetEvent[];
        for (const { kind, object } of events) copy.add({ [kind]: object } as unknown as NewObject);
        there.sync.commit(copy);
        expect(state(there)).toEqual(state(nft));
        nft.sync.commit(new Transaction().flush({ ruleset: {} }));
        await items.next();
      }),
      { numRuns: 30 },
    );
    await monitor.close();
  });
});
