import type { ContentOf } from '../../nf_tables/expression.ts';
import { fieldsOf, flagNames, numberOf } from '../compile/json-fields.ts';
import { emit } from '../compile/lower.ts';
import { SCOPES } from '../data/scopes.ts';
import { words } from '../decompile/kernel-words.ts';
import { defined, type Json, type JsonObject, orNull } from '../json-object.ts';
import { Place } from '../tree.ts';
import type { Construct } from './construct.ts';
import { isReference, objectReference, readReference } from './object-reference.ts';

/* `synproxy`: answers the handshakes of clients in the server's place. */

/** TCP options of a SYN proxy's answers: nft's words, with the kernel's. */
export const SYNPROXY_FLAGS = { timestamp: 'timestamp', 'sack-perm': 'sack-permitted' } as const;
/** TCP options of a SYN proxy's answers. */
export type SynproxyFlag = keyof typeof SYNPROXY_FLAGS;
const FLAGS = /* @__PURE__ */ Object.keys(SYNPROXY_FLAGS) as SynproxyFlag[];

/** The options of a SYN proxy, which it sends in the server's place. */
export interface SynproxyOptions {
  /** The maximum segment size, 1 to 65535. */
  mss?: number;
  /** The window scale, 0 to 14. */
  wscale?: number;
  /** 'timestamp' and 'sack-perm': the options of the answers. */
  flags?: SynproxyFlag | SynproxyFlag[];
}

export interface SynproxyStatement {
  kind: 'synproxy';
  mss: number | undefined;
  wscale: number | undefined;
  flags: SynproxyFlag[];
}

type Options = Pick<SynproxyStatement, 'mss' | 'wscale' | 'flags'>;

/** The options of an expression or an object. A number counts only if its flag is set. */
export function readSynproxy({ maximumSegmentSize = 0, windowScale = 0, flags }: ContentOf<'synproxy'>): Options {
  const set = words(flags, ['maximum-segment-size', 'window-scale', ...Object.values(SYNPROXY_FLAGS), 'ecn']);
  return {
    mss: set.includes('maximum-segment-size') ? maximumSegmentSize : undefined,
    wscale: set.includes('window-scale') ? windowScale : undefined,
    flags: FLAGS.filter(flag => set.includes(SYNPROXY_FLAGS[flag])),
  };
}

export const SYNPROXY: Construct<SynproxyStatement, 'synproxy'> = {
  fromText: {
    synproxy(p) {
      if (p.acceptWord('name')) return { synproxy: p.within(SCOPES.synproxy, () => readReference(p)) };
      const outer = p.scope;
      p.scope = SCOPES.synproxy;
      const content: JsonObject = {};
      const flags: Json[] = [];
      for (;;) {
        if (p.acceptWord('mss')) content.mss = p.whole();
        else if (p.acceptWord('wscale')) content.wscale = p.whole();
        else if (p.isWord('timestamp') || p.isWord('sack-perm')) {
          flags.push(p.text);
          p.next();
        } else break;
      }
      if (flags.length > 0) content.flags = flags;
      p.hold(SCOPES.synproxy);
      p.scope = outer;
      return { synproxy: orNull(content) };
    },
  },
  compile: {
    synproxy(e, json, place, name) {
      if (isReference(json)) {
        objectReference(e, json, place, name);
        return;
      }
      const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
      const { mss, wscale } = fields;
      // The kernel's bits are in the other order.
      const flags = flagNames(SYNPROXY_FLAGS, fields.flags, new Place(place, 'flags')).reverse();
      emit(e, {
        synproxy: {
          maximumSegmentSize: mss === undefined ? 0 : numberOf(fields, 'mss', place, 0xffff),
          windowScale: wscale === undefined ? 0 : numberOf(fields, 'wscale', place, 14),
          flags: [
            ...(mss === undefined ? [] : (['maximum-segment-size'] as const)),
            ...(wscale === undefined ? [] : (['window-scale'] as const)),
            ...flags,
          ],
        },
      });
    },
  },
  read: { synproxy: (_, expression) => ({ kind: 'synproxy', ...readSynproxy(expression) }) },
  text({ mss, wscale, flags }) {
    const numbers = mss === undefined && wscale === undefined ? '' : ` mss ${mss ?? 0} wscale ${wscale ?? 0}`;
    return [`synproxy${numbers}`, ...flags].join(' ');
  },
  json: ({ mss, wscale, flags }) => ({
    synproxy: orNull(defined({ mss, wscale, flags: flags.length > 0 ? flags : undefined })),
  }),
};
