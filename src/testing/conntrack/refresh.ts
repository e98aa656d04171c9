import { IPS_FIXED_TIMEOUT } from '../../linux/nf_conntrack_common.ts';
import type { Packet } from '../packets/packet.ts';
import type { Kernel } from './kernel.ts';
import type { Connection } from './state.ts';

/** A packet of a connection. */
export interface Seen {
  readonly packet: Packet;
  readonly direction: 0 | 1;
  readonly isConfirmed: boolean;
  /** What is to be told of, as IPCT_ bits. */
  readonly notes: number[];
}

/** Lets a connection live on, and counts the packet (nf_ct_refresh_acct). */
export function refresh(kernel: Kernel, connection: Connection, seen: Seen, timeout: bigint): void {
  if ((connection.status & IPS_FIXED_TIMEOUT) === 0) {
    connection.timeout = timeout;
    connection.expires = kernel.now + timeout;
  }
  count(connection, seen);
}

export function count({ counters }: Connection, { direction, packet }: Seen): void {
  const counter = counters?.[direction];
  if (counter === undefined) return;
  counter.packets++;
  counter.bytes += BigInt(packet.bytes.length);
}
