import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf, numberOf } from '../compile/json-fields.ts';
import { type KeyRow, SOCKET, SOCKET_NUMBERS, type SocketKey } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import type { JsonObject } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place } from '../tree.ts';
import { type LoadExpression, load, numberOfKey, wordFor, wordsByKey } from './expression.ts';

export interface SocketJson {
  key: SocketKey;
  level?: number;
}

/** `socket`: the socket that the packet belongs to. `level` says which ancestor a cgroup is compared with. */
interface Socket extends Load {
  readonly key: SocketKey;
  readonly level: number;
}

const WORDS = /* @__PURE__ */ wordsByKey(SOCKET);

function ofKey(kernel: string | number, level: number): Socket {
  const key = wordFor(WORDS, kernel, 'socket');
  return load('socket', SOCKET[key], undefined, { key, level });
}

export const socket: LoadExpression<Socket> = {
  kernel: 'socket',
  words: ['socket'],
  typeof: { kind: 10, needs: [0] },

  fromText: {
    socket(p) {
      const { text: key } = p;
      if (p.kind !== T.WORD || !Object.hasOwn(SOCKET, key))
        return p.unexpectedIn(SCOPES.socket, 'transparent', 'wildcard', 'cgroupv2', 'mark');
      p.next();
      const content: JsonObject = { key };
      if (key === 'cgroupv2') {
        if (!p.acceptWord('level')) p.unexpectedIn(SCOPES.socket, 'level');
        content.level = p.whole();
      }
      return { socket: content };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    const row = entryOf<KeyRow>(SOCKET, fields.key, new Place(place, 'key'));
    const level = fields.level === undefined ? 0 : numberOf(fields, 'level', place);
    return load('socket', row, place, { key: fields.key as SocketKey, level });
  },

  maximum: ({ key }) => (key === 'transparent' || key === 'wildcard' ? 1 : 0),
  write: ({ key, level }, register): ContentOf<'socket'> => ({ register, key: SOCKET[key].key, level }),
  read: ({ key, level }: ContentOf<'socket'>) => ofKey(key, level ?? 0),
  json: ({ key }) => ({ socket: { key } }),
  text: ({ key, level }) => `socket ${key}${key === 'cgroupv2' ? ` level ${level}` : ''}`,
  describe: ({ key }) => [[0, numberOfKey(SOCKET_NUMBERS, SOCKET[key].key)]],
  described(at) {
    const key = SOCKET_NUMBERS[at(0)!];
    return key && ofKey(key, 0);
  },
};
