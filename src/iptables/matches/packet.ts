import { parseIPv4, parseIPv6 } from '../../codec/index.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { parseHostAddress } from '../addresses.ts';
import { type ExtensionRow, incomplete, refused, type Value } from '../extension.ts';
import { compare, hostHex } from '../native.ts';
import { counting, flag, hex, listed, masked, namedMark, present, range, someOf, text } from '../values.ts';

/* Matches on the packet as it is: its length, its marks, its addresses. */

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
      value: text('comment', 256),
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
    bad: rest => (rest.includes(',') ? `addrtype: bad type \`${rest}'` : `addrtype: bad type "${rest}"`),
    // The beginning of a word is enough.
    fold: word => Object.keys(ADDRESS_TYPES).find(name => word !== '' && name.startsWith(word.toUpperCase())) ?? word,
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
          const found =
            PACKET_TYPES.find(([name]) => lower !== '' && name.startsWith(lower))?.[1] ?? PACKET_TYPE_ALIASES[lower];
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
          const { mark, mask } = namedMark(word!, 'rt_realms', place);
          info.id = mark;
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

const hexOf = (address: string): string => Buffer.from((parseIPv4(address) ?? parseIPv6(address))!).toString('hex');
const isReversed = (first: string, last: string): boolean => hexOf(first) > hexOf(last);

function addressRange(flagName: string, suffix: string): Value {
  return counting(listed('flags', flagName), {
    words: 1,
    parse(info, [word], place) {
      const dash = word!.indexOf('-');
      const ends = dash < 0 ? [word!, word!] : [word!.slice(0, dash), word!.slice(dash + 1)];
      const [first, last] = ends.map(part => {
        const address = parseHostAddress(part, place.family);
        if (address === undefined) throw refused(place, `iprange: Bad value for "--${place.option}" option: "${part}"`);
        return address;
      }) as [string, string];
      if (isReversed(first, last))
        place.warnings.push(`xt_iprange: range ${ends.join('-')} is reversed and will never match`);
      info[`first${suffix}`] = first;
      info[`last${suffix}`] = last;
    },
    print(info, at) {
      const any = at.family === 'ipv4' ? '0.0.0.0' : '::';
      return `${(info[`first${suffix}`] as string | undefined) ?? any}-${(info[`last${suffix}`] as string | undefined) ?? any}`;
    },
  });
}

export const PACKET_MATCHES: readonly ExtensionRow[] = [length, comment, addrtype, mark, pkttype, mac, realm, iprange];
