import { describe, expect, it } from 'vitest';
import { sourceOf, toHex } from '../../src/codec/index.ts';
import { messagesIn } from '../../src/netlink/index.ts';
import { compatOf } from '../../src/nf_tables/expressions/xt-compat.ts';
import { decodeMessage, type Expression, encodeMessage, Transaction } from '../../src/nftables/index.ts';

type Family = 'ip' | 'ip6' | 'inet';

function encoded(expression: unknown, family: Family = 'ip'): Uint8Array {
  return encodeMessage({ type: 'newrule', family, object: { table: 't', chain: 'c', expressions: [expression] } });
}

function roundTrip(expression: unknown, family: Family = 'ip'): unknown {
  const bytes = encoded(expression, family);
  const { object } = decodeMessage(bytes);
  expect(toHex(encodeMessage(decodeMessage(bytes)))).toBe(toHex(bytes));
  return (object.expressions as unknown[])[0];
}

const TARGETS: [Expression, Family, info: string][] = [
  [
    { target: { name: 'REDIRECT', revision: 0, info: { flags: ['ports-specified'], port: 8080, lastPort: 8090 } } },
    'ip',
    '010000000200000000000000000000001f901f9a00000000',
  ],
  [{ target: { name: 'MASQUERADE', revision: 0, info: { flags: ['random'] } } }, 'ip6', `04000000${'00'.repeat(36)}`],
  [
    {
      target: {
        name: 'DNAT',
        revision: 2,
        info: { flags: ['map-addresses'], address: '10.0.0.1', lastAddress: '10.0.0.2', basePort: 1 },
      },
    },
    'ip',
    `010000000a000001${'00'.repeat(12)}0a000002${'00'.repeat(12)}0000000000010000${'00'.repeat(4)}`,
  ],
  [{ target: { name: 'MARK', revision: 2, info: { mark: 1, mask: 0xffffffff } } }, 'ip', '01000000ffffffff'],
  [
    { target: { name: 'LOG', revision: 0, info: { level: 'info', flags: ['ip-options'], prefix: 'x' } } },
    'ip',
    `060478${'00'.repeat(29)}`,
  ],
  [
    {
      target: {
        name: 'NFLOG',
        revision: 0,
        info: { group: 5, prefix: 'p', copyBytes: 64, threshold: 2, flags: ['copy-length'] },
      },
    },
    'ip',
    `40000000050002000100000070${'00'.repeat(67)}`,
  ],
];

describe('targets and matches of xtables as objects', () => {
  it('have numbers of 64 bits', () => {
    const expression = { match: { name: 'connbytes', revision: 0, info: { from: 5n, to: 2n ** 64n - 1n } } };
    expect(toHex(encoded(expression))).toContain(`05${'00'.repeat(7)}${'ff'.repeat(8)}${'00'.repeat(8)}`);
    expect(roundTrip(expression)).toEqual(expression);
  });

  it.each(TARGETS)('are written and read: %j', (expression, family, info) => {
    expect(toHex(encoded(expression, family))).toContain(info);
    expect(roundTrip(expression, family)).toEqual(expression);
  });

  it.each([
    {
      match: {
        name: 'tcp',
        revision: 0,
        info: { destinationPorts: [80, 90], flagsMask: ['syn', 'ack'], flags: ['syn'], invert: ['destination-ports'] },
      },
    },
    { match: { name: 'udp', revision: 0, info: { sourcePorts: [53, 53] } } },
    { match: { name: 'comment', revision: 0, info: { comment: 'a remark' } } },
    { match: { name: 'multiport', revision: 1, info: { side: 'either', ports: [22, [80, 90], 443], invert: true } } },
    { match: { name: 'addrtype', revision: 0, info: { destination: ['local'], invertSource: true } } },
    { match: { name: 'addrtype', revision: 1, info: { source: ['unicast'], flags: ['limit-in-interface'] } } },
    ...[1, 2, 3].map(revision => ({
      match: {
        name: 'conntrack',
        revision,
        info: {
          match: ['states', 'original-source'],
          invert: ['status'],
          states: ['established', 'related'],
          status: ['assured'],
          originalSource: '10.0.0.0',
          originalSourceMask: '255.0.0.0',
          replySourcePort: 80,
        },
      },
    })),
  ])('are read from bytes: %j', expression => {
    expect(roundTrip(expression)).toEqual(expression);
  });

  it('stay bytes where the object would not return them', () => {
    // Something behind the prefix's NUL.
    const log = { target: { name: 'LOG', revision: 0, info: `0400${'61'}00${'62'}${'00'.repeat(27)}` } };
    expect(roundTrip(log)).toEqual(log);
    // Of another size, of a revision that is not known, with addresses of an unknown family.
    const others: [unknown, Family][] = [
      [{ target: { name: 'MARK', revision: 2, info: '01000000' } }, 'ip'],
      [{ target: { name: 'MARK', revision: 9, info: '0100000000000000' } }, 'ip'],
      [{ target: { name: 'DNAT', revision: 1, info: `010000000a00${'00'.repeat(34)}` } }, 'inet'],
      // More ports than it has room for.
      [{ match: { name: 'multiport', revision: 1, info: `01ff${'00'.repeat(46)}` } }, 'ip'],
    ];
    for (const [expression, family] of others) expect(roundTrip(expression, family)).toEqual(expression);
  });

  it('report the wrong field', () => {
    const add = (info: unknown) => () =>
      new Transaction().add({
        rule: {
          family: 'ip',
          table: 't',
          chain: 'c',
          expressions: [{ target: { name: 'REDIRECT', revision: 0, info } }],
        },
      } as never);
    expect(add({ port: 70000 })).toThrow('rule.expressions[0].target.info.port: expected an integer 0 to 65535');
    expect(add({ ports: 1 })).toThrow('rule.expressions[0].target.info.ports: expected no such field');
    expect(add({ address: '::1' })).toThrow('target.info.address: expected an IPv4 address');
    expect(add({ flags: ['x'] })).toThrow('target.info.flags[0]');
  });
});

describe('NFTA_RULE_COMPAT', () => {
  const tcp: Expression = { match: { name: 'tcp', revision: 0, info: {} } };
  const meta: Expression = { meta: { key: 'l4proto', register: 1 } };

  it('is taken from the rule itself', () => {
    expect(compatOf([meta, { cmp: { register: 1, op: 'eq', data: '06' } }, tcp], 2)).toEqual({ protocol: 6, flags: 0 });
    expect(compatOf([meta, { cmp: { register: 1, op: 'neq', data: '11' } }, tcp], 2)).toEqual({
      protocol: 17,
      flags: 2,
    });
    const payload: Expression = { payload: { base: 'network', offset: 9, length: 1, register: 1 } };
    expect(compatOf([payload, { cmp: { register: 1, op: 'eq', data: '01' } }, tcp], 2)?.protocol).toBe(1);
    const other: Expression = { meta: { key: 'iif', register: 1 } };
    expect(compatOf([meta, other, { cmp: { register: 1, op: 'eq', data: '06000000' } }, tcp], 2)?.protocol).toBe(0);
    expect(compatOf([meta, { cmp: { register: 1, op: 'eq', data: '06' } }], 2)).toBeUndefined();
  });

  it('is written with rules that lack it, and kept in those that have it', () => {
    const rule = { family: 'ip', table: 't', chain: 'c', expressions: [tcp] } as const;
    const compats = (...rules: object[]) => {
      const transaction = new Transaction();
      for (const one of rules) transaction.add({ rule: one as never });
      const { bytes } = transaction.encode();
      return [...messagesIn(sourceOf(bytes))]
        .slice(1, -1)
        .map(({ start, end }) => decodeMessage(bytes.subarray(start, end)).object.compat);
    };
    expect(compats(rule, { ...rule, compat: { protocol: 6, flags: 2 } }, { ...rule, expressions: [meta] })).toEqual([
      { protocol: 0, flags: 0 },
      { protocol: 6, flags: 2 },
      undefined,
    ]);
  });
});

it('levels and flags of the log have names, or are numbers', () => {
  expect(roundTrip({ log: { level: 6, flags: [2, 'ether', 64] } })).toEqual({
    log: { level: 'info', flags: ['tcp-options', 'ether', 64] },
  });
  expect(roundTrip({ log: { level: 9 } })).toEqual({ log: { level: 9 } });
});
