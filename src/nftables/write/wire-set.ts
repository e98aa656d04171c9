import { rangeError, typeError } from '../../errors.ts';
import { withoutTold } from '../../nf_tables/accepted.ts';
import { type NftSet, setTable } from '../../nf_tables/set.ts';
import { VERDICT_DATA_TYPE } from '../../nft/data/datatypes.ts';
import { type ElementShape, type SetDescription, shapeOf, typeAttributes } from '../../nft/set-types.ts';
import { ofThread } from '../../thread.ts';
import type { NewElements, NewMap } from './new-objects.ts';

type Fields = Record<string, unknown>;
type Flags = NonNullable<NftSet['flags']>;

/** The fields of a set that are no attributes. */
const BESIDES = new Set(['family', 'key', 'data', 'size', 'autoMerge', 'elements', 'leadingEnd']);

/** A set or map as attributes: with nft's names of types turned into what they mean, and the flags that follow from the rest. */
export function wireSet(object: NewMap, isMap: boolean, id: number): Fields {
  const wire: Fields = {};
  const written = withoutTold(setTable, object as unknown as Fields);
  for (const field in written) if (!BESIDES.has(field)) wire[field] = written[field];
  if (wire.id === undefined) wire.id = id;
  const { size, autoMerge, expressions } = object;
  const described = description(object, isMap);
  Object.assign(wire, described);
  const flags = described.flags as Flags;
  if (object.timeoutMilliseconds !== undefined) addFlag(flags, 'timeout');
  if (size !== undefined) wire.description = { ...(described.description as object | undefined), size };
  if (autoMerge) wire.mergeElements = 1;
  if (expressions?.length === 1) {
    wire.expression = expressions[0];
    delete wire.expressions;
  } else if (expressions !== undefined) {
    addFlag(flags, 'expressions');
  }
  return wire;
}

function addFlag(flags: Flags, flag: Flags[number]): void {
  if (!flags.includes(flag)) flags.push(flag);
}

/** The attributes that say what keys and values are. */
export function description(object: NonNullable<unknown>, isMap: boolean): SetDescription {
  const { key, data, ...given } = object as Pick<NewMap, 'key' | 'data'> & SetDescription;
  if (given.flags !== undefined && !Array.isArray(given.flags))
    throw typeError(['flags'], 'an array of flags', given.flags);
  const flags: Flags = [...(given.flags ?? [])];
  const set: SetDescription = { flags };
  for (const field of DESCRIBING) if (given[field] !== undefined) (set as Fields)[field] = given[field];
  if (key !== undefined) {
    const { type, length, order, lengths } = typeAttributes(key, given.keyLength, ['key']);
    set.keyType = type;
    set.keyLength = length;
    set.keyByteOrder ??= order ?? 0;
    if (lengths !== undefined && flags.includes('interval')) {
      addFlag(flags, 'concatenation');
      set.description = { ...given.description, fields: lengths.map(bytes => ({ length: bytes })) };
    }
  } else if (given.keyLength === undefined) {
    throw typeError(['key'], "nft's name of a type (or keyType and keyLength)", undefined, 'ERR_MISSING');
  }
  if (!isMap && !flags.includes('map') && !flags.includes('object')) {
    if (data !== undefined) throw typeError(['data'], 'nothing: a set has no values, { map } has', data);
    return set;
  }
  if (data === undefined) {
    if (given.objectType !== undefined) addFlag(flags, 'object');
    else if (given.dataType !== undefined) addFlag(flags, 'map');
    else
      throw typeError(
        ['data'],
        "nft's name of a type (or dataType and dataLength, or objectType)",
        undefined,
        'ERR_MISSING',
      );
    return set;
  }
  if (given.objectType !== undefined)
    throw rangeError(['data'], 'nothing: a map has an objectType, or values of a type', data);
  addFlag(flags, 'map');
  if (data === 'verdict') {
    set.dataType = VERDICT_DATA_TYPE;
    set.dataByteOrder ??= 0;
    return set;
  }
  const { type, length, order } = typeAttributes(data, given.dataLength, ['data']);
  set.dataType = type;
  set.dataLength = given.dataInterval === 1 ? 2 * length : length;
  set.dataByteOrder ??= order ?? 0;
  return set;
}

/** The attributes of a set that decide how its elements are written. */
export const DESCRIBING = [
  'keyType',
  'keyLength',
  'dataType',
  'dataLength',
  'description',
  'objectType',
  'keyByteOrder',
  'dataByteOrder',
  'dataInterval',
] as const;

/** Many programs have one type, or some. */
const MOST_SHAPES = 256;
const shapes = ofThread('nftables.shapes', new Map<string, ElementShape>());

/** What elements of a set of this type are like. */
export function shapeOfType(type: NonNullable<NewElements['type']>): ElementShape {
  const { key, data, flags } = type;
  const isMap = data !== undefined || type.dataType !== undefined;
  let isNamed = typeof key === 'string' && (data === undefined || typeof data === 'string') && flags === undefined;
  for (const field of DESCRIBING) if (type[field] !== undefined) isNamed = false;
  if (!isNamed) return shapeOf(description(type, isMap));
  const name = data === undefined ? `set ${key}` : `map ${key!.length} ${key}${data}`;
  let shape = shapes.get(name);
  if (shape === undefined) {
    shape = shapeOf(description(type, isMap));
    if (shapes.size >= MOST_SHAPES) shapes.clear();
    shapes.set(name, shape);
  }
  return shape;
}
