import type { ContentOf } from '../../nf_tables/expression.ts';
import { CT_KEYS } from '../../nf_tables/expressions/packet.ts';
import { entryOf, fieldsOf, textOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { CT, type CtKey, type Direction, type KeyRow } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { LINK, NETWORK, TRANSPORT } from '../headers.ts';
import { defined } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Ct, Place, refuse, Undecompilable } from '../tree.ts';
import { familyOf, type LoadExpression, wordFor, wordsByKey } from './expression.ts';

/* `ct`: the packet's connection, as connection tracking knows it. */

/** The layer that a key belongs to, if it belongs to one. */
const LAYERS: Readonly<Record<string, number>> = {
  saddr: NETWORK,
  daddr: NETWORK,
  'ip saddr': NETWORK,
  'ip daddr': NETWORK,
  'ip6 saddr': NETWORK,
  'ip6 daddr': NETWORK,
  'proto-src': TRANSPORT,
  'proto-dst': TRANSPORT,
  protocol: NETWORK,
  l3proto: LINK,
};
/** Keys that have a value for each direction of a connection. */
const DIRECTED: ReadonlySet<string> = new Set<CtKey>([
  'l3proto',
  'saddr',
  'daddr',
  'protocol',
  'proto-src',
  'proto-dst',
  'packets',
  'bytes',
  'avgpkt',
  'zone',
  'ip saddr',
  'ip daddr',
  'ip6 saddr',
  'ip6 daddr',
]);
const DIRECTIONS = { original: 'original', reply: 'reply' } as const;
/** nft's numbers of the directions are the indexes. */
const DIRECTION_NUMBERS: readonly (Direction | undefined)[] = ['original', 'reply'];
const NO_DIRECTION = -1;
const ROWS: Readonly<Record<string, KeyRow>> = CT;
const WORDS = /* @__PURE__ */ wordsByKey(ROWS);

export type CtKernelKey = Exclude<ContentOf<'ct'>['key'], number>;

/** Returns the kernel's key of a word of nft. */
export const ctRow = (key: string): KeyRow & { key: CtKernelKey } => ROWS[key] as KeyRow & { key: CtKernelKey };

/** The fields of each key's node, prepared once because rules are compiled often. */
const PREPARED = /* @__PURE__ */ new Map(
  /* @__PURE__ */ Object.entries(ROWS).map(([key, { type, order, bits }]) => {
    const tellsProtocol = key === 'protocol' || key === 'l3proto';
    return [key, { type: TYPES[type], order, bits, base: LAYERS[key] ?? 0, tellsProtocol }];
  }),
);

export function ctNode(key: string, direction: Direction | undefined, place?: Place): Ct {
  const { type, order, bits, base, tellsProtocol } = PREPARED.get(key)!;
  return { kind: 'ct', place, type, order, bits, key, direction, family: undefined, base, tellsProtocol };
}

const isAddress = (key: string): boolean => key === 'saddr' || key === 'daddr';

/** Gives an address without a family the family of the network protocol, if that is known. */
export function completeAddress(node: Ct, network: string | undefined): void {
  if (!isAddress(node.key)) return;
  if (network === 'ip' || network === 'ip6') {
    node.type = network === 'ip' ? TYPES.ipv4_addr : TYPES.ipv6_addr;
    node.family = network;
  }
  node.bits = node.type.bits;
}

/** Writes the instruction that loads the key into a register. */
export function writeCt({ key, direction }: Ct, register: number): ContentOf<'ct'> {
  const { key: kernelKey } = ctRow(key);
  return direction === undefined ? { register, key: kernelKey } : { register, key: kernelKey, direction };
}

export const ct: LoadExpression<Ct> = {
  kernel: 'ct',
  words: ['ct'],
  typeof: { kind: 12, needs: [0, 1] },

  fromText: {
    ct(p) {
      let dir: string | undefined;
      if (p.isWord('original') || p.isWord('reply')) {
        dir = p.text;
        p.next();
      }
      let { text: key } = p;
      if (p.kind !== T.WORD) return p.unexpectedIn(SCOPES.ct);
      if (key === 'ip' || key === 'ip6') {
        p.next();
        if (!p.isWord('saddr') && !p.isWord('daddr')) p.unexpectedIn(SCOPES.ct, 'saddr', 'daddr');
        key = `${key} ${p.text}`;
      } else if (!Object.hasOwn(ROWS, key) || (dir !== undefined && !DIRECTED.has(key))) {
        return p.unexpectedIn(SCOPES.ct);
      }
      p.next();
      p.hold(SCOPES.ct);
      return { ct: dir === undefined ? { key } : { key, dir } };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    let key = textOf(fields, 'key', place);
    const family = familyOf(fields, place);
    if (family !== undefined && isAddress(key)) key = `${family} ${key}`;
    entryOf(ROWS, key, new Place(place, 'key'));
    const direction = fields.dir === undefined ? undefined : entryOf(DIRECTIONS, fields.dir, new Place(place, 'dir'));
    if (direction !== undefined && !DIRECTED.has(key))
      throw refuse(new Place(place, 'dir'), `no direction of ${key}`, direction);
    return ctNode(key, direction, place);
  },

  evaluate(node, { scope }) {
    const { key } = node;
    const network = scope.at(NETWORK);
    if (isAddress(key)) {
      completeAddress(node, network);
      if (node.family === undefined)
        throw refuse(
          node.place,
          `ip or ip6 ${key}, for the rule's family does not tell`,
          key,
          'cannot determine ip protocol version, use "ip saddr" or "ip6 saddr" instead'.replaceAll('saddr', key),
        );
    } else if ((key.startsWith('ip ') && network === 'ip6') || (key.startsWith('ip6 ') && network === 'ip')) {
      throw refuse(
        node.place,
        `the address family of the match before it (${network})`,
        key,
        `conflicting protocols specified: ${network} vs. ${key.split(' ')[0]}`,
      );
    } else if ((key === 'proto-src' || key === 'proto-dst') && scope.at(TRANSPORT) !== undefined) {
      node.type = TYPES.inet_service;
    }
  },

  write: writeCt,
  read({ key, direction }: ContentOf<'ct'>) {
    if (direction !== undefined && direction !== 'original' && direction !== 'reply')
      throw new Undecompilable(`the direction ${direction}`);
    return ctNode(wordFor(WORDS, key, 'ct'), direction);
  },
  json: ({ key, direction }) => ({ ct: defined({ key, dir: direction }) }),
  text: ({ key, direction, family }) => ctText(key, direction, family),
  describe: ({ key, direction }) => [
    [0, CT_KEYS[ctRow(key).key]],
    [1, direction === undefined ? NO_DIRECTION : DIRECTION_NUMBERS.indexOf(direction)],
  ],
  described(at) {
    const number = at(0);
    for (const key in CT_KEYS) {
      const word = CT_KEYS[key as CtKernelKey] === number ? WORDS.get(key) : undefined;
      if (word !== undefined) return ctNode(word, DIRECTION_NUMBERS[at(1)!]);
    }
    return undefined;
  },
};

export function ctText(key: string, direction: Direction | undefined, family?: string): string {
  if (direction === undefined) return `ct ${key}`;
  return `ct ${direction} ${family === undefined ? '' : `${family} `}${key}`;
}
