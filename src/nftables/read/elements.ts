import { checkObject, checkOneOf } from '../../codec/index.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { SetKey } from '../../nf_tables/set.ts';
import { noteLeadingEnd } from '../../nft/element-forms.ts';
import { type ElementValue, elementValues } from '../../nft/element-values.ts';
import { shapeOf } from '../../nft/set-types.ts';
import { readSet } from '../request.ts';
import { dumpElements, setKey } from './listing.ts';
import { READING_OPTIONS, Reading, type ReadingOptions } from './reading.ts';

/** How elements are read. */
export interface ElementsOptions extends ReadingOptions {
  /** wire (the default): as the kernel has them; of a range, its beginning and its end. values: addresses, ranges, concatenations. */
  as?: 'wire' | 'values';
}

/** The elements of a set or map: see NftablesOperations.elements. */
export function* elements(
  exchange: Exchange,
  set: SetKey,
  options: ElementsOptions = {},
): Operation<WireElement[] | ElementValue[]> {
  checkObject(options, [], ['as', ...READING_OPTIONS]);
  const { as = 'wire' } = options;
  const reading = new Reading(exchange, options);
  checkOneOf(as, ['as'], ['wire', 'values']);
  const { family, table, name } = setKey(set);
  if (as === 'wire') return yield* reading.undisturbed(() => dumpElements(exchange, { family, table, name }, reading));
  return yield* reading.consistent(exchange, function* (generation) {
    const found = yield* readSet(exchange, familyNumber(family, ['family']), table, name);
    const wire = yield* dumpElements(exchange, { family, table, name }, reading, generation);
    const { elements, leadingEnd } = elementValues(wire, shapeOf(found));
    return leadingEnd ? noteLeadingEnd(elements) : elements;
  });
}
