export { Cluster, type JoinOptions } from './cluster.ts';
export type { ClusterServer, ClusterService } from './declaration.ts';
export { EtcdError } from './etcd.ts';
export type { EtcdOptions } from './etcd-options.ts';
export { type ChangeOptions, ClusterServices, type ServiceChange, type StoredService } from './services.ts';
export type { ClusterEvent, ClusterHost, ClusterStatus } from './status.ts';
