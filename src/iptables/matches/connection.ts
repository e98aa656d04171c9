import { existsSync } from 'node:fs';
import type { Info } from '../../nf_tables/xt/layout.ts';
import type { Names, NameTable } from '../../nft/names.ts';
import { IptablesError } from '../error.ts';
import { type ExtensionRow, incomplete, type OptionRow, refused, type Value } from '../extension.ts';
import { parseHostMask, prefixMask } from '../option-hosts.ts';
import { parseProtocol } from '../protocols.ts';
import {
  counting,
  flag,
  lengthOfMask,
  listed,
  masked,
  NO_MASK,
  number,
  numbers,
  oneOf,
  parseBig,
  present,
  range,
  resolvedPorts,
  restOf,
  text,
} from '../values.ts';

/* Matches on what connection tracking knows. */

const INVERT = flag('invert');

/** In the order in which they are saved. */
const STATES: readonly (readonly [word: string, key: string])[] = [
  ['INVALID', 'invalid'],
  ['NEW', 'new'],
  ['RELATED', 'related'],
  ['ESTABLISHED', 'established'],
  ['UNTRACKED', 'untracked'],
  ['SNAT', 'snat'],
  ['DNAT', 'dnat'],
];

function states(option: string): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      if (word === '' && option === 'state')
        throw refused(place, '"--state" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED');
      const found = new Set<string>();
      for (const [i, part] of word!.split(',').entries()) {
        const upper = part.toUpperCase();
        const state = STATES.find(([name]) => part !== '' && name === upper);
        if (state === undefined) throw refused(place, `Bad ${option} "${restOf(word!, i)}"`);
        found.add(state[1]);
      }
      info.states = STATES.map(([, key]) => key).filter(key => found.has(key));
    },
    print(info) {
      const list = (info.states as string[] | undefined) ?? [];
      return STATES.filter(([, key]) => list.includes(key))
        .map(([name]) => name)
        .join(',');
    },
  };
}

/** A field of the match conntrack counts only where its flag is set. */
const field = (word: string, value: Value): Value => counting(listed('match', word), value);

const STATUSES: readonly (readonly [word: string, key: string])[] = [
  ['EXPECTED', 'expected'],
  ['SEEN_REPLY', 'seen-reply'],
  ['ASSURED', 'assured'],
  ['CONFIRMED', 'confirmed'],
];

const statuses: Value = {
  words: 1,
  parse(info, [word], place) {
    const found = new Set<string>();
    for (const [i, part] of word!.split(',').entries()) {
      const upper = part.toUpperCase();
      if (upper === 'NONE') continue;
      const status = STATUSES.find(([name]) => name === upper);
      if (status === undefined) throw refused(place, `Bad ctstatus "${restOf(word!, i)}"`);
      found.add(status[1]);
    }
    info.status = STATUSES.map(([, key]) => key).filter(key => found.has(key));
  },
  print(info) {
    const list = (info.status as string[] | undefined) ?? [];
    const words = STATUSES.filter(([, key]) => list.includes(key)).map(([name]) => name);
    return words.length === 0 ? 'NONE' : words.join(',');
  },
};

function connectionAddress(key: string): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      const { address, mask } = parseHostMask(word!, place);
      info[key] = address;
      info[`${key}Mask`] = mask;
    },
    print(info, { family }) {
      const any = family === 'ipv4' ? '0.0.0.0' : '::';
      const mask = (info[`${key}Mask`] as string | undefined) ?? any;
      const full = family === 'ipv4' ? 32 : 128;
      const bits = lengthOfMask(mask, family);
      const suffix = bits === full ? '' : `/${bits ?? mask}`;
      return `${(info[key] as string | undefined) ?? any}${suffix}`;
    },
  };
}

function connectionPorts(key: string): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      const [first, last] = resolvedPorts(word!, place);
      info[key] = first;
      info[`${key.replace(/Port$/, '')}LastPort`] = last;
    },
    print(info) {
      const first = (info[key] as number | undefined) ?? 0;
      // Older revisions have one port.
      const last = (info[`${key.replace(/Port$/, '')}LastPort`] as number | undefined) ?? first;
      return first === last || last === 0 ? String(first) : `${first}:${last}`;
    },
  };
}

const address = (name: string, word: string, key: string): OptionRow => ({
  name,
  value: field(word, connectionAddress(key)),
  invert: listed('invert', word),
});
const ports = (name: string, word: string, key: string): OptionRow => ({
  name,
  value: field(word, connectionPorts(key)),
  invert: listed('invert', word),
});

const ALIAS = listed('match', 'state-alias');

const conntrack: ExtensionRow = {
  name: 'conntrack',
  revision: 3,
  options: [
    {
      name: 'ctstate',
      value: field('states', states('ctstate')),
      invert: listed('invert', 'states'),
    },
    {
      name: 'ctproto',
      value: field('protocol', {
        words: 1,
        parse(info, [word], place) {
          const found = parseProtocol(word!, place.names);
          if (found === undefined) throw refused(place, `unknown protocol "${word!.toLowerCase()}" specified`);
          if (found === 0 && place.inverted) throw refused(place, 'conntrack: rule would never match protocol');
          info.protocol = found;
        },
        print: info => String((info.protocol as number | undefined) ?? 0),
      }),
      invert: listed('invert', 'protocol'),
    },
    address('ctorigsrc', 'original-source', 'originalSource'),
    address('ctorigdst', 'original-destination', 'originalDestination'),
    address('ctreplsrc', 'reply-source', 'replySource'),
    address('ctrepldst', 'reply-destination', 'replyDestination'),
    ports('ctorigsrcport', 'original-source-port', 'originalSourcePort'),
    ports('ctorigdstport', 'original-destination-port', 'originalDestinationPort'),
    ports('ctreplsrcport', 'reply-source-port', 'replySourcePort'),
    ports('ctrepldstport', 'reply-destination-port', 'replyDestinationPort'),
    { name: 'ctstatus', value: field('status', statuses), invert: listed('invert', 'status') },
    {
      name: 'ctexpire',
      value: field('expires', range('expiresFromSeconds', 'expiresToSeconds', { absent: 0 })),
      invert: listed('invert', 'expires'),
    },
    {
      // Of `-m state`, which the kernel has as a conntrack match.
      name: 'state',
      value: {
        ...states('state'),
        parse() {
          throw new IptablesError('unknown option "--state"', { argument: '--state' });
        },
      },
      invert: listed('invert', 'states'),
    },
    {
      name: 'ctdir',
      value: field('direction', {
        words: 1,
        parse(info, [word], place) {
          const upper = word!.toUpperCase();
          if (upper !== 'ORIGINAL' && upper !== 'REPLY')
            throw refused(place, `conntrack: Bad value for "--ctdir" option: "${word}"`);
          if (upper === 'REPLY') listed('invert', 'direction').set(info);
        },
        print: info => (listed('invert', 'direction').has(info) ? 'REPLY' : 'ORIGINAL'),
      }),
    },
  ],
  word: info => (ALIAS.has(info) ? 'state' : 'conntrack'),
  shows: (option, info) => ALIAS.has(info) === (option.name === 'state'),
  check(_info, given) {
    if (given.size === 0) throw incomplete('conntrack: At least one option is required');
  },
};

/** What `-m state` means: the older word for states alone. */
export const STATE_MATCH: ExtensionRow = {
  name: 'conntrack',
  title: 'state',
  revision: 3,
  initial: () => ({ match: ['states', 'state-alias'] }),
  options: [{ name: 'state', value: states('state'), invert: listed('invert', 'states'), required: true }],
};

const MODES = { packets: 'packets', bytes: 'bytes', avgpkt: 'avgpkt' };
const DIRECTIONS = { original: 'original', reply: 'reply', both: 'both' };
const U64 = (1n << 64n) - 1n;

const connbytes: ExtensionRow = {
  name: 'connbytes',
  revision: 0,
  order: ['connbytes', 'connbytes-dir', 'connbytes-mode'],
  options: [
    {
      name: 'connbytes',
      value: {
        words: 1,
        parse(info, [word], place) {
          let [from, to = U64] = numbers(word!, U64, place) as [bigint, bigint?];
          if (to < from) throw refused(place, `${from} should be less than ${to}`);
          // The kernel has no inverted form: a reversed range is one.
          if (place.inverted) [from, to] = [to, from];
          info.from = from;
          info.to = to;
        },
        print(info) {
          const [from = 0n, to = 0n] = [info.from as bigint | undefined, info.to as bigint | undefined];
          const [first, last] = from > to ? [to, from] : [from, to];
          return last === U64 ? String(first) : `${first}:${last}`;
        },
      },
      invert: {
        // The value itself is reversed.
        set() {},
        has: info => ((info.from as bigint | undefined) ?? 0n) > ((info.to as bigint | undefined) ?? 0n),
      },
      required: true,
    },
    {
      name: 'connbytes-mode',
      value: oneOf('mode', MODES, word => `Unknown --connbytes-mode \`${word}'`),
      required: true,
    },
    {
      name: 'connbytes-dir',
      value: oneOf('direction', DIRECTIONS, word => `Unknown --connbytes-dir \`${word}'`),
      required: true,
    },
  ],
};

const LABELS = '/etc/xtables/connlabel.conf';

/** The names of labels. iptables warns once of a file that is not there. */
function labels(names: Names, warnings: string[] = []): NameTable {
  const found = names.file('connlabel.conf');
  const warning = `Warning: cannot open ${LABELS}: No such file or directory`;
  if (found.byName.size === 0 && !warnings.includes(warning) && !existsSync(LABELS)) warnings.push(warning);
  return found;
}

const connlabel: ExtensionRow = {
  name: 'connlabel',
  revision: 0,
  options: [
    {
      name: 'label',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word === '') throw refused(place, 'Argument must have a minimum length of 1 characters\n');
          const number = parseBig(word!);
          const bit =
            number === undefined ? labels(place.names, place.warnings).byName.get(word!) : Number(number & 0xffffn);
          if (bit === undefined) throw refused(place, `label '${word}' not found or invalid value`);
          info.bit = bit;
        },
        print(info, { names, warnings }) {
          const bit = (info.bit as number | undefined) ?? 0;
          return `"${labels(names, warnings).byNumber.get(bit) ?? bit}"`;
        },
      },
      invert: listed('options', 'invert'),
      required: true,
    },
    { name: 'set', value: present(listed('options', 'set')) },
  ],
};

const connlimit: ExtensionRow = {
  name: 'connlimit',
  revision: 1,
  initial: () => ({ mask: NO_MASK }),
  options: [
    {
      name: 'connlimit-upto',
      value: limitValue(false),
      invert: {
        set(info) {
          // `! --connlimit-upto` is `--connlimit-above`.
          info.flags = ((info.flags as string[] | undefined) ?? []).filter(each => each !== 'invert');
        },
        has: () => false,
      },
      excludes: ['connlimit-above'],
    },
    {
      name: 'connlimit-above',
      value: limitValue(true),
      invert: {
        set(info) {
          listed('flags', 'invert').set(info);
        },
        has: () => false,
      },
      excludes: ['connlimit-upto'],
    },
    {
      name: 'connlimit-mask',
      value: prefixMask('mask'),
    },
    {
      name: 'connlimit-saddr',
      value: {
        words: 0,
        parse(info) {
          info.flags = ((info.flags as string[] | undefined) ?? []).filter(each => each !== 'destination');
        },
        print: info => (listed('flags', 'destination').has(info) ? undefined : ''),
      },
      excludes: ['connlimit-daddr'],
    },
    { name: 'connlimit-daddr', value: present(listed('flags', 'destination')), excludes: ['connlimit-saddr'] },
  ],
  check(_info, given) {
    if (!given.has('connlimit-upto') && !given.has('connlimit-above'))
      throw incomplete('You must specify "--connlimit-above" or "--connlimit-upto".');
  },
};

/** The kernel matches above the limit, or, inverted, up to it. */
function limitValue(above: boolean): Value {
  const inverted = listed('flags', 'invert');
  const value = number('limit');
  return {
    words: 1,
    parse(info, words, place) {
      value.parse(info, words, place);
      if (!above) inverted.set(info);
    },
    print: (info: Info, at) => (inverted.has(info) === above ? undefined : value.print(info, at)),
  };
}

const connmark: ExtensionRow = {
  name: 'connmark',
  revision: 1,
  options: [{ name: 'mark', value: masked('mark', 'mask'), invert: INVERT, required: true }],
};

const helper: ExtensionRow = {
  name: 'helper',
  revision: 0,
  options: [
    {
      name: 'helper',
      value: {
        ...text('name', 30),
        print: (info, at) => text('name', 30).print({ name: info.name ?? '' }, at),
      },
      invert: INVERT,
      required: true,
    },
  ],
};

export const CONNECTION_MATCHES: readonly ExtensionRow[] = [
  conntrack,
  connbytes,
  connlabel,
  connlimit,
  connmark,
  helper,
];
