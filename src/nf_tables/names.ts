import { named, U8, U16_BE, U32_BE } from '../codec/index.ts';
import * as C from './constants.ts';

/** NFPROTO_* where an expression has one of its own, by the names of tables' families. */
const FAMILIES = {
  unspecified: C.NFPROTO_UNSPEC,
  inet: C.NFPROTO_INET,
  ip: C.NFPROTO_IPV4,
  arp: C.NFPROTO_ARP,
  netdev: C.NFPROTO_NETDEV,
  bridge: C.NFPROTO_BRIDGE,
  ip6: C.NFPROTO_IPV6,
} as const;

export const PROTOCOL_FAMILY = named(U32_BE, FAMILIES);
/** The same in objects of connection tracking. */
export const L3_PROTOCOL = named(U16_BE, FAMILIES);

/** IP protocol numbers (IANA): those that connection tracking knows. 255 is every other. */
export const L4_PROTOCOL = named(U8, {
  icmp: 1,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
  generic: 255,
});

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
  'map-addresses': C.NF_NAT_RANGE_MAP_IPS,
  'ports-specified': C.NF_NAT_RANGE_PROTO_SPECIFIED,
  random: C.NF_NAT_RANGE_PROTO_RANDOM,
  persistent: C.NF_NAT_RANGE_PERSISTENT,
  'fully-random': C.NF_NAT_RANGE_PROTO_RANDOM_FULLY,
  'port-offset': C.NF_NAT_RANGE_PROTO_OFFSET,
  netmap: C.NF_NAT_RANGE_NETMAP,
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
  'tcp-sequence': C.NF_LOG_TCPSEQ,
  'tcp-options': C.NF_LOG_TCPOPT,
  'ip-options': C.NF_LOG_IPOPT,
  skuid: C.NF_LOG_UID,
  nflog: C.NF_LOG_NFLOG,
  ether: C.NF_LOG_MACDECODE,
} as const;

/** IPS_*: the bits of a connection's status. */
export const CT_STATUS = {
  expected: C.IPS_EXPECTED,
  'seen-reply': C.IPS_SEEN_REPLY,
  assured: C.IPS_ASSURED,
  confirmed: C.IPS_CONFIRMED,
  snat: C.IPS_SRC_NAT,
  dnat: C.IPS_DST_NAT,
  'sequence-adjust': C.IPS_SEQ_ADJUST,
  'snat-done': C.IPS_SRC_NAT_DONE,
  'dnat-done': C.IPS_DST_NAT_DONE,
  dying: C.IPS_DYING,
  'fixed-timeout': C.IPS_FIXED_TIMEOUT,
  template: C.IPS_TEMPLATE,
  untracked: C.IPS_UNTRACKED,
  helper: C.IPS_HELPER,
  offload: C.IPS_OFFLOAD,
  'hardware-offload': C.IPS_HW_OFFLOAD,
} as const;
