import { HOST_IS_LITTLE_ENDIAN, NLA_F_NESTED, NLA_HDRLEN } from '../../codec/index.ts';
import * as C from '../../linux/nf_tables.ts';
import type { ElementShape } from '../../nft/set-types.ts';

/** The length of a nest has 16 bits. */
export const MAX_NEST = 0xffff;

/** An element of a key and bytes as its value, but for those bytes: all elements of a large set look like this. */
export interface ElementTemplate {
  readonly bytes: Uint8Array;
  /** Where the key's bytes belong. */
  readonly keyAt: number;
  /** Where the value's belong; in a set they are none. */
  readonly dataAt: number;
}

/** Undefined where the set's elements are not as plain as that: ranges, verdicts, objects. */
export function elementTemplate(shape: ElementShape, keysOnly: boolean): ElementTemplate | undefined {
  const values = keysOnly ? 'none' : shape.values;
  if (shape.ranges !== 'none' || shape.dataRanges || (values !== 'data' && values !== 'none')) return undefined;
  const key = dataAttribute(C.NFTA_SET_ELEM_KEY, shape.keyLength);
  const data = values === 'data' ? dataAttribute(C.NFTA_SET_ELEM_DATA, shape.dataLength) : new Uint8Array();
  return {
    bytes: withHeader(C.NFTA_LIST_ELEM | NLA_F_NESTED, Uint8Array.of(...key, ...data)),
    keyAt: 3 * NLA_HDRLEN,
    dataAt: NLA_HDRLEN + key.length + 2 * NLA_HDRLEN,
  };
}

const dataAttribute = (type: number, length: number) =>
  withHeader(type | NLA_F_NESTED, withHeader(C.NFTA_DATA_VALUE, new Uint8Array(length)));

/** `bytes` with the header of a nest or attribute before it. */
function withHeader(type: number, bytes: Uint8Array): Uint8Array {
  const size = NLA_HDRLEN + bytes.length;
  const attribute = new Uint8Array((size + 3) & ~3);
  const view = new DataView(attribute.buffer);
  view.setUint16(0, size, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(2, type, HOST_IS_LITTLE_ENDIAN);
  attribute.set(bytes, NLA_HDRLEN);
  return attribute;
}
