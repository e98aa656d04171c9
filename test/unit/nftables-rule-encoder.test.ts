import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { type Expression, encodeMessage, Transaction } from '../../src/nftables/index.ts';

const hexOf = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map(bytes => Buffer.from(bytes).toString('hex'));
const data = fc.constantFrom(1, 2, 4, 16).chain(hexOf);
const expression = fc.oneof<fc.Arbitrary<Expression>[]>(
  data.map(bytes => ({ cmp: { register: 1, op: 'eq', data: bytes } })),
  data.map(bytes => ({ cmp: { data: bytes, op: 'neq', register: 1 } })),
  data.map(bytes => ({ immediate: { register: 1, data: bytes } })),
  fc.constantFrom<Expression>(
    { payload: { base: 'network', offset: 16, length: 4, register: 1 } },
    { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
    { immediate: { register: 0, data: { verdict: 'accept' } } },
    { immediate: { register: 0, data: { verdict: 'jump', chain: 'other' } } },
    { redir: { portRegister: 1, flags: ['ports-specified'] } },
    { redir: { portRegister: 1, flags: ['ports-specified', 'random'] } },
    { redir: {} },
    { counter: {} },
    { counter: { packets: 1n, bytes: 2n } },
    { notrack: {} },
    { unknown: { name: 'some', bytes: '0102' } },
    { unknown: { name: 'some' } },
    { target: { name: 'MARK', revision: 2, info: '0000000000000000' } },
  ),
);
const rule = fc.record(
  {
    table: fc.constantFrom('t', 'u'),
    chain: fc.constantFrom('c', 'd'),
    expressions: fc.array(expression, { maxLength: 4 }),
    comment: fc.constantFrom('a', 'b'),
    position: fc.constantFrom(1n, 2n),
  },
  { requiredKeys: ['table', 'chain', 'expressions'] },
);

/** As no rule before it had been written. */
function alone(object: Record<string, unknown>, sequence: number, last: boolean): string {
  const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | (last ? NLM_F_ACK : 0);
  const expressions = object.expressions as Expression[];
  const extension = expressions.some(item => 'target' in item);
  const compat = extension ? { compat: { protocol: 0, flags: 0 } } : {};
  const message = { type: 'newrule', flags, sequence, family: 'ip', object: { ...object, ...compat } } as const;
  return Buffer.from(encodeMessage(message)).toString('hex');
}

test('rules that are encoded in sequence have the bytes of single ones', () => {
  const row = fc.array(
    rule.chain(one => fc.array(fc.constant(one), { minLength: 1, maxLength: 3 })),
    { maxLength: 6 },
  );
  const varied = fc.tuple(row, fc.array(data, { minLength: 1 })).map(([rows, bytes]) => {
    let next = 0;
    // Rules of one form whose data differs, between rules of other forms.
    return rows.flat().map(one => ({
      ...one,
      expressions: one.expressions.map(item =>
        'cmp' in item ? { cmp: { ...item.cmp, data: bytes[next++ % bytes.length]! } } : item,
      ),
    }));
  });
  fc.assert(
    fc.property(varied, rules => {
      const transaction = new Transaction();
      for (const one of rules) transaction.add({ rule: { family: 'ip', ...one } });
      const { bytes, end, messages } = transaction.encode();
      const begin = 20;
      const expected = rules.map((one, i) => alone(one, i + 2, false));
      expect(messages.length).toBe(rules.length);
      expect(Buffer.from(bytes.subarray(begin, end)).toString('hex')).toBe(expected.join(''));
    }),
    { numRuns: 500 },
  );
});

test('malformed data is rejected at its place, and the transaction is unchanged', () => {
  const transaction = new Transaction();
  const add = (bytes: string) =>
    transaction.add({
      rule: { family: 'ip', table: 't', chain: 'c', expressions: [{ cmp: { register: 1, op: 'eq', data: bytes } }] },
    });
  add('0a000001');
  expect(() => add('0a00000x')).toThrow('rule.expressions[0].cmp.data: expected');
  add('0a000002');
  expect(transaction.length).toBe(2);
  expect(transaction.encode().messages.length).toBe(2);
});
