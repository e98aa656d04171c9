import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Container } from '../../src/container/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { type DesiredRuleset, Nftables, Transaction } from '../../src/nftables/index.ts';
import { OtherProcess } from '../support/other-process.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

const ROUNDS = isLong ? 2000 : where === 'host' ? 40 : 10;
const LONG = patience(3_600_000);

let netns: NetNs;
let nft: Nftables;
let path: string;

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  path = `/proc/${process.pid}/fd/${netns.descriptor}`;
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

const OWNER = { prefix: 'mine' };

function desired(version: number): DesiredRuleset {
  const place = { family: 'ip', table: 'mine' } as const;
  return {
    tables: [{ family: 'ip', name: 'mine' }],
    chains: [{ ...place, name: 'c', type: 'filter', hook: 'input', priority: 0 }],
    rules: Array.from({ length: 20 }, (_, i) => ({
      ...place,
      chain: 'c',
      expressions: [{ counter: {} }],
      comment: `${i < 10 ? 'stays' : version} ${i}`,
    })),
    sets: [{ ...place, name: 's', key: 'mark', elements: [1, 2, version + 10] }],
  };
}

/** The marks in a set of somebody else's. */
const marksIn = (name: string): number[] =>
  nft.sync
    .elements({ family: 'ip', table: 'foreign', name }, { as: 'values' })
    .map(element =>
      typeof element === 'object' && element !== null && 'key' in element ? Number(element.key) : Number(element),
    )
    .sort((a, b) => a - b);

kernelSuite('a reconciliation beside another writer in the namespace', () => {
  test('reaches the desired state each time beside nft, and neither loses nor touches what nft made', {
    timeout: LONG,
  }, async () => {
    nft.sync.apply({
      nftables: [
        { add: { table: { family: 'ip', name: 'foreign' } } },
        { add: { set: { family: 'ip', table: 'foreign', name: 's', type: 'mark' } } },
      ],
    });
    // Tables that come and go, a set that grows, and rules in tables of its own that stay.
    const script = `
      i=1
      trap 'echo "added $((i-1))"; exit 0' TERM
      while :; do
        nft add element ip foreign s "{ $i }" || exit 3
        nft -f - <<END || exit 4
add table inet comes
add chain inet comes c
add rule inet comes c counter comment "theirs"
END
        nft delete table inet comes || exit 5
        [ $i = 1 ] && echo begun
        i=$((i+1))
      done`;
    const other = netns.run(() => new OtherProcess('bash', ['-c', script]));
    await other.says('begun');
    for (let version = 0; version < ROUNDS; version++) {
      await nft.reconcile(desired(version), OWNER);
      expect((await nft.plan(desired(version), OWNER)).operations).toEqual([]);
      await turn();
      expect(other.running, other.said).toBe(true);
    }
    const added = Number(/added (\d+)/.exec(await other.end())?.[1]);
    expect(added).toBeGreaterThan(0);
    // The last one may have been interrupted between the set and its count.
    expect(marksIn('s').slice(0, added)).toEqual(Array.from({ length: added }, (_, i) => i + 1));
    expect(marksIn('s').length).toBeLessThanOrEqual(added + 1);
  });

  test('restores what nft changed in our table', { timeout: LONG }, async () => {
    await nft.reconcile(desired(0), OWNER);
    const script = `
      trap 'exit 0' TERM
      while :; do
        nft add rule ip mine c counter comment '"theirs"' 2>/dev/null
        nft add element ip mine s '{ 99 }' 2>/dev/null
        nft delete element ip mine s '{ 1 }' 2>/dev/null
        echo turn
      done`;
    const other = netns.run(() => new OtherProcess('bash', ['-c', script]));
    await other.says('turn');
    for (let version = 0; version < ROUNDS; version++) {
      await nft.reconcile(desired(version), OWNER);
      await turn();
    }
    await other.end();
    const { operations } = await nft.reconcile(desired(0), OWNER);
    expect(operations.length).toBeGreaterThan(0);
    expect((await nft.plan(desired(0), OWNER)).operations).toEqual([]);
  });

  test('reaches its state beside a second netsteer with its own tables', { timeout: LONG }, async () => {
    const theirs = { ...desired(0), tables: [{ family: 'ip', name: 'theirs' }] };
    const program = `
      import { NetNs } from './netns/index.js';
      import { Nftables } from './nftables/index.js';
      const nft = Nftables.open({ netns: NetNs.open({ path: '${path}' }) });
      for (let i = 0; i < ${ROUNDS}; i++) {
        const place = { family: 'ip', table: 'theirs' };
        const wanted = {
          tables: ${JSON.stringify(theirs.tables)},
          chains: [{ ...place, name: 'c' }],
          rules: [{ ...place, chain: 'c', expressions: [{ counter: {} }], comment: 'version ' + i }],
        };
        await nft.reconcile(wanted, { prefix: 'theirs' });
        if ((await nft.plan(wanted, { prefix: 'theirs' })).operations.length > 0) throw new Error('not as wanted');
        if (i === 0) console.log('begun');
      }`;
    const other = OtherProcess.netsteer(program);
    await other.says('begun');
    let version = 0;
    for (; version < ROUNDS || other.running; version++) {
      await nft.reconcile(desired(version), OWNER);
      expect((await nft.plan(desired(version), OWNER)).operations).toEqual([]);
      // What is short is done on the spot: the event loop would never hear that the other has ended.
      await turn();
    }
    await other.done();
    expect((await nft.plan(desired(version - 1), OWNER)).operations).toEqual([]);
    expect(nft.sync.rules({ family: 'ip', table: 'theirs' }).map(({ comment }) => comment)).toEqual([
      `version ${ROUNDS - 1}`,
    ]);
  });

  test('loses no redirects beside a second netsteer that uses the same table', { timeout: LONG }, async () => {
    const program = `
      import { NetNs } from './netns/index.js';
      import { Container } from './container/index.js';
      const container = Container.open({ netns: NetNs.open({ path: '${path}' }) });
      for (let i = 0; i < ${ROUNDS}; i++) {
        await container.redirects.add([{ protocol: 'tcp', address: '10.2.' + (i >> 8) + '.' + (i & 255), port: 80 }]);
        if (i === 0) console.log('begun');
      }
      container.close();`;
    const other = OtherProcess.netsteer(program);
    const container = Container.open({ netns });
    for (let i = 0; i < ROUNDS; i++) {
      await container.redirects.add([{ protocol: 'tcp', address: `10.1.${i >> 8}.${i & 255}`, port: 80 }]);
      if (i === 0) await other.says('begun');
    }
    await other.done();
    const addresses = (await container.redirects.list()).map(({ address }) => address);
    const wanted = [1, 2].flatMap(who => Array.from({ length: ROUNDS }, (_, i) => `10.${who}.${i >> 8}.${i & 255}`));
    expect(addresses.sort()).toEqual(wanted.sort());
    await container[Symbol.asyncDispose]();
  });

  test('loses no update where the transactions of both change one set', { timeout: LONG }, async () => {
    nft.sync.apply({
      nftables: [
        { add: { table: { family: 'ip', name: 'foreign' } } },
        { add: { set: { family: 'ip', table: 'foreign', name: 'both', type: 'mark' } } },
      ],
    });
    const script = `for i in $(seq 1 ${ROUNDS}); do nft add element ip foreign both "{ $i }" || exit 3; [ $i = 1 ] && echo begun; done; exit 0`;
    const other = netns.run(() => new OtherProcess('bash', ['-c', script]));
    await other.says('begun');
    for (let i = 1; i <= ROUNDS; i++) {
      const elements = [100_000 + i];
      await nft.commit(
        new Transaction().add({
          element: { family: 'ip', table: 'foreign', set: 'both', type: { key: 'mark' }, elements },
        }),
      );
    }
    await other.done();
    const numbers = Array.from({ length: ROUNDS }, (_, i) => i + 1);
    expect(marksIn('both')).toEqual([...numbers, ...numbers.map(i => 100_000 + i)]);
  });
});
