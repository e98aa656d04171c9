import {
  attribute,
  attributes,
  flags,
  named,
  opt,
  string,
  U16_BE,
  U32_BE,
  u8,
  u16be,
  u32be,
} from '../../codec/index.ts';
import {
  NF_SYNPROXY_OPT_ECN,
  NF_SYNPROXY_OPT_MSS,
  NF_SYNPROXY_OPT_SACK_PERM,
  NF_SYNPROXY_OPT_TIMESTAMP,
  NF_SYNPROXY_OPT_WSCALE,
} from '../../linux/nf_synproxy.ts';
import * as C from '../../linux/nf_tables.ts';
import { LOG_FLAGS, LOG_LEVELS, NAT_FLAGS, OBJECT_TYPE, PROTOCOL_FAMILY } from '../names.ts';

/** Hands the packet's description to NFLOG (with `group`) or to the kernel's log, which knows no namespaces. */
const log = attributes('NFTA_LOG', {
  /** 0 to 65535. */
  group: opt(u16be(C.NFTA_LOG_GROUP)),
  /** At most 127 bytes. */
  prefix: opt(string(C.NFTA_LOG_PREFIX, 127)),
  /** Bytes of the packet that are handed over; 0 is all. */
  snaplen: opt(u32be(C.NFTA_LOG_SNAPLEN)),
  /** Packets that the kernel gathers before it wakes the listener. */
  queueThreshold: opt(u16be(C.NFTA_LOG_QTHRESHOLD)),
  /** Of the kernel's log, as in syslog(3); audit writes an audit record instead. */
  level: opt(attribute(C.NFTA_LOG_LEVEL, named(U32_BE, LOG_LEVELS))),
  /** What the kernel's log shows besides. */
  flags: opt(attribute(C.NFTA_LOG_FLAGS, flags(U32_BE, LOG_FLAGS))),
});

/** Rewrites the source (snat) or destination (dnat) of the packet's connection. */
const nat = attributes('NFTA_NAT', {
  type: attribute(C.NFTA_NAT_TYPE, named(U32_BE, { snat: C.NFT_NAT_SNAT, dnat: C.NFT_NAT_DNAT })),
  /** Of the addresses. */
  family: attribute(C.NFTA_NAT_FAMILY, PROTOCOL_FAMILY),
  /** The register with the address, or the first one of a range. */
  addressRegister: opt(u32be(C.NFTA_NAT_REG_ADDR_MIN)),
  /** The register with the last address. The kernel repeats the first one here when there is no range. */
  lastAddressRegister: opt(u32be(C.NFTA_NAT_REG_ADDR_MAX)),
  portRegister: opt(u32be(C.NFTA_NAT_REG_PROTO_MIN)),
  lastPortRegister: opt(u32be(C.NFTA_NAT_REG_PROTO_MAX)),
  flags: opt(attribute(C.NFTA_NAT_FLAGS, flags(U32_BE, NAT_FLAGS))),
});

/** Rewrites the source to the address of the device that the packet leaves by. */
const masq = attributes('NFTA_MASQ', {
  flags: opt(attribute(C.NFTA_MASQ_FLAGS, flags(U32_BE, NAT_FLAGS))),
  portRegister: opt(u32be(C.NFTA_MASQ_REG_PROTO_MIN)),
  lastPortRegister: opt(u32be(C.NFTA_MASQ_REG_PROTO_MAX)),
});

/** Sends the packet to this host itself: to the address of the device that it came in by. */
const redir = attributes('NFTA_REDIR', {
  /** The register with the port, or the first one of a range. */
  portRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MIN)),
  /** The register with the last port. The kernel repeats the first one here when there is no range. */
  lastPortRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MAX)),
  flags: opt(attribute(C.NFTA_REDIR_FLAGS, flags(U32_BE, NAT_FLAGS))),
});

/** Drops the packet and tells its sender. */
const reject = attributes('NFTA_REJECT', {
  /** icmpx: the ICMP of the packet's own family, with a code of NFT_REJECT_ICMPX_*. */
  type: attribute(
    C.NFTA_REJECT_TYPE,
    named(U32_BE, {
      'icmp-unreachable': C.NFT_REJECT_ICMP_UNREACH,
      'tcp-reset': C.NFT_REJECT_TCP_RST,
      'icmpx-unreachable': C.NFT_REJECT_ICMPX_UNREACH,
    }),
  ),
  code: opt(u8(C.NFTA_REJECT_ICMP_CODE)),
});

/** Hands the packet itself to a program (NFQUEUE), which decides. */
const queue = attributes('NFTA_QUEUE', {
  number: opt(u16be(C.NFTA_QUEUE_NUM)),
  /** Queues from `number` on that share the load. */
  total: opt(u16be(C.NFTA_QUEUE_TOTAL)),
  /** bypass: accepts what nobody listens for. cpu-fanout: each CPU has its queue. */
  flags: opt(
    attribute(
      C.NFTA_QUEUE_FLAGS,
      flags(U16_BE, { bypass: C.NFT_QUEUE_FLAG_BYPASS, 'cpu-fanout': C.NFT_QUEUE_FLAG_CPU_FANOUT }),
    ),
  ),
  /** The register with the queue's number. */
  numberRegister: opt(u32be(C.NFTA_QUEUE_SREG_QNUM)),
});

/** Gives the packet to a local socket without rewriting it. */
const tproxy = attributes('NFTA_TPROXY', {
  family: attribute(C.NFTA_TPROXY_FAMILY, PROTOCOL_FAMILY),
  addressRegister: opt(u32be(C.NFTA_TPROXY_REG_ADDR)),
  portRegister: opt(u32be(C.NFTA_TPROXY_REG_PORT)),
});

/** Answers TCP connections in the server's place until the client has shown that it exists. */
const synproxy = attributes('NFTA_SYNPROXY', {
  maximumSegmentSize: opt(u16be(C.NFTA_SYNPROXY_MSS)),
  windowScale: opt(u8(C.NFTA_SYNPROXY_WSCALE)),
  flags: opt(
    attribute(
      C.NFTA_SYNPROXY_FLAGS,
      flags(U32_BE, {
        'maximum-segment-size': NF_SYNPROXY_OPT_MSS,
        'window-scale': NF_SYNPROXY_OPT_WSCALE,
        'sack-permitted': NF_SYNPROXY_OPT_SACK_PERM,
        timestamp: NF_SYNPROXY_OPT_TIMESTAMP,
        ecn: NF_SYNPROXY_OPT_ECN,
      }),
    ),
  ),
});

/** Keeps the packet out of connection tracking. It has no attributes. */
const notrack = attributes('NFTA_NOTRACK', {});

/** Sends a copy of the packet to another host, or by another device. */
const dup = attributes('NFTA_DUP', {
  addressRegister: opt(u32be(C.NFTA_DUP_SREG_ADDR)),
  deviceRegister: opt(u32be(C.NFTA_DUP_SREG_DEV)),
});

/** Sends the packet out by another device. */
const fwd = attributes('NFTA_FWD', {
  deviceRegister: opt(u32be(C.NFTA_FWD_SREG_DEV)),
  addressRegister: opt(u32be(C.NFTA_FWD_SREG_ADDR)),
  /** Of the address. */
  family: opt(attribute(C.NFTA_FWD_NFPROTO, PROTOCOL_FAMILY)),
});

/** Runs an object with a name: one (`type` and `name`), or the one that a map has for a key. */
const objref = attributes('NFTA_OBJREF', {
  type: opt(attribute(C.NFTA_OBJREF_IMM_TYPE, OBJECT_TYPE)),
  name: opt(string(C.NFTA_OBJREF_IMM_NAME, 255)),
  /** The register with the map's key. */
  sourceRegister: opt(u32be(C.NFTA_OBJREF_SET_SREG)),
  set: opt(string(C.NFTA_OBJREF_SET_NAME, 255)),
  /** The map by the number that it has within its own transaction. */
  setId: opt(u32be(C.NFTA_OBJREF_SET_ID)),
});

/** Lets a flowtable forward the rest of the connection. */
const flow_offload = attributes('NFTA_FLOW', { flowtable: string(C.NFTA_FLOW_TABLE_NAME, 255) });

export const expressions = {
  log,
  nat,
  masq,
  redir,
  reject,
  queue,
  tproxy,
  synproxy,
  notrack,
  dup,
  fwd,
  objref,
  flow_offload,
};
