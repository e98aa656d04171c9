import { HOST_IS_LITTLE_ENDIAN } from '../codec/index.ts';
import { oneOf, type Path, rangeError, typeError } from '../errors.ts';
import type { NftSet } from '../nf_tables/set.ts';
import {
  type Datatype,
  type DatatypeKind,
  datatypeByNumber,
  TYPES,
  type TypeName,
  VERDICT_DATA_TYPE,
} from './data/datatypes.ts';

/**
 * The form of a type's values: an address, an integer, a name filled up with NULs. 'opaque' values are bytes as hex: only their length is
 * known.
 */
export type Form = 'ipv4' | 'ipv6' | 'link' | 'protocol' | 'integer' | 'string' | 'opaque';

/** nft's names of types. */
export type DatatypeName = Exclude<TypeName, 'invalid' | 'verdict' | 'xinteger' | 'queue' | 'mptcp_subtype'>;

const WITHOUT_SETS: readonly string[] = ['invalid', 'verdict', 'xinteger', 'queue', 'mptcp_subtype'];
const FORMS: Partial<Record<DatatypeKind, Form>> = {
  ipv4: 'ipv4',
  ipv6: 'ipv6',
  'link-address': 'link',
  protocol: 'protocol',
  string: 'string',
  label: 'opaque',
};

/**
 * The type of a set's keys, or of a map's values, by nft's names, with dots between the parts of a concatenation:
 * 'ipv4_addr', 'inet_service', 'ipv4_addr . inet_proto . inet_service'. 'integer' and 'string' need a length besides.
 */
export type SetType = DatatypeName | `${DatatypeName} . ${string}`;

const INTEGER = TYPES.integer.id;
/** Each part of a concatenation has six bits. */
const ID_RANGE = 64;
const CONCATENATION_PARTS = 5;

/** One part of a concatenation; any other key is one part. */
export interface Field {
  /** Without padding. */
  readonly bytes: number;
  readonly form: Form;
  readonly littleEndian: boolean;
}

/** The properties of a set that the bytes of its elements depend on. */
export interface ElementShape {
  readonly keyLength: number;
  /** Several parts are a concatenation: each is filled up to four bytes. */
  readonly key: readonly Field[];
  /**
   * none: single keys. marks: a range is one element for its beginning and one for its end. keys: an element has a first and a last key.
   */
  readonly ranges: 'none' | 'marks' | 'keys';
  /** The values of keys; 'none' in a set. */
  readonly values: 'none' | 'data' | 'verdict' | 'object';
  readonly dataLength: number;
  readonly data: readonly Field[];
  /** The values are ranges: the first and the last value, one behind the other. */
  readonly dataRanges: boolean;
}

/** The kernel's attributes of a set that its elements depend on. */
export type SetDescription = Pick<
  NftSet,
  | 'flags'
  | 'keyType'
  | 'keyLength'
  | 'dataType'
  | 'dataLength'
  | 'description'
  | 'objectType'
  | 'keyByteOrder'
  | 'dataByteOrder'
  | 'dataInterval'
>;

export function shapeOf(set: SetDescription): ElementShape {
  const flags = set.flags ?? [];
  const has = (flag: (typeof flags)[number]) => flags.includes(flag);
  const keyLength = set.keyLength ?? 0;
  const concatenation = has('concatenation');
  const interval = has('interval');
  const ranges = !interval ? 'none' : concatenation ? 'keys' : 'marks';
  const lengths = set.description?.fields?.map(field => field.length);
  // In sets with ranges all numbers are 'big': the kernel compares keys byte by byte.
  let key = fieldsOf(set.keyType ?? 0, keyLength, interval ? 'big' : set.keyByteOrder, lengths);
  if (key.length > 1 && ranges === 'marks') key = [opaque(keyLength)];
  const values = has('object')
    ? 'object'
    : !has('map')
      ? 'none'
      : set.dataType === VERDICT_DATA_TYPE
        ? 'verdict'
        : 'data';
  const dataRanges = set.dataInterval === 1;
  const dataLength = values === 'data' ? (set.dataLength ?? 0) : 0;
  const data =
    values === 'data' ? fieldsOf(set.dataType ?? 0, dataRanges ? dataLength / 2 : dataLength, set.dataByteOrder) : [];
  return { keyLength, key, ranges, values, dataLength, data, dataRanges };
}

const opaque = (bytes: number): Field => ({ bytes, form: 'opaque', littleEndian: false });

function fieldsOf(typeId: number, length: number, order: unknown, lengths?: readonly number[]): readonly Field[] {
  const ids = idsOf(typeId);
  if (ids.length < 2) {
    const datatype = datatypeByNumber(typeId);
    if (datatype === undefined || (bytesOf(datatype) !== 0 && bytesOf(datatype) !== length)) return [opaque(length)];
    // The note of the program that made the set counts more than the type: an integer may have either order.
    return [fieldOf(datatype, length, order === 'host' || order === 'big' ? order : datatype.order)];
  }
  const fields = ids.map((id, i) => {
    const datatype = datatypeByNumber(id);
    const bytes = lengths?.[i] ?? (datatype === undefined ? 0 : bytesOf(datatype));
    // No program notes the byte order of an integer in a concatenation.
    if (datatype === undefined || id === INTEGER || (bytesOf(datatype) !== 0 && bytesOf(datatype) !== bytes))
      return opaque(bytes);
    return fieldOf(datatype, bytes, order === 'big' ? 'big' : datatype.order);
  });
  const whole = fields.every(field => field.bytes > 0) && paddedLength(fields) === length;
  return whole ? fields : [opaque(length)];
}

/** The bytes that a number, or the address of a device, may have. */
const SIZES: Partial<Record<Form, readonly number[]>> = { integer: [1, 2, 4, 8], link: [6] };

/** 0 where the set says it. */
const bytesOf = ({ bits }: Datatype): number => Math.ceil(bits / 8);

function fieldOf({ kind }: Datatype, bytes: number, order: unknown): Field {
  const form = FORMS[kind] ?? 'integer';
  const littleEndian = order === 'host' && HOST_IS_LITTLE_ENDIAN;
  return { bytes, form: SIZES[form]?.includes(bytes) === false ? 'opaque' : form, littleEndian };
}

/** The types of a key's parts, from the type of the key. */
export function idsOf(typeId: number): number[] {
  const ids: number[] = [];
  for (let left = typeId; left > 0; left = Math.floor(left / ID_RANGE)) ids.unshift(left % ID_RANGE);
  return ids;
}

export const paddedLength = (fields: readonly Field[]): number =>
  fields.length === 1 ? fields[0]!.bytes : fields.reduce((sum, { bytes }) => sum + ((bytes + 3) & ~3), 0);

/** A type's attributes: those of keys, or with `as` 'data' those of values. */
export interface TypeAttributes {
  type: number;
  length: number;
  /** Undefined for concatenations: each part has its own. */
  order: 'host' | 'big' | undefined;
  /** Of the parts of a concatenation. */
  lengths: number[] | undefined;
}

/** The kernel's attributes for nft's name of a type. `length` is for 'integer' and 'string', which have no length of their own. */
export function typeAttributes(name: unknown, length: number | undefined, path: Path): TypeAttributes {
  if (typeof name !== 'string') throw typeError(path, "nft's name of a type", name);
  const parts = name.split('.').map(part => part.trim());
  if (parts.length > CONCATENATION_PARTS) throw rangeError(path, `at most ${CONCATENATION_PARTS} parts`, name);
  const datatypes = parts.map((part): Datatype => {
    if (!Object.hasOwn(TYPES, part) || WITHOUT_SETS.includes(part)) {
      const known = Object.keys(TYPES).filter(known => !WITHOUT_SETS.includes(known));
      throw rangeError(path, `${oneOf(known, name)}, with dots between those of several`, name);
    }
    return TYPES[part as DatatypeName];
  });
  const lengths = datatypes.map(bytesOf);
  if (lengths.includes(0) && (lengths.length > 1 || length === undefined)) {
    throw rangeError(
      path,
      "a type with a length of its own ('integer' and 'string' need keyLength or dataLength)",
      name,
    );
  }
  const only = datatypes[0]!;
  if (datatypes.length === 1)
    return { type: only.id, length: lengths[0]! || length!, order: only.order, lengths: undefined };
  return {
    type: datatypes.reduce((id, datatype) => id * ID_RANGE + datatype.id, 0),
    length: lengths.reduce((sum, bytes) => sum + ((bytes + 3) & ~3), 0),
    order: undefined,
    lengths,
  };
}
