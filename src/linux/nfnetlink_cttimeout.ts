/* include/uapi/linux/netfilter/nfnetlink_cttimeout.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const CTA_TIMEOUT_GENERIC_TIMEOUT = 1;

export const CTA_TIMEOUT_TCP_SYN_SENT = 1;
export const CTA_TIMEOUT_TCP_SYN_RECV = 2;
export const CTA_TIMEOUT_TCP_ESTABLISHED = 3;
export const CTA_TIMEOUT_TCP_FIN_WAIT = 4;
export const CTA_TIMEOUT_TCP_CLOSE_WAIT = 5;
export const CTA_TIMEOUT_TCP_LAST_ACK = 6;
export const CTA_TIMEOUT_TCP_TIME_WAIT = 7;
export const CTA_TIMEOUT_TCP_CLOSE = 8;
export const CTA_TIMEOUT_TCP_SYN_SENT2 = 9;
export const CTA_TIMEOUT_TCP_RETRANS = 10;
export const CTA_TIMEOUT_TCP_UNACK = 11;

export const CTA_TIMEOUT_UDP_UNREPLIED = 1;
export const CTA_TIMEOUT_UDP_REPLIED = 2;

export const CTA_TIMEOUT_UDPLITE_UNREPLIED = 1;
export const CTA_TIMEOUT_UDPLITE_REPLIED = 2;

export const CTA_TIMEOUT_ICMP_TIMEOUT = 1;
export const CTA_TIMEOUT_ICMPV6_TIMEOUT = 1;

export const CTA_TIMEOUT_DCCP_REQUEST = 1;
export const CTA_TIMEOUT_DCCP_RESPOND = 2;
export const CTA_TIMEOUT_DCCP_PARTOPEN = 3;
export const CTA_TIMEOUT_DCCP_OPEN = 4;
export const CTA_TIMEOUT_DCCP_CLOSEREQ = 5;
export const CTA_TIMEOUT_DCCP_CLOSING = 6;
export const CTA_TIMEOUT_DCCP_TIMEWAIT = 7;

export const CTA_TIMEOUT_SCTP_CLOSED = 1;
export const CTA_TIMEOUT_SCTP_COOKIE_WAIT = 2;
export const CTA_TIMEOUT_SCTP_COOKIE_ECHOED = 3;
export const CTA_TIMEOUT_SCTP_ESTABLISHED = 4;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_SENT = 5;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_RECD = 6;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT = 7;
export const CTA_TIMEOUT_SCTP_HEARTBEAT_SENT = 8;
export const CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED = 9;

export const CTA_TIMEOUT_GRE_UNREPLIED = 1;
export const CTA_TIMEOUT_GRE_REPLIED = 2;
