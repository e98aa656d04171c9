import type { Destination, DestinationKey } from '../ip_vs/destination.ts';
import type { Service, ServiceKey } from '../ip_vs/service.ts';
import type { SyncDaemon, SyncState } from '../ip_vs/sync-daemon.ts';

/** What one line asks for. Services and destinations are complete: an edit replaces everything, as in ipvsadm. */
export type RuleCommand =
  | { op: 'addService'; service: Service }
  | { op: 'editService'; service: Service }
  | { op: 'removeService'; key: ServiceKey }
  | { op: 'addDestination'; key: ServiceKey; destination: Destination }
  | { op: 'editDestination'; key: ServiceKey; destination: Destination }
  | { op: 'removeDestination'; key: ServiceKey; destinationKey: DestinationKey }
  | { op: 'flush' }
  | { op: 'zero'; key?: ServiceKey }
  | { op: 'setTimeouts'; timeouts: { tcpSeconds?: number; tcpFinSeconds?: number; udpSeconds?: number } }
  | { op: 'startSync'; daemon: SyncDaemon }
  | { op: 'stopSync'; state: SyncState };
