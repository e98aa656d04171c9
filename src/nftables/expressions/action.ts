import { attribute, attributes, flags, opt, string, U32_BE, u16be, u32be, u64be } from '../../codec/index.ts';
import * as C from '../constants.ts';

/** Counts packets and bytes. */
const counter = attributes('NFTA_COUNTER', {
  bytes: opt(u64be(C.NFTA_COUNTER_BYTES)),
  packets: opt(u64be(C.NFTA_COUNTER_PACKETS)),
});

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
  /** Of the kernel's log, as in syslog(3). */
  level: opt(u32be(C.NFTA_LOG_LEVEL)),
  flags: opt(u32be(C.NFTA_LOG_FLAGS)),
});

export const NAT_FLAGS = {
  'map-addresses': C.NF_NAT_RANGE_MAP_IPS,
  'ports-specified': C.NF_NAT_RANGE_PROTO_SPECIFIED,
  random: C.NF_NAT_RANGE_PROTO_RANDOM,
  persistent: C.NF_NAT_RANGE_PERSISTENT,
  'fully-random': C.NF_NAT_RANGE_PROTO_RANDOM_FULLY,
} as const;

/** Sends the packet to this host itself: to the address of the device that it came in by. */
const redir = attributes('NFTA_REDIR', {
  /** The register with the port, or the first one of a range. */
  portRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MIN)),
  /** The register with the last port. The kernel repeats the first one here when there is no range. */
  lastPortRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MAX)),
  flags: opt(attribute(C.NFTA_REDIR_FLAGS, flags(U32_BE, NAT_FLAGS))),
});

export const expressions = { counter, log, redir };
