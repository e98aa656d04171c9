import fc from 'fast-check';
import type { Chain, DesiredRuleset, ElementValue, Expression, NewMap, Rule } from 'netsteer/nftables';

export const OWNER = { prefix: 'mine-' };
export const TABLE = { family: 'ip', name: 'mine-t' } as const;
export const PLACE = { family: 'ip', table: 'mine-t' } as const;

const saddr: Expression = { payload: { base: 'network', offset: 12, length: 4, register: 1 } };
const verdict = (data: object): Expression => ({ immediate: { register: 0, data: data as never } });

const address = fc.nat(7).map(n => `10.0.0.${n}`);

/** Rules of every sort that a plan must tell apart, by numbers so that they come again. */
const rule = (chain: string): fc.Arbitrary<Rule> =>
  fc
    .oneof(
      fc
        .nat(5)
        .map((n): Expression[] => [
          { counter: {} },
          { immediate: { register: 1, data: `0000000${n}` } },
          { meta: { key: 'mark', sourceRegister: 1 } },
        ]),
      fc
        .constantFrom('addresses', 'ranges')
        .map((set): Expression[] => [saddr, { lookup: { set, sourceRegister: 1 } }, { counter: {} }]),
      fc.constant<Expression[]>([saddr, { lookup: { set: 'ways', sourceRegister: 1, register: 0 } }]),
      fc.constantFrom('x', 'y').map((name): Expression[] => [{ objref: { type: 'counter', name } }]),
      fc.constantFrom('d', 'e').map((target): Expression[] => [verdict({ verdict: 'jump', chain: target })]),
      fc.constant<Expression[]>([{ limit: { rate: 10n, unitSeconds: 1n } }]),
    )
    .map(expressions => ({ ...PLACE, chain, expressions }));

/** Rules in nft's statements, with a set of their own. */
const statementRule = (chain: string): fc.Arbitrary<Rule> =>
  fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 4 }).map(ports => ({
    ...PLACE,
    chain,
    statements: [
      { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: { set: ports } } },
      { accept: null },
    ] as Rule['statements'] & object,
  }));

const baseChain = (name: string): fc.Arbitrary<Chain> =>
  fc
    .record({ priority: fc.constantFrom(0, 10), policy: fc.constantFrom('accept' as const, 'drop' as const) })
    .map(more => ({
      ...PLACE,
      name,
      type: 'filter' as const,
      hook: 'input' as const,
      ...more,
    }));

/** Rulesets of one table, which have much in common with each other. */
export const desired: fc.Arbitrary<DesiredRuleset> = fc
  .record({
    base: fc.subarray(['a', 'b', 'c'], { minLength: 1 }),
    comment: fc.option(fc.constantFrom('one', 'two'), { nil: undefined }),
    timeout: fc.boolean(),
    addresses: fc.uniqueArray(address),
    ranges: fc.uniqueArray(
      fc.constantFrom<ElementValue>('10.1.0.0/24', { from: '10.2.0.0', to: '10.2.0.9' }, '10.3.0.1', '10.4.0.0/16'),
    ),
    ways: fc.uniqueArray(fc.tuple(address, fc.constantFrom('d', 'e')), { selector: ([key]) => key }),
    counters: fc.constantFrom(['x', 'y'], ['x', 'y', 'z']),
    limit: fc.constantFrom(5n, 6n),
  })
  .chain(({ base, comment, timeout, addresses, ranges, ways, counters, limit }) => {
    const set = (name: string, elements: ElementValue[], more: object = {}): NewMap =>
      ({ ...PLACE, name, key: 'ipv4_addr', elements, ...more }) as NewMap;
    return fc
      .tuple(
        fc.tuple(...base.map(baseChain)),
        fc.tuple(
          ...base.map(name =>
            fc.array(fc.oneof({ weight: 4, arbitrary: rule(name) }, { weight: 1, arbitrary: statementRule(name) }), {
              maxLength: 8,
            }),
          ),
        ),
      )
      .map(([chains, rules]) => ({
        tables: [TABLE],
        chains: [
          ...chains,
          { ...PLACE, name: 'd' },
          { ...PLACE, name: 'e', ...(comment !== undefined && { comment }) },
        ],
        sets: [
          set('addresses', addresses, timeout ? { timeoutMilliseconds: 3_600_000n } : {}),
          set('ranges', ranges, { flags: ['interval'] }),
          set(
            'ways',
            ways.map(([key, chain]) => ({ key, data: { verdict: 'goto', chain } })),
            { data: 'verdict' },
          ),
        ],
        rules: rules.flat(),
        objects: [
          ...counters.map(name => ({ ...PLACE, name, type: 'counter' as const, data: {} })),
          { ...PLACE, name: 'l', type: 'limit' as const, data: { rate: limit, unitSeconds: 1n } },
        ],
      }));
  });
