import type { ContentOf } from '../../nf_tables/expression.ts';
import { META_KEYS } from '../../nf_tables/expressions/packet.ts';
import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { type KeyRow, META, META_ALIASES, UNQUALIFIED_META } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { headerByNumber, LINK, NETWORK } from '../headers.ts';
import type { Json } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type Meta, Place, refuse } from '../tree.ts';
import { type LoadExpression, wordFor, wordsByKey } from './expression.ts';

/* `meta`: data of the packet that are not in its bytes. */

/** The layer that a match of a key tells about. */
const LAYERS: Readonly<Record<string, number>> = { iiftype: 0, nfproto: LINK, protocol: LINK, l4proto: NETWORK };
const ROWS: Readonly<Record<string, KeyRow>> = META;
const WORDS = /* @__PURE__ */ wordsByKey(ROWS);
const LAST_DAY = 6;

export type MetaKernelKey = Exclude<ContentOf<'meta'>['key'], number>;

/** Returns the kernel's key of a word of nft. */
export const metaRow = (key: string): KeyRow & { key: MetaKernelKey } => ROWS[key] as KeyRow & { key: MetaKernelKey };

/** The fields of each key's node, prepared once because rules are compiled often. */
const PREPARED = /* @__PURE__ */ new Map(
  /* @__PURE__ */ Object.entries(ROWS).map(([key, { type, order, bits }]) => {
    const base = LAYERS[key];
    return [key, { type: TYPES[type], order, bits, base: base ?? 0, tellsProtocol: base !== undefined }];
  }),
);

export function metaNode(key: string, place?: Place): Meta {
  const { type, order, bits, base, tellsProtocol } = PREPARED.get(key)!;
  return { kind: 'meta', place, type, order, bits, key, base, tellsProtocol, tunnel: undefined };
}

/** Writes the instruction that loads the key into a register. */
export const writeMeta = ({ key }: Meta, register: number) => ({ key: metaRow(key).key, register });

/** Keys that text may have without the word `meta`. */
const SHORT =
  'mark iif oif iifname oifname iiftype oiftype skuid skgid nftrace rtclassid ibriport ibrname obriport obrname pkttype cpu iifgroup oifgroup ' +
  'cgroup time day hour';

/** Reads the key behind `meta`, or one that stands alone. */
export const readMeta = (word: string): Json => {
  const aliases: Readonly<Record<string, string>> = META_ALIASES;
  return { meta: { key: aliases[word] ?? word } };
};

/** The keys as nft lists them. */
const KNOWN = (
  'length protocol priority mark iif oif iifname oifname iiftype oiftype skuid skgid nftrace rtclassid secmark nfproto l4proto ibrname ' +
  'obrname pkttype cpu iifgroup oifgroup cgroup random ipsec iifkind oifkind ibrpvid ibrvproto time day hour sdif sdifname'
).split(' ');

/** Keys since nft 1.1. */
const NEWER_KEYS: readonly string[] = ['broute', 'ibrhwaddr'];

const isKey = ({ dialect }: Parser, word: string): boolean =>
  (Object.hasOwn(ROWS, word) && (dialect.hasNewerExpressions || !NEWER_KEYS.includes(word))) ||
  Object.hasOwn(META_ALIASES, word);

export const meta: LoadExpression<Meta> = {
  kernel: 'meta',
  words: ['meta'],
  typeof: { kind: 9, needs: [0] },

  fromText: {
    .../* @__PURE__ */ Object.fromEntries(
      /* @__PURE__ */ SHORT.split(' ').map(key => [key, (_: Parser, word: string) => readMeta(word)]),
    ),
    meta(p) {
      const { text } = p;
      if (p.kind !== T.WORD) return p.unexpectedIn(SCOPES.meta);
      if (!isKey(p, text)) {
        if (p.isKeyword()) return p.unexpectedIn(SCOPES.meta);
        p.next();
        const known = p.dialect.hasNewerExpressions ? [...KNOWN, ...NEWER_KEYS] : KNOWN;
        return p.fail(`syntax error, unexpected ${text}, known keys are ${known.join(', ')}`, p.before);
      }
      p.next();
      p.hold(SCOPES.meta);
      return readMeta(text);
    },
  },
  parse(json, place) {
    const { key } = fieldsOf(json, place);
    const aliases: Readonly<Record<string, string>> = META_ALIASES;
    const word = typeof key === 'string' && Object.hasOwn(aliases, key) ? aliases[key] : key;
    entryOf(ROWS, word, new Place(place, 'key'));
    return metaNode(word as string, place);
  },

  evaluate({ key, place }, { scope }) {
    if (key === 'nfproto' && scope.family !== 'inet' && place !== undefined)
      throw refuse(place, 'a rule of family inet', scope.family, 'meta nfproto is only useful in the inet family');
  },
  maximum: ({ key }) => (key === 'day' ? LAST_DAY : 0),
  write: writeMeta,
  read: ({ key }: ContentOf<'meta'>) => metaNode(wordFor(WORDS, key, 'meta')),
  json: ({ key }) => ({ meta: { key } }),
  text: ({ key }) => (UNQUALIFIED_META.has(key) ? key : `meta ${key}`),
  describe({ key, tunnel }) {
    const number = META_KEYS[metaRow(key).key];
    return tunnel === undefined
      ? [[0, number]]
      : [
          [0, number],
          [1, tunnel.number],
        ];
  },
  described(at) {
    const number = at(0);
    for (const key in META_KEYS) {
      const word = META_KEYS[key as MetaKernelKey] === number ? WORDS.get(key) : undefined;
      if (word === undefined) continue;
      const node = metaNode(word);
      const tunnel = at(1);
      if (tunnel !== undefined) node.tunnel = headerByNumber(tunnel);
      return node;
    }
    return undefined;
  },
};
