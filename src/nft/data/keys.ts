import type { CT_KEYS, META_KEYS } from '../../nf_tables/expressions/packet.ts';
import type { ByteOrder, TypeName } from './datatypes.ts';

/*
 * Values that are no fields of the packet: meta data, connection tracking, routes, sockets, IPsec, tunnels. By the words of nft's language,
 * with the kernel's key, the type, the length in bits, and the byte order. nft's numbers are those of the kernel.
 */

export interface KeyRow {
  /** The kernel's name, as in the expression. */
  readonly key: string;
  readonly type: TypeName;
  readonly bits: number;
  readonly order: ByteOrder;
}

const host = <K extends string, T extends TypeName>(key: K, type: T, bits: number) =>
  ({ key, type, bits, order: 'host' }) as const;
const big = <K extends string, T extends TypeName>(key: K, type: T, bits: number) =>
  ({ key, type, bits, order: 'big' }) as const;

export const META = {
  /** The length of the packet, in bytes. */
  length: host('len', 'integer', 32),
  /** The protocol of the network layer; of a connection, the transport protocol. */
  protocol: big('protocol', 'ether_type', 16),
  /** The family of the packet, in tables of several families. */
  nfproto: host('nfproto', 'nf_proto', 8),
  /** The transport protocol. */
  l4proto: host('l4proto', 'inet_proto', 8),
  /** The traffic class. */
  priority: host('priority', 'classid', 32),
  /** The mark. */
  mark: host('mark', 'mark', 32),
  /** The index of the device that the packet came by. */
  iif: host('iif', 'iface_index', 32),
  /** The name of the device that the packet came by. */
  iifname: host('iifname', 'ifname', 128),
  /** The type of the device that the packet came by. */
  iiftype: host('iiftype', 'iface_type', 16),
  /** The index of the device that the packet leaves by. */
  oif: host('oif', 'iface_index', 32),
  /** The name of the device that the packet leaves by. */
  oifname: host('oifname', 'ifname', 128),
  /** The type of the device that the packet leaves by. */
  oiftype: host('oiftype', 'iface_type', 16),
  /** The user of the local socket. */
  skuid: host('skuid', 'uid', 32),
  /** The group of the local socket. */
  skgid: host('skgid', 'gid', 32),
  /** Whether the packet is traced: see `nft.trace()`. */
  nftrace: host('nftrace', 'integer', 1),
  /** The realm of the route. */
  rtclassid: host('rtclassid', 'realm', 32),
  /** The bridge that the packet came by. */
  ibrname: host('bri-iifname', 'ifname', 128),
  /** The bridge that the packet leaves by. */
  obrname: host('bri-oifname', 'ifname', 128),
  /** Host, broadcast, multicast or other. */
  pkttype: host('pkttype', 'pkt_type', 8),
  /** The processor. */
  cpu: host('cpu', 'integer', 32),
  /** The group of the device that the packet came by. */
  iifgroup: host('iifgroup', 'devgroup', 32),
  /** The group of the device that the packet leaves by. */
  oifgroup: host('oifgroup', 'devgroup', 32),
  /** The number of the control group (net_cls). */
  cgroup: host('cgroup', 'integer', 32),
  // It has no byte order; nft assumes that of the packet, so that it is not converted.
  /** A random number. */
  random: big('prandom', 'integer', 32),
  /** Whether the packet came, or goes, through IPsec. */
  ipsec: host('secpath', 'boolean', 8),
  /** The kind of the device that the packet came by, such as 'veth'. */
  iifkind: host('iifkind', 'ifname', 128),
  /** The kind of the device that the packet leaves by. */
  oifkind: host('oifkind', 'ifname', 128),
  /** The VLAN of the bridge's port. */
  ibrpvid: host('bri-iifpvid', 'integer', 16),
  /** The VLAN protocol of the bridge. */
  ibrvproto: big('bri-iifvproto', 'ether_type', 16),
  /** The time of reception. */
  time: host('time-ns', 'date', 64),
  /** The day of the week. */
  day: host('time-day', 'day', 8),
  /** The time of the day. */
  hour: host('time-hour', 'hour', 32),
  /** The security mark. */
  secmark: host('secmark', 'integer', 32),
  /** The index of the device within a VRF. */
  sdif: host('sdif', 'iface_index', 32),
  /** The name of the device within a VRF. */
  sdifname: host('sdifname', 'ifname', 128),
  /** Routes a packet that would be bridged. */
  broute: host('bri-broute', 'integer', 1),
  /** The hardware address of the bridge. */
  ibrhwaddr: big('bri-iifhwaddr', 'ether_addr', 48),
} as const satisfies Record<string, KeyRow & { key: keyof typeof META_KEYS }>;

/** Older names that are read. */
export const META_ALIASES = {
  ibriport: 'ibrname',
  obriport: 'obrname',
  secpath: 'ipsec',
} as const satisfies Record<string, keyof typeof META>;

/** Keys that are printed without the word `meta`. */
export const UNQUALIFIED_META: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'iif',
  'oif',
  'iifname',
  'oifname',
  'iifgroup',
  'oifgroup',
]);

/** saddr and daddr without a family have that of the rule. nft's `label` is `labels` in the kernel. */
export const CT = {
  /** The state of the connection: 'new', 'established', 'related', 'invalid', 'untracked'. */
  state: host('state', 'ct_state', 32),
  /** The direction of the packet within the connection. */
  direction: host('direction', 'ct_dir', 8),
  /** The status of the connection, such as 'dnat' or 'assured'. */
  status: host('status', 'ct_status', 32),
  /** The mark. */
  mark: host('mark', 'mark', 32),
  /** The time until the connection ends. */
  expiration: host('expiration', 'time', 32),
  /** The name of the connection's helper. */
  helper: host('helper', 'string', 128),
  /** The network protocol of the connection. */
  l3proto: host('l3protocol', 'nf_proto', 8),
  /** The source address; of a connection, in the direction that `ctOf` names. */
  saddr: big('src', 'invalid', 0),
  /** The destination address; of a connection, in the direction that `ctOf` names. */
  daddr: big('dst', 'invalid', 0),
  /** The protocol of the network layer; of a connection, the transport protocol. */
  protocol: big('protocol', 'inet_proto', 8),
  /** The source port. */
  'proto-src': big('proto-src', 'inet_service', 16),
  /** The destination port. */
  'proto-dst': big('proto-dst', 'inet_service', 16),
  /** The labels of the connection. */
  label: host('labels', 'ct_label', 128),
  /** Bytes of the connection. */
  bytes: host('bytes', 'integer', 64),
  /** Packets of the connection. */
  packets: host('pkts', 'integer', 64),
  /** The average length of the connection's packets, in bytes. */
  avgpkt: host('avgpkt', 'integer', 64),
  /** The conntrack zone. */
  zone: host('zone', 'integer', 16),
  /** The events that programs are told of. */
  event: host('eventmask', 'ct_event', 32),
  /** The source address, IPv4. */
  'ip saddr': big('src-ip', 'ipv4_addr', 32),
  /** The destination address, IPv4. */
  'ip daddr': big('dst-ip', 'ipv4_addr', 32),
  /** The source address, IPv6. */
  'ip6 saddr': big('src-ip6', 'ipv6_addr', 128),
  /** The destination address, IPv6. */
  'ip6 daddr': big('dst-ip6', 'ipv6_addr', 128),
  /** The security mark. */
  secmark: host('secmark', 'integer', 32),
  /** The number of the connection. */
  id: big('id', 'integer', 32),
} as const satisfies Record<string, KeyRow & { key: keyof typeof CT_KEYS }>;

/** nexthop has the family of the rule, or the given one: nexthop4, nexthop6. */
export const RT = {
  /** The realm of the route. */
  classid: host('classid', 'realm', 32),
  /** The next hop of the route. */
  nexthop: big('nexthop4', 'ipv4_addr', 32),
  /** The MTU of the route, as TCP's segment size. */
  mtu: host('tcpmss', 'integer', 16),
  /** Whether the packet came, or goes, through IPsec. */
  ipsec: host('xfrm', 'boolean', 8),
} as const satisfies Record<string, KeyRow>;
export const RT_NEXTHOP6 = big('nexthop6', 'ipv6_addr', 128);

export const SOCKET = {
  /** Whether the socket is transparent (IP_TRANSPARENT). */
  transparent: host('transparent', 'integer', 8),
  /** The mark. */
  mark: host('mark', 'mark', 32),
  /** Whether the socket is bound to any address. */
  wildcard: host('wildcard', 'integer', 8),
  /** The control group of the socket. */
  cgroupv2: host('cgroupv2', 'cgroupsv2', 64),
} as const satisfies Record<string, KeyRow>;

/** saddr and daddr are those of IPv4; `IPSEC6` has those of IPv6. */
export const IPSEC = {
  daddr: big('daddr-ip4', 'ipv4_addr', 32),
  saddr: big('saddr-ip4', 'ipv4_addr', 32),
  reqid: host('reqid', 'integer', 32),
  spi: big('spi', 'integer', 32),
} as const satisfies Record<string, KeyRow>;
export const IPSEC6 = {
  daddr: big('daddr-ip6', 'ipv6_addr', 128),
  saddr: big('saddr-ip6', 'ipv6_addr', 128),
} as const satisfies Record<string, KeyRow>;

/** Since nft 1.1.6. */
export const TUNNEL = {
  path: host('path', 'boolean', 8),
  id: host('id', 'integer', 32),
} as const satisfies Record<string, KeyRow>;

/** With the flag `present` (JSON: `check`), a boolean of 8 bits instead. */
export const FIB = {
  oif: host('oif', 'iface_index', 32),
  oifname: host('oifname', 'ifname', 128),
  type: host('address-type', 'fib_addrtype', 32),
} as const satisfies Record<string, KeyRow>;

/** Flags of fib by the kernel's bits (NFTA_FIB_F_*). `present` has a word of its own in the language: the result `check`. */
export const FIB_BITS = ['saddr', 'daddr', 'mark', 'iif', 'oif', 'present'] as const;
/** The flags of a `fib` expression: the parts of the packet that the look-up uses. */
export type FibFlag = Exclude<(typeof FIB_BITS)[number], 'present'>;
export const FIB_FLAGS = /* @__PURE__ */ FIB_BITS.filter((flag): flag is FibFlag => flag !== 'present');

/** The kernel fills 16 bytes with the name. */
export const OSF = host('osf', 'string', 128);

/* The keys by their numbers in the user data of sets: the kernel's numbers, from 0 on. */

export const RT_NUMBERS = ['classid', 'nexthop4', 'nexthop6', 'tcpmss', 'xfrm'] as const;
export const SOCKET_NUMBERS = ['transparent', 'mark', 'wildcard', 'cgroupv2'] as const;
export const TUNNEL_NUMBERS = ['path', 'id'] as const;
export const FIB_NUMBERS = [undefined, 'oif', 'oifname', 'address-type'] as const;
export const IPSEC_NUMBERS = [undefined, 'daddr-ip4', 'daddr-ip6', 'saddr-ip4', 'saddr-ip6', 'reqid', 'spi'] as const;

/** The value of hashes and generated numbers. */
export const GENERATED = { type: 'integer', bits: 32, order: 'host' } as const;

/** The family of an address: IPv4 or IPv6. */
export type AddressFamily = 'ip' | 'ip6';
/** A direction of a connection: from the client, or back to it. */
export type Direction = 'original' | 'reply';

/** A key of `meta`: 'iifname', 'mark', 'l4proto' ... */
export type MetaKey = keyof typeof META;
/** A key of `ct`: 'state', 'mark', 'status' ... */
export type CtKey = keyof typeof CT;
export type RtKey = keyof typeof RT;
export type SocketKey = keyof typeof SOCKET;
export type IpsecKey = keyof typeof IPSEC;
export type TunnelKey = keyof typeof TUNNEL;
