import fc from 'fast-check';
import * as Nft from '../../../src/linux/nf_tables.ts';
import {
  CREATING,
  DELETING,
  deleting,
  handle,
  message,
  type Place,
  place,
  REGULAR,
  rarely,
  userdata,
} from './names.ts';
import { type Attribute, ifPresent, type Message, plain, some, text, u8, u32, u64, value } from './wire.ts';

/* Random messages about sets of every kind, and their elements. */

export interface SetKind {
  readonly name: string;
  readonly flags: number;
  readonly key: number;
  readonly fields?: readonly number[];
  readonly data?: number;
  readonly verdicts?: true;
  readonly objects?: number;
  readonly size?: number;
  readonly timeout?: number;
  readonly expressions?: readonly string[];
  readonly policy?: number;
}
const {
  NFT_SET_CONSTANT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NFT_SET_TIMEOUT,
  NFT_SET_EVAL,
  NFT_SET_OBJECT,
  NFT_SET_CONCAT,
  NFT_SET_EXPR,
} = Nft;
const MINUTE = 60_000;
export const SETS: readonly SetKind[] = [
  { name: 'hash', flags: 0, key: 4 },
  { name: 'bitmap', flags: 0, key: 2 },
  { name: 'byte', flags: 0, key: 1 },
  { name: 'long', flags: 0, key: 16 },
  { name: 'sized', flags: 0, key: 4, size: 3 },
  { name: 'constant', flags: NFT_SET_CONSTANT, key: 4 },
  { name: 'tree', flags: NFT_SET_INTERVAL, key: 4 },
  { name: 'tree2', flags: NFT_SET_INTERVAL, key: 2, size: 4 },
  { name: 'treet', flags: NFT_SET_INTERVAL | NFT_SET_TIMEOUT, key: 4, timeout: 10 * MINUTE },
  { name: 'ranges', flags: NFT_SET_INTERVAL | NFT_SET_CONCAT, key: 8, fields: [4, 2] },
  { name: 'rangest', flags: NFT_SET_INTERVAL | NFT_SET_CONCAT | NFT_SET_TIMEOUT, key: 8, fields: [4, 4], size: 5 },
  { name: 'concat', flags: NFT_SET_CONCAT, key: 8, fields: [4, 4] },
  { name: 'timed', flags: NFT_SET_TIMEOUT, key: 4, timeout: 5 * MINUTE },
  { name: 'dynamic', flags: NFT_SET_EVAL | NFT_SET_TIMEOUT, key: 4, size: 100 },
  { name: 'meter', flags: NFT_SET_EVAL, key: 4 },
  { name: 'counted', flags: NFT_SET_EXPR, key: 4, expressions: ['counter'] },
  { name: 'counted2', flags: NFT_SET_EXPR, key: 4, expressions: ['counter', 'quota'] },
  { name: 'map', flags: NFT_SET_MAP, key: 4, data: 4 },
  { name: 'imap', flags: NFT_SET_MAP | NFT_SET_INTERVAL, key: 4, data: 4 },
  { name: 'vmap', flags: NFT_SET_MAP, key: 4, verdicts: true },
  { name: 'ivmap', flags: NFT_SET_MAP | NFT_SET_INTERVAL, key: 4, verdicts: true },
  { name: 'rvmap', flags: NFT_SET_MAP | NFT_SET_INTERVAL | NFT_SET_CONCAT, key: 8, fields: [4, 4], verdicts: true },
  { name: 'counters', flags: NFT_SET_OBJECT, key: 4, objects: Nft.NFT_OBJECT_COUNTER },
  { name: 'quotas', flags: NFT_SET_OBJECT, key: 4, objects: Nft.NFT_OBJECT_QUOTA },
];
export const setKind = fc.constantFrom(...SETS);
const VERDICT_TYPE = 0xffffff00;

export function setAttributes(
  kind: SetKind,
  where: Place,
  id: number,
  name = kind.name,
  flags = kind.flags,
): Attribute[] {
  const isMap = kind.data !== undefined || kind.verdicts === true;
  const { size, fields, expressions = [] } = kind;
  const stateful = expressions.map(each => plain(each));
  return some(
    [Nft.NFTA_SET_TABLE, text(where.table)],
    [Nft.NFTA_SET_NAME, text(name)],
    [Nft.NFTA_SET_FLAGS, u32(flags)],
    [Nft.NFTA_SET_KEY_TYPE, u32(7)],
    [Nft.NFTA_SET_KEY_LEN, u32(kind.key)],
    isMap && [Nft.NFTA_SET_DATA_TYPE, u32(kind.verdicts ? VERDICT_TYPE : 7)],
    isMap && !kind.verdicts && [Nft.NFTA_SET_DATA_LEN, u32(kind.data!)],
    ifPresent(Nft.NFTA_SET_OBJ_TYPE, kind.objects, u32),
    [Nft.NFTA_SET_ID, u32(id)],
    ifPresent(Nft.NFTA_SET_TIMEOUT, kind.timeout, u64),
    (size !== undefined || fields !== undefined) && [
      Nft.NFTA_SET_DESC,
      some(
        ifPresent(Nft.NFTA_SET_DESC_SIZE, size, u32),
        fields && [
          Nft.NFTA_SET_DESC_CONCAT,
          fields.map(length => [1, [[Nft.NFTA_SET_FIELD_LEN, u32(length)]]] as const),
        ],
      ),
    ],
    stateful.length === 1 && [Nft.NFTA_SET_EXPR, stateful[0]!],
    stateful.length > 1 && [Nft.NFTA_SET_EXPRESSIONS, stateful.map(each => [1, each] as const)],
  );
}

export const newSet = fc
  .tuple(
    place,
    setKind,
    CREATING,
    fc.integer({ min: 1, max: 6 }),
    rarely(fc.nat(0x3ff)),
    rarely(setKind),
    fc.tuple(rarely(fc.constantFrom(0, 1, 2)), rarely(fc.nat(5000)), userdata),
  )
  .map(([where, kind, flags, id, setFlags, other, [policy, gc, data]]) =>
    message(
      Nft.NFT_MSG_NEWSET,
      where,
      flags,
      some(
        ...setAttributes(other ?? kind, where, id, kind.name, setFlags ?? (other ?? kind).flags),
        ifPresent(Nft.NFTA_SET_POLICY, policy, u32),
        ifPresent(Nft.NFTA_SET_GC_INTERVAL, gc, u32),
        ifPresent(Nft.NFTA_SET_USERDATA, data, Buffer.from),
      ),
    ),
  );
export const delSet = fc
  .tuple(place, setKind, DELETING, deleting(Nft.NFT_MSG_DELSET, Nft.NFT_MSG_DESTROYSET), rarely(handle))
  .map(([where, { name }, flags, type, byHandle]) =>
    message(
      type,
      where,
      flags,
      some(
        [Nft.NFTA_SET_TABLE, text(where.table)],
        byHandle === undefined ? [Nft.NFTA_SET_NAME, text(name)] : [Nft.NFTA_SET_HANDLE, u64(byHandle)],
      ),
    ),
  );

const { NFT_JUMP, NFT_GOTO, NFT_RETURN, NFT_CONTINUE, NFT_BREAK } = Nft;
const verdictOf = (code: number, chain?: string): Attribute[] => [
  [Nft.NFTA_DATA_VERDICT, some([Nft.NFTA_VERDICT_CODE, u32(code)], ifPresent(Nft.NFTA_VERDICT_CHAIN, chain, text))],
];
export const verdict = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom(0, 1, 1, 0, NFT_RETURN, NFT_CONTINUE, NFT_BREAK, 3, 5, 99).map(code => verdictOf(code)),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(NFT_JUMP, NFT_GOTO), fc.constantFrom(...REGULAR, ...REGULAR, ...REGULAR, 'in'))
      .map(([code, chain]) => verdictOf(code, chain)),
  },
);

export interface Draw {
  readonly from: number;
  readonly to: number;
  readonly second: number;
  readonly how: number;
  readonly verdict: Attribute[];
  readonly more: number;
  readonly milliseconds: number;
}
export const draw: fc.Arbitrary<Draw> = fc.record({
  from: fc.nat(9),
  to: fc.nat(9),
  second: fc.nat(3),
  how: fc.nat(60),
  verdict,
  more: fc.nat(30),
  milliseconds: fc.constantFrom(0, 60_000, 60_001, 61_003, 120_000, 600_000),
});

const padded = (bytes: Buffer, length: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc(Math.max(0, length - bytes.length))]).subarray(0, length);
export const number = (n: number, length: number): Buffer =>
  length >= 4
    ? padded(Buffer.concat([Buffer.alloc(3), u8(n)]), length)
    : Buffer.concat([Buffer.alloc(length - 1), u8(n)]);

/** The elements that stand for one entry: intervals have a start and an end. */
export function elementsOf(kind: SetKind, drawn: Draw): Attribute[][] {
  const { from, to, second, how, more, milliseconds } = drawn;
  const isInterval = (kind.flags & NFT_SET_INTERVAL) !== 0;
  const hasFields = kind.fields !== undefined;
  const keyOf = (n: number, m: number): Buffer =>
    hasFields ? Buffer.concat([number(n, 4), padded(number(m, kind.fields![1]!), 4)]) : number(n, kind.key);
  const low = how === 1 ? to : Math.min(from, to);
  const high = how === 1 ? from : Math.max(from, to);
  const data: (Attribute | undefined | false)[] = [
    kind.data !== undefined && how !== 2 && [Nft.NFTA_SET_ELEM_DATA, value(number(second, kind.data))],
    kind.verdicts && how !== 2 && [Nft.NFTA_SET_ELEM_DATA, drawn.verdict],
    kind.objects !== undefined && how !== 2 && [Nft.NFTA_SET_ELEM_OBJREF, text(`o${second}`)],
    how === 3 && [Nft.NFTA_SET_ELEM_DATA, value(u32(1))],
    ((kind.flags & NFT_SET_TIMEOUT) !== 0 ? more < 9 : more === 0) && [Nft.NFTA_SET_ELEM_TIMEOUT, u64(milliseconds)],
    ((kind.flags & NFT_SET_TIMEOUT) !== 0 ? more === 5 || more === 10 : how === 4) && [
      Nft.NFTA_SET_ELEM_EXPIRATION,
      u64(60_000),
    ],
    how === 5 && [Nft.NFTA_SET_ELEM_USERDATA, text('note')],
    how === 6 && [Nft.NFTA_SET_ELEM_EXPR, plain('counter')],
    how === 7 && [
      Nft.NFTA_SET_ELEM_EXPRESSIONS,
      [
        [1, plain('counter')],
        [1, plain('quota')],
      ],
    ],
    how === 8 && [Nft.NFTA_SET_ELEM_EXPR, plain('limit')],
  ];
  if (how === 9 || how === 10)
    return [
      some(how === 10 && [Nft.NFTA_SET_ELEM_KEY, value(keyOf(low, second))], ...data, [
        Nft.NFTA_SET_ELEM_FLAGS,
        u32(2),
      ]),
    ];
  const flags = how === 11 ? 1 : how === 12 ? 4 : how === 13 ? 3 : undefined;
  const one = (n: number, m: number, end?: Buffer): Attribute[] =>
    some(
      [Nft.NFTA_SET_ELEM_KEY, value(keyOf(n, m))],
      end && [Nft.NFTA_SET_ELEM_KEY_END, value(end)],
      ifPresent(Nft.NFTA_SET_ELEM_FLAGS, flags, u32),
      ...data,
    );
  if (!isInterval) return [one(from, second, how === 14 ? keyOf(to, second) : undefined)];
  if (hasFields) return [one(low, second, how === 15 ? undefined : keyOf(high, how === 16 ? 0 : second))];
  const closing: Attribute[] = some(
    [Nft.NFTA_SET_ELEM_KEY, value(keyOf(high + 1, 0))],
    [Nft.NFTA_SET_ELEM_FLAGS, u32(1)],
  );
  if (how === 17) return [one(low, 0)];
  if (how === 18) return [closing];
  if (how === 19) return [closing, one(low, 0)];
  if (how === 20) return [one(low, 0, keyOf(high, 0)), closing];
  return [one(low, 0), closing];
}

export const elementMessage = (
  type: number,
  where: Place,
  flags: number,
  name: string,
  elements: readonly Attribute[][] | undefined,
  id?: number,
): Message =>
  message(
    type,
    where,
    flags,
    some(
      [Nft.NFTA_SET_ELEM_LIST_TABLE, text(where.table)],
      [Nft.NFTA_SET_ELEM_LIST_SET, text(name)],
      ifPresent(Nft.NFTA_SET_ELEM_LIST_SET_ID, id, u32),
      elements && [Nft.NFTA_SET_ELEM_LIST_ELEMENTS, elements.map((each, i) => [i + 1, each] as const)],
    ),
  );

export const newElements = fc
  .tuple(place, setKind, CREATING, fc.array(draw, { minLength: 1, maxLength: 4 }), rarely(setKind))
  .map(([where, kind, flags, drawn, other]) =>
    elementMessage(
      Nft.NFT_MSG_NEWSETELEM,
      where,
      flags,
      (other ?? kind).name,
      drawn.flatMap(each => elementsOf(kind, each)),
    ),
  );
export const delElements = fc
  .tuple(
    place,
    setKind,
    DELETING,
    fc.array(draw, { minLength: 1, maxLength: 2 }),
    deleting(Nft.NFT_MSG_DELSETELEM, Nft.NFT_MSG_DESTROYSETELEM),
    fc.nat(9),
  )
  .map(([where, kind, flags, drawn, type, how]) =>
    elementMessage(
      type,
      where,
      flags,
      kind.name,
      how === 0
        ? undefined
        : drawn.flatMap(each =>
            elementsOf(kind, each).map(element =>
              how < 4
                ? element
                : element.filter(
                    ([of]) =>
                      of === Nft.NFTA_SET_ELEM_KEY ||
                      of === Nft.NFTA_SET_ELEM_KEY_END ||
                      of === Nft.NFTA_SET_ELEM_FLAGS,
                  ),
            ),
          ),
    ),
  );
