import type { BalancerStatus } from '../balancer/internal.ts';

/** What a cluster tells. */
export type ClusterEvent = {
  /** When, in milliseconds since 1970. */
  atMs: number;
} & (
  | {
      /** What has happened. */
      type: 'host-up' | 'host-down';
      /** The name of the host. */
      host: string;
    }
  | {
      type: 'held' | 'lost';
      /** The name of the service. */
      service: string;
      /** The service's address. */
      address: string;
      /** Why the address was lost. */
      reason?: string;
    }
  | { type: 'connected' | 'cut-off' }
  | {
      type: 'problem';
      service?: string;
      /** The error. */
      error: Error;
    }
);

/** What a host has told of itself. */
export interface ClusterHost {
  /** Its name. */
  name: string;
  /** Whether its lease holds. */
  alive: boolean;
  /** The containers that it has, of those that services name. */
  containers: string[];
}

/** What this host knows of the cluster. */
export interface ClusterStatus {
  /** This host. */
  host: string;
  /** Whether its own lease holds. While it does not, nothing is changed, and its addresses are gone. */
  connected: boolean;
  /** All hosts. */
  hosts: ClusterHost[];
  /** The services, and which host has the address of each. */
  services: {
    /** Its name. */
    name: string;
    /** The host that has its address; undefined: none has. */
    holder?: string;
    /** The balancer's container on that host. */
    container?: string;
  }[];
  /** What cannot be programmed: a declaration that is none, a container that refuses. By service. */
  problems: Record<string, string>;
  /** The services of this host's own balancers. */
  balancers: BalancerStatus['balancers'];
}
