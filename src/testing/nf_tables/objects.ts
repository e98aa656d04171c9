import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { hasModule, isSince } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Writer } from '../wire/attributes.ts';
import { CONNTRACK_OBJECTS, type Holding } from './conntrack-objects.ts';
import { type Codec, needConnections, needed, type Work } from './context.ts';
import { readSynproxy, SYNPROXY_ROWS } from './expressions/actions.ts';
import { given, type Row, writeRows } from './expressions/rows.ts';
import { connlimit, counter, limit, quota, type Stateful } from './expressions/stateful.ts';
import type { Run } from './expressions/type.ts';
import { OBJECT_DATA } from './policies.ts';
import { parsed } from './policy.ts';
import type { NftObject, Table } from './state.ts';
import { nameOf, tableOf } from './tables.ts';

/** Objects that count packets share the arithmetic of the expressions of the same name. */
const COUNTING: Record<number, Stateful> = {
  [Nft.NFT_OBJECT_COUNTER]: counter,
  [Nft.NFT_OBJECT_QUOTA]: quota,
  [Nft.NFT_OBJECT_LIMIT]: limit,
  [Nft.NFT_OBJECT_CONNLIMIT]: connlimit,
};

const SECMARK: readonly Row[] = [['context', Nft.NFTA_SECMARK_CTX, 'text']];
const HOLDING: Record<number, Holding> = {
  ...CONNTRACK_OBJECTS,
  [Nft.NFT_OBJECT_SECMARK]: {
    rows: SECMARK,
    read(attributes) {
      needed(attributes, Nft.NFTA_SECMARK_CTX);
      // No module of security knows the context.
      return refuse(ENOENT);
    },
  },
  [Nft.NFT_OBJECT_SYNPROXY]: { rows: SYNPROXY_ROWS, read: readSynproxy },
};

/** Objects whose settings may change. */
const UPDATED = new Set<number>([Nft.NFT_OBJECT_QUOTA, Nft.NFT_OBJECT_SYNPROXY]);

/** Modules that bring types of objects. */
const MODULES: Readonly<Record<number, string>> = {
  [Nft.NFT_OBJECT_CT_HELPER]: 'nft_ct',
  [Nft.NFT_OBJECT_CT_EXPECT]: 'nft_ct',
  [Nft.NFT_OBJECT_CT_TIMEOUT]: 'nft_ct',
  [Nft.NFT_OBJECT_CONNLIMIT]: 'nft_connlimit',
  [Nft.NFT_OBJECT_LIMIT]: 'nft_limit',
  [Nft.NFT_OBJECT_QUOTA]: 'nft_quota',
  [Nft.NFT_OBJECT_SYNPROXY]: 'nft_synproxy',
  [Nft.NFT_OBJECT_TUNNEL]: 'nft_tunnel',
};

function isKnown({ engine }: Work, type: number): boolean {
  const module = MODULES[type];
  if (module !== undefined && !hasModule(engine.release, module)) return false;
  if (type === Nft.NFT_OBJECT_TUNNEL) return engine.notModelled('tunnels as objects');
  return COUNTING[type] !== undefined || HOLDING[type] !== undefined;
}

const TRACKING = new Set<number>([
  Nft.NFT_OBJECT_CT_HELPER,
  Nft.NFT_OBJECT_CT_TIMEOUT,
  Nft.NFT_OBJECT_CT_EXPECT,
  Nft.NFT_OBJECT_SYNPROXY,
]);

function readValues(work: Work, type: number): Pick<NftObject, 'values' | 'state'> {
  const inside = parsed(work.attributes, Nft.NFTA_OBJ_DATA, OBJECT_DATA[type]);
  const counting = COUNTING[type];
  if (counting !== undefined) {
    const read = counting.read(inside, work.engine.now);
    if (counting.tracks === true) needConnections(work);
    return read;
  }
  const holding = HOLDING[type];
  if (holding === undefined) return refuse(EOPNOTSUPP);
  const values = holding.read(inside, work);
  if (TRACKING.has(type)) needConnections(work);
  return { values, state: {} };
}

/** @returns the object, and what takes effect with the batch; undefined where nothing has changed */
export function newObject(work: Work): { object: NftObject; apply?: () => void } | undefined {
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
    const { values } = readValues(work, type);
    const apply = () => {
      existing.values = values;
    };
    return { object: existing, apply };
  }
  if (!isKnown(work, type)) refuse(ENOENT);
  const read = readValues(work, type);
  const object: NftObject = {
    table,
    name,
    type,
    handle: ++table.lastHandle,
    ...read,
    users: 0,
    userdata: attributes.get(Nft.NFTA_OBJ_USERDATA)?.bytes.slice(),
  };
  table.objects.push(object);
  batch.undo.push(() => void table.objects.splice(table.objects.indexOf(object), 1));
  return { object };
}

/** The object that a message means, by its name or its handle. */
export function objectOf({ attributes }: Work, table: Table, byHandle = true): NftObject {
  const type = attributes.u32be(Nft.NFTA_OBJ_TYPE);
  const handle = byHandle ? attributes.get(Nft.NFTA_OBJ_HANDLE) : undefined;
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

/** Between 6.3 and 6.12 the handle came before the type. */
const TYPE_FIRST = [6, 13] as const;

export function writeObject(writer: Writer, object: NftObject, engine: Codec, isOld: boolean): void {
  const { type, values, state } = object;
  writer.text(Nft.NFTA_OBJ_TABLE, object.table.name);
  writer.text(Nft.NFTA_OBJ_NAME, object.name);
  const typeFirst = isOld || isSince(engine.release, TYPE_FIRST);
  if (!typeFirst) writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
  writer.u32be(Nft.NFTA_OBJ_TYPE, type);
  if (!isOld && typeFirst) writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
  writer.u32be(Nft.NFTA_OBJ_USE, object.users);
  writer.nest(Nft.NFTA_OBJ_DATA, () => {
    const counting = COUNTING[type];
    if (counting === undefined) writeRows(HOLDING[type]!.rows, values, writer);
    else writeRows(counting.rows, given(counting.write(values, state, engine.now)), writer);
  });
  if (isOld) writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
  if (object.userdata !== undefined) writer.attribute(Nft.NFTA_OBJ_USERDATA, object.userdata);
}
