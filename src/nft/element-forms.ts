import type { WireElement } from '../nf_tables/element.ts';
import { type ElementValue, isWireForm } from './element-values.ts';
import { CATCH_ALL } from './field-values.ts';
import type { ElementShape } from './set-types.ts';

/** An element to write: a value, or an element in the kernel's form, as `elements()`, `ruleset()` and a monitor return them. */
export type GivenElement = ElementValue | WireElement;

const WIRE_KEY = /^(?:[0-9a-f]{2})+$/;

/**
 * The elements as values; those in the kernel's form become `{ wire }`. In sets with separate beginnings and ends of ranges, a beginning
 * looks like a value whose key is hex. It counts as a beginning if the set was read (`wasRead`), or if another element of the list can only
 * be in the kernel's form.
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
 * Notes on a list of values that the set has an end before its first range, as nft makes it. No value says that, and look-ups do not depend
 * on it. With the note the list, written as it was read, makes the same elements.
 */
export function noteLeadingEnd<T extends ElementValue[]>(values: T): T {
  return Object.defineProperty(values, LEADING_END, { value: true });
}

export const hasLeadingEnd = (values: object): boolean => LEADING_END in values;
