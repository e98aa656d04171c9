export type { Destination, DestinationEntry, DestinationKey, Forward, Tunnel } from './destination.ts';
export { Ipvs, type IpvsInfo, type IpvsOptions, type Timeouts } from './ipvs.ts';
export type {
  FirewallMarkKey,
  Persistence,
  Scheduler,
  SchedulerFlag,
  Scheduling,
  Service,
  ServiceEntry,
  ServiceKey,
  TransportKey,
  VirtualServer,
} from './service.ts';
export type { Rates, Stats } from './stats.ts';
export { formatTable } from './table.ts';
