import { listOf, type Template, template } from '../../codec/index.ts';
import type { Path } from '../../errors.ts';
import * as C from '../../linux/nf_tables.ts';
import { elementTable } from '../../nf_tables/element.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import { ofThread } from '../../thread.ts';

/** The length of a nest has 16 bits. */
export const MAX_NEST = 0xffff;

/** An element of a key and bytes as its value: all elements of a large set look like this. */
export interface ElementTemplate {
  readonly message: Template<'key' | 'data'>;
  /** The elements of a set have no value, and the template no hole for it. */
  readonly isMap: boolean;
}

/** By the lengths of key and value, of which there are few. */
const templates = ofThread('nftables.elements', { byLengths: new Map<number, ElementTemplate>() });

/** Undefined where the set's elements are not as plain as that: ranges, verdicts, objects. */
export function elementTemplate(shape: ElementShape, keysOnly: boolean): ElementTemplate | undefined {
  const values = keysOnly ? 'none' : shape.values;
  if (shape.ranges !== 'none' || shape.dataRanges || (values !== 'data' && values !== 'none')) return undefined;
  const { keyLength } = shape;
  const dataLength = values === 'data' ? shape.dataLength : -1;
  // Elements in the kernel's own form need no type, and without one the lengths are not known.
  if (keyLength === 0 || dataLength === 0) return undefined;
  const lengths = keyLength * 0x10000 + dataLength;
  const known = templates.byLengths.get(lengths);
  if (known !== undefined) return known;
  const isMap = values === 'data';
  const key = '00'.repeat(keyLength);
  const sample = isMap ? { key, data: '00'.repeat(dataLength) } : { key };
  const holes: Record<string, Path> = isMap ? { key: [0, 'key'], data: [0, 'data'] } : { key: [0, 'key'] };
  const message: Template = template(listOf(C.NFTA_LIST_ELEM, elementTable), [sample], holes);
  const made: ElementTemplate = { message: message as ElementTemplate['message'], isMap };
  templates.byLengths.set(lengths, made);
  return made;
}
