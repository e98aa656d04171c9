import * as Nft from '../../../linux/nf_tables.ts';
import { isSince, type Release } from '../../machine/state.ts';
import type { Attributes } from '../../wire/attributes.ts';
import type { Parsed } from '../context.ts';
import { INFO } from './xt.ts';

/*
 * How much memory an expression takes in a rule: the kernel refuses rules of 4,096 bytes and more. The numbers are the sizes of the structures
 * of its own that it keeps for each kind, as its type information (BTF) has them.
 */

/** struct nft_expr, in front of each. */
const HEADER = 8;
const WORD = 8;

type SizeOf = (data: Attributes | undefined, release: Release) => number;

const PRIVATE: Readonly<Record<string, number | SizeOf>> = {
  byteorder: 8,
  connlimit: 16,
  counter: 8,
  ct: 4,
  dup: 2,
  dynset: 88,
  exthdr: 7,
  fib: 8,
  flow_offload: 8,
  immediate: 24,
  inner: 24,
  last: 8,
  log: 24,
  lookup: 48,
  masq: 8,
  meta: 4,
  nat: 8,
  notrack: 0,
  osf: 8,
  queue: 8,
  quota: 24,
  range: 40,
  redir: 4,
  reject: 4,
  rt: 4,
  socket: 8,
  synproxy: 4,
  tproxy: 3,
  tunnel: 4,
  xfrm: 8,
  fwd: 3,
  bitwise(data) {
    const isMask = (data?.u32be(Nft.NFTA_BITWISE_OP) ?? Nft.NFT_BITWISE_MASK_XOR) === Nft.NFT_BITWISE_MASK_XOR;
    return data?.u32be(Nft.NFTA_BITWISE_LEN) === 4 && isMask ? 12 : 56;
  },
  cmp(data) {
    const op = data?.u32be(Nft.NFTA_CMP_OP);
    if (op !== Nft.NFT_CMP_EQ && op !== Nft.NFT_CMP_NEQ) return 24;
    const length = data?.nested(Nft.NFTA_CMP_DATA)?.get(Nft.NFTA_DATA_VALUE)?.bytes.length ?? 0;
    if (length <= 4) return 12;
    return isWholeRegister(data?.u32be(Nft.NFTA_CMP_SREG) ?? 0) ? 40 : 24;
  },
  hash: data => (data?.u32be(Nft.NFTA_HASH_TYPE) === Nft.NFT_HASH_SYM ? 12 : 16),
  limit: data => (data?.u32be(Nft.NFTA_LIMIT_TYPE) === Nft.NFT_LIMIT_PKT_BYTES ? 40 : 48),
  match: data => extension(data, LARGE_MATCH),
  numgen: data => (data?.u32be(Nft.NFTA_NG_TYPE) === Nft.NFT_NG_RANDOM ? 12 : 24),
  objref: data => (data?.has(Nft.NFTA_OBJREF_SET_SREG) === true ? 48 : 8),
  payload: (data, release) => (data?.has(Nft.NFTA_PAYLOAD_SREG) === true && isSince(release, WIDE) ? 12 : 8),
  target: data => extension(data, Number.POSITIVE_INFINITY),
};

/** Offsets of 16 bits made the structure longer. */
const WIDE = [6, 18] as const;
/** NFT_MATCH_LARGE_THRESH: larger ones are kept elsewhere. */
const LARGE_MATCH = 192;

function extension(data: Attributes | undefined, most: number): number {
  const length = aligned(data?.get(INFO)?.bytes.length ?? 0);
  return HEADER + length > most ? WORD : length;
}

/** The registers of 16 bytes, and those of 4 that are the first half of 8, up to the one with 16 bytes behind it. */
const [FIRST_OF_16, LAST_OF_16, FIRST_OF_4, LAST_OF_4] = [1, 4, 8, 20];

const isWholeRegister = (register: number): boolean =>
  (register >= FIRST_OF_16 && register <= LAST_OF_16) ||
  (register >= FIRST_OF_4 && register <= LAST_OF_4 && register % 2 === 0);

const aligned = (length: number): number => (length + WORD - 1) & -WORD;

/** The bytes that an expression takes in a rule. */
export function sizeOf({ name, data }: Parsed, release: Release): number {
  const own = PRIVATE[name]!;
  return HEADER + aligned(typeof own === 'number' ? own : own(data, release));
}
