import fc from 'fast-check';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { maybe, rarely } from './names.ts';
import { type SetKind, setKind, verdict } from './sets.ts';
import { type Attribute, expression, host32, ifPresent, plain, text, u8, u16, u32, u64, value } from './wire.ts';

/* Random expressions of rules, mostly right. */

const register = fc.oneof(
  { weight: 14, arbitrary: fc.constantFrom(1, 2, 3, 4) },
  { weight: 5, arbitrary: fc.integer({ min: 8, max: 23 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 5, 24, 19) },
);
const small = fc.nat(20);
const load = (to: number, n: number): Attribute[] => {
  const base = n % 3;
  return expression(
    'payload',
    [Nft.NFTA_PAYLOAD_DREG, u32(to)],
    [Nft.NFTA_PAYLOAD_BASE, u32(base)],
    [Nft.NFTA_PAYLOAD_OFFSET, u32(n)],
    [Nft.NFTA_PAYLOAD_LEN, u32([4, 4, 4, 2, 1, 16, 8, 17][n % 8]!)],
  );
};
export const immediate = (to: number, bytes: Uint8Array): Attribute[] =>
  expression('immediate', [Nft.NFTA_IMMEDIATE_DREG, u32(to)], [Nft.NFTA_IMMEDIATE_DATA, value(bytes)]);
const four = u32(0x0a000001);
const two = u16(80);

/** Sequences that belong together, mostly right. */
export const chunk: fc.Arbitrary<Attribute[][]> = fc.oneof(
  {
    weight: 4,
    arbitrary: verdict.map(each => [
      expression('immediate', [Nft.NFTA_IMMEDIATE_DREG, u32(0)], [Nft.NFTA_IMMEDIATE_DATA, each]),
    ]),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom('counter', 'quota', 'limit', 'last', 'connlimit', 'counter').map(name => [plain(name)]),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(register, register, small, fc.nat(7))
      .map(([to, from, n, op]) => [
        load(to, n),
        expression(
          'cmp',
          [Nft.NFTA_CMP_SREG, u32(n === 3 ? from : to)],
          [Nft.NFTA_CMP_OP, u32(op)],
          [Nft.NFTA_CMP_DATA, value(Buffer.alloc(n === 5 ? 18 : 1 + (n % 4)))],
        ),
      ]),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.nat(36), register, fc.boolean())
      .map(([key, at, writes]) => [
        ...(writes ? [immediate(at, four)] : []),
        expression(
          'meta',
          [Nft.NFTA_META_KEY, u32(key)],
          writes ? [Nft.NFTA_META_SREG, u32(at)] : [Nft.NFTA_META_DREG, u32(at)],
        ),
      ]),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(26), register, rarely(fc.nat(2)), fc.nat(5))
      .map(([key, at, direction, writes]) => [
        ...(writes === 0 ? [immediate(at, four)] : []),
        expression(
          'ct',
          [Nft.NFTA_CT_KEY, u32(key)],
          [writes === 0 ? Nft.NFTA_CT_SREG : Nft.NFTA_CT_DREG, u32(at)],
          ifPresent(Nft.NFTA_CT_DIRECTION, direction ?? (writes > 3 ? 0 : undefined), u8),
        ),
      ]),
  },
  { weight: 6, arbitrary: fc.tuple(setKind, register, fc.nat(20)).map(([kind, at, how]) => lookupOf(kind, at, how)) },
  { weight: 3, arbitrary: fc.tuple(setKind, register, fc.nat(20)).map(([kind, at, how]) => dynsetOf(kind, at, how)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.nat(4), fc.constantFrom(1, 2, 3, 4, 6, 8, 9, 7, 1, 1))
      .map(([n, type]) => [
        expression('objref', [Nft.NFTA_OBJREF_IMM_TYPE, u32(type)], [Nft.NFTA_OBJREF_IMM_NAME, text(`o${n}`)]),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('counters', 'quotas', 'hash'), register)
      .map(([name, at]) => [
        immediate(at, four),
        expression('objref', [Nft.NFTA_OBJREF_SET_SREG, u32(at)], [Nft.NFTA_OBJREF_SET_NAME, text(name)]),
      ]),
  },
  { weight: 2, arbitrary: fc.tuple(fc.nat(7), fc.nat(8), register).map(([op, n, at]) => bitwiseOf(op, n, at)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(3), fc.constantFrom(2, 4, 8, 2, 4, 3), fc.constantFrom(2, 4, 8, 16, 6))
      .map(([op, size, length]) => [
        immediate(1, Buffer.alloc(16, 1)),
        expression(
          'byteorder',
          [Nft.NFTA_BYTEORDER_SREG, u32(1)],
          [Nft.NFTA_BYTEORDER_DREG, u32(2)],
          [Nft.NFTA_BYTEORDER_OP, u32(op)],
          [Nft.NFTA_BYTEORDER_LEN, u32(length)],
          [Nft.NFTA_BYTEORDER_SIZE, u32(size)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(2), fc.nat(3))
      .map(([op, n]) => [
        immediate(1, four),
        expression(
          'range',
          [Nft.NFTA_RANGE_SREG, u32(1)],
          [Nft.NFTA_RANGE_OP, u32(op)],
          [Nft.NFTA_RANGE_FROM_DATA, value(u32(5))],
          [Nft.NFTA_RANGE_TO_DATA, value(n === 0 ? two : u32(n))],
        ),
      ]),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(2), fc.constantFrom(2, 10, 2, 0), fc.nat(0xff), fc.nat(5))
      .map(([type, family, flags, n]) => [
        immediate(1, family === 10 ? Buffer.alloc(16, 2) : four),
        immediate(9, two),
        expression(
          'nat',
          [Nft.NFTA_NAT_TYPE, u32(type)],
          [Nft.NFTA_NAT_FAMILY, u32(family)],
          n !== 1 && [Nft.NFTA_NAT_REG_ADDR_MIN, u32(1)],
          n > 1 && [Nft.NFTA_NAT_REG_PROTO_MIN, u32(9)],
          n === 2 && [Nft.NFTA_NAT_FLAGS, u32(flags)],
        ),
      ]),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom('masq', 'redir'), fc.nat(0xff), fc.nat(5))
      .map(([name, flags, n]) => [
        immediate(9, two),
        expression(
          name,
          n === 2 && [name === 'masq' ? Nft.NFTA_MASQ_FLAGS : Nft.NFTA_REDIR_FLAGS, u32(flags)],
          n > 2 && [name === 'masq' ? Nft.NFTA_MASQ_REG_PROTO_MIN : Nft.NFTA_REDIR_REG_PROTO_MIN, u32(9)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(3), fc.nat(5))
      .map(([type, code]) => [
        expression('reject', [Nft.NFTA_REJECT_TYPE, u32(type)], code < 5 && [Nft.NFTA_REJECT_ICMP_CODE, u8(code)]),
      ]),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        rarely(fc.constantFrom('note', 'x'.repeat(130))),
        maybe(fc.nat(3)),
        rarely(fc.nat(9)),
        rarely(fc.nat(40)),
        rarely(fc.nat(300)),
        rarely(fc.nat(3)),
      )
      .map(([prefix, group, level, flags, length, threshold]) => [
        expression(
          'log',
          ifPresent(Nft.NFTA_LOG_PREFIX, prefix, text),
          ifPresent(Nft.NFTA_LOG_GROUP, group, u16),
          ifPresent(Nft.NFTA_LOG_LEVEL, level, u32),
          ifPresent(Nft.NFTA_LOG_FLAGS, flags, u32),
          ifPresent(Nft.NFTA_LOG_SNAPLEN, length, u32),
          ifPresent(Nft.NFTA_LOG_QTHRESHOLD, threshold, u16),
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(2), fc.nat(4), fc.nat(3), register)
      .map(([type, modulus, offset, at]) => [
        expression(
          'numgen',
          [Nft.NFTA_NG_DREG, u32(at)],
          [Nft.NFTA_NG_MODULUS, u32(modulus)],
          [Nft.NFTA_NG_TYPE, u32(type)],
          offset > 0 && [Nft.NFTA_NG_OFFSET, u32(offset === 3 ? 0xffffffff : offset)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(2), fc.nat(4), fc.nat(3), fc.nat(20))
      .map(([type, modulus, offset, length]) => [
        immediate(2, Buffer.alloc(16, 3)),
        expression(
          'hash',
          type !== 1 && [Nft.NFTA_HASH_SREG, u32(2)],
          [Nft.NFTA_HASH_DREG, u32(1)],
          type !== 1 && [Nft.NFTA_HASH_LEN, u32(length)],
          [Nft.NFTA_HASH_MODULUS, u32(modulus)],
          [Nft.NFTA_HASH_SEED, u32(7)],
          offset > 0 && [Nft.NFTA_HASH_OFFSET, u32(offset === 3 ? 0xffffffff : offset)],
          [Nft.NFTA_HASH_TYPE, u32(type)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(4), fc.nat(0x3f), register)
      .map(([result, flags, at]) => [
        expression(
          'fib',
          [Nft.NFTA_FIB_DREG, u32(at)],
          [Nft.NFTA_FIB_RESULT, u32(result)],
          [Nft.NFTA_FIB_FLAGS, u32(flags)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(5), register)
      .map(([key, at]) => [expression('rt', [Nft.NFTA_RT_KEY, u32(key)], [Nft.NFTA_RT_DREG, u32(at)])]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(4), register, rarely(fc.nat(300)))
      .map(([key, at, level]) => [
        expression(
          'socket',
          [Nft.NFTA_SOCKET_KEY, u32(key)],
          [Nft.NFTA_SOCKET_DREG, u32(at)],
          ifPresent(Nft.NFTA_SOCKET_LEVEL, level, u32),
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(5), fc.nat(8), fc.nat(3), fc.constantFrom(7, 0, 131, 43, 60, 2, 1), register)
      .map(([op, offset, how, type, at]) => [
        ...(how === 2 ? [immediate(at, four)] : []),
        expression(
          'exthdr',
          [how === 2 ? Nft.NFTA_EXTHDR_SREG : Nft.NFTA_EXTHDR_DREG, u32(at)],
          [Nft.NFTA_EXTHDR_TYPE, u8(type)],
          [Nft.NFTA_EXTHDR_OFFSET, u32(offset)],
          [Nft.NFTA_EXTHDR_LEN, u32(1 + (offset % 4))],
          how !== 2 && [Nft.NFTA_EXTHDR_FLAGS, u32(how)],
          [Nft.NFTA_EXTHDR_OP, u32(op)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(1), fc.nat(4))
      .map(([type, n]) => [
        immediate(1, four),
        immediate(2, four),
        type === 0
          ? expression('dup', [Nft.NFTA_DUP_SREG_ADDR, u32(1)], n > 2 && [Nft.NFTA_DUP_SREG_DEV, u32(2)])
          : expression('dup', [Nft.NFTA_DUP_SREG_DEV, u32(2)]),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(3), fc.constantFrom(2, 10, 0))
      .map(([n, family]) => [
        immediate(1, four),
        immediate(2, four),
        expression(
          'fwd',
          [Nft.NFTA_FWD_SREG_DEV, u32(1)],
          n === 0 && [Nft.NFTA_FWD_SREG_ADDR, u32(2)],
          n < 2 && [Nft.NFTA_FWD_NFPROTO, u32(family)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .boolean()
      .map((isShort): Attribute[][] => [isShort ? [[Nft.NFTA_EXPR_NAME, text('notrack')]] : expression('notrack')]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(3), fc.constantFrom(2, 10, 0, 1))
      .map(([n, family]) => [
        immediate(1, four),
        immediate(2, two),
        expression(
          'tproxy',
          [Nft.NFTA_TPROXY_FAMILY, u32(family)],
          n !== 1 && [Nft.NFTA_TPROXY_REG_ADDR, u32(1)],
          n > 0 && [Nft.NFTA_TPROXY_REG_PORT, u32(2)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(0x3f), fc.nat(20), fc.nat(3))
      .map(([flags, scale, n]) => [
        expression(
          'synproxy',
          n !== 0 && [Nft.NFTA_SYNPROXY_MSS, u16(1460)],
          n !== 1 && [Nft.NFTA_SYNPROXY_WSCALE, u8(scale)],
          [Nft.NFTA_SYNPROXY_FLAGS, u32(flags)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('f', 'g')
      .map(name => [expression('flow_offload', [Nft.NFTA_FLOW_TABLE_NAME, text(name)])]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.nat(3), fc.nat(5), fc.nat(9))
      .map(([base, type, n]) => [
        immediate(1, Buffer.alloc(16, 1)),
        expression(
          'payload',
          [Nft.NFTA_PAYLOAD_SREG, u32(1)],
          [Nft.NFTA_PAYLOAD_BASE, u32(base)],
          [Nft.NFTA_PAYLOAD_OFFSET, u32(n)],
          [Nft.NFTA_PAYLOAD_LEN, u32(n)],
          [Nft.NFTA_PAYLOAD_CSUM_TYPE, u32(type % 3)],
          [Nft.NFTA_PAYLOAD_CSUM_OFFSET, u32(type + 5)],
          type === 4 && [Nft.NFTA_PAYLOAD_CSUM_FLAGS, u32(n % 3)],
        ),
      ]),
  },
  { weight: 1, arbitrary: fc.constantFrom('strange', 'meter', '').map(name => [expression(name)]) },
);

export function lookupOf(kind: SetKind, at: number, how: number): Attribute[][] {
  const isMap = kind.data !== undefined || kind.verdicts === true;
  return [
    how === 0 ? immediate(1, four) : immediate(1, Buffer.alloc(Math.min(16, kind.key))),
    expression(
      'lookup',
      [Nft.NFTA_LOOKUP_SET, text(kind.name)],
      [Nft.NFTA_LOOKUP_SREG, u32(how === 1 ? at : 1)],
      isMap !== (how === 2) && [Nft.NFTA_LOOKUP_DREG, u32(kind.verdicts ? 0 : at)],
      (how === 3 || (how > 17 && !isMap)) && [Nft.NFTA_LOOKUP_FLAGS, u32(how === 4 ? 2 : 1)],
    ),
  ];
}

function dynsetOf(kind: SetKind, at: number, how: number): Attribute[][] {
  return [
    immediate(1, Buffer.alloc(Math.min(16, kind.key))),
    expression(
      'dynset',
      [Nft.NFTA_DYNSET_SET_NAME, text(kind.name)],
      [Nft.NFTA_DYNSET_OP, u32(how % 4)],
      [Nft.NFTA_DYNSET_SREG_KEY, u32(how === 1 ? at : 1)],
      (kind.data !== undefined) !== (how === 2) && [Nft.NFTA_DYNSET_SREG_DATA, u32(1)],
      (how === 3 || how > 16) && [Nft.NFTA_DYNSET_TIMEOUT, u64(60_000)],
      (how === 4 || how === 12) && [Nft.NFTA_DYNSET_EXPR, plain('counter')],
      how === 5 && [
        Nft.NFTA_DYNSET_EXPRESSIONS,
        [
          [1, plain('limit')],
          [1, plain('counter')],
        ],
      ],
      how === 6 && [Nft.NFTA_DYNSET_FLAGS, u32(1)],
      (how === 7 || how === 5) && [Nft.NFTA_DYNSET_FLAGS, u32(2)],
      how === 8 && [Nft.NFTA_DYNSET_FLAGS, u32(4)],
    ),
  ];
}

function bitwiseOf(op: number, n: number, at: number): Attribute[][] {
  const bytes = Buffer.alloc(n === 1 ? 2 : 4, 15);
  const shift = host32(n * 5);
  return [
    immediate(1, Buffer.alloc(16, 9)),
    expression(
      'bitwise',
      [Nft.NFTA_BITWISE_SREG, u32(1)],
      [Nft.NFTA_BITWISE_DREG, u32(n === 2 ? at : 2)],
      [Nft.NFTA_BITWISE_LEN, u32(4)],
      n !== 0 && [Nft.NFTA_BITWISE_OP, u32(op)],
      (op === 0 || n === 0) && [Nft.NFTA_BITWISE_MASK, value(bytes)],
      (op === 0 || n === 0) && n !== 3 && [Nft.NFTA_BITWISE_XOR, value(bytes)],
      op > 0 && n > 0 && n !== 4 && [Nft.NFTA_BITWISE_DATA, value(op > 2 ? bytes : shift)],
      op > 2 && n > 3 && n < 6 && [Nft.NFTA_BITWISE_SREG2, u32(3)],
    ),
  ];
}
