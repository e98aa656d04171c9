import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf, numberOf, textOf } from '../compile/json-fields.ts';
import { type AddressFamily, IPSEC, IPSEC_NUMBERS, IPSEC6, type IpsecKey, type KeyRow } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { defined, type JsonObject } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place, refuse, Undecompilable } from '../tree.ts';
import { familyOf, type LoadExpression, load, numberOfKey, wordFor, wordsByKey } from './expression.ts';

export interface IpsecJson {
  key: IpsecKey;
  family?: AddressFamily;
  dir?: 'in' | 'out';
  spnum?: number;
}

/** `ipsec`: the IPsec state that the packet came through, or will go through. The kernel calls it xfrm. */
interface Ipsec extends Load {
  readonly key: string;
  readonly kernelKey: ContentOf<'xfrm'>['key'];
  /** The family of an address. */
  readonly family: AddressFamily | undefined;
  readonly direction: keyof typeof DIRECTIONS;
  /** The index of the state, if the packet has several. */
  readonly index: number;
}

/** XFRM_POLICY_IN, XFRM_POLICY_OUT */
const DIRECTIONS = { in: 0, out: 1 } as const;
/** The highest index of a state. */
const LAST_STATE = 255;
/** The families whose rules see IPsec states. */
const FAMILIES = ['ip', 'ip6', 'inet'];
const WORDS = /* @__PURE__ */ wordsByKey(IPSEC);
const WORDS6 = /* @__PURE__ */ wordsByKey(IPSEC6);

interface Keyed {
  readonly key: string;
  readonly row: KeyRow;
  readonly direction: Ipsec['direction'];
  readonly index: number;
}

function made({ key, row, direction, index }: Keyed, place?: Place): Ipsec {
  const family = row.key.endsWith('ip6') ? 'ip6' : row.key.endsWith('ip4') ? 'ip' : undefined;
  return load('ipsec', row, place, { key, kernelKey: row.key as Ipsec['kernelKey'], family, direction, index });
}

function ofKey(kernel: string | number, direction: number, index: number): Ipsec {
  const six = WORDS6.get(kernel);
  const key = six ?? wordFor(WORDS, kernel, 'ipsec');
  const row = six === undefined ? IPSEC[key] : IPSEC6[six];
  if (direction > 1) throw new Undecompilable(`the direction ${direction} of ipsec`);
  return made({ key, row, direction: direction === DIRECTIONS.in ? 'in' : 'out', index });
}

export const ipsec: LoadExpression<Ipsec> = {
  kernel: 'xfrm',
  words: ['ipsec'],
  typeof: { kind: 28, oldKind: 27, needs: [0, 1, 2], isUnsafe: true },

  fromText: {
    ipsec(p) {
      const { text: dir } = p;
      // The key of the packet's meta data has the same word.
      if (p.kind !== T.WORD || !Object.hasOwn(DIRECTIONS, dir)) return { meta: { key: 'ipsec' } };
      p.next();
      const { start } = p;
      const spnum = p.acceptWord('spnum') ? p.whole() : 0;
      const { lastEnd: end } = p;
      const content: JsonObject = { dir, spnum };
      if (p.isWord('ip') || p.isWord('ip6')) {
        content.family = p.text;
        p.next();
        if (!p.isWord('saddr') && !p.isWord('daddr')) p.unexpectedIn(SCOPES.ipsec, 'saddr', 'daddr');
      } else if (!p.isWord('reqid') && !p.isWord('spi')) {
        p.unexpectedIn(SCOPES.ipsec, 'ip', 'ip6', 'spi', 'reqid');
      }
      content.key = p.text;
      p.next();
      if (spnum > LAST_STATE) p.fail('value too large', start, end);
      return { ipsec: content };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    const key = textOf(fields, 'key', place);
    const row = entryOf<KeyRow>(IPSEC, key, new Place(place, 'key'));
    const six = key === 'saddr' || key === 'daddr' ? IPSEC6[key] : undefined;
    const isSix = six !== undefined && familyOf(fields, place) === 'ip6';
    const directions = { in: 'in', out: 'out' } as const;
    const direction = entryOf(directions, fields.dir ?? 'in', new Place(place, 'dir'));
    const index = fields.spnum === undefined ? 0 : numberOf(fields, 'spnum', place, LAST_STATE);
    return made({ key, row: isSix ? six : row, direction, index }, place);
  },

  evaluate(node, { scope }) {
    if (!FAMILIES.includes(scope.family))
      throw refuse(
        node.place,
        'a rule of family ip, ip6 or inet',
        scope.family,
        'ipsec expression is only valid in ip/ip6/inet tables',
      );
  },

  write: ({ kernelKey, direction, index }, register): ContentOf<'xfrm'> => ({
    register,
    key: kernelKey,
    direction: DIRECTIONS[direction],
    index,
  }),
  read: ({ key, direction, index }: ContentOf<'xfrm'>) => ofKey(key, direction, index ?? 0),
  json: ({ key, family, direction, index }) => ({ ipsec: defined({ key, family, dir: direction, spnum: index }) }),
  text({ key, family, direction, index }) {
    const state = index === 0 ? '' : ` spnum ${index}`;
    return `ipsec ${direction}${state}${family === undefined ? '' : ` ${family}`} ${key}`;
  },
  describe: ({ kernelKey, direction, index }) => [
    [0, numberOfKey(IPSEC_NUMBERS, String(kernelKey))],
    [1, index],
    [2, DIRECTIONS[direction]],
  ],
  described(at) {
    const key = IPSEC_NUMBERS[at(0)!];
    return key && ofKey(key, at(2)!, at(1)!);
  },
};
