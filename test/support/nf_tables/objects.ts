import fc from 'fast-check';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { change, devices } from './chains.ts';
import { CREATING, DELETING, deleting, handle, message, place, rarely, userdata } from './names.ts';
import { type Attribute, host32, ifPresent, some, text, u8, u16, u32, u64 } from './wire.ts';

/* Random messages about objects and flowtables. */

const objectData: fc.Arbitrary<readonly [type: number, data: Attribute[]]> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.nat(9).map((n): readonly [number, Attribute[]] => [
      Nft.NFT_OBJECT_COUNTER,
      n === 0
        ? []
        : [
            [Nft.NFTA_COUNTER_PACKETS, u64(n)],
            [Nft.NFTA_COUNTER_BYTES, u64(n * 60)],
          ],
    ]),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.nat(9), fc.nat(3))
      .map(([n, flags]): readonly [number, Attribute[]] => [
        Nft.NFT_OBJECT_QUOTA,
        some([Nft.NFTA_QUOTA_BYTES, u64(n * 100)], n > 5 && [Nft.NFTA_QUOTA_CONSUMED, u64(n * 40)], [
          Nft.NFTA_QUOTA_FLAGS,
          u32(flags),
        ]),
      ]),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(5), fc.nat(2), fc.nat(9), fc.nat(2))
      .map(([rate, type, burst, flags]): readonly [number, Attribute[]] => [
        Nft.NFT_OBJECT_LIMIT,
        some(
          [Nft.NFTA_LIMIT_RATE, u64(rate)],
          [Nft.NFTA_LIMIT_UNIT, u64(1)],
          [Nft.NFTA_LIMIT_TYPE, u32(type)],
          burst > 2 && [Nft.NFTA_LIMIT_BURST, u32(burst)],
          [Nft.NFTA_LIMIT_FLAGS, u32(flags)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc.nat(3).map((flags): readonly [number, Attribute[]] => [
      Nft.NFT_OBJECT_CONNLIMIT,
      [
        [Nft.NFTA_CONNLIMIT_COUNT, u32(3)],
        [Nft.NFTA_CONNLIMIT_FLAGS, u32(flags)],
      ],
    ]),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(0x3f), fc.nat(15)).map(([flags, scale]): readonly [number, Attribute[]] => [
      Nft.NFT_OBJECT_SYNPROXY,
      [
        [Nft.NFTA_SYNPROXY_MSS, u16(1400)],
        [Nft.NFTA_SYNPROXY_WSCALE, u8(scale)],
        [Nft.NFTA_SYNPROXY_FLAGS, u32(flags)],
      ],
    ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(6, 17, 132, 1), fc.constantFrom(2, 10, 0, 7))
      .map(([l4, l3]): readonly [number, Attribute[]] => [
        Nft.NFT_OBJECT_CT_EXPECT,
        some(
          l3 !== 0 && [Nft.NFTA_CT_EXPECT_L3PROTO, u16(l3)],
          [Nft.NFTA_CT_EXPECT_L4PROTO, u8(l4)],
          [Nft.NFTA_CT_EXPECT_DPORT, u16(99)],
          [Nft.NFTA_CT_EXPECT_TIMEOUT, host32(1000)],
          [Nft.NFTA_CT_EXPECT_SIZE, u8(3)],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(6, 17, 1, 132, 99), fc.constantFrom(2, 10, 0, 7), fc.integer({ min: 1, max: 12 }))
      .map(([l4, l3, state]): readonly [number, Attribute[]] => [
        Nft.NFT_OBJECT_CT_TIMEOUT,
        some(
          l3 !== 0 && [Nft.NFTA_CT_TIMEOUT_L3PROTO, u16(l3)],
          [Nft.NFTA_CT_TIMEOUT_L4PROTO, u8(l4)],
          [Nft.NFTA_CT_TIMEOUT_DATA, [[state, u32(100 + state)]]],
        ),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('ftp', 'none', 'tftp'), fc.constantFrom(6, 17, 0))
      .map(([name, l4]): readonly [number, Attribute[]] => [
        Nft.NFT_OBJECT_CT_HELPER,
        [
          [Nft.NFTA_CT_HELPER_NAME, text(name)],
          [Nft.NFTA_CT_HELPER_L4PROTO, u8(l4)],
        ],
      ]),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0, 10, 11, 99).map((type): readonly [number, Attribute[]] => [type, [[1, text('x')]]]),
  },
);
export const newObject = fc
  .tuple(place, fc.nat(3), CREATING, objectData, userdata)
  .map(([where, n, flags, [type, data], user]) =>
    message(
      Nft.NFT_MSG_NEWOBJ,
      where,
      flags,
      some(
        [Nft.NFTA_OBJ_TABLE, text(where.table)],
        [Nft.NFTA_OBJ_NAME, text(`o${n}`)],
        [Nft.NFTA_OBJ_TYPE, u32(type)],
        [Nft.NFTA_OBJ_DATA, data],
        ifPresent(Nft.NFTA_OBJ_USERDATA, user, Buffer.from),
      ),
    ),
  );
export const objectType = fc.constantFrom(1, 1, 2, 2, 4, 5, 7, 8, 9, 3, 6, 0);
export const delObject = fc
  .tuple(place, fc.nat(3), DELETING, objectType, deleting(Nft.NFT_MSG_DELOBJ, Nft.NFT_MSG_DESTROYOBJ), rarely(handle))
  .map(([where, n, flags, kind, type, byHandle]) =>
    message(
      type,
      where,
      flags,
      some(
        [Nft.NFTA_OBJ_TABLE, text(where.table)],
        byHandle === undefined ? [Nft.NFTA_OBJ_NAME, text(`o${n}`)] : [Nft.NFTA_OBJ_HANDLE, u64(byHandle)],
        [Nft.NFTA_OBJ_TYPE, u32(kind)],
      ),
    ),
  );

const flowtableHook = (how: number, names: readonly string[]): Attribute => [
  Nft.NFTA_FLOWTABLE_HOOK,
  some(
    how !== 1 && [Nft.NFTA_FLOWTABLE_HOOK_NUM, u32(how === 2 ? 1 : 0)],
    how !== 3 && [Nft.NFTA_FLOWTABLE_HOOK_PRIORITY, u32(how === 4 ? 5 : 0)],
    names.length > 0 && [Nft.NFTA_FLOWTABLE_HOOK_DEVS, names.map(each => [1, text(each)] as const)],
  ),
];
export const newFlowtable = fc
  .tuple(place, fc.constantFrom('f', 'g'), CREATING, change, devices, rarely(fc.nat(4)))
  .map(([where, name, flags, how, names, ofIts]) =>
    message(
      Nft.NFT_MSG_NEWFLOWTABLE,
      where,
      flags,
      some(
        [Nft.NFTA_FLOWTABLE_TABLE, text(where.table)],
        [Nft.NFTA_FLOWTABLE_NAME, text(name)],
        how !== 9 && flowtableHook(how, names),
        ifPresent(Nft.NFTA_FLOWTABLE_FLAGS, ofIts, u32),
      ),
    ),
  );
export const delFlowtable = fc
  .tuple(
    place,
    fc.constantFrom('f', 'g'),
    DELETING,
    deleting(Nft.NFT_MSG_DELFLOWTABLE, Nft.NFT_MSG_DESTROYFLOWTABLE),
    rarely(handle),
    rarely(devices),
  )
  .map(([where, name, flags, type, byHandle, names]) =>
    message(
      type,
      where,
      flags,
      some(
        [Nft.NFTA_FLOWTABLE_TABLE, text(where.table)],
        byHandle === undefined ? [Nft.NFTA_FLOWTABLE_NAME, text(name)] : [Nft.NFTA_FLOWTABLE_HANDLE, u64(byHandle)],
        names && flowtableHook(0, names),
      ),
    ),
  );
