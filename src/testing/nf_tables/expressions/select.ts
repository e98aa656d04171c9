import * as Nft from '../../../linux/nf_tables.ts';
import { isSince } from '../../machine/state.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { limited, needed, type RuleContext } from '../context.ts';
import { readData } from '../data.ts';

/*
 * What the kernel refuses when it chooses the operations of an expression (select_ops): it does so for all expressions of a rule before it
 * reads the first of them.
 */

type Select = (attributes: Attributes | undefined, context: RuleContext) => void;

const U8_MAX = 255;
const U16_MAX = 65_535;
/** struct nft_data */
const DATA_LENGTH = 16;
/** Offsets of 16 bits. */
const WIDE = [6, 18] as const;
/** Options of DCCP are left out of most kernels. */
const WITHOUT_DCCP = [6, 18] as const;

/** Two registers exclude each other, and one is needed. */
function oneOf(attributes: Attributes | undefined, target: number, source: number): void {
  if (attributes?.has(target) === attributes?.has(source)) refuse(EINVAL);
}

export const SELECT: Readonly<Record<string, Select>> = {
  meta(attributes) {
    needed(attributes, Nft.NFTA_META_KEY);
    oneOf(attributes, Nft.NFTA_META_DREG, Nft.NFTA_META_SREG);
  },
  ct(attributes) {
    needed(attributes, Nft.NFTA_CT_KEY);
    oneOf(attributes, Nft.NFTA_CT_DREG, Nft.NFTA_CT_SREG);
  },
  bitwise(attributes) {
    for (const type of [Nft.NFTA_BITWISE_LEN, Nft.NFTA_BITWISE_SREG, Nft.NFTA_BITWISE_DREG]) needed(attributes, type);
    limited(attributes!.u32be(Nft.NFTA_BITWISE_LEN)!, U8_MAX);
  },
  payload(attributes, { isInner, work }) {
    for (const type of [Nft.NFTA_PAYLOAD_BASE, Nft.NFTA_PAYLOAD_OFFSET, Nft.NFTA_PAYLOAD_LEN]) needed(attributes, type);
    const base = attributes!.u32be(Nft.NFTA_PAYLOAD_BASE)!;
    if (base > (isInner === true ? Nft.NFT_PAYLOAD_TUN_HEADER : Nft.NFT_PAYLOAD_INNER_HEADER)) refuse(EOPNOTSUPP);
    const hasTarget = attributes!.has(Nft.NFTA_PAYLOAD_DREG);
    if (attributes!.has(Nft.NFTA_PAYLOAD_SREG)) {
      if (hasTarget) refuse(EINVAL);
      return;
    }
    if (!hasTarget) refuse(EINVAL);
    limited(attributes!.u32be(Nft.NFTA_PAYLOAD_OFFSET)!, isSince(work.engine.release, WIDE) ? U16_MAX : U8_MAX);
    limited(attributes!.u32be(Nft.NFTA_PAYLOAD_LEN)!, U8_MAX);
  },
  exthdr(attributes, { table, work }) {
    const op = attributes?.u32be(Nft.NFTA_EXTHDR_OP);
    if (op === undefined) return;
    const hasTarget = attributes!.has(Nft.NFTA_EXTHDR_DREG);
    if (hasTarget && attributes!.has(Nft.NFTA_EXTHDR_SREG)) refuse(EOPNOTSUPP);
    if (op === Nft.NFT_EXTHDR_OP_TCPOPT) return;
    if (op === Nft.NFT_EXTHDR_OP_DCCP && isSince(work.engine.release, WITHOUT_DCCP)) refuse(EOPNOTSUPP);
    if (op > Nft.NFT_EXTHDR_OP_DCCP || !hasTarget) refuse(EOPNOTSUPP);
    if (op === Nft.NFT_EXTHDR_OP_IPV4 && table.family === 10) refuse(EOPNOTSUPP);
  },
  fib(attributes, { table }) {
    // Tables of both families have no choice.
    if (table.family !== 2 && table.family !== 10) return;
    needed(attributes, Nft.NFTA_FIB_RESULT);
    const result = attributes!.u32be(Nft.NFTA_FIB_RESULT)!;
    if (result < Nft.NFT_FIB_RESULT_OIF || result > Nft.NFT_FIB_RESULT_ADDRTYPE) refuse(EOPNOTSUPP);
  },
  hash(attributes) {
    if ((attributes?.u32be(Nft.NFTA_HASH_TYPE) ?? 0) > Nft.NFT_HASH_SYM) refuse(EOPNOTSUPP);
  },
  numgen(attributes) {
    for (const type of [Nft.NFTA_NG_DREG, Nft.NFTA_NG_MODULUS, Nft.NFTA_NG_TYPE]) needed(attributes, type);
    if (attributes!.u32be(Nft.NFTA_NG_TYPE)! > Nft.NFT_NG_RANDOM) refuse(EINVAL);
  },
  cmp(attributes, context) {
    for (const type of [Nft.NFTA_CMP_SREG, Nft.NFTA_CMP_OP, Nft.NFTA_CMP_DATA]) needed(attributes, type);
    if (attributes!.u32be(Nft.NFTA_CMP_OP)! > Nft.NFT_CMP_GTE) refuse(EINVAL);
    readData(context, attributes!, attributes!.get(Nft.NFTA_CMP_DATA)!, DATA_LENGTH, { wants: 'value' });
  },
  objref(attributes) {
    const byKey =
      attributes?.has(Nft.NFTA_OBJREF_SET_SREG) &&
      (attributes.has(Nft.NFTA_OBJREF_SET_NAME) || attributes.has(Nft.NFTA_OBJREF_SET_ID));
    const byName = attributes?.has(Nft.NFTA_OBJREF_IMM_NAME) && attributes.has(Nft.NFTA_OBJREF_IMM_TYPE);
    if (!byKey && !byName) refuse(EOPNOTSUPP);
  },
  fwd(attributes) {
    if (!attributes?.has(Nft.NFTA_FWD_SREG_ADDR) && !attributes?.has(Nft.NFTA_FWD_SREG_DEV)) refuse(EOPNOTSUPP);
  },
  limit(attributes) {
    if ((attributes?.u32be(Nft.NFTA_LIMIT_TYPE) ?? 0) > Nft.NFT_LIMIT_PKT_BYTES) refuse(EOPNOTSUPP);
  },
};
