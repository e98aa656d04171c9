import {
  attribute,
  attributes,
  bytes,
  exactly,
  flags,
  formatIPv4,
  formatIPv6,
  inline,
  named,
  nested,
  opt,
  parseIPv4,
  parseIPv6,
  string,
  type Type,
  U8,
  U32_BE,
  u8,
  u16be,
  u32be,
  u32ne,
  u64be,
} from '../codec/index.ts';
import { rangeError } from '../errors.ts';
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
  NF_CT_EXPECT_INACTIVE,
  NF_CT_EXPECT_PERMANENT,
  NF_CT_EXPECT_USERSPACE,
} from '../linux/nf_conntrack_common.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';

/*
 * The attributes of ctnetlink (net/netfilter/nf_conntrack_netlink.c), one row each. The conntrack API writes and reads
 * them as messages. NFLOG reads the same attributes inside its packets. The kernel's version, configuration and sysctls
 * decide which of them it sends.
 */

function address(size: number, parse: typeof parseIPv4, format: typeof formatIPv4): Type<string> {
  return {
    kind: `address(${size})`,
    lengths: exactly(size),
    write(writer, value) {
      const parsed = parse(value);
      if (parsed === undefined) throw rangeError([], 'an IP address', value, 'ERR_INVALID_ADDRESS');
      writer.raw(parsed);
    },
    read: ({ bytes: all }, start, end) => (end - start === size ? format(all, start) : undefined),
  };
}
const IPV4 = address(4, parseIPv4, formatIPv4);
const IPV6 = address(16, parseIPv6, formatIPv6);

export const tupleTable = attributes('CTA_TUPLE', () => ({
  addresses: inline(
    C.CTA_TUPLE_IP,
    attributes('CTA_IP', {
      source4: opt(attribute(C.CTA_IP_V4_SRC, IPV4)),
      destination4: opt(attribute(C.CTA_IP_V4_DST, IPV4)),
      source6: opt(attribute(C.CTA_IP_V6_SRC, IPV6)),
      destination6: opt(attribute(C.CTA_IP_V6_DST, IPV6)),
    }),
  ),
  transport: inline(
    C.CTA_TUPLE_PROTO,
    attributes('CTA_PROTO', {
      protocol: opt(u8(C.CTA_PROTO_NUM)),
      sourcePort: opt(u16be(C.CTA_PROTO_SRC_PORT)),
      destinationPort: opt(u16be(C.CTA_PROTO_DST_PORT)),
      icmpId: opt(u16be(C.CTA_PROTO_ICMP_ID)),
      icmpType: opt(u8(C.CTA_PROTO_ICMP_TYPE)),
      icmpCode: opt(u8(C.CTA_PROTO_ICMP_CODE)),
      icmpv6Id: opt(u16be(C.CTA_PROTO_ICMPV6_ID)),
      icmpv6Type: opt(u8(C.CTA_PROTO_ICMPV6_TYPE)),
      icmpv6Code: opt(u8(C.CTA_PROTO_ICMPV6_CODE)),
    }),
  ),
  zone: opt(u16be(C.CTA_TUPLE_ZONE)),
}));

/** enum tcp_conntrack (include/uapi/linux/netfilter/nf_conntrack_tcp.h). */
export const TCP_STATES = {
  none: 0,
  'syn-sent': 1,
  'syn-recv': 2,
  established: 3,
  'fin-wait': 4,
  'close-wait': 5,
  'last-ack': 6,
  'time-wait': 7,
  close: 8,
  'syn-sent2': 9,
} as const;

/** enum sctp_conntrack (include/uapi/linux/netfilter/nf_conntrack_sctp.h). */
export const SCTP_STATES = {
  none: 0,
  closed: 1,
  'cookie-wait': 2,
  'cookie-echoed': 3,
  established: 4,
  'shutdown-sent': 5,
  'shutdown-recd': 6,
  'shutdown-ack-sent': 7,
  'heartbeat-sent': 8,
  'heartbeat-acked': 9,
} as const;

/** enum ct_dccp_states (include/linux/netfilter/nf_conntrack_dccp.h). Linux 6.17 removed DCCP. */
export const DCCP_STATES = {
  none: 0,
  request: 1,
  respond: 2,
  partopen: 3,
  open: 4,
  closereq: 5,
  closing: 6,
  timewait: 7,
  ignore: 8,
  invalid: 9,
} as const;

export const tcpTable = attributes('CTA_PROTOINFO_TCP', () => ({
  /** The state, with the name that conntrack(8) prints, in lower case. */
  state: opt(attribute(C.CTA_PROTOINFO_TCP_STATE, named(U8, TCP_STATES))),
  /** The window scale of the original direction, 0 to 14. */
  originalWindowScale: opt(u8(C.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL)),
  /** The window scale of the reply direction, 0 to 14. */
  replyWindowScale: opt(u8(C.CTA_PROTOINFO_TCP_WSCALE_REPLY)),
  /** IP_CT_TCP_FLAG_* in the first byte, a mask in the second. */
  originalFlags: opt(bytes(C.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, { min: 2, max: 2 })),
  /** The flags of the reply direction: value and mask, as hex. */
  replyFlags: opt(bytes(C.CTA_PROTOINFO_TCP_FLAGS_REPLY, { min: 2, max: 2 })),
}));

export const sctpTable = attributes('CTA_PROTOINFO_SCTP', () => ({
  /** The state of the connection. */
  state: opt(attribute(C.CTA_PROTOINFO_SCTP_STATE, named(U8, SCTP_STATES))),
  /** The verification tag of the original direction. */
  originalTag: opt(u32be(C.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL)),
  /** The verification tag of the reply direction. */
  replyTag: opt(u32be(C.CTA_PROTOINFO_SCTP_VTAG_REPLY)),
}));

export const dccpTable = attributes('CTA_PROTOINFO_DCCP', () => ({
  /** The state of the connection. */
  state: opt(attribute(C.CTA_PROTOINFO_DCCP_STATE, named(U8, DCCP_STATES))),
  /** The role of the side that began the connection: 0 client, 1 server. */
  role: opt(u8(C.CTA_PROTOINFO_DCCP_ROLE)),
  /** The sequence number of the handshake. */
  handshakeSequence: opt(u64be(C.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ)),
}));

export const counterTable = attributes('CTA_COUNTERS', () => ({
  /** Packets of this direction. */
  packets: opt(u64be(C.CTA_COUNTERS_PACKETS)),
  /** Bytes of this direction. */
  bytes: opt(u64be(C.CTA_COUNTERS_BYTES)),
}));

/** The correction of TCP sequence numbers after a helper changed the length of the data. */
export const adjustmentTable = attributes('CTA_SEQADJ', () => ({
  /** The sequence number at which the payload's length last changed. */
  position: opt(u32be(C.CTA_SEQADJ_CORRECTION_POS)),
  /** What is added to sequence numbers before that position. */
  offsetBefore: opt(u32be(C.CTA_SEQADJ_OFFSET_BEFORE)),
  /** What is added to sequence numbers after it. */
  offsetAfter: opt(u32be(C.CTA_SEQADJ_OFFSET_AFTER)),
}));

export const synproxyTable = attributes('CTA_SYNPROXY', () => ({
  /** The first sequence number that the kernel sent. */
  initialSequence: opt(u32be(C.CTA_SYNPROXY_ISN)),
  /** The first timestamp of the server. */
  initialTimestamp: opt(u32be(C.CTA_SYNPROXY_ITS)),
  /** What is added to timestamps. */
  timestampOffset: opt(u32be(C.CTA_SYNPROXY_TSOFF)),
}));

export const translationTable = attributes('CTA_NAT', () => ({
  firstAddress4: opt(attribute(C.CTA_NAT_V4_MINIP, IPV4)),
  lastAddress4: opt(attribute(C.CTA_NAT_V4_MAXIP, IPV4)),
  ports: inline(
    C.CTA_NAT_PROTO,
    attributes('CTA_PROTONAT', {
      firstPort: opt(u16be(C.CTA_PROTONAT_PORT_MIN)),
      lastPort: opt(u16be(C.CTA_PROTONAT_PORT_MAX)),
    }),
  ),
  firstAddress6: opt(attribute(C.CTA_NAT_V6_MINIP, IPV6)),
  lastAddress6: opt(attribute(C.CTA_NAT_V6_MAXIP, IPV6)),
}));

/** enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h). */
export const STATUS = {
  expected: IPS_EXPECTED,
  'seen-reply': IPS_SEEN_REPLY,
  assured: IPS_ASSURED,
  confirmed: IPS_CONFIRMED,
  'source-nat': IPS_SRC_NAT,
  'destination-nat': IPS_DST_NAT,
  'sequence-adjust': IPS_SEQ_ADJUST,
  'source-nat-done': IPS_SRC_NAT_DONE,
  'destination-nat-done': IPS_DST_NAT_DONE,
  dying: IPS_DYING,
  'fixed-timeout': IPS_FIXED_TIMEOUT,
  template: IPS_TEMPLATE,
  /** IPS_UNTRACKED in old kernels, IPS_NAT_CLASH since Linux 4.13. */
  'nat-clash': IPS_UNTRACKED,
  helper: IPS_HELPER,
  offload: IPS_OFFLOAD,
  'hardware-offload': IPS_HW_OFFLOAD,
} as const;

/** A flag of a flow's status (IPS_*). */
export type StatusFlag = keyof typeof STATUS;

/** The bits of CTA_FILTER (CTA_FILTER_F_* in net/netfilter/nf_conntrack_netlink.c). The kernel's public headers lack them. */
export const FILTER_FIELDS = { source: 1, destination: 2, protocol: 8, sourcePort: 16, destinationPort: 32 } as const;

/** Selects the fields of a tuple that filter a dump. Unlike all other attributes here, the bits are in the host's byte order. */
const filterTable = attributes('CTA_FILTER', () => ({
  originalFields: opt(u32ne(C.CTA_FILTER_ORIG_FLAGS)),
  replyFields: opt(u32ne(C.CTA_FILTER_REPLY_FLAGS)),
}));

/** One flow: a message of ctnetlink, and the content of NFULA_CT in NFLOG. */
export const flowTable = attributes('CTA', () => ({
  original: opt(nested(C.CTA_TUPLE_ORIG, tupleTable)),
  reply: opt(nested(C.CTA_TUPLE_REPLY, tupleTable)),
  status: opt(attribute(C.CTA_STATUS, flags(U32_BE, STATUS))),
  protocolInfo: inline(
    C.CTA_PROTOINFO,
    attributes('CTA_PROTOINFO', {
      /** The state of a TCP connection. */
      tcp: opt(nested(C.CTA_PROTOINFO_TCP, tcpTable)),
      /** The state of a DCCP connection. */
      dccp: opt(nested(C.CTA_PROTOINFO_DCCP, dccpTable)),
      /** The state of an SCTP association. */
      sctp: opt(nested(C.CTA_PROTOINFO_SCTP, sctpTable)),
    }),
  ),
  help: inline(
    C.CTA_HELP,
    attributes('CTA_HELP', {
      /** The name of the helper. */
      helper: opt(string(C.CTA_HELP_NAME, 16)),
      /** The helper's own data, as hex. */
      helperInfo: opt(bytes(C.CTA_HELP_INFO, { max: 1024 })),
    }),
  ),
  /** Only written. In a flow that was read, the tuples and the status show which addresses NAT has changed. */
  sourceTranslation: opt(nested(C.CTA_NAT_SRC, translationTable)),
  destinationTranslation: opt(nested(C.CTA_NAT_DST, translationTable)),
  /** Seconds until the flow ends if no packet comes. */
  timeoutSeconds: opt(u32be(C.CTA_TIMEOUT)),
  mark: opt(u32be(C.CTA_MARK)),
  /** The bits of the mark that a request compares or changes. */
  markMask: opt(u32be(C.CTA_MARK_MASK)),
  originalCounters: opt(nested(C.CTA_COUNTERS_ORIG, counterTable)),
  replyCounters: opt(nested(C.CTA_COUNTERS_REPLY, counterTable)),
  /** How many refer to the flow. */
  use: opt(u32be(C.CTA_USE)),
  /** The kernel's number for the flow. */
  id: opt(u32be(C.CTA_ID)),
  master: opt(nested(C.CTA_TUPLE_MASTER, tupleTable)),
  /** How sequence numbers of the original direction are changed. */
  originalAdjustment: opt(nested(C.CTA_SEQ_ADJ_ORIG, adjustmentTable)),
  /** How sequence numbers of the reply direction are changed. */
  replyAdjustment: opt(nested(C.CTA_SEQ_ADJ_REPLY, adjustmentTable)),
  /** The conntrack zone. */
  zone: opt(u16be(C.CTA_ZONE)),
  security: inline(
    C.CTA_SECCTX,
    attributes('CTA_SECCTX', {
      /** The security context of the flow (SELinux). */
      securityContext: opt(string(C.CTA_SECCTX_NAME, 4096)),
    }),
  ),
  timestamp: inline(
    C.CTA_TIMESTAMP,
    attributes('CTA_TIMESTAMP', {
      startNanoseconds: opt(u64be(C.CTA_TIMESTAMP_START)),
      stopNanoseconds: opt(u64be(C.CTA_TIMESTAMP_STOP)),
    }),
  ),
  /** The labels, as hex. */
  labels: opt(bytes(C.CTA_LABELS, { max: 128 })),
  labelsMask: opt(bytes(C.CTA_LABELS_MASK, { max: 128 })),
  /** What SYNPROXY changes in sequence numbers and timestamps. */
  synproxy: opt(nested(C.CTA_SYNPROXY, synproxyTable)),
  filter: opt(nested(C.CTA_FILTER, filterTable)),
  statusMask: opt(u32be(C.CTA_STATUS_MASK)),
  /** Only in events, since Linux 6.14, with net.netfilter.nf_conntrack_timestamp on. */
  eventNanoseconds: opt(u64be(C.CTA_TIMESTAMP_EVENT)),
}));

const EXPECTATION_FLAGS = {
  permanent: NF_CT_EXPECT_PERMANENT,
  inactive: NF_CT_EXPECT_INACTIVE,
  userspace: NF_CT_EXPECT_USERSPACE,
} as const;

/** A connection that a helper expects. */
export const expectationTable = attributes('CTA_EXPECT', () => ({
  master: opt(nested(C.CTA_EXPECT_MASTER, tupleTable)),
  tuple: opt(nested(C.CTA_EXPECT_TUPLE, tupleTable)),
  mask: opt(nested(C.CTA_EXPECT_MASK, tupleTable)),
  timeoutSeconds: opt(u32be(C.CTA_EXPECT_TIMEOUT)),
  id: opt(u32be(C.CTA_EXPECT_ID)),
  helper: opt(string(C.CTA_EXPECT_HELP_NAME, 16)),
  zone: opt(u16be(C.CTA_EXPECT_ZONE)),
  flags: opt(attribute(C.CTA_EXPECT_FLAGS, flags(U32_BE, EXPECTATION_FLAGS))),
  class: opt(u32be(C.CTA_EXPECT_CLASS)),
  translation: inline(
    C.CTA_EXPECT_NAT,
    attributes('CTA_EXPECT_NAT', {
      direction: opt(attribute(C.CTA_EXPECT_NAT_DIR, named(U32_BE, { original: 0, reply: 1 }))),
      translatedTuple: opt(nested(C.CTA_EXPECT_NAT_TUPLE, tupleTable)),
    }),
  ),
  function: opt(string(C.CTA_EXPECT_FN, 64)),
}));

/** The reply to IPCTNL_MSG_CT_GET_STATS. */
export const totalsTable = attributes('CTA_STATS_GLOBAL', () => ({
  entries: opt(u32be(C.CTA_STATS_GLOBAL_ENTRIES)),
  maxEntries: opt(u32be(C.CTA_STATS_GLOBAL_MAX_ENTRIES)),
}));

/** The counters of one processor. */
export const statisticsTable = attributes('CTA_STATS', () => ({
  found: opt(u32be(C.CTA_STATS_FOUND)),
  invalid: opt(u32be(C.CTA_STATS_INVALID)),
  insert: opt(u32be(C.CTA_STATS_INSERT)),
  insertFailed: opt(u32be(C.CTA_STATS_INSERT_FAILED)),
  drop: opt(u32be(C.CTA_STATS_DROP)),
  earlyDrop: opt(u32be(C.CTA_STATS_EARLY_DROP)),
  error: opt(u32be(C.CTA_STATS_ERROR)),
  searchRestart: opt(u32be(C.CTA_STATS_SEARCH_RESTART)),
  clashResolve: opt(u32be(C.CTA_STATS_CLASH_RESOLVE)),
  chainTooLong: opt(u32be(C.CTA_STATS_CHAIN_TOOLONG)),
}));

/** The counters of one processor about expectations. */
export const expectationStatisticsTable = attributes('CTA_STATS_EXP', () => ({
  new: opt(u32be(C.CTA_STATS_EXP_NEW)),
  create: opt(u32be(C.CTA_STATS_EXP_CREATE)),
  delete: opt(u32be(C.CTA_STATS_EXP_DELETE)),
}));

export type WireTuple = NonNullable<ReturnType<typeof tupleTable.read>>;
export type WireFlow = NonNullable<ReturnType<typeof flowTable.read>>;
export type WireExpectation = NonNullable<ReturnType<typeof expectationTable.read>>;
