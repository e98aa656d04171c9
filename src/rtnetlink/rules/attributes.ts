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
/** What a rule does with packets (FR_ACT_*). */
export type RuleAction = keyof typeof ACTIONS;

export const IP_PROTOCOLS = {
  icmp: IPPROTO_ICMP,
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
  icmpv6: IPPROTO_ICMPV6,
  sctp: IPPROTO_SCTP,
} as const;
/** A protocol that packets have over IP. */
export type RuleIpProtocol = keyof typeof IP_PROTOCOLS;

export const RULE_FLAGS = {
  permanent: C.FIB_RULE_PERMANENT,
  invert: C.FIB_RULE_INVERT,
  unresolved: C.FIB_RULE_UNRESOLVED,
  'in-device-detached': C.FIB_RULE_IIF_DETACHED,
  'out-device-detached': C.FIB_RULE_OIF_DETACHED,
} as const;
/** A flag of a rule (FIB_RULE_*): 'unresolved' has no target to go to, 'detached' ones wait for their device. */
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

const fib_rule_uid_range = struct('fib_rule_uid_range', { start: [4, U32_NE], end: [4, U32_NE] });
const fib_rule_port_range = struct('fib_rule_port_range', { start: [2, U16_NE], end: [2, U16_NE] });
/** From the first to the last, both included. */
export type RuleUsers = Infer<typeof fib_rule_uid_range>;
/** From the first to the last, both included, 1 to 65535. */
export type RulePorts = Infer<typeof fib_rule_port_range>;

export const FRA = attributes('FRA', {
  /** The destination; its length is in the header. */
  to: opt(attribute(C.FRA_DST, IP_ADDRESS)),
  /** The source; its length is in the header. */
  from: opt(attribute(C.FRA_SRC, IP_ADDRESS)),
  /** Packets that came in by the device of this name, which need not exist; 'lo' is those that are sent here. */
  inDevice: opt(attribute(C.FRA_IIFNAME, deviceName())),
  /** Packets of sockets that are bound to the device of this name. */
  outDevice: opt(attribute(C.FRA_OIFNAME, deviceName())),
  /** Action 'goto': the priority of the rule that comes next. It must be a higher one. */
  goto: opt(u32ne(C.FRA_GOTO)),
  /** Rules are asked in this order, the lowest first. */
  priority: opt(u32ne(C.FRA_PRIORITY)),
  /** The firewall mark of packets. */
  mark: opt(u32ne(C.FRA_FWMARK)),
  /** The bits of the mark that are looked at. */
  markMask: opt(u32ne(C.FRA_FWMASK)),
  /** IPv4: the realms that routes get. */
  realm: opt(u32ne(C.FRA_FLOW)),
  /** The number of the tunnel that packets came by. */
  tunnelId: opt(u64be(C.FRA_TUN_ID)),
  /** Routes over devices of this group are not taken. */
  suppressGroup: opt(u32ne(C.FRA_SUPPRESS_IFGROUP)),
  /** Routes with a prefix of this length or a shorter one are not taken: 0 leaves the default route out. */
  suppressPrefixLength: opt(u32ne(C.FRA_SUPPRESS_PREFIXLEN)),
  /** Action 'table': the table; the header has room for numbers up to 255 only. */
  table: opt(u32ne(C.FRA_TABLE)),
  /** The table is that of the VRF that packets belong to. */
  l3mdev: opt(u8(C.FRA_L3MDEV)),
  /** The users that sockets belong to (Linux 4.10). */
  users: opt(attribute(C.FRA_UID_RANGE, fib_rule_uid_range)),
  /** Who added the rule (Linux 4.17). */
  protocol: opt(attribute(C.FRA_PROTOCOL, named(U8, PROTOCOLS))),
  /** The protocol of packets (Linux 4.17). */
  ipProtocol: opt(attribute(C.FRA_IP_PROTO, named(U8, IP_PROTOCOLS))),
  /** The ports that packets come from (Linux 4.17). */
  sourcePorts: opt(attribute(C.FRA_SPORT_RANGE, fib_rule_port_range)),
  /** The ports that packets go to (Linux 4.17). */
  destinationPorts: opt(attribute(C.FRA_DPORT_RANGE, fib_rule_port_range)),
  /** The six bits of differentiated services, 0 to 63 (Linux 6.12). Not beside `tos`. */
  dscp: opt(u8(C.FRA_DSCP)),
  /** IPv6: the flow label, 0 to 2^20-1 (Linux 6.14). */
  flowLabel: opt(u32be(C.FRA_FLOWLABEL)),
  /** The bits of the flow label that are looked at. */
  flowLabelMask: opt(u32be(C.FRA_FLOWLABEL_MASK)),
  /** The bits of one source port that are looked at (Linux 6.15). */
  sourcePortMask: opt(attribute(C.FRA_SPORT_MASK, U16_NE)),
  /** The bits of one destination port that are looked at (Linux 6.15). */
  destinationPortMask: opt(attribute(C.FRA_DPORT_MASK, U16_NE)),
  /** The bits of `dscp` that are looked at (Linux 6.15). */
  dscpMask: opt(u8(C.FRA_DSCP_MASK)),
});

export type RuleAttributes = Infer<typeof FRA>;
export type RuleHeader = Infer<typeof fib_rule_hdr>;
export const RULE = kind(fib_rule_hdr, FRA);

/** Selectors that older kernels take and do not look at: the rule is then one for all packets. */
export const NEWER: Readonly<Record<string, string>> = {
  dscp: '6.12',
  flowLabel: '6.14',
  flowLabelMask: '6.14',
  sourcePortMask: '6.15',
  destinationPortMask: '6.15',
  dscpMask: '6.15',
};
