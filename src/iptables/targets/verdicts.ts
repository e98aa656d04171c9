import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, refused, type Value } from '../extension.ts';
import { host } from '../option-hosts.ts';
import { listed, number, numbers, parseNumber, present, resolvedPort } from '../values.ts';
import { beginningOf, cut, logged, markAndMask, numberFor, slashed } from './values.ts';

/* The targets that end a packet's way, send it elsewhere, or tell somebody of it. */

const REJECT4 = [
  ['icmp-net-unreachable', 'net-unreach'],
  ['icmp-host-unreachable', 'host-unreach'],
  ['icmp-proto-unreachable', 'proto-unreach'],
  ['icmp-port-unreachable', 'port-unreach'],
  ['icmp-net-prohibited', 'net-prohib'],
  ['icmp-host-prohibited', 'host-prohib'],
  ['tcp-reset', 'tcp-rst'],
  ['icmp-admin-prohibited', 'admin-prohib'],
] as const;

const REJECT6 = [
  ['icmp6-no-route', 'no-route'],
  ['icmp6-adm-prohibited', 'adm-prohibited'],
  ['icmp6-addr-unreachable', 'addr-unreach'],
  ['icmp6-port-unreachable', 'port-unreach'],
  ['tcp-reset', 'tcp-reset'],
  ['icmp6-policy-fail', 'policy-fail'],
  ['icmp6-reject-route', 'reject-route'],
] as const;

function reject(
  family: 'ipv4' | 'ipv6',
  table: readonly (readonly [name: string, alias: string])[],
  usual: string,
): ExtensionRow {
  const words = table.flatMap(([name, alias]): [string, string][] => [
    [name, name],
    [alias, name],
  ]);
  return {
    name: 'REJECT',
    revision: 0,
    families: [family],
    initial: () => ({ with: usual }),
    options: [{ name: 'reject-with', value: beginningOf('with', words, word => `unknown reject type "${word}"`) }],
  };
}

/** The words of --log-level, and the words of the structure. */
const LEVELS: Readonly<Record<string, string>> = {
  emerg: 'emerg',
  panic: 'emerg',
  alert: 'alert',
  crit: 'crit',
  error: 'err',
  warning: 'warn',
  notice: 'notice',
  info: 'info',
  debug: 'debug',
};
/** In the order of their numbers. */
export const LOG_LEVELS: readonly string[] = [
  'emerg',
  'alert',
  'crit',
  'err',
  'warn',
  'notice',
  'info',
  'debug',
  'audit',
];

/** The number of a level. */
export const levelOf = ({ level = 'warn' }: Info): number =>
  typeof level === 'number' ? level : LOG_LEVELS.indexOf(level as string);

const LOG: ExtensionRow = {
  name: 'LOG',
  revision: 0,
  options: [
    { name: 'log-prefix', value: logged('prefix', 30) },
    {
      name: 'log-level',
      value: {
        words: 1,
        parse(info, [word], place) {
          const level = parseNumber(word!, 7);
          const name =
            level === undefined ? (Object.hasOwn(LEVELS, word!) ? LEVELS[word!] : undefined) : LOG_LEVELS[level];
          if (name === undefined) throw refused(place, `log level "${word}" unknown\n`);
          info.level = name;
        },
        print(info) {
          const level = levelOf(info);
          return level === 4 ? undefined : String(level);
        },
      },
    },
    { name: 'log-tcp-sequence', value: present(listed('flags', 'tcp-sequence')) },
    { name: 'log-tcp-options', value: present(listed('flags', 'tcp-options')) },
    { name: 'log-ip-options', value: present(listed('flags', 'ip-options')) },
    { name: 'log-uid', value: present(listed('flags', 'skuid')) },
    { name: 'log-macdecode', value: present(listed('flags', 'ether')) },
  ],
};

const NFLOG: ExtensionRow = {
  name: 'NFLOG',
  revision: 0,
  options: [
    { name: 'nflog-prefix', value: logged('prefix', 128) },
    { name: 'nflog-group', value: number('group', { max: 0xffff, hide: 0 }) },
    {
      name: 'nflog-range',
      value: numberFor((info, value) => (info.copyBytes = value)),
      excludes: ['nflog-size'],
      hidden: true,
    },
    {
      name: 'nflog-size',
      value: {
        words: 1,
        parse(info, words, place) {
          number('copyBytes').parse(info, words, place);
          listed('flags', 'copy-length').set(info);
        },
        print: info => (listed('flags', 'copy-length').has(info) ? String(info.copyBytes ?? 0) : undefined),
      },
      excludes: ['nflog-range'],
    },
    { name: 'nflog-threshold', value: number('threshold', { max: 0xffff, hide: 0 }) },
  ],
  native(info) {
    const {
      group = 0,
      prefix,
      threshold,
      copyBytes = 0,
    } = info as {
      group?: number;
      prefix?: string;
      threshold?: number;
      copyBytes?: number;
    };
    return [
      {
        log: {
          group,
          ...(prefix === undefined || prefix === '' ? {} : { prefix }),
          ...(listed('flags', 'copy-length').has(info) ? { snaplen: copyBytes } : {}),
          ...(threshold ? { queueThreshold: threshold } : {}),
        },
      },
    ];
  },
};

const TRACE: ExtensionRow = {
  name: 'TRACE',
  revision: 0,
  options: [],
  native: () => [{ immediate: { register: 9, data: '01' } }, { meta: { key: 'nftrace', sourceRegister: 9 } }],
};

/** `first:last`; the queues between them. */
const balance: Value = {
  words: 1,
  parse(info, [text], place) {
    const [first, last] = numbers(text!, 0xffffn, place).map(Number) as [number, number?];
    if (last === undefined) throw refused(place, `Bad range "${text}"`);
    if (first >= last) throw refused(place, `${first} should be less than ${last}`);
    info.queue = first;
    info.queues = (last - first + 1) & 0xffff;
  },
  print(info) {
    const { queue = 0, queues = 1 } = info as { queue?: number; queues?: number };
    return queues > 1 ? `${queue}:${queue + queues - 1}` : undefined;
  },
};

const NFQUEUE: ExtensionRow = {
  name: 'NFQUEUE',
  revision: 3,
  options: [
    {
      name: 'queue-num',
      value: {
        words: 1,
        parse: number('queue', { max: 0xffff }).parse,
        print: info => (((info.queues as number | undefined) ?? 1) > 1 ? undefined : String(info.queue ?? 0)),
      },
      excludes: ['queue-balance'],
    },
    { name: 'queue-balance', value: balance, excludes: ['queue-num'] },
    { name: 'queue-bypass', value: present(listed('flags', 'bypass')) },
    { name: 'queue-cpu-fanout', value: present(listed('flags', 'cpu-fanout')), requires: ['queue-balance'] },
  ],
};

const TPROXY: ExtensionRow = {
  name: 'TPROXY',
  revision: 1,
  initial: ({ family }) => ({ address: family === 'ipv4' ? '0.0.0.0' : '::' }),
  options: [
    {
      name: 'on-port',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.port = resolvedPort(word!, place);
        },
        print: info => String(info.port ?? 0),
      },
      required: true,
    },
    { name: 'on-ip', value: host('address') },
    {
      name: 'tproxy-mark',
      value: markAndMask(
        (info, mark, mask) => {
          info.mark = mark;
          info.mask = mask;
        },
        info => slashed(info, 'mark', 'mask'),
      ),
    },
  ],
};

const TEE: ExtensionRow = {
  name: 'TEE',
  revision: 1,
  options: [
    { name: 'gateway', value: host('gateway'), required: true },
    { name: 'oif', value: cut('device', 16) },
  ],
};

const AUDIT: ExtensionRow = {
  name: 'AUDIT',
  revision: 0,
  options: [
    {
      name: 'type',
      value: {
        words: 1,
        parse(info, [word], place) {
          const type = word!.toLowerCase();
          if (!['accept', 'drop', 'reject'].includes(type)) throw refused(place, `Bad action type value "${word}"`);
          info.type = type;
        },
        print: info => String(info.type ?? 'accept'),
      },
      required: true,
    },
  ],
};

/** A number of 32 bits of which the structure keeps the lowest. */
const option = (name: string, key: string, bits: number): Value => ({
  words: 1,
  parse(info, words, place) {
    number(key).parse(info, words, place);
    info[key] = (info[key] as number) & bits;
    listed('options', name).set(info);
  },
  print: info => (listed('options', name).has(info) ? String(info[key] ?? 0) : undefined),
});

const SYNPROXY: ExtensionRow = {
  name: 'SYNPROXY',
  revision: 0,
  options: [
    { name: 'sack-perm', value: present(listed('options', 'sack-perm')) },
    { name: 'timestamp', value: present(listed('options', 'timestamp')) },
    { name: 'wscale', value: option('wscale', 'wscale', 0xff) },
    { name: 'mss', value: option('mss', 'mss', 0xffff) },
    { name: 'ecn', value: present(listed('options', 'ecn')) },
  ],
};

export const VERDICT_TARGETS: readonly ExtensionRow[] = [
  reject('ipv4', REJECT4, 'icmp-port-unreachable'),
  reject('ipv6', REJECT6, 'icmp6-port-unreachable'),
  LOG,
  NFLOG,
  TRACE,
  NFQUEUE,
  TPROXY,
  TEE,
  AUDIT,
  SYNPROXY,
];
