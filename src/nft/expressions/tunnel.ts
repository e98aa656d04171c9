import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { type KeyRow, TUNNEL, TUNNEL_NUMBERS, type TunnelKey } from '../data/keys.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place, Undecompilable } from '../tree.ts';
import { type LoadExpression, load, wordFor, wordsByKey } from './expression.ts';

export interface TunnelJson {
  key: TunnelKey;
}

/** `tunnel`: the metadata of the tunnel that the packet came through, or will go through. */
interface Tunnel extends Load {
  readonly key: TunnelKey;
}

const WORDS = /* @__PURE__ */ wordsByKey(TUNNEL);

function ofKey(kernel: string | number): Tunnel {
  const key = wordFor(WORDS, kernel, 'tunnel');
  return load('tunnel', TUNNEL[key], undefined, { key });
}

export const tunnel: LoadExpression<Tunnel> = {
  kernel: 'tunnel',
  words: ['tunnel'],
  typeof: { kind: 26, needs: [0], newer: true, isUnsafe: true },

  fromText: {
    tunnel(p) {
      const { text: key } = p;
      if (p.kind !== T.WORD || !Object.hasOwn(TUNNEL, key)) return p.unexpected('id', 'path');
      p.next();
      return { tunnel: { key } };
    },
  },
  parse(json, place) {
    const { key } = fieldsOf(json, place);
    const row = entryOf<KeyRow>(TUNNEL, key, new Place(place, 'key'));
    return load('tunnel', row, place, { key: key as TunnelKey });
  },

  write: ({ key }, register): ContentOf<'tunnel'> => ({ register, key: TUNNEL[key].key }),
  read({ key, mode }: ContentOf<'tunnel'>) {
    if (mode !== undefined && mode !== 'none') throw new Undecompilable('the mode of a tunnel');
    return ofKey(key);
  },
  json: ({ key }) => ({ tunnel: { key } }),
  text({ key }, { words }) {
    words.unwritable.newer('tunnel metadata', words.dialect);
    return `tunnel ${key}`;
  },
  describe: () => [],
  described(at) {
    const key = TUNNEL_NUMBERS[at(0)!];
    return key && ofKey(key);
  },
};
