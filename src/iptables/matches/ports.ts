import type { Expression } from '../../nf_tables/expression.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import {
  type ExtensionRow,
  incomplete,
  type OptionPlace,
  refused,
  type Surroundings,
  type Value,
} from '../extension.ts';
import { compare } from '../native.ts';
import { flag, listed, number, numbers, parsePorts, ports, resolvedPorts, shorthand } from '../values.ts';

/* Matches on the ports and flags of transport protocols. */

const IPPROTO = { tcp: 6, udp: 17, dccp: 33, sctp: 132 } as const;

const TCP_FLAGS: Readonly<Record<string, string>> = {
  FIN: 'fin',
  SYN: 'syn',
  RST: 'rst',
  PSH: 'psh',
  ACK: 'ack',
  URG: 'urg',
};
const TCP_BITS: Readonly<Record<string, number>> = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ecn: 64,
  cwr: 128,
};

/** `--tcp-flags MASK SET` */
const tcpFlags: Value = {
  words: 2,
  parse(info, [mask, set], place) {
    info.flagsMask = parseTcpFlags(mask!, place);
    info.flags = parseTcpFlags(set!, place);
  },
  print(info) {
    const mask = (info.flagsMask as string[] | undefined) ?? [];
    const set = (info.flags as string[] | undefined) ?? [];
    if (mask.length === 0 && set.length === 0 && !listed('invert', 'flags').has(info)) return undefined;
    return `${printTcpFlags(mask)} ${printTcpFlags(set)}`;
  },
};

function parseTcpFlags(text: string, place: OptionPlace): string[] {
  const found = new Set<string>();
  for (const word of text.split(',')) {
    const name = word.toUpperCase();
    if (name === 'ALL') for (const flagName of Object.values(TCP_FLAGS)) found.add(flagName);
    else if (Object.hasOwn(TCP_FLAGS, name)) found.add(TCP_FLAGS[name]!);
    else if (name !== 'NONE' && name !== '') throw refused(place, `Unknown TCP flag \`${word}'`);
  }
  return Object.values(TCP_FLAGS).filter(name => found.has(name));
}

const printTcpFlags = (list: readonly string[]): string =>
  list.length === 0
    ? 'NONE'
    : Object.entries(TCP_FLAGS)
        .filter(([, name]) => list.includes(name))
        .map(([word]) => word)
        .join(',');

const SOURCE = listed('invert', 'source-ports');
const DESTINATION = listed('invert', 'destination-ports');
export const sport = {
  name: 'sport',
  aliases: ['source-port'],
  value: ports('sourcePorts', SOURCE),
  invert: SOURCE,
  twice: "Only one `--source-port' allowed",
} as const;
export const dport = {
  name: 'dport',
  aliases: ['destination-port'],
  value: ports('destinationPorts', DESTINATION),
  invert: DESTINATION,
  twice: "Only one `--destination-port' allowed",
} as const;

/** One is a form of the other. */
const FLAGS_TWICE = "Only one of `--syn' or `--tcp-flags'  allowed";
/** The same of extensions whose options iptables' own option parser reads. */
export const namedSport = { ...sport, twice: undefined, title: 'source-port' } as const;
export const namedDport = { ...dport, twice: undefined, title: 'destination-port' } as const;

const SYN_MASK = ['fin', 'syn', 'rst', 'ack'];

/** Options of a protocol's match need `-p`. */
const demands =
  (word: string, name: string, number: number): NonNullable<ExtensionRow['check']> =>
  (_, given, { protocol }) => {
    if (given.size > 0 && protocol !== number) throw incomplete(`${word} match requires '-p ${name}'`);
  };

const tcp: ExtensionRow = {
  name: 'tcp',
  revision: 0,
  check: demands('TCP', 'tcp', IPPROTO.tcp),
  protocols: [IPPROTO.tcp],
  options: [
    sport,
    dport,
    {
      name: 'tcp-option',
      value: number('option', { min: 1, max: 255, hide: 0 }),
      invert: listed('invert', 'option'),
      twice: "Only one `--tcp-option' allowed",
    },
    { name: 'tcp-flags', value: tcpFlags, invert: listed('invert', 'flags'), twice: FLAGS_TWICE },
    {
      name: 'syn',
      value: shorthand(info => {
        info.flagsMask = SYN_MASK;
        info.flags = ['syn'];
      }),
      invert: listed('invert', 'flags'),
      hidden: true,
      twice: FLAGS_TWICE,
    },
  ],
  native(info, at) {
    const { sourcePorts, destinationPorts, option, flagsMask, flags, invert } = info as TcpInfo;
    if (option !== undefined && option !== 0) return undefined;
    if (isAll(sourcePorts) && isAll(destinationPorts) && !flagsMask?.length && !flags?.length && !invert?.length)
      return undefined;
    requireProtocol('tcp', at);
    const list: Expression[] = [];
    if (flagsMask !== undefined && flagsMask.length > 0) {
      list.push({ payload: { register: 1, base: 'transport', offset: 13, length: 1 } });
      const mask = bitsOf(flagsMask);
      list.push({ bitwise: { sourceRegister: 1, register: 1, length: 1, mask, xor: '00' } } as Expression);
      list.push(compare(bitsOf(flags ?? []), invert?.includes('flags')));
    }
    addPorts(list, info);
    return list;
  },
};

/** The expressions look at the header behind the first one, whatever it is. iptables asks for `-p`, and does not see its `!`. */
function requireProtocol(name: 'tcp' | 'udp', { protocol }: Surroundings): void {
  if (protocol !== IPPROTO[name]) throw incomplete(`${name.toUpperCase()} match requires '-p ${name}'`);
}

interface TcpInfo {
  sourcePorts?: readonly [number, number];
  destinationPorts?: readonly [number, number];
  option?: number;
  flagsMask?: readonly string[];
  flags?: readonly string[];
  invert?: readonly string[];
}

const bitsOf = (list: readonly string[]): string =>
  list
    .reduce((bits, name) => bits | TCP_BITS[name]!, 0)
    .toString(16)
    .padStart(2, '0');

const isAll = (range: readonly [number, number] | undefined): boolean =>
  range === undefined || (range[0] === 0 && range[1] === 0xffff);

const port = (value: number): string => value.toString(16).padStart(4, '0');

/** The comparisons of ports: one of four bytes where both are one port each. */
function addPorts(list: Expression[], info: Info): void {
  const {
    sourcePorts: source = [0, 0xffff],
    destinationPorts: destination = [0, 0xffff],
    invert = [],
  } = info as TcpInfo;
  const [inverted, invertedDestination] = [invert.includes('source-ports'), invert.includes('destination-ports')];
  if (isOne(source) && isOne(destination) && !inverted && !invertedDestination) {
    list.push({ payload: { register: 1, base: 'transport', offset: 0, length: 4 } });
    list.push(compare(port(source[0]) + port(destination[0])));
    return;
  }
  addRange(list, 0, source, inverted);
  addRange(list, 2, destination, invertedDestination);
}

const isOne = ([first, last]: readonly [number, number]): boolean => first === last && first !== 0;

function addRange(list: Expression[], offset: number, range: readonly [number, number], invert: boolean): void {
  if (isAll(range)) return;
  const [first, last] = range;
  list.push({ payload: { register: 1, base: 'transport', offset, length: 2 } });
  if (first === last) list.push(compare(port(first), invert));
  else if (first === 0) list.push({ cmp: { register: 1, op: invert ? 'gt' : 'lte', data: port(last) } });
  else list.push({ range: { register: 1, op: invert ? 'neq' : 'eq', from: port(first), to: port(last) } });
}

const udp: ExtensionRow = {
  name: 'udp',
  revision: 0,
  check: demands('UDP', 'udp', IPPROTO.udp),
  protocols: [IPPROTO.udp],
  options: [
    { ...namedSport, value: ports('sourcePorts', SOURCE, resolvedPorts) },
    { ...namedDport, value: ports('destinationPorts', DESTINATION, resolvedPorts) },
  ],
  native(info, at) {
    const { sourcePorts, destinationPorts, invert } = info as TcpInfo;
    if (isAll(sourcePorts) && isAll(destinationPorts) && !invert?.length) return undefined;
    requireProtocol('udp', at);
    const list: Expression[] = [];
    addPorts(list, info);
    return list;
  },
};

const MOST_PORTS = 15;
const PROTOCOLS_WITH_PORTS: readonly number[] = [6, 17, 136, 132, 33];

function multiportValue(side: string): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      checkMultiport(place);
      const list: (number | [number, number])[] = [];
      let slots = 0;
      for (const word of text!.split(',')) {
        const colon = word.indexOf(':');
        const [first, last] =
          colon < 0
            ? parsePorts(word, place)
            : [parsePorts(word.slice(0, colon), place)[0], portAfter(word.slice(colon + 1), place)];
        slots += colon < 0 ? 1 : 2;
        if (slots > MOST_PORTS) throw refused(place, 'too many ports specified');
        if (first > last || (colon >= 0 && first === last)) throw refused(place, 'invalid portrange specified');
        list.push(colon < 0 ? first : [first, last]);
      }
      info.side = side;
      info.ports = list;
    },
    print(info) {
      if (info.side !== side) return undefined;
      return (info.ports as (number | [number, number])[])
        .map(entry => (Array.isArray(entry) ? `${entry[0]}:${entry[1]}` : String(entry)))
        .join(',');
    },
  };
}

const portAfter = (word: string, place: OptionPlace): number => {
  if (word.includes(':')) throw refused(place, `invalid port/service \`${word}' specified`);
  return parsePorts(word, place)[0];
};

function checkMultiport(place: Surroundings & OptionPlace): void {
  const { protocol, protocolInverted } = place;
  if (protocol === 0 && !protocolInverted)
    throw refused(place, "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'");
  if (protocolInverted || !PROTOCOLS_WITH_PORTS.includes(protocol))
    throw refused(place, 'multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP');
}

const multiport: ExtensionRow = {
  name: 'multiport',
  revision: 1,
  options: [
    {
      name: 'sports',
      aliases: ['source-ports'],
      title: 'source-ports',
      value: multiportValue('source'),
      invert: flag('invert'),
      excludes: ['dports', 'ports'],
    },
    {
      name: 'dports',
      aliases: ['destination-ports'],
      title: 'destination-ports',
      value: multiportValue('destination'),
      invert: flag('invert'),
      excludes: ['sports', 'ports'],
    },
    { name: 'ports', value: multiportValue('either'), invert: flag('invert'), excludes: ['sports', 'dports'] },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('multiport expection an option');
  },
};

const tcpmss: ExtensionRow = {
  name: 'tcpmss',
  revision: 0,
  options: [
    {
      name: 'mss',
      value: {
        words: 1,
        parse(info, [text], place) {
          const [first, last = first] = numbers(text!, 0xffffn, place).map(Number) as [number, number?];
          if (first > last) throw refused(place, 'tcpmss: invalid range given');
          info.mssMin = first;
          info.mssMax = last;
        },
        print(info) {
          const [first = 0, last = 0] = [info.mssMin as number | undefined, info.mssMax as number | undefined];
          return first === last ? String(first) : `${first}:${last}`;
        },
      },
      invert: listed('invert', 'mss'),
      required: true,
    },
  ],
};

export const PORT_MATCHES: readonly ExtensionRow[] = [tcp, udp, multiport, tcpmss];
