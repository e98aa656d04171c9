import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Attributes, Writer } from '../wire/attributes.ts';
import { type Codec, needed, type Work } from './context.ts';
import { readSynproxy, SYNPROXY_ROWS } from './expressions/actions.ts';
import { given, type Row, writeRows } from './expressions/rows.ts';
import { connlimit, counter, limit, quota, type Stateful } from './expressions/stateful.ts';
import type { Run } from './expressions/type.ts';
import type { NftObject, Table, Value } from './state.ts';
import { nameOf, tableOf } from './tables.ts';

/** Objects that count packets share the arithmetic of the expressions of the same name. */
const COUNTING: Record<number, Stateful> = {
  [Nft.NFT_OBJECT_COUNTER]: counter,
  [Nft.NFT_OBJECT_QUOTA]: quota,
  [Nft.NFT_OBJECT_LIMIT]: limit,
  [Nft.NFT_OBJECT_CONNLIMIT]: connlimit,
};

/** Objects that hold settings only. */
interface Holding {
  readonly rows: readonly Row[];
  read(attributes: Attributes | undefined): Record<string, Value>;
}

const HELPER: readonly Row[] = [
  ['name', Nft.NFTA_CT_HELPER_NAME, 'text'],
  ['l4proto', Nft.NFTA_CT_HELPER_L4PROTO, 'u8'],
  ['l3proto', Nft.NFTA_CT_HELPER_L3PROTO, 'u16'],
];
const EXPECTATION: readonly Row[] = [
  ['l3proto', Nft.NFTA_CT_EXPECT_L3PROTO, 'u16'],
  ['l4proto', Nft.NFTA_CT_EXPECT_L4PROTO, 'u8'],
  ['port', Nft.NFTA_CT_EXPECT_DPORT, 'bytes'],
  ['timeout', Nft.NFTA_CT_EXPECT_TIMEOUT, 'bytes'],
  ['size', Nft.NFTA_CT_EXPECT_SIZE, 'u8'],
];
const SECMARK: readonly Row[] = [['context', Nft.NFTA_SECMARK_CTX, 'text']];
const TIMEOUTS: readonly Row[] = [
  ['l3proto', Nft.NFTA_CT_TIMEOUT_L3PROTO, 'u16'],
  ['l4proto', Nft.NFTA_CT_TIMEOUT_L4PROTO, 'u8'],
  ['data', Nft.NFTA_CT_TIMEOUT_DATA, 'bytes'],
];

const HOLDING: Record<number, Holding> = {
  [Nft.NFT_OBJECT_CT_HELPER]: {
    rows: HELPER,
    read(attributes) {
      needed(attributes, Nft.NFTA_CT_HELPER_NAME);
      needed(attributes, Nft.NFTA_CT_HELPER_L4PROTO);
      const l4proto = attributes!.u8(Nft.NFTA_CT_HELPER_L4PROTO)!;
      if (l4proto === 0) refuse(ENOENT);
      const name = attributes!.text(Nft.NFTA_CT_HELPER_NAME)!;
      return given({ name, l3proto: attributes!.u16be(Nft.NFTA_CT_HELPER_L3PROTO), l4proto });
    },
  },
  [Nft.NFT_OBJECT_CT_EXPECT]: {
    rows: EXPECTATION,
    read(attributes) {
      for (const type of [
        Nft.NFTA_CT_EXPECT_L4PROTO,
        Nft.NFTA_CT_EXPECT_DPORT,
        Nft.NFTA_CT_EXPECT_TIMEOUT,
        Nft.NFTA_CT_EXPECT_SIZE,
      ])
        needed(attributes, type);
      const l4proto = attributes!.u8(Nft.NFTA_CT_EXPECT_L4PROTO)!;
      if (![6, 17, 33, 132, 136].includes(l4proto)) refuse(EOPNOTSUPP);
      return given({
        l3proto: attributes!.u16be(Nft.NFTA_CT_EXPECT_L3PROTO),
        l4proto,
        port: attributes!.get(Nft.NFTA_CT_EXPECT_DPORT)!.bytes.slice(),
        timeout: attributes!.get(Nft.NFTA_CT_EXPECT_TIMEOUT)!.bytes.slice(),
        size: attributes!.u8(Nft.NFTA_CT_EXPECT_SIZE),
      });
    },
  },
  [Nft.NFT_OBJECT_SECMARK]: {
    rows: SECMARK,
    read(attributes) {
      needed(attributes, Nft.NFTA_SECMARK_CTX);
      return { context: attributes!.text(Nft.NFTA_SECMARK_CTX)! };
    },
  },
  [Nft.NFT_OBJECT_CT_TIMEOUT]: {
    rows: TIMEOUTS,
    read(attributes) {
      needed(attributes, Nft.NFTA_CT_TIMEOUT_L4PROTO);
      needed(attributes, Nft.NFTA_CT_TIMEOUT_DATA);
      return given({
        l3proto: attributes!.u16be(Nft.NFTA_CT_TIMEOUT_L3PROTO),
        l4proto: attributes!.u8(Nft.NFTA_CT_TIMEOUT_L4PROTO),
        data: attributes!.get(Nft.NFTA_CT_TIMEOUT_DATA)!.bytes.slice(),
      });
    },
  },
  [Nft.NFT_OBJECT_SYNPROXY]: { rows: SYNPROXY_ROWS, read: readSynproxy },
};

/** Objects whose settings may change. */
const UPDATED = new Set<number>([Nft.NFT_OBJECT_QUOTA, Nft.NFT_OBJECT_SYNPROXY]);

function readValues(work: Work, type: number): Pick<NftObject, 'values' | 'state'> {
  const inside = work.attributes.nested(Nft.NFTA_OBJ_DATA);
  const counting = COUNTING[type];
  if (counting !== undefined) return counting.read(inside, work.engine.now);
  const holding = HOLDING[type];
  if (holding === undefined) return refuse(EOPNOTSUPP);
  return { values: holding.read(inside), state: {} };
}

/** @returns the object, and whether it is new; undefined where nothing has changed */
export function newObject(work: Work): { object: NftObject; isNew: boolean } | undefined {
  const { attributes, request, batch } = work;
  for (const type of [Nft.NFTA_OBJ_TYPE, Nft.NFTA_OBJ_NAME, Nft.NFTA_OBJ_DATA]) needed(attributes, type);
  const table = tableOf(work, Nft.NFTA_OBJ_TABLE);
  const type = attributes.u32be(Nft.NFTA_OBJ_TYPE)!;
  const nameAttribute = attributes.get(Nft.NFTA_OBJ_NAME)!;
  const name = nameOf(nameAttribute);
  const existing = table.objects.find(each => each.name === name && each.type === type);
  if (existing !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, nameAttribute);
    if ((request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    if (!UPDATED.has(type)) return undefined;
    const before = existing.values;
    existing.values = readValues(work, type).values;
    batch.undo.push(() => {
      existing.values = before;
    });
    return { object: existing, isNew: false };
  }
  if (COUNTING[type] === undefined && HOLDING[type] === undefined) refuse(EOPNOTSUPP);
  const object: NftObject = {
    table,
    name,
    type,
    handle: ++table.lastHandle,
    ...readValues(work, type),
    users: 0,
    userdata: attributes.get(Nft.NFTA_OBJ_USERDATA)?.bytes.slice(),
  };
  table.objects.push(object);
  batch.undo.push(() => void table.objects.splice(table.objects.indexOf(object), 1));
  return { object, isNew: true };
}

/** The object that a message means, by its name or its handle. */
export function objectOf({ attributes }: Work, table: Table): NftObject {
  const type = attributes.u32be(Nft.NFTA_OBJ_TYPE);
  const handle = attributes.get(Nft.NFTA_OBJ_HANDLE);
  const name = attributes.get(Nft.NFTA_OBJ_NAME);
  if (type === undefined || (handle === undefined && name === undefined)) return refuse(EINVAL);
  const wanted = handle === undefined ? undefined : attributes.u64be(Nft.NFTA_OBJ_HANDLE);
  const called = name && nameOf(name);
  const found = table.objects.find(
    each => each.type === type && (wanted === undefined ? each.name === called : BigInt(each.handle) === wanted),
  );
  return found ?? refuse(ENOENT, handle ?? name);
}

export function takeObject({ type, values, state }: NftObject, run: Run): boolean {
  const counting = COUNTING[type];
  if (counting !== undefined) return counting.take(values, state, run);
  return run.engine.notModelled('helpers, timeouts, expectations, synproxy and marks of security as objects');
}

export function resetObject({ type, state }: NftObject): void {
  COUNTING[type]?.reset?.(state);
}

export function writeObject(writer: Writer, object: NftObject, engine: Codec, isOld: boolean): void {
  const { type, values, state } = object;
  writer.text(Nft.NFTA_OBJ_TABLE, object.table.name);
  writer.text(Nft.NFTA_OBJ_NAME, object.name);
  writer.u32be(Nft.NFTA_OBJ_TYPE, type);
  if (!isOld) writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
  writer.u32be(Nft.NFTA_OBJ_USE, object.users);
  writer.nest(Nft.NFTA_OBJ_DATA, () => {
    const counting = COUNTING[type];
    if (counting === undefined) writeRows(HOLDING[type]!.rows, values, writer);
    else writeRows(counting.rows, given(counting.write(values, state, engine.now)), writer);
  });
  if (isOld) writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
  if (object.userdata !== undefined) writer.attribute(Nft.NFTA_OBJ_USERDATA, object.userdata);
}
