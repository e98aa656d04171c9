import type { Machine } from '../machine/machine.ts';
import type { Namespace } from '../machine/state.ts';
import type { Destination, Service } from './state.ts';

/** The packet that begins a connection, as far as schedulers look at it. */
export interface Arrival {
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  /** In milliseconds. */
  readonly now: number;
  readonly namespace: Namespace;
}

export interface Scheduler {
  choose(service: Service, arrival: Arrival, machine: Machine): Destination | undefined;
  /** The scheduler is bound to a service, which may have destinations (init_service). */
  begin?(service: Service, now: number): void;
  /** A destination was added to the list, taken out of it, or edited. */
  changed?(service: Service, change: Change): void;
}

export type Change =
  | { readonly kind: 'added' | 'edited' }
  /** `at` is where it was in the list. */
  | { readonly kind: 'removed'; readonly destination: Destination; readonly at: number };
