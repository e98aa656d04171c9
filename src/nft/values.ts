import type { TypeName } from './data/datatypes.ts';
import type * as S from './data/symbols.ts';

/** The values that a caller may write, by type: a number for each type, and the names that the type has. */
interface Values {
  ipv4_addr: string;
  ipv6_addr: string;
  ether_addr: string;
  ll_addr: string;
  /** A name with '*' at its end means each interface whose name begins so. */
  ifname: string;
  string: string;
  /** An interface's name or index. */
  iface_index: string | number;
  boolean: boolean | keyof typeof S.BOOLEAN;
  /** Also a number. Other names of /etc/protocols are written as numbers. */
  inet_proto: Named<typeof S.IP_PROTOCOL>;
  nf_proto: Named<typeof S.NF_PROTO>;
  ether_type: Named<typeof S.ETHER_TYPE>;
  arp_op: Named<typeof S.ARP_OP>;
  icmp_type: Named<typeof S.ICMP_TYPE>;
  icmp_code: Named<typeof S.ICMP_CODE>;
  icmpv6_type: Named<typeof S.ICMPV6_TYPE>;
  icmpv6_code: Named<typeof S.ICMPV6_CODE>;
  igmp_type: Named<typeof S.IGMP_TYPE>;
  mh_type: Named<typeof S.MH_TYPE>;
  tcp_flag: Named<typeof S.TCP_FLAG>;
  dccp_pkttype: Named<typeof S.DCCP_PACKET_TYPE>;
  mptcp_subtype: Named<typeof S.MPTCP_SUBTYPE>;
  dscp: Named<typeof S.DSCP>;
  ecn: Named<typeof S.ECN>;
  iface_type: Named<typeof S.INTERFACE_TYPE>;
  pkt_type: Named<typeof S.PACKET_TYPE>;
  day: Named<typeof S.DAY>;
  ct_state: Named<typeof S.CT_STATE>;
  ct_dir: Named<typeof S.CT_DIRECTION>;
  ct_status: Named<typeof S.CT_STATUS>;
  ct_event: Named<typeof S.CT_EVENT>;
  fib_addrtype: Named<typeof S.FIB_ADDRESS_TYPE>;
  integer: Whole;
  xinteger: Whole;
  bitmask: Whole;
}

type Whole = number | bigint;
type Named<Symbols> = (keyof Symbols & string) | number;

/** Types that are not listed accept a name from a file, a time or a number: 'http', '1h30m', 80. */
export type ValueOf<T extends TypeName> = T extends keyof Values ? Values[T] : string | number;
