import { NetNs } from '../netns/netns.ts';
import { defineSettings, type Setting, type SettingDefinition, Settings } from '../netns/settings.ts';

/*
 * The sysctls net.ipv4.vs.* (Documentation/networking/ipvs-sysctl.rst, net/netfilter/ipvs/ip_vs_ctl.c), under the kernel's names.
 */
const on = { type: 'boolean' } as const satisfies SettingDefinition;
const integer = { type: 'number', min: 0, max: 0x7fffffff } as const satisfies SettingDefinition;
const defence = { type: 'number', min: 0, max: 3 } as const satisfies SettingDefinition;

const DEFINITIONS = {
  am_droprate: integer,
  amemthresh: integer,
  backup_only: { ...on, since: '3.12' },
  cache_bypass: on,
  conn_lfactor: { type: 'number', min: -8, max: 8, since: '7.1', inUserNamespace: 'read-only' },
  conn_max: { ...integer, since: '7.1', inUserNamespace: 'read-only' },
  conn_reuse_mode: { ...integer, since: '4.1' },
  conntrack: on,
  drop_entry: defence,
  drop_packet: defence,
  est_cpulist: {
    type: 'string',
    since: '6.2',
    inUserNamespace: 'read-only',
    pattern: /^[\d,:/-]*$/,
    expected: "processors: '0-1,4'",
  },
  est_nice: { type: 'number', min: -20, max: 19, since: '6.2', inUserNamespace: 'read-only' },
  expire_nodest_conn: on,
  expire_quiescent_template: on,
  ignore_tunneled: { ...on, since: '4.3' },
  lblc_expiration: { ...integer, inUserNamespace: 'absent' },
  lblcr_expiration: { ...integer, inUserNamespace: 'absent' },
  nat_icmp_send: on,
  pmtu_disc: { ...on, since: '3.10' },
  run_estimation: { ...on, since: '5.16', inUserNamespace: 'read-only' },
  schedule_icmp: { ...on, since: '4.3' },
  secure_tcp: defence,
  sloppy_sctp: { ...on, since: '3.11' },
  sloppy_tcp: { ...on, since: '3.11' },
  snat_reroute: on,
  svc_lfactor: { type: 'number', min: -8, max: 8, since: '7.1', inUserNamespace: 'read-only' },
  sync_persist_mode: { ...on, since: '3.13' },
  sync_ports: { type: 'number', min: 1, max: 64, since: '3.5' },
  sync_qlen_max: { ...integer, since: '3.5', inUserNamespace: 'read-only' },
  sync_refresh_period: { ...integer, since: '3.5' },
  sync_retries: { type: 'number', min: 0, max: 3, since: '3.5' },
  sync_sock_size: { ...integer, since: '3.5', inUserNamespace: 'read-only' },
  sync_threshold: { type: 'string', pattern: /^\d+\s+\d+$/, expected: "two numbers: '3 50'" },
  sync_version: { type: 'number', min: 0, max: 1 },
} as const satisfies Record<string, SettingDefinition>;

/** The name of a setting: a sysctl net.ipv4.vs.* of the kernel. */
export type IpvsSettingName = keyof typeof DEFINITIONS;
/** One setting that this namespace has. Linux before 6.11 shows none where a user namespace owns it. */
export type IpvsSetting = Setting<IpvsSettingName>;

/**
 * The settings of IPVS in one namespace: the sysctls net.ipv4.vs.*, typed, read and written on the spot. Reading one that is not there throws
 * UnsupportedError: the kernel is older, the module is not loaded, or a user namespace owns the namespace (before Linux 6.11). Writing throws
 * NetNsError EACCES where it is read-only.
 * @example
 * if (!ipvs.settings.conntrack) ipvs.settings.conntrack = true;
 */
export interface IpvsSettings {
  /** How many packets are let through for each that is dropped, while drop_packet is 3 (always on). Default 10. */
  am_droprate: number;
  /** The available memory below which the automatic modes of defence begin, in pages. Default 1024. */
  amemthresh: number;
  /** A director that runs only as sync backup schedules nothing itself: no loops when it is also a real server (Linux 3.12). */
  backup_only: boolean;
  /** Packets for a service without a usable server go straight to their destination (for transparent caches). */
  cache_bypass: boolean;
  /** Buckets for each connection, as a power of two: negative grows the table later (Linux 7.1; set by the host only). */
  conn_lfactor: number;
  /** The most connections that are tracked (Linux 7.1; set by the host only). */
  conn_max: number;
  /** What a new connection from a known client port does, as bits: 1 schedule anew where it is safe, 2 also with FTP. Default 1 (Linux 4.1). */
  conn_reuse_mode: number;
  /** Keep conntrack entries for connections, so that netfilter rules see them. Costs speed. */
  conntrack: boolean;
  /** Drop random half-open entries when memory is short: 0 never, 1 and 2 automatic (off, on), 3 always. */
  drop_entry: number;
  /** Drop one packet in am_droprate when memory is short: 0 never, 1 and 2 automatic (off, on), 3 always. */
  drop_packet: number;
  /** The processors of the statistics' threads: '0-1,4' (Linux 6.2; set by the host only). */
  est_cpulist: string;
  /** The niceness of the statistics' threads, -20 to 19 (Linux 6.2; set by the host only). */
  est_nice: number;
  /** End connections at once when their server was removed; otherwise their packets are dropped until they expire, so that the server may come back. */
  expire_nodest_conn: boolean;
  /** Forget that a persistent client belongs to a server whose weight is 0. */
  expire_quiescent_template: boolean;
  /** Leave packets alone that came out of a tunnel: no loops between directors (Linux 4.3). */
  ignore_tunneled: boolean;
  /** When the scheduler lblc forgets an unused destination, in seconds. Default 86400. Exists once ip_vs_lblc is loaded. */
  lblc_expiration: number;
  /** When the scheduler lblcr forgets an unused destination, in seconds. Default 86400. Exists once ip_vs_lblcr is loaded. */
  lblcr_expiration: number;
  /** Send ICMP errors (port unreachable) for masqueraded connections whose server is gone. */
  nat_icmp_send: boolean;
  /** Answer packets that are too large for a tunnel with "fragmentation needed" (Linux 3.10). */
  pmtu_disc: boolean;
  /** Keep statistics. Off, all counters and rates stay as they are (Linux 5.16; set by the host only). */
  run_estimation: boolean;
  /** Schedule ICMP errors that belong to no connection (Linux 4.3). */
  schedule_icmp: boolean;
  /** A stricter state machine for TCP, with short timeouts: 0 never, 1 and 2 automatic (off, on), 3 always. */
  secure_tcp: number;
  /** Make connections from any SCTP packet, not only INIT (Linux 3.11). */
  sloppy_sctp: boolean;
  /** Make connections from any TCP packet, not only SYN: a director that took over without a sync daemon goes on (Linux 3.11). */
  sloppy_tcp: boolean;
  /** Route masqueraded answers anew by their new source address. */
  snat_reroute: boolean;
  /** Buckets for each service, as a power of two (Linux 7.1; set by the host only). */
  svc_lfactor: number;
  /** Synchronise only the templates of persistent clients, not their connections (Linux 3.13). */
  sync_persist_mode: boolean;
  /** Threads and UDP ports of a sync daemon: a power of two, 1 to 64, the same on master and backup. Default 1 (Linux 3.5). */
  sync_ports: number;
  /** The most sync messages that wait to be sent (Linux 3.5; set by the host only). */
  sync_qlen_max: number;
  /** Seconds between reports of an unchanged connection, 0 for the count in sync_threshold (Linux 3.5). */
  sync_refresh_period: number;
  /** How often a new connection's report is repeated within an eighth of its refresh period, 0 to 3 (Linux 3.5). */
  sync_retries: number;
  /** The sync socket's buffer in bytes, 0 for the system's default (Linux 3.5; set by the host only). */
  sync_sock_size: number;
  /** '3 50': a connection is reported first after 3 packets, then every 50. */
  sync_threshold: string;
  /** The format of sync messages: 1 is current, 0 was for kernels before 2.6.39. */
  sync_version: number;
}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the properties are defined from DEFINITIONS below
export class IpvsSettings extends Settings<typeof DEFINITIONS> {
  /** @internal `open` gives the namespace for one call. */
  constructor(open: () => NetNs) {
    super({ definitions: DEFINITIONS, sysctlOf: name => `net.ipv4.vs.${name}`, whyAbsent }, open);
  }
}

defineSettings(IpvsSettings, DEFINITIONS);

function whyAbsent(name: string, netns: NetNs): string {
  if (hasSettings(netns)) {
    const { inUserNamespace }: SettingDefinition = DEFINITIONS[name as IpvsSettingName];
    return inUserNamespace === 'absent'
      ? 'its scheduler is not loaded, or a user namespace owns this namespace'
      : 'this kernel is older, or built without it';
  }
  return hasSettings(NetNs.home())
    ? 'before Linux 6.11 the settings are hidden in a namespace that a user namespace owns'
    : 'IPVS is not loaded (modprobe ip_vs), or hidden here';
}

/** Where the settings are hidden, their directory may be there and empty. */
const hasSettings = (netns: NetNs): boolean => netns.access.files.list('/proc/sys/net/ipv4/vs/').length > 0;
