import { formatIPv4, formatIPv6, HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { maskedBytes, parseHostMask } from '../addresses.ts';
import {
  type ExtensionRow,
  guided,
  incomplete,
  type OptionPlace,
  type OptionRow,
  refused,
  type Value,
} from '../extension.ts';
import { parseProtocol } from '../protocols.ts';
import { counting, flag, hex, lengthOfMask, listed, number, parseNumber, present } from '../values.ts';
import { quoted } from '../words.ts';

/* Matches on the host: its users, sockets, processors, devices, policies and balancers. */

const INVERT = flag('invert');

/** A user or a group, by name or number, or a range of numbers. */
function account(kind: 'uid' | 'gid'): Value {
  const [first, last] = kind === 'uid' ? ['firstUid', 'lastUid'] : ['firstGid', 'lastGid'];
  return counting(listed('match', kind), {
    words: 1,
    parse(info, [word], place) {
      const named = (kind === 'uid' ? place.names.users() : place.names.groups()).byName.get(word!);
      if (named !== undefined) {
        info[first] = named;
        info[last] = named;
        return;
      }
      const found = /^([^-]+)(?:-(.+))?$/.exec(word!);
      const from = found === null ? undefined : parseNumber(found[1]!, 0xfffffffe);
      const to = found?.[2] === undefined ? from : parseNumber(found[2], 0xfffffffe);
      if (from === undefined || to === undefined)
        throw refused(place, `owner: Bad value for "--${kind}-owner" option: "${word}"`);
      info[first] = from;
      info[last] = to;
    },
    print(info) {
      const [from, to] = [(info[first] as number | undefined) ?? 0, (info[last] as number | undefined) ?? 0];
      return from === to ? String(from) : `${from}-${to}`;
    },
  });
}

// In the order in which the installed iptables looks at them while saving.
const owner: ExtensionRow = {
  name: 'owner',
  revision: 1,
  options: [
    { name: 'socket-exists', value: present(listed('match', 'socket')), invert: listed('invert', 'socket') },
    { name: 'uid-owner', value: account('uid'), invert: listed('invert', 'uid') },
    { name: 'gid-owner', value: account('gid'), invert: listed('invert', 'gid') },
    {
      name: 'suppl-groups',
      value: {
        ...present(listed('match', 'supplementary-groups')),
        parse(info, _words, place) {
          if (!place.given.has('gid-owner'))
            throw refused(place, 'owner: Bad value for "--suppl-groups" option: "you need to use --gid-owner first"');
          listed('match', 'supplementary-groups').set(info);
        },
      },
    },
  ],
  check(_info, given) {
    if (given.size === 0)
      throw incomplete('owner: At least one of --uid-owner, --gid-owner or --socket-exists is required');
  },
};

const socket: ExtensionRow = {
  name: 'socket',
  revision: 3,
  options: [
    { name: 'transparent', value: present(listed('flags', 'transparent')) },
    { name: 'nowildcard', value: present(listed('flags', 'no-wildcard')) },
    { name: 'restore-skmark', value: present(listed('flags', 'restore-mark')) },
  ],
};

const LONGEST_PATH = 511;

const cgroup: ExtensionRow = {
  name: 'cgroup',
  revision: 2,
  options: [
    {
      name: 'path',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (Buffer.byteLength(word!) > LONGEST_PATH)
            throw guided(
              place,
              `argument must have a minimum length of 1 and a maximum length of ${LONGEST_PATH} characters`,
            );
          info.path = word;
        },
        print: info => (info.path === undefined ? undefined : quoted(info.path as string)),
      },
      invert: flag('invertPath'),
    },
    {
      name: 'cgroup',
      value: {
        ...number('classid'),
        print: info => (info.classid === undefined ? undefined : String(info.classid)),
      },
      invert: flag('invertClassid'),
    },
  ],
};

const cpu: ExtensionRow = {
  name: 'cpu',
  revision: 0,
  options: [{ name: 'cpu', value: number('cpu'), invert: INVERT, required: true }],
};

const MOST_NODES = 32;

const cluster: ExtensionRow = {
  name: 'cluster',
  revision: 0,
  options: [
    {
      name: 'cluster-local-node',
      value: {
        words: 1,
        parse(info, [word], place) {
          const node = parseNumber(word!, MOST_NODES);
          if (node === undefined || node < 1)
            throw guided(place, `bad value for option "--cluster-local-node", or out of range (1-${MOST_NODES}).`);
          info.nodeMask = (1 << (node - 1)) >>> 0;
        },
        print: () => undefined,
      },
      invert: listed('flags', 'invert'),
      excludes: ['cluster-local-nodemask'],
      hidden: true,
    },
    {
      name: 'cluster-local-nodemask',
      value: number('nodeMask', { min: 1, print: value => hex(value, 8) }),
      invert: listed('flags', 'invert'),
      excludes: ['cluster-local-node'],
    },
    { name: 'cluster-total-nodes', value: number('totalNodes', { min: 1, max: MOST_NODES }), required: true },
    { name: 'cluster-hash-seed', value: number('hashSeed', { print: value => hex(value, 8) }), required: true },
  ],
  check(info, given) {
    if (!given.has('cluster-local-node') && !given.has('cluster-local-nodemask'))
      throw incomplete("cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing");
    if ((info.nodeMask as number) >= 2 ** (info.totalNodes as number))
      throw incomplete("cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'");
  },
};

function group(key: 'source' | 'destination', name: string): OptionRow {
  const mask = `${key}Mask`;
  return {
    name,
    value: counting(listed('flags', key), {
      words: 1,
      parse(info, [word], place) {
        const [valueText, maskText] = word!.split('/');
        const value = parseNumber(valueText!, 0xffffffff) ?? place.names.file('group').byName.get(word!);
        if (value === undefined)
          throw guided(place, `could not map name ${word} to an integer value for option "--${name}".`);
        const bits = maskText === undefined ? 0xffffffff : parseNumber(maskText, 0xffffffff);
        if (bits === undefined) throw guided(place, `bad integer value for option "--${name}", or out of range.`);
        info[key] = value;
        info[mask] = bits;
      },
      print(info, { names }) {
        const [value, bits] = [(info[key] as number | undefined) ?? 0, (info[mask] as number | undefined) ?? 0];
        if (bits === 0xffffffff) return names.file('group').byNumber.get(value) ?? hex(value);
        return `${hex(value)}/${hex(bits)}`;
      },
    }),
    invert: listed('flags', `invert-${key}`),
  };
}

const devgroup: ExtensionRow = {
  name: 'devgroup',
  revision: 0,
  options: [group('source', 'src-group'), group('destination', 'dst-group')],
  check(_info, given) {
    if (given.size === 0) throw incomplete("devgroup match: You must specify either '--src-group' or '--dst-group'");
  },
};

const INTERFACE_BYTES = 16;

/** A name of a device, and which of its bytes count: all of them and the end, or, before a `+`, those in front. */
function bridgePort(key: 'in' | 'out'): OptionRow {
  const mask = `${key}Mask`;
  return {
    name: `physdev-${key}`,
    value: counting(listed('match', key), {
      words: 1,
      parse(info, [word], place) {
        const length = Buffer.byteLength(word!);
        if (length > INTERFACE_BYTES - 1)
          throw refused(place, `interface name \`${word}' must be shorter than IFNAMSIZ (${INTERFACE_BYTES - 1})`);
        const wildcard = word!.endsWith('+');
        const counted = length === 0 ? 0 : wildcard ? length - 1 : length + 1;
        info[key] = word;
        info[mask] = 'ff'.repeat(counted).padEnd(INTERFACE_BYTES * 2, '0');
      },
      print: info => (info[key] as string | undefined) ?? '',
    }),
    invert: listed('invert', key),
  };
}

const physdev: ExtensionRow = {
  name: 'physdev',
  revision: 0,
  options: [
    { name: 'physdev-is-in', value: present(listed('match', 'is-in')), invert: listed('invert', 'is-in') },
    bridgePort('in'),
    { name: 'physdev-is-out', value: present(listed('match', 'is-out')), invert: listed('invert', 'is-out') },
    bridgePort('out'),
    { name: 'physdev-is-bridged', value: present(listed('match', 'bridged')), invert: listed('invert', 'bridged') },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('PHYSDEV: no physdev option specified');
  },
};

const rpfilter: ExtensionRow = {
  name: 'rpfilter',
  revision: 0,
  options: [
    { name: 'loose', value: present(listed('flags', 'loose')) },
    { name: 'validmark', value: present(listed('flags', 'valid-mark')) },
    { name: 'accept-local', value: present(listed('flags', 'accept-local')) },
    { name: 'invert', value: present(listed('flags', 'invert')) },
  ],
};

/** Fields of the match ipvs: `! ` stands for each of them by its own bit. */
const ipvsField = (word: string, value: Value): Pick<OptionRow, 'value' | 'invert'> => ({
  value: {
    words: value.words,
    parse(info, words, place) {
      value.parse(info, words, place);
      listed('match', word).set(info);
      listed('match', 'ipvs').set(info);
    },
    print: (info, at) => (listed('match', word).has(info) ? value.print(info, at) : undefined),
  },
  invert: listed('invert', word),
});

const ipvsPort = (key: string): Value => ({
  words: 1,
  parse(info, [word], place) {
    const port = parseNumber(word!, 0xffff) ?? place.names.services().byName.get(word!);
    if (port === undefined) throw guided(place, `Port "${word}" does not resolve to anything.`);
    info[key] = port;
  },
  print: info => String((info[key] as number | undefined) ?? 0),
});

const METHODS: Readonly<Record<string, number>> = { MASQ: 0, IPIP: 2, GATE: 3 };

const ipvs: ExtensionRow = {
  name: 'ipvs',
  revision: 0,
  options: [
    {
      name: 'ipvs',
      value: {
        words: 0,
        parse: info => listed('match', 'ipvs').set(info),
        // Every other option says it too.
        print: info => ((info.match as string[] | undefined)?.join() === 'ipvs' ? '' : undefined),
      },
      invert: listed('invert', 'ipvs'),
    },
    {
      name: 'vproto',
      ...ipvsField('protocol', {
        words: 1,
        parse(info, [word], place) {
          const found = parseProtocol(word!, place.names);
          if (found === undefined) throw refused(place, `unknown protocol "${word!.toLowerCase()}" specified`);
          info.protocol = found;
        },
        print: info => String((info.protocol as number | undefined) ?? 0),
      }),
    },
    {
      name: 'vaddr',
      ...ipvsField('address', {
        words: 1,
        parse(info, [word], { family }) {
          const { bytes, mask } = parseHostMask(word!, family);
          info.address = family === 'ipv4' ? formatIPv4(bytes) : formatIPv6(bytes);
          info.mask = mask;
        },
        print: (info, { family }) => maskedAddress(info.address, info.mask, family),
      }),
    },
    { name: 'vport', ...ipvsField('port', ipvsPort('port')) },
    {
      name: 'vdir',
      value: {
        words: 1,
        parse(info, [word], place) {
          const upper = word!.toUpperCase();
          if (upper !== 'ORIGINAL' && upper !== 'REPLY')
            throw refused(place, `ipvs: Bad value for "--vdir" option: "${word}"`);
          for (const each of ['direction', 'ipvs']) listed('match', each).set(info);
          if (upper === 'REPLY') listed('invert', 'direction').set(info);
        },
        print(info) {
          if (!listed('match', 'direction').has(info)) return undefined;
          return listed('invert', 'direction').has(info) ? 'REPLY' : 'ORIGINAL';
        },
      },
    },
    {
      name: 'vmethod',
      ...ipvsField('method', {
        words: 1,
        parse(info, [word], place) {
          const method = METHODS[word!.toUpperCase()];
          if (method === undefined) throw refused(place, `ipvs: Bad value for "--vmethod" option: "${word}"`);
          info.method = method;
        },
        print: info => Object.keys(METHODS).find(name => METHODS[name] === ((info.method as number | undefined) ?? 0)),
      }),
    },
    { name: 'vportctl', ...ipvsField('control-port', ipvsPort('controlPort')) },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('IPVS: At least one option is required');
  },
};

function maskedAddress(address: unknown, mask: unknown, family: 'ipv4' | 'ipv6'): string {
  const any = family === 'ipv4' ? '0.0.0.0' : '::';
  const bits = (mask as string | undefined | null) ?? any;
  const length = lengthOfMask(bits, family);
  const full = family === 'ipv4' ? 32 : 128;
  return `${(address as string | undefined | null) ?? any}${length === full ? '' : `/${length ?? bits}`}`;
}

const POLICY_PROTOCOLS: Readonly<Record<number, string>> = { 50: 'esp', 51: 'ah', 108: 'ipcomp' };
const MOST_ELEMENTS = 4;

/** The kernel takes an index in network byte order, and iptables hands it over as the processor has it. */
function swapped(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, HOST_IS_LITTLE_ENDIAN);
  return view.getUint32(0, false);
}

/** The element of a policy that options speak of: `--next` begins another one. */
function elementOf(info: Info): Info {
  const list = (info.elements as Info[] | undefined) ?? [];
  if (list.length === 0) {
    list.push({});
    info.elements = list;
  }
  return list.at(-1)!;
}

function policyOption(
  name: string,
  word: string,
  parse: (element: Info, text: string, place: OptionPlace) => void,
): OptionRow {
  return {
    name,
    value: {
      words: 1,
      parse(info, [text], place) {
        const element = elementOf(info);
        if (listed('match', word).has(element)) throw refused(place, `policy match: double --${name} option`);
        parse(element, text!, place);
        listed('match', word).set(element);
        if (place.inverted) listed('invert', word).set(element);
      },
      // All elements are printed by --next.
      print: () => undefined,
    },
    invert: { set() {}, has: () => false },
    repeats: true,
  };
}

function policyAddress(key: 'source' | 'destination'): (element: Info, text: string, place: OptionPlace) => void {
  return (element, text, { family }) => {
    const { bytes, mask } = parseHostMask(text, family);
    element[key] = maskedBytes(bytes, mask);
    element[`${key}Mask`] = mask;
  };
}

function printElement(element: Info, family: 'ipv4' | 'ipv6'): string {
  const part = (word: string, option: string, value: string): string =>
    listed('match', word).has(element) ? `${listed('invert', word).has(element) ? ' !' : ''} --${option} ${value}` : '';
  const protocol = (element.protocol as number | undefined) ?? 0;
  return (
    part('reqid', 'reqid', String((element.reqid as number | undefined) ?? 0)) +
    part('spi', 'spi', hex(swapped((element.spi as number | undefined) ?? 0))) +
    part('protocol', 'proto', POLICY_PROTOCOLS[protocol] ?? String(protocol)) +
    part('mode', 'mode', element.mode === 'tunnel' ? 'tunnel' : 'transport') +
    part('destination', 'tunnel-dst', maskedAddress(element.destination, element.destinationMask, family)) +
    part('source', 'tunnel-src', maskedAddress(element.source, element.sourceMask, family))
  );
}

const policy: ExtensionRow = {
  name: 'policy',
  revision: 0,
  options: [
    {
      name: 'dir',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word !== 'in' && word !== 'out') throw refused(place, `policy match: invalid dir "${word}"`);
          listed('flags', word).set(info);
        },
        print: info => (listed('flags', 'in').has(info) ? 'in' : 'out'),
      },
      required: true,
    },
    {
      name: 'pol',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word !== 'none' && word !== 'ipsec') throw refused(place, `policy match: invalid policy "${word}"`);
          if (word === 'none') listed('flags', 'none').set(info);
        },
        print: info => (listed('flags', 'none').has(info) ? 'none' : 'ipsec'),
      },
    },
    { name: 'strict', value: present(listed('flags', 'strict')) },
    policyOption('reqid', 'reqid', (element, text, place) => {
      const value = parseNumber(text, 0xffffffff);
      if (value === undefined) throw guided(place, 'bad value for option "--reqid", or out of range (0-4294967295).');
      element.reqid = value;
    }),
    policyOption('spi', 'spi', (element, text, place) => {
      const value = parseNumber(text, 0xffffffff);
      if (value === undefined) throw guided(place, 'bad value for option "--spi", or out of range (0-4294967295).');
      element.spi = swapped(value);
    }),
    policyOption('proto', 'protocol', (element, text, place) => {
      const found = parseProtocol(text, place.names);
      if (found === undefined) throw refused(place, `unknown protocol "${text.toLowerCase()}" specified`);
      if (!Object.hasOwn(POLICY_PROTOCOLS, found)) throw refused(place, 'policy match: protocol must be ah/esp/ipcomp');
      element.protocol = found;
    }),
    policyOption('mode', 'mode', (element, text, place) => {
      if (text !== 'transport' && text !== 'tunnel') throw refused(place, `policy match: invalid mode "${text}"`);
      element.mode = text;
    }),
    policyOption('tunnel-dst', 'destination', policyAddress('destination')),
    policyOption('tunnel-src', 'source', policyAddress('source')),
    {
      name: 'next',
      value: {
        words: 0,
        parse(info, _words, place) {
          const list = (info.elements as Info[] | undefined) ?? [{}];
          if (list.length >= MOST_ELEMENTS) throw refused(place, 'policy match: maximum policy depth reached');
          info.elements = [...list, {}];
        },
        print: () => undefined,
      },
      repeats: true,
    },
    {
      // No option of its own: it stands for the elements of the policy.
      name: 'elements',
      value: { words: 0, parse() {}, print: () => undefined },
      hidden: true,
    },
  ],
  tail(info, { family }) {
    const list = (info.elements as Info[] | undefined) ?? [];
    return list.map((element, i) => (i === 0 ? '' : ' --next') + printElement(element, family)).join('');
  },
  check(info, given) {
    const list = (info.elements as Info[] | undefined) ?? [];
    info.count = list.length;
    if (listed('flags', 'none').has(info)) {
      if (listed('flags', 'strict').has(info)) throw incomplete('policy match: policy none but --strict given');
      if (list.some(element => ((element.match as unknown[] | undefined)?.length ?? 0) > 0))
        throw incomplete('policy match: policy none but policy given');
    } else {
      info.count = Math.max(list.length, listed('flags', 'strict').has(info) ? 1 : 1);
    }
    if (given.has('next') && !listed('flags', 'strict').has(info))
      throw incomplete('policy match: multiple elements but no --strict');
    if (!listed('flags', 'strict').has(info)) return;
    for (const [i, element] of (list.length === 0 ? [{}] : list).entries()) {
      const match = ((element as Info).match as string[] | undefined) ?? [];
      if (match.length === 0)
        throw incomplete(
          `policy match: empty policy element ${i}. --strict is in effect, but at least one of reqid, spi, proto, mode, tunnel-src or tunnel-dst is required.`,
        );
      if ((match.includes('source') || match.includes('destination')) && (element as Info).mode !== 'tunnel')
        throw incomplete(`policy match: element ${i}: options --tunnel-src/dst are only valid in tunnel mode`);
    }
  },
};

/** A set is named to the kernel by its number, which a socket of its own tells: without it no name is known. */
const set: ExtensionRow = {
  name: 'set',
  revision: 4,
  options: [
    {
      name: 'match-set',
      aliases: ['set'],
      value: {
        words: 2,
        parse(_info, [name], place) {
          throw refused(place, `Set ${name} doesn't exist.\n`);
        },
        print(info) {
          if (info.index === undefined) return undefined;
          const sides = (info.sides as number | undefined) ?? 0;
          const list: string[] = [];
          for (let i = 0; i < ((info.dimensions as number | undefined) ?? 0); i++)
            list.push((sides & (1 << (i + 1))) === 0 ? 'dst' : 'src');
          return `${info.index} ${list.join(',')}`;
        },
      },
      invert: listed('invert', 'match'),
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete("You must specify `--match-set' with proper arguments");
  },
};

const osf: ExtensionRow = {
  name: 'osf',
  revision: 0,
  families: ['ipv4'],
  options: [
    {
      name: 'genre',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word!.length > 31)
            throw guided(place, 'argument must have a minimum length of 1 and a maximum length of 31 characters');
          info.genre = word;
          info.length = word!.length;
        },
        print: info => (info.genre as string | undefined) ?? '',
      },
      invert: listed('flags', 'invert'),
      required: true,
    },
    { name: 'ttl', value: counting(listed('flags', 'ttl'), number('ttl', { max: 2 })) },
    { name: 'log', value: counting(listed('flags', 'log'), number('logLevel', { max: 2 })) },
  ],
};

const nfacct: ExtensionRow = {
  name: 'nfacct',
  revision: 1,
  options: [
    {
      name: 'nfacct-name',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word!.length < 1 || word!.length > 31)
            throw guided(place, 'argument must have a minimum length of 1 and a maximum length of 31 characters');
          info.name = word;
        },
        print: info => (info.name as string | undefined) ?? '',
      },
      required: true,
    },
  ],
};

const RATE_UNITS: Readonly<Record<string, number>> = {
  bit: 1,
  kibit: 1024,
  kbit: 1000,
  mibit: 1024 * 1024,
  mbit: 1000000,
  gibit: 1024 * 1024 * 1024,
  gbit: 1000000000,
  tibit: 1024 ** 4,
  tbit: 1000000000000,
  bps: 8,
  kibps: 8 * 1024,
  kbps: 8000,
  mibps: 8 * 1024 * 1024,
  mbps: 8000000,
  gibps: 8 * 1024 ** 3,
  gbps: 8000000000,
  tibps: 8 * 1024 ** 4,
  tbps: 8000000000000,
};

/** A rate in bits; the kernel has bytes. */
function parseBits(word: string, place: OptionPlace): number {
  const found = /^(\d+(?:\.\d+)?)([a-zA-Z]*)$/.exec(word);
  const unit = found === null ? undefined : found[2] === '' ? 1 : RATE_UNITS[found[2]!.toLowerCase()];
  if (found === null || unit === undefined) throw refused(place, `rateest: could not parse rate \`${word}'`);
  return Math.floor((Number(found[1]) * unit) / 8);
}

/** As few digits as say it: in thousands where nothing is lost. */
function printBits(bytes: number): string {
  const bits = bytes * 8;
  if (bits > 1_000_000 && bits % 1_000_000 === 0) return `${bits / 1_000_000}Mbit`;
  return bits > 1000 && bits % 1000 === 0 && bits >= 1_000_000 ? `${bits / 1000}Kbit` : `${bits}bit`;
}

/** A rate that an option gives may be left out where another estimator is compared with. */
function estimate(unit: 'bps' | 'pps', which: '' | '1' | '2'): OptionRow {
  const key = `${unit}${which === '2' ? 2 : 1}`;
  return {
    name: `rateest-${unit}${which}`,
    value: {
      words: 1,
      parse(info, [word], place) {
        listed('flags', unit).set(info);
        info[key] = unit === 'bps' ? parseBits(word!, place) : (parseNumber(word!, 0xffffffff) ?? bad(place, word!));
      },
      print: () => undefined,
    },
    hidden: true,
  };
}

function bad(place: OptionPlace, word: string): never {
  throw refused(place, `rateest: could not parse pps \`${word}'`);
}

const RATEEST_MODES = [
  ['rateest-lt', 'less'],
  ['rateest-gt', 'greater'],
  ['rateest-eq', 'equal'],
] as const;

const rateest: ExtensionRow = {
  name: 'rateest',
  revision: 0,
  options: [
    {
      name: 'rateest1',
      aliases: ['rateest'],
      value: {
        words: 1,
        parse(info, [word]) {
          info.name1 = word;
        },
        print: () => undefined,
      },
      hidden: true,
    },
    {
      name: 'rateest2',
      value: {
        words: 1,
        parse(info, [word]) {
          info.name2 = word;
          listed('flags', 'relative').set(info);
        },
        print: () => undefined,
      },
      hidden: true,
    },
    estimate('bps', ''),
    estimate('pps', ''),
    estimate('bps', '1'),
    estimate('pps', '1'),
    estimate('bps', '2'),
    estimate('pps', '2'),
    { name: 'rateest-delta', value: present(listed('flags', 'delta')), hidden: true },
    ...RATEEST_MODES.map(
      ([name, mode]): OptionRow => ({
        name,
        value: {
          words: 0,
          parse(info) {
            info.mode = mode;
          },
          print: () => undefined,
        },
        invert: listed('flags', 'invert'),
        hidden: true,
      }),
    ),
  ],
  tail(info) {
    const flags = (info.flags as string[] | undefined) ?? [];
    const name1 = (info.name1 as string | undefined) ?? '';
    const name2 = (info.name2 as string | undefined) ?? '';
    const mode = RATEEST_MODES.find(([, each]) => each === info.mode)?.[0];
    const operator = `${flags.includes('invert') ? ' !' : ''} --${mode ?? 'rateest-eq'}`;
    const rates = (which: 1 | 2, suffix: string): string =>
      (flags.includes('bps')
        ? ` --rateest-bps${suffix} ${printBits((info[`bps${which}`] as number | undefined) ?? 0)}`
        : '') +
      (flags.includes('pps') ? ` --rateest-pps${suffix} ${(info[`pps${which}`] as number | undefined) ?? 0}` : '');
    const delta = flags.includes('delta');
    if (flags.includes('relative')) {
      const first = ` --rateest1 ${name1}${delta ? rates(1, '1') : `${flags.includes('bps') ? ' --rateest-bps' : ''}${flags.includes('pps') ? ' --rateest-pps' : ''}`}`;
      return `${delta ? ' --rateest-delta' : ''}${first}${operator}${delta ? rates(2, '2') : ''} --rateest2 ${name2}`;
    }
    if (delta) return ` --rateest-delta --rateest ${name1}${rates(1, '1')}${operator}${rates(2, '2')}`;
    return ` --rateest ${name1}${operator}${rates(1, '')}`;
  },
  check(_info, given) {
    if (!given.has('rateest1')) throw incomplete('rateest: no estimator specified');
  },
};

export const HOST_MATCHES: readonly ExtensionRow[] = [
  owner,
  socket,
  cgroup,
  cpu,
  cluster,
  devgroup,
  physdev,
  rpfilter,
  ipvs,
  policy,
  set,
  osf,
  nfacct,
  rateest,
];
