import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Names } from '../../src/nft/names.ts';
import {
  accept,
  ct,
  dnat,
  type Family,
  ip,
  ip6,
  log,
  meta,
  redirect,
  type Statement,
  snat,
  Transaction,
  tcp,
  udp,
} from '../../src/nftables/index.ts';
import { RuleShapes } from '../../src/nftables/write/rule-shapes.ts';
import { templateDifference, withOtherConstants } from '../support/rule-templates.ts';

const source = { names: new Names({ readFile: () => undefined }) };

/** How many of these rules are copies of a template. */
function copies(rules: readonly Statement[][], family: Family = 'ip'): number {
  const shapes = new RuleShapes();
  return rules.filter(statements => shapes.find(statements, family, '1.1.6', source) !== undefined).length;
}

const COUNT = 10;
const loop = (statementsOf: (index: number) => Statement[]): Statement[][] =>
  Array.from({ length: COUNT }, (_, i) => statementsOf(i + 1));

/** Rules of a loop, each in a form of its own. */
const LOOPS: Readonly<Record<string, { family: Family; rules: Statement[][] }>> = {
  redirects: {
    family: 'ip',
    rules: loop(i => [ip.daddr.eq(`10.0.0.${i}`), tcp.dport.eq(80 + i), redirect({ to: 8080 + i })]),
  },
  'NAT of both kinds': {
    family: 'ip',
    rules: loop(i => [ip.saddr.eq(`10.0.${i}.1`), udp.dport.eq(i), dnat({ to: `192.0.2.${i}`, port: i })]),
  },
  prefixes: { family: 'inet', rules: loop(i => [ip.saddr.prefix(`10.${i}.0.0`, 16), snat({ to: `192.0.2.${i}` })]) },
  ranges: { family: 'inet', rules: loop(i => [tcp.dport.between(i, 1000 + i), ct.mark.set(i), accept()]) },
  'IPv6 addresses': { family: 'ip6', rules: loop(i => [ip6.saddr.eq(`2001:db8::${i}`), accept()]) },
  'IPv6 prefixes': { family: 'inet', rules: loop(i => [ip6.daddr.prefix(`2001:db8:${i}::`, 48), accept()]) },
  marks: { family: 'inet', rules: loop(i => [meta.mark.eq(i), meta.mark.set(i + 0x10000), log({ group: i })]) },
  'addresses that are compared together': {
    family: 'ip',
    rules: loop(i => [ip.saddr.eq(`10.0.0.${i}`), ip.daddr.eq(`10.0.1.${i}`), accept()]),
  },
};

describe('rules of one shape', () => {
  for (const [name, { family, rules }] of Object.entries(LOOPS)) {
    it(`are copies of a template from the second one on: ${name}`, () => {
      expect(copies(rules, family)).toBe(COUNT - 1);
    });
  }

  it('have the bytes of the compiler, whatever their constants are', () => {
    const kinds = fc.constantFrom(...Object.values(LOOPS));
    const numbers = fc.array(fc.nat({ max: 0xffffffff }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(kinds, numbers, ({ family, rules }, given) => {
        let at = 0;
        const next = () => given[at++ % given.length]!;
        const varied = rules.slice(0, 4).map(statements => withOtherConstants(statements, next) as Statement[]);
        expect(templateDifference([rules[0]!, rules[1]!, ...varied], family)).toBeUndefined();
      }),
      { numRuns: 400 },
    );
  });

  it('are found again when other shapes stand between them', () => {
    const { redirects, prefixes, marks } = LOOPS;
    const mixed = Array.from({ length: COUNT }, (_, i) => [redirects, prefixes, marks].map(each => each!.rules[i]!));
    expect(copies(mixed.flat(), 'ip')).toBe(3 * (COUNT - 1));
  });
});

describe('a constant that changes more than its own bytes', () => {
  it('belongs to the shape: the protocol of a rule', () => {
    expect(copies(loop(i => [meta.l4proto.eq(i), accept()]))).toBe(0);
  });

  it('belongs to the shape: the end of a range that would be before its beginning', () => {
    expect(copies([...loop(() => [tcp.dport.between(80, 90)]), [tcp.dport.between(90, 80)]])).toBe(COUNT - 1);
  });

  it('belongs to the shape: bits behind a prefix', () => {
    expect(copies([...loop(i => [ip.saddr.prefix(`10.0.${i}.0`, 24)]), [ip.saddr.prefix('10.0.0.1', 24)]])).toBe(
      COUNT - 1,
    );
  });

  it('belongs to the shape: a port that is too large, which rejects the rule with ERR_OUT_OF_RANGE as ever', () => {
    const transaction = new Transaction();
    const add = (port: number) =>
      transaction.add({ rule: { family: 'ip', table: 't', chain: 'c', statements: [tcp.dport.eq(port), accept()] } });
    for (let port = 1; port < COUNT; port++) add(port);
    expect(() => add(65_536)).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', path: ['rule', 'statements', 0, 'match', 'right'] }),
    );
    expect(transaction.length).toBe(COUNT - 1);
  });
});

it('a template keeps the rest of a rule: comment, position and the number of its chain', () => {
  const statements = [tcp.dport.eq(1), accept()];
  const messageOf = (rule: object): string => {
    const encoded = new Transaction().add({ rule } as never).encode();
    return Buffer.from(encoded.bytesOf(encoded.messages.at(0)!)).toString('hex');
  };
  const rests = [
    { chain: 'c', comment: 'a' },
    { chain: 'c', position: 7n },
    { chainId: 9, comment: 'b' },
  ];
  for (const rest of rests) {
    const place = { family: 'ip', table: 't', ...rest } as const;
    const [first, ...others] = [1, 2, 3].map(() => messageOf({ ...place, statements }));
    expect(others).toEqual([first, first]);
    expect(first).toBe(messageOf({ ...place, expressions: EXPRESSIONS }));
  }
});

const EXPRESSIONS = [
  { meta: { key: 'l4proto', register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '06' } },
  { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '0001' } },
  { immediate: { register: 0, data: { verdict: 'accept' } } },
];
