import fc from 'fast-check';
import {
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from '../../../src/linux/netlink.ts';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { delChain, delTable, newChain, newTable } from './chains.ts';
import { chunk, lookupOf } from './expressions.ts';
import { mutated, mutation } from './mutations.ts';
import {
  chainName,
  DELETING,
  deleting,
  handle,
  INET,
  IP,
  maybe,
  message,
  OF_RULES,
  type Place,
  place,
  REGULAR,
  rarely,
  userdata,
} from './names.ts';
import { delFlowtable, delObject, newFlowtable, newObject } from './objects.ts';
import { get } from './reads.ts';
import {
  delElements,
  delSet,
  draw,
  elementMessage,
  elementsOf,
  newElements,
  newSet,
  SETS,
  setAttributes,
} from './sets.ts';
import { type Attribute, expression, ifPresent, type Message, plain, some, text, u32, u64 } from './wire.ts';

/*
 * Random conversations with nf_tables: right messages and wrong ones, whose attributes are taken away, cut, stretched or changed.
 */

const rule = fc
  .tuple(
    place,
    chainName,
    OF_RULES,
    fc.array(chunk, { maxLength: 3 }),
    rarely(handle),
    rarely(handle),
    fc.tuple(rarely(fc.integer({ min: 1, max: 4 })), rarely(fc.integer({ min: 1, max: 4 })), userdata, fc.boolean()),
  )
  .map(([where, chain, flags, chunks, byHandle, position, [id, positionId, data, replaces]]) => {
    const own =
      (flags & NLM_F_REPLACE) !== 0 && byHandle === undefined && replaces
        ? 1 + ((chunks.length * 7 + chain.length) % 20)
        : byHandle;
    return message(
      Nft.NFT_MSG_NEWRULE,
      where,
      own === undefined ? flags & ~(replaces ? NLM_F_REPLACE : 0) : flags,
      some(
        [Nft.NFTA_RULE_TABLE, text(where.table)],
        [Nft.NFTA_RULE_CHAIN, text(chain)],
        ifPresent(Nft.NFTA_RULE_HANDLE, own, u64),
        [Nft.NFTA_RULE_EXPRESSIONS, chunks.flat().map(each => [Nft.NFTA_LIST_ELEM, each] as const)],
        ifPresent(Nft.NFTA_RULE_POSITION, position, u64),
        ifPresent(Nft.NFTA_RULE_ID, id, u32),
        ifPresent(Nft.NFTA_RULE_POSITION_ID, positionId, u32),
        ifPresent(Nft.NFTA_RULE_USERDATA, data, Buffer.from),
      ),
    );
  });
const delRule = fc
  .tuple(
    place,
    chainName,
    DELETING,
    deleting(Nft.NFT_MSG_DELRULE, Nft.NFT_MSG_DESTROYRULE),
    maybe(handle, 3),
    rarely(fc.integer({ min: 1, max: 4 })),
    fc.nat(20),
  )
  .map(([where, chain, flags, type, byHandle, id, how]) =>
    message(
      type,
      where,
      flags,
      some(
        [Nft.NFTA_RULE_TABLE, text(where.table)],
        how !== 0 && [Nft.NFTA_RULE_CHAIN, text(chain)],
        ifPresent(Nft.NFTA_RULE_HANDLE, byHandle, u64),
        ifPresent(Nft.NFTA_RULE_ID, id, u32),
      ),
    ),
  );

/** A rule with an anonymous set, and a rule with a chain of its own. */
const withAnonymousSet = fc
  .tuple(
    place,
    chainName,
    fc.constantFrom(...SETS.filter(({ flags }) => (flags & (Nft.NFT_SET_TIMEOUT | Nft.NFT_SET_EVAL)) === 0)),
    fc.array(draw, { minLength: 1, maxLength: 3 }),
    fc.nat(14),
  )
  .map(([where, chain, kind, drawn, how]) => {
    const id = 7;
    const flags = NLM_F_REQUEST | NLM_F_CREATE | (how % 2 === 0 ? NLM_F_ACK : 0);
    const name = kind.data !== undefined || kind.verdicts ? '__map%d' : '__set%d';
    const messages = [
      message(
        Nft.NFT_MSG_NEWSET,
        where,
        flags,
        setAttributes(kind, where, id, name, kind.flags | Nft.NFT_SET_ANONYMOUS | Nft.NFT_SET_CONSTANT),
      ),
      elementMessage(
        Nft.NFT_MSG_NEWSETELEM,
        where,
        flags,
        name,
        drawn.flatMap(each => elementsOf(kind, each)),
        id,
      ),
    ];
    const [first, lookup] = lookupOf(kind, 2, how);
    const data = (lookup![1]![1] as readonly Attribute[]).filter(([type]) => type !== Nft.NFTA_LOOKUP_SET);
    const bound: Attribute[] = [
      lookup![0]!,
      [Nft.NFTA_EXPR_DATA, [[Nft.NFTA_LOOKUP_SET, text(name)], [Nft.NFTA_LOOKUP_SET_ID, u32(id)], ...data]],
    ];
    const added = message(Nft.NFT_MSG_NEWRULE, where, flags | NLM_F_APPEND, [
      [Nft.NFTA_RULE_TABLE, text(where.table)],
      [Nft.NFTA_RULE_CHAIN, text(chain)],
      [
        Nft.NFTA_RULE_EXPRESSIONS,
        [
          [1, first!],
          [1, bound],
        ],
      ],
    ]);
    if (how !== 5) messages.push(added);
    if (how === 6) messages.push(added);
    if (how === 7) messages.push(messages[1]!);
    return messages;
  });
const withOwnChain = fc.tuple(place, chainName, chunk, fc.nat(12)).map(([where, chain, chunks, how]) => {
  const id = 9;
  const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  const jump: Attribute[] = expression(
    'immediate',
    [Nft.NFTA_IMMEDIATE_DREG, u32(0)],
    [
      Nft.NFTA_IMMEDIATE_DATA,
      [
        [
          Nft.NFTA_DATA_VERDICT,
          [
            [Nft.NFTA_VERDICT_CODE, u32(how === 1 ? Nft.NFT_GOTO : Nft.NFT_JUMP)],
            [Nft.NFTA_VERDICT_CHAIN_ID, u32(id)],
          ],
        ],
      ],
    ],
  );
  const inner = message(Nft.NFT_MSG_NEWRULE, where, flags | NLM_F_APPEND, [
    [Nft.NFTA_RULE_TABLE, text(where.table)],
    [Nft.NFTA_RULE_CHAIN_ID, u32(id)],
    [Nft.NFTA_RULE_EXPRESSIONS, chunks.map(each => [1, each] as const)],
  ]);
  const outer = message(Nft.NFT_MSG_NEWRULE, where, flags | NLM_F_APPEND, [
    [Nft.NFTA_RULE_TABLE, text(where.table)],
    [Nft.NFTA_RULE_CHAIN, text(chain)],
    [
      Nft.NFTA_RULE_EXPRESSIONS,
      [
        [1, plain('counter')],
        [1, jump],
      ],
    ],
  ]);
  const made = message(
    Nft.NFT_MSG_NEWCHAIN,
    where,
    flags,
    some(
      [Nft.NFTA_CHAIN_TABLE, text(where.table)],
      [Nft.NFTA_CHAIN_ID, u32(id)],
      how !== 2 && [Nft.NFTA_CHAIN_FLAGS, u32(4)],
    ),
  );
  return how === 3
    ? [made, outer, inner]
    : how === 4
      ? [made, inner]
      : how === 5
        ? [made, inner, outer, outer]
        : [made, inner, outer];
});

const single = <T extends Message>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<Message[]> =>
  arbitrary.map(each => [each]);
const operation: fc.Arbitrary<Message[]> = fc.oneof(
  { weight: 3, arbitrary: single(newTable) },
  { weight: 1, arbitrary: single(delTable) },
  { weight: 9, arbitrary: single(newChain) },
  { weight: 3, arbitrary: single(delChain) },
  { weight: 9, arbitrary: single(newSet) },
  { weight: 3, arbitrary: single(delSet) },
  { weight: 9, arbitrary: single(newElements) },
  { weight: 4, arbitrary: single(delElements) },
  { weight: 14, arbitrary: single(rule) },
  { weight: 5, arbitrary: single(delRule) },
  { weight: 5, arbitrary: single(newObject) },
  { weight: 2, arbitrary: single(delObject) },
  { weight: 2, arbitrary: single(newFlowtable) },
  { weight: 1, arbitrary: single(delFlowtable) },
  { weight: 4, arbitrary: withAnonymousSet },
  { weight: 2, arbitrary: withOwnChain },
);
export const messages: fc.Arbitrary<Message[]> = fc
  .tuple(operation, rarely(mutation), fc.nat(99))
  .map(([list, wrong, which]) =>
    wrong === undefined ? list : list.map((each, i) => (i === which % list.length ? mutated(each, wrong) : each)),
  );

export type Step =
  | { readonly kind: 'batch'; readonly messages: Message[]; readonly ends: boolean; readonly endFlags: number }
  | { readonly kind: 'get'; readonly message: Message };

export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      messages: fc.array(messages, { minLength: 1, maxLength: 5 }).map(list => list.flat()),
      ends: fc.nat(30).map(n => n !== 0),
      endFlags: fc.nat(5).map(n => (n === 0 ? NLM_F_ACK : 0)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('get' as const), message: get }) },
);

/** Tables and chains to begin with, so that most of what follows has something to refer to. */
export function foundation(): Message[] {
  const flags = NLM_F_REQUEST | NLM_F_CREATE;
  const list: Message[] = [];
  for (const where of [
    { family: INET, table: 't' },
    { family: IP, table: 't' },
  ]) {
    list.push(message(Nft.NFT_MSG_NEWTABLE, where, flags, [[Nft.NFTA_TABLE_NAME, text('t')]]));
    for (const name of REGULAR)
      list.push(
        message(Nft.NFT_MSG_NEWCHAIN, where, flags, [
          [Nft.NFTA_CHAIN_TABLE, text('t')],
          [Nft.NFTA_CHAIN_NAME, text(name)],
        ]),
      );
    for (const [i, kind] of SETS.entries())
      list.push(message(Nft.NFT_MSG_NEWSET, where, flags, setAttributes(kind, where, 100 + i)));
    for (let n = 0; n < 3; n++)
      for (const [type, data] of [
        [Nft.NFT_OBJECT_COUNTER, []],
        [Nft.NFT_OBJECT_QUOTA, [[Nft.NFTA_QUOTA_BYTES, u64(500)]]],
      ] as [number, Attribute[]][])
        list.push(
          message(Nft.NFT_MSG_NEWOBJ, where, flags, [
            [Nft.NFTA_OBJ_TABLE, text('t')],
            [Nft.NFTA_OBJ_NAME, text(`o${n}`)],
            [Nft.NFTA_OBJ_TYPE, u32(type)],
            [Nft.NFTA_OBJ_DATA, data],
          ]),
        );
  }
  return list;
}

export const dumpOf = (type: number, family = 0, attributes: readonly Attribute[] = []): Message => ({
  type,
  flags: NLM_F_REQUEST | NLM_F_DUMP,
  family,
  attributes,
});
export const elementsDump = (where: Place, name: string): Message =>
  dumpOf(Nft.NFT_MSG_GETSETELEM, where.family, elementMessage(0, where, 0, name, undefined).attributes);
