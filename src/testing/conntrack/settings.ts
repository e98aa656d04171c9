import { EACCES, EINVAL } from '../refusal.ts';

/* The sysctls of connection tracking (net/netfilter/nf_conntrack_standalone.c), and what they are at first. */

const PREFIX = 'net/netfilter/nf_conntrack_';

const DEFAULTS: Record<string, number> = {
  acct: 0,
  buckets: 262_144,
  checksum: 1,
  events: 2,
  expect_max: 4096,
  frag6_high_thresh: 4_194_304,
  frag6_low_thresh: 3_145_728,
  frag6_timeout: 60,
  generic_timeout: 600,
  gre_timeout: 30,
  gre_timeout_stream: 180,
  icmp_timeout: 30,
  icmpv6_timeout: 30,
  log_invalid: 0,
  max: 262_144,
  sctp_timeout_closed: 10,
  sctp_timeout_cookie_echoed: 3,
  sctp_timeout_cookie_wait: 3,
  sctp_timeout_established: 210,
  sctp_timeout_heartbeat_sent: 30,
  sctp_timeout_shutdown_ack_sent: 3,
  sctp_timeout_shutdown_recd: 3,
  sctp_timeout_shutdown_sent: 3,
  tcp_be_liberal: 0,
  tcp_ignore_invalid_rst: 0,
  tcp_loose: 1,
  tcp_max_retrans: 3,
  tcp_timeout_close: 10,
  tcp_timeout_close_wait: 60,
  tcp_timeout_established: 432_000,
  tcp_timeout_fin_wait: 120,
  tcp_timeout_last_ack: 30,
  tcp_timeout_max_retrans: 300,
  tcp_timeout_syn_recv: 60,
  tcp_timeout_syn_sent: 120,
  tcp_timeout_time_wait: 120,
  tcp_timeout_unacknowledged: 300,
  timestamp: 0,
  udp_timeout: 30,
  udp_timeout_stream: 120,
};

/** All of them but the number of entries, which is counted when it is read. */
export const CONNTRACK_SYSCTLS: readonly (readonly [name: string, value: string])[] = Object.entries(DEFAULTS).map(
  ([name, value]) => [PREFIX + name, String(value)] as const,
);

/** Settings of the whole machine: a namespace that is not the first one can only read them. */
const READ_ONLY = ['buckets', 'expect_max', 'max', 'count'];
export const COUNT = `${PREFIX}count`;
/** The largest value of those that are no seconds and no sizes. */
const LARGEST: Record<string, number> = {
  acct: 1,
  checksum: 1,
  events: 2,
  log_invalid: 255,
  tcp_be_liberal: 1,
  tcp_ignore_invalid_rst: 1,
  tcp_loose: 1,
  tcp_max_retrans: 255,
  timestamp: 1,
};

/** The errno with which a setting refuses a value, 0 where it takes it; undefined for settings of others. */
export function refusalOf(path: string, text: string): number | undefined {
  if (!path.startsWith(PREFIX)) return undefined;
  const name = path.slice(PREFIX.length);
  if (READ_ONLY.includes(name)) return EACCES;
  const value = Number(text);
  const isTaken = /^\s*-?\d+\s*$/.test(text) && value >= 0 && value <= (LARGEST[name] ?? 0x7fff_ffff);
  return isTaken ? 0 : EINVAL;
}

interface WithSysctls {
  readonly sysctls: ReadonlyMap<string, string>;
}

export const settingOf = ({ sysctls }: WithSysctls, name: string): number => {
  const text = sysctls.get(PREFIX + name);
  return text === undefined ? DEFAULTS[name]! : Number(text);
};

/** A timeout, in milliseconds. */
export const timeoutOf = (namespace: WithSysctls, name: string): bigint => BigInt(settingOf(namespace, name)) * 1000n;
