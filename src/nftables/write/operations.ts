import { checkInteger, checkObject } from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import { withAcceptedExpressions } from '../../nf_tables/accepted.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { compileElements } from '../../nft/compile/named-set.ts';
import { asValues, type GivenElement, hasLeadingEnd } from '../../nft/element-forms.ts';
import { type ElementValue, type WiredElements, wireElements } from '../../nft/element-values.ts';
import { type ElementShape, shapeOf } from '../../nft/set-types.ts';
import { PackedElements } from '../packed-elements.ts';
import { writeRanged } from '../ranges/ranged-elements.ts';
import { setKey } from '../ranges/ranged-sets.ts';
import { writeElements, writePlainJson } from './element-writer.ts';
import type { EncodeContext } from './encode-context.ts';
import type { Fields, JsonElements, NewElements, NewMap, ObjectKind, Verb } from './new-objects.ts';
import { CREATE, FAMILY, type Kind, keyOf, OBJECTS, required, SET_OF_ELEMENTS, WITH_KEY } from './object-operations.ts';
import { type ElementsHead, writeWireElements } from './wire-elements.ts';
import { shapeOfType, wireSet } from './wire-set.ts';

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
      ? shapeOfType(type)
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
    translate: (path: Path): Path => (path[0] === 'elements' ? inJson(json, oneByOne ? path[1] : undefined) : path),
  };
  const ranged = { verb, head, shape, path: ['json'], wire: () => false };
  const declared = to.ranged.find(family, table, name);
  if (to.resolved?.change !== undefined) {
    writeRanged(ranged, () => inPairs([]), declared, to);
    return;
  }
  const members = listIn(json);
  if (!removes && shape.ranges === 'none' && members !== undefined && members.length > 0) {
    oneByOne = true;
    if (writePlainJson(to.list, head, members, set, shape)) return;
  }
  let unknown = false;
  const interfaces = (device: string) => {
    unknown = true;
    return to.resolved?.interfaces?.(device);
  };
  let elements: WireElement[];
  try {
    elements = compileElements(set, json, {
      ...(to.surroundings.version !== undefined && { version: to.surroundings.version }),
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
  oneByOne = shape.ranges === 'none' && members?.length === elements.length;
  if (shape.ranges === 'none') writeWireElements(to.list, head, elements);
  else writeRanged(ranged, () => inPairs(elements), declared, to);
}

/** The elements in nft's JSON, which may have them in a set. */
function listIn(json: unknown): readonly unknown[] | undefined {
  if (Array.isArray(json)) return json;
  const { set } = (typeof json === 'object' && json !== null ? json : {}) as { set?: unknown };
  return Array.isArray(set) ? set : undefined;
}

/** The path of an element, or of all where the kernel's are not one for each. */
function inJson(json: unknown, index: string | number | undefined): Path {
  if (typeof index !== 'number') return ['json'];
  return Array.isArray(json) ? ['json', index] : ['json', 'set', index];
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

/** How each kind of object is written, rules excepted. */
export const KINDS: Readonly<Record<Exclude<ObjectKind, 'rule'>, Kind<EncodeContext>>> = {
  ...OBJECTS,
  set: { verbs: [...WITH_KEY, 'flush'], write: set },
  map: { verbs: [...WITH_KEY, 'flush'], write: (verb, object, to) => set(verb, object, to, true) },
  element: { verbs: WITH_KEY, write: element },
};
