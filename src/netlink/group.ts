import { HOST_IS_LITTLE_ENDIAN, type Source, sourceOf } from '../codec/index.ts';
import { NetlinkError } from '../errors.ts';
import { NETLINK_ADD_MEMBERSHIP } from '../linux/netlink.ts';
import { SOL_NETLINK } from '../linux/socket.ts';
import type { NetNs } from '../netns/netns.ts';
import { EventLoopBudget } from './event-loop-budget.ts';
import { closedError } from './lifetime.ts';
import { NetlinkSocket } from './socket.ts';
import { LOST, NOTHING } from './transport.ts';

/** Events are at most one page of the kernel's (NLMSG_GOODSIZE), or as large as the largest object. */
const RECEIVE_BUFFER = 128 * 1024;
const REPLY_CHARGE = 1024;
const EINTR = -4;
/** The datagram was not the kernel's: root of a container can send to a group, too. */
const REJECTED = 0;
/** More than a receive buffer of a gibibyte holds of the smallest datagrams. */
const DRAINED_AT_MOST = 2_000_000;

/** The result of one read of a group: a datagram's length, or 'lost' if the kernel had no room for some. */
export type GroupRead = { readonly length: number } | 'lost' | 'closed';

/** The part of a socket that a GroupReader uses. Tests have one in memory. */
export type GroupSocket = Pick<NetlinkSocket, 'receiveFrom' | 'watch' | 'close' | 'closed'>;

/**
 * Multicast groups of the kernel, in one socket. Nothing is read before it is asked for: what a slow program leaves stays in the kernel, up
 * to the size of the receive buffer, and what is beyond that is lost and said to be.
 * @example
 * const reader = GroupReader.open(netns, NETLINK_ROUTE, [1], 1024 * 1024);
 * await reader.read();
 * await reader.close();
 */
export class GroupReader {
  readonly #socket: GroupSocket;
  readonly source: Source = sourceOf(new Uint8Array(RECEIVE_BUFFER));
  readonly #sender = new Uint8Array(12);
  readonly #senderView = new DataView(this.#sender.buffer);
  #wake: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  readonly #budget = new EventLoopBudget();
  /** Datagrams that another process sent: only the kernel is believed. */
  rejectedSenders = 0;

  constructor(socket: GroupSocket) {
    this.#socket = socket;
  }

  /**
   * Opens a socket in a namespace and joins the groups.
   * @param netns where it listens
   * @param protocol NETLINK_ROUTE, NETLINK_NETFILTER ...
   * @param groups the numbers of the groups: NFNLGRP_NFTABLES ...
   * @param receiveBufferBytes the size of the receive buffer
   * @throws NetlinkError EPERM the group needs CAP_NET_ADMIN
   * @example
   * const reader = GroupReader.open(netns, NETLINK_ROUTE, [1], 1024 * 1024);
   */
  static open(netns: NetNs, protocol: number, groups: readonly number[], receiveBufferBytes: number): GroupReader {
    const socket = new NetlinkSocket({ netns, protocol });
    try {
      socket.reserve(0, Math.ceil(receiveBufferBytes / REPLY_CHARGE));
      for (const group of groups) socket.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    } catch (error) {
      void socket.close();
      throw error;
    }
    return new GroupReader(socket);
  }

  get closed(): boolean {
    return this.#closing !== undefined || this.#socket.closed;
  }

  /**
   * The next datagram, in `source`; waits for one. 'closed' is the end of all reading.
   * @throws NetlinkError what the socket says
   * @example
   * if ((await reader.read()) !== 'closed') console.log(reader.source.bytes.length);
   */
  async read(): Promise<GroupRead> {
    for (;;) {
      if (this.closed) return 'closed';
      const length = this.#receive();
      if (length === NOTHING) {
        await this.#readable();
        this.#budget.restart();
        continue;
      }
      if (length === LOST) return 'lost';
      if (length < 0) throw new NetlinkError({ errno: length, syscall: 'recvmsg' });
      if (this.#budget.spent) await this.#budget.rest();
      if (length === REJECTED) continue;
      // It was cut.
      return length > this.source.bytes.length ? 'lost' : { length };
    }
  }

  /**
   * Throws away what is there now. @throws StateError ERR_CLOSED
   * @example
   * reader.drain();
   */
  drain(): void {
    if (this.closed) throw closedError();
    // A flood of new datagrams must not keep this going; the old ones are gone by then.
    for (let read = 0; read < DRAINED_AT_MOST; read++) {
      const length = this.#receive();
      if (length < 0 && length !== LOST) return;
    }
  }

  #receive(): number {
    const length = this.#socket.receiveFrom(this.source.bytes, this.#sender);
    if (length === EINTR) return REJECTED;
    if (length < 0 || this.#senderView.getUint32(4, HOST_IS_LITTLE_ENDIAN) === 0) return length;
    this.rejectedSenders++;
    return REJECTED;
  }

  #readable(): Promise<void> {
    return new Promise(resolve => {
      const watch = this.#socket.watch(() => this.#wake?.());
      this.#wake = () => {
        this.#wake = undefined;
        watch.close();
        resolve();
      };
    });
  }

  /**
   * Ends a read that waits. Resolves when the kernel has let go.
   * @example
   * await reader.close();
   */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#wake?.();
      await this.#socket.close();
    })();
    return this.#closing;
  }
}
