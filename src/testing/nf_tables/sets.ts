import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { isSince } from '../machine/state.ts';
import { E2BIG, EEXIST, EINVAL, ENFILE, ENOENT, ENOMEM, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Attributes, Writer } from '../wire/attributes.ts';
import { type Codec, needed, type RuleContext, type Work } from './context.ts';
import { jiffies, presentBytes } from './data.ts';
import { DATA_VERDICT } from './expressions/lookups.ts';
import { readStateful } from './expressions/stateful.ts';
import { DESCRIPTION } from './policies.ts';
import { parsed } from './policy.ts';
import { backendOf, collectByClock, type Storage, storageOf } from './set-lookup.ts';
import type { Expression, NftSet, Table } from './state.ts';
import { nameOf, soughtName, tableOf } from './tables.ts';

/** NFT_DATA_VALUE_MAXLEN */
const MAX_LENGTH = 64;
const MAX_FIELDS = 16;
const MAX_FIELD = 255;
/** sizeof(struct nft_verdict) */
const VERDICT_LENGTH = 16;
const ALL_FLAGS = 0x1ff;

interface Description {
  readonly size: number;
  readonly fields: readonly number[];
}

function describe(attributes: Attributes, flags: number, keyLength: number): Description {
  const inside = parsed(attributes, Nft.NFTA_SET_DESC, DESCRIPTION);
  const isConcatenation = (flags & Nft.NFT_SET_CONCAT) !== 0;
  const list = inside?.nested(Nft.NFTA_SET_DESC_CONCAT);
  if (list === undefined) {
    if (isConcatenation) refuse(EINVAL);
    return { size: inside?.u32be(Nft.NFTA_SET_DESC_SIZE) ?? 0, fields: [] };
  }
  const fields = list.list().map((each, i) => {
    if (each.type !== Nft.NFTA_LIST_ELEM) refuse(EINVAL);
    if (i >= MAX_FIELDS) refuse(E2BIG);
    const length = list.inside(each).u32be(Nft.NFTA_SET_FIELD_LEN);
    if (length === undefined || length === 0) return refuse(EINVAL);
    return length > MAX_FIELD ? refuse(EINVAL) : length;
  });
  if (fields.reduce((sum, length) => sum + ((length + 3) & ~3), 0) !== keyLength) refuse(EINVAL);
  if (fields.length > 1 !== isConcatenation) refuse(EINVAL);
  return { size: inside!.u32be(Nft.NFTA_SET_DESC_SIZE) ?? 0, fields };
}

/** @returns the set, and what takes effect with the batch */
export function newSet(work: Work): { set: NftSet; apply?: () => void } {
  const { attributes, request, batch } = work;
  for (const type of [Nft.NFTA_SET_TABLE, Nft.NFTA_SET_NAME, Nft.NFTA_SET_KEY_LEN, Nft.NFTA_SET_ID])
    needed(attributes, type);
  const has = (flag: number, set: number) => (set & flag) === flag;
  const keyType = attributes.u32be(Nft.NFTA_SET_KEY_TYPE) ?? 0;
  if ((keyType & DATA_VERDICT) >>> 0 === DATA_VERDICT) refuse(EINVAL);
  const keyLength = attributes.u32be(Nft.NFTA_SET_KEY_LEN)!;
  if (keyLength === 0 || keyLength > MAX_LENGTH) refuse(EINVAL);
  const flags = attributes.u32be(Nft.NFTA_SET_FLAGS) ?? 0;
  if ((flags & ~ALL_FLAGS) !== 0) refuse(EOPNOTSUPP);
  if (has(Nft.NFT_SET_MAP | Nft.NFT_SET_OBJECT, flags) || has(Nft.NFT_SET_EVAL | Nft.NFT_SET_OBJECT, flags))
    refuse(EOPNOTSUPP);
  const both = Nft.NFT_SET_ANONYMOUS | Nft.NFT_SET_TIMEOUT;
  if ((flags & (both | Nft.NFT_SET_EVAL)) === both || has(Nft.NFT_SET_CONSTANT | Nft.NFT_SET_TIMEOUT, flags))
    refuse(EOPNOTSUPP);
  const { dataType, dataLength } = dataOf(attributes, flags);
  const objectType = attributes.u32be(Nft.NFTA_SET_OBJ_TYPE);
  const isObjects = (flags & Nft.NFT_SET_OBJECT) !== 0;
  if ((objectType !== undefined) !== isObjects) refuse(EINVAL);
  if (objectType !== undefined && (objectType === 0 || objectType > Nft.NFT_OBJECT_SYNPROXY)) refuse(EOPNOTSUPP);
  const hasTimeouts = (flags & Nft.NFT_SET_TIMEOUT) !== 0;
  if ((attributes.has(Nft.NFTA_SET_TIMEOUT) || attributes.has(Nft.NFTA_SET_GC_INTERVAL)) && !hasTimeouts)
    refuse(EINVAL);
  if (attributes.has(Nft.NFTA_SET_TIMEOUT) && (flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EOPNOTSUPP);
  const timeout = jiffies(attributes.u64be(Nft.NFTA_SET_TIMEOUT) ?? 0n);
  if (attributes.has(Nft.NFTA_SET_GC_INTERVAL) && (flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EOPNOTSUPP);
  const gcInterval = attributes.u32be(Nft.NFTA_SET_GC_INTERVAL) ?? 0;
  const policy = attributes.u32be(Nft.NFTA_SET_POLICY) ?? Nft.NFT_SET_POL_PERFORMANCE;
  if (policy > Nft.NFT_SET_POL_MEMORY) refuse(EOPNOTSUPP);
  const description = describe(attributes, flags, keyLength);
  const table = tableOf(work, Nft.NFTA_SET_TABLE);
  const nameAttribute = attributes.get(Nft.NFTA_SET_NAME)!;
  const name = nameOf(nameAttribute);
  const id = attributes.u32be(Nft.NFTA_SET_ID)!;
  const sought = soughtName(nameAttribute);
  const existing = table.sets.find(each => each.name === sought);
  const values = {
    flags,
    keyType,
    keyLength,
    dataType,
    dataLength,
    objectType: objectType ?? 0,
    policy,
    ...description,
  };
  if (existing !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, nameAttribute);
    if ((request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    if ((existing.flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EOPNOTSUPP);
    const expressions = readSetExpressions(work, table, attributes, existing);
    const isSame =
      existing.flags === flags &&
      existing.keyType === keyType &&
      existing.keyLength === keyLength &&
      existing.dataType === dataType &&
      existing.dataLength === dataLength &&
      existing.fields.join() === description.fields.join() &&
      existing.expressions.map(each => each.name).join() === expressions.map(each => each.name).join();
    if (!isSame) refuse(EEXIST, nameAttribute);
    const apply = () => {
      existing.timeout = timeout;
      existing.gcInterval = gcInterval;
      if (description.size !== 0) existing.size = description.size;
    };
    return { set: existing, apply };
  }
  if ((request.flags & NLM_F_CREATE) === 0) refuse(ENOENT);
  const hasExpressions = attributes.has(Nft.NFTA_SET_EXPR) || attributes.has(Nft.NFTA_SET_EXPRESSIONS);
  const storage = storageOf({ ...values, hasExpressions });
  if (storage === undefined) refuse(EOPNOTSUPP);
  if (storage === 'fixed hash' && bucketsOf(description.size) * POINTER > MAX_ALLOCATION) refuse(ENOMEM);
  const set: NftSet = {
    table,
    name: freeName(table, name),
    handle: 0,
    ...values,
    hasExpressions,
    timeout,
    gcInterval,
    userdata: presentBytes(attributes.get(Nft.NFTA_SET_USERDATA)?.bytes),
    expressions: [],
    elements: new Map(),
    catchAll: undefined,
    users: 0,
    bound: false,
    collected: storage === 'growing hash' ? work.engine.now : undefined,
  };
  set.expressions = readSetExpressions(work, table, attributes, set);
  set.handle = ++table.lastHandle;
  table.sets.push(set);
  batch.sets.push({ id, set });
  if ((flags & Nft.NFT_SET_ANONYMOUS) !== 0) batch.anonymous.add(set);
  batch.undo.push(() => void table.sets.splice(table.sets.indexOf(set), 1));
  return { set };
}

/** A fixed hash is one allocation, which may not be larger than a signed number of 32 bits (nf_tables_newset). */
const MAX_ALLOCATION = 0x7fff_ffff;
const POINTER = 8;

/** nft_hash_buckets. It multiplies in 32 bits. */
const bucketsOf = (size: number): number => 2 ** Math.ceil(Math.log2(Math.floor(((size * 4) >>> 0) / 3)));

function dataOf(attributes: Attributes, flags: number): { dataType: number; dataLength: number } {
  const isMap = (flags & Nft.NFT_SET_MAP) !== 0;
  const dataType = attributes.u32be(Nft.NFTA_SET_DATA_TYPE);
  if ((dataType !== undefined) !== isMap) refuse(EINVAL);
  if (dataType === undefined) return { dataType: 0, dataLength: 0 };
  if (dataType === DATA_VERDICT) return { dataType, dataLength: VERDICT_LENGTH };
  if ((dataType & DATA_VERDICT) >>> 0 === DATA_VERDICT) refuse(EINVAL);
  const dataLength = attributes.u32be(Nft.NFTA_SET_DATA_LEN) ?? 0;
  if (dataLength === 0 || dataLength > MAX_LENGTH) refuse(EINVAL);
  return { dataType, dataLength };
}

/** The lowest number that no set of that pattern has. */
/** NFT_SET_MAX_ANONLEN */
const MAX_PATTERN = 16;

/** Kernel and program share the naming: %d stands for the first number that is free (nf_tables_set_alloc_name). */
function freeName({ sets }: Table, pattern: string): string {
  const at = pattern.indexOf('%');
  if (at < 0) return sets.some(each => each.name === pattern) ? refuse(ENFILE) : pattern;
  if (pattern[at + 1] !== 'd' || pattern.includes('%', at + 2) || pattern.length >= MAX_PATTERN) refuse(EINVAL);
  for (let i = 0; ; i++) {
    const name = pattern.replace('%d', String(i));
    if (!sets.some(each => each.name === name)) return name;
  }
}

const MAX_EXPRESSIONS = 2;

/** The expressions that each element of a set has. */
function readSetExpressions(work: Work, table: Table, attributes: Attributes, set: NftSet): Expression[] {
  const one = attributes.get(Nft.NFTA_SET_EXPR);
  const many = one === undefined ? attributes.nested(Nft.NFTA_SET_EXPRESSIONS) : undefined;
  const context: RuleContext = { work, table, chain: undefined, written: 0 };
  if (one !== undefined) return [readStateful(context, set, attributes.inside(one))];
  if (many === undefined) return [];
  if (((attributes.u32be(Nft.NFTA_SET_FLAGS) ?? 0) & Nft.NFT_SET_EXPR) === 0) refuse(EINVAL);
  return many.list().map((each, i) => {
    if (i >= MAX_EXPRESSIONS) refuse(E2BIG);
    if (each.type !== Nft.NFTA_LIST_ELEM) refuse(EINVAL);
    return readStateful(context, set, many.inside(each));
  });
}

/** A set by the name in a message, or by its number in the batch. */
export function setOfMessage(work: Work, table: Table, nameType: number, idType: number | undefined): NftSet {
  const attribute = work.attributes.get(nameType);
  const name = attribute && soughtName(attribute);
  const named = table.sets.find(each => each.name === name);
  if (named !== undefined) return named;
  const id = idType === undefined ? undefined : work.attributes.u32be(idType);
  const made =
    id === undefined ? undefined : work.batch.sets.findLast(each => each.id === id && each.set.table === table);
  if (made !== undefined) return made.set;
  return attribute === undefined && id === undefined ? refuse(EINVAL) : refuse(ENOENT, attribute);
}

/** What Linux 6.17 tells of a set besides. */
const TOLD = [6, 17] as const;

export function writeSet(writer: Writer, set: NftSet, engine: Codec): void {
  writer.text(Nft.NFTA_SET_TABLE, set.table.name);
  writer.text(Nft.NFTA_SET_NAME, set.name);
  writer.u64be(Nft.NFTA_SET_HANDLE, BigInt(set.handle));
  if (set.flags !== 0) writer.u32be(Nft.NFTA_SET_FLAGS, set.flags);
  writer.u32be(Nft.NFTA_SET_KEY_TYPE, set.keyType);
  writer.u32be(Nft.NFTA_SET_KEY_LEN, set.keyLength);
  if ((set.flags & Nft.NFT_SET_MAP) !== 0) {
    writer.u32be(Nft.NFTA_SET_DATA_TYPE, set.dataType);
    writer.u32be(Nft.NFTA_SET_DATA_LEN, set.dataLength);
  }
  if ((set.flags & Nft.NFT_SET_OBJECT) !== 0) writer.u32be(Nft.NFTA_SET_OBJ_TYPE, set.objectType);
  if (set.timeout !== 0n) writer.u64be(Nft.NFTA_SET_TIMEOUT, set.timeout);
  if (set.gcInterval !== 0) writer.u32be(Nft.NFTA_SET_GC_INTERVAL, set.gcInterval);
  if (set.policy !== 0) writer.u32be(Nft.NFTA_SET_POLICY, set.policy);
  if (set.userdata !== undefined) writer.attribute(Nft.NFTA_SET_USERDATA, set.userdata);
  writer.nest(Nft.NFTA_SET_DESC, () => {
    if (set.size !== 0) writer.u32be(Nft.NFTA_SET_DESC_SIZE, set.size);
    if (set.fields.length > 1)
      writer.nest(Nft.NFTA_SET_DESC_CONCAT, () => {
        for (const length of set.fields)
          writer.nest(Nft.NFTA_LIST_ELEM, () => writer.u32be(Nft.NFTA_SET_FIELD_LEN, length));
      });
  });
  if (isSince(engine.release, TOLD)) {
    collectByClock(set, engine.now);
    writer.text(Nft.NFTA_SET_TYPE, SYMBOLS[storageOf(set) ?? 'growing hash']);
    writer.u32be(Nft.NFTA_SET_COUNT, countOf(set));
  }
  const { expressions } = set;
  if (expressions.length === 1) writer.nest(Nft.NFTA_SET_EXPR, () => engine.write(expressions[0]!, writer));
  else if (expressions.length > 1)
    writer.nest(Nft.NFTA_SET_EXPRESSIONS, () => {
      for (const each of expressions) writer.nest(Nft.NFTA_LIST_ELEM, () => engine.write(each, writer));
    });
}

/** The kernel's symbol of a collection; where it has no symbols it tells an address. */
const SYMBOLS: Readonly<Record<Storage, string>> = {
  'growing hash': 'nft_set_rhash_type',
  'fixed hash': 'nft_set_hash_type',
  bitmap: 'nft_set_bitmap_type',
  tree: 'nft_set_rbtree_type',
  ranges: 'nft_set_pipapo_type',
};

/** The kernel counts two elements of a tree for one: a start and an end. */
function countOf(set: NftSet): number {
  const { size } = set.elements;
  return backendOf(set) === 'tree' ? size >> 1 : size;
}
