import type { NetNs } from '../netns/netns.ts';

/**
 * The seam between this library and a kernel, at the level of bytes: a netlink socket, or a kernel in memory for tests. What is above it
 * (sequence numbers, acknowledgements, dumps, batches) does not know which.
 */
export interface Transport {
  /** The namespace in which the kernel answers; 0 where there is none. */
  readonly netnsInode: number;
  /** Sends one datagram: its length, or the negative errno. The kernel has carried it out when this returns. */
  send(bytes: Uint8Array, length: number): number;
  /** As `send`, away from this thread. */
  sendOffThread(bytes: Uint8Array, length: number): Promise<number>;
  /** Reads one datagram without waiting: its length, which may exceed `into` (it was cut then), or the negative errno. */
  receive(into: Uint8Array): number;
  /** Waits for a datagram on another thread. */
  receiveOffThread(into: Uint8Array): Promise<number>;
  /** Makes room for a datagram of `bytes` and for `replies` answers to it. Returns the largest datagram that may be sent. */
  reserve(bytes: number, replies: number): number;
  /** Devices of that namespace, now; a kernel in memory need not know any. */
  deviceName?(index: number): string | undefined;
  /** The index of a network device of the namespace. */
  deviceIndex?(name: string): number | undefined;
  /** The namespace, opened anew; a kernel in memory has none. */
  namespace?(): NetNs;
  /** Resolves when the kernel has let go. */
  close(): Promise<void>;
  /** Whether it is closed. */
  readonly closed: boolean;
}

/** A transport that can take one datagram from several places: for others they are put together. */
export interface GatheringTransport extends Transport {
  sendParts(parts: readonly Uint8Array[]): number;
  sendPartsOffThread(parts: readonly Uint8Array[]): Promise<number>;
}

export const gathers = (transport: Transport): transport is GatheringTransport => 'sendParts' in transport;

/** EAGAIN: nothing to read. */
export const NOTHING = -11;
/** ENOBUFS: answers did not fit the receive buffer and are gone; what they answered was carried out all the same. */
export const LOST = -105;
