import { type Path, rangeError, within } from '../../errors.ts';
import type { WiredElements } from '../../nft/element-values.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import type { EncodeContext } from '../write/encode-context.ts';
import type { Verb } from '../write/new-objects.ts';
import { type ElementsHead, writeWired } from '../write/wire-elements.ts';
import { rangeList } from './range-lists.ts';
import { type RangeChange, RangeSet, RefusedRange } from './range-set.ts';
import type { DeclaredSet } from './ranged-sets.ts';

/* Elements of sets with ranges: they are compared with those that are there before the kernel sees them. */

/** An operation on the elements of one set. */
export interface RangedOperation {
  readonly verb: Verb;
  /** The flags are those of what is added. */
  readonly head: ElementsHead;
  readonly shape: ElementShape;
  /** Where the caller's object has the list. */
  readonly path: Path;
  /** The form in which a value was given. */
  readonly wire: (origin: number) => boolean;
}

/**
 * Writes the elements, or has them wait for `commit` where they must be compared with those of the kernel. Errors within the list are thrown at
 * once.
 */
export function writeRanged(
  operation: RangedOperation,
  wired: () => WiredElements,
  declared: DeclaredSet | undefined,
  to: EncodeContext,
): void {
  const { verb, shape, path } = operation;
  const change = to.resolved?.change;
  if (change !== undefined) {
    writeChange(operation, change, to);
    return;
  }
  let elements: WiredElements;
  try {
    elements = wired();
  } catch (error) {
    throw within(error, path);
  }
  const list = rangeList(elements, shape, operation.wire);
  if (declared === undefined || declared.fresh === undefined) {
    if (declared !== undefined && (verb === 'add' || verb === 'create'))
      apply(new RangeSet(shape, declared.merges), operation, () => list);
    to.ranged.keep(to.operation, list, declared);
    to.needsMore = true;
    return;
  }
  const { fresh } = declared;
  const made = apply(fresh, operation, () => list);
  if (declared.merges) {
    // The result is known only when all operations are.
    to.ranged.keep(to.operation, list, declared);
    to.needsMore = true;
    return;
  }
  try {
    writeChange(operation, made, to);
  } catch (error) {
    fresh.undo();
    throw error;
  }
}

function apply(set: RangeSet, { verb, path }: RangedOperation, list: () => ReturnType<typeof rangeList>): RangeChange {
  try {
    return set.apply(verb, list());
  } catch (error) {
    if (!(error instanceof RefusedRange)) throw within(error, path);
    const missing = error.code === 'ENOENT';
    const expected = missing ? 'an element that the set has, whole' : 'an element that the set does not have yet';
    const code = missing ? 'ERR_UNKNOWN_ELEMENT' : 'ERR_DUPLICATE';
    throw rangeError([...path, error.index], expected, undefined, code);
  }
}

function writeChange({ head }: RangedOperation, { removed, added }: RangeChange, { list }: EncodeContext): void {
  if (removed.elements.length > 0) writeWired(list, { ...head, name: 'delsetelem', flags: 0 }, removed);
  if (added.elements.length > 0) writeWired(list, { ...head, name: 'newsetelem' }, added);
}
