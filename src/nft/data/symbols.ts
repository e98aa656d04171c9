/* nft's names of numbers. A number with several names is printed by the first; the others are only read. */

/** Names and their numbers, in nft's order. */
export type Symbols = Readonly<Record<string, number>>;

export const NF_PROTO = { ipv4: 2, ipv6: 10 } as const;

/** IP protocols that are words of nft's language: no file is asked for them. */
export const IP_PROTOCOL_WORD = {
  tcp: 6,
  udp: 17,
  udplite: 136,
  esp: 50,
  ah: 51,
  icmp: 1,
  icmpv6: 58,
  comp: 108,
  dccp: 33,
  sctp: 132,
} as const;

/** IP protocols by the names of IANA: the names of a system without /etc/protocols. */
export const IP_PROTOCOL = {
  ip: 0,
  igmp: 2,
  ipencap: 4,
  egp: 8,
  igp: 9,
  ipv6: 41,
  'ipv6-route': 43,
  'ipv6-frag': 44,
  rsvp: 46,
  gre: 47,
  'ipv6-icmp': 58,
  'ipv6-nonxt': 59,
  'ipv6-opts': 60,
  eigrp: 88,
  ospf: 89,
  ipip: 94,
  pim: 103,
  vrrp: 112,
  l2tp: 115,
  isis: 124,
  'mobility-header': 135,
  'mpls-in-ip': 137,
  hip: 139,
  ...IP_PROTOCOL_WORD,
} as const;

export const BOOLEAN = { exists: 1, missing: 0 } as const;

export const ETHER_TYPE = {
  ip: 0x0800,
  arp: 0x0806,
  ip6: 0x86dd,
  '8021q': 0x8100,
  '8021ad': 0x88a8,
  vlan: 0x8100,
} as const;

export const ARP_OP = {
  request: 1,
  reply: 2,
  rrequest: 3,
  rreply: 4,
  inrequest: 8,
  inreply: 9,
  nak: 10,
} as const;

export const ICMP_TYPE = {
  'echo-reply': 0,
  'destination-unreachable': 3,
  'source-quench': 4,
  redirect: 5,
  'echo-request': 8,
  'router-advertisement': 9,
  'router-solicitation': 10,
  'time-exceeded': 11,
  'parameter-problem': 12,
  'timestamp-request': 13,
  'timestamp-reply': 14,
  'info-request': 15,
  'info-reply': 16,
  'address-mask-request': 17,
  'address-mask-reply': 18,
} as const;

export const ICMP_CODE = {
  'net-unreachable': 0,
  'host-unreachable': 1,
  'prot-unreachable': 2,
  'port-unreachable': 3,
  'net-prohibited': 9,
  'host-prohibited': 10,
  'admin-prohibited': 13,
  'frag-needed': 4,
} as const;

export const ICMPV6_TYPE = {
  'destination-unreachable': 1,
  'packet-too-big': 2,
  'time-exceeded': 3,
  'parameter-problem': 4,
  'echo-request': 128,
  'echo-reply': 129,
  'mld-listener-query': 130,
  'mld-listener-report': 131,
  'mld-listener-done': 132,
  'mld-listener-reduction': 132,
  'nd-router-solicit': 133,
  'nd-router-advert': 134,
  'nd-neighbor-solicit': 135,
  'nd-neighbor-advert': 136,
  'nd-redirect': 137,
  'router-renumbering': 138,
  'ind-neighbor-solicit': 141,
  'ind-neighbor-advert': 142,
  'mld2-listener-report': 143,
} as const;

export const ICMPV6_CODE = {
  'no-route': 0,
  'admin-prohibited': 1,
  'addr-unreachable': 3,
  'port-unreachable': 4,
  'policy-fail': 5,
  'reject-route': 6,
} as const;

/** Codes of `reject with icmpx`: the kernel translates them into those of the packet's family. */
export const ICMPX_CODE = {
  'port-unreachable': 1,
  'admin-prohibited': 3,
  'no-route': 0,
  'host-unreachable': 2,
} as const;

export const IGMP_TYPE = {
  'membership-query': 0x11,
  'membership-report-v1': 0x12,
  'membership-report-v2': 0x16,
  'membership-report-v3': 0x22,
  'leave-group': 0x17,
} as const;

export const MH_TYPE = {
  'binding-refresh-request': 0,
  'home-test-init': 1,
  'careof-test-init': 2,
  'home-test': 3,
  'careof-test': 4,
  'binding-update': 5,
  'binding-acknowledgement': 6,
  'binding-error': 7,
  'fast-binding-update': 8,
  'fast-binding-acknowledgement': 9,
  'fast-binding-advertisement': 10,
  'experimental-mobility-header': 11,
  'home-agent-switch-message': 12,
} as const;

export const TCP_FLAG = {
  fin: 0x01,
  syn: 0x02,
  rst: 0x04,
  psh: 0x08,
  ack: 0x10,
  urg: 0x20,
  ecn: 0x40,
  cwr: 0x80,
} as const;

export const DCCP_PACKET_TYPE = {
  request: 0,
  response: 1,
  data: 2,
  ack: 3,
  dataack: 4,
  closereq: 5,
  close: 6,
  reset: 7,
  sync: 8,
  syncack: 9,
} as const;

/** nft has these names since 1.0.7. */
export const MPTCP_SUBTYPE = {
  'mp-capable': 0,
  'mp-join': 1,
  dss: 2,
  'add-addr': 3,
  'remove-addr': 4,
  'mp-prio': 5,
  'mp-fail': 6,
  'mp-fastclose': 7,
  'mp-tcprst': 8,
} as const;

export const DSCP = {
  cs0: 0x00,
  cs1: 0x08,
  cs2: 0x10,
  cs3: 0x18,
  cs4: 0x20,
  cs5: 0x28,
  cs6: 0x30,
  cs7: 0x38,
  df: 0x00,
  be: 0x00,
  lephb: 0x01,
  af11: 0x0a,
  af12: 0x0c,
  af13: 0x0e,
  af21: 0x12,
  af22: 0x14,
  af23: 0x16,
  af31: 0x1a,
  af32: 0x1c,
  af33: 0x1e,
  af41: 0x22,
  af42: 0x24,
  af43: 0x26,
  va: 0x2c,
  ef: 0x2e,
} as const;

export const ECN = { 'not-ect': 0, ect1: 1, ect0: 2, ce: 3 } as const;

export const INTERFACE_TYPE = {
  ether: 1,
  ppp: 512,
  ipip: 768,
  ipip6: 769,
  loopback: 772,
  sit: 776,
  ipgre: 778,
} as const;

export const PACKET_TYPE = { host: 0, unicast: 0, broadcast: 1, multicast: 2, other: 3 } as const;

export const DAY = {
  Sunday: 0,
  Monday: 1,
  Tuesday: 2,
  Wednesday: 3,
  Thursday: 4,
  Friday: 5,
  Saturday: 6,
} as const;

export const CT_STATE = { invalid: 0x01, new: 0x08, established: 0x02, related: 0x04, untracked: 0x40 } as const;

export const CT_DIRECTION = { original: 0, reply: 1 } as const;

/**
 * The last three are numbers of bits and not the bits themselves, as in nft. nft 1.1.4 added most of those from seq-adjust on.
 */
export const CT_STATUS = {
  expected: 0x001,
  'seen-reply': 0x002,
  assured: 0x004,
  confirmed: 0x008,
  snat: 0x010,
  dnat: 0x020,
  'seq-adjust': 0x040,
  'snat-done': 0x080,
  'dnat-done': 0x100,
  dying: 0x200,
  'fixed-timeout': 0x400,
  helper: 13,
  offload: 14,
  'hw-offload': 15,
} as const;

/** The names in nft 1.0.6. */
export const CT_STATUS_OLD = {
  expected: 0x001,
  'seen-reply': 0x002,
  assured: 0x004,
  confirmed: 0x008,
  snat: 0x010,
  dnat: 0x020,
  dying: 0x200,
} as const;

export const CT_EVENT = {
  new: 1 << 0,
  related: 1 << 1,
  destroy: 1 << 2,
  reply: 1 << 3,
  assured: 1 << 4,
  protoinfo: 1 << 5,
  helper: 1 << 6,
  mark: 1 << 7,
  seqadj: 1 << 8,
  secmark: 1 << 9,
  label: 1 << 10,
} as const;

export const FIB_ADDRESS_TYPE = {
  unspec: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const;
