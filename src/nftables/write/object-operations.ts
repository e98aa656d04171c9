import type { AttributeTable } from '../../codec/index.ts';
import { inside, type Path, rangeError, typeError } from '../../errors.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../../linux/netlink.ts';
import { acceptedFields, withoutTold } from '../../nf_tables/accepted.ts';
import { chainTable } from '../../nf_tables/chain.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { flowtableTable } from '../../nf_tables/flowtable.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import { OBJECT_DATA, objectTable } from '../../nf_tables/object.ts';
import { tableTable } from '../../nf_tables/table.ts';
import { ofThread } from '../../thread.ts';
import type { RangedSets } from '../ranges/ranged-sets.ts';
import type { MessageList } from './encoded.ts';
import { type Fields, OBJECT_KINDS, type Verb } from './new-objects.ts';
import { RepeatedObjects } from './repeated-objects.ts';

/** What writing an object needs besides it. */
export interface ObjectContext {
  /** Takes the operation's messages. */
  readonly list: MessageList;
  /** The operation's index in its transaction. */
  readonly operation: number;
  /** The operation has written nothing: something must be read from the namespace first. */
  needsMore: boolean;
  /** What was read for it. */
  readonly resolved: { readonly handle?: bigint } | undefined;
  /** The sets with ranges of the transaction, where those are followed. */
  readonly ranged: Pick<RangedSets, 'goes' | 'created'> | undefined;
}

type Write = (verb: Verb, object: Fields, to: ObjectContext) => void;

export const FAMILY: Path = ['family'];
export const CREATE: Partial<Record<Verb, number>> = { add: NLM_F_CREATE, create: NLM_F_CREATE | NLM_F_EXCL };

/** The parts of an object that identify it: its name, or the kernel's number. */
export function keyOf(object: Fields, more: readonly string[] = ['table']): Fields {
  const key: Fields = {};
  for (const field of more) key[field] = required(object, field);
  if (object.name !== undefined) key.name = object.name;
  else if (object.handle !== undefined) key.handle = object.handle;
  else throw typeError(['name'], 'a value (or the handle)', undefined, 'ERR_MISSING');
  return key;
}

/** Devices that are taken off a chain or flowtable, which stays. */
const devicesOf = ({ devices }: Fields): Fields => (devices === undefined ? {} : { devices });

export function required(object: Fields, field: string): unknown {
  const value = object[field];
  if (value === undefined) throw typeError([field], 'a value', undefined, 'ERR_MISSING');
  return value;
}

/** The kernel's name for a field of ours that one verb puts elsewhere. */
const renamed =
  (names: Readonly<Record<string, string>>) =>
  (path: Path): Path => {
    const [first, ...rest] = path;
    return typeof first === 'string' && Object.hasOwn(names, first) ? [names[first]!, ...rest] : path;
  };

const TABLE_OF_RULES = renamed({ table: 'name' });
const CHAIN_OF_RULES = renamed({ chain: 'name' });
export const SET_OF_ELEMENTS = renamed({ set: 'name' });

const thread = ofThread('nftables.repeated', { objects: undefined as RepeatedObjects | undefined });

/** Writes a table or chain that is made: a copy of the message of the last equal one, if there is one. */
function writeNew(
  name: 'newtable' | 'newchain',
  table: AttributeTable<unknown>,
  flags: number,
  family: number,
  object: Fields,
  { list, operation }: ObjectContext,
): void {
  thread.objects ??= new RepeatedObjects();
  const { objects } = thread;
  if (objects.copy(list, name, flags, family, object, operation)) return;
  const start = list.writer.length;
  list.write(name, flags, family, operation, withoutTold(table, object));
  objects.keep(list, name, flags, family, start);
}

function table(verb: Verb, object: Fields, to: ObjectContext): void {
  const { list, operation } = to;
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'delete' || verb === 'destroy') to.ranged?.goes('table', object);
  else if (verb === 'create') to.ranged?.created(object);
  const write = (name: MessageName, flags: number, fields: Fields, translate?: (path: Path) => Path) =>
    list.write(name, flags, family, operation, fields, translate);
  if (verb === 'flush') {
    write('delrule', 0, { table: required(object, 'name') }, TABLE_OF_RULES);
  } else if (verb === 'delete') {
    write('deltable', 0, keyOf(object, []));
  } else if (verb === 'destroy' && object.name !== undefined) {
    // Making sure that it is there and deleting it is the same, on every kernel.
    write('newtable', NLM_F_CREATE, { name: object.name });
    write('deltable', 0, { name: object.name });
  } else if (verb === 'destroy') {
    write('destroytable', 0, keyOf(object, []));
  } else {
    writeNew('newtable', tableTable, CREATE[verb]!, family, object, to);
  }
}

function chain(verb: Verb, object: Fields, to: ObjectContext): void {
  const { list, operation, resolved } = to;
  const family = familyNumber(object.family, FAMILY);
  const write = (name: MessageName, flags: number, fields: Fields, translate?: (path: Path) => Path) =>
    list.write(name, flags, family, operation, fields, translate);
  if (verb === 'flush') {
    write('delrule', 0, { table: required(object, 'table'), chain: required(object, 'name') }, CHAIN_OF_RULES);
  } else if (verb === 'delete') {
    write('delchain', 0, { ...keyOf(object), ...devicesOf(object) });
  } else if (verb === 'destroy' && object.name !== undefined) {
    const key = keyOf(object);
    write('newchain', NLM_F_CREATE, key);
    write('delchain', 0, key);
  } else if (verb === 'destroy') {
    write('destroychain', 0, keyOf(object));
  } else if (verb === 'rename') {
    const newName = required(object, 'newName');
    const handle = object.handle ?? resolved?.handle;
    const key = keyOf(object);
    if (handle === undefined) to.needsMore = true;
    else write('newchain', 0, { table: key.table, handle, name: newName }, renamed({ name: 'newName' }));
  } else {
    writeNew('newchain', chainTable, CREATE[verb]!, family, object, to);
  }
}

function flowtable(verb: Verb, object: Fields, { list, operation }: ObjectContext): void {
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'delete') list.write('delflowtable', 0, family, operation, { ...keyOf(object), ...devicesOf(object) });
  else if (verb === 'destroy') list.write('destroyflowtable', 0, family, operation, keyOf(object));
  else list.write('newflowtable', CREATE[verb]!, family, operation, withoutTold(flowtableTable, object));
}

/** An object in the kernel's form: with its type, and its data in a nest. */
function namedObject(
  verb: Verb,
  object: Fields,
  { list, operation }: ObjectContext,
  translate?: (path: Path) => Path,
): void {
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'delete' || verb === 'destroy') {
    const key = { ...keyOf(object), type: required(object, 'type') };
    const exact = verb === 'destroy' && object.type === 'counter' && object.name !== undefined;
    // A counter that is there is left alone when it is added: adding and deleting is the same, on every kernel.
    if (exact) list.write('newobj', NLM_F_CREATE, family, operation, { ...key, data: {} }, translate);
    list.write(verb === 'delete' || exact ? 'delobj' : 'destroyobj', 0, family, operation, key, translate);
  } else {
    list.write('newobj', CREATE[verb]!, family, operation, writableObject(object), translate);
  }
}

function writableObject(object: Fields): Fields {
  const written = withoutTold(objectTable, object);
  const { type, data } = written;
  const table = (OBJECT_DATA as Readonly<Record<string, AttributeTable<unknown>>>)[String(type)];
  return table !== undefined && typeof data === 'object' && data !== null
    ? { ...written, data: acceptedFields(table, data as Fields) }
    : written;
}

const isFields = (data: unknown): boolean => typeof data === 'object' && data !== null;

/** What stands beside an object's fields. */
const OBJECT_PLACE = new Set(['family', 'table', 'name', 'handle', 'use', 'comment']);

/** The same with its fields beside its name; or as `objects()` gives it, with its type and its fields in `data`. */
function typedObject(type: string): Write {
  const translate = (path: Path): Path => (path[0] === 'data' ? path.slice(1) : path[0] === 'type' ? [] : path);
  return (verb, object, to) => {
    if (object.type === type || isFields(object.data)) {
      if (object.type !== type) throw rangeError(['type'], `'${type}'`, object.type);
      namedObject(verb, object, to);
      return;
    }
    const wire: Fields = { type };
    const data: Fields = {};
    for (const field in object) {
      if (object[field] !== undefined) (OBJECT_PLACE.has(field) ? wire : data)[field] = object[field];
    }
    if (verb === 'add' || verb === 'create') wire.data = data;
    try {
      namedObject(verb, wire, to, translate);
    } catch (error) {
      throw inside(error, 'data');
    }
  };
}

function ruleset(_verb: Verb, object: Fields, { list, operation, ranged }: ObjectContext): void {
  ranged?.goes('ruleset', object);
  const family = object.family === undefined ? 0 : familyNumber(object.family, FAMILY);
  list.write('deltable', 0, family, operation, {});
}

export const WITH_KEY: readonly Verb[] = ['add', 'create', 'delete', 'destroy'];

/** How a kind of object is written, with what it needs. */
export interface Kind<C> {
  readonly verbs: readonly Verb[];
  readonly write: (verb: Verb, object: Fields, to: C) => void;
}

/** How objects are written that have neither statements nor elements. */
export const OBJECTS = {
  table: { verbs: [...WITH_KEY, 'flush'], write: table },
  chain: { verbs: [...WITH_KEY, 'flush', 'rename'], write: chain },
  flowtable: { verbs: WITH_KEY, write: flowtable },
  object: { verbs: WITH_KEY, write: (verb, object, to) => namedObject(verb, object, to) },
  ruleset: { verbs: ['flush'], write: ruleset },
  ...(Object.fromEntries(
    Object.entries(OBJECT_KINDS).map(([kind, type]) => [kind, { verbs: WITH_KEY, write: typedObject(type) }]),
  ) as Record<keyof typeof OBJECT_KINDS, Kind<ObjectContext>>),
} as const satisfies Record<string, Kind<ObjectContext>>;

/** The messages by which NFT_MSG_DESTROY* are known: Linux 6.3. */
export const DESTROYS: ReadonlySet<MessageName> = new Set<MessageName>([
  'destroytable',
  'destroychain',
  'destroyrule',
  'destroyset',
  'destroysetelem',
  'destroyobj',
  'destroyflowtable',
]);
