import { attribute, attributes, flags, named, opt, string, U32_BE, u32be } from '../../codec/index.ts';
import * as C from '../../linux/nf_tables.ts';
import { DATA } from '../data.ts';
import { byDefault } from '../facets.ts';

/** Puts a value into a register; register 0 is the verdict. */
const immediate = attributes('NFTA_IMMEDIATE', () => ({
  register: u32be(C.NFTA_IMMEDIATE_DREG),
  data: attribute(C.NFTA_IMMEDIATE_DATA, DATA),
}));

/** Ends the rule unless the register compares so. Order is that of bytes, as in memcmp. */
const cmp = attributes('NFTA_CMP', () => ({
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
}));

/** Ends the rule unless the register lies in a range (eq) or outside it (neq). */
const range = attributes('NFTA_RANGE', () => ({
  register: u32be(C.NFTA_RANGE_SREG),
  op: attribute(C.NFTA_RANGE_OP, named(U32_BE, { eq: C.NFT_RANGE_EQ, neq: C.NFT_RANGE_NEQ })),
  from: attribute(C.NFTA_RANGE_FROM_DATA, DATA),
  to: attribute(C.NFTA_RANGE_TO_DATA, DATA),
}));

/** register = (sourceRegister & mask) ^ xor, a shift by `data` bits, or `op` with `data` or a second register (Linux 6.13). */
const bitwise = attributes('NFTA_BITWISE', () => ({
  sourceRegister: u32be(C.NFTA_BITWISE_SREG),
  register: u32be(C.NFTA_BITWISE_DREG),
  /** Bytes. */
  length: u32be(C.NFTA_BITWISE_LEN),
  mask: opt(attribute(C.NFTA_BITWISE_MASK, DATA)),
  xor: opt(attribute(C.NFTA_BITWISE_XOR, DATA)),
  op: byDefault(
    opt(
      attribute(
        C.NFTA_BITWISE_OP,
        named(U32_BE, {
          'mask-xor': C.NFT_BITWISE_MASK_XOR,
          'shift-left': C.NFT_BITWISE_LSHIFT,
          'shift-right': C.NFT_BITWISE_RSHIFT,
          and: C.NFT_BITWISE_AND,
          or: C.NFT_BITWISE_OR,
          xor: C.NFT_BITWISE_XOR,
        }),
      ),
    ),
    'mask-xor',
  ),
  data: opt(attribute(C.NFTA_BITWISE_DATA, DATA)),
  secondSourceRegister: opt(u32be(C.NFTA_BITWISE_SREG2)),
}));

/** Turns the numbers in a register from one byte order into the other. */
const byteorder = attributes('NFTA_BYTEORDER', () => ({
  sourceRegister: u32be(C.NFTA_BYTEORDER_SREG),
  register: u32be(C.NFTA_BYTEORDER_DREG),
  op: attribute(
    C.NFTA_BYTEORDER_OP,
    named(U32_BE, { 'network-to-host': C.NFT_BYTEORDER_NTOH, 'host-to-network': C.NFT_BYTEORDER_HTON }),
  ),
  /** Bytes in all. */
  length: u32be(C.NFTA_BYTEORDER_LEN),
  /** Bytes of one number: 2, 4 or 8. */
  size: u32be(C.NFTA_BYTEORDER_SIZE),
}));

/** Ends the rule unless the register is a key of the set; with `register`, loads the key's value from a map. */
const lookup = attributes('NFTA_LOOKUP', () => ({
  set: opt(string(C.NFTA_LOOKUP_SET, 255)),
  sourceRegister: u32be(C.NFTA_LOOKUP_SREG),
  /** Of the map's value; 0 takes it as a verdict. */
  register: opt(u32be(C.NFTA_LOOKUP_DREG)),
  /** The set by the number that it has within its own transaction. */
  setId: opt(u32be(C.NFTA_LOOKUP_SET_ID)),
  /** invert: ends the rule if the key is there. */
  flags: opt(attribute(C.NFTA_LOOKUP_FLAGS, flags(U32_BE, { invert: C.NFT_LOOKUP_F_INV }))),
}));

export const expressions = { immediate, cmp, range, bitwise, byteorder, lookup };
