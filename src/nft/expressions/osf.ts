import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { OSF } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { word, words } from '../decompile/kernel-words.ts';
import { defined, type JsonObject } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place } from '../tree.ts';
import { type LoadExpression, load } from './expression.ts';

export interface OsfJson {
  key: 'name' | 'version';
  ttl?: 'loose' | 'skip';
}

/** `osf`: the operating system that a TCP SYN looks like. `ttl` says how the packet's TTL is compared; the default is exact. */
interface Osf extends Load {
  readonly ttl: 'loose' | 'skip' | undefined;
  /** The result includes the version of the system. */
  readonly version: boolean;
}

const TTL = { loose: 'loose', skip: 'skip' } as const;

const made = (ttl: Osf['ttl'], version: boolean, place?: Place): Osf => load('osf', OSF, place, { ttl, version });

export const osf: LoadExpression<Osf> = {
  kernel: 'osf',
  words: ['osf'],
  typeof: { kind: 11, needs: [] },

  fromText: {
    osf(p) {
      const content: JsonObject = {};
      if (p.acceptWord('ttl')) {
        const { text, start } = p;
        if (!p.isString()) p.unexpectedIn(SCOPES.osf, 'string');
        p.next();
        if (!Object.hasOwn(TTL, text)) p.fail('invalid ttl option', start);
        content.ttl = text;
      }
      const { text: key } = p;
      if (p.kind !== T.WORD || (key !== 'name' && key !== 'version'))
        return p.unexpectedIn(SCOPES.osf, 'version', 'name');
      p.next();
      return { osf: { key, ...content } };
    },
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    const version = entryOf({ name: false, version: true }, fields.key, new Place(place, 'key'));
    return made(
      fields.ttl === undefined ? undefined : entryOf(TTL, fields.ttl, new Place(place, 'ttl')),
      version,
      place,
    );
  },

  write({ ttl, version }, register) {
    const fields: ContentOf<'osf'> = { register, ttl: ttl ?? 'exact' };
    if (version) fields.flags = ['version'];
    return fields;
  },
  read({ ttl, flags }: ContentOf<'osf'>) {
    const how = word(ttl ?? 'exact');
    return made(TTL[how as keyof typeof TTL], words(flags, ['version']).length > 0);
  },
  json: ({ ttl, version }) => ({ osf: defined({ key: version ? 'version' : 'name', ttl }) }),
  text: ({ ttl, version }) => `osf ${ttl === undefined ? '' : `ttl ${ttl} `}${version ? 'version' : 'name'}`,
  describe: () => [],
  described: () => made(undefined, false),
};
