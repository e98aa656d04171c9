export { fromJson, toJson } from '../codec/json.ts';
export type {
  Destination,
  DestinationEntry,
  DestinationKey,
  Forward,
  Tunnel,
  VirtualServer,
} from '../ip_vs/destination.ts';
export type { SchedulerFlag } from '../ip_vs/scheduler-flags.ts';
export type {
  FirewallMarkKey,
  Persistence,
  Scheduling,
  Service,
  ServiceEntry,
  ServiceKey,
  TransportKey,
} from '../ip_vs/service.ts';
export type { Scheduler } from '../ip_vs/service-rows.ts';
export type { Rates, Stats } from '../ip_vs/stats.ts';
export type { SyncDaemon, SyncState } from '../ip_vs/sync-daemon.ts';
export type { Timeouts } from '../ip_vs/timeouts.ts';
export { formatRules } from '../ipvsadm/format.ts';
export { parseRules } from '../ipvsadm/parse-rules.ts';
export type { RuleError } from '../ipvsadm/read-rules.ts';
export type { RuleNames } from '../ipvsadm/service-names.ts';
export { formatTable, type TableView } from '../ipvsadm/table.ts';
export type { IpvsInfo } from './backends/backend.ts';
export type { Via } from './backends/socket.ts';
export type { BatchOptions, BatchResult } from './batch.ts';
export type { Connection, ConnectionEnd, ConnectionsOptions } from './connections.ts';
export type { Drain, DrainByProtocol, DrainPolicy } from './drain.ts';
export { Ipvs, type IpvsOptions } from './ipvs.ts';
export type { BatchBuilder } from './operation.ts';
export type { DestinationPatch, IpvsOperation, ServicePatch } from './operation-types.ts';
export { formatPlan } from './plan.ts';
export type { Drained, PlanOptions, ReconcileOptions, ReconcileProgress, ReconcileResult } from './reconcile.ts';
export {
  parseRuleLines,
  type RestoreOptions,
  type RestoreResult,
  type RuleFailure,
  type RuleLine,
  type RuleOperation,
} from './rules-restore.ts';
export { type IpvsSetting, type IpvsSettingName, IpvsSettings } from './settings.ts';
export type { Snapshot } from './snapshot.ts';
