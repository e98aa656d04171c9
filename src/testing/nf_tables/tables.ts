import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import {
  NFT_SET_ANONYMOUS,
  NFT_TABLE_F_DORMANT,
  NFT_TABLE_F_OWNER,
  NFT_TABLE_F_PERSIST,
  NFTA_TABLE_FLAGS,
  NFTA_TABLE_HANDLE,
  NFTA_TABLE_NAME,
  NFTA_TABLE_OWNER,
  NFTA_TABLE_USE,
  NFTA_TABLE_USERDATA,
} from '../../linux/nf_tables.ts';
import { isSince } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM, ERANGE, refuse } from '../refusal.ts';
import type { Attribute, Writer } from '../wire/attributes.ts';
import { textOf, wholeTextOf } from '../wire/attributes.ts';
import { needed, type Work } from './context.ts';
import type { NfTables, NftSet, Table } from './state.ts';

const FAMILIES = new Set([1, 2, 3, 5, 7, 10]);
/** A table whose owner may go and come back (Linux 6.9). */
const PERSIST = [6, 9] as const;
/** NFT_NAME_MAXLEN, with the NUL. */
export const NAME_LENGTH = 256;

/** A name, which the kernel's policy limits. */
export function nameOf(attribute: Attribute): string {
  if (attribute.bytes.length > NAME_LENGTH) refuse(ERANGE, attribute, 'Attribute failed policy validation');
  return textOf(attribute.bytes);
}

/** A name that is looked for: a NUL inside of it finds nothing. */
export const soughtName = ({ bytes }: Attribute): string => wholeTextOf(bytes);

/** The table that a message names (nft_table_lookup). Those of another socket may not be touched. */
export function tableOf(work: Work, type: number, reads = false): Table {
  const attribute = needed(work.attributes, type);
  const name = soughtName(attribute);
  const table = work.namespace.nfTables.tables.find(each => each.name === name && each.family === work.family);
  if (table === undefined) return refuse(ENOENT, attribute);
  if (!reads) checkOwner(work, table, attribute);
  return table;
}

export function checkOwner(work: Work, table: Table, attribute: Attribute | undefined): void {
  if (table.owner !== undefined && table.owner !== work.request.port) refuse(EPERM, attribute);
}

export interface TableChange {
  readonly table: Table;
}

export function newTable(work: Work): TableChange | undefined {
  const { attributes, request, namespace, batch, family } = work;
  if (!FAMILIES.has(family)) refuse(EOPNOTSUPP);
  const attribute = needed(attributes, NFTA_TABLE_NAME);
  const name = nameOf(attribute);
  const { nfTables } = namespace;
  const known =
    NFT_TABLE_F_DORMANT | NFT_TABLE_F_OWNER | (isSince(work.engine.release, PERSIST) ? NFT_TABLE_F_PERSIST : 0);
  const flags = attributes.u32be(NFTA_TABLE_FLAGS);
  const sought = soughtName(attribute);
  const existing = nfTables.tables.find(each => each.name === sought && each.family === family);
  if (existing !== undefined) {
    checkOwner(work, existing, undefined);
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, attribute);
    if ((request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    return update(work, existing, flags, known);
  }
  if (flags !== undefined && (flags & ~known) !== 0) refuse(EOPNOTSUPP);
  const table: Table = {
    family,
    name,
    handle: ++nfTables.lastTableHandle,
    flags: flags ?? 0,
    userdata: attributes.get(NFTA_TABLE_USERDATA)?.bytes.slice(),
    owner: ((flags ?? 0) & NFT_TABLE_F_OWNER) === 0 ? undefined : request.port,
    chains: [],
    sets: [],
    objects: [],
    flowtables: [],
    lastHandle: 0,
  };
  nfTables.tables.push(table);
  batch.undo.push(() => void nfTables.tables.splice(nfTables.tables.indexOf(table), 1));
  return { table };
}

/** nf_tables_updtable. @returns the table, if something is written down about it */
function update(work: Work, table: Table, flags: number | undefined, known: number): TableChange | undefined {
  if (flags === undefined) return undefined;
  if ((flags & ~known) !== 0) refuse(EOPNOTSUPP);
  if (flags === table.flags) return undefined;
  const wantsOwner = (flags & NFT_TABLE_F_OWNER) !== 0;
  const isOwned = table.owner !== undefined;
  const isOrphan = !isOwned && (table.flags & NFT_TABLE_F_PERSIST) !== 0;
  if ((isOwned && !wantsOwner) || (wantsOwner && !isOrphan)) refuse(EOPNOTSUPP);
  if (((flags ^ table.flags) & NFT_TABLE_F_PERSIST) !== 0) refuse(EOPNOTSUPP);
  const { batch } = work;
  if (batch.dormant.has(table) || batch.withChains.has(table)) refuse(EINVAL);
  const { flags: before, owner } = table;
  batch.dormant.add(table);
  table.flags = flags;
  if (wantsOwner) table.owner = work.request.port;
  batch.undo.push(() => {
    table.flags = before;
    table.owner = owner;
  });
  return { table };
}

/** Sets that belong to a rule do not count. */
export const useOf = ({ chains, sets, objects, flowtables }: Table): number =>
  chains.length + sets.filter(each => !isOwnOfRule(each)).length + objects.length + flowtables.length;
const isOwnOfRule = ({ flags, bound }: NftSet): boolean => bound && (flags & NFT_SET_ANONYMOUS) !== 0;

/** The attributes of a table, in the order of the release. */
export function writeTable(writer: Writer, table: Table, isOld: boolean): void {
  writer.text(NFTA_TABLE_NAME, table.name);
  if (isOld) writer.u32be(NFTA_TABLE_FLAGS, table.flags);
  writer.u32be(NFTA_TABLE_USE, useOf(table));
  writer.u64be(NFTA_TABLE_HANDLE, BigInt(table.handle));
  if (!isOld) writer.u32be(NFTA_TABLE_FLAGS, table.flags);
  if (table.owner !== undefined) writer.u32be(NFTA_TABLE_OWNER, table.owner);
  if (table.userdata !== undefined) writer.attribute(NFTA_TABLE_USERDATA, table.userdata);
}

/** Tables that a message without a name means, and the named one. */
export function tablesToDelete(work: Work, isDestroy: boolean): readonly Table[] {
  const { attributes, family, namespace } = work;
  const { tables }: NfTables = namespace.nfTables;
  const handle = attributes.get(NFTA_TABLE_HANDLE);
  const name = attributes.get(NFTA_TABLE_NAME);
  const isOurs = (table: Table) => table.owner === undefined || table.owner === work.request.port;
  if (family === 0 || (handle === undefined && name === undefined)) {
    const named = name && soughtName(name);
    return tables.filter(
      each => (family === 0 || each.family === family) && isOurs(each) && (named === undefined || each.name === named),
    );
  }
  const table =
    handle !== undefined
      ? tables.find(each => each.family === family && BigInt(each.handle) === attributes.u64be(NFTA_TABLE_HANDLE))
      : tables.find(each => each.family === family && each.name === soughtName(name!));
  if (table === undefined) return isDestroy ? [] : refuse(ENOENT, handle ?? name);
  checkOwner(work, table, handle ?? name);
  return [table];
}
