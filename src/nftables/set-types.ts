import { HOST_IS_LITTLE_ENDIAN } from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import type { NftSet } from './set.ts';

/**
 * How a value of the type is given: an address, an integer, a name filled up with NULs. Of 'opaque' only the length is known: bytes as hex.
 */
export type Form = 'ipv4' | 'ipv6' | 'link' | 'protocol' | 'integer' | 'string' | 'opaque';

interface Datatype {
  /** nft's number (TYPE_*), of six bits. */
  readonly id: number;
  /** 0 where the set says it. */
  readonly bytes: number;
  readonly form: Form;
  /** Whose byte order the register has. Undefined for a single byte. */
  readonly order?: 'host' | 'big';
}

const type = (id: number, bytes: number, form: Form, order?: 'host' | 'big'): Datatype =>
  order === undefined ? { id, bytes, form } : { id, bytes, form, order };

/** nft's types of keys and values (nftables, include/datatype.h). */
const DATATYPES = {
  nf_proto: type(2, 1, 'integer'),
  integer: type(4, 0, 'integer'),
  string: type(5, 0, 'string', 'host'),
  ll_addr: type(6, 0, 'opaque', 'big'),
  ipv4_addr: type(7, 4, 'ipv4', 'big'),
  ipv6_addr: type(8, 16, 'ipv6', 'big'),
  ether_addr: type(9, 6, 'link', 'big'),
  ether_type: type(10, 2, 'integer', 'big'),
  arp_op: type(11, 2, 'integer', 'big'),
  inet_proto: type(12, 1, 'protocol'),
  inet_service: type(13, 2, 'integer', 'big'),
  icmp_type: type(14, 1, 'integer', 'big'),
  tcp_flag: type(15, 1, 'integer', 'big'),
  dccp_pkttype: type(16, 1, 'integer'),
  mh_type: type(17, 1, 'integer', 'big'),
  time: type(18, 4, 'integer', 'host'),
  mark: type(19, 4, 'integer', 'host'),
  iface_index: type(20, 4, 'integer', 'host'),
  iface_type: type(21, 2, 'integer', 'host'),
  realm: type(22, 4, 'integer', 'host'),
  classid: type(23, 4, 'integer', 'host'),
  uid: type(24, 4, 'integer', 'host'),
  gid: type(25, 4, 'integer', 'host'),
  ct_state: type(26, 4, 'integer', 'host'),
  ct_dir: type(27, 1, 'integer'),
  ct_status: type(28, 4, 'integer', 'host'),
  icmpv6_type: type(29, 1, 'integer', 'big'),
  ct_label: type(30, 16, 'opaque', 'host'),
  pkt_type: type(31, 1, 'integer', 'host'),
  icmp_code: type(32, 1, 'integer', 'big'),
  icmpv6_code: type(33, 1, 'integer', 'big'),
  icmpx_code: type(34, 1, 'integer', 'big'),
  devgroup: type(35, 4, 'integer', 'host'),
  dscp: type(36, 1, 'integer', 'big'),
  ecn: type(37, 1, 'integer', 'big'),
  fib_addrtype: type(38, 4, 'integer', 'host'),
  boolean: type(39, 1, 'integer', 'host'),
  ct_event: type(40, 4, 'integer', 'host'),
  ifname: type(41, 16, 'string', 'host'),
  igmp_type: type(42, 1, 'integer', 'big'),
  date: type(43, 8, 'integer', 'host'),
  hour: type(44, 4, 'integer', 'host'),
  day: type(45, 1, 'integer', 'host'),
  cgroupsv2: type(46, 8, 'integer', 'host'),
} as const satisfies Record<string, Datatype>;

export type DatatypeName = keyof typeof DATATYPES;

/**
 * The type of a set's keys, or of a map's values, by nft's names; the parts of a concatenation stand with dots between them:
 * 'ipv4_addr', 'inet_service', 'ipv4_addr . inet_proto . inet_service'. 'integer' and 'string' have a length of their own beside them.
 */
export type SetType = DatatypeName | `${DatatypeName} . ${string}`;

const byId = new Map<number, Datatype>(Object.values(DATATYPES).map(datatype => [datatype.id, datatype]));
const INTEGER = DATATYPES.integer.id;
/** NFT_DATA_VERDICT: the type of a verdict map's values. */
export const VERDICT_TYPE = 0xffffff00;
const ID_BITS = 64;
const CONCATENATION_PARTS = 5;

/** One part of a key: the whole of it, but for concatenations. */
export interface Field {
  /** Without padding. */
  readonly bytes: number;
  readonly form: Form;
  readonly littleEndian: boolean;
}

/** What the bytes of a set's elements depend on. */
export interface ElementShape {
  readonly keyLength: number;
  /** Several are a concatenation: each is filled up to four bytes. */
  readonly key: readonly Field[];
  /** none: keys stand alone. marks: a range is an element for its beginning and one for its end. keys: it has a first and a last key. */
  readonly ranges: 'none' | 'marks' | 'keys';
  /** What keys map to; 'none' in a set. */
  readonly values: 'none' | 'data' | 'verdict' | 'object';
  readonly dataLength: number;
  readonly data: readonly Field[];
  /** The values are ranges: first and last, one behind the other. */
  readonly dataRanges: boolean;
}

/** The attributes of a set that its elements depend on, as the kernel has them. */
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
  const values = has('object') ? 'object' : !has('map') ? 'none' : set.dataType === VERDICT_TYPE ? 'verdict' : 'data';
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
    const datatype = byId.get(typeId);
    if (datatype === undefined || (datatype.bytes !== 0 && datatype.bytes !== length)) return [opaque(length)];
    // What the set's maker has noted down beats the type: an integer may be either.
    return [fieldOf(datatype, length, order === 'host' || order === 'big' ? order : datatype.order)];
  }
  const fields = ids.map((id, i) => {
    const datatype = byId.get(id);
    const bytes = lengths?.[i] ?? datatype?.bytes ?? 0;
    // Whose byte order an integer inside a concatenation has, nobody has noted down.
    if (datatype === undefined || id === INTEGER || (datatype.bytes !== 0 && datatype.bytes !== bytes))
      return opaque(bytes);
    return fieldOf(datatype, bytes, order === 'big' ? 'big' : datatype.order);
  });
  const whole = fields.every(field => field.bytes > 0) && paddedLength(fields) === length;
  return whole ? fields : [opaque(length)];
}

function fieldOf({ form }: Datatype, bytes: number, order: unknown): Field {
  const littleEndian = order === 'host' && HOST_IS_LITTLE_ENDIAN;
  return { bytes, form: form === 'integer' && ![1, 2, 4, 8].includes(bytes) ? 'opaque' : form, littleEndian };
}

function idsOf(typeId: number): number[] {
  const ids: number[] = [];
  for (let left = typeId; left > 0; left = Math.floor(left / ID_BITS)) ids.unshift(left % ID_BITS);
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

/** What nft's name for a type means to the kernel. `length` is that of 'integer' and 'string', which have none of their own. */
export function typeAttributes(name: unknown, length: number | undefined, path: Path): TypeAttributes {
  if (typeof name !== 'string') throw typeError(path, "nft's name of a type", name);
  const parts = name.split('.').map(part => part.trim());
  if (parts.length > CONCATENATION_PARTS) throw rangeError(path, `at most ${CONCATENATION_PARTS} parts`, name);
  const datatypes = parts.map(part => {
    if (!Object.hasOwn(DATATYPES, part)) {
      throw rangeError(path, `one of ${Object.keys(DATATYPES).join(', ')}, with dots between those of several`, name);
    }
    return DATATYPES[part as DatatypeName] as Datatype;
  });
  const sized = datatypes.every(({ bytes }) => bytes > 0);
  if (!sized && (datatypes.length > 1 || length === undefined)) {
    throw rangeError(
      path,
      "a type with a length of its own ('integer' and 'string' need keyLength or dataLength)",
      name,
    );
  }
  const only = datatypes[0]!;
  if (datatypes.length === 1) {
    return { type: only.id, length: only.bytes || length!, order: only.order, lengths: undefined };
  }
  const lengths = datatypes.map(({ bytes }) => bytes);
  return {
    type: datatypes.reduce((id, datatype) => id * ID_BITS + datatype.id, 0),
    length: lengths.reduce((sum, bytes) => sum + ((bytes + 3) & ~3), 0),
    order: undefined,
    lengths,
  };
}
