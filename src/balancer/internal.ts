/* What netsteer/cluster uses of this room. */
export { announce } from './announce.ts';
export type { BalancedServer, BalancedService } from './declaration.ts';
export { readService } from './declared.ts';
export { BalancerError } from './error.ts';
export { EventFeed } from './event.ts';
export { LoadBalancer } from './load-balancer.ts';
export type { BalancerStatus } from './status.ts';
