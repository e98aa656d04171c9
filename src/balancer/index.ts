export { type BalancerChange, type ChangePlace, formatBalancerPlan } from './change.ts';
export type { BalancedForward, BalancedProtocol, BalancedServer, BalancedService, MarkedPort } from './declaration.ts';
export { BalancerError, type BalancerFailure } from './error.ts';
export type { BalancerEvent, ServerPlace } from './event.ts';
export type {
  CheckedServer,
  HealthCheck,
  HealthTiming,
  HttpCheck,
  HttpsCheck,
  TcpCheck,
  UdpCheck,
} from './health/declaration.ts';
export type { ServerCondition } from './live.ts';
export { type ApplyOptions, LoadBalancer, type LoadBalancerOptions } from './load-balancer.ts';
export { OPEN_METRICS_TYPE } from './metrics.ts';
export { type BalancerStatus, formatBalancerStatus, type ServerStatus, type ServiceStatus } from './status.ts';
export type { WeightPolicy } from './weights.ts';
