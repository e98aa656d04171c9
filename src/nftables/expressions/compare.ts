import { attribute, attributes, named, opt, U32_BE, u32be } from '../../codec/index.ts';
import * as C from '../constants.ts';
import { DATA } from '../data.ts';

/** Puts a value into a register; register 0 is the verdict. */
const immediate = attributes('NFTA_IMMEDIATE', {
  register: u32be(C.NFTA_IMMEDIATE_DREG),
  data: attribute(C.NFTA_IMMEDIATE_DATA, DATA),
});

/** Ends the rule unless the register compares so. Order is that of bytes, as in memcmp. */
const cmp = attributes('NFTA_CMP', {
  register: u32be(C.NFTA_CMP_SREG),
  op: attribute(
    C.NFTA_CMP_OP,
    named(U32_BE, {
      eq: C.NFT_CMP_EQ,
      neq: C.NFT_CMP_NEQ,
      lt: C.NFT_CMP_LT,
      lte: C.NFT_CMP_LTE,
      gt: C.NFT_CMP_GT,
      gte: C.NFT_CMP_GTE,
    }),
  ),
  data: attribute(C.NFTA_CMP_DATA, DATA),
});

/** Ends the rule unless the register lies in a range (eq) or outside it (neq). */
const range = attributes('NFTA_RANGE', {
  register: u32be(C.NFTA_RANGE_SREG),
  op: attribute(C.NFTA_RANGE_OP, named(U32_BE, { eq: C.NFT_RANGE_EQ, neq: C.NFT_RANGE_NEQ })),
  from: attribute(C.NFTA_RANGE_FROM_DATA, DATA),
  to: attribute(C.NFTA_RANGE_TO_DATA, DATA),
});

/** register = (sourceRegister & mask) ^ xor, or a shift by `data` bits. */
const bitwise = attributes('NFTA_BITWISE', {
  sourceRegister: u32be(C.NFTA_BITWISE_SREG),
  register: u32be(C.NFTA_BITWISE_DREG),
  /** Bytes. */
  length: u32be(C.NFTA_BITWISE_LEN),
  mask: opt(attribute(C.NFTA_BITWISE_MASK, DATA)),
  xor: opt(attribute(C.NFTA_BITWISE_XOR, DATA)),
  op: opt(
    attribute(
      C.NFTA_BITWISE_OP,
      named(U32_BE, {
        'mask-xor': C.NFT_BITWISE_BOOL,
        'shift-left': C.NFT_BITWISE_LSHIFT,
        'shift-right': C.NFT_BITWISE_RSHIFT,
      }),
    ),
  ),
  data: opt(attribute(C.NFTA_BITWISE_DATA, DATA)),
});

export const expressions = { immediate, cmp, range, bitwise };
