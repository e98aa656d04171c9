import { NetlinkError, rangeError, typeError } from '../../errors.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { Flowtable, FlowtableKey } from '../../nf_tables/flowtable.ts';
import { MESSAGES, type MessageName, readObject } from '../../nf_tables/message.ts';
import type { NftObject, ObjectKey } from '../../nf_tables/object.ts';
import type { RuleEntry, RuleKey } from '../../nf_tables/rule.ts';
import type { NftSet, SetKey } from '../../nf_tables/set.ts';
import type { Table, TableKey } from '../../nf_tables/table.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { requestFor } from '../request.ts';
import { type NewObjectOf, OBJECT_KINDS } from '../write/new-objects.ts';
import { list } from './listing.ts';

/* One object by what names it; undefined where it, or the table that it would be in, is not there. */

type Kinds = typeof OBJECT_KINDS;
/** The kinds of objects that a handle returns by name. */
export type ObjectKinds = keyof Kinds;
/** A counter, quota ... with its fields beside its name: as a transaction takes it. */
export type NamedObjectOf<K extends ObjectKinds> = NewObjectOf<Kinds[K]>;

interface Keys {
  table: TableKey;
  chain: ChainKey;
  rule: RuleKey;
  set: SetKey;
  flowtable: FlowtableKey;
}
interface Found {
  table: Table;
  chain: Chain;
  rule: RuleEntry;
  set: NftSet;
  flowtable: Flowtable;
}
const FIELDS: Readonly<Record<keyof Keys, readonly string[]>> = {
  table: ['name'],
  chain: ['table', 'name'],
  rule: ['table', 'chain', 'handle'],
  set: ['table', 'name'],
  flowtable: ['table', 'name'],
};

/** A table, chain, rule, set or flowtable. Other fields of the reference are ignored: it may be an object that was read. */
export function* byName<K extends keyof Keys>(
  exchange: Exchange,
  kind: K,
  reference: Keys[K],
): Operation<Found[K] | undefined> {
  return (yield* ask(exchange, kind, keyIn(reference, FIELDS[kind]))) as Found[K] | undefined;
}

/** A set whose keys have values; a set by this name is none. */
export function* mapByName(exchange: Exchange, reference: SetKey): Operation<NftSet | undefined> {
  const set = yield* byName(exchange, 'set', reference);
  return set?.flags?.some(flag => flag === 'map' || flag === 'object') ? set : undefined;
}

/** An object of any type. The kernel finds objects by type and name. */
export function* objectByName(
  exchange: Exchange,
  reference: ObjectKey & { type?: NftObject['type'] },
): Operation<NftObject | undefined> {
  const key = keyIn(reference, ['table', 'name']);
  const { type } = reference;
  if (type !== undefined) return (yield* ask(exchange, 'obj', { ...key, type })) as NftObject | undefined;
  const { family, table, name } = reference;
  const found = (yield* list(exchange, 'object', { family, table })).filter(object => object.name === name);
  if (found.length > 1) {
    const types = found.map(object => object.type).join(', ');
    throw typeError(['type'], `a type: there are objects of this name of the types ${types}`, type, 'ERR_MISSING');
  }
  return found[0];
}

/** One of a type, with its fields beside its name. */
export function* namedObject<K extends ObjectKinds>(
  exchange: Exchange,
  kind: K,
  reference: ObjectKey,
): Operation<NamedObjectOf<K> | undefined> {
  const key = { ...keyIn(reference, ['table', 'name']), type: OBJECT_KINDS[kind] };
  const object = (yield* ask(exchange, 'obj', key)) as NftObject | undefined;
  if (object === undefined) return undefined;
  const { type: _, data, ...place } = object;
  return { ...place, ...data } as unknown as NamedObjectOf<K>;
}

type Key = Record<string, unknown>;

function keyIn(reference: object, fields: readonly string[]): Key {
  if (typeof reference !== 'object' || reference === null)
    throw typeError([], `an object with family, ${fields.join(', ')}`, reference);
  const given = reference as Key;
  const key: Key = { family: familyNumber(given.family, ['family']) };
  for (const field of fields) {
    const value = given[field];
    const expected = field === 'handle' ? 'bigint' : 'string';
    if (typeof value !== expected) throw typeError([field], field === 'handle' ? 'a bigint' : 'a name', value);
    if (value === '') throw rangeError([field], 'a name', value);
    key[field] = value;
  }
  return key;
}

function* ask(exchange: Exchange, kind: string, { family, ...key }: Key): Operation<unknown> {
  const reply = `new${kind}` as MessageName;
  const call = requestFor(`get${kind}` as MessageName, family as number, key);
  try {
    return yield* exchange.get(call, message =>
      message.type === MESSAGES[reply].number ? readObject(reply, message, XT_LAYOUTS) : undefined,
    );
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
