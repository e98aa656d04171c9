import { type AttributeTable, checkInteger, checkObject } from '../../codec/index.ts';
import { inside, type Path, rangeError, typeError, within } from '../../errors.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../../linux/netlink.ts';
import { acceptedFields, withAcceptedExpressions, withoutTold } from '../../nf_tables/accepted.ts';
import { chainTable } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { flowtableTable } from '../../nf_tables/flowtable.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import { OBJECT_DATA, objectTable } from '../../nf_tables/object.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { tableTable } from '../../nf_tables/table.ts';
import { compileElements } from '../../nft/compile/named-set.ts';
import { asValues, type GivenElement, hasLeadingEnd } from '../../nft/element-forms.ts';
import { type ElementValue, type WiredElements, wireElements } from '../../nft/element-values.ts';
import { type ElementShape, shapeOf } from '../../nft/set-types.ts';
import { PackedElements } from '../packed-elements.ts';
import { writeRanged } from '../ranges/ranged-elements.ts';
import { setKey } from '../ranges/ranged-sets.ts';
import { writeElements } from './element-writer.ts';
import type { EncodeContext } from './encode-context.ts';
import {
  type Fields,
  type JsonElements,
  type NewElements,
  type NewMap,
  OBJECT_KINDS,
  type ObjectKind,
  type Verb,
} from './new-objects.ts';
import { type ElementsHead, writeWireElements } from './wire-elements.ts';
import { description, wireSet } from './wire-set.ts';

type Write = (verb: Verb, object: Fields, to: EncodeContext) => void;

const FAMILY: Path = ['family'];
const CREATE: Partial<Record<Verb, number>> = { add: NLM_F_CREATE, create: NLM_F_CREATE | NLM_F_EXCL };

/** The parts of an object that identify it: its name, or the kernel's number. */
function keyOf(object: Fields, more: readonly string[] = ['table']): Fields {
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
const SET_OF_ELEMENTS = renamed({ set: 'name' });

function table(verb: Verb, object: Fields, to: EncodeContext): void {
  const { list, operation } = to;
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'delete' || verb === 'destroy') to.ranged.goes('table', object);
  else if (verb === 'create') to.ranged.created(object);
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
    write('newtable', CREATE[verb]!, withoutTold(tableTable, object));
  }
}

function chain(verb: Verb, object: Fields, to: EncodeContext): void {
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
    write('newchain', CREATE[verb]!, withoutTold(chainTable, object));
  }
}

function set(verb: Verb, object: Fields, to: EncodeContext, isMap = false): void {
  const { list, operation } = to;
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'flush') {
    const fields = { table: required(object, 'table'), set: required(object, 'name') };
    list.write('delsetelem', 0, family, operation, fields, SET_OF_ELEMENTS);
    to.ranged.flush(operation, object);
  } else if (verb === 'delete' || verb === 'destroy') {
    to.ranged.goes('set', object);
    list.write(verb === 'delete' ? 'delset' : 'destroyset', 0, family, operation, keyOf(object));
  } else {
    const byName = setKey(object.family, object.table, object.name);
    // All sets without a name have the same template of one, '__set%d': each is known by its operation.
    const made = String(object.name).endsWith('%d') ? `${byName} ${operation}` : byName;
    let wire = to.resolved === undefined ? undefined : to.sets.get(made);
    if (wire === undefined) {
      wire = withAcceptedExpressions(wireSet(object as unknown as NewMap, isMap, to.nextId())) as unknown as NftSet;
      wire.family = object.family as NftSet['family'];
      list.write('newset', CREATE[verb]!, family, operation, wire, path => setPath(path, object));
      to.sets.set(made, wire);
    }
    const shape = shapeOf(wire);
    to.shapes.set(byName, shape);
    to.shapes.set(setKey(object.family, object.table, wire.id), shape);
    const ranges = shape.ranges !== 'none';
    const declared = ranges && to.resolved === undefined ? to.ranged.declare(verb, wire, shape) : undefined;
    const elements = object.elements as GivenElement[] | PackedElements | undefined;
    if (elements === undefined) return;
    if (!isList(elements)) throw typeError(['elements'], 'an array', elements);
    if (elements.length === 0) return;
    const head: ElementsHead = {
      name: 'newsetelem',
      flags: CREATE[verb]!,
      family,
      operation,
      table: object.table as string,
      set: object.name as string,
      setId: wire.id as number,
      translate: SET_OF_ELEMENTS,
    };
    if (!ranges) {
      writeElements(list, head, elements, shape);
      return;
    }
    const options = { leadingEnd: marksBeginning(object), wasRead: object.handle !== undefined };
    const given = rangedValues(elements, shape, options.wasRead);
    const ranged = { verb, head, shape, path: ['elements'], wire: isWireAt(given) };
    writeRanged(ranged, () => wireElements(given, shape, options), declared, to);
  }
}

/** Large lists of plain elements are no ranges. */
function rangedValues(
  elements: GivenElement[] | PackedElements,
  shape: ElementShape,
  wasRead: boolean,
): readonly ElementValue[] {
  if (!Array.isArray(elements)) throw typeError(['elements'], 'an array', elements);
  return asValues(elements, shape, wasRead);
}

const isWireAt = (values: readonly unknown[]) => (origin: number) => origin >= 0 && isWire(values[origin]);

const marksBeginning = ({ leadingEnd, elements }: Fields): boolean =>
  leadingEnd === undefined ? hasLeadingEnd(elements as object) : leadingEnd === true;

const isList = (elements: unknown): boolean => Array.isArray(elements) || elements instanceof PackedElements;

/** Attributes that a type's name stands for. */
function setPath(path: Path, { key, data, size }: Fields): Path {
  const [first, second] = path;
  if (key !== undefined && (first === 'keyType' || first === 'keyLength')) return ['key'];
  if (data !== undefined && (first === 'dataType' || first === 'dataLength')) return ['data'];
  if (first === 'description' && second === 'size' && size !== undefined) return ['size'];
  return key !== undefined && first === 'description' ? ['key'] : path;
}

const ELEMENT_MESSAGES: Partial<Record<Verb, MessageName>> = {
  add: 'newsetelem',
  create: 'newsetelem',
  delete: 'delsetelem',
  destroy: 'destroysetelem',
};

const ELEMENT_FIELDS = ['family', 'table', 'set', 'setId', 'elements', 'as', 'type', 'leadingEnd'];
const JSON_ELEMENT_FIELDS = ['family', 'table', 'set', 'json', 'leadingEnd'];

function element(verb: Verb, object: Fields, to: EncodeContext): void {
  if (object.json !== undefined) {
    jsonElement(verb, object, to);
    return;
  }
  checkObject(object, [], ELEMENT_FIELDS);
  const family = familyNumber(object.family, FAMILY);
  const { set: name, setId, elements, as, type } = object as unknown as NewElements;
  if (as !== undefined && as !== 'wire' && as !== 'values') throw rangeError(['as'], "'wire' or 'values'", as);
  const tableName = required(object, 'table') as string;
  if (name === undefined && setId === undefined) required(object, 'set');
  if (setId !== undefined) checkInteger(setId, ['setId'], 0, 0xffffffff);
  if (!isList(elements)) throw typeError(['elements'], 'an array', elements);
  const shape =
    type !== undefined
      ? shapeOf(description(type, type.data !== undefined || type.dataType !== undefined))
      : (to.resolved?.shape ??
        to.shapes.get(setKey(object.family, tableName, setId ?? name)) ??
        (Array.isArray(elements) && elements.every(isWire) ? WIRE_ONLY : undefined));
  if (shape === undefined) {
    if (name === undefined)
      throw typeError(['type'], 'the type of a set of another transaction', undefined, 'ERR_MISSING');
    to.needsMore = true;
    return;
  }
  const removes = verb === 'delete' || verb === 'destroy';
  const head: ElementsHead = {
    name: ELEMENT_MESSAGES[verb]!,
    flags: CREATE[verb] ?? 0,
    family,
    operation: to.operation,
    table: tableName,
    set: name,
    setId,
  };
  if (shape.ranges === 'none') {
    writeElements(to.list, head, elements, shape, { keysOnly: removes });
    return;
  }
  const given = rangedValues(elements, shape, as === 'wire');
  const options = { leadingEnd: !removes && marksBeginning(object), keysOnly: removes };
  const ranged = { verb, head, shape, path: ['elements'], wire: isWireAt(given) };
  const declared = to.ranged.find(object.family, tableName, setId ?? name);
  writeRanged(ranged, () => wireElements(given, shape, options), declared, to);
}

/** Elements in nft's JSON. */
function jsonElement(verb: Verb, object: Fields, to: EncodeContext): void {
  checkObject(object, [], JSON_ELEMENT_FIELDS);
  const { family, table, set: name, json, leadingEnd } = object as unknown as JsonElements;
  const set = to.resolved?.sets?.get(name) ?? to.sets.get(setKey(family, table, name));
  if (set === undefined) {
    if (to.resolved !== undefined)
      throw rangeError(['set'], 'the name of a set of this table', name, 'ERR_UNKNOWN_SET');
    to.needsMore = true;
    return;
  }
  const removes = verb === 'delete' || verb === 'destroy';
  const shape = shapeOf(set);
  let oneByOne = false;
  const head: ElementsHead = {
    name: ELEMENT_MESSAGES[verb]!,
    flags: CREATE[verb] ?? 0,
    family: familyNumber(family, FAMILY),
    operation: to.operation,
    table,
    set: name,
    setId: set.id,
    translate: (path: Path): Path => (path[0] === 'elements' ? (oneByOne ? ['json', path[1]!] : ['json']) : path),
  };
  const ranged = { verb, head, shape, path: ['json'], wire: () => false };
  const declared = to.ranged.find(family, table, name);
  if (to.resolved?.change !== undefined) {
    writeRanged(ranged, () => inPairs([]), declared, to);
    return;
  }
  let unknown = false;
  const interfaces = (device: string) => {
    unknown = true;
    return to.resolved?.interfaces?.(device);
  };
  let elements: WireElement[];
  try {
    elements = compileElements(set, json, {
      names: to.names,
      interfaces,
      leadingEnd: leadingEnd === true && !removes,
      removes,
    });
  } catch (error) {
    if (!unknown || to.resolved !== undefined) throw within(error, ['json']);
    to.ranged.keep(to.operation, undefined, declared);
    to.needsMore = true;
    return;
  }
  if (elements.length === 0) return;
  oneByOne = shape.ranges === 'none' && Array.isArray(json) && json.length === elements.length;
  if (shape.ranges === 'none') writeWireElements(to.list, head, elements);
  else writeRanged(ranged, () => inPairs(elements), declared, to);
}

/** Elements whose ends follow their beginnings, with numbers that keep those together. */
function inPairs(elements: WireElement[]): WiredElements {
  let pair = -1;
  const origin = elements.map(({ flags }, i) => {
    const isEnd = flags?.includes('interval-end') === true;
    if (!isEnd || i === 0) pair++;
    return pair;
  });
  return { elements, origin };
}

const isWire = (value: unknown): boolean => typeof value === 'object' && value !== null && 'wire' in value;
/** Of a set whose elements are all given as the kernel has them. */
const WIRE_ONLY: ElementShape = {
  keyLength: 0,
  key: [],
  ranges: 'none',
  values: 'none',
  dataLength: 0,
  data: [],
  dataRanges: false,
};

function flowtable(verb: Verb, object: Fields, { list, operation }: EncodeContext): void {
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'delete') list.write('delflowtable', 0, family, operation, { ...keyOf(object), ...devicesOf(object) });
  else if (verb === 'destroy') list.write('destroyflowtable', 0, family, operation, keyOf(object));
  else list.write('newflowtable', CREATE[verb]!, family, operation, withoutTold(flowtableTable, object));
}

/** An object in the kernel's form: with its type, and its data in a nest. */
function namedObject(
  verb: Verb,
  object: Fields,
  { list, operation }: EncodeContext,
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

function ruleset(_verb: Verb, object: Fields, { list, operation, ranged }: EncodeContext): void {
  ranged.goes('ruleset', object);
  const family = object.family === undefined ? 0 : familyNumber(object.family, FAMILY);
  list.write('deltable', 0, family, operation, {});
}

const WITH_KEY: readonly Verb[] = ['add', 'create', 'delete', 'destroy'];

interface Kind {
  readonly verbs: readonly Verb[];
  readonly write: Write;
}

/** How each kind of object is written, rules excepted. */
export const KINDS: Readonly<Record<Exclude<ObjectKind, 'rule'>, Kind>> = {
  table: { verbs: [...WITH_KEY, 'flush'], write: table },
  chain: { verbs: [...WITH_KEY, 'flush', 'rename'], write: chain },
  set: { verbs: [...WITH_KEY, 'flush'], write: set },
  map: { verbs: [...WITH_KEY, 'flush'], write: (verb, object, to) => set(verb, object, to, true) },
  element: { verbs: WITH_KEY, write: element },
  flowtable: { verbs: WITH_KEY, write: flowtable },
  object: { verbs: WITH_KEY, write: (verb, object, to) => namedObject(verb, object, to) },
  ruleset: { verbs: ['flush'], write: ruleset },
  ...(Object.fromEntries(
    Object.entries(OBJECT_KINDS).map(([kind, type]) => [kind, { verbs: WITH_KEY, write: typedObject(type) }]),
  ) as Record<keyof typeof OBJECT_KINDS, Kind>),
};

export const RULE_VERBS: readonly Verb[] = ['add', 'insert', 'replace', 'delete', 'destroy'];

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
