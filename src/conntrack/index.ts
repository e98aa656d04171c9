export type { Protocol } from '../ctnetlink/protocol.ts';
export type { StatusFlag } from '../ctnetlink/tables.ts';
export { Conntrack, type ConntrackOptions, type ListOptions } from './conntrack.ts';
export type { Expectation, ExpectationKey, NewExpectation } from './expectation.ts';
export type { FlowFilter, PortFilter, TupleFilter } from './filter.ts';
export type {
  Flow,
  FlowCounters,
  FlowFamily,
  FlowKey,
  FlowReference,
  FlowTranslation,
  FlowTuple,
  IcmpKey,
} from './flow.ts';
export type {
  ConntrackEvent,
  ConntrackItem,
  ConntrackMonitor,
  ConntrackMonitorOptions,
  ConntrackState,
  FlowEventKind,
} from './monitor.ts';
export type { FlowPatch, NewFlow, SettableStatus } from './new-flow.ts';
export type { ConntrackSetting, ConntrackSettingName, ConntrackSettings } from './settings.ts';
export type { ConntrackStatistics, ExpectationStatistics } from './statistics.ts';
