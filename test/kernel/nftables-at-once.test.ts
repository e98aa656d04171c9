import { BatchError, NetNs } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Exchange, OVER } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { Features } from '../../src/nftables/features.ts';
import { openExchange } from '../../src/nftables/nftables.ts';
import { list } from '../../src/nftables/read/listing.ts';
import { readGeneration } from '../../src/nftables/request.ts';
import { commit } from '../../src/nftables/write/commit.ts';
import { kernelSuite } from '../support/where.ts';

/* A short transaction is carried out by the call itself, once the handle knows how this kernel acknowledges one. */

let netns: NetNs;
let exchange: Exchange;
const features = new Features();

beforeEach(() => {
  netns = NetNs.create();
  exchange = openExchange({ netns });
});
afterEach(async () => {
  await exchange.lifetime.close();
  netns.close();
});

const adding = (name: string) => new Transaction().add({ table: { family: 'ip', name } });
const names = () => runNow(list(exchange, 'table', { family: 'ip' })).map(({ name }) => name);

kernelSuite('a short transaction', () => {
  test('is carried out before its operation is run, from the second one on', () => {
    const first = commit(exchange, features, adding('a'));
    if (features.acknowledgesEnd === undefined) expect(first).not.toBe(OVER);
    runNow(first);
    if (features.acknowledgesEnd !== true) return;
    expect(commit(exchange, features, adding('b'))).toBe(OVER);
    expect(names()).toEqual(['a', 'b']);
    const generation = runNow(readGeneration(exchange));
    const shared = adding('c');
    expect(commit(exchange, features, shared, { generation })).toBe(OVER);
    expect(commit(exchange, features, shared, { generation: generation + 1 })).toBe(OVER);
    expect(names()).toEqual(['a', 'b', 'c']);
  });

  test('rejects with the codes of the kernel, of which an operation reads the rest', () => {
    runNow(commit(exchange, features, adding('a')));
    const twice = new Transaction()
      .create({ table: { family: 'ip', name: 'b' } })
      .create({ table: { family: 'ip', name: 'a' } })
      .delete({ table: { family: 'ip', name: 'z' } });
    let error: unknown;
    try {
      runNow(commit(exchange, features, twice));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(BatchError);
    expect((error as BatchError).failures.map(({ index, code }) => [index, code])).toEqual([
      [1, 'EEXIST'],
      [2, 'ENOENT'],
    ]);
    const stale = runNow(readGeneration(exchange)) + 7;
    expect(() => runNow(commit(exchange, features, adding('c'), { generation: stale }))).toThrow(
      expect.objectContaining({ code: 'ERESTART' }),
    );
    // What was refused leaves no answers behind.
    runNow(commit(exchange, features, adding('d')));
    expect(names()).toEqual(['a', 'd']);
  });
});
