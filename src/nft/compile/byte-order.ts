import { bytesOf, swapped } from '../bits.ts';
import type { ByteOrder } from '../data/datatypes.ts';
import { isConstant, isNumeric, isText, unary } from '../nodes.ts';
import { type Node, refuse } from '../tree.ts';

/** Converts a term to another byte order. A constant only gets the new order; a loaded value gets an instruction that swaps its bytes. */
export function convert(term: Node, order: ByteOrder): Node {
  if (term.order === order) return term;
  if (term.kind === 'concat') {
    for (const [i, part] of term.parts.entries()) {
      if (part.order === 'big' || isText(part.type)) continue;
      if (part.kind === 'value') {
        if (part.order === 'host') part.value = swapped(part.value, bytesOf(part.bits));
      } else if (bytesOf(part.bits) >= 2) {
        term.parts[i] = unary(part, 'big');
      }
    }
    return term;
  }
  if (isText(term.type)) return term;
  if (!isNumeric(term.type)) throw refuse(term.place, `a number in ${order ?? 'another'} byte order`, term.type.name);
  if (isConstant(term) || bytesOf(term.bits) < 2) {
    term.order = order;
    return term;
  }
  if (order === undefined) throw refuse(term.place, 'a byte order', term.type.name);
  return unary(term, order);
}
