import { Nftables, type Rule, Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

const TABLE = { family: 'ip', name: 't' } as const;
const PLACE = { family: 'ip', table: 't', chain: 'c' } as const;
/** The most bytes that the kernel gives at once. */
const PART_BYTES = 32 * 1024;
const COUNT = 5_000;
const numbered = (i: number, comment = `rule ${i}`): Rule => ({ ...PLACE, expressions: [{ counter: {} }], comment });

freshNamespaces();

function filled(count: number): Transaction {
  const transaction = new Transaction()
    .add({ table: TABLE })
    .add({ chain: { family: 'ip', table: 't', name: 'c' } })
    .add({ chain: { family: 'ip', table: 't', name: 'd' } })
    .add({ rule: { ...PLACE, chain: 'd', expressions: [], comment: 'another' } });
  for (let i = 0; i < count; i++) transaction.add({ rule: numbered(i) });
  return transaction;
}

kernelSuite('an iteration over rules', () => {
  it('gives the rules that `rules` gives, in both forms', async () => {
    await nft.commit(filled(COUNT));
    for (const filter of [{}, { family: 'ip' as const }, { family: 'ip' as const, table: 't' }, PLACE]) {
      const expected = await nft.rules(filter);
      const found = [];
      for await (const rule of nft.eachRule(filter)) found.push(rule);
      expect(found).toEqual(expected);
      expect([...nft.eachRule(filter)]).toEqual(expected);
    }
    expect([...nft.eachRule({ family: 'ip', table: 'other' })]).toEqual([]);
    expect([...nft.eachRule({ family: 'ip6' })]).toEqual([]);
  });

  it('asks the kernel for no more than one part ahead, and rejects a commit of others in between with ERR_DUMP_INTERRUPTED', async () => {
    await nft.commit(filled(COUNT));
    // The kernel makes a part when it is asked for it. A part that it has not made knows of a commit that comes now.
    for (const form of ['for', 'for await']) {
      const iteration = nft.eachRule(PLACE);
      const rules = form === 'for' ? iteration[Symbol.iterator]() : iteration[Symbol.asyncIterator]();
      const first = await rules.next();
      expect(first.value?.comment).toBe('rule 0');
      await using other = Nftables.open({ netns });
      await other.commit(new Transaction().add({ rule: numbered(COUNT, form) }));
      let given = 1;
      const rest = async () => {
        while (!(await rules.next()).done) given++;
      };
      await expect(rest()).rejects.toMatchObject({ code: 'ERR_DUMP_INTERRUPTED' });
      // A rule takes more than 80 bytes; two parts were made before the commit at most.
      expect(given).toBeLessThan((3 * PART_BYTES) / 80);
    }
  });

  it('lets the handle do other things meanwhile, and ends when the loop is left', async () => {
    await nft.commit(filled(COUNT));
    let given = 0;
    for await (const { handle } of nft.eachRule(PLACE)) {
      expect((await nft.rule({ ...PLACE, handle: handle! }))?.handle).toBe(handle);
      if (++given === 10) break;
    }
    for (const { handle } of nft.eachRule(PLACE)) {
      expect(nft.sync.rule({ ...PLACE, handle: handle! })?.handle).toBe(handle);
      if (++given === 20) break;
    }
    expect(given).toBe(20);
    expect(await nft.rules(PLACE)).toHaveLength(COUNT);
  });

  it('ends with the reason of its signal, and rejects a wrong filter with ERR_MISSING and a closed handle with ERR_CLOSED', async () => {
    await nft.commit(filled(COUNT));
    const controller = new AbortController();
    const reason = new Error('enough');
    let given = 0;
    const all = async () => {
      for await (const _ of nft.eachRule({ signal: controller.signal })) if (++given === 1) controller.abort(reason);
    };
    await expect(all()).rejects.toBe(reason);
    expect(given).toBeLessThan(COUNT);
    expect(() => nft.eachRule({ table: 't' })).toThrow(expect.objectContaining({ code: 'ERR_MISSING' }));
    const other = Nftables.open({ netns });
    const iteration = other.eachRule();
    other.close();
    expect(() => other.eachRule()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    expect(() => [...iteration]).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });
});
