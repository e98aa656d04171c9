export { fromJson, toJson } from '../codec/json.ts';
export type { BatchOptions, BatchResult } from './batch.ts';
export type { Connection, ConnectionEnd, ConnectionsOptions } from './connections.ts';
export type { SyncDaemon, SyncState } from './daemon.ts';
export type { Destination, DestinationEntry, DestinationKey, Forward, Tunnel } from './destination.ts';
export type { Drain, DrainByProtocol, DrainPolicy } from './drain.ts';
export { Ipvs, type IpvsOptions } from './ipvs.ts';
export type { Via } from './ipvs-socket.ts';
export type { Timeouts } from './ipvs-timeouts.ts';
export type { IpvsInfo } from './netlink.ts';
export type { BatchBuilder, DestinationPatch, IpvsOperation, ServicePatch } from './operation.ts';
export { formatPlan } from './plan-format.ts';
export type { Drained, PlanOptions, ReconcileOptions, ReconcileProgress, ReconcileResult } from './reconcile.ts';
export type { RuleError } from './rules.ts';
export { formatRules } from './rules-format.ts';
export {
  parseRuleLines,
  type RestoreOptions,
  type RestoreResult,
  type RuleFailure,
  type RuleLine,
  type RuleOperation,
} from './rules-restore.ts';
export { parseRules } from './rules-servers.ts';
export type { SchedulerFlag } from './scheduler-flags.ts';
export type {
  FirewallMarkKey,
  Persistence,
  Scheduler,
  Scheduling,
  Service,
  ServiceEntry,
  ServiceKey,
  TransportKey,
  VirtualServer,
} from './service.ts';
export type { RuleNames } from './service-names.ts';
export { type IpvsSetting, type IpvsSettingName, IpvsSettings } from './settings.ts';
export type { Snapshot } from './snapshot.ts';
export type { Rates, Stats } from './stats.ts';
export { formatTable, type TableView } from './table.ts';
