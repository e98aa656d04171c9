import { expect, test } from 'vitest';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import * as Nft from '../../src/linux/nf_tables.ts';
import { NetNs } from '../../src/netns/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { dumpOf } from '../support/nf_tables/transactions.ts';
import { type Attribute, batchBytes, type Message, requestBytes, text, u32 } from '../support/nf_tables/wire.ts';
import { kernelSuite, where } from '../support/where.ts';

/* What a program sees of tables that belong to the socket of another, and of dumps in whose midst somebody commits. */

const INET = 1;
const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
const OWNER = Nft.NFT_TABLE_F_OWNER;

const message = (type: number, ...attributes: Attribute[]): Message => ({ type, flags, family: INET, attributes });
const table = (name: string, bits: number): Message =>
  message(Nft.NFT_MSG_NEWTABLE, [Nft.NFTA_TABLE_NAME, text(name)], [Nft.NFTA_TABLE_FLAGS, u32(bits)]);
const chain = (inTable: string, name: string): Message =>
  message(Nft.NFT_MSG_NEWCHAIN, [Nft.NFTA_CHAIN_TABLE, text(inTable)], [Nft.NFTA_CHAIN_NAME, text(name)]);

/** Two programs in a namespace: what both are answered and told, and what there is in the end. */
async function ownersGo(netns: NetNs): Promise<string[]> {
  const watcher = new KernelSide(netns);
  const owner = new KernelSide(netns);
  const lines: string[] = [];
  const tell = (said: readonly string[]) => lines.push(...said.filter(line => line !== '--'));
  const batch = (kernel: KernelSide, ...messages: Message[]) => tell(kernel.ask(batchBytes(messages, 10)));
  const look = () => {
    lines.push('events');
    tell(watcher.events());
    for (const type of [Nft.NFT_MSG_GETGEN, Nft.NFT_MSG_GETTABLE, Nft.NFT_MSG_GETCHAIN])
      tell(watcher.ask(requestBytes(dumpOf(type), 1)));
  };
  batch(owner, table('mine', OWNER), chain('mine', 'c'), table('kept', OWNER | Nft.NFT_TABLE_F_PERSIST));
  look();
  // Not the watcher's to change, to delete or to take over.
  batch(watcher, chain('mine', 'd'));
  batch(watcher, message(Nft.NFT_MSG_DELTABLE, [Nft.NFTA_TABLE_NAME, text('mine')]));
  batch(watcher, table('kept', OWNER | Nft.NFT_TABLE_F_PERSIST));
  look();
  await owner.close();
  look();
  // What persists has no owner now, and can get another.
  batch(watcher, table('kept', OWNER | Nft.NFT_TABLE_F_PERSIST));
  look();
  await watcher.close();
  return lines;
}

kernelSuite('Tables with owners in a kernel in memory', () => {
  test.runIf(where === 'host')('go with the socket that owns them, as with this kernel', async () => {
    const expected = await ownersGo(NetNs.create());
    const actual = await ownersGo(MemoryKernel.create({ release: '6.18' }).container('memory').netns);
    expect(actual).toEqual(expected);
    expect(expected.filter(line => line.startsWith('errno -1')).length).toBeGreaterThan(0);
  });
});
