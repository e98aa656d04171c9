import { hex } from '../values.ts';
import type { Listing, Shown } from './shown.ts';
import { tosName } from './targets.ts';

/* The matches in the lists of `iptables -L`. */

/** `spt:1`, `spts:1:9`, `spt:!1` */
const either = (shown: Shown, option: string, word: string, names?: (port: string) => string): string => {
  if (!shown.has(option)) return '';
  const ends = shown.text(option).split(':');
  return ` ${word}${ends.length > 1 ? 's' : ''}:${shown.not(option, '!')}${ends.map(end => names?.(end) ?? end).join(':')}`;
};

/** The name of a protocol's service, unless numbers are wanted. */
const service = ({ at }: Shown, protocol: string): ((port: string) => string) => {
  if (at.numeric) return port => port;
  const { byNumber } = at.names.services(protocol);
  return port => byNumber.get(Number(port)) ?? port;
};

const ALL_PORTS = '0:65535';

const ports = (shown: Shown, option: string, word: string, protocol: string): string =>
  shown.text(option) === ALL_PORTS && !shown.inverted(option)
    ? ''
    : either(shown, option, word, service(shown, protocol));

const transport =
  (name: string, more: Listing = () => ''): Listing =>
  shown =>
    ` ${name}${ports(shown, 'sport', 'spt', name)}${ports(shown, 'dport', 'dpt', name)}${more(shown)}`;

const TCP_BITS: Readonly<Record<string, number>> = {
  FIN: 0x01,
  SYN: 0x02,
  RST: 0x04,
  PSH: 0x08,
  ACK: 0x10,
  URG: 0x20,
  ALL: 0x3f,
  NONE: 0,
};

const tcpFlags = (shown: Shown): string => {
  if (!shown.has('tcp-flags')) return '';
  const [mask = '', flags = ''] = shown.text('tcp-flags').split(' ');
  const bits = (words: string) =>
    `0x${words
      .split(',')
      .reduce((sum, word) => sum | (TCP_BITS[word] ?? 0), 0)
      .toString(16)
      .toUpperCase()
      .padStart(2, '0')}`;
  const text = shown.at.numeric ? `${bits(mask)}/${bits(flags)}` : `${mask}/${flags}`;
  return ` flags:${shown.not('tcp-flags', '!')}${text}`;
};

const optionNumber = (option: string) => (shown: Shown) =>
  shown.has(option) ? ` ${shown.not(option, '!')}option=${shown.text(option)}` : '';

const DCCP_TYPES = ['REQUEST', 'RESPONSE', 'DATA', 'ACK', 'DATAACK', 'CLOSEREQ', 'CLOSE', 'RESET', 'SYNC', 'SYNCACK'];

const dccpTypes = (shown: Shown): string => {
  if (!shown.has('dccp-types')) return '';
  const words = shown.text('dccp-types').split(',');
  const numbers = words.flatMap(word =>
    word === 'INVALID' ? ['10', '11', '12', '13', '14', '15'] : [String(DCCP_TYPES.indexOf(word))],
  );
  return ` ${shown.not('dccp-types', '! ')}${(shown.at.numeric ? numbers : words).join(',')}`;
};

const CHUNKS: Readonly<Record<string, number>> = {
  DATA: 0x00,
  INIT: 0x01,
  INIT_ACK: 0x02,
  SACK: 0x03,
  HEARTBEAT: 0x04,
  HEARTBEAT_ACK: 0x05,
  ABORT: 0x06,
  SHUTDOWN: 0x07,
  SHUTDOWN_ACK: 0x08,
  ERROR: 0x09,
  COOKIE_ECHO: 0x0a,
  COOKIE_ACK: 0x0b,
  ECN_ECNE: 0x0c,
  ECN_CWR: 0x0d,
  SHUTDOWN_COMPLETE: 0x0e,
  I_DATA: 0x40,
  RE_CONFIG: 0x82,
  PAD: 0x84,
  ASCONF: 0xc1,
  ASCONF_ACK: 0x80,
  FORWARD_TSN: 0xc0,
  I_FORWARD_TSN: 0xc2,
};

const chunks = (shown: Shown): string => {
  if (!shown.has('chunk-types')) return '';
  const [which = '', list = ''] = shown.text('chunk-types').split(' ');
  const words = list.split(',').map(word => {
    const [name = '', ...rest] = word.split(':');
    const number = CHUNKS[name];
    return shown.at.numeric && number !== undefined
      ? [`0x${number.toString(16).toUpperCase().padStart(4, '0')}`, ...rest].join(':')
      : word;
  });
  return ` ${shown.not('chunk-types', '!')}${which}${list === '' ? '' : ` ${words.join(',')}`}`;
};

/** Each option behind the name. */
const named =
  (name: string, word: (option: string) => string = option => option): Listing =>
  shown =>
    ` ${name}${shown.each(shown.names, option => {
      const text = shown.text(option);
      return `${shown.not(option, '! ')}${word(option)}${text === '' ? '' : ` ${text}`}`;
    })}`;

/** Each option by itself. */
const bare: Listing = shown =>
  shown.each(
    shown.names,
    option => `${shown.not(option, '! ')}${option}${shown.text(option) === '' ? '' : ` ${shown.text(option)}`}`,
  );

const HOPS: Readonly<Record<string, string>> = { eq: '==', lt: '<', gt: '>' };
const hops =
  (name: string): Listing =>
  shown =>
    ` ${name} match ${name}${shown.each(shown.names, option => {
      const sign = shown.inverted(option) ? '!=' : HOPS[option.slice(-2)];
      return `${sign} ${shown.text(option)}`;
    })}`;

/** A range of all numbers is shown if it is inverted only: iptables-save has no words for that. */
const ids =
  (name: string, option: string, word: string, empty = ''): Listing =>
  shown => {
    const none = shown.listed('invert').length > 0 ? ` ${word}s:!0:4294967295` : empty;
    return ` ${name}${shown.has(option) ? either(shown, option, word) : none}`;
  };

/** Names of types of ICMP without -n. */
const icmp =
  (name: string, option: string, names: Readonly<Record<string, string>>): Listing =>
  shown => {
    const [type, code] = shown.text(option).split('/');
    const number = type === 'any' ? '255' : type!;
    const word = names[code === undefined ? number : `${number}/${code}`];
    if (!shown.at.numeric && word !== undefined) return ` ${name} ${shown.not(option, '!')}${word}`;
    const sign = shown.inverted(option) ? ' !' : '';
    return ` ${name}${sign}type ${number}${code === undefined ? '' : ` code ${code}`}`;
  };

const ICMP_NAMES: Readonly<Record<string, string>> = {
  '255': 'any',
  '0': 'echo-reply',
  '3': 'destination-unreachable',
  '3/0': 'network-unreachable',
  '3/1': 'host-unreachable',
  '3/2': 'protocol-unreachable',
  '3/3': 'port-unreachable',
  '3/4': 'fragmentation-needed',
  '3/5': 'source-route-failed',
  '3/6': 'network-unknown',
  '3/7': 'host-unknown',
  '3/9': 'network-prohibited',
  '3/10': 'host-prohibited',
  '3/11': 'TOS-network-unreachable',
  '3/12': 'TOS-host-unreachable',
  '3/13': 'communication-prohibited',
  '3/14': 'host-precedence-violation',
  '3/15': 'precedence-cutoff',
  '4': 'source-quench',
  '5': 'redirect',
  '5/0': 'network-redirect',
  '5/1': 'host-redirect',
  '5/2': 'TOS-network-redirect',
  '5/3': 'TOS-host-redirect',
  '8': 'echo-request',
  '9': 'router-advertisement',
  '10': 'router-solicitation',
  '11': 'time-exceeded',
  '11/0': 'ttl-zero-during-transit',
  '11/1': 'ttl-zero-during-reassembly',
  '12': 'parameter-problem',
  '12/0': 'ip-header-bad',
  '12/1': 'required-option-missing',
  '13': 'timestamp-request',
  '14': 'timestamp-reply',
  '17': 'address-mask-request',
  '18': 'address-mask-reply',
};

const ICMP6_NAMES: Readonly<Record<string, string>> = {
  '1': 'destination-unreachable',
  '1/0': 'no-route',
  '1/1': 'communication-prohibited',
  '1/2': 'beyond-scope',
  '1/3': 'address-unreachable',
  '1/4': 'port-unreachable',
  '1/5': 'failed-policy',
  '1/6': 'reject-route',
  '2': 'packet-too-big',
  '3': 'time-exceeded',
  '3/0': 'ttl-zero-during-transit',
  '3/1': 'ttl-zero-during-reassembly',
  '4': 'parameter-problem',
  '4/0': 'bad-header',
  '4/1': 'unknown-header-type',
  '4/2': 'unknown-option',
  '128': 'echo-request',
  '129': 'echo-reply',
  '130': 'mld-listener-query',
  '131': 'mld-listener-report',
  '132': 'mld-listener-done',
  '133': 'router-solicitation',
  '134': 'router-advertisement',
  '135': 'neighbour-solicitation',
  '136': 'neighbour-advertisement',
  '137': 'redirect',
};

export const MH_NAMES = [
  'binding-refresh-request',
  'home-test-init',
  'careof-test-init',
  'home-test',
  'careof-test',
  'binding-update',
  'binding-acknowledgement',
  'binding-error',
];

const recent: Listing = shown => {
  const kind = ['set', 'rcheck', 'update', 'remove'].find(name => shown.has(name)) ?? 'set';
  const word = kind === 'rcheck' ? 'CHECK' : kind.toUpperCase();
  const text = (name: string, label: string) => (shown.has(name) ? ` ${label}: ${shown.text(name)}` : '');
  return (
    `${shown.not(kind, ' !')} recent: ${word}${text('seconds', 'seconds')}${shown.has('reap') ? ' reap' : ''}` +
    `${text('hitcount', 'hit_count')}${shown.has('rttl') ? ' TTL-Match' : ''}${text('name', 'name')}` +
    ` side: ${shown.has('rdest') ? 'dest' : 'source'}${text('mask', 'mask')}`
  );
};

const hashlimit: Listing = shown => {
  const bound = shown.has('hashlimit-upto') ? 'hashlimit-upto' : 'hashlimit-above';
  const interval = Number(shown.text('hashlimit-rate-interval') || 1);
  const rate = shown.text(bound).replace(/^\d+(?=\/)/, number => String(Math.trunc(Number(number) / interval)));
  const rest = [
    'burst',
    'mode',
    'htable-size',
    'htable-max',
    'htable-gcinterval',
    'htable-expire',
    'srcmask',
    'dstmask',
  ];
  const more = ['rate-match', 'rate-interval'];
  return (
    ` limit: ${bound === 'hashlimit-upto' ? 'up to' : 'above'} ${rate}` +
    [...rest, ...more]
      .filter(name => shown.has(`hashlimit-${name}`))
      .map(name => {
        const text = shown.text(`hashlimit-${name}`);
        return text === '' ? ` ${name}` : ` ${name} ${name === 'mode' ? text.replaceAll(',', '-') : text}`;
      })
      .join('')
  );
};

const owner: Listing = shown => {
  const name = (option: string, names: ReadonlyMap<number, string>): string => {
    const text = shown.text(option);
    return shown.at.numeric || !/^\d+$/.test(text) ? text : (names.get(Number(text)) ?? text);
  };
  const { users, groups } = { users: shown.at.names.users().byNumber, groups: shown.at.names.groups().byNumber };
  let text = '';
  if (shown.has('socket-exists')) text += `${shown.not('socket-exists', ' !')} owner socket exists`;
  if (shown.has('uid-owner')) text += `${shown.not('uid-owner', ' !')} owner UID match ${name('uid-owner', users)}`;
  if (shown.has('gid-owner')) text += `${shown.not('gid-owner', ' !')} owner GID match ${name('gid-owner', groups)}`;
  return shown.has('suppl-groups') ? `${text} incl. suppl. groups` : text;
};

const ORDINALS: Readonly<Record<string, string>> = { 1: 'st', 2: 'nd', 3: 'rd' };
const ordinal = (day: string): string => `${day}${/1\d$/.test(day) ? 'th' : (ORDINALS[day.at(-1)!] ?? 'th')}`;

const time: Listing = shown => {
  const date = (name: string) => shown.text(name).replace('T', ' ');
  let text = ' TIME';
  if (shown.has('timestart') || shown.has('timestop'))
    text += ` from ${shown.text('timestart') || '00:00:00'} to ${shown.text('timestop') || '23:59:59'}`;
  if (shown.has('weekdays')) text += ` on ${shown.not('weekdays', '! ')}${shown.text('weekdays')}`;
  if (shown.has('monthdays'))
    text += ` on ${shown.not('monthdays', '! ')}${shown.text('monthdays').split(',').map(ordinal).join(',')}`;
  if (shown.has('datestart')) text += ` starting from ${date('datestart')}`;
  if (shown.has('datestop') && shown.text('datestop') !== '2038-01-19T03:14:07')
    text += ` until date ${date('datestop')}`;
  if (!shown.has('kerneltz')) text += ' UTC';
  return shown.has('contiguous') ? `${text} contiguous` : text;
};

/** The elements of a policy, each with its number where there are several. */
const policy: Listing = shown => {
  const words =
    shown.names.flatMap(name => [shown.not(name, '! '), `--${name}`, shown.text(name)]).join(' ') + shown.tail;
  return ` policy match${policyText(words, shown)}`;
};

function policyText(words: string, { at }: Shown): string {
  const parts = words.replace(/ +/g, ' ').trim().split(' ');
  const several = parts.includes('--next');
  let text = '';
  let element = -1;
  const begins = (): void => {
    element++;
    if (several) text += ` [${element}]`;
  };
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (part === '--next') begins();
    else if (part === '--proto') {
      if (element < 0) begins();
      const name = parts[++i]!;
      text += ` proto ${at.numeric ? (at.names.protocols().byName.get(name) ?? name) : name}`;
    } else {
      if (element < 0 && part.startsWith('--') && !['--dir', '--pol', '--strict'].includes(part)) begins();
      text += ` ${part.replace(/^--/, '')}`;
    }
  }
  return text;
}

const multiport: Listing = shown => {
  const option = shown.names[0] ?? 'ports';
  const names = service(shown, shown.at.names.protocols().byNumber.get(shown.at.protocol) ?? 'tcp');
  const ports = shown
    .text(option)
    .split(',')
    .map(range => range.split(':').map(names).join(':'));
  return ` multiport ${option === 'source-ports' ? 'sports' : option === 'destination-ports' ? 'dports' : option} ${shown.not(option, ' !')}${ports.join(',')}`;
};

const fragment: Listing = shown => {
  const inverted = shown.listed('invert').includes('id');
  const id = shown.has('fragid') ? either(shown, 'fragid', 'id').trim() : inverted ? 'ids:!0:4294967295' : '';
  const words: Readonly<Record<string, string>> = {
    fragres: 'reserved',
    fragfirst: 'first',
    fragmore: 'more',
    fraglast: 'last',
  };
  const length = shown.has('fraglen') ? ` length:${shown.not('fraglen', '!')}${shown.text('fraglen')}` : '';
  return ` frag ${id}${length}${shown.each(Object.keys(words), name => words[name]!)}`;
};

const hexOfHeaders: Readonly<Record<string, number>> = {
  'hop-by-hop': 0x80,
  'ipv6-opts': 0x40,
  'ipv6-route': 0x20,
  'ipv6-frag': 0x10,
  ah: 0x08,
  esp: 0x04,
  'ipv6-nonxt': 0x02,
  prot: 0x01,
};

export const MATCH_LISTINGS: Readonly<Record<string, Listing>> = {
  tcp: transport('tcp', shown => optionNumber('tcp-option')(shown) + tcpFlags(shown)),
  udp: transport('udp'),
  udplite: transport('udplite'),
  dccp: transport('dccp', shown => dccpTypes(shown) + optionNumber('dccp-option')(shown)),
  sctp: transport('sctp', chunks),
  icmp: icmp('icmp', 'icmp-type', ICMP_NAMES),
  icmp6: icmp('ipv6-icmp', 'icmpv6-type', ICMP6_NAMES),
  esp: ids('esp', 'espspi', 'spi'),
  ah: shown =>
    ` ah ${either(shown, 'ahspi', 'spi').trim()}${shown.has('ahlen') ? ` length:${shown.not('ahlen', '!')}${shown.text('ahlen')}` : ''}${shown.has('ahres') ? ' reserved' : ''}`,
  ipcomp: ids('comp', 'ipcompspi', 'spi', ' '),
  mh: shown => {
    const names = (number: string) => (shown.at.numeric ? number : (MH_NAMES[Number(number)] ?? number));
    return ` mh${shown.has('mh-type') ? ` ${shown.not('mh-type', '!')}${shown.text('mh-type').split(':').map(names).join(':')}` : ''}`;
  },
  conntrack: bare,
  multiport,
  addrtype: shown =>
    ` ADDRTYPE match${shown.each(shown.names, name =>
      name.startsWith('limit') ? name.replace('iface-', '') : `${name} ${shown.not(name, '!')}${shown.text(name)}`,
    )}`,
  iprange: shown =>
    shown.each(
      shown.names,
      name => `${name === 'src-range' ? 'source' : 'destination'} IP range ${shown.not(name, '! ')}${shown.text(name)}`,
    ),
  comment: shown => ` /* ${shown.info.comment ?? ''} */`,
  limit: shown => ` limit: avg ${shown.text('limit')} burst ${shown.number('burst') || 5}`,
  hashlimit,
  recent,
  connlimit: shown => {
    const option = shown.has('connlimit-above') ? 'connlimit-above' : 'connlimit-upto';
    const side = shown.has('connlimit-daddr') ? 'dst' : 'src';
    return ` #conn ${side}/${shown.text('connlimit-mask')} ${option.endsWith('above') ? '>' : '<='} ${shown.text(option)}`;
  },
  connbytes: shown =>
    ` ${shown.not('connbytes', '! ')}connbytes ${shown.text('connbytes')} connbytes mode ${shown.text('connbytes-mode')} connbytes direction ${shown.text('connbytes-dir')}`,
  connlabel: shown =>
    ` connlabel ${shown.not('label', '! ')}${shown.text('label').replace(/^"|"$/g, '')}${shown.has('set') ? ' set' : ''}`,
  connmark: shown => ` connmark match ${shown.not('mark', '!')} ${shown.text('mark')}`,
  mark: shown => ` mark match${shown.not('mark', ' !')} ${shown.text('mark')}`,
  owner,
  mac: shown => ` MAC${shown.not('mac-source', ' !')} ${shown.text('mac-source')}`,
  pkttype: shown => ` PKTTYPE ${shown.not('pkt-type', '!')}= ${shown.text('pkt-type')}`,
  length: shown => ` length ${shown.not('length', '!')}${shown.text('length')}`,
  ttl: hops('TTL'),
  hl: hops('HL'),
  dscp: shown => ` DSCP match ${shown.not('dscp', '!')}${shown.text('dscp')}`,
  tos: shown => {
    const [value, mask] = shown.text('tos').split('/').map(Number);
    const name = shown.at.numeric ? undefined : tosName(value!, mask!);
    return ` tos match${shown.not('tos', '!')}${name === undefined ? shown.text('tos') : ` ${name}`}`;
  },
  ecn: shown =>
    ` ECN match${shown.each(shown.names, name =>
      name === 'ecn-ip-ect'
        ? `${shown.not(name, '!')}ECT=${shown.text(name)}`
        : `${shown.not(name, '!')}${name.slice(-3).toUpperCase()}`,
    )}`,
  string: shown => {
    const option = shown.has('hex-string') ? 'hex-string' : 'string';
    const more = [
      ['algo', 'ALGO name'],
      ['from', 'FROM'],
      ['to', 'TO'],
    ] as const;
    return (
      ` STRING match ${shown.not(option, '!')} ${shown.text(option)}` +
      more.map(([name, word]) => (shown.has(name) ? ` ${word} ${shown.text(name)}` : '')).join('') +
      (shown.has('icase') ? ' ICASE' : '')
    );
  },
  time,
  statistic: shown => ` statistic${bare(shown)}`,
  u32: shown => ` u32 ${shown.not('u32', '! ')}${shown.text('u32')}`,
  // iptables prints the text with its final NUL, and no blank in front.
  bpf: shown => `match bpf ${shown.text('bytecode').replace(/^"\d+,|"$/g, '')}\0`,
  cgroup: shown =>
    ` cgroup${shown.each(shown.names, name => `${shown.not(name, '! ')}${shown.text(name).replace(/^"|"$/g, '')}`)}`,
  policy,
  set: shown =>
    ` match-set${shown.not('match-set', ' !')}${shown.each(shown.names, name => (name === 'match-set' ? shown.text(name) : `${shown.not(name, '! ')}${name}`))}`,
  rpfilter: named('rpfilter'),
  devgroup: bare,
  cpu: shown => ` cpu ${shown.not('cpu', '! ')}${shown.text('cpu')}`,
  cluster: shown =>
    ` cluster ${shown.not('cluster-local-nodemask', '! ')}node_mask=${shown.text('cluster-local-nodemask')} total_nodes=${shown.text('cluster-total-nodes')} hash_seed=${shown.text('cluster-hash-seed')}`,
  physdev: named('PHYSDEV match', option => `--${option}`),
  socket: named('socket', option => `--${option}`),
  helper: shown => ` helper match ${shown.not('helper', '! ')}"${shown.info.name ?? shown.text('helper')}"`,
  quota: shown => ` quota: ${shown.text('quota')} bytes`,
  realm: bare,
  tcpmss: shown => ` tcpmss match ${shown.not('mss', '!')}${shown.text('mss')}`,
  srh: shown =>
    ` srh${shown.each(shown.names, name => `${name.replace('srh-', '')}:${shown.not(name, '!')}${shown.text(name)}`)}`,
  rt: shown => {
    const words: Readonly<Record<string, string>> = { 'rt-type': 'type', 'rt-len': 'length' };
    return ` rt${shown.each(shown.names, name => {
      if (name === 'rt-segsleft') return either(shown, name, 'segsleft').trim();
      if (name === 'rt-0-res') return 'reserved';
      return words[name] === undefined
        ? `${name} ${shown.text(name)}`
        : `${words[name]}:${shown.not(name, '!')}${shown.text(name)}`;
    })}`;
  },
  hbh: options('hbh'),
  dst: options('dst'),
  frag: fragment,
  ipv6header: shown => {
    const list = shown.text('header');
    const bits = list.split(',').reduce((sum, word) => sum | (hexOfHeaders[word] ?? 0), 0);
    return ` ipv6header flags:${shown.not('header', '!')}${shown.at.numeric ? hex(bits, 2).replace(/[a-f]/g, letter => letter.toUpperCase()) : list}${shown.has('soft') ? ' soft' : ''}`;
  },
  eui64: () => '',
};

function options(name: string): Listing {
  return shown =>
    ` ${name}${shown.has(`${name}-len`) ? ` length:${shown.not(`${name}-len`, '!')}${shown.text(`${name}-len`)}` : ''}${shown.has(`${name}-opts`) ? ` opts ${shown.text(`${name}-opts`)}` : ''}`;
}
