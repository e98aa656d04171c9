import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf, numberOf } from '../compile/json-fields.ts';
import { GENERATED } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { word } from '../decompile/kernel-words.ts';
import type { JsonObject } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place } from '../tree.ts';
import { type LoadExpression, load, takeExpectedType } from './expression.ts';

export interface NumgenJson {
  mode: 'inc' | 'random';
  mod: number;
  offset?: number;
}

/** `numgen`: the next number of a cycle, or a random one, modulo a number. */
interface Numgen extends Load {
  readonly mode: keyof typeof KERNEL_MODES;
  readonly modulus: number;
  /** The number that is added to the result. */
  readonly offset: number;
}

const KERNEL_MODES = { inc: 'incremental', random: 'random' } as const;
const MODES = { inc: 'inc', random: 'random' } as const;

const made = (mode: Numgen['mode'], modulus: number, offset: number, place?: Place): Numgen =>
  load('numgen', GENERATED, place, { mode, modulus, offset });

export const numgen: LoadExpression<Numgen> = {
  kernel: 'numgen',
  words: ['numgen'],
  typeof: { kind: 23, needs: [0, 1, 2] },

  fromText: {
    numgen(p) {
      const { text: mode } = p;
      if (p.kind !== T.WORD || !Object.hasOwn(MODES, mode)) return p.unexpectedIn(SCOPES.numgen, 'inc', 'random');
      p.next();
      if (!p.acceptWord('mod')) p.unexpectedIn(SCOPES.numgen, 'mod');
      const content: JsonObject = { mode, mod: p.whole() };
      if (p.acceptWord('offset')) {
        content.offset = p.whole();
      } else {
        content.offset = 0;
        p.hold(SCOPES.numgen);
      }
      return { numgen: content };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    const mode = entryOf(MODES, fields.mode, new Place(place, 'mode'));
    const modulus = numberOf(fields, 'mod', place);
    return made(mode, modulus, fields.offset === undefined ? 0 : numberOf(fields, 'offset', place), place);
  },

  evaluate: takeExpectedType,
  maximum: ({ modulus, offset }) => modulus + offset - 1,
  converts: (type, dialect) => type.name === 'ipv4_addr' && dialect.convertsGeneratedAddresses,
  write: ({ mode, modulus, offset }, register): ContentOf<'numgen'> => ({
    register,
    modulus,
    type: KERNEL_MODES[mode],
    offset,
  }),
  read: ({ type, modulus, offset }: ContentOf<'numgen'>) =>
    made(word(type) === 'random' ? 'random' : 'inc', modulus, offset ?? 0),
  json: ({ mode, modulus, offset }) => ({ numgen: { mode, mod: modulus, offset } }),
  text: ({ mode, modulus, offset }) => `numgen ${mode} mod ${modulus}${offset === 0 ? '' : ` offset ${offset}`}`,
  describe: ({ mode, modulus, offset }) => [
    [0, mode === 'random' ? 1 : 0],
    [1, modulus],
    [2, offset],
  ],
  described: at => made(at(0) === 0 ? 'inc' : 'random', at(1)!, at(2)!),
};
