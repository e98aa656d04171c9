import type { Machine } from '../machine/machine.ts';
import { hasModule, isSince, type Namespace, type Release } from '../machine/state.ts';
import { EACCES, EINVAL } from '../refusal.ts';
import { settle } from './estimator.ts';

/* The sysctls net.ipv4.vs.* (ip_vs_ctl.c, vs_vars). */

const FOLDER = 'net/ipv4/vs/';

interface Sysctl {
  readonly value: string;
  readonly since?: readonly [number, number];
  /** The values it takes; any integer of 32 bits by default. */
  readonly takes?: (text: string) => boolean;
  /** Only root of the machine may write it. */
  readonly isTheHosts?: true;
}

const within = (least: number, most: number) => (text: string) => Number(text) >= least && Number(text) <= most;
const isPowerOfTwo = (text: string): boolean => Number(text) >= 1 && Number.isInteger(Math.log2(Number(text)));
const isThreshold = (text: string): boolean => {
  const [first = 0, second = 0] = text.trim().split(/\s+/).map(Number);
  return first >= 0 && second >= 0 && (first < second || second === 0);
};

const SYSCTLS: Readonly<Record<string, Sysctl>> = {
  amemthresh: { value: '1024' },
  am_droprate: { value: '10' },
  drop_entry: { value: '0', takes: within(0, 3) },
  drop_packet: { value: '0', takes: within(0, 3) },
  conntrack: { value: '0' },
  secure_tcp: { value: '0', takes: within(0, 3) },
  snat_reroute: { value: '1' },
  sync_version: { value: '1', takes: within(0, 1) },
  sync_ports: { value: '1', takes: isPowerOfTwo },
  sync_persist_mode: { value: '0' },
  sync_qlen_max: { value: '15000', isTheHosts: true },
  sync_sock_size: { value: '0', isTheHosts: true },
  cache_bypass: { value: '0' },
  expire_nodest_conn: { value: '0' },
  sloppy_tcp: { value: '0' },
  sloppy_sctp: { value: '0' },
  expire_quiescent_template: { value: '0' },
  sync_threshold: { value: '3\t50', takes: isThreshold },
  sync_refresh_period: { value: '0' },
  sync_retries: { value: '0', takes: within(0, 3) },
  nat_icmp_send: { value: '0' },
  pmtu_disc: { value: '1' },
  backup_only: { value: '0' },
  conn_reuse_mode: { value: '1' },
  schedule_icmp: { value: '0' },
  ignore_tunneled: { value: '0' },
  run_estimation: { value: '1', isTheHosts: true },
  est_cpulist: { value: '0', since: [6, 2], takes: () => true, isTheHosts: true },
  est_nice: { value: '0', since: [6, 2], takes: within(-20, 19), isTheHosts: true },
};

/** Two come with their schedulers. */
const OF_SCHEDULERS: Readonly<Record<string, Sysctl>> = {
  lblc_expiration: { value: '86400' },
  lblcr_expiration: { value: '86400' },
};

/** The settings of a new namespace. Linux before 6.11 shows none to user namespaces. */
export function ipvsSysctls(release: Release, userNamespace: boolean): [name: string, value: string][] {
  if (!hasModule(release, 'ip_vs') || (userNamespace && !isSince(release, [6, 11]))) return [];
  return Object.entries(SYSCTLS)
    .filter(([, { since }]) => since === undefined || isSince(release, since))
    .map(([name, { value }]) => [`${FOLDER}${name}`, value]);
}

/** A scheduler that is used for the first time brings its setting to all namespaces of the machine's own user namespace. */
export function schedulerLoaded({ state }: Machine, scheduler: string): void {
  const name = `${scheduler}_expiration`;
  const setting = OF_SCHEDULERS[name];
  if (setting === undefined) return;
  for (const { sysctls, userNamespace } of state.namespaces.values())
    if (!userNamespace && !sysctls.has(`${FOLDER}${name}`)) sysctls.set(`${FOLDER}${name}`, setting.value);
}

/** Writes one. @returns the errno, 0 where it was taken; undefined where it is none of IPVS */
export function writeSysctl(machine: Machine, namespace: Namespace, path: string, text: string): number | undefined {
  if (!path.startsWith(FOLDER)) return undefined;
  const name = path.slice(FOLDER.length);
  const setting = SYSCTLS[name] ?? OF_SCHEDULERS[name];
  if (setting === undefined) return undefined;
  if (namespace.userNamespace && setting.isTheHosts) return EACCES;
  const value = text.trim().replace(/\s+/g, '\t');
  if (name !== 'est_cpulist' && !/^[+-]?\d+(\t[+-]?\d+)*$/.test(value)) return EINVAL;
  if (setting.takes?.(value) === false) return EINVAL;
  if (name === 'drop_entry' && value === '3')
    machine.notModelled('dropping entries at random (net.ipv4.vs.drop_entry)');
  // Estimators come as often as they have had to until now.
  if (name === 'run_estimation') settleAll(namespace, Number(machine.state.now));
  namespace.sysctls.set(path, value);
  return 0;
}

function settleAll(namespace: Namespace, now: number): void {
  const { ipvs } = namespace;
  settle(namespace, ipvs.counters, now);
  for (const { counters, destinations } of ipvs.services) {
    settle(namespace, counters, now);
    for (const each of destinations) settle(namespace, each.counters, now);
  }
}
