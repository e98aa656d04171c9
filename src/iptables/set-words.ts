import * as C from '../linux/ip_set.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import { type Flag, type OptionPlace, refused, type Value } from './extension.ts';

/* The sets of ipset as options name them: `--match-set NAME src,dst`. */

export const numberIn = (info: Info, key: string): number => (info[key] as number | undefined) ?? 0;

export const bit = (key: string, value: number): Flag => ({
  set(info) {
    info[key] = numberIn(info, key) | value;
  },
  has: info => (numberIn(info, key) & value) !== 0,
});

/** The fields of a structure that name one set. */
export interface SetFields {
  readonly index: string;
  readonly dimensions: string;
  readonly sides: string;
}

/** Which address or port of a packet each part of an element is compared with: `src,dst`. */
function parseSides(info: Info, text: string, fields: SetFields, place: OptionPlace): void {
  const sides = text.split(',');
  for (const [i, side] of sides.slice(0, C.IPSET_DIM_MAX).entries()) {
    if (side.startsWith('src')) bit(fields.sides, 1 << (i + 1)).set(info);
    else if (!side.startsWith('dst'))
      throw refused(place, "You must spefify (the comma separated list of) 'src' or 'dst'.");
  }
  if (sides.length > C.IPSET_DIM_MAX) throw refused(place, `Can't be more src/dst options than ${C.IPSET_DIM_MAX}.`);
  info[fields.dimensions] = sides.length;
}

const printSides = (info: Info, { dimensions, sides }: SetFields): string =>
  Array.from({ length: numberIn(info, dimensions) }, (_, i) =>
    bit(sides, 1 << (i + 1)).has(info) ? 'src' : 'dst',
  ).join(',');

/** A set and the sides of packets, as two arguments. */
export const namedSet = (fields: SetFields): Value => ({
  words: 2,
  parse(info, [name, sides], place) {
    const longest = C.IPSET_MAXNAMELEN - 1;
    if (Buffer.byteLength(name!) > longest)
      throw refused(place, `setname \`${name}' too long, max ${longest} characters.`);
    if (place.sets === undefined) throw refused(place, `Set ${name} doesn't exist.\n`);
    info[fields.index] = place.sets.index(name!, place.family);
    parseSides(info, sides!, fields, place);
  },
  print(info, { sets }) {
    if (numberIn(info, fields.dimensions) === 0) return undefined;
    const index = numberIn(info, fields.index);
    return `${sets?.name(index) ?? index} ${printSides(info, fields)}`;
  },
});
