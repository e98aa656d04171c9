import { type Path, typeError, within } from '../errors.ts';
import type { Type } from './types.ts';
import {
  attributeLength,
  attributeType,
  eachAttribute,
  NLA_F_NESTED,
  NLA_HDRLEN,
  nextAttribute,
  refuseStray,
} from './wire.ts';

/**
 * A nest whose attributes all have one number. Its value is an array.
 * @param elementNumber the number of each element
 * @param element the type of an element
 * @example
 * const row = attribute(2, listOf(1, table));
 */
export function listOf<T>(elementNumber: number, element: Type<T>): Type<T[]> {
  const wireType = element.kind === 'nest' || element.kind === 'list' ? elementNumber | NLA_F_NESTED : elementNumber;
  return {
    kind: 'list',
    items: { number: elementNumber, type: element as Type<unknown> },
    write(writer, value, context) {
      if (!Array.isArray(value)) throw typeError([], 'an array', value);
      for (let i = 0; i < value.length; i++) {
        try {
          const start = writer.beginAttribute(wireType);
          element.write(writer, value[i] as T, context);
          writer.endAttribute(start);
        } catch (error) {
          throw within(error, [i]);
        }
      }
    },
    read(source, start, end, context) {
      const items: T[] = [];
      const { view } = source;
      let whole = true;
      let at = start;
      for (; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
        const length = attributeLength(view, at, end);
        const own = attributeType(view, at) === elementNumber;
        const item = own ? element.read(source, at + NLA_HDRLEN, at + length, context) : undefined;
        if (item === undefined) whole = false;
        else items.push(item);
      }
      refuseStray(at, end);
      return whole ? items : undefined;
    },
    locate(source, start, end, offset, context) {
      let path: Path = [];
      let index = 0;
      eachAttribute(source, start, end, (_type, payload, payloadEnd) => {
        if (offset >= payload - NLA_HDRLEN && offset < payloadEnd) {
          const inner = offset >= payload ? element.locate?.(source, payload, payloadEnd, offset, context) : undefined;
          path = [index, ...(inner ?? [])];
        }
        index++;
      });
      return path;
    },
  };
}
