import type { Expression } from '../../nf_tables/expression.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import type { U32Test } from '../../nf_tables/xt/u32.ts';
import { parseHostAddress } from '../addresses.ts';
import {
  type ExtensionRow,
  guided,
  incomplete,
  type OptionPlace,
  type OptionRow,
  refused,
  type Value,
} from '../extension.ts';
import { compare, hostHex } from '../native.ts';
import {
  counting,
  flag,
  hex,
  listed,
  masked,
  number,
  parseNumber,
  present,
  range,
  shorthand,
  someOf,
  text,
} from '../values.ts';
import { inQuotes } from '../words.ts';

/* Matches on the packet as it is: its length, its marks, its addresses, its bytes. */

const INVERT = flag('invert');

const length: ExtensionRow = {
  name: 'length',
  revision: 0,
  options: [{ name: 'length', value: range('min', 'max', { max: 0xffff }), invert: INVERT, required: true }],
};

const comment: ExtensionRow = {
  name: 'comment',
  revision: 0,
  options: [
    {
      name: 'comment',
      value: {
        ...text('comment', 255),
        parse(info, [word]) {
          // What is too long is cut off.
          info.comment =
            Buffer.byteLength(word!) <= 255
              ? word
              : Buffer.from(word!)
                  .toString('utf8', 0, 255)
                  .replace(/\ufffd$/, '');
        },
      },
      required: true,
    },
  ],
};

const ADDRESS_TYPES: Readonly<Record<string, string>> = {
  UNSPEC: 'unspecified',
  UNICAST: 'unicast',
  LOCAL: 'local',
  BROADCAST: 'broadcast',
  ANYCAST: 'anycast',
  MULTICAST: 'multicast',
  BLACKHOLE: 'blackhole',
  UNREACHABLE: 'unreachable',
  PROHIBIT: 'prohibit',
  THROW: 'throw',
  NAT: 'nat',
  XRESOLVE: 'xresolve',
};
const addressTypes = (key: string): Value =>
  someOf(key, ADDRESS_TYPES, {
    bad: word => `addrtype: bad type "${word}"`,
    // The beginning of a word is enough.
    fold: word => Object.keys(ADDRESS_TYPES).find(name => name.startsWith(word.toUpperCase())) ?? word,
  });

const addrtype: ExtensionRow = {
  name: 'addrtype',
  revision: 1,
  options: [
    { name: 'src-type', value: addressTypes('source'), invert: listed('flags', 'invert-source') },
    { name: 'dst-type', value: addressTypes('destination'), invert: listed('flags', 'invert-destination') },
    {
      name: 'limit-iface-in',
      value: present(listed('flags', 'limit-in-interface')),
      excludes: ['limit-iface-out'],
    },
    {
      name: 'limit-iface-out',
      value: present(listed('flags', 'limit-out-interface')),
      excludes: ['limit-iface-in'],
    },
  ],
  check(_info, given) {
    if (!given.has('src-type') && !given.has('dst-type'))
      throw incomplete('addrtype: you must specify --src-type or --dst-type');
  },
};

const mark: ExtensionRow = {
  name: 'mark',
  revision: 1,
  options: [{ name: 'mark', value: masked('mark', 'mask'), invert: INVERT, required: true }],
  native(info) {
    const { mark: value = 0, mask = 0xffffffff, invert } = info as { mark?: number; mask?: number; invert?: boolean };
    const list: Expression[] = [{ meta: { key: 'mark', register: 1 } }];
    if (mask !== 0xffffffff)
      list.push({
        bitwise: { sourceRegister: 1, register: 1, length: 4, mask: hostHex(mask), xor: '00000000' },
      } as Expression);
    list.push(compare(hostHex(value), invert));
    return list;
  },
};

const PACKET_TYPES: readonly (readonly [name: string, type: number])[] = [
  ['unicast', 0],
  ['broadcast', 1],
  ['multicast', 2],
  ['otherhost', 3],
];
/** Other words for them that are read. */
const PACKET_TYPE_ALIASES: Readonly<Record<string, number>> = { host: 0, bcast: 1, mcast: 2 };

const pkttype: ExtensionRow = {
  name: 'pkttype',
  revision: 0,
  options: [
    {
      name: 'pkt-type',
      value: {
        words: 1,
        parse(info, [word], place) {
          const lower = word!.toLowerCase();
          const found = PACKET_TYPES.find(([name]) => name.startsWith(lower))?.[1] ?? PACKET_TYPE_ALIASES[lower];
          if (found === undefined) throw refused(place, `Bad packet type '${word}'`);
          info.type = found;
        },
        print(info) {
          const type = (info.type as number | undefined) ?? 0;
          return PACKET_TYPES.find(([, number]) => number === type)?.[0] ?? String(type);
        },
      },
      invert: INVERT,
      required: true,
    },
  ],
};

const mac: ExtensionRow = {
  name: 'mac',
  revision: 0,
  options: [
    {
      name: 'mac-source',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (!/^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/.test(word!))
            throw refused(place, 'Invalid MAC address specified.');
          info.address = word!
            .split(':')
            .map(part => part.toLowerCase().padStart(2, '0'))
            .join('');
        },
        print: info => ((info.address as string | undefined) ?? '').match(/../g)?.join(':'),
      },
      invert: INVERT,
      required: true,
    },
  ],
};

/** Names of services of RFC 1349, with the bits that they are about. */
const TOS_NAMES: Readonly<Record<string, number>> = {
  'Minimize-Delay': 0x10,
  'Maximize-Throughput': 0x08,
  'Maximize-Reliability': 0x04,
  'Minimize-Cost': 0x02,
  'Normal-Service': 0x00,
};
const TOS_MASK = 0x3f;

export function parseTos(word: string, place: OptionPlace): { value: number; mask: number } {
  const name = Object.keys(TOS_NAMES).find(each => each.toLowerCase() === word.toLowerCase());
  if (name !== undefined) return { value: TOS_NAMES[name]!, mask: TOS_MASK };
  const [valueText, maskText] = word.split('/');
  const value = parseNumber(valueText!, 0xff);
  const mask = maskText === undefined ? 0xff : parseNumber(maskText, 0xff);
  if (value === undefined || mask === undefined)
    throw guided(place, `bad value for option "--${place.option}", or out of range (0-255).`);
  return { value, mask };
}

const tos: ExtensionRow = {
  name: 'tos',
  revision: 1,
  options: [
    {
      name: 'tos',
      value: {
        words: 1,
        parse(info, [word], place) {
          Object.assign(info, parseTos(word!, place));
        },
        print: info =>
          `${hex((info.value as number | undefined) ?? 0, 2)}/${hex((info.mask as number | undefined) ?? 0xff, 2)}`,
      },
      invert: INVERT,
      required: true,
    },
  ],
};

/** Classes of differentiated services. */
const DSCP_CLASSES: Readonly<Record<string, number>> = {
  CS0: 0x00,
  CS1: 0x08,
  CS2: 0x10,
  CS3: 0x18,
  CS4: 0x20,
  CS5: 0x28,
  CS6: 0x30,
  CS7: 0x38,
  BE: 0x00,
  AF11: 0x0a,
  AF12: 0x0c,
  AF13: 0x0e,
  AF21: 0x12,
  AF22: 0x14,
  AF23: 0x16,
  AF31: 0x1a,
  AF32: 0x1c,
  AF33: 0x1e,
  AF41: 0x22,
  AF42: 0x24,
  AF43: 0x26,
  EF: 0x2e,
};

export function parseDscpClass(word: string, place: OptionPlace): number {
  const value = DSCP_CLASSES[word.toUpperCase()];
  if (value === undefined) throw refused(place, `Invalid DSCP value \`${word}'`);
  return value;
}

const dscp: ExtensionRow = {
  name: 'dscp',
  revision: 0,
  options: [
    {
      name: 'dscp',
      value: number('dscp', { max: 0x3f, print: value => hex(value, 2) }),
      invert: INVERT,
      excludes: ['dscp-class'],
    },
    {
      name: 'dscp-class',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.dscp = parseDscpClass(word!, place);
        },
        print: () => undefined,
      },
      invert: INVERT,
      excludes: ['dscp'],
      hidden: true,
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('DSCP match: Parameter --dscp is required');
  },
};

function ecnFlag(name: string, bit: string): OptionRow {
  return { name, value: present(listed('operation', bit)), invert: listed('invert', bit) };
}

const ecn: ExtensionRow = {
  name: 'ecn',
  revision: 0,
  options: [
    ecnFlag('ecn-tcp-ece', 'ece'),
    ecnFlag('ecn-tcp-cwr', 'cwr'),
    {
      name: 'ecn-ip-ect',
      value: counting(listed('operation', 'ip'), number('ipEct', { max: 3 })),
      invert: listed('invert', 'ip'),
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('ECN match: some option required');
  },
};

const realm: ExtensionRow = {
  name: 'realm',
  revision: 0,
  families: ['ipv4'],
  options: [
    {
      name: 'realm',
      value: {
        words: 1,
        parse(info, [word], place) {
          const [valueText, maskText] = word!.split('/');
          const value = parseNumber(valueText!, 0xffffffff) ?? place.names.file('rt_realms').byName.get(word!);
          if (value === undefined)
            throw guided(place, `could not map name ${word} to an integer value for option "--realm".`);
          const mask = maskText === undefined ? 0xffffffff : parseNumber(maskText, 0xffffffff);
          if (mask === undefined) throw guided(place, 'bad integer value for option "--realm", or out of range.');
          info.id = value;
          info.mask = mask;
        },
        print(info, { names }) {
          const [id = 0, mask = 0] = [info.id as number | undefined, info.mask as number | undefined];
          return mask === 0xffffffff
            ? (names.file('rt_realms').byNumber.get(id) ?? hex(id))
            : `${hex(id)}/${hex(mask)}`;
        },
      },
      invert: INVERT,
      required: true,
    },
  ],
};

const LONGEST_PATTERN = 128;
const STRING_INVERT = listed('flags', 'invert');

/** `|0d 0a|` is bytes, all else text; a backslash takes the next character as it is. */
function parseHexString(word: string, place: OptionPlace): Buffer {
  const bytes: number[] = [];
  let isHex = false;
  const raw = Buffer.from(word);
  for (let i = 0; i < raw.length; i++) {
    const code = raw[i]!;
    if (code === 0x5c && i + 1 < raw.length && !isHex) bytes.push(raw[++i]!);
    else if (code === 0x7c) isHex = !isHex;
    else if (!isHex) bytes.push(code);
    else if (code !== 0x20) {
      const digits = raw.toString('latin1', i, i + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(digits)) throw refused(place, `Invalid hex char '${digits[1] ?? ''}'`);
      bytes.push(Number.parseInt(digits, 16));
      i++;
    }
  }
  if (isHex) throw refused(place, 'Invalid hex block');
  return Buffer.from(bytes);
}

function setPattern(info: Info, bytes: Buffer, place: OptionPlace): void {
  if (bytes.length > LONGEST_PATTERN) throw refused(place, 'STRING too long');
  info.pattern = bytes.toString('hex');
}

/** Is it printed as text? iptables asks isprint of each byte, and takes `|` for the sign of hex. */
function isText(bytes: Buffer): boolean {
  if (bytes.length > 0 && bytes.at(-1) === 0x5c) return false;
  return bytes.every(byte => byte > 0x1f && byte < 0x7f);
}

const patternOf = (info: Info): Buffer => Buffer.from((info.pattern as string | undefined) ?? '', 'hex');

const string: ExtensionRow = {
  name: 'string',
  revision: 1,
  initial: () => ({ to: 0xffff }),
  options: [
    {
      name: 'string',
      value: {
        words: 1,
        parse: (info, [word], place) => setPattern(info, Buffer.from(word!), place),
        print(info) {
          const bytes = patternOf(info);
          return isText(bytes) ? inQuotes(bytes.toString('latin1')) : undefined;
        },
      },
      invert: STRING_INVERT,
      excludes: ['hex-string'],
    },
    {
      name: 'hex-string',
      value: {
        words: 1,
        parse: (info, [word], place) => setPattern(info, parseHexString(word!, place), place),
        print(info) {
          const bytes = patternOf(info);
          return isText(bytes) ? undefined : `"|${bytes.toString('hex')}|"`;
        },
      },
      invert: STRING_INVERT,
      excludes: ['string'],
    },
    {
      name: 'algo',
      value: {
        words: 1,
        parse(info, [word]) {
          info.algorithm = word!.slice(0, 15);
        },
        print: info => info.algorithm as string | undefined,
      },
      required: true,
    },
    { name: 'from', value: number('from', { max: 0xffff, hide: 0 }) },
    {
      name: 'to',
      value: {
        ...number('to', { max: 0xffff }),
        print: info => (info.to === undefined || info.to === 0xffff ? undefined : String(info.to)),
      },
    },
    { name: 'icase', value: present(listed('flags', 'ignore-case')) },
  ],
  check(_info, given) {
    if (!given.has('string') && !given.has('hex-string'))
      throw incomplete("STRING match: You must specify `--string' or `--hex-string'");
  },
};

const iprange: ExtensionRow = {
  name: 'iprange',
  revision: 1,
  options: [
    { name: 'src-range', value: addressRange('source', 'Source'), invert: listed('flags', 'invert-source') },
    {
      name: 'dst-range',
      value: addressRange('destination', 'Destination'),
      invert: listed('flags', 'invert-destination'),
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete("iprange match: You must specify `--src-range' or `--dst-range'");
  },
};

function addressRange(flagName: string, suffix: string): Value {
  return counting(listed('flags', flagName), {
    words: 1,
    parse(info, [word], place) {
      const dash = word!.indexOf('-');
      const from = dash < 0 ? word! : word!.slice(0, dash);
      const to = dash < 0 ? word! : word!.slice(dash + 1);
      const [first, last] = [parseHostAddress(from, place.family), parseHostAddress(to, place.family)];
      if (first === undefined || last === undefined)
        throw refused(place, `iprange: Bad value for "--${place.option}" option: "${word}"`);
      info[`first${suffix}`] = first;
      info[`last${suffix}`] = last;
    },
    print(info, at) {
      const any = at.family === 'ipv4' ? '0.0.0.0' : '::';
      return `${(info[`first${suffix}`] as string | undefined) ?? any}-${(info[`last${suffix}`] as string | undefined) ?? any}`;
    },
  });
}

const U32_SIGNS = { and: '&', left: '<<', right: '>>', at: '@' } as const;
const U32_OPERATIONS = [
  ['&', 'and'],
  ['<<', 'left'],
  ['>>', 'right'],
  ['@', 'at'],
] as const;

/** `0>>22&0x3C@4=0:16,7&&6&0xFF=1` */
function parseU32(word: string, place: OptionPlace): U32Test[] {
  let at = 0;
  const skip = (): void => {
    while (word[at] === ' ' || word[at] === '\t') at++;
  };
  const takes = (sign: string): boolean => {
    skip();
    if (!word.startsWith(sign, at)) return false;
    at += sign.length;
    return true;
  };
  const one = (): number => {
    skip();
    const digits = /^(0[xX][0-9a-fA-F]+|[0-9]+)/.exec(word.slice(at))?.[0];
    const value = digits === undefined ? undefined : parseNumber(digits, 0xffffffff);
    if (digits === undefined) throw refused(place, `u32: at char ${at}: number expected`);
    if (value === undefined) throw refused(place, `u32: at char ${at}: number out of range`);
    at += digits.length;
    return value;
  };
  const tests: U32Test[] = [];
  do {
    const test: U32Test = { steps: [{ number: one() }], ranges: [] };
    while (!takes('=')) {
      if (word.startsWith('&&', at)) throw refused(place, `u32: at char ${at}: operator expected`);
      const operation = U32_OPERATIONS.find(([sign]) => takes(sign))?.[1];
      if (operation === undefined) throw refused(place, `u32: at char ${at}: operator expected`);
      test.steps.push({ operation, number: one() });
    }
    do {
      const first = one();
      test.ranges.push([first, takes(':') ? one() : first]);
    } while (takes(','));
    tests.push(test);
  } while (takes('&&'));
  skip();
  if (at < word.length) throw refused(place, `u32: at char ${at}: "&&" was expected instead`);
  if (tests.length > 11) throw refused(place, 'u32: at char 0: too many "&&"s');
  return tests;
}

const u32: ExtensionRow = {
  name: 'u32',
  revision: 0,
  options: [
    {
      name: 'u32',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.tests = parseU32(word!, place);
        },
        print(info) {
          const tests = ((info.tests as U32Test[] | undefined) ?? []).map(({ steps, ranges }) => {
            const location = steps
              .map(({ operation, number: value }) => (operation === undefined ? '' : U32_SIGNS[operation]) + hex(value))
              .join('');
            const values = ranges.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}:${hex(last)}`));
            return `${location}=${values.join(',')}`;
          });
          return inQuotes(tests.join('&&'));
        },
      },
      invert: INVERT,
      required: true,
    },
  ],
};

const MOST_INSTRUCTIONS = 64;

/** `2,48 0 0 9,6 0 0 1`: how many instructions there are, and each one's four numbers. */
const bytecode: Value = {
  words: 1,
  parse(info, [word], place) {
    const [countText, ...parts] = word!.split(',');
    const count = parseNumber(countText!.trim(), 0xffff);
    if (count === undefined) throw refused(place, 'bpf: error parsing program length');
    if (count === 0) throw refused(place, 'bpf: illegal zero length program');
    if (count > MOST_INSTRUCTIONS) throw refused(place, 'bpf: number of instructions exceeds maximum');
    const bytes = Buffer.alloc(count * 8);
    const lines = parts.filter((part, i) => part.trim() !== '' || i < count);
    for (const [i, part] of lines.entries()) {
      if (i >= count) throw refused(place, 'bpf: real program length exceeds the encoded length parameter');
      const numbers = part
        .trim()
        .split(/\s+/)
        .map(each => Number(each));
      if (numbers.length !== 4 || numbers.some(each => !Number.isInteger(each)))
        throw refused(place, `bpf: error at instr ${i}`);
      const [code, ifTrue, ifFalse, k] = numbers;
      const view = new DataView(bytes.buffer, bytes.byteOffset + i * 8);
      view.setUint16(0, code!, LITTLE);
      view.setUint8(2, ifTrue!);
      view.setUint8(3, ifFalse!);
      view.setUint32(4, k!, LITTLE);
    }
    if (lines.length < count)
      throw refused(place, 'bpf: parsed program length is less than the encoded length parameter');
    info.program = bytes.toString('hex');
  },
  print(info) {
    if (info.mode !== undefined && info.mode !== 'bytecode') return undefined;
    const bytes = Buffer.from((info.program as string | undefined) ?? '', 'hex');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const list: string[] = [];
    for (let at = 0; at < bytes.length; at += 8)
      list.push(`${view.getUint16(at, LITTLE)} ${bytes[at + 2]} ${bytes[at + 3]} ${view.getUint32(at + 4, LITTLE)}`);
    return `"${list.length}${list.map(each => `,${each}`).join('')}"`;
  },
};
const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const bpf: ExtensionRow = {
  name: 'bpf',
  revision: 1,
  options: [
    { name: 'bytecode', value: bytecode, excludes: ['object-pinned'] },
    {
      name: 'object-pinned',
      // The kernel takes a descriptor of the object: what has a path in one process means nothing in another.
      value: shorthand((_info, place) => {
        throw refused(place, 'bpf: failed to get bpf object');
      }, 1),
      excludes: ['bytecode'],
      hidden: true,
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('bpf: one of --bytecode and --object-pinned is required');
  },
};

export const PACKET_MATCHES: readonly ExtensionRow[] = [
  length,
  comment,
  addrtype,
  mark,
  pkttype,
  mac,
  tos,
  dscp,
  ecn,
  realm,
  string,
  iprange,
  u32,
  bpf,
];
