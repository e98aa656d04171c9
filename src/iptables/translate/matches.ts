import { IPPROTO_TCP } from '../../linux/in.ts';
import type { Statement } from '../../nft/statements/registry.ts';
import { MH_NAMES } from '../list/matches.ts';
import type { Shown } from '../list/shown.ts';
import { maskOf } from '../values.ts';
import {
  all,
  ct,
  exthdr,
  list,
  match,
  meta,
  number,
  one,
  op,
  payload,
  silent,
  span,
  type Translation,
} from './translation.ts';
import { dccp, dport, ICMP, ICMP6, icmp, sctp, sport, tcp } from './transport.ts';

/* Matches of iptables in nft's words. */

/** The header that ports are in: without -p it is that of TCP, as iptables-translate has it. */
const protocolOf = ({ at: { names, protocol } }: Shown): string =>
  names.protocols().byNumber.get(protocol || IPPROTO_TCP) ?? 'tcp';

const ports: Translation = shown => {
  const protocol = protocolOf(shown);
  const option = shown.names[0] ?? 'ports';
  const values = shown
    .text(option)
    .split(',')
    .map(part => span(part));
  if (option === 'ports') {
    const any = { range: [0, 65535] };
    const left = { concat: [payload(protocol, 'sport'), payload(protocol, 'dport')] };
    const set = values.flatMap(port => [{ concat: [any, port] }, { concat: [port, any] }]);
    return [match(left, { set }, op(shown, option))];
  }
  const field = option.startsWith('s') ? 'sport' : 'dport';
  const right = values.length === 1 ? values[0] : { set: values };
  return [match(payload(protocol, field), right, op(shown, option))];
};

const STATES = ['invalid', 'established', 'related', 'new', 'untracked'];
const STATUSES = ['expected', 'seen-reply', 'assured', 'confirmed', 'snat', 'dnat'];

const inOrder = (words: readonly string[], order: readonly string[]): string[] =>
  order.filter(word => words.includes(word));

function states(shown: Shown, option: string): Statement[] | string {
  const words = shown.text(option).toLowerCase().split(',');
  const inverted = shown.inverted(option);
  const found: Statement[] = [];
  const addresses = inOrder(words, ['snat', 'dnat']);
  const others = inOrder(words, STATES);
  // A connection is new or related, or its address is translated: nft would ask for both.
  if (addresses.length > 0 && others.length > 0) return option;
  if (addresses.length > 0) found.push(match(ct('status'), list(addresses), inverted ? '!' : 'in'));
  if (others.length > 0) found.push(match(ct('state'), list(others), inverted ? '!' : 'in'));
  return found;
}

const connectionAddress = (dir: string, key: string): Translation => {
  const option = `ct${dir === 'original' ? 'orig' : 'repl'}${key === 'saddr' ? 'src' : 'dst'}`;
  return one(option, ct(key, dir), text => prefix(text));
};

const connectionPort = (dir: string, key: string): Translation => {
  const option = `ct${dir === 'original' ? 'orig' : 'repl'}${key === 'proto-src' ? 'src' : 'dst'}port`;
  return one(option, ct(key, dir));
};

const conntrack = all({
  ctstate: shown => states(shown, 'ctstate'),
  state: shown => states(shown, 'state'),
  ctproto: one('ctproto', ct('protocol', 'original'), text => text),
  ctorigsrc: connectionAddress('original', 'saddr'),
  ctorigdst: connectionAddress('original', 'daddr'),
  ctreplsrc: connectionAddress('reply', 'saddr'),
  ctrepldst: connectionAddress('reply', 'daddr'),
  ctorigsrcport: connectionPort('original', 'proto-src'),
  ctorigdstport: connectionPort('original', 'proto-dst'),
  ctreplsrcport: connectionPort('reply', 'proto-src'),
  ctrepldstport: connectionPort('reply', 'proto-dst'),
  ctstatus: shown => {
    const words = inOrder(shown.text('ctstatus').toLowerCase().replaceAll('_', '-').split(','), STATUSES);
    if (words.length === 0) return 'ctstatus';
    return [match(ct('status'), list(words), shown.inverted('ctstatus') ? '!' : 'in')];
  },
  ctexpire: one('ctexpire', ct('expiration')),
  ctdir: one('ctdir', ct('direction'), text => text.toLowerCase()),
});

/** `10.0.0.0/8` */
export function prefix(text: string): unknown {
  const [addr = '', length] = text.split('/');
  return length === undefined ? addr : { prefix: { addr, len: Number(length) } };
}

/** A mark, and the bits that count. */
const masked =
  (option: string, left: unknown): Translation =>
  shown => {
    const [value = '', mask] = shown.text(option).split('/');
    const right = Number(value);
    if (mask === undefined) return [match(left, right, op(shown, option))];
    // As nft lists a mask without bits.
    if (Number(mask) === 0) return [match(left, { prefix: { addr: right, len: 0 } }, op(shown, option))];
    return [match({ '&': [left, Number(mask)] }, right, op(shown, option))];
  };

const ip = ({ at }: Shown): 'ip' | 'ip6' => (at.family === 'ipv4' ? 'ip' : 'ip6');

const SIDES = { 'src-type': 'saddr', 'dst-type': 'daddr' } as const;

const addrtype: Translation = shown => {
  const device = shown.has('limit-iface-in') ? ['iif'] : shown.has('limit-iface-out') ? ['oif'] : [];
  const found: Statement[] = [];
  for (const option of ['src-type', 'dst-type'] as const) {
    if (!shown.has(option)) continue;
    const types = shown.text(option).toLowerCase().split(',');
    if (types.some(type => ['throw', 'nat', 'xresolve'].includes(type))) return option;
    const right = types.length === 1 ? types[0] : { set: types };
    found.push(match({ fib: { result: 'type', flags: [SIDES[option], ...device] } }, right, op(shown, option)));
  }
  return found;
};

const UNITS: Readonly<Record<string, string>> = { sec: 'second', min: 'minute', hour: 'hour', day: 'day' };

function rate(text: string): { rate: number; per: string } {
  const [count = '', unit = ''] = text.split('/');
  return { rate: Number(count), per: UNITS[unit] ?? unit };
}

const limit: Translation = shown => {
  const { rate: count, per } = rate(shown.text('limit'));
  return [{ limit: { rate: count, burst: shown.number('burst') || 5, per } } as Statement];
};

/** The addresses of a rule, without the bits that a mask leaves out. */
function maskedAddress(shown: Shown, field: 'saddr' | 'daddr', length: number): unknown {
  const { family } = shown.at;
  const address = payload(ip(shown), field);
  return length === (family === 'ipv4' ? 32 : 128) ? address : { '&': [address, maskOf(length, family)] };
}

const BYTE_UNITS: Readonly<Record<string, string>> = { b: 'bytes', kb: 'kbytes', mb: 'mbytes' };

/** `4kb` */
function amount(text: string): { count: number; unit: string } {
  const [, digits = '0', unit = 'b'] = /^(\d+)([km]?b)/.exec(text) ?? [];
  return { count: Number(digits), unit: BYTE_UNITS[unit]! };
}

const hashlimit: Translation = shown => {
  const option = shown.has('hashlimit-upto') ? 'hashlimit-upto' : 'hashlimit-above';
  if (!shown.has('hashlimit-mode')) return 'hashlimit-mode';
  if (shown.has('hashlimit-rate-match')) return 'hashlimit-rate-match';
  const protocol = protocolOf(shown);
  const KEYS: Readonly<Record<string, () => unknown>> = {
    srcip: () => maskedAddress(shown, 'saddr', shown.number('sourceMask')),
    srcport: () => payload(protocol, 'sport'),
    dstip: () => maskedAddress(shown, 'daddr', shown.number('destinationMask')),
    dstport: () => payload(protocol, 'dport'),
  };
  const parts = shown
    .text('hashlimit-mode')
    .split(',')
    .map(word => KEYS[word]!());
  const val = parts.length === 1 ? parts[0] : { concat: parts };
  const isBytes = /b\/s$/.test(shown.text(option));
  // Of rates of bytes nft is told the time in any case.
  const expires = isBytes || shown.has('hashlimit-htable-expire');
  const key = expires ? { elem: { val, timeout: Math.trunc(shown.number('expireMs') / 1000) } } : val;
  const inv = option === 'hashlimit-above' ? { inv: true } : {};
  const stmt = { limit: { ...(isBytes ? byteRate(shown, option) : packetRate(shown, option)), ...inv } };
  return [{ meter: { key, stmt, size: 65535, name: String(shown.info.name ?? '') } } as Statement];
};

function packetRate(shown: Shown, option: string) {
  const { rate: count, per } = rate(shown.text(option));
  return { rate: count, burst: Number(shown.text('hashlimit-burst') || 5), per };
}

function byteRate(shown: Shown, option: string) {
  const { count, unit } = amount(shown.text(option));
  const burst = amount(shown.text('hashlimit-burst'));
  return { rate: count, burst: burst.count, per: 'second', rate_unit: unit, burst_unit: burst.unit };
}

/** nft counts connections in a set of its own, whose elements are the addresses. */
const connlimit: Translation = shown => {
  const { family } = shown.at;
  const above = shown.has('connlimit-above');
  const field = shown.has('connlimit-daddr') ? 'daddr' : 'saddr';
  const elem = maskedAddress(shown, field, Number(shown.text('connlimit-mask')));
  const val = Number(shown.text(above ? 'connlimit-above' : 'connlimit-upto'));
  const set = shown.at.newSet!('connlimit', family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr');
  const stmt = [{ 'ct count': { val, ...(above && { inv: true }) } }];
  return [{ set: { op: 'add', elem, set: `@${set}`, stmt } } as Statement];
};

const connbytes: Translation = shown => {
  const [first = '', last] = shown.text('connbytes').split(':');
  const mode = shown.text('connbytes-mode');
  const dir = shown.text('connbytes-dir');
  const left = ct(mode, dir === 'both' ? undefined : dir);
  if (last === undefined) return [match(left, number(first), shown.inverted('connbytes') ? '<' : '>=')];
  return [match(left, span(shown.text('connbytes')), op(shown, 'connbytes'))];
};

const ttl =
  (prefix: string, protocol: string, field: string): Translation =>
  shown => {
    const option = shown.names[0] ?? `${prefix}-eq`;
    const sign = option.endsWith('gt') ? '>' : option.endsWith('lt') ? '<' : op(shown, option);
    return [match(payload(protocol, field), Number(shown.text(option)), sign)];
  };

const DSCP_NAMES: Readonly<Record<number, string>> = {
  0: 'cs0',
  1: 'lephb',
  8: 'cs1',
  16: 'cs2',
  24: 'cs3',
  32: 'cs4',
  40: 'cs5',
  48: 'cs6',
  56: 'cs7',
  10: 'af11',
  12: 'af12',
  14: 'af13',
  18: 'af21',
  20: 'af22',
  22: 'af23',
  26: 'af31',
  28: 'af32',
  30: 'af33',
  34: 'af41',
  36: 'af42',
  38: 'af43',
  44: 'va',
  46: 'ef',
};

/** A class by its name, others by their number. */
export const dscp = (value: number): string | number => DSCP_NAMES[value] ?? value;

const ECN = ['not-ect', 'ect1', 'ect0', 'ce'];

const ecn = all({
  'ecn-tcp-ece': shown => [match(payload('tcp', 'flags'), 'ecn', shown.inverted('ecn-tcp-ece') ? '!=' : 'in')],
  'ecn-tcp-cwr': shown => [match(payload('tcp', 'flags'), 'cwr', shown.inverted('ecn-tcp-cwr') ? '!=' : 'in')],
  'ecn-ip-ect': shown => [
    match(payload(ip(shown), 'ecn'), ECN[Number(shown.text('ecn-ip-ect'))], op(shown, 'ecn-ip-ect')),
  ],
});

const statistic: Translation = shown => {
  if (shown.text('mode') === 'nth') {
    const left = { numgen: { mode: 'inc', mod: Number(shown.text('every')), offset: 0 } };
    return [match(left, Number(shown.text('packet') || 0), op(shown, 'every'))];
  }
  const left = { '&': [meta('random'), 2147483647] };
  const share = Math.round(Number(shown.text('probability')) * 2147483648);
  return [match(left, share, shown.inverted('probability') ? '>=' : '<')];
};

const rpfilter: Translation = shown => {
  const found: Statement[] = [];
  if (shown.has('accept-local') !== shown.has('invert') || shown.has('accept-local'))
    if (shown.has('invert') && shown.has('accept-local'))
      found.push(match({ fib: { result: 'type', flags: ['saddr'] } }, 'local', '!='));
    else if (shown.has('accept-local')) return 'accept-local';
  const flags = ['saddr', ...(shown.has('validmark') ? ['mark'] : []), ...(shown.has('loose') ? [] : ['iif'])];
  found.push(match({ fib: { result: 'oif', flags } }, !shown.has('invert')));
  return found;
};

const time: Translation = shown => {
  if (shown.has('monthdays') || shown.has('kerneltz') || shown.has('contiguous') || shown.has('datestart'))
    return shown.names.find(name => ['monthdays', 'kerneltz', 'contiguous', 'datestart'].includes(name))!;
  const found: Statement[] = [];
  const hour = (text: string): string => text.replace(/:00$/, '');
  if (shown.has('timestart') || shown.has('timestop'))
    found.push(
      match(meta('hour'), {
        range: [hour(shown.text('timestart') || '00:00'), hour(shown.text('timestop') || '23:59:59')],
      }),
    );
  const DAYS: Readonly<Record<string, string>> = {
    Mon: 'Monday',
    Tue: 'Tuesday',
    Wed: 'Wednesday',
    Thu: 'Thursday',
    Fri: 'Friday',
    Sat: 'Saturday',
    Sun: 'Sunday',
  };
  if (shown.has('weekdays')) {
    const days = shown
      .text('weekdays')
      .split(',')
      .map(day => DAYS[day]);
    const right = days.length === 1 ? days[0] : { set: days };
    found.push(match(meta('day'), right, op(shown, 'weekdays')));
  }
  return found;
};

const hopByHop = all({ 'hbh-len': one('hbh-len', exthdr('hbh', 'hdrlength')) });

export const MATCHES: Readonly<Record<string, Translation>> = {
  tcp,
  udp: all({ sport: sport('udp'), dport: dport('udp') }),
  dccp,
  sctp,
  icmp: icmp('icmp-type', 'icmp', ICMP),
  icmp6: icmp('icmpv6-type', 'icmpv6', ICMP6),
  esp: all({ espspi: one('espspi', payload('esp', 'spi')) }),
  ah: all({ ahspi: one('ahspi', payload('ah', 'spi')) }),
  ipcomp: all({ ipcompspi: one('ipcompspi', payload('comp', 'cpi')) }),
  mh: one('mh-type', exthdr('mh', 'type'), text => span(text, ':', part => MH_NAMES[Number(part)] ?? Number(part))),
  multiport: ports,
  conntrack,
  addrtype,
  iprange: shown => {
    const found: Statement[] = [];
    for (const [option, field] of [
      ['src-range', 'saddr'],
      ['dst-range', 'daddr'],
    ] as const)
      if (shown.has(option))
        found.push(
          match(
            payload(ip(shown), field),
            span(shown.text(option), '-', part => part),
            op(shown, option),
          ),
        );
    return found;
  },
  comment: silent,
  limit,
  hashlimit,
  connlimit,
  connbytes,
  connmark: masked('mark', ct('mark')),
  mark: masked('mark', meta('mark')),
  realm: shown => {
    const [value = '', mask] = shown.text('realm').split('/');
    const text = (number: string): string => String(Number(number));
    const left = mask === undefined ? meta('rtclassid') : { '&': [meta('rtclassid'), text(mask)] };
    return [match(left, text(value), op(shown, 'realm'))];
  },
  connlabel: shown => {
    const label = Number(shown.text('label').replaceAll('"', ''));
    if (Number.isNaN(label)) return 'label';
    const found: Statement[] = [];
    if (shown.has('set')) found.push({ mangle: { key: ct('label'), value: label } } as Statement);
    found.push(
      shown.inverted('label') ? match({ '&': [ct('label'), label] }, label, '!=') : match(ct('label'), label, 'in'),
    );
    return found;
  },
  owner: all({
    'uid-owner': one('uid-owner', meta('skuid'), text => span(text, '-')),
    'gid-owner': one('gid-owner', meta('skgid'), text => span(text, '-')),
  }),
  mac: one('mac-source', payload('ether', 'saddr'), text => text.toLowerCase()),
  pkttype: one('pkt-type', meta('pkttype'), text => (text === 'unicast' ? 'host' : text)),
  length: one('length', meta('length')),
  ttl: ttl('ttl', 'ip', 'ttl'),
  hl: ttl('hl', 'ip6', 'hoplimit'),
  dscp: one(
    'dscp',
    (shown: Shown) => payload(ip(shown), 'dscp'),
    text => dscp(Number(text)),
  ),
  ecn,
  statistic,
  rpfilter,
  time,
  devgroup: all({
    'src-group': masked('src-group', meta('iifgroup')),
    'dst-group': masked('dst-group', meta('oifgroup')),
  }),
  cpu: one('cpu', meta('cpu')),
  cgroup: all({ cgroup: one('cgroup', meta('cgroup')) }),
  helper: one('helper', ct('helper'), text => text.replaceAll('"', '')),
  quota: shown => [
    {
      quota: {
        val: number(shown.text('quota')),
        val_unit: 'bytes',
        ...(shown.inverted('quota') && { inv: true }),
      },
    } as Statement,
  ],
  tcpmss: one('mss', { 'tcp option': { name: 'maxseg', field: 'size' } }),
  policy: shown => {
    const only = shown.text('dir') === 'in' && shown.tail === '' && !shown.has('strict') ? undefined : 'policy';
    return only ?? [match(meta('ipsec'), shown.text('pol') === 'ipsec')];
  },
  hbh: shown => (shown.names.length === 0 ? '' : hopByHop(shown)),
  frag: all({
    fragid: one('fragid', exthdr('frag', 'id')),
    fragres: () => [match(exthdr('frag', 'reserved'), 1)],
    fragfirst: () => [match(exthdr('frag', 'frag-off'), 0)],
    fragmore: () => [match(exthdr('frag', 'more-fragments'), 1)],
    fraglast: () => [match(exthdr('frag', 'more-fragments'), 0)],
  }),
  rt: all({
    'rt-type': one('rt-type', exthdr('rt', 'type')),
    'rt-segsleft': one('rt-segsleft', exthdr('rt', 'seg-left')),
  }),
};
