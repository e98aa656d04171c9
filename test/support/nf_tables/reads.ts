import fc from 'fast-check';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from '../../../src/linux/netlink.ts';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { mutated, mutation } from './mutations.ts';
import { chainName, handle, message, type Place, place, rarely } from './names.ts';
import { objectType } from './objects.ts';
import { type Draw, draw, elementMessage, elementsOf, type SetKind, setKind } from './sets.ts';
import { type Attribute, type Message, text, u32, u64 } from './wire.ts';

/* Random requests outside of batches. */

const GETS: readonly (readonly [type: number, dumps: boolean])[] = [
  [Nft.NFT_MSG_GETTABLE, true],
  [Nft.NFT_MSG_GETCHAIN, true],
  [Nft.NFT_MSG_GETRULE, true],
  [Nft.NFT_MSG_GETRULE_RESET, true],
  [Nft.NFT_MSG_GETSET, true],
  [Nft.NFT_MSG_GETSETELEM, true],
  [Nft.NFT_MSG_GETSETELEM_RESET, true],
  [Nft.NFT_MSG_GETOBJ, true],
  [Nft.NFT_MSG_GETOBJ_RESET, true],
  [Nft.NFT_MSG_GETFLOWTABLE, true],
  [Nft.NFT_MSG_GETGEN, false],
];
export const get: fc.Arbitrary<Message> = fc
  .tuple(
    fc.constantFrom(...GETS),
    place,
    fc.boolean(),
    chainName,
    setKind,
    fc.tuple(handle, draw, fc.nat(3), objectType, fc.nat(9), rarely(mutation)),
  )
  .map(([[type, canDump], where, dumps, chain, kind, [number_, drawn, n, ofObject, how, wrong]]) => {
    const isDump = canDump && dumps;
    const read: Message = message(
      type,
      how === 0 ? { ...where, family: 0 } : where,
      NLM_F_REQUEST | (isDump ? NLM_F_DUMP : how % 2 === 0 ? NLM_F_ACK : 0),
      isDump && how > 5 && type !== Nft.NFT_MSG_GETSETELEM && type !== Nft.NFT_MSG_GETSETELEM_RESET
        ? []
        : named(type, where, chain, kind, number_, drawn, n, ofObject),
    );
    return wrong === undefined ? read : mutated(read, wrong);
  });
function named(
  type: number,
  where: Place,
  chain: string,
  kind: SetKind,
  number_: number,
  drawn: Draw,
  n: number,
  ofObject: number,
): Attribute[] {
  const table = text(where.table);
  switch (type) {
    case Nft.NFT_MSG_GETTABLE:
      return [[Nft.NFTA_TABLE_NAME, table]];
    case Nft.NFT_MSG_GETCHAIN:
      return [
        [Nft.NFTA_CHAIN_TABLE, table],
        [Nft.NFTA_CHAIN_NAME, text(chain)],
      ];
    case Nft.NFT_MSG_GETRULE:
    case Nft.NFT_MSG_GETRULE_RESET:
      return [
        [Nft.NFTA_RULE_TABLE, table],
        [Nft.NFTA_RULE_CHAIN, text(chain)],
        [Nft.NFTA_RULE_HANDLE, u64(number_)],
      ];
    case Nft.NFT_MSG_GETSET:
      return [
        [Nft.NFTA_SET_TABLE, table],
        [Nft.NFTA_SET_NAME, text(kind.name)],
      ];
    case Nft.NFT_MSG_GETSETELEM:
    case Nft.NFT_MSG_GETSETELEM_RESET:
      return elementMessage(
        0,
        where,
        0,
        kind.name,
        elementsOf(kind, drawn).map(element =>
          element.filter(
            ([of]) =>
              of === Nft.NFTA_SET_ELEM_KEY || of === Nft.NFTA_SET_ELEM_KEY_END || of === Nft.NFTA_SET_ELEM_FLAGS,
          ),
        ),
      ).attributes as Attribute[];
    case Nft.NFT_MSG_GETOBJ:
    case Nft.NFT_MSG_GETOBJ_RESET:
      return [
        [Nft.NFTA_OBJ_TABLE, table],
        [Nft.NFTA_OBJ_NAME, text(`o${n}`)],
        [Nft.NFTA_OBJ_TYPE, u32(ofObject)],
      ];
    case Nft.NFT_MSG_GETFLOWTABLE:
      return [
        [Nft.NFTA_FLOWTABLE_TABLE, table],
        [Nft.NFTA_FLOWTABLE_NAME, text('f')],
      ];
    default:
      return [];
  }
}
