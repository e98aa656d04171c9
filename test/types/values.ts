import {
  arp,
  type Chain,
  ct,
  ctOf,
  dynamicMap,
  dynamicSet,
  ether,
  fib,
  icmp,
  icmpv6,
  ip,
  ip6,
  type JsonChain,
  type JsonFlowtable,
  type JsonSet,
  type JsonTable,
  last,
  limit,
  log,
  meta,
  quota,
  reject,
  rt,
  type Statement,
  select,
  socket,
  type Table,
  tcp,
  tcpOption,
  udp,
} from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

/* Values of fields are the names that exist, and numbers for all others. Sets, ranges, prefixes, lists and expressions stand beside them. */

export const values: Statement[] = [
  ct.state.in('established', 'related'),
  ct.state.in(['established', 'related']),
  ct.state.in('@states'),
  ct.state.eq(['new', 'untracked']),
  ct.state.eq(0x40),
  ct.status.in('snat', 'dnat', 1 << 12),
  ct.direction.eq('reply'),
  ct.event.set(['new', 'destroy']),
  ct.mark.set(meta.mark),
  ct.label.set('archive'),
  ct.expiration.lt('30s'),
  ctOf('original')['proto-dst'].eq(80),
  ctOf('reply').saddr.prefix('10.0.0.0', 8),
  meta.pkttype.ne('broadcast'),
  meta.protocol.in(['ip', 'ip6', 0x88cc]),
  meta.nfproto.eq('ipv6'),
  meta.l4proto.in(['tcp', 'udp', 'icmpv6', 'ipv6-icmp', 'vrrp', 253]),
  meta.iiftype.eq('loopback'),
  meta.iifname.in(['eth0', 'veth*']),
  meta.iif.eq('lo'),
  meta.day.in(['Saturday', 'Sunday', 1]),
  meta.hour.between('08:00', '18:00'),
  meta.skuid.eq('root'),
  meta.mark.set(ct.mark.and(0xff).or(0x100)),
  meta.nftrace.set(1),
  meta.ipsec.eq('missing'),
  fib('daddr', 'iif').type.eq('local'),
  fib('saddr').type.in(['broadcast', 'multicast', 11]),
  fib('saddr').check.eq(false),
  fib('saddr').check.eq('missing'),
  fib('saddr').oifname.ne('eth0'),
  rt.ipsec.eq(true),
  rt.mtu.gt(1400),
  socket.transparent.eq(1),
  socket.mark.ne(0),
  ip.protocol.eq('tcp'),
  ip.dscp.set('ef'),
  ip.ecn.eq('ce'),
  ip.saddr.eq({ prefix: { addr: '10.0.0.0', len: 8 } }),
  ip.saddr.in(['10.0.0.1', { range: ['10.0.0.5', '10.0.0.9'] }, { prefix: { addr: '10.1.0.0', len: 16 } }]),
  ip6.nexthdr.eq('ipv6-icmp'),
  ether.type.eq('arp'),
  arp.operation.eq('request'),
  tcp.flags.in('syn', 'ack'),
  tcp.flags.and(['syn', 'ack']).eq(['syn']),
  tcp.dport.eq('ssh'),
  tcp.dport.between(8000, 8080),
  icmp.type.in(['echo-request', 13]),
  icmp.code.eq('frag-needed'),
  icmpv6.type.eq('nd-router-advert'),
  tcpOption.maxseg.size.set(1400),
  ct.state.vmap([
    ['established', { accept: null }],
    ['invalid', { drop: null }],
  ]),
  ip.daddr.vmap('@chains'),
  meta.mark.set(ip.saddr.map([['10.0.0.1', 1]])),
  meta.mark.set(ct.mark.expression),
];

// @ts-expect-error no such state
export const state = ct.state.in('establishd');
// @ts-expect-error no such state in a list of flags
export const states = ct.state.eq(['established', 'relatd']);
// @ts-expect-error no such state in a set
export const stateSet = ct.state.in(['establishd']);
// @ts-expect-error no such state in a map
export const stateMap = ct.state.vmap([['establishd', { accept: null }]]);
// @ts-expect-error no such state of one direction
export const stateOf = ctOf('original').state.in('establishd');
// @ts-expect-error no such status
export const status = ct.status.in('snatted');
// @ts-expect-error no such direction
export const direction = ct.direction.eq('forward');
// @ts-expect-error no such event
export const event = ct.event.set('created');
// @ts-expect-error an address is text
export const address = ct['ip saddr'].eq(1);
// @ts-expect-error no such type of packets
export const pkttype = meta.pkttype.eq('broadcst');
// @ts-expect-error no such EtherType
export const protocol = meta.protocol.eq('ipv4');
// @ts-expect-error no such protocol
export const l4proto = meta.l4proto.eq('tpc');
// @ts-expect-error no such protocol in a header
export const ipProtocol = ip.protocol.in(['tcp', 'upd']);
// @ts-expect-error no such family
export const nfproto = meta.nfproto.eq('ip');
// @ts-expect-error no such type of devices
export const iiftype = meta.iiftype.eq('ethernet');
// @ts-expect-error no such day
export const day = meta.day.eq('Mon');
// @ts-expect-error a length is a number
export const length = meta.length.gt('1000');
// @ts-expect-error no such address type
export const addressType = fib('daddr').type.eq('locl');
// @ts-expect-error no such flag of fib
export const fibFlag = fib('dadr').type.eq('local');
// @ts-expect-error a truth value
export const ipsec = rt.ipsec.eq('yes');
// @ts-expect-error an MTU is a number
export const mtu = rt.mtu.eq('1500');
// @ts-expect-error a truth value as a number
export const transparent = socket.transparent.eq('yes');
// @ts-expect-error no such flag of TCP
export const tcpFlag = tcp.flags.in('sny');
// @ts-expect-error no such flag of TCP in a list
export const tcpFlags = tcp.flags.and(['syn', 'akc']);
// @ts-expect-error no such message
export const icmpType = icmp.type.eq('ping');
// @ts-expect-error a set is named with @
export const setName = ct.state.in('states');

/* A chain, a table, a set: their types, hooks, policies and flags. */
const place = { family: 'inet', table: 't', name: 'c' } as const;
export const chains: Chain[] = [
  { ...place, type: 'nat', hook: 'postrouting', priority: 'srcnat', policy: 'accept' },
  { ...place, type: 'filter', hook: 9, priority: -5, policy: 1, flags: ['offload', 8] },
];
// @ts-expect-error no such type
export const chainType: Chain = { ...place, type: 'natt', hook: 'prerouting', priority: 0 };
// @ts-expect-error no such hook
export const hook: Chain = { ...place, type: 'nat', hook: 'prerouteing', priority: 0 };
// @ts-expect-error no such priority
export const priority: Chain = { ...place, type: 'nat', hook: 'prerouting', priority: 'dnat' };
// @ts-expect-error no such policy
export const policy: Chain = { ...place, type: 'filter', hook: 'input', priority: 0, policy: 'reject' };
// @ts-expect-error no such flag of a chain
export const chainFlag: Chain = { ...place, flags: ['offlaod'] };
// @ts-expect-error no such flag of a table
export const tableFlag: Table = { family: 'inet', name: 't', flags: ['dormnt'] };

/* The same in nft's JSON. */
export const jsonChains: JsonChain[] = [
  { ...place, type: 'nat', hook: 'prerouting', prio: 'dstnat + 10', policy: 'accept' },
  { ...place, type: 'filter', hook: 'ingress', prio: '-5', dev: ['eth0', 'eth1'] },
  { ...place, type: 'route', hook: 'output', prio: 'mangle' },
];
export const jsonSets: JsonSet[] = [
  { ...place, type: 'ipv4_addr', flags: 'interval' },
  { ...place, type: ['ipv4_addr', 'inet_service'], flags: ['interval', 'timeout'], map: 'verdict' },
  { ...place, type: { typeof: { concat: [{ ct: { key: 'state' } }, { meta: { key: 'iif' } }] } }, map: 'counter' },
];
export const jsonTable: JsonTable = { family: 'inet', name: 't', flags: ['dormant', 'owner'] };
export const jsonFlowtable: JsonFlowtable = {
  ...place,
  hook: 'ingress',
  prio: 'filter',
  dev: 'eth0',
  flags: 'counter',
};
// @ts-expect-error no such type
export const jsonType: JsonChain = { ...place, type: 'natt' };
// @ts-expect-error no such hook
export const jsonHook: JsonChain = { ...place, type: 'nat', hook: 'inputt', prio: 0 };
// @ts-expect-error no such priority
export const jsonPriority: JsonChain = { ...place, type: 'nat', hook: 'input', prio: 'sourcenat' };
// @ts-expect-error no such type of keys
export const jsonKey: JsonSet = { ...place, type: 'ipv4_adr' };
// @ts-expect-error no such flag of a set
export const jsonSetFlag: JsonSet = { ...place, type: 'ipv4_addr', flags: ['intervals'] };
// @ts-expect-error no such flag of a table
export const jsonTableFlag: JsonTable = { family: 'inet', name: 't', flags: 'dormnt' };
// @ts-expect-error no such flag of a flowtable
export const jsonFlowtableFlag: JsonFlowtable = { ...place, flags: ['ofload'] };

/* Statements: levels, units, codes. */
export const statements: Statement[] = [
  reject(),
  reject({ type: 'tcp reset' }),
  reject({ type: 'icmpx', expr: 'admin-prohibited' }),
  reject({ type: 'icmpv6', expr: 'no-route' }),
  reject({ type: 'icmp', expr: 13 }),
  reject({ expr: 'host-unreachable' }),
  log({ level: 'warn', flags: ['skuid', 'ether'] }),
  limit({ rate: 10, per: 'second', rate_unit: 'kbytes', burst: 5, burst_unit: 'packets' }),
  quota({ val: 25, val_unit: 'mbytes' }),
  dynamicSet('add', '@seen', ip.saddr, { timeout: 60, stmt: [limit({ rate: 10, per: 'second' }), last()] }),
  dynamicMap('update', '@seen', udp.sport, meta.mark, { stmt: [quota({ val: 1 })] }),
];
// @ts-expect-error no such message
export const rejectType = reject({ type: 'icmp6' });
// @ts-expect-error a code of the other message
export const rejectCode = reject({ type: 'icmp', expr: 'no-route' });
// @ts-expect-error a reset has no code
export const resetCode = reject({ type: 'tcp reset', expr: 1 });
// @ts-expect-error no such level
export const level = log({ level: 'warning' });
// @ts-expect-error no such flag
export const logFlag = log({ flags: ['tcp'] });
// @ts-expect-error no such unit of time
export const per = limit({ rate: 10, per: 'sec' });
// @ts-expect-error no such unit of bytes
export const unit = quota({ val: 1, val_unit: 'gbytes' });
// @ts-expect-error a statement without a state
export const stateless = dynamicSet('add', '@seen', ip.saddr, { stmt: [reject()] });

/* A selector of an expression that has no field here takes the type that is given. */
const parity = select<'odd' | 'even'>({ numgen: { mode: 'inc', mod: 2 } });
proof<Same<Parameters<typeof parity.between>, [from: 'odd' | 'even', to: 'odd' | 'even']>>();
// @ts-expect-error neither odd nor even
export const neither = parity.eq('none');
