import * as C from '../../linux/ip_set.ts';
import { type ExtensionRow, type Flag, incomplete, type OptionRow, refused } from '../extension.ts';
import { bit, namedSet, numberIn } from '../set-words.ts';
import { parseNumber } from '../values.ts';

/* The target SET: adds the addresses of packets to sets of ipset, deletes them, and takes marks from them. */

/** The timeout of the set, not one of the rule. */
const NO_TIMEOUT = 0xffffffff;

/** iptables takes a `!` before these options, and forgets it. */
const FORGOTTEN: Flag = { set() {}, has: () => false };

const changes = (option: 'add-set' | 'del-set' | 'map-set', field: 'add' | 'delete' | 'map'): OptionRow => ({
  name: option,
  value: namedSet({ index: field, dimensions: `${field}Dimensions`, sides: `${field}Flags` }),
  twice: `--${option} can be specified only once`,
  invert: FORGOTTEN,
});

const flagged = (name: string, value: number): OptionRow => ({
  name,
  value: {
    words: 0,
    parse: info => bit('flags', value).set(info),
    print: info => (bit('flags', value).has(info) ? '' : undefined),
  },
  repeats: true,
  invert: FORGOTTEN,
});

const timeout: OptionRow = {
  name: 'timeout',
  value: {
    words: 1,
    parse(info, [text], place) {
      const seconds = parseNumber(text!, NO_TIMEOUT - 1);
      if (seconds === undefined)
        throw refused(place, 'Invalid value for option --timeout or out of range 0-4294967294');
      info.timeout = seconds;
    },
    print(info) {
      const seconds = (info.timeout as number | undefined) ?? NO_TIMEOUT;
      return seconds === NO_TIMEOUT ? undefined : String(seconds);
    },
  },
  repeats: true,
  invert: FORGOTTEN,
};

const MAPS = ['map-mark', 'map-prio', 'map-queue'];

const SET: ExtensionRow = {
  name: 'SET',
  revision: 3,
  initial: () => ({
    add: C.IPSET_INVALID_ID,
    delete: C.IPSET_INVALID_ID,
    map: C.IPSET_INVALID_ID,
    timeout: NO_TIMEOUT,
  }),
  options: [
    changes('add-set', 'add'),
    flagged('exist', C.IPSET_FLAG_EXIST),
    timeout,
    changes('del-set', 'delete'),
    changes('map-set', 'map'),
    flagged('map-mark', C.IPSET_FLAG_MAP_SKBMARK),
    flagged('map-prio', C.IPSET_FLAG_MAP_SKBPRIO),
    flagged('map-queue', C.IPSET_FLAG_MAP_SKBQUEUE),
  ],
  check(info, given) {
    if (!['add-set', 'del-set', 'map-set'].some(each => given.has(each)))
      throw incomplete("You must specify either `--add-set' or `--del-set' or `--map-set'");
    if (numberIn(info, 'addDimensions') === 0) {
      if (given.has('exist')) throw incomplete("Flag `--exist' can be used with `--add-set' only");
      if (given.has('timeout')) throw incomplete("Option `--timeout' can be used with `--add-set' only");
    }
    const map = MAPS.find(each => given.has(each));
    if (!given.has('map-set')) {
      if (map !== undefined) throw incomplete(`Flag \`--${map}' can be used with \`--map-set' only`);
    } else if (map === undefined)
      throw incomplete("You must specify flags `--map-mark' or '--map-prio` or `--map-queue'");
  },
};

export const SET_TARGETS: readonly ExtensionRow[] = [SET];
