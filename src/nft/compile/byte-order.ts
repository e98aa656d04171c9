import type { ByteOrder } from '../data/datatypes.ts';
import { swapped } from './number.ts';
import { bytesOf, type Conversion, isConstant, isNumeric, isText, refuse, type Term } from './term.ts';

/** The same in another byte order: a constant is only read otherwise, what is loaded has to be turned around. */
export function convert(term: Term, order: ByteOrder): Term {
  if (term.order === order) return term;
  if (term.kind === 'concat') {
    for (const [i, part] of term.parts.entries()) {
      if (part.order === 'big' || isText(part.type)) continue;
      if (part.kind === 'value') {
        if (part.order === 'host') part.value = swapped(part.value, bytesOf(part.bits));
      } else if (bytesOf(part.bits) >= 2) {
        term.parts[i] = conversionOf(part, 'big');
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
  return conversionOf(term, order);
}

function conversionOf(term: Term, to: 'host' | 'big'): Conversion {
  return { kind: 'conversion', place: term.place, type: term.type, order: to, bits: term.bits, to, argument: term };
}
