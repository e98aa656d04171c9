import { BatchError } from 'netsteer';
import { type Rule, Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { messagesIn } from '../../src/netlink/index.ts';
import { freshNamespaces, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

const TABLE = { family: 'ip', name: 'large' } as const;
const CHAIN = { family: 'ip', table: 'large', name: 'c' } as const;
const PLACE = { family: 'ip', table: 'large', chain: 'c' } as const;
/** Of some 200 bytes each: three chunks. */
const COUNT = 12_000;

const rule = (i: number): Rule => ({
  ...PLACE,
  expressions: [
    { payload: { base: 'network', offset: 16, length: 4, register: 1 } },
    { cmp: { register: 1, op: 'eq', data: (0x0a000000 + i).toString(16).padStart(8, '0') } },
    { counter: { packets: 0n, bytes: 0n } },
  ],
});

function many(change: (transaction: Transaction, i: number) => void = () => {}): Transaction {
  const transaction = new Transaction().add({ table: TABLE }).add({ chain: CHAIN });
  for (let i = 0; i < COUNT; i++) {
    change(transaction, i);
    transaction.add({ rule: rule(i) });
  }
  return transaction;
}

freshNamespaces();

kernelSuite('a transaction on several chunks', () => {
  const places = () =>
    nft.sync.rules().map(({ expressions }) => (expressions as { cmp: { data: string } }[])[1]!.cmp.data);
  const expected = Array.from({ length: COUNT }, (_, i) => (0x0a000000 + i).toString(16).padStart(8, '0'));

  it('numbers its messages in order, and splits none', () => {
    const encoded = many().encode();
    expect(encoded.chunks.length).toBeGreaterThan(2);
    const sequences = encoded.chunks.flatMap(chunk => [...messagesIn(sourceOf(chunk))].map(({ sequence }) => sequence));
    expect(sequences).toEqual(Array.from({ length: COUNT + 4 }, (_, i) => i + 1));
    for (const index of [0, 1, 5000, COUNT + 1]) {
      const message = encoded.messages.at(index)!;
      const [found] = messagesIn(sourceOf(encoded.bytesOf(message)));
      expect(found!.sequence).toBe(index + 2);
    }
    const before = encoded.bytesOf(encoded.messages.at(9000)!).slice();
    expect(encoded.length).toBe(encoded.bytes.length);
    expect(encoded.bytesOf(encoded.messages.at(9000)!)).toEqual(before);
  });

  it('is carried out as a whole, in both forms, and again', async () => {
    const transaction = many();
    await nft.commit(transaction);
    expect(places()).toEqual(expected);
    nft.sync.commit(new Transaction().delete({ table: TABLE }));
    nft.sync.commit(transaction);
    expect(places()).toEqual(expected);
  });

  it('can be extended after it was sent', async () => {
    const transaction = many();
    await nft.commit(transaction);
    await nft.commit(new Transaction().delete({ table: TABLE }));
    transaction.add({ rule: rule(COUNT) });
    await nft.commit(transaction);
    expect(places()).toHaveLength(COUNT + 1);
  });

  it('supports a dry run, a generation and handles', async () => {
    const transaction = many();
    await nft.commit(transaction, { dryRun: true });
    expect(await nft.tables()).toEqual([]);
    const generation = await nft.generation();
    await expect(nft.commit(transaction, { generation: generation + 1 })).rejects.toMatchObject({ code: 'ERESTART' });
    await nft.commit(transaction, { generation });
    expect(places()).toEqual(expected);
    await nft.commit(new Transaction().delete({ table: TABLE }));
    const { handles } = await nft.commit(transaction, { echo: true });
    const listed = (await nft.rules()).map(({ handle }) => handle);
    expect(handles.slice(2)).toEqual(listed);
  });

  it('reports which operation was refused, and where', async () => {
    const at = 9_500;
    const transaction = many((to, i) => {
      if (i === at) to.add({ rule: { ...PLACE, expressions: [{ lookup: { set: 'nowhere', sourceRegister: 1 } }] } });
    });
    const error = await nft.commit(transaction).catch(each => each);
    expect(error).toBeInstanceOf(BatchError);
    expect((error as BatchError).failures).toMatchObject([{ index: at + 2, code: 'ENOENT' }]);
    expect((error as BatchError).failures[0]!.path.slice(0, 2)).toEqual(['rule', 'expressions']);
    expect(await nft.tables()).toEqual([]);
  });

  it('asks the namespace for what its later chunks need', async () => {
    await nft.commit(
      new Transaction().add({ table: TABLE }).add({ set: { ...TABLE, table: 'large', name: 's', key: 'ipv4_addr' } }),
    );
    const transaction = many((to, i) => {
      if (i === 9_000) to.add({ element: { family: 'ip', table: 'large', set: 's', elements: ['192.0.2.1'] } });
    });
    await nft.commit(transaction);
    expect(places()).toEqual(expected);
    const elements = await nft.elements({ ...TABLE, table: 'large', name: 's' }, { as: 'values' });
    expect(elements).toEqual(['192.0.2.1']);
  });
});
