export type { ContainerState, Drift } from '../fleet/desired-state.ts';
export {
  type DesiredStates,
  Fleet,
  type FleetApplyOptions,
  type FleetOptions,
  type FleetProgress,
  type FleetResult,
  type FleetVerification,
} from '../fleet/fleet.ts';
export type { FleetEvent, FleetSource, FleetWatch, FleetWatchOptions, WatchedState } from '../fleet/watch.ts';
export { Container, type ContainerOptions } from './container.ts';
export type { SearchBudget } from './find/budget.ts';
export type { FindOptions, Runtime } from './find/find.ts';
export { type LogDrift, Logging, type LoggingOptions, type LogRule } from './logging/logging.ts';
export type { OwnedDifference } from './owned/difference.ts';
export type { ForceOptions, RedirectSettings } from './owned/table.ts';
export type { Ability, AbilityName, Obstacle, Preflight } from './preflight.ts';
export type { ConnectionPolicy } from './redirects/connections.ts';
export type { PortRange, Redirect, RedirectKey } from './redirects/input.ts';
export { type ConnectionPolicyOptions, type RedirectOptions, Redirects } from './redirects/redirects.ts';
export type { RedirectDrift } from './redirects/set.ts';
