import type { NetNs } from '../netns/netns.ts';
import { defineSettings, type Setting, type SettingDefinition, Settings } from '../netns/settings.ts';

/*
 * The sysctls net.netfilter.nf_conntrack_*, without their prefix (Documentation/networking/nf_conntrack-sysctl.rst,
 * net/netfilter/nf_conntrack_standalone.c).
 */
const on = { type: 'boolean' } as const satisfies SettingDefinition;
const seconds = { type: 'number', min: 0, max: 0x7fffffff } as const satisfies SettingDefinition;
const number = { type: 'number', min: 0, max: 0x7fffffff } as const satisfies SettingDefinition;
/** A setting of the whole machine. It is read-only in every namespace except the first. */
const ofHost = { ...number, inUserNamespace: 'read-only' } as const satisfies SettingDefinition;

const DEFINITIONS = {
  acct: on,
  buckets: ofHost,
  checksum: on,
  count: { ...number, inUserNamespace: 'read-only' },
  events: { type: 'number', min: 0, max: 2 },
  expect_max: ofHost,
  frag6_high_thresh: number,
  frag6_low_thresh: number,
  frag6_timeout: seconds,
  generic_timeout: seconds,
  gre_timeout: seconds,
  gre_timeout_stream: seconds,
  icmp_timeout: seconds,
  icmpv6_timeout: seconds,
  log_invalid: { type: 'number', min: 0, max: 255 },
  max: ofHost,
  sctp_timeout_closed: seconds,
  sctp_timeout_cookie_echoed: seconds,
  sctp_timeout_cookie_wait: seconds,
  sctp_timeout_established: seconds,
  sctp_timeout_heartbeat_sent: seconds,
  sctp_timeout_shutdown_ack_sent: seconds,
  sctp_timeout_shutdown_recd: seconds,
  sctp_timeout_shutdown_sent: seconds,
  tcp_be_liberal: on,
  tcp_ignore_invalid_rst: { ...on, since: '5.14' },
  tcp_loose: on,
  tcp_max_retrans: { type: 'number', min: 0, max: 255 },
  tcp_timeout_close: seconds,
  tcp_timeout_close_wait: seconds,
  tcp_timeout_established: seconds,
  tcp_timeout_fin_wait: seconds,
  tcp_timeout_last_ack: seconds,
  tcp_timeout_max_retrans: seconds,
  tcp_timeout_syn_recv: seconds,
  tcp_timeout_syn_sent: seconds,
  tcp_timeout_time_wait: seconds,
  tcp_timeout_unacknowledged: seconds,
  timestamp: on,
  udp_timeout: seconds,
  udp_timeout_stream: seconds,
} as const satisfies Record<string, SettingDefinition>;

/** The name of a setting, without the prefix net.netfilter.nf_conntrack_. */
export type ConntrackSettingName = keyof typeof DEFINITIONS;

/** One setting that this namespace has. */
export type ConntrackSetting = Setting<ConntrackSettingName>;

/**
 * The settings of connection tracking in one namespace: the sysctls net.netfilter.nf_conntrack_*, typed. Reads and writes take effect at
 * once.
 *
 * Timeouts are in seconds. A new timeout applies to a flow from its next packet. Reading a setting that this kernel lacks throws
 * UnsupportedError. Writing a read-only setting throws NetNsError EACCES.
 *
 * @example
 * ct.settings.acct = true; // flows that begin from now on count their packets and bytes
 */
export interface ConntrackSettings {
  /** Count the packets and bytes of new flows. */
  acct: boolean;
  /** The number of hash buckets of the table, for the whole machine. */
  buckets: number;
  /** Treat packets with a wrong checksum as invalid. */
  checksum: boolean;
  /** The number of entries in this namespace. */
  readonly count: number;
  /** Events for listeners: 0 none, 1 for all flows, 2 (the default since Linux 6.0) for flows that began while a program listened. */
  events: number;
  /** The largest number of expectations, for the whole machine. */
  expect_max: number;
  /**
   * The largest memory for incomplete IPv6 packets, in bytes. Above it, the kernel takes no more until the use falls below
   * frag6_low_thresh.
   */
  frag6_high_thresh: number;
  /** Bytes of fragments of IPv6 down to which the kernel drops some. */
  frag6_low_thresh: number;
  /** Seconds that fragments of IPv6 are waited for. */
  frag6_timeout: number;
  /** Seconds, for protocols that the kernel does not follow. */
  generic_timeout: number;
  /** Seconds, for GRE in one direction. */
  gre_timeout: number;
  /** Seconds, for GRE in both directions. */
  gre_timeout_stream: number;
  /** Seconds, for ICMP. */
  icmp_timeout: number;
  /** Seconds, for ICMPv6. */
  icmpv6_timeout: number;
  /** The protocol (IANA number) whose invalid packets are logged; 255 logs all, 0 logs none. */
  log_invalid: number;
  /** The largest number of entries, for the whole machine. When it is reached, the kernel drops packets that would begin a flow. */
  max: number;
  /** Seconds in the state CLOSED. */
  sctp_timeout_closed: number;
  /** Seconds in the state COOKIE-ECHOED. */
  sctp_timeout_cookie_echoed: number;
  /** Seconds in the state COOKIE-WAIT. */
  sctp_timeout_cookie_wait: number;
  /** Seconds without a packet in the state ESTABLISHED. */
  sctp_timeout_established: number;
  /** Seconds after a heartbeat on a new path. */
  sctp_timeout_heartbeat_sent: number;
  /** Seconds in the state SHUTDOWN-ACK-SENT. */
  sctp_timeout_shutdown_ack_sent: number;
  /** Seconds in the state SHUTDOWN-RECEIVED. */
  sctp_timeout_shutdown_recd: number;
  /** Seconds in the state SHUTDOWN-SENT. */
  sctp_timeout_shutdown_sent: number;
  /** Treat only TCP resets outside the window as invalid. */
  tcp_be_liberal: boolean;
  /** Do not treat TCP resets outside the window as invalid (Linux 5.14). */
  tcp_ignore_invalid_rst: boolean;
  /** Track TCP connections from the middle: those that began before tracking, or whose entry was ended. */
  tcp_loose: boolean;
  /** The number of unanswered retransmissions after which tcp_timeout_max_retrans applies. */
  tcp_max_retrans: number;
  /** Seconds in the state CLOSE. */
  tcp_timeout_close: number;
  /** Seconds in the state CLOSE-WAIT. */
  tcp_timeout_close_wait: number;
  /** Seconds without a packet in the state ESTABLISHED. */
  tcp_timeout_established: number;
  /** Seconds in the state FIN-WAIT. */
  tcp_timeout_fin_wait: number;
  /** Seconds in the state LAST-ACK. */
  tcp_timeout_last_ack: number;
  /** Seconds after too many retransmissions. */
  tcp_timeout_max_retrans: number;
  /** Seconds in the state SYN-RECEIVED. */
  tcp_timeout_syn_recv: number;
  /** Seconds in the state SYN-SENT. */
  tcp_timeout_syn_sent: number;
  /** Seconds in the state TIME-WAIT. */
  tcp_timeout_time_wait: number;
  /** Seconds while data waits for its acknowledgement. */
  tcp_timeout_unacknowledged: number;
  /** Record when new flows begin, and when events happen. */
  timestamp: boolean;
  /** Seconds, for UDP in one direction. */
  udp_timeout: number;
  /** Seconds, for UDP in both directions. */
  udp_timeout_stream: number;
}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the properties are defined from DEFINITIONS below
export class ConntrackSettings extends Settings<typeof DEFINITIONS> {
  /** @internal `open` gives the namespace for one call. */
  constructor(open: () => NetNs) {
    super({ definitions: DEFINITIONS, sysctlOf: name => `net.netfilter.nf_conntrack_${name}`, whyAbsent }, open);
  }
}

defineSettings(ConntrackSettings, DEFINITIONS);

function whyAbsent(_name: string, netns: NetNs): string {
  return netns.access.files.has('/proc/sys/net/netfilter/nf_conntrack_count')
    ? 'this kernel is older, or built without it'
    : 'connection tracking is not loaded (modprobe nf_conntrack), or hidden here';
}
