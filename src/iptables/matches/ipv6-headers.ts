import { formatIPv6, parseIPv6 } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, incomplete, type OptionPlace, type OptionRow, refused, type Value } from '../extension.ts';
import { parseHostMask } from '../option-hosts.ts';
import { counting, leadingNumber, lengthOfMask, listed, number, present, rangeIn } from '../values.ts';

/* Matches on the headers behind the first one of IPv6. */

const LENGTH = listed('flags', 'length');

/** `149:92,12`: types of options, each with its length if that counts. */
const optionList: Value = counting(listed('flags', 'options'), {
  words: 1,
  parse(info, [text], place) {
    info.options = text!.split(',').map(part => {
      const colon = part.indexOf(':');
      const type = lowByte(colon < 0 ? part : part.slice(0, colon), 'opt', place);
      return type * 0x100 + (colon < 0 ? 0xff : lowByte(part.slice(colon + 1), 'length', place));
    });
  },
  print(info) {
    return ((info.options as number[] | undefined) ?? [])
      .map(option => (option % 0x100 === 0xff ? String(option >> 8) : `${option >> 8}:${option % 0x100}`))
      .join(',');
  },
});

/** The lowest byte of a number: iptables looks at no other. */
function lowByte(text: string, what: string, place: OptionPlace): number {
  const isNegative = /^\s*-/.test(text);
  const found = leadingNumber(isNegative ? text.replace('-', '') : text, U64 * U64);
  if (found === undefined) throw refused(place, `${place.extension}: no valid digits in ${what} \`${text}'`);
  if (found.value > U64) throw refused(place, `${what} \`${text}' specified too big: would overflow`);
  if (found.rest !== '') throw refused(place, `${place.extension}: error parsing ${what} \`${text}'`);
  return Number((isNegative ? -found.value : found.value) & 0xffn);
}

const U64 = (1n << 64n) - 1n;

const headerOptions = (name: 'dst' | 'hbh'): ExtensionRow => ({
  name,
  revision: 0,
  families: ['ipv6'],
  options: [
    { name: `${name}-len`, value: counting(LENGTH, number('length')), invert: listed('invert', 'length') },
    { name: `${name}-opts`, value: optionList },
  ],
});

const frag: ExtensionRow = {
  name: 'frag',
  revision: 0,
  families: ['ipv6'],
  options: [
    {
      name: 'fragid',
      value: counting(listed('flags', 'ids'), rangeIn('ids', { hideAll: true })),
      invert: listed('invert', 'ids'),
    },
    { name: 'fraglen', value: counting(LENGTH, number('length')), invert: listed('invert', 'length') },
    { name: 'fragres', value: present(listed('flags', 'reserved')) },
    { name: 'fragfirst', value: present(listed('flags', 'first')) },
    { name: 'fragmore', value: present(listed('flags', 'more')), excludes: ['fraglast'] },
    { name: 'fraglast', value: present(listed('flags', 'last')), excludes: ['fragmore'] },
  ],
};

/** Names of headers, short and long, and their numbers. Saved by the long name. */
const HEADERS: readonly (readonly [key: string, short: string, long: string, number: number])[] = [
  ['hop', 'hop', 'hop-by-hop', 0],
  ['dst', 'dst', 'ipv6-opts', 60],
  ['route', 'route', 'ipv6-route', 43],
  ['frag', 'frag', 'ipv6-frag', 44],
  ['auth', 'auth', 'ah', 51],
  ['esp', 'esp', 'esp', 50],
  ['none', 'none', 'ipv6-nonxt', 59],
  ['proto', 'prot', 'protocol', -1],
];

const headerList: Value = {
  words: 1,
  parse(info, [text], place) {
    const found = new Set<string>();
    for (const word of text!.split(',')) {
      const lower = word.toLowerCase();
      const row = HEADERS.find(([, short, long, value]) => short === lower || long === lower || String(value) === word);
      if (row === undefined) throw refused(place, `unknown header \`${word}' specified`);
      found.add(row[0]);
    }
    info.headers = HEADERS.filter(([key]) => found.has(key)).map(([key]) => key);
  },
  print(info) {
    const list = (info.headers as string[] | undefined) ?? [];
    return HEADERS.filter(([key]) => list.includes(key))
      .map(([, , long]) => long)
      .join(',');
  },
};

const ipv6header: ExtensionRow = {
  name: 'ipv6header',
  revision: 0,
  families: ['ipv6'],
  options: [
    {
      name: 'header',
      value: headerList,
      required: true,
      // All bits of the other headers say that.
      invert: {
        set(info) {
          info.invert = ['proto', 'none', 'esp', 'auth', 'frag', 'route', 'dst', 'hop'];
        },
        has: info => ((info.invert as unknown[] | undefined)?.length ?? 0) > 0,
      },
    },
    {
      name: 'soft',
      value: present({
        // iptables sets all bits.
        set(info) {
          info.mode = ['soft', 254];
        },
        has: listed('mode', 'soft').has,
      }),
    },
  ],
};

/** Options that look into a header of type 0: the type must be asked for before them. */
const ofType0 = (value: Value): Value => ({
  ...value,
  parse(info, words, place) {
    if (!place.given.has('rt-type') || info.type !== 0 || listed('invert', 'type').has(info))
      throw refused(place, `\`--rt-type 0' required before \`--${place.option}'`);
    value.parse(info, words, place);
  },
});

const MOST_ADDRESSES = 16;

const rt: ExtensionRow = {
  name: 'rt',
  revision: 0,
  families: ['ipv6'],
  options: [
    { name: 'rt-type', value: counting(listed('flags', 'type'), number('type')), invert: listed('invert', 'type') },
    {
      name: 'rt-segsleft',
      value: counting(listed('flags', 'segments'), rangeIn('segmentsLeft', { hideAll: true })),
      invert: listed('invert', 'segments'),
    },
    { name: 'rt-len', value: counting(LENGTH, number('length')), invert: listed('invert', 'length') },
    { name: 'rt-0-res', value: ofType0(present(listed('flags', 'reserved'))) },
    {
      name: 'rt-0-addrs',
      value: counting(listed('flags', 'addresses'), {
        ...ofType0({
          words: 1,
          parse(info, [text], place) {
            const addresses = text!.split(',').map(part => {
              const raw = parseIPv6(part);
              if (raw === undefined) throw refused(place, `bad address: ${part}`);
              return formatIPv6(raw);
            });
            if (addresses.length > MOST_ADDRESSES) throw refused(place, 'too many addresses specified');
            info.addresses = addresses;
          },
          print: () => undefined,
        }),
        print: info => ((info.addresses as string[] | undefined) ?? []).join(','),
      }),
    },
    {
      name: 'rt-0-not-strict',
      value: {
        ...present(listed('flags', 'not-strict')),
        parse(info, _words, place) {
          if (!place.given.has('rt-0-addrs'))
            throw refused(place, "`--rt-0-addr ...' required before `--rt-0-not-strict'");
          listed('flags', 'not-strict').set(info);
        },
      },
    },
  ],
};

function srhNumber(name: string, key: string, flagName: string, max = 255): OptionRow {
  return {
    name,
    value: counting(listed('match', flagName), number(key, { max })),
    invert: listed('invert', flagName),
  };
}

function srhAddress(name: string, key: string, flagName: string): OptionRow {
  return {
    name,
    value: counting(listed('match', flagName), {
      words: 1,
      parse(info, [text], place) {
        const { address, mask } = parseHostMask(text!, place);
        info[key] = address;
        info[`${key}Mask`] = mask;
      },
      print(info) {
        const mask = (info[`${key}Mask`] as string | undefined) ?? '::';
        return `${(info[key] as string | undefined) ?? '::'}/${lengthOfMask(mask) ?? mask}`;
      },
    }),
    invert: listed('invert', flagName),
  };
}

const srh: ExtensionRow = {
  name: 'srh',
  revision: 1,
  families: ['ipv6'],
  options: [
    srhNumber('srh-next-hdr', 'nextHeader', 'next-header'),
    srhNumber('srh-hdr-len-eq', 'length', 'length-equal'),
    srhNumber('srh-hdr-len-gt', 'length', 'length-greater'),
    srhNumber('srh-hdr-len-lt', 'length', 'length-less'),
    srhNumber('srh-segs-left-eq', 'segmentsLeft', 'segments-equal'),
    srhNumber('srh-segs-left-gt', 'segmentsLeft', 'segments-greater'),
    srhNumber('srh-segs-left-lt', 'segmentsLeft', 'segments-less'),
    srhNumber('srh-last-entry-eq', 'lastEntry', 'last-equal'),
    srhNumber('srh-last-entry-gt', 'lastEntry', 'last-greater'),
    srhNumber('srh-last-entry-lt', 'lastEntry', 'last-less'),
    srhNumber('srh-tag', 'tag', 'tag', 0xffff),
    srhAddress('srh-psid', 'previousSegment', 'previous-segment'),
    srhAddress('srh-nsid', 'nextSegment', 'next-segment'),
    srhAddress('srh-lsid', 'lastSegment', 'last-segment'),
  ],
};

const COMPARISONS = [
  ['lt', 'less'],
  ['gt', 'greater'],
] as const;

/** The number of hops that are left. */
function hops(name: 'ttl' | 'hl', key: string, families: ExtensionRow['families']): ExtensionRow {
  const names = ['lt', 'gt', 'eq'].map(each => `${name}-${each}`);
  const equal: OptionRow = {
    name: `${name}-eq`,
    value: {
      ...number(key, { max: 255 }),
      print: (info: Info) =>
        info.mode === undefined || info.mode === 'equal' || info.mode === 'not-equal'
          ? String((info[key] as number | undefined) ?? 0)
          : undefined,
    },
    invert: {
      set(info) {
        info.mode = 'not-equal';
      },
      has: info => info.mode === 'not-equal',
    },
    excludes: names.filter(each => each !== `${name}-eq`),
  };
  return {
    name,
    revision: 0,
    ...(families !== undefined && { families }),
    options: [
      ...COMPARISONS.map(
        ([word, mode]): OptionRow => ({
          name: `${name}-${word}`,
          value: counting(
            {
              set(info) {
                info.mode = mode;
              },
              has: info => info.mode === mode,
            },
            number(key, { max: 255 }),
          ),
          excludes: names.filter(each => each !== `${name}-${word}`),
        }),
      ),
      equal,
    ],
    check(_info, given) {
      if (given.size === 0)
        throw incomplete(
          `${name === 'ttl' ? 'TTL' : 'HL'} match: You must specify one of \`--${name}-eq', \`--${name}-lt', \`--${name}-gt${name === 'hl' ? "'" : ''}`,
        );
    },
  };
}

const ttl = hops('ttl', 'ttl', ['ipv4']);
const hl = hops('hl', 'hopLimit', ['ipv6']);

const eui64: ExtensionRow = { name: 'eui64', revision: 0, families: ['ipv6'], options: [] };

export const IPV6_MATCHES: readonly ExtensionRow[] = [
  headerOptions('dst'),
  headerOptions('hbh'),
  frag,
  ipv6header,
  rt,
  srh,
  ttl,
  hl,
  eui64,
];
