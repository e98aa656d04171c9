import {
  attribute,
  attributes,
  type Infer,
  IP_ADDRESS,
  named,
  opt,
  struct,
  U8,
  U16_NE,
  U32_NE,
  u8,
  u32be,
  u32ne,
  u64be,
} from '../../codec/index.ts';
import * as C from '../../linux/fib_rules.ts';
import { IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP } from '../../linux/in.ts';
import { IPPROTO_ICMPV6 } from '../../linux/in6.ts';
import { deviceName } from '../device.ts';
import { kind } from '../request.ts';
import { PROTOCOLS } from '../routes/attributes.ts';

export const ACTIONS = {
  table: C.FR_ACT_TO_TBL,
  goto: C.FR_ACT_GOTO,
  nop: C.FR_ACT_NOP,
  blackhole: C.FR_ACT_BLACKHOLE,
  unreachable: C.FR_ACT_UNREACHABLE,
  prohibit: C.FR_ACT_PROHIBIT,
} as const;
/** The action of a rule on packets (FR_ACT_*). */
export type RuleAction = keyof typeof ACTIONS;

export const IP_PROTOCOLS = {
  icmp: IPPROTO_ICMP,
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
  icmpv6: IPPROTO_ICMPV6,
  sctp: IPPROTO_SCTP,
} as const;
/** A protocol above IP. */
export type RuleIpProtocol = keyof typeof IP_PROTOCOLS;

export const RULE_FLAGS = {
  permanent: C.FIB_RULE_PERMANENT,
  invert: C.FIB_RULE_INVERT,
  unresolved: C.FIB_RULE_UNRESOLVED,
  'in-device-detached': C.FIB_RULE_IIF_DETACHED,
  'out-device-detached': C.FIB_RULE_OIF_DETACHED,
} as const;
/** A flag of a rule (FIB_RULE_*). An 'unresolved' rule has no target to go to; a 'detached' rule waits for its device. */
export type RuleFlag = keyof typeof RULE_FLAGS;

export const fib_rule_hdr = struct('fib_rule_hdr', {
  family: [1, U8],
  dst_len: [1, U8],
  src_len: [1, U8],
  tos: [1, U8],
  table: [1, U8],
  _res1: [1, U8],
  _res2: [1, U8],
  action: [1, named(U8, ACTIONS)],
  flags: [4, U32_NE],
});

const fib_rule_uid_range = struct('fib_rule_uid_range', {
  /** The first one. */
  start: [4, U32_NE],
  /** The last one. */
  end: [4, U32_NE],
});
const fib_rule_port_range = struct('fib_rule_port_range', {
  /** The first one. */
  start: [2, U16_NE],
  /** The last one. */
  end: [2, U16_NE],
});
/** A range of users, both ends included. */
export type RuleUsers = Infer<typeof fib_rule_uid_range>;
/** A range of ports, both ends included, 1 to 65535. */
export type RulePorts = Infer<typeof fib_rule_port_range>;

export const FRA = attributes('FRA', () => ({
  /** The destination. The header has its length. */
  to: opt(attribute(C.FRA_DST, IP_ADDRESS)),
  /** The source. The header has its length. */
  from: opt(attribute(C.FRA_SRC, IP_ADDRESS)),
  /** Only packets that came in through the device of this name, which need not exist. 'lo' means packets that this host sends. */
  inDevice: opt(attribute(C.FRA_IIFNAME, deviceName())),
  /** Only packets of sockets that are bound to the device of this name. */
  outDevice: opt(attribute(C.FRA_OIFNAME, deviceName())),
  /** Action 'goto': the priority of the next rule to try. It must be higher than the rule's own. */
  goto: opt(u32ne(C.FRA_GOTO)),
  /** The kernel tries rules in the order of their priority, the lowest first. */
  priority: opt(u32ne(C.FRA_PRIORITY)),
  /** The firewall mark of packets. */
  mark: opt(u32ne(C.FRA_FWMARK)),
  /** The bits of the mark that are compared. */
  markMask: opt(u32ne(C.FRA_FWMASK)),
  /** IPv4: the realms that the rule assigns. */
  realm: opt(u32ne(C.FRA_FLOW)),
  /** The number of the tunnel through which packets came. */
  tunnelId: opt(u64be(C.FRA_TUN_ID)),
  /** Do not use routes over devices of this group. */
  suppressGroup: opt(u32ne(C.FRA_SUPPRESS_IFGROUP)),
  /** Do not use routes with a prefix of this length or a shorter one: 0 excludes the default route. */
  suppressPrefixLength: opt(u32ne(C.FRA_SUPPRESS_PREFIXLEN)),
  /** Action 'table': the table. The header has room only for numbers up to 255. */
  table: opt(u32ne(C.FRA_TABLE)),
  /** Use the table of the VRF to which packets belong. */
  l3mdev: opt(u8(C.FRA_L3MDEV)),
  /** The users to which sockets belong (Linux 4.10). */
  users: opt(attribute(C.FRA_UID_RANGE, fib_rule_uid_range)),
  /** Who added the rule (Linux 4.17). */
  protocol: opt(attribute(C.FRA_PROTOCOL, named(U8, PROTOCOLS))),
  /** The protocol above IP (Linux 4.17). */
  ipProtocol: opt(attribute(C.FRA_IP_PROTO, named(U8, IP_PROTOCOLS))),
  /** The source ports (Linux 4.17). */
  sourcePorts: opt(attribute(C.FRA_SPORT_RANGE, fib_rule_port_range)),
  /** The destination ports (Linux 4.17). */
  destinationPorts: opt(attribute(C.FRA_DPORT_RANGE, fib_rule_port_range)),
  /** The six bits of differentiated services, 0 to 63 (Linux 6.12). Not together with `tos`. */
  dscp: opt(u8(C.FRA_DSCP)),
  /** IPv6: the flow label, 0 to 2^20-1 (Linux 6.14). */
  flowLabel: opt(u32be(C.FRA_FLOWLABEL)),
  /** The bits of the flow label that are compared. */
  flowLabelMask: opt(u32be(C.FRA_FLOWLABEL_MASK)),
  /** The bits of one source port that are compared (Linux 6.15). */
  sourcePortMask: opt(attribute(C.FRA_SPORT_MASK, U16_NE)),
  /** The bits of one destination port that are compared (Linux 6.15). */
  destinationPortMask: opt(attribute(C.FRA_DPORT_MASK, U16_NE)),
  /** The bits of `dscp` that are compared (Linux 6.15). */
  dscpMask: opt(u8(C.FRA_DSCP_MASK)),
}));

export type RuleAttributes = Infer<typeof FRA>;
export type RuleHeader = Infer<typeof fib_rule_hdr>;
export const RULE = kind(fib_rule_hdr, FRA);

/** Selectors that older kernels accept but ignore, so that the rule then matches all packets. */
export const NEWER: Readonly<Record<string, string>> = {
  dscp: '6.12',
  flowLabel: '6.14',
  flowLabelMask: '6.14',
  sourcePortMask: '6.15',
  destinationPortMask: '6.15',
  dscpMask: '6.15',
};
