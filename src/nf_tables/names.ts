import { named, U8, U16_BE, U32_BE } from '../codec/index.ts';
import {
  NFPROTO_ARP,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_NETDEV,
  NFPROTO_UNSPEC,
} from '../linux/netfilter.ts';
import {
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_DYING,
  IPS_EXPECTED,
  IPS_FIXED_TIMEOUT,
  IPS_HELPER,
  IPS_HW_OFFLOAD,
  IPS_OFFLOAD,
  IPS_SEEN_REPLY,
  IPS_SEQ_ADJUST,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
  IPS_TEMPLATE,
  IPS_UNTRACKED,
} from '../linux/nf_conntrack_common.ts';
import {
  NF_LOG_IPOPT,
  NF_LOG_MACDECODE,
  NF_LOG_NFLOG,
  NF_LOG_TCPOPT,
  NF_LOG_TCPSEQ,
  NF_LOG_UID,
} from '../linux/nf_log.ts';
import {
  NF_NAT_RANGE_MAP_IPS,
  NF_NAT_RANGE_NETMAP,
  NF_NAT_RANGE_PERSISTENT,
  NF_NAT_RANGE_PROTO_OFFSET,
  NF_NAT_RANGE_PROTO_RANDOM,
  NF_NAT_RANGE_PROTO_RANDOM_FULLY,
  NF_NAT_RANGE_PROTO_SPECIFIED,
} from '../linux/nf_nat.ts';
import * as C from '../linux/nf_tables.ts';

/** NFPROTO_* where an expression has one of its own, by the names of tables' families. */
const FAMILIES = {
  unspecified: NFPROTO_UNSPEC,
  inet: NFPROTO_INET,
  ip: NFPROTO_IPV4,
  arp: NFPROTO_ARP,
  netdev: NFPROTO_NETDEV,
  bridge: NFPROTO_BRIDGE,
  ip6: NFPROTO_IPV6,
} as const;

export const PROTOCOL_FAMILY = named(U32_BE, FAMILIES);
/** The same in objects of connection tracking. */
export const L3_PROTOCOL = named(U16_BE, FAMILIES);

/** IP protocol numbers (IANA): those that connection tracking knows. 255 is every other. */
export const L4_PROTOCOLS = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
  generic: 255,
} as const;
export const L4_PROTOCOL = named(U8, L4_PROTOCOLS);

/** NFT_OBJECT_*: what can be an object with a name. */
export const OBJECT_TYPE = named(U32_BE, {
  unspecified: C.NFT_OBJECT_UNSPEC,
  counter: C.NFT_OBJECT_COUNTER,
  quota: C.NFT_OBJECT_QUOTA,
  'ct-helper': C.NFT_OBJECT_CT_HELPER,
  limit: C.NFT_OBJECT_LIMIT,
  connlimit: C.NFT_OBJECT_CONNLIMIT,
  tunnel: C.NFT_OBJECT_TUNNEL,
  'ct-timeout': C.NFT_OBJECT_CT_TIMEOUT,
  secmark: C.NFT_OBJECT_SECMARK,
  'ct-expectation': C.NFT_OBJECT_CT_EXPECT,
  synproxy: C.NFT_OBJECT_SYNPROXY,
});

/** NF_NAT_RANGE_* */
export const NAT_FLAGS = {
  'map-addresses': NF_NAT_RANGE_MAP_IPS,
  'ports-specified': NF_NAT_RANGE_PROTO_SPECIFIED,
  random: NF_NAT_RANGE_PROTO_RANDOM,
  persistent: NF_NAT_RANGE_PERSISTENT,
  'fully-random': NF_NAT_RANGE_PROTO_RANDOM_FULLY,
  'port-offset': NF_NAT_RANGE_PROTO_OFFSET,
  netmap: NF_NAT_RANGE_NETMAP,
} as const;

export type NatFlag = keyof typeof NAT_FLAGS;

/** Levels of the kernel's log by nft's names; audit is none of syslog(3). */
export const LOG_LEVELS = {
  emerg: C.NFT_LOGLEVEL_EMERG,
  alert: C.NFT_LOGLEVEL_ALERT,
  crit: C.NFT_LOGLEVEL_CRIT,
  err: C.NFT_LOGLEVEL_ERR,
  warn: C.NFT_LOGLEVEL_WARNING,
  notice: C.NFT_LOGLEVEL_NOTICE,
  info: C.NFT_LOGLEVEL_INFO,
  debug: C.NFT_LOGLEVEL_DEBUG,
  audit: C.NFT_LOGLEVEL_AUDIT,
} as const;

/** NF_LOG_*: what the kernel's log shows besides, by nft's names. */
export const LOG_FLAGS = {
  'tcp-sequence': NF_LOG_TCPSEQ,
  'tcp-options': NF_LOG_TCPOPT,
  'ip-options': NF_LOG_IPOPT,
  skuid: NF_LOG_UID,
  nflog: NF_LOG_NFLOG,
  ether: NF_LOG_MACDECODE,
} as const;

/** IPS_*: the bits of a connection's status. */
export const CT_STATUS = {
  expected: IPS_EXPECTED,
  'seen-reply': IPS_SEEN_REPLY,
  assured: IPS_ASSURED,
  confirmed: IPS_CONFIRMED,
  snat: IPS_SRC_NAT,
  dnat: IPS_DST_NAT,
  'sequence-adjust': IPS_SEQ_ADJUST,
  'snat-done': IPS_SRC_NAT_DONE,
  'dnat-done': IPS_DST_NAT_DONE,
  dying: IPS_DYING,
  'fixed-timeout': IPS_FIXED_TIMEOUT,
  template: IPS_TEMPLATE,
  untracked: IPS_UNTRACKED,
  helper: IPS_HELPER,
  offload: IPS_OFFLOAD,
  'hardware-offload': IPS_HW_OFFLOAD,
} as const;
