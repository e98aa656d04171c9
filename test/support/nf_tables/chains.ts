import fc from 'fast-check';
import * as Nft from '../../../src/linux/nf_tables.ts';
import {
  ARP,
  CREATING,
  chainName,
  DELETING,
  deleting,
  handle,
  INET,
  maybe,
  message,
  NETDEV,
  place,
  rarely,
  userdata,
} from './names.ts';
import { type Attribute, ifPresent, some, text, u32, u64 } from './wire.ts';

/* Random messages about tables and chains. */

export const newTable = fc
  .tuple(place, CREATING, rarely(fc.constantFrom(1, 0, 2, 3, 4, 6, 8)), userdata)
  .map(([where, flags, tableFlags, data]) =>
    message(
      Nft.NFT_MSG_NEWTABLE,
      where,
      flags,
      some(
        [Nft.NFTA_TABLE_NAME, text(where.table)],
        ifPresent(Nft.NFTA_TABLE_FLAGS, tableFlags, u32),
        ifPresent(Nft.NFTA_TABLE_USERDATA, data, Buffer.from),
      ),
    ),
  );

export const delTable = fc
  .tuple(place, DELETING, deleting(Nft.NFT_MSG_DELTABLE, Nft.NFT_MSG_DESTROYTABLE), fc.nat(20))
  .map(([where, flags, type, how]) =>
    message(
      type,
      how === 0 ? { ...where, family: 0 } : where,
      flags,
      how <= 1 ? [] : how === 2 ? [[Nft.NFTA_TABLE_HANDLE, u64(how)]] : [[Nft.NFTA_TABLE_NAME, text(where.table)]],
    ),
  );

/** What a base chain is when it is made as its name says. */
const BASE: Record<string, readonly [type: string | undefined, hook: number, priority: number]> = {
  pre: ['filter', 0, -150],
  in: ['filter', 1, 0],
  fwd: [undefined, 2, 0],
  out: ['filter', 3, 0],
  post: ['filter', 4, 0],
  snat: ['nat', 4, 100],
  dnat: ['nat', 0, -100],
  route: ['route', 3, -150],
  ing: ['filter', 5, 0],
};
function hook(name: string, family: number, change: number, devices: readonly string[]): Attribute {
  const [, number, priority] = BASE[name] ?? BASE.in!;
  let at: number = number;
  if (family === NETDEV) at = name === 'out' || name === 'post' ? 1 : 0;
  if (family === ARP) at = number % 2;
  const onDevice = family === NETDEV || (family === INET && number === 5);
  const wanted = onDevice !== (change === 7) ? devices : [];
  return [
    Nft.NFTA_CHAIN_HOOK,
    some(
      change !== 1 && [Nft.NFTA_HOOK_HOOKNUM, u32(change === 2 ? at + 1 : change === 3 ? 6 : at)],
      change !== 4 && [Nft.NFTA_HOOK_PRIORITY, u32(change === 5 ? -200 : change === 6 ? priority + 1 : priority)],
      wanted.length === 1 && change !== 8 && [Nft.NFTA_HOOK_DEV, text(wanted[0]!)],
      (wanted.length > 1 || (wanted.length === 1 && change === 8)) && [
        Nft.NFTA_HOOK_DEVS,
        wanted.map(each => [1, text(each)] as const),
      ],
    ),
  ];
}
export const devices = fc.oneof(
  { weight: 6, arbitrary: fc.constant(['lo']) },
  { weight: 1, arbitrary: fc.constant(['lo', 'eth7']) },
  { weight: 1, arbitrary: fc.constant(['eth7']) },
  { weight: 1, arbitrary: fc.constant(['lo', 'lo']) },
  { weight: 1, arbitrary: fc.constant([]) },
);
export const change = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 9 }) },
);

export const newChain = fc
  .tuple(
    place,
    chainName,
    CREATING,
    change,
    devices,
    maybe(fc.constantFrom(0, 1, 0, 1, 2), 2),
    rarely(fc.constantFrom(0, 1, 2, 4, 3, 8)),
    rarely(handle),
    rarely(fc.constantFrom('filter', 'nat', 'route', 'strange')),
    fc.tuple(rarely(fc.tuple(fc.nat(9), fc.nat(9))), userdata),
  )
  .map(([where, name, flags, how, names, policy, chainFlags, byHandle, type, [counters, data]]) => {
    const isBase = BASE[name] !== undefined && how !== 9;
    const ownType = type ?? BASE[name]?.[0];
    return message(
      Nft.NFT_MSG_NEWCHAIN,
      where,
      flags,
      some(
        [Nft.NFTA_CHAIN_TABLE, text(where.table)],
        ifPresent(Nft.NFTA_CHAIN_HANDLE, byHandle, u64),
        [Nft.NFTA_CHAIN_NAME, text(name)],
        isBase && hook(name, where.family, how, names),
        isBase && ownType !== undefined && [Nft.NFTA_CHAIN_TYPE, text(ownType)],
        (isBase || policy === 2) && ifPresent(Nft.NFTA_CHAIN_POLICY, policy, u32),
        ifPresent(Nft.NFTA_CHAIN_FLAGS, chainFlags, u32),
        counters && [
          Nft.NFTA_CHAIN_COUNTERS,
          [
            [Nft.NFTA_COUNTER_PACKETS, u64(counters[0])],
            [Nft.NFTA_COUNTER_BYTES, u64(counters[1])],
          ],
        ],
        ifPresent(Nft.NFTA_CHAIN_USERDATA, data, Buffer.from),
      ),
    );
  });

export const delChain = fc
  .tuple(
    place,
    chainName,
    DELETING,
    deleting(Nft.NFT_MSG_DELCHAIN, Nft.NFT_MSG_DESTROYCHAIN),
    rarely(handle),
    rarely(devices),
  )
  .map(([where, name, flags, type, byHandle, names]) =>
    message(
      type,
      where,
      flags,
      some(
        [Nft.NFTA_CHAIN_TABLE, text(where.table)],
        byHandle === undefined ? [Nft.NFTA_CHAIN_NAME, text(name)] : [Nft.NFTA_CHAIN_HANDLE, u64(byHandle)],
        names !== undefined && hook(name, where.family, 0, names),
      ),
    ),
  );
