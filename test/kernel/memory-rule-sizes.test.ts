import { afterAll, beforeAll, expect, test } from 'vitest';
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import * as Nft from '../../src/linux/nf_tables.ts';
import { NetNs } from '../../src/netns/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { KernelSide } from '../support/nf_tables/kernel-side.ts';
import { knownModules } from '../support/nf_tables/known-modules.ts';
import { type Attribute, batchBytes, expression, text, u32, u64, value } from '../support/nf_tables/wire.ts';
import { kernelSuite, where } from '../support/where.ts';

/* A rule of 4,096 bytes is EFBIG. The kernel adds up the sizes of its own structures, so each kind of expression shows how long it is. */

const [IP, NETDEV] = [2, 5];
const TOO_LARGE = 'errno -27';
const OF_THE_KIND = 10;
/** What a rule takes beside them, and what it does not, in units of 8 bytes. */
const [LEAST, MOST] = [384, 512];

const load = (register: number): Attribute => [Nft.NFTA_CMP_SREG, u32(register)];
const equal: Attribute = [Nft.NFTA_CMP_OP, u32(Nft.NFT_CMP_EQ)];
const bytes = (length: number): Attribute => [Nft.NFTA_CMP_DATA, value(Buffer.alloc(length))];
const bitwise = (length: number, ...more: Attribute[]): Attribute[] =>
  expression(
    'bitwise',
    [Nft.NFTA_BITWISE_LEN, u32(length)],
    [Nft.NFTA_BITWISE_SREG, u32(1)],
    [Nft.NFTA_BITWISE_DREG, u32(1)],
    ...more,
  );
const payload = (register: number): Attribute[] =>
  expression(
    'payload',
    [Nft.NFTA_PAYLOAD_BASE, u32(1)],
    [Nft.NFTA_PAYLOAD_OFFSET, u32(0)],
    [Nft.NFTA_PAYLOAD_LEN, u32(4)],
    [register, u32(1)],
  );
const numgen = (type: number): Attribute[] =>
  expression('numgen', [Nft.NFTA_NG_DREG, u32(1)], [Nft.NFTA_NG_MODULUS, u32(2)], [Nft.NFTA_NG_TYPE, u32(type)]);
/** nf_tables_compat.h */
const [MATCH_NAME, MATCH_REVISION, MATCH_INFO] = [1, 2, 3];
const match = (name: string, revision: number, length: number): Attribute[] =>
  expression('match', [MATCH_NAME, text(name)], [MATCH_REVISION, u32(revision)], [MATCH_INFO, Buffer.alloc(length)]);
const meta = expression('meta', [Nft.NFTA_META_KEY, u32(3)], [Nft.NFTA_META_DREG, u32(1)]);

/** Each needs no more than to be chosen: what is wrong with it otherwise is found later. */
const KINDS: Readonly<Record<string, readonly Attribute[]>> = {
  'cmp of 4 bytes': expression('cmp', load(1), equal, bytes(4)),
  'cmp of 8 bytes': expression('cmp', load(1), equal, bytes(8)),
  'cmp of 8 bytes in an even register of 4': expression('cmp', load(20), equal, bytes(8)),
  'cmp of 8 bytes in an odd register of 4': expression('cmp', load(9), equal, bytes(8)),
  'cmp of 8 bytes in one of the last registers': expression('cmp', load(22), equal, bytes(8)),
  'cmp that is greater': expression('cmp', load(1), [Nft.NFTA_CMP_OP, u32(Nft.NFT_CMP_GT)], bytes(4)),
  'bitwise of 4 bytes': bitwise(4),
  'bitwise of 8 bytes': bitwise(8),
  'bitwise that shifts 4 bytes': bitwise(4, [Nft.NFTA_BITWISE_OP, u32(Nft.NFT_BITWISE_LSHIFT)]),
  'payload that is read': payload(Nft.NFTA_PAYLOAD_DREG),
  'payload that is written': payload(Nft.NFTA_PAYLOAD_SREG),
  'numgen inc': numgen(0),
  'numgen random': numgen(1),
  jhash: expression('hash', [Nft.NFTA_HASH_TYPE, u32(0)]),
  symhash: expression('hash', [Nft.NFTA_HASH_TYPE, u32(1)]),
  'limit of packets': expression('limit', [Nft.NFTA_LIMIT_TYPE, u32(0)]),
  'limit of bytes': expression('limit', [Nft.NFTA_LIMIT_TYPE, u32(1)]),
  'objref by name': expression('objref', [Nft.NFTA_OBJREF_IMM_NAME, text('o')], [Nft.NFTA_OBJREF_IMM_TYPE, u32(1)]),
  'objref by key': expression('objref', [Nft.NFTA_OBJREF_SET_SREG, u32(1)], [Nft.NFTA_OBJREF_SET_NAME, text('s')]),
  meta,
  'ct that is read': expression('ct', [Nft.NFTA_CT_KEY, u32(0)], [Nft.NFTA_CT_DREG, u32(1)]),
  'ct that is written': expression('ct', [Nft.NFTA_CT_KEY, u32(3)], [Nft.NFTA_CT_SREG, u32(1)]),
  exthdr: expression('exthdr', [Nft.NFTA_EXTHDR_DREG, u32(1)]),
  fib: expression('fib', [Nft.NFTA_FIB_RESULT, u32(1)]),
  dup: expression('dup'),
  quota: expression('quota', [Nft.NFTA_QUOTA_BYTES, u64(1)]),
  'match of a length': match('length', 0, 8),
  'match of ports': match('multiport', 1, 48),
  'match of a comment, which is kept elsewhere': match('comment', 0, 256),
  ...Object.fromEntries(
    [
      'byteorder',
      'connlimit',
      'counter',
      'dynset',
      'immediate',
      'inner',
      'last',
      'log',
      'lookup',
      'masq',
      'nat',
      'notrack',
      'osf',
      'queue',
      'range',
      'redir',
      'reject',
      'rt',
      'socket',
      'synproxy',
      'tproxy',
      'flow_offload',
      'xfrm',
    ].map(name => [name, expression(name)]),
  ),
};
const OF_DEVICES: Readonly<Record<string, readonly Attribute[]>> = {
  fwd: expression('fwd', [Nft.NFTA_FWD_SREG_DEV, u32(1)]),
  'fwd to nowhere': expression('fwd'),
  'fwd to a neighbour': expression('fwd', [Nft.NFTA_FWD_SREG_ADDR, u32(1)]),
  tunnel: expression('tunnel', [Nft.NFTA_TUNNEL_KEY, u32(0)], [Nft.NFTA_TUNNEL_DREG, u32(1)]),
};
/** 64 and 8 bytes. */
const LONG = bitwise(8);
const SHORT = expression('notrack');

function answer(kernel: KernelSide, family: number, expressions: readonly (readonly Attribute[])[]): string {
  const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  const table: Attribute = [1, text('t')];
  const rule: Attribute[] = [
    table,
    [Nft.NFTA_RULE_CHAIN, text('c')],
    [Nft.NFTA_RULE_EXPRESSIONS, expressions.map(each => [Nft.NFTA_LIST_ELEM, each] as const)],
  ];
  const messages = [
    { type: Nft.NFT_MSG_NEWTABLE, flags, family, attributes: [table] },
    { type: Nft.NFT_MSG_NEWCHAIN, flags, family, attributes: [table, [Nft.NFTA_CHAIN_NAME, text('c')] as Attribute] },
    { type: Nft.NFT_MSG_NEWRULE, flags: flags | NLM_F_APPEND, family, attributes: rule },
    // Nothing of it is to stay.
    { type: Nft.NFT_MSG_DELTABLE, flags, family, attributes: [[1, text('absent')] as Attribute] },
  ];
  const said = kernel.ask(batchBytes(messages, 1)).filter(line => line !== '--');
  return said.find(line => line.endsWith(' of 4')) ?? said.join();
}

/** How much fits beside ten expressions of a kind, in units of 8 bytes. */
function room(kernel: KernelSide, family: number, kind: readonly Attribute[]): number | string {
  const said = (units: number) =>
    answer(kernel, family, [
      ...Array.from({ length: OF_THE_KIND }, () => kind),
      ...Array.from({ length: units >> 3 }, () => LONG),
      ...Array.from({ length: units & 7 }, () => SHORT),
    ]);
  if (said(0).startsWith('errno -2 ')) return 'unknown';
  let [fits, not] = [LEAST, MOST];
  while (not - fits > 1) {
    const middle = (fits + not) >> 1;
    if (said(middle).startsWith(TOO_LARGE)) not = middle;
    else fits = middle;
  }
  return fits;
}

kernelSuite('A rule of a kernel in memory', () => {
  let real: KernelSide;
  let memory: KernelSide;
  beforeAll(() => {
    real = new KernelSide(NetNs.create());
    const release = where === 'host' ? '6.18' : (where as '6.1' | '6.12');
    const modules = knownModules(real);
    memory = new KernelSide(MemoryKernel.create({ release, modules }).container('memory').netns);
  });
  afterAll(() => Promise.all([real.close(), memory.close()]));

  test('is EFBIG from the same number of expressions on as with this kernel', () => {
    const rooms: Record<string, number | string>[] = [{}, {}];
    for (const [i, kernel] of [real, memory].entries())
      for (const [family, kinds] of [
        [IP, KINDS],
        [NETDEV, OF_DEVICES],
      ] as const)
        for (const [name, kind] of Object.entries(kinds)) rooms[i]![name] = room(kernel, family, kind);
    expect(rooms[1]).toEqual(rooms[0]);
    // Those that this kernel does not know are few.
    const known = Object.values(rooms[0]!).filter(each => typeof each === 'number' && each > LEAST && each < MOST - 1);
    expect(known.length).toBeGreaterThan(Object.keys(rooms[0]!).length * 0.8);
  });
});
