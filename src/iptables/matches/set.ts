import * as C from '../../linux/ip_set.ts';
import { type ExtensionRow, type Flag, incomplete, type OptionRow, refused } from '../extension.ts';
import { bit, namedSet } from '../set-words.ts';
import { parseBig } from '../values.ts';

/* The match set: elements of ipset. */

const matchSet: OptionRow = {
  name: 'match-set',
  aliases: ['set'],
  value: namedSet({ index: 'index', dimensions: 'dimensions', sides: 'sides' }),
  invert: bit('sides', 1),
};

/** `! --update-counters` leaves the counters of the element alone; without `!` it says nothing. */
function skips(name: string, value: number): OptionRow {
  const flag = bit('flags', value);
  return { name, value: { words: 0, parse() {}, print: info => (flag.has(info) ? '' : undefined) }, invert: flag };
}

/** A comparison with a counter of the element. */
function compares(counter: 'packets' | 'bytes', word: 'eq' | 'lt' | 'gt'): OptionRow {
  const key = `${counter}Operation`;
  const operation = { eq: C.IPSET_COUNTER_EQ, lt: C.IPSET_COUNTER_LT, gt: C.IPSET_COUNTER_GT }[word];
  const unequal: Flag = {
    set(info) {
      info[key] = C.IPSET_COUNTER_NE;
    },
    has: info => word === 'eq' && info[key] === C.IPSET_COUNTER_NE,
  };
  return {
    name: `${counter}-${word}`,
    value: {
      words: 1,
      parse(info, [text], place) {
        const value = parseBig(text!);
        if (value === undefined) throw refused(place, `Cannot parse ${text} as a counter value`);
        info[counter] = value;
        info[key] = operation;
        bit('flags', C.IPSET_FLAG_MATCH_COUNTERS).set(info);
      },
      print: info => (info[key] === operation || unequal.has(info) ? String(info[counter] ?? 0n) : undefined),
    },
    ...(word === 'eq' && { invert: unequal }),
  };
}

const set: ExtensionRow = {
  name: 'set',
  revision: 4,
  options: [
    matchSet,
    {
      name: 'return-nomatch',
      value: {
        words: 0,
        parse: info => bit('flags', C.IPSET_FLAG_RETURN_NOMATCH).set(info),
        print: info => (bit('flags', C.IPSET_FLAG_RETURN_NOMATCH).has(info) ? '' : undefined),
      },
    },
    skips('update-counters', C.IPSET_FLAG_SKIP_COUNTER_UPDATE),
    skips('update-subcounters', C.IPSET_FLAG_SKIP_SUBCOUNTER_UPDATE),
    ...(['packets', 'bytes'] as const).flatMap(counter =>
      (['eq', 'lt', 'gt'] as const).map(word => compares(counter, word)),
    ),
  ],
  check(_info, given) {
    if (!given.has('match-set')) throw incomplete("You must specify `--match-set' with proper arguments");
  },
};

export const SET_MATCHES: readonly ExtensionRow[] = [set];
