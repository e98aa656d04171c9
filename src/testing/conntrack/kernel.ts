import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace, Release } from '../machine/state.ts';

/** The kernel around the connections of a namespace. */
export interface Kernel {
  readonly release: Release;
  /** Milliseconds since the boot. */
  readonly now: bigint;
  /** Nanoseconds since 1970. */
  readonly wallClock: bigint;
  /** What this kernel would have to guess. */
  notModelled(feature: string): never;
  /** Tells those that listen to a group, but one. */
  multicast(namespace: Namespace, protocol: number, group: number, datagram: Uint8Array, but?: MemorySocket): void;
  /** Whether a program listens to one of the groups, in whatever namespace. */
  hears(protocol: number, groups: readonly number[]): boolean;
}
