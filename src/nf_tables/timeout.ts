import { attributes, opt, u32be } from '../codec/index.ts';
import * as C from '../linux/nfnetlink_cttimeout.ts';

/* CTA_TIMEOUT_*: the states of each protocol that have a timeout of their own, in seconds. */

const generic = attributes('CTA_TIMEOUT_GENERIC', { timeout: opt(u32be(C.CTA_TIMEOUT_GENERIC_TIMEOUT)) });

const tcp = attributes('CTA_TIMEOUT_TCP', {
  synSent: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_SENT)),
  synReceived: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_RECV)),
  established: opt(u32be(C.CTA_TIMEOUT_TCP_ESTABLISHED)),
  finWait: opt(u32be(C.CTA_TIMEOUT_TCP_FIN_WAIT)),
  closeWait: opt(u32be(C.CTA_TIMEOUT_TCP_CLOSE_WAIT)),
  lastAck: opt(u32be(C.CTA_TIMEOUT_TCP_LAST_ACK)),
  timeWait: opt(u32be(C.CTA_TIMEOUT_TCP_TIME_WAIT)),
  close: opt(u32be(C.CTA_TIMEOUT_TCP_CLOSE)),
  synSent2: opt(u32be(C.CTA_TIMEOUT_TCP_SYN_SENT2)),
  retransmission: opt(u32be(C.CTA_TIMEOUT_TCP_RETRANS)),
  unacknowledged: opt(u32be(C.CTA_TIMEOUT_TCP_UNACK)),
});

const udp = attributes('CTA_TIMEOUT_UDP', {
  unreplied: opt(u32be(C.CTA_TIMEOUT_UDP_UNREPLIED)),
  replied: opt(u32be(C.CTA_TIMEOUT_UDP_REPLIED)),
});

const udplite = attributes('CTA_TIMEOUT_UDPLITE', {
  unreplied: opt(u32be(C.CTA_TIMEOUT_UDPLITE_UNREPLIED)),
  replied: opt(u32be(C.CTA_TIMEOUT_UDPLITE_REPLIED)),
});

const icmp = attributes('CTA_TIMEOUT_ICMP', { timeout: opt(u32be(C.CTA_TIMEOUT_ICMP_TIMEOUT)) });

const icmpv6 = attributes('CTA_TIMEOUT_ICMPV6', { timeout: opt(u32be(C.CTA_TIMEOUT_ICMPV6_TIMEOUT)) });

const dccp = attributes('CTA_TIMEOUT_DCCP', {
  request: opt(u32be(C.CTA_TIMEOUT_DCCP_REQUEST)),
  respond: opt(u32be(C.CTA_TIMEOUT_DCCP_RESPOND)),
  partOpen: opt(u32be(C.CTA_TIMEOUT_DCCP_PARTOPEN)),
  open: opt(u32be(C.CTA_TIMEOUT_DCCP_OPEN)),
  closeRequest: opt(u32be(C.CTA_TIMEOUT_DCCP_CLOSEREQ)),
  closing: opt(u32be(C.CTA_TIMEOUT_DCCP_CLOSING)),
  timeWait: opt(u32be(C.CTA_TIMEOUT_DCCP_TIMEWAIT)),
});

const sctp = attributes('CTA_TIMEOUT_SCTP', {
  closed: opt(u32be(C.CTA_TIMEOUT_SCTP_CLOSED)),
  cookieWait: opt(u32be(C.CTA_TIMEOUT_SCTP_COOKIE_WAIT)),
  cookieEchoed: opt(u32be(C.CTA_TIMEOUT_SCTP_COOKIE_ECHOED)),
  established: opt(u32be(C.CTA_TIMEOUT_SCTP_ESTABLISHED)),
  shutdownSent: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_SENT)),
  shutdownReceived: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_RECD)),
  shutdownAckSent: opt(u32be(C.CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT)),
  heartbeatSent: opt(u32be(C.CTA_TIMEOUT_SCTP_HEARTBEAT_SENT)),
  /** Newer kernels no longer use it. */
  heartbeatAcknowledged: opt(u32be(C.CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED)),
});

const gre = attributes('CTA_TIMEOUT_GRE', {
  unreplied: opt(u32be(C.CTA_TIMEOUT_GRE_UNREPLIED)),
  replied: opt(u32be(C.CTA_TIMEOUT_GRE_REPLIED)),
});

/** By the protocol's name. */
export const TIMEOUTS = { generic, tcp, udp, udplite, icmp, icmpv6, dccp, sctp, gre };
