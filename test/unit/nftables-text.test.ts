import { describe, expect, it } from 'vitest';
import {
  type Expression,
  formatRule,
  formatRuleset,
  ip,
  type Ruleset,
  rulesetJson,
  type Statement,
  tcp,
} from '../../src/nftables/index.ts';

const EMPTY: Ruleset = { tables: [], chains: [], sets: [], rules: [], objects: [], flowtables: [] } as never;
const T = { family: 'inet', table: 't' } as const;

const ruleset = (parts: object): Ruleset => ({ ...EMPTY, ...parts }) as Ruleset;

const LISTED = ruleset({
  tables: [{ family: 'inet', name: 't', handle: 1n, flags: ['dormant'] }],
  chains: [
    {
      ...T,
      name: 'c',
      handle: 2n,
      type: 'filter',
      hook: 'input',
      priority: -95,
      policy: 'drop',
      flags: ['base'],
    },
    { ...T, name: 'd', handle: 3n },
  ],
  sets: [
    {
      ...T,
      name: 's',
      handle: 4n,
      keyType: 7,
      keyLength: 4,
      flags: ['interval', 'timeout'],
      timeoutMilliseconds: 93_784_000n,
      elements: [
        { key: '0a000000', timeoutMilliseconds: 5000n },
        { key: '0b000000', flags: ['interval-end'] },
        { key: 'c0000201', comment: 'one' },
        { key: 'c0000202', flags: ['interval-end'] },
      ],
    },
  ],
  rules: [
    {
      ...T,
      chain: 'c',
      handle: 5n,
      comment: 'all of them',
      expressions: [
        { meta: { key: 'nfproto', register: 1 } },
        { cmp: { register: 1, op: 'eq', data: '02' } },
        { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
        { lookup: { set: 's', sourceRegister: 1 } },
        { immediate: { register: 0, data: { verdict: 'jump', chain: 'd' } } },
      ],
    },
  ],
  flowtables: [{ ...T, name: 'f', handle: 6n, hook: 'ingress', priority: 5, devices: ['eth0', 'eth1'] }],
});

describe('formatRuleset', () => {
  it('prints what nft lists', () => {
    expect(formatRuleset(LISTED).split('\n')).toEqual([
      'table inet t {',
      '\tflags dormant',
      '',
      '\tset s {',
      '\t\ttype ipv4_addr',
      '\t\tflags interval,timeout',
      '\t\ttimeout 1d2h3m4s',
      '\t\telements = { 10.0.0.0/8 timeout 5s,',
      '\t\t\t     192.0.2.1 comment "one" }',
      '\t}',
      '',
      '\tflowtable f {',
      '\t\thook ingress priority filter + 5',
      '\t\tdevices = { "eth0", "eth1" }',
      '\t}',
      '',
      '\tchain c {',
      '\t\ttype filter hook input priority -95; policy drop;',
      '\t\tip saddr @s jump d comment "all of them"',
      '\t}',
      '',
      '\tchain d {',
      '\t}',
      '}',
      '',
    ]);
  });

  it('prints for nft 1.0.6 where that is requested', () => {
    const text = formatRuleset(LISTED, { version: '1.0.6' });
    expect(text).toContain('devices = { eth0, eth1 }');
    expect(text).toContain('elements = { 10.0.0.0/8 timeout 5s, 192.0.2.1 comment "one" }');
  });

  it('escapes what a container put into names and comments', () => {
    const control = '\u001b[2J\n';
    const text = formatRuleset(
      ruleset({
        tables: [{ family: 'ip', name: `t${control}`, handle: 1n, comment: control }],
        chains: [{ family: 'ip', table: `t${control}`, name: `c${control}`, handle: 2n }],
        rules: [
          {
            family: 'ip',
            table: `t${control}`,
            chain: `c${control}`,
            handle: 3n,
            comment: control,
            expressions: [{ log: { prefix: control } }, { unknown: { name: control } }],
          },
        ],
      }),
    );
    expect(text).not.toContain('\u001b');
    expect(text.split('\n')).toHaveLength(7);
  });
});

describe('rulesetJson', () => {
  it('has the objects in the order of nft, with the properties of nft', () => {
    const { nftables } = rulesetJson(LISTED);
    expect(nftables.map(object => Object.keys(object)[0])).toEqual([
      'metainfo',
      'table',
      'chain',
      'chain',
      'set',
      'flowtable',
      'rule',
    ]);
    expect(nftables[1]).toEqual({ table: { family: 'inet', name: 't', handle: 1, flags: ['dormant'] } });
    expect(nftables[2]).toEqual({
      chain: { ...T, name: 'c', handle: 2, type: 'filter', hook: 'input', prio: -95, policy: 'drop' },
    });
    expect(nftables[4]).toEqual({
      set: {
        ...T,
        name: 's',
        handle: 4,
        type: 'ipv4_addr',
        flags: ['interval', 'timeout'],
        timeout: 93_784,
        elem: [
          { elem: { val: { prefix: { addr: '10.0.0.0', len: 8 } }, timeout: 5 } },
          { elem: { val: '192.0.2.1', comment: 'one' } },
        ],
      },
    });
    expect(nftables[6]).toEqual({
      rule: {
        ...T,
        chain: 'c',
        handle: 5,
        comment: 'all of them',
        expr: [
          { match: { op: '==', left: { payload: { protocol: 'ip', field: 'saddr' } }, right: '@s' } },
          { jump: { target: 'd' } },
        ],
      },
    });
  });

  it('keeps expressions that nft has no words for', () => {
    const expressions: Expression[] = [{ counter: { packets: 1n, bytes: 2n } }, { unknown: { name: 'future' } }];
    const rules = [{ ...T, chain: 'd', handle: 9n, expressions }];
    const { nftables } = rulesetJson({ ...LISTED, rules });
    expect(nftables.at(-1)).toEqual({
      rule: { ...T, chain: 'd', handle: 9, expr: [{ counter: { packets: 1, bytes: 2 } }, { raw: [expressions[1]] }] },
    });
  });
});

describe('formatRule', () => {
  it('accepts a rule that is not yet written', () => {
    const statements = [ip.saddr.eq('10.0.0.1'), tcp.dport.eq(22), { accept: null } as Statement];
    expect(formatRule({ family: 'inet', statements, comment: 'ssh' })).toBe(
      'ip saddr 10.0.0.1 tcp dport 22 accept comment "ssh"',
    );
  });

  it('prints what nft has no words for as a comment in brackets', () => {
    const expressions: Expression[] = [{ counter: {} }, { unknown: { name: 'future', bytes: '01' } }];
    expect(formatRule({ family: 'ip', expressions })).toBe(
      '# counter packets 0 bytes 0 [ {"unknown":{"name":"future","bytes":"01"}} ]',
    );
  });

  it('prints interfaces by name where names are given', () => {
    const data = new Uint8Array(new Uint32Array([7]).buffer);
    const expressions = [
      { meta: { key: 'iif', register: 1 } },
      { cmp: { register: 1, op: 'eq', data: Buffer.from(data).toString('hex') } },
    ] as Expression[];
    expect(formatRule({ family: 'ip', expressions })).toBe('iif 7');
    const interfaceName = (index: number) => (index === 7 ? 'eth7' : undefined);
    expect(formatRule({ family: 'ip', expressions }, { interfaceName })).toBe('iif "eth7"');
  });
});

describe('rulesets with more rules than a call may have arguments', () => {
  const rules = Array.from({ length: 130_000 }, () => ({ ...T, chain: 'c', handle: 1n, expressions: [] }));
  const large = ruleset({ tables: [{ family: 'inet', name: 't' }], chains: [{ ...T, name: 'c' }], rules });

  it('are printed', () => {
    expect(rulesetJson(large).nftables).toHaveLength(130_003);
    expect(formatRuleset(large)).toHaveLength(
      'table inet t {\n\tchain c {\n\t}\n}\n'.length + 130_000 * '\t\t\n'.length,
    );
  });
});

describe('operators of one rank', () => {
  const mark = { meta: { key: 'mark' } };
  const ctMark = { ct: { key: 'mark' } };
  const text = (value: unknown) =>
    formatRule({ family: 'ip', statements: [{ mangle: { key: mark, value } }] as unknown as Statement[] });

  it.each([
    [{ '^': [mark, { '^': [ctMark, 2] }] }, 'meta mark set meta mark ^ (ct mark ^ 0x00000002)'],
    [{ '&': [mark, { '&': [ctMark, 2] }] }, 'meta mark set meta mark & (ct mark & 0x00000002)'],
    [{ '|': [mark, { '^': [ctMark, 2] }] }, 'meta mark set meta mark | ct mark ^ 0x00000002'],
    [{ '^': [mark, { '|': [ctMark, 2] }] }, 'meta mark set meta mark ^ (ct mark | 0x00000002)'],
    [{ '^': [{ '^': [mark, ctMark] }, 2] }, 'meta mark set meta mark ^ ct mark ^ 0x00000002'],
  ])('associate from the left: %j', (value, expected) => {
    expect(text(value)).toBe(expected);
  });
});

describe('a match that is never true', () => {
  it('is not printed as a prefix, which would be true', () => {
    const left = { '&': [{ payload: { protocol: 'ip', field: 'saddr' } }, '255.255.255.128'] };
    const match = { op: '==', left, right: '10.0.0.1' };
    expect(formatRule({ family: 'ip', statements: [{ match }] as unknown as Statement[] })).toBe(
      'ip saddr & 255.255.255.128 == 10.0.0.1',
    );
  });
});

describe('a calculation that has no words', () => {
  it('is a comment with its expressions, for nft 1.0.6 too', () => {
    const register = 1;
    const expressions: Expression[] = [
      { exthdr: { register, type: 200, offset: 0, length: 4, op: 'ipv6' } },
      { bitwise: { sourceRegister: register, register, length: 4, mask: '0000ff01', xor: '00000000' } },
      { cmp: { register, op: 'eq', data: '00000001' } },
    ];
    expect(formatRule({ family: 'ip6', expressions }, { version: '1.0.6' })).toMatch(/^# \[ /);
  });
});
