import { inspect } from 'node:util';
import { BatchError, NetlinkError, Transaction } from 'netsteer';
import { expect, it } from 'vitest';
import { atIndex } from '../../src/errors.ts';

it('a transaction is inspected as its operations', () => {
  const transaction = new Transaction().add({ table: { family: 'ip', name: 'web' } }).flush({ ruleset: {} });
  expect(inspect(transaction, { breakLength: Infinity })).toBe(
    "Transaction [ { add: { table: { family: 'ip', name: 'web' } } }, { flush: { ruleset: {} } } ]",
  );
  const disguised = new Transaction().add({ table: { family: 'ip', name: 'a\u202egnp\u009b' } });
  expect(inspect(disguised)).toContain(String.raw`'a\u202egnp\x9B'`);
});

it('an error is inspected with everything that is known, once', () => {
  const refused = new NetlinkError({ errno: -2, syscall: 'NFT_MSG_NEWRULE', operation: 'nftables.commit' });
  expect(Object.keys(refused)).toEqual(['name', 'code', 'errno', 'syscall', 'path', 'operation']);
  expect(refused.hint).toBeUndefined();
  const error = new BatchError({ failures: [atIndex(refused, 3)], outcome: 'none', applied: [] });
  expect(error.failures).toEqual([refused]);
  expect(inspect(error).match(/NetlinkError: /g)).toHaveLength(1);
});
