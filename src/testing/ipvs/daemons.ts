import * as Vs from '../../linux/ip_vs.ts';
import type { Namespace } from '../machine/state.ts';
import { EEXIST, EINVAL, ENETUNREACH, ENODEV, ESRCH, refuse } from '../refusal.ts';
import type { Daemon } from './state.ts';

/** 224.0.0.81, port 8848. */
const DEFAULT_GROUP = Uint8Array.of(224, 0, 0, 81);
const DEFAULT_PORT = 8848;

export type DaemonSettings = Omit<Daemon, 'group'> & { readonly group: Uint8Array | undefined };

/** Starts a daemon of synchronisation (start_sync_thread). It sends and receives nothing here. */
export function startDaemon({ ipvs, links }: Namespace, daemon: DaemonSettings): void {
  const { state, group = DEFAULT_GROUP } = daemon;
  const link = links.find(({ name }) => name === daemon.interface) ?? refuse(ENODEV);
  if (state !== Vs.IP_VS_STATE_MASTER && state !== Vs.IP_VS_STATE_BACKUP) refuse(EINVAL);
  if (ipvs.daemons.some(each => each.state === state)) refuse(EEXIST);
  const isMaster = state === Vs.IP_VS_STATE_MASTER;
  if (isMaster && !link.up) refuse(ENETUNREACH);
  ipvs.daemons.push({
    ...daemon,
    group,
    maxLength: lengthOf(daemon.maxLength, group.length === 4 ? 28 : 48, isMaster, link.mtu),
    port: daemon.port === 0 ? DEFAULT_PORT : daemon.port,
    ttl: daemon.ttl === 0 ? 1 : daemon.ttl,
  });
  ipvs.daemons.sort((a, b) => a.state - b.state);
}

const clamp = (value: number, least: number, most: number): number => Math.min(Math.max(value, least), most);

/** A master's messages fit 1500 bytes, a backup takes what its device does. */
function lengthOf(wanted: number, headers: number, isMaster: boolean, mtu: number): number {
  if (wanted !== 0) return clamp(wanted, isMaster ? 1 : 1024, 65_535 - headers);
  return (isMaster ? 1500 : clamp(mtu, 1500, 65_535)) - headers;
}

export function stopDaemon({ ipvs }: Namespace, state: number): void {
  if (state !== Vs.IP_VS_STATE_MASTER && state !== Vs.IP_VS_STATE_BACKUP) refuse(EINVAL);
  const at = ipvs.daemons.findIndex(each => each.state === state);
  if (at < 0) refuse(ESRCH);
  ipvs.daemons.splice(at, 1);
}
