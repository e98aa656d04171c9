import type { Statement } from '../../nft/statements/registry.ts';
import { LOG_LEVELS, levelOf } from '../targets/verdicts.ts';
import { cutText } from '../values.ts';
import { dscp } from './matches.ts';
import { ct, meta, payload, type Translation } from './translation.ts';

/* Targets as statements of nft. */

const U32 = 0xffffffff;
/** With the final NUL: what xtables has room for. */
const NFLOG_PREFIX = 64;

const mangle = (key: unknown, value: unknown) => ({ mangle: { key, value } }) as Statement;

/** One flag stands by itself. */
const flagged = (flags: readonly string[]) =>
  flags.length === 0 ? {} : { flags: flags.length === 1 ? flags[0] : flags };

const named = (name: string, fields: Readonly<Record<string, unknown>>): Statement[] => [
  { [name]: Object.keys(fields).length === 0 ? null : fields } as unknown as Statement,
];

const nat =
  (name: 'dnat' | 'snat' | 'redirect' | 'masquerade'): Translation =>
  ({ info }) => {
    const { address, lastAddress, port = 0, lastPort = 0 } = info as Readonly<Record<string, string | number>>;
    const flags = (info.flags as readonly string[] | undefined) ?? [];
    if (flags.includes('port-offset')) return 'to-destination';
    const fields: Record<string, unknown> = {};
    if (flags.includes('map-addresses'))
      fields.addr = address === lastAddress ? address : { range: [address, lastAddress] };
    if (flags.includes('ports-specified')) fields.port = port === lastPort ? port : { range: [port, lastPort] };
    return named(name, {
      ...fields,
      ...flagged(['random', 'fully-random', 'persistent'].filter(flag => flags.includes(flag))),
    });
  };

const REJECT: Readonly<Record<string, string>> = {
  'icmp-net-unreachable': 'net-unreachable',
  'icmp-host-unreachable': 'host-unreachable',
  'icmp-proto-unreachable': 'prot-unreachable',
  'icmp-port-unreachable': 'port-unreachable',
  'icmp-net-prohibited': 'net-prohibited',
  'icmp-host-prohibited': 'host-prohibited',
  'icmp-admin-prohibited': 'admin-prohibited',
  'icmp6-no-route': 'no-route',
  'icmp6-adm-prohibited': 'admin-prohibited',
  'icmp6-addr-unreachable': 'addr-unreachable',
  'icmp6-port-unreachable': 'port-unreachable',
  'icmp6-policy-fail': 'policy-fail',
  'icmp6-reject-route': 'reject-route',
};

const LOG_FLAGS: readonly (readonly [word: string, name: string])[] = [
  ['tcp-sequence', 'tcp sequence'],
  ['tcp-options', 'tcp options'],
  ['ip-options', 'ip options'],
  ['skuid', 'skuid'],
  ['ether', 'ether'],
];

/** The same mark where a mask leaves bits of it. */
function marked(left: unknown, value: number, mask: number): unknown {
  if (mask === U32) return value;
  if (value === 0) return { '&': [left, ~mask >>> 0] };
  if (value === mask) return { '|': [left, value] };
  if (mask === 0) return { '^': [left, value] };
  return { '^': [{ '&': [left, ~mask >>> 0] }, value] };
}

export const TARGETS: Readonly<Record<string, Translation>> = {
  REDIRECT: nat('redirect'),
  MASQUERADE: nat('masquerade'),
  DNAT: nat('dnat'),
  SNAT: nat('snat'),
  REJECT: ({ info, at }) => {
    const word = String(info.with);
    if (word === 'tcp-reset') return named('reject', { type: 'tcp reset' });
    return named('reject', { type: at.family === 'ipv4' ? 'icmp' : 'icmpv6', expr: REJECT[word] });
  },
  LOG: ({ info }) => {
    const set = (info.flags as readonly string[] | undefined) ?? [];
    const flags = LOG_FLAGS.filter(([word]) => set.includes(word)).map(([, name]) => name);
    const level = levelOf(info);
    return named('log', {
      ...(info.prefix ? { prefix: info.prefix } : {}),
      ...(level === 4 ? {} : { level: LOG_LEVELS[level] }),
      ...(flags.length === LOG_FLAGS.length ? { flags: 'all' } : flagged(flags)),
    });
  },
  NFLOG: ({ info }) => {
    const copies = (info.flags as readonly string[] | undefined)?.includes('copy-length');
    return named('log', {
      ...(info.prefix ? { prefix: cutText(String(info.prefix), NFLOG_PREFIX) } : {}),
      group: info.group ?? 0,
      ...(copies ? { snaplen: info.copyBytes ?? 0 } : {}),
      ...(info.threshold ? { 'queue-threshold': info.threshold } : {}),
    });
  },
  TRACE: () => [mangle(meta('nftrace'), 1)],
  NFQUEUE: ({ info }) => {
    const { queue = 0, queues = 1 } = info as { queue?: number; queues?: number };
    const set = (info.flags as readonly string[] | undefined) ?? [];
    const flags = [...(set.includes('bypass') ? ['bypass'] : []), ...(set.includes('cpu-fanout') ? ['fanout'] : [])];
    return named('queue', { num: queues > 1 ? { range: [queue, queue + queues - 1] } : queue, ...flagged(flags) });
  },
  MARK: ({ info }) => {
    const { mark = 0, mask = 0 } = info as { mark?: number; mask?: number };
    return [mangle(meta('mark'), marked(meta('mark'), mark, mask))];
  },
  CONNMARK: ({ info }) => {
    const {
      mode = 'set',
      ctmark = 0,
      ctmask = 0,
      nfmask = 0,
      shiftBits = 0,
    } = info as {
      mode?: string;
      ctmark?: number;
      ctmask?: number;
      nfmask?: number;
      shiftBits?: number;
    };
    if (shiftBits !== 0) return 'left-shift-mark';
    if (mode === 'set') return [mangle(ct('mark'), marked(ct('mark'), ctmark, ctmask))];
    if (ctmask !== U32 || nfmask !== U32) return 'nfmask';
    return [mode === 'save' ? mangle(ct('mark'), meta('mark')) : mangle(meta('mark'), ct('mark'))];
  },
  CT: ({ info }) => {
    const others = Object.keys(info).filter(key => key !== 'flags');
    const flags = (info.flags as readonly string[] | undefined) ?? [];
    return others.length === 0 && flags.includes('notrack') ? named('notrack', {}) : (others[0] ?? 'zone');
  },
  TEE: ({ info }) => named('dup', { addr: info.gateway, ...(info.device ? { dev: info.device } : {}) }),
  TCPMSS: ({ info }) => [
    mangle(
      { 'tcp option': { name: 'maxseg', field: 'size' } },
      info.mss === 0xffff ? { rt: { key: 'mtu' } } : (info.mss ?? 0),
    ),
  ],
  CLASSIFY: ({ info }) => {
    const priority = (info.priority as number | undefined) ?? 0;
    return [
      mangle(
        meta('priority'),
        `${(priority >>> 16).toString(16)}:${(priority & 0xffff).toString(16).padStart(4, '0')}`,
      ),
    ];
  },
  DSCP: ({ info, at }) => [
    mangle(payload(at.family === 'ipv4' ? 'ip' : 'ip6', 'dscp'), dscp((info.dscp as number | undefined) ?? 0)),
  ],
  // The upper six bits of TOS are DSCP; nft writes no others.
  TOS: ({ info, at }) => {
    const { value = 0, mask = 0 } = info as { value?: number; mask?: number };
    const field = payload(at.family === 'ipv4' ? 'ip' : 'ip6', 'dscp');
    if (mask === 0xff || mask === 0x3f) return [mangle(field, dscp(value >> 2))];
    if (value === 0) return [mangle(field, { '&': [field, (~mask & 0xff) >> 2] })];
    if (value === mask) return [mangle(field, { '|': [field, value >> 2] })];
    return mask === 0 ? [mangle(field, { '^': [field, value >> 2] })] : 'set-tos';
  },
  SYNPROXY: ({ info }) => {
    const set = (info.options as readonly string[] | undefined) ?? [];
    return named('synproxy', {
      ...(set.includes('mss') ? { mss: info.mss ?? 0 } : {}),
      ...(set.includes('wscale') ? { wscale: info.wscale ?? 0 } : {}),
      flags: ['timestamp', 'sack-perm'].filter(flag => set.includes(flag)),
    });
  },
  AUDIT: () => named('log', { level: 'audit' }),
};
