import { attributeLength, attributeType, nextAttribute, type Source } from '../codec/index.ts';
import { NLA_HDRLEN } from '../linux/netlink.ts';
import * as C from '../linux/nf_tables.ts';
import { type Message, nfgenmsg } from '../netlink/index.ts';
import { type ElementTemplate, MAX_NEST } from './write/element-template.ts';

/**
 * Elements of a map of plain keys and values, as the kernel has them: the bytes of all keys one behind the other, and those of all values. For
 * whoever has a hundred thousand of them, and nothing of which an object each could be made. Stands where `elements` does.
 */
export class PackedElements {
  readonly length: number;
  readonly keys: Uint8Array;
  readonly data: Uint8Array;

  constructor(length: number, keys: Uint8Array, data: Uint8Array) {
    this.length = length;
    this.keys = keys;
    this.data = data;
  }

  /** How many fit into one message. */
  static perMessage({ message }: ElementTemplate): number {
    return Math.floor((MAX_NEST - NLA_HDRLEN) / message.bytes.length);
  }

  /** Writes `count` of them, from `first` on, to `at`. */
  write(into: Uint8Array, at: number, { message, isMap }: ElementTemplate, first: number, count: number): void {
    const columns = isMap ? { key: this.keys, data: this.data } : { key: this.keys };
    message.writeMany(into, at, columns, first, count);
  }
}

/**
 * What becomes of the elements of a dump. Plain ones have a key and, in a map, a value of these lengths and nothing else: no timeout, no expressions, no
 * remark.
 */
export interface PackedForm {
  readonly keyLength: number;
  /** 0 in a set. */
  readonly dataLength: number;
  /** Of a set of ranges in concatenations: each plain element has the last key that belongs to it, too. */
  readonly ranges?: boolean;
  /** A plain one; `endAt` and `dataAt` are 0 where it has none. */
  take(bytes: Uint8Array, keyAt: number, dataAt: number, endAt: number): void;
  /** Any other: its attributes are between `start` and `end`. */
  other(source: Source, start: number, end: number): void;
}

/** @throws DecodeError where an attribute's length is not possible */
export function readPacked({ source, payload, end }: Message, form: PackedForm): void {
  const { view } = source;
  for (let at = payload + nfgenmsg.size; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
    const listEnd = at + attributeLength(view, at, end);
    if (attributeType(view, at) !== C.NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    for (let element = at + NLA_HDRLEN; listEnd - element >= NLA_HDRLEN; element = nextAttribute(view, element))
      readElement(source, element + NLA_HDRLEN, element + attributeLength(view, element, listEnd), form);
  }
}

function readElement(source: Source, start: number, end: number, form: PackedForm): void {
  const { view } = source;
  let keyAt = 0;
  let dataAt = 0;
  let endAt = 0;
  let plain = true;
  for (let at = start; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
    const payloadEnd = at + attributeLength(view, at, end);
    const type = attributeType(view, at);
    if (type === C.NFTA_SET_ELEM_KEY) keyAt = valueIn(view, at + NLA_HDRLEN, payloadEnd, form.keyLength);
    else if (type === C.NFTA_SET_ELEM_DATA) dataAt = valueIn(view, at + NLA_HDRLEN, payloadEnd, form.dataLength);
    else if (type === C.NFTA_SET_ELEM_KEY_END) endAt = valueIn(view, at + NLA_HDRLEN, payloadEnd, form.keyLength);
    else plain = false;
  }
  plain &&= keyAt > 0 && dataAt > 0 === form.dataLength > 0 && endAt > 0 === (form.ranges === true);
  if (plain) form.take(source.bytes, keyAt, dataAt, endAt);
  else form.other(source, start, end);
}

/** Where the bytes of a nest's value begin; 0 where they are not as many as they should be. */
function valueIn(view: DataView, start: number, end: number, length: number): number {
  if (end - start < NLA_HDRLEN) return 0;
  const whole = attributeLength(view, start, end);
  return attributeType(view, start) === C.NFTA_DATA_VALUE && whole === NLA_HDRLEN + length ? start + NLA_HDRLEN : 0;
}
