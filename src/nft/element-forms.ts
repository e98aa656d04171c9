import type { WireElement } from '../nf_tables/element.ts';
import { type ElementValue, isWireForm } from './element-values.ts';
import { CATCH_ALL } from './field-values.ts';
import type { ElementShape } from './set-types.ts';

/** An element as it is written: a value, or one of the kernel's own, as `elements()`, `ruleset()` and a monitor give them. */
export type GivenElement = ElementValue | WireElement;

const WIRE_KEY = /^(?:[0-9a-f]{2})+$/;

/**
 * The elements as values, those in the kernel's form as `{ wire }`. Where a range has its beginning and its end apart, a beginning looks like a
 * value with a key as hex: it is one if the set was read (`wasRead`), or if another element of the list can only be in the kernel's form.
 */
export function asValues(
  elements: readonly GivenElement[],
  shape: ElementShape,
  wasRead: boolean | undefined,
): readonly ElementValue[] {
  const some = elements.some(element => isWireForm(element, shape));
  if (!some && (shape.ranges !== 'marks' || wasRead !== true)) return elements as readonly ElementValue[];
  return elements.map(element =>
    isWireForm(element, shape) || (shape.ranges === 'marks' && isMark(element, shape))
      ? { wire: element as WireElement }
      : (element as ElementValue),
  );
}

function isMark(element: unknown, { keyLength }: ElementShape): boolean {
  const key = typeof element === 'object' && element !== null ? (element as { key?: unknown }).key : undefined;
  return typeof key === 'string' && key !== CATCH_ALL && key.length === 2 * keyLength && WIRE_KEY.test(key);
}

const LEADING_END = Symbol.for('netsteer.leadingEnd');

/**
 * Notes on a list of values that the set marks what lies before its first range, as sets do that nft has made. No value says that, and it matters to
 * nobody; but the list, written as it was read, makes the same elements.
 */
export function noteLeadingEnd<T extends ElementValue[]>(values: T): T {
  return Object.defineProperty(values, LEADING_END, { value: true });
}

export const hasLeadingEnd = (values: object): boolean => LEADING_END in values;

/** An element of the kernel's as the kernel takes it: ends of ranges have a lifetime in its listings, and are refused with one. */
export function writableWire(element: WireElement): WireElement {
  if (!element.flags?.includes('interval-end')) return element;
  const { timeoutMilliseconds: _, expirationMilliseconds: __, ...rest } = element;
  return rest;
}
