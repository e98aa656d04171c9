import type { Destination, DestinationKey, Tunnel } from '../ip_vs/destination.ts';
import type { Persistence, Scheduling, Service, ServiceKey } from '../ip_vs/service.ts';
import type { Timeouts } from '../ip_vs/timeouts.ts';

/* A change of IPVS as data. */

/** Some fields of an object. An optional field that is given as undefined goes back to its default. */
export type Patch<T> = { [K in keyof T]?: Record<never, never> extends Pick<T, K> ? T[K] | undefined : T[K] };

/**
 * Changes of a service: everything but its key. Of `persistence` some fields may be given, and the others stay; `persistence: undefined` ends it. If the
 * scheduler changes, the flags of the old one go, unless they are given.
 */
export type ServicePatch = Patch<Omit<Scheduling, 'persistence'>> & {
  /** Another persistence; null ends it. */
  persistence?: Patch<Persistence> | undefined;
};

/**
 * Changes of a destination: everything but its key. Of `tunnel` some fields may be given, and the others stay. Fields that are not given go if they
 * no longer fit: the tunnel if `forward` changes, port and checksum if the type of tunnel changes, and a lower threshold that is above a
 * new upper one.
 */
export type DestinationPatch = Patch<Omit<Destination, keyof DestinationKey | 'tunnel'>> & {
  /** Changes to the tunnel. */
  tunnel?: Patch<Tunnel> | undefined;
};

/** One change of IPVS as data: the name of a method of `Ipvs`, with its parameters. */
export type IpvsOperation =
  | {
      /** What to do. */
      op: 'addService' | 'setService';
      /** The service. */
      service: Service;
    }
  | {
      /** What to do. */
      op: 'editService';
      /** The service that it is about. */
      key: ServiceKey;
      /** What to change. */
      patch: ServicePatch;
    }
  | {
      /** What to do. */
      op: 'removeService';
      /** The service that it is about. */
      key: ServiceKey;
    }
  | {
      /** What to do. */
      op: 'addDestination' | 'setDestination';
      /** The service that it is about. */
      key: ServiceKey;
      /** The real server. */
      destination: Destination;
    }
  | {
      /** What to do. */
      op: 'editDestination';
      /** The service that it is about. */
      key: ServiceKey;
      /** The real server that it is about. */
      destinationKey: DestinationKey;
      /** What to change. */
      patch: DestinationPatch;
    }
  | {
      /** What to do. */
      op: 'removeDestination';
      /** The service that it is about. */
      key: ServiceKey;
      /** The real server that it is about. */
      destinationKey: DestinationKey;
    }
  | {
      /** What to do. */
      op: 'zero';
      /** The service that it is about. */
      key?: ServiceKey;
    }
  | {
      /** What to do. */
      op: 'flush';
    }
  | {
      /** What to do. */
      op: 'setTimeouts';
      /** The timeouts to set, in seconds. */
      timeouts: Partial<Timeouts>;
    };
