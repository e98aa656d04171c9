import { XT_TCPMSS_CLAMP_PMTU } from '../../linux/xt_TCPMSS.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, incomplete, type OptionPlace, refused, type Value } from '../extension.ts';
import { parsePrefix } from '../option-hosts.ts';
import { parseDscpClass, parseTos } from '../traffic-classes.ts';
import { hex, listed, number, parseNumber, present } from '../values.ts';
import { numberFor, parseBounded } from './values.ts';

/* The targets that change fields of headers. */

/** --ttl-set, --ttl-dec and --ttl-inc, or those of HL. */
function hops(name: string, prefix: string, family: 'ipv4' | 'ipv6'): ExtensionRow {
  const modes = { set: 'set', dec: 'decrement', inc: 'increment' } as const;
  const words = Object.keys(modes) as (keyof typeof modes)[];
  return {
    name,
    revision: 0,
    families: [family],
    initial: () => ({}),
    options: words.map(word => ({
      name: `${prefix}-${word}`,
      excludes: words.filter(other => other !== word).map(other => `${prefix}-${other}`),
      value: {
        words: 1,
        parse(info: Info, [text]: readonly string[], place: OptionPlace) {
          info.mode = modes[word];
          info.value = parseBounded(text!, place, word === 'set' ? 0 : 1, 255);
        },
        print: (info: Info) => ((info.mode ?? 'set') === modes[word] ? String(info.value ?? 0) : undefined),
      },
    })),
    check(_, given) {
      if (given.size === 0) throw incomplete(`${name}: You must specify an action`);
    },
  };
}

const DSCP: ExtensionRow = {
  name: 'DSCP',
  revision: 0,
  options: [
    {
      name: 'set-dscp',
      value: number('dscp', { max: 63, print: value => hex(value, 2) }),
      excludes: ['set-dscp-class'],
    },
    {
      name: 'set-dscp-class',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.dscp = parseDscpClass(word!, place);
        },
        print: () => undefined,
      },
      excludes: ['set-dscp'],
      hidden: true,
    },
  ],
  check(_, given) {
    if (given.size === 0) throw incomplete('DSCP target: Parameter --set-dscp is required');
  },
};

const tos: Value = {
  words: 1,
  parse(info, [text], place) {
    Object.assign(info, parseTos(text!, place));
  },
  print: info => `${hex((info.value as number | undefined) ?? 0, 2)}/${hex((info.mask as number | undefined) ?? 0, 2)}`,
};

const setTos = (apply: (value: number) => [value: number, mask: number]): Value =>
  numberFor(
    (info, given) => {
      const [value, mask] = apply(given);
      info.value = value;
      info.mask = mask;
    },
    { max: 255 },
  );

const TOS_OPTIONS = ['set-tos', 'and-tos', 'or-tos', 'xor-tos'] as const;
const otherTos = (name: string): string[] => TOS_OPTIONS.filter(other => other !== name);

const TOS: ExtensionRow = {
  name: 'TOS',
  revision: 1,
  options: [
    { name: 'set-tos', value: tos, excludes: otherTos('set-tos') },
    { name: 'and-tos', value: setTos(bits => [0, ~bits & 255]), excludes: otherTos('and-tos'), hidden: true },
    { name: 'or-tos', value: setTos(bits => [bits, bits]), excludes: otherTos('or-tos'), hidden: true },
    { name: 'xor-tos', value: setTos(bits => [bits, 0]), excludes: otherTos('xor-tos'), hidden: true },
  ],
  check(_, given) {
    if (given.size === 0) throw incomplete('TOS: An action is required');
  },
};

const operates = (info: Info, operation: string): boolean => listed('operations', operation).has(info);
const removes = (info: Info): boolean =>
  operates(info, 'ece') && operates(info, 'cwr') && !((info.bits as readonly string[] | undefined)?.length ?? 0);

/** A bit of TCP's header. */
const tcpBit = (bit: 'ece' | 'cwr'): Value => ({
  words: 1,
  parse(info, [text], place) {
    const value = parseBounded(text!, place, 0, 1);
    listed('operations', bit).set(info);
    if (value === 1) listed('bits', bit).set(info);
  },
  print(info) {
    if (!operates(info, bit) || removes(info)) return undefined;
    return listed('bits', bit).has(info) ? '1' : '0';
  },
});

const ECN: ExtensionRow = {
  name: 'ECN',
  revision: 0,
  families: ['ipv4'],
  options: [
    {
      name: 'ecn-tcp-remove',
      value: {
        words: 0,
        parse(info) {
          info.operations = ['ece', 'cwr'];
        },
        print: info => (removes(info) ? '' : undefined),
      },
      excludes: ['ecn-tcp-cwr', 'ecn-tcp-ece'],
    },
    { name: 'ecn-tcp-ece', value: tcpBit('ece'), excludes: ['ecn-tcp-remove'] },
    { name: 'ecn-tcp-cwr', value: tcpBit('cwr'), excludes: ['ecn-tcp-remove'] },
    {
      name: 'ecn-ip-ect',
      value: {
        words: 1,
        parse(info, [text], place) {
          info.ect = parseBounded(text!, place, 0, 3);
          listed('operations', 'ip').set(info);
        },
        print: info => (operates(info, 'ip') ? String(info.ect ?? 0) : undefined),
      },
    },
  ],
  check(_, given) {
    if (given.size === 0) throw incomplete('ECN target: An operation is required');
  },
};

/** The headers of IP and TCP that a packet of this family has at least. */
const HEADERS = { ipv4: 40, ipv6: 60 } as const;

const TCPMSS: ExtensionRow = {
  name: 'TCPMSS',
  revision: 0,
  options: [
    {
      name: 'set-mss',
      value: {
        words: 1,
        parse(info, [text], place) {
          info.mss = parseBounded(text!, place, 0, 0xffff - HEADERS[place.family] + 20);
        },
        print: info => (info.mss === XT_TCPMSS_CLAMP_PMTU ? undefined : String(info.mss ?? 0)),
      },
    },
    {
      name: 'clamp-mss-to-pmtu',
      value: present({
        set: info => (info.mss = XT_TCPMSS_CLAMP_PMTU),
        has: info => info.mss === XT_TCPMSS_CLAMP_PMTU,
      }),
    },
  ],
  check(_, given) {
    if (given.size === 0) throw incomplete('TCPMSS target: At least one parameter is required');
  },
};

export const TCP_OPTIONS: Readonly<Record<string, number>> = {
  wscale: 3,
  mss: 2,
  'sack-permitted': 4,
  sack: 5,
  timestamp: 8,
  md5: 19,
};

/** The numbers of the options whose bits are set. */
export function strippedOptions(info: Info): number[] {
  const words = (info.words as readonly number[] | undefined) ?? [];
  return Array.from({ length: 256 }, (_, option) => option).filter(
    option => (((words[option >> 5] ?? 0) >>> (option & 31)) & 1) === 1,
  );
}

const TCPOPTSTRIP: ExtensionRow = {
  name: 'TCPOPTSTRIP',
  revision: 0,
  initial: () => ({ words: new Array<number>(8).fill(0) }),
  options: [
    {
      name: 'strip-options',
      value: {
        words: 1,
        parse(info, [list], place) {
          const words = [...(info.words as readonly number[])];
          for (const word of list!.split(',')) {
            const option = (Object.hasOwn(TCP_OPTIONS, word) ? TCP_OPTIONS[word] : undefined) ?? parseNumber(word, 255);
            if (option === undefined) throw refused(place, `Bad TCP option value "${word}"`);
            if (option < 2) throw refused(place, 'Option value may not be 0 or 1');
            words[option >> 5] = (words[option >> 5]! | (1 << (option & 31))) >>> 0;
          }
          info.words = words;
        },
        print(info) {
          const options = strippedOptions(info);
          return options.length === 0 ? undefined : options.join(',');
        },
      },
    },
  ],
};

/** `1:2`, each in hexadecimal. */
const CLASSIFY: ExtensionRow = {
  name: 'CLASSIFY',
  revision: 0,
  options: [
    {
      name: 'set-class',
      value: {
        words: 1,
        parse(info, [text], place) {
          const match = /^\s*(?:0[xX])?([0-9a-fA-F]+):(?:0[xX])?([0-9a-fA-F]+)/.exec(text!);
          if (match === null) throw refused(place, `Bad class value "${text}"`);
          const half = (digits: string): number => Number.parseInt(digits.slice(-8), 16) & 0xffff;
          info.priority = ((half(match[1]!) << 16) | half(match[2]!)) >>> 0;
        },
        print(info) {
          const priority = (info.priority as number | undefined) ?? 0;
          return [priority >>> 16, priority & 0xffff].map(half => half.toString(16).padStart(4, '0')).join(':');
        },
      },
      required: true,
    },
  ],
};

const CHECKSUM: ExtensionRow = {
  name: 'CHECKSUM',
  revision: 0,
  options: [{ name: 'checksum-fill', value: present(listed('operations', 'fill')), required: true }],
};

/** A prefix of IPv6. */
const prefix = (key: string): Value => ({
  words: 1,
  parse(info, [text], place) {
    const { address, length } = parsePrefix(text!, place);
    info[key] = address;
    info[`${key}Length`] = length;
  },
  print: info => `${info[key] ?? '::'}/${info[`${key}Length`] ?? 0}`,
});

const npt = (name: string): ExtensionRow => ({
  name,
  revision: 0,
  families: ['ipv6'],
  options: [
    { name: 'src-pfx', value: prefix('source'), required: true },
    { name: 'dst-pfx', value: prefix('destination'), required: true },
  ],
});

export const HEADER_TARGETS: readonly ExtensionRow[] = [
  hops('TTL', 'ttl', 'ipv4'),
  hops('HL', 'hl', 'ipv6'),
  DSCP,
  TOS,
  ECN,
  TCPMSS,
  TCPOPTSTRIP,
  CLASSIFY,
  CHECKSUM,
  npt('SNPT'),
  npt('DNPT'),
];
