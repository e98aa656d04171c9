import { attributes, opt, u32be } from '../codec/index.ts';
import * as C from '../linux/nfnetlink_cttimeout.ts';

/* CTA_TIMEOUT_*: the states of each protocol that have a timeout of their own, in seconds. */

const generic = attributes('CTA_TIMEOUT_GENERIC', () => ({
  /** Seconds. */
  timeout: opt(u32be(C.CTA_TIMEOUT_GENERIC_TIMEOUT)),
}));

const tcp = attributes('CTA_TIMEOUT_TCP', () => ({
  /** Seconds in the state SYN-SENT. */
  synSent: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_SENT)),
  /** Seconds in the state SYN-RECEIVED. */
  synReceived: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_RECV)),
  /** Seconds in the state ESTABLISHED. */
  established: opt(u32be(C.CTA_TIMEOUT_TCP_ESTABLISHED)),
  /** Seconds in the state FIN-WAIT. */
  finWait: opt(u32be(C.CTA_TIMEOUT_TCP_FIN_WAIT)),
  /** Seconds in the state CLOSE-WAIT. */
  closeWait: opt(u32be(C.CTA_TIMEOUT_TCP_CLOSE_WAIT)),
  /** Seconds in the state LAST-ACK. */
  lastAck: opt(u32be(C.CTA_TIMEOUT_TCP_LAST_ACK)),
  /** Seconds in the state TIME-WAIT. */
  timeWait: opt(u32be(C.CTA_TIMEOUT_TCP_TIME_WAIT)),
  /** Seconds in the state CLOSE. */
  close: opt(u32be(C.CTA_TIMEOUT_TCP_CLOSE)),
  /** Seconds after SYNs of both sides. */
  synSent2: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_SENT2)),
  /** Seconds after too many retransmissions. */
  retransmission: opt(u32be(C.CTA_TIMEOUT_TCP_RETRANS)),
  /** Seconds while data waits for its acknowledgement. */
  unacknowledged: opt(u32be(C.CTA_TIMEOUT_TCP_UNACK)),
}));

const udp = attributes('CTA_TIMEOUT_UDP', () => ({
  /** Seconds without an answer. */
  unreplied: opt(u32be(C.CTA_TIMEOUT_UDP_UNREPLIED)),
  /** Seconds once there was an answer. */
  replied: opt(u32be(C.CTA_TIMEOUT_UDP_REPLIED)),
}));

const udplite = attributes('CTA_TIMEOUT_UDPLITE', () => ({
  /** Seconds without an answer. */
  unreplied: opt(u32be(C.CTA_TIMEOUT_UDPLITE_UNREPLIED)),
  /** Seconds once there was an answer. */
  replied: opt(u32be(C.CTA_TIMEOUT_UDPLITE_REPLIED)),
}));

const icmp = attributes('CTA_TIMEOUT_ICMP', () => ({
  /** Seconds. */
  timeout: opt(u32be(C.CTA_TIMEOUT_ICMP_TIMEOUT)),
}));

const icmpv6 = attributes('CTA_TIMEOUT_ICMPV6', () => ({
  /** Seconds. */
  timeout: opt(u32be(C.CTA_TIMEOUT_ICMPV6_TIMEOUT)),
}));

const dccp = attributes('CTA_TIMEOUT_DCCP', () => ({
  /** Seconds in the state REQUEST. */
  request: opt(u32be(C.CTA_TIMEOUT_DCCP_REQUEST)),
  /** Seconds in the state RESPOND. */
  respond: opt(u32be(C.CTA_TIMEOUT_DCCP_RESPOND)),
  /** Seconds in the state PARTOPEN. */
  partOpen: opt(u32be(C.CTA_TIMEOUT_DCCP_PARTOPEN)),
  /** Seconds in the state OPEN. */
  open: opt(u32be(C.CTA_TIMEOUT_DCCP_OPEN)),
  /** Seconds in the state CLOSEREQ. */
  closeRequest: opt(u32be(C.CTA_TIMEOUT_DCCP_CLOSEREQ)),
  /** Seconds in the state CLOSING. */
  closing: opt(u32be(C.CTA_TIMEOUT_DCCP_CLOSING)),
  /** Seconds in the state TIME-WAIT. */
  timeWait: opt(u32be(C.CTA_TIMEOUT_DCCP_TIMEWAIT)),
}));

const sctp = attributes('CTA_TIMEOUT_SCTP', () => ({
  /** Seconds in the state CLOSED. */
  closed: opt(u32be(C.CTA_TIMEOUT_SCTP_CLOSED)),
  /** Seconds in the state COOKIE-WAIT. */
  cookieWait: opt(u32be(C.CTA_TIMEOUT_SCTP_COOKIE_WAIT)),
  /** Seconds in the state COOKIE-ECHOED. */
  cookieEchoed: opt(u32be(C.CTA_TIMEOUT_SCTP_COOKIE_ECHOED)),
  /** Seconds in the state ESTABLISHED. */
  established: opt(u32be(C.CTA_TIMEOUT_SCTP_ESTABLISHED)),
  /** Seconds in the state SHUTDOWN-SENT. */
  shutdownSent: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_SENT)),
  /** Seconds in the state SHUTDOWN-RECEIVED. */
  shutdownReceived: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_RECD)),
  /** Seconds in the state SHUTDOWN-ACK-SENT. */
  shutdownAckSent: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT)),
  /** Seconds after a heartbeat on a new path. */
  heartbeatSent: opt(u32be(C.CTA_TIMEOUT_SCTP_HEARTBEAT_SENT)),
  /** Newer kernels no longer use it. */
  heartbeatAcknowledged: opt(u32be(C.CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED)),
}));

const gre = attributes('CTA_TIMEOUT_GRE', () => ({
  /** Seconds without an answer. */
  unreplied: opt(u32be(C.CTA_TIMEOUT_GRE_UNREPLIED)),
  /** Seconds once there was an answer. */
  replied: opt(u32be(C.CTA_TIMEOUT_GRE_REPLIED)),
}));

/** By the protocol's name. */
export const TIMEOUTS = { generic, tcp, udp, udplite, icmp, icmpv6, dccp, sctp, gre };
