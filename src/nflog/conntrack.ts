import {
  attribute,
  attributes,
  bytes,
  flags,
  formatIPv4,
  formatIPv6,
  inline,
  NO_CONTEXT,
  named,
  nested,
  opt,
  parseIPv4,
  parseIPv6,
  type Source,
  string,
  type Type,
  U8,
  U32_BE,
  type UnknownAttribute,
  u8,
  u16be,
  u32be,
  u64be,
} from '../codec/index.ts';
import { DecodeError, rangeError } from '../errors.ts';
import * as C from './constants.ts';
import { type Protocol, protocolOf } from './protocol.ts';

/*
 * The connection of a packet, as ctnetlink writes it (net/netfilter/nf_conntrack_netlink.c, __ctnetlink_glue_build): what is in it depends on
 * the kernel's version, configuration and sysctls.
 */

function address(size: number, parse: typeof parseIPv4, format: typeof formatIPv4): Type<string> {
  return {
    kind: `address(${size})`,
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

const tupleTable = attributes('CTA_TUPLE', {
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
});

/** enum tcp_conntrack (include/uapi/linux/netfilter/nf_conntrack_tcp.h). */
const TCP_STATES = {
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
const SCTP_STATES = {
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

const tcpTable = attributes('CTA_PROTOINFO_TCP', {
  /** As conntrack(8) prints it, in lower case. */
  state: opt(attribute(C.CTA_PROTOINFO_TCP_STATE, named(U8, TCP_STATES))),
  originalWindowScale: opt(u8(C.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL)),
  replyWindowScale: opt(u8(C.CTA_PROTOINFO_TCP_WSCALE_REPLY)),
  /** IP_CT_TCP_FLAG_* in the first byte, a mask in the second. */
  originalFlags: opt(bytes(C.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, { min: 2, max: 2 })),
  replyFlags: opt(bytes(C.CTA_PROTOINFO_TCP_FLAGS_REPLY, { min: 2, max: 2 })),
});

const sctpTable = attributes('CTA_PROTOINFO_SCTP', {
  state: opt(attribute(C.CTA_PROTOINFO_SCTP_STATE, named(U8, SCTP_STATES))),
  originalTag: opt(u32be(C.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL)),
  replyTag: opt(u32be(C.CTA_PROTOINFO_SCTP_VTAG_REPLY)),
});

const counterTable = attributes('CTA_COUNTERS', {
  packets: opt(u64be(C.CTA_COUNTERS_PACKETS)),
  bytes: opt(u64be(C.CTA_COUNTERS_BYTES)),
});

/** How a helper has moved the sequence numbers of TCP. */
const adjustmentTable = attributes('CTA_SEQADJ', {
  position: opt(u32be(C.CTA_SEQADJ_CORRECTION_POS)),
  offsetBefore: opt(u32be(C.CTA_SEQADJ_OFFSET_BEFORE)),
  offsetAfter: opt(u32be(C.CTA_SEQADJ_OFFSET_AFTER)),
});

const STATUS = {
  expected: C.IPS_EXPECTED,
  'seen-reply': C.IPS_SEEN_REPLY,
  assured: C.IPS_ASSURED,
  confirmed: C.IPS_CONFIRMED,
  'source-nat': C.IPS_SRC_NAT,
  'destination-nat': C.IPS_DST_NAT,
  'sequence-adjust': C.IPS_SEQ_ADJUST,
  'source-nat-done': C.IPS_SRC_NAT_DONE,
  'destination-nat-done': C.IPS_DST_NAT_DONE,
  dying: C.IPS_DYING,
  'fixed-timeout': C.IPS_FIXED_TIMEOUT,
  template: C.IPS_TEMPLATE,
  untracked: C.IPS_UNTRACKED,
  helper: C.IPS_HELPER,
  offload: C.IPS_OFFLOAD,
  'hardware-offload': C.IPS_HW_OFFLOAD,
} as const;

/** What NFULA_CT holds. */
export const conntrackTable = attributes('CTA', {
  original: opt(nested(C.CTA_TUPLE_ORIG, tupleTable)),
  reply: opt(nested(C.CTA_TUPLE_REPLY, tupleTable)),
  status: opt(attribute(C.CTA_STATUS, flags(U32_BE, STATUS))),
  protocolInfo: inline(
    C.CTA_PROTOINFO,
    attributes('CTA_PROTOINFO', {
      tcp: opt(nested(C.CTA_PROTOINFO_TCP, tcpTable)),
      sctp: opt(nested(C.CTA_PROTOINFO_SCTP, sctpTable)),
    }),
  ),
  help: inline(C.CTA_HELP, attributes('CTA_HELP', { helper: opt(string(C.CTA_HELP_NAME, 16)) })),
  timeoutSeconds: opt(u32be(C.CTA_TIMEOUT)),
  mark: opt(u32be(C.CTA_MARK)),
  originalCounters: opt(nested(C.CTA_COUNTERS_ORIG, counterTable)),
  replyCounters: opt(nested(C.CTA_COUNTERS_REPLY, counterTable)),
  use: opt(u32be(C.CTA_USE)),
  id: opt(u32be(C.CTA_ID)),
  master: opt(nested(C.CTA_TUPLE_MASTER, tupleTable)),
  originalAdjustment: opt(nested(C.CTA_SEQ_ADJ_ORIG, adjustmentTable)),
  replyAdjustment: opt(nested(C.CTA_SEQ_ADJ_REPLY, adjustmentTable)),
  zone: opt(u16be(C.CTA_ZONE)),
  security: inline(C.CTA_SECCTX, attributes('CTA_SECCTX', { securityContext: opt(string(C.CTA_SECCTX_NAME, 4096)) })),
  timestamp: inline(
    C.CTA_TIMESTAMP,
    attributes('CTA_TIMESTAMP', {
      startNanoseconds: opt(u64be(C.CTA_TIMESTAMP_START)),
      stopNanoseconds: opt(u64be(C.CTA_TIMESTAMP_STOP)),
    }),
  ),
  labels: opt(bytes(C.CTA_LABELS, { max: 128 })),
});

type WireTuple = NonNullable<ReturnType<typeof tupleTable.read>>;
type Wire = NonNullable<ReturnType<typeof conntrackTable.read>>;

/** One direction of a connection. */
export interface ConntrackTuple {
  source?: string;
  destination?: string;
  protocol?: Protocol;
  /** Of protocols with ports. */
  sourcePort?: number;
  destinationPort?: number;
  /** Of icmp and icmpv6. */
  icmpType?: number;
  icmpCode?: number;
  icmpId?: number;
  /** Where the zone is of this direction only. */
  zone?: number;
  unknown?: UnknownAttribute[];
}

/** The other end that NAT has put in place of one of this connection. */
export interface Translation {
  address: string;
  port?: number;
}

/** The connection that a packet belongs to (nf_conntrack). */
export interface Conntrack
  extends Omit<
    Wire,
    | 'original'
    | 'reply'
    | 'master'
    | 'mark'
    | 'status'
    | 'originalCounters'
    | 'replyCounters'
    | 'startNanoseconds'
    | 'stopNanoseconds'
  > {
  /** What the packet is to it: 'new' begins it, 'related' is another one's (an ICMP error, an FTP transfer). */
  state: 'new' | 'established' | 'related' | number;
  /** Which way the packet goes. */
  direction: 'original' | 'reply';
  /** The first packet's addresses as it was sent. */
  original?: ConntrackTuple;
  /** What answers look like: other addresses than `original` turned round are NAT's. */
  reply?: ConntrackTuple;
  /** Of an expected connection: the one that it belongs to. */
  master?: ConntrackTuple;
  /** What the sender's address was changed to. */
  sourceNat?: Translation;
  /** What the receiver's address was changed to. */
  destinationNat?: Translation;
  /** Bits without a name are one number at the end. */
  status: (keyof typeof STATUS | number)[];
  /** 0 where it has none. */
  mark: number;
  /** With net.netfilter.nf_conntrack_acct, from Linux 6.16 on. */
  counters?: { original?: Wire['originalCounters']; reply?: Wire['replyCounters'] };
  /** When it began, since 1970; with net.netfilter.nf_conntrack_timestamp, from Linux 6.16 on. */
  startedAtMicroseconds?: number;
  stoppedAtMicroseconds?: number;
}

function tupleOf(wire: WireTuple): ConntrackTuple {
  const { source4, source6, destination4, destination6, icmpv6Id, icmpv6Type, icmpv6Code, ...rest } = wire;
  const tuple: Record<string, unknown> = {
    source: source4 ?? source6,
    destination: destination4 ?? destination6,
    ...rest,
    protocol: wire.protocol === undefined ? undefined : protocolOf(wire.protocol),
    icmpType: wire.icmpType ?? icmpv6Type,
    icmpCode: wire.icmpCode ?? icmpv6Code,
    icmpId: wire.icmpId ?? icmpv6Id,
  };
  return withoutHoles(tuple);
}

function withoutHoles<T>(value: Record<string, unknown>): T {
  for (const key in value) if (value[key] === undefined) delete value[key];
  return value as T;
}

/** Reads what stands there; `info` is NFULA_CT_INFO. Undefined where it is no connection. */
export function readConntrack(source: Source, start: number, end: number, info: number): Conntrack | undefined {
  let wire: Wire | undefined;
  try {
    wire = conntrackTable.read(source, start, end, NO_CONTEXT);
  } catch (error) {
    // A nest that lies about its inside holds no connection.
    if (!(error instanceof DecodeError)) throw error;
  }
  return wire && conntrackOf(wire, info);
}

const STATES: Record<number, Conntrack['state']> = {
  [C.IP_CT_ESTABLISHED]: 'established',
  [C.IP_CT_RELATED]: 'related',
  [C.IP_CT_NEW]: 'new',
};

function conntrackOf(wire: Wire, info: number): Conntrack {
  const { original, reply, master, originalCounters, replyCounters, status = [], mark = 0, ...more } = wire;
  const { startNanoseconds, stopNanoseconds, ...rest } = more;
  const answers = reply && tupleOf(reply);
  const isReply = info >= C.IP_CT_IS_REPLY;
  const counters =
    originalCounters || replyCounters ? withoutHoles({ original: originalCounters, reply: replyCounters }) : undefined;
  return withoutHoles({
    state: STATES[isReply ? info - C.IP_CT_IS_REPLY : info] ?? info,
    direction: isReply ? 'reply' : 'original',
    original: original && tupleOf(original),
    reply: answers,
    master: master && tupleOf(master),
    // Answers go to whom the sender was changed to, and come from whom the receiver was changed to.
    sourceNat: status.includes('source-nat') ? translation(answers?.destination, answers?.destinationPort) : undefined,
    destinationNat: status.includes('destination-nat') ? translation(answers?.source, answers?.sourcePort) : undefined,
    status,
    mark,
    ...rest,
    counters,
    startedAtMicroseconds: microseconds(startNanoseconds),
    stoppedAtMicroseconds: microseconds(stopNanoseconds),
  });
}

function microseconds(nanoseconds: bigint | undefined): number | undefined {
  return nanoseconds === undefined ? undefined : Number(nanoseconds / 1000n);
}

function translation(address: string | undefined, port: number | undefined): Translation | undefined {
  if (address === undefined) return undefined;
  return port === undefined ? { address } : { address, port };
}
