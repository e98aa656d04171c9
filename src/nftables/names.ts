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
