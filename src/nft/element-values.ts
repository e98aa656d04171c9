import { toBytes, toHex } from '../codec/index.ts';
import { noField, type Path, typeError, within } from '../errors.ts';
import type { Verdict } from '../nf_tables/data.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Expression } from '../nf_tables/expression.ts';
import { CATCH_ALL, type ElementKey, readFields, writeFields } from './field-values.ts';
import type { ElementShape } from './set-types.ts';

/**
 * The value of a key in a map: written like a key; a verdict ('accept', 'drop', `{ verdict: 'jump', chain: 'web' }`); in maps of objects, a
 * name.
 */
export type ElementData = ElementKey | Verdict;

/** One element: the key alone, or the key with its value, timeout and so on. */
export type ElementValue =
  | ElementKey
  | {
      /** '*' alone is the catch-all: each key that has no element. */
      key: ElementKey;
      /** In maps. */
      data?: ElementData;
      /** The lifetime; 0 is for ever. Default: that of the set. */
      timeoutMilliseconds?: bigint | number;
      /** The rest of the lifetime. */
      expirationMilliseconds?: bigint | number;
      /** A remark for people; `nft list` prints it. At most 128 bytes. */
      comment?: string;
      /** Counters and the like of this element. */
      expressions?: Expression[];
      /** The range ends where the next one begins. The kernel has no end for it, as in nft's anonymous maps. */
      endsAtNext?: true;
    }
  /** Any other element, in the kernel's form. */
  | {
      /** The element as the kernel has it, where its bytes are no value of the type. */
      wire: WireElement;
    };

type Attached = Omit<Exclude<ElementValue, ElementKey | { wire: WireElement }>, 'key' | 'data' | 'endsAtNext'>;

/** Fields that only elements in the kernel's form have. */
const WIRE_ONLY = ['flags', 'keyEnd', 'object', 'expression', 'userdataFlags', 'unknown'] as const;

/** Can an element only be in the kernel's form? */
export function isWireForm(element: unknown, { dataRanges, dataLength }: ElementShape): element is WireElement {
  if (typeof element !== 'object' || element === null || Array.isArray(element) || element instanceof Uint8Array)
    return false;
  const fields = element as Partial<Record<string, unknown>>;
  if (fields.wire !== undefined || fields.from !== undefined) return false;
  for (const field of WIRE_ONLY) if (fields[field] !== undefined) return true;
  // The first and the last value of a range, one behind the other.
  return dataRanges && typeof fields.data === 'string' && fields.data.length === 2 * dataLength;
}

/** Elements in the kernel's form, and the index of the value that each was made from (-1: none). */
export interface WiredElements {
  elements: WireElement[];
  origin: number[];
}

export interface WireOptions {
  leadingEnd?: boolean | undefined;
  /** Elements of a map may lack a value, too: a deletion needs none. */
  keysOnly?: boolean | undefined;
}

const VERDICTS = ['accept', 'drop', 'continue', 'break', 'return'];
const ELEMENT_FIELDS = [
  'key',
  'data',
  'timeoutMilliseconds',
  'expirationMilliseconds',
  'comment',
  'expressions',
  'endsAtNext',
];
const OPEN_INTERVAL = 'open-interval';

/**
 * Values as the kernel's elements. In sets of ranges each becomes its beginning and its end. With `leadingEnd` an end comes before the
 * first range, as nft adds it to a set that was empty.
 * @throws TypeError, RangeError with the index of the value, and the path in it
 */
export function wireElements(
  values: readonly ElementValue[],
  shape: ElementShape,
  options: WireOptions = {},
): WiredElements {
  const wired: WiredElements = { elements: [], origin: [] };
  const push = (element: WireElement, origin: number) => {
    wired.elements.push(element);
    wired.origin.push(origin);
  };
  if (options.leadingEnd && shape.ranges === 'marks' && values.length > 0) {
    const zero = '00'.repeat(shape.keyLength);
    const first = values.some((value, i) => isWire(value) === undefined && beginsAt(value, shape, i) === zero);
    if (!first) push({ key: zero, flags: ['interval-end'] }, -1);
  }
  for (const [i, value] of values.entries()) {
    try {
      pushElement(value, shape, options.keysOnly === true, element => push(element, i));
    } catch (error) {
      throw within(error, [i]);
    }
  }
  return wired;
}

function isWire(value: unknown): WireElement | undefined {
  return typeof value === 'object' && value !== null && 'wire' in value ? (value.wire as WireElement) : undefined;
}

function beginsAt(value: ElementValue, shape: ElementShape, index: number): string | undefined {
  try {
    const { key } = partsOf(value);
    return key === CATCH_ALL ? undefined : toHex(keyBytes(key, shape).from);
  } catch (error) {
    throw within(error, [index]);
  }
}

/** One value as one element, where the set has no beginnings and ends. */
export function wireElement(value: ElementValue, shape: ElementShape, keysOnly: boolean): WireElement {
  let wired: WireElement | undefined;
  pushElement(value, shape, keysOnly, element => {
    wired = element;
  });
  return wired!;
}

interface Parts {
  key: ElementKey;
  /** Undefined where the value is the key alone. */
  rest: Exclude<ElementValue, ElementKey | { wire: WireElement }> | undefined;
}

function partsOf(value: unknown): Parts {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || Array.isArray(value))
    return { key: value as ElementKey, rest: undefined };
  if (!('key' in value)) return { key: value as ElementKey, rest: undefined };
  for (const field in value) {
    if (!ELEMENT_FIELDS.includes(field) && (value as Record<string, unknown>)[field] !== undefined) {
      throw typeError(
        [field],
        noField(field, ELEMENT_FIELDS),
        (value as Record<string, unknown>)[field],
        'ERR_UNKNOWN_FIELD',
      );
    }
  }
  return { key: value.key as ElementKey, rest: value as Parts['rest'] & object };
}

function pushElement(
  value: ElementValue,
  shape: ElementShape,
  keysOnly: boolean,
  push: (element: WireElement) => void,
): void {
  const wire = isWire(value) ?? (isWireForm(value, shape) ? value : undefined);
  if (wire !== undefined) {
    push(wire);
    return;
  }
  const { key, rest } = partsOf(value);
  const element: WireElement = {};
  const openEnd = writeKey(element, key, shape, rest === undefined ? [] : ['key']);
  if (rest !== undefined) attach(element, rest, shape, keysOnly);
  else if (shape.values !== 'none' && !keysOnly)
    throw typeError(['data'], 'a value: this is a map', undefined, 'ERR_MISSING');
  const marked = shape.ranges === 'marks' && element.key !== undefined;
  const ends = marked && rest?.endsAtNext !== true;
  if (ends && openEnd === undefined) element.userdataFlags = [OPEN_INTERVAL];
  push(element);
  if (ends && openEnd !== undefined) push({ key: openEnd, flags: ['interval-end'] });
}

/** Returns the key behind the range, where there is one. */
function writeKey(element: WireElement, key: ElementKey, shape: ElementShape, path: Path): string | undefined {
  if (key === CATCH_ALL) {
    element.flags = ['catch-all'];
    return undefined;
  }
  let bytes: KeyBytes;
  try {
    bytes = keyBytes(key, shape);
  } catch (error) {
    throw within(error, path);
  }
  element.key = toHex(bytes.from);
  if (shape.ranges === 'keys') element.keyEnd = toHex(bytes.to);
  return shape.ranges === 'marks' ? increment(bytes.to) : undefined;
}

function attach(element: WireElement, rest: NonNullable<Parts['rest']>, shape: ElementShape, keysOnly: boolean): void {
  const { data, expressions } = rest;
  if (data === undefined) {
    if (shape.values !== 'none' && !keysOnly)
      throw typeError(['data'], 'a value: this is a map', undefined, 'ERR_MISSING');
  } else {
    try {
      writeData(element, data, shape);
    } catch (error) {
      throw within(error, ['data']);
    }
  }
  if (rest.timeoutMilliseconds !== undefined) element.timeoutMilliseconds = rest.timeoutMilliseconds as bigint;
  if (rest.expirationMilliseconds !== undefined) element.expirationMilliseconds = rest.expirationMilliseconds as bigint;
  if (rest.comment !== undefined) element.comment = rest.comment;
  if (expressions?.length === 1) element.expression = expressions[0]!;
  else if (expressions !== undefined) element.expressions = expressions;
}

function writeData(element: WireElement, data: ElementData, shape: ElementShape): void {
  if (shape.values === 'none') throw typeError([], 'nothing: a set has no values', data);
  if (shape.values === 'object') {
    if (typeof data !== 'string') throw typeError([], 'the name of an object', data);
    element.object = data;
  } else if (shape.values === 'verdict') {
    element.data = verdictOf(data);
  } else {
    element.data = toHex(dataBytes(data as ElementKey, shape));
  }
}

function verdictOf(data: unknown): Verdict {
  if (typeof data === 'string' && VERDICTS.includes(data)) return { verdict: data as Verdict['verdict'] };
  if (typeof data === 'object' && data !== null && 'verdict' in data) return data as Verdict;
  throw typeError([], `a verdict: one of ${VERDICTS.join(', ')}, or { verdict: 'jump' | 'goto', chain }`, data);
}

interface KeyBytes {
  from: Uint8Array;
  to: Uint8Array;
}

/** The bytes of a key, and of the last key of a range; a set without ranges accepts single keys only. */
function keyBytes(key: ElementKey, { keyLength, key: fields, ranges }: ElementShape): KeyBytes {
  const from = new Uint8Array(keyLength);
  const to = ranges === 'none' ? from : new Uint8Array(keyLength);
  writeFields(key, fields, from, to, 0);
  return { from, to };
}

function dataBytes(data: ElementKey, { dataLength, data: fields, dataRanges }: ElementShape): Uint8Array {
  const from = new Uint8Array(dataRanges ? dataLength / 2 : dataLength);
  if (!dataRanges) {
    writeFields(data, fields, from, from, 0);
    return from;
  }
  const both = new Uint8Array(dataLength);
  writeFields(data, fields, both.subarray(0, dataLength / 2), both.subarray(dataLength / 2), 0);
  return both;
}

/** The next number, as hex; undefined behind the highest one. */
function increment(bytes: Uint8Array): string | undefined {
  const next = bytes.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = (next[i]! + 1) & 0xff;
    if (next[i] !== 0) return toHex(next);
  }
  return undefined;
}

function decrement(hex: string): Uint8Array {
  const before = toBytes(hex)!;
  for (let i = before.length - 1; i >= 0; i--) {
    before[i] = (before[i]! - 1) & 0xff;
    if (before[i] !== 0xff) break;
  }
  return before;
}

/** The elements of a set as values, in the order of their keys where the set has ranges. */
export interface ElementValues {
  elements: ElementValue[];
  /** An end comes before the first range. Only in sets of ranges. */
  leadingEnd?: boolean;
}

/**
 * The kernel's elements as values; nothing is lost. The beginning and the end of a range become one value, a range that is a prefix is
 * written as one, and any other element is kept as `{ wire }`.
 */
export function elementValues(wire: readonly WireElement[], shape: ElementShape): ElementValues {
  if (shape.ranges === 'marks') return markedRanges(wire, shape);
  return {
    elements: wire.map(element => {
      const last = shape.ranges === 'keys' ? element.keyEnd : undefined;
      if (element.flags?.includes('catch-all')) return whole(element, CATCH_ALL, shape);
      if (!isKey(element.key, shape) || element.flags !== undefined) return { wire: element };
      if (shape.ranges === 'keys' ? !isKey(last, shape) : element.keyEnd !== undefined) return { wire: element };
      return whole(
        element,
        readKey(toBytes(element.key)!, last === undefined ? undefined : toBytes(last)!, shape),
        shape,
      );
    }),
  };
}

const isKey = (key: unknown, { keyLength }: ElementShape): key is string =>
  typeof key === 'string' && key.length === keyLength * 2;

function markedRanges(wire: readonly WireElement[], shape: ElementShape): ElementValues {
  const elements: ElementValue[] = [];
  const marks: WireElement[] = [];
  for (const element of wire) {
    if (element.flags?.includes('catch-all')) elements.push(whole(element, CATCH_ALL, shape));
    else if (!isMark(element, shape)) elements.push({ wire: element });
    else marks.push(element);
  }
  const isEnd = ({ flags }: WireElement) => flags !== undefined;
  // An end comes before the beginning with the same key.
  marks.sort((a, b) => {
    if (a.key !== b.key) return (a.key as string) < (b.key as string) ? -1 : 1;
    return Number(isEnd(b)) - Number(isEnd(a));
  });
  let leadingEnd = false;
  const ranges: ElementValue[] = [];
  for (let i = 0; i < marks.length; i++) {
    const mark = marks[i]!;
    const next = marks[i + 1];
    if (isEnd(mark)) {
      // The second of two ends, or the end of a range that is not in the list.
      const others = next === undefined ? elements.length > 0 : next.key !== mark.key;
      if (i === 0 && others && /^0*$/.test(mark.key as string)) leadingEnd = true;
      else ranges.push({ wire: mark });
      continue;
    }
    const from = toBytes(mark.key)!;
    if (next !== undefined && isEnd(next) && next.key !== mark.key) {
      const range = whole(mark, readKey(from, decrement(next.key as string), shape), shape);
      ranges.push(range);
      if (isWire(range) !== undefined) ranges.push({ wire: next });
      i++;
    } else if (next === undefined) {
      const { userdataFlags, ...rest } = mark;
      const open = userdataFlags?.length === 1 && userdataFlags[0] === OPEN_INTERVAL;
      const last = new Uint8Array(shape.keyLength).fill(0xff);
      if (open) ranges.push(whole(rest, readKey(from, last, shape), shape));
      else ranges.push(whole(mark, readKey(from, last, shape), shape, true));
    } else if (next.key === mark.key) {
      ranges.push({ wire: mark });
    } else {
      ranges.push(whole(mark, readKey(from, decrement(next.key as string), shape), shape, true));
    }
  }
  return { elements: [...elements, ...ranges], leadingEnd };
}

/** The kernel's fields of an end in a set with a default timeout: an end does not expire, its beginning does. */
const LIFETIME = ['timeoutMilliseconds', 'expirationMilliseconds'];

/** Is the element a beginning, or an end without other fields? */
function isMark(element: WireElement, shape: ElementShape): boolean {
  if (!isKey(element.key, shape) || element.keyEnd !== undefined) return false;
  if (element.flags === undefined) return true;
  const fields = Object.keys(element).filter(field => !LIFETIME.includes(field));
  return element.flags.length === 1 && element.flags[0] === 'interval-end' && fields.length === 2;
}

/** The value of a key, or the unchanged element where the value would lose something. */
function whole(element: WireElement, key: ElementKey, shape: ElementShape, endsAtNext = false): ElementValue {
  const { key: first, keyEnd: last, flags, data, object, expression, expressions, ...rest } = element;
  const value: { key: ElementKey; data?: ElementData; endsAtNext?: true } & Attached = { key };
  const wire = { wire: element };
  if (flags !== undefined && (flags.length !== 1 || first !== undefined || last !== undefined)) return wire;
  if (rest.unknown !== undefined || rest.userdataFlags !== undefined) return wire;
  if (shape.values === 'object') {
    if (object === undefined || data !== undefined) return wire;
    value.data = object;
  } else if (object !== undefined || (data === undefined) !== (shape.values === 'none')) {
    return wire;
  } else if (shape.values === 'verdict') {
    if (typeof data !== 'object') return wire;
    value.data = data;
  } else if (shape.values === 'data') {
    if (typeof data !== 'string' || data.length !== shape.dataLength * 2) return wire;
    value.data = readData(toBytes(data)!, shape);
  }
  if (expression !== undefined && expressions !== undefined) return wire;
  if (expressions !== undefined && expressions.length === 1) return wire;
  Object.assign(value, rest);
  if (expression !== undefined) value.expressions = [expression];
  else if (expressions !== undefined) value.expressions = expressions;
  if (endsAtNext) value.endsAtNext = true;
  return Object.keys(value).length === 1 ? key : value;
}

function readData(bytes: Uint8Array, shape: ElementShape): ElementKey {
  if (!shape.dataRanges) return readFields(bytes, undefined, shape.data);
  const half = shape.dataLength / 2;
  return readFields(bytes.subarray(0, half), bytes.subarray(half), shape.data);
}

const readKey = (from: Uint8Array, to: Uint8Array | undefined, shape: ElementShape): ElementKey =>
  readFields(from, to, shape.key);
