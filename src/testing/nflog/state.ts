/* Who listens to the groups of a namespace: plain objects. */

/** A listener of a group. */
export interface LogGroup {
  readonly port: number;
  mode: number;
  range: number;
  buffer: number;
  timeout: number;
  threshold: number;
  flags: number;
  sequence: number;
  /** Packets that wait to be delivered together. */
  waiting: Uint8Array[];
  /** Bytes that still fit beside them. */
  room: number;
  /** When they are delivered at the latest. */
  due: bigint | undefined;
}

export interface Nflog {
  groups: Map<number, LogGroup>;
  /** Numbers the packets of all groups. */
  sequence: number;
}

export const newNflog = (): Nflog => ({ groups: new Map(), sequence: 1 });
