import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf, textOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { type AddressFamily, type KeyRow, RT, RT_NEXTHOP6, RT_NUMBERS, type RtKey } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { EXTENSIONS, NETWORK } from '../headers.ts';
import { defined } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place, refuse } from '../tree.ts';
import { familyOf, type LoadExpression, load, numberOfKey, wordFor, wordsByKey } from './expression.ts';

export interface RtJson {
  key: RtKey;
  family?: AddressFamily;
}

/** `rt`: the route of the packet. `nexthop` has a family; the default is the rule's own. */
interface Rt extends Load {
  readonly key: RtKey;
  family: AddressFamily | undefined;
}

const WORDS = /* @__PURE__ */ wordsByKey(RT);

/** The kernel's key. */
const kernelKey = ({ key, family }: Rt): ContentOf<'rt'>['key'] =>
  key === 'nexthop' && family === 'ip6' ? RT_NEXTHOP6.key : RT[key].key;

function ofKey(kernel: string | number): Rt {
  if (kernel === RT_NEXTHOP6.key) return load('rt', RT_NEXTHOP6, undefined, { key: 'nexthop', family: 'ip6' });
  const key = wordFor(WORDS, kernel, 'rt');
  return load('rt', RT[key], undefined, { key, family: key === 'nexthop' ? 'ip' : undefined });
}

export const rt: LoadExpression<Rt> = {
  kernel: 'rt',
  words: ['rt'],
  typeof: { kind: 25, needs: [0] },

  fromText: {
    rt(p, word) {
      const { text } = p;
      if (p.kind !== T.WORD) return p.unexpectedIn(SCOPES.rt);
      if (text === 'ip' || text === 'ip6') {
        p.next();
        if (!p.acceptWord('nexthop')) p.unexpectedIn(SCOPES.rt, 'nexthop');
        return { rt: { key: 'nexthop', family: text } };
      }
      // The routing header of IPv6 has the same word.
      if (!Object.hasOwn(RT, text)) {
        if (!Object.hasOwn(EXTENSIONS().ipv6.rt!.byName, text)) return p.unexpectedIn(SCOPES.rt);
        return p.grammar.expressions.get('rt header')!(p, word);
      }
      p.next();
      return { rt: { key: text } };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    const row = entryOf<KeyRow>(RT, textOf(fields, 'key', place), new Place(place, 'key'));
    const key = fields.key as RtKey;
    const family = key === 'nexthop' ? familyOf(fields, place) : undefined;
    const node: Rt = load('rt', family === 'ip6' ? RT_NEXTHOP6 : row, place, { key, family });
    if (key === 'nexthop' && family === undefined) node.type = TYPES.invalid;
    return node;
  },

  evaluate(node, e) {
    if (node.key !== 'nexthop') return;
    const network = e.scope.at(NETWORK);
    if (node.family !== 'ip6' && (network === 'ip' || network === 'ip6')) node.family = network;
    if (node.family === undefined)
      throw refuse(
        node.place,
        'a family: ip or ip6',
        'nexthop',
        'cannot determine ip protocol version, use "ip nexthop" or "ip6 nexthop" instead',
      );
    node.type = node.family === 'ip6' ? TYPES.ipv6_addr : TYPES.ipv4_addr;
    node.bits = node.type.bits;
  },

  converts: () => true,
  write: (node, register): ContentOf<'rt'> => ({ register, key: kernelKey(node) }),
  read: ({ key }: ContentOf<'rt'>) => ofKey(key),
  json: ({ key, family }) => ({ rt: defined({ key, family }) }),
  text: ({ key, family }) => `rt ${family === undefined ? '' : `${family} `}${key}`,
  describe: node => [[0, numberOfKey(RT_NUMBERS, kernelKey(node) as string)]],
  described(at) {
    const key = RT_NUMBERS[at(0)!];
    return key && ofKey(key);
  },
};
