import { expect, test } from 'vitest';
import { NETLINK_NETFILTER, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP_INTR, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import * as Nft from '../../src/linux/nf_tables.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { dumpOf } from '../support/nf_tables/transactions.ts';
import {
  type Attribute,
  batchBytes,
  type Message,
  plain,
  requestBytes,
  text,
  u32,
  value,
} from '../support/nf_tables/wire.ts';
import { kernelSuite, where } from '../support/where.ts';

/* A dump in whose midst somebody commits: which of its messages say so (NLM_F_DUMP_INTR). */

const IP = 2;
const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
/** More than two datagrams hold. */
const MANY = 2000;
const T: Attribute = [1, text('t')];
const message = (type: number, ...attributes: Attribute[]): Message => ({ type, flags, family: IP, attributes });
const numbers = Array.from({ length: MANY }, (_, i) => i);
const table = (name: string): Message => message(Nft.NFT_MSG_NEWTABLE, [Nft.NFTA_TABLE_NAME, text(name)]);
const chain = (name: string): Message => message(Nft.NFT_MSG_NEWCHAIN, T, [Nft.NFTA_CHAIN_NAME, text(name)]);
const set = (name: string): Message =>
  message(
    Nft.NFT_MSG_NEWSET,
    T,
    [Nft.NFTA_SET_NAME, text(name)],
    [Nft.NFTA_SET_KEY_LEN, u32(4)],
    [Nft.NFTA_SET_ID, u32(1)],
  );
const list = (type: number, attribute: number, content: Attribute[][]): Attribute => [
  attribute,
  content.map(each => [type, each] as const),
];

/** What there is much of, and what asks for it. */
const KINDS: Readonly<Record<string, { type: number; made: Message[]; of?: Attribute[] }>> = {
  tables: { type: Nft.NFT_MSG_GETTABLE, made: numbers.map(i => table(`t${i}`)) },
  chains: { type: Nft.NFT_MSG_GETCHAIN, made: [table('t'), ...numbers.map(i => chain(`c${i}`))] },
  rules: {
    type: Nft.NFT_MSG_GETRULE,
    made: [
      table('t'),
      chain('c'),
      ...numbers.map(() =>
        message(
          Nft.NFT_MSG_NEWRULE,
          T,
          [Nft.NFTA_RULE_CHAIN, text('c')],
          list(Nft.NFTA_LIST_ELEM, Nft.NFTA_RULE_EXPRESSIONS, [plain('counter')]),
        ),
      ),
    ],
  },
  sets: { type: Nft.NFT_MSG_GETSET, made: [table('t'), ...numbers.map(i => set(`s${i}`))] },
  objects: {
    type: Nft.NFT_MSG_GETOBJ,
    made: [
      table('t'),
      ...numbers.map(i =>
        message(
          Nft.NFT_MSG_NEWOBJ,
          T,
          [Nft.NFTA_OBJ_NAME, text(`o${i}`)],
          [Nft.NFTA_OBJ_TYPE, u32(Nft.NFT_OBJECT_COUNTER)],
          [Nft.NFTA_OBJ_DATA, []],
        ),
      ),
    ],
  },
  elements: {
    type: Nft.NFT_MSG_GETSETELEM,
    of: [T, [Nft.NFTA_SET_ELEM_LIST_SET, text('s')]],
    made: [
      table('t'),
      set('s'),
      message(
        Nft.NFT_MSG_NEWSETELEM,
        T,
        [Nft.NFTA_SET_ELEM_LIST_SET, text('s')],
        list(
          Nft.NFTA_LIST_ELEM,
          Nft.NFTA_SET_ELEM_LIST_ELEMENTS,
          numbers.map(i => [[Nft.NFTA_SET_ELEM_KEY, value(u32(i))]]),
        ),
      ),
    ],
  },
};

/** Of each datagram of a dump, whether its first and its last message say that it was interrupted. A commit comes behind the first. */
async function marks(netns: NetNs, kind: string): Promise<string[]> {
  const { type, made, of = [] } = KINDS[kind]!;
  const writer = new KernelSide(netns);
  const refused = writer.ask(batchBytes(made, 1)).filter(line => !line.startsWith('errno 0') && line !== '--');
  expect(refused).toEqual([]);
  const reader = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
  const request = requestBytes(dumpOf(type, IP, of), 1);
  reader.send(request, request.length);
  const buffer = Buffer.alloc(1 << 18);
  const told: string[] = [];
  for (let isOver = false; !isOver; ) {
    const length = reader.receive(buffer);
    if (length <= 0) break;
    const marked: boolean[] = [];
    for (let at = 0; at < length; at += (buffer.readUInt32LE(at) + 3) & ~3) {
      marked.push((buffer.readUInt16LE(at + 6) & NLM_F_DUMP_INTR) !== 0);
      isOver = buffer.readUInt16LE(at + 4) === 3;
    }
    told.push(`${marked[0]} ${marked.at(-1)}${isOver ? ' end' : ''}`);
    if (told.length === 1) writer.ask(batchBytes([table('another')], 5000));
  }
  await reader.close();
  await writer.close();
  return told;
}

kernelSuite('A dump of a kernel in memory', () => {
  test.runIf(where === 'host').each(Object.keys(KINDS))(
    'says in the same datagrams as that of this kernel that a commit came between: %s',
    async kind => {
      const expected = await marks(NetNs.create(), kind);
      const actual = await marks(MemoryKernel.create({ release: '6.18' }).container('memory').netns, kind);
      if (kind === 'elements') {
        // They are never marked, and come in other datagrams: as many as there is room for, in an order of the kernel's own.
        for (const each of [...expected, ...actual]) expect(each).toMatch(/^false false/);
        return;
      }
      // How many datagrams follow depends on how full the kernel makes them.
      expect(actual.slice(0, 4)).toEqual(expected.slice(0, 4));
      expect(actual.at(-1)).toBe(expected.at(-1));
      expect(actual.filter(each => each.startsWith('true'))).toHaveLength(1);
      expect(expected.filter(each => each.startsWith('true'))).toHaveLength(1);
    },
  );
});
