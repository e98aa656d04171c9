import { type Datatype, TYPES } from './datatypes.ts';

/* What nft calls the types of values in its messages. */

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  [TYPES.verdict.id]: 'netfilter verdict',
  [TYPES.nf_proto.id]: 'netfilter protocol',
  [TYPES.bitmask.id]: 'bitmask',
  [TYPES.integer.id]: 'integer',
  [TYPES.string.id]: 'string',
  [TYPES.ll_addr.id]: 'link layer address',
  [TYPES.ipv4_addr.id]: 'IPv4 address',
  [TYPES.ipv6_addr.id]: 'IPv6 address',
  [TYPES.ether_addr.id]: 'Ethernet address',
  [TYPES.ether_type.id]: 'Ethernet protocol',
  [TYPES.arp_op.id]: 'ARP operation',
  [TYPES.inet_proto.id]: 'Internet protocol',
  [TYPES.inet_service.id]: 'internet network service',
  [TYPES.icmp_type.id]: 'ICMP type',
  [TYPES.tcp_flag.id]: 'TCP flag',
  [TYPES.dccp_pkttype.id]: 'DCCP packet type',
  [TYPES.mh_type.id]: 'Mobility Header Type',
  [TYPES.time.id]: 'relative time',
  [TYPES.mark.id]: 'packet mark',
  [TYPES.iface_index.id]: 'network interface index',
  [TYPES.iface_type.id]: 'network interface type',
  [TYPES.realm.id]: 'routing realm',
  [TYPES.classid.id]: 'TC classid',
  [TYPES.uid.id]: 'user ID',
  [TYPES.gid.id]: 'group ID',
  [TYPES.ct_state.id]: 'conntrack state',
  [TYPES.ct_dir.id]: 'conntrack direction',
  [TYPES.ct_status.id]: 'conntrack status',
  [TYPES.icmpv6_type.id]: 'ICMPv6 type',
  [TYPES.ct_label.id]: 'conntrack label',
  [TYPES.pkt_type.id]: 'packet type',
  [TYPES.icmp_code.id]: 'icmp code',
  [TYPES.icmpv6_code.id]: 'icmpv6 code',
  [TYPES.icmpx_code.id]: 'icmpx code',
  [TYPES.devgroup.id]: 'devgroup name',
  [TYPES.dscp.id]: 'Differentiated Services Code Point',
  [TYPES.ecn.id]: 'Explicit Congestion Notification',
  [TYPES.fib_addrtype.id]: 'fib address type',
  [TYPES.boolean.id]: 'boolean type',
  [TYPES.ct_event.id]: 'conntrack event bits',
  [TYPES.ifname.id]: 'network interface name',
  [TYPES.igmp_type.id]: 'IGMP type',
  [TYPES.date.id]: 'Relative time of packet reception',
  [TYPES.hour.id]: 'Hour of day of packet reception',
  [TYPES.day.id]: 'Day of week of packet reception',
  [TYPES.cgroupsv2.id]: 'cgroupsv2 path',
};

/** nft's words for a type. */
export function describeType({ id, kind, parts }: Datatype): string {
  if (kind === 'concatenation') return `concatenation of (${(parts ?? []).map(describeType).join(', ')})`;
  return DESCRIPTIONS[id] ?? 'invalid';
}

/** nft's message for a value of another type. */
export const mismatch = (expected: Datatype, found: Datatype, sign = ','): string =>
  `datatype mismatch${sign} expected ${describeType(expected)}, expression has type ${describeType(found)}`;
