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

/** While datagrams follow one another, each so many reads empty the kernel's buffer: it holds a sixth of what fits the same memory here. */
const READS_BETWEEN = 64;
/** The datagrams that are taken at once, so that the event loop is not held for long. */
const TAKEN_AT_MOST = 1000;
/** How much more than the kernel's buffer is kept here. */
const BACKLOG = 2;

/** The result of one read of a group: a datagram's length, or 'lost' if the kernel had no room for some. */
export type GroupRead = { readonly length: number } | 'lost' | 'closed';

/** The part of a socket that a GroupReader uses. Tests have one in memory. */
export type GroupSocket = Pick<NetlinkSocket, 'receiveFrom' | 'watch' | 'close' | 'closed'>;

/**
 * Multicast groups of the kernel, in one socket. Nothing is read before it is asked for: what a slow program leaves stays in the kernel, up
 * to the size of the receive buffer, and what is beyond that is lost and said to be. In a flood, reading comes before decoding: up to twice
 * as many bytes wait in this process.
 * @example
 * const reader = GroupReader.open(netns, NETLINK_ROUTE, [1], 1024 * 1024);
 * await reader.read();
 * await reader.close();
 */
export class GroupReader {
  readonly #socket: GroupSocket;
  /** The bytes of the last datagram. */
  readonly source: Source = sourceOf(new Uint8Array(RECEIVE_BUFFER));
  readonly #sender = new Uint8Array(12);
  readonly #senderView = new DataView(this.#sender.buffer);
  #wake: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  readonly #budget = new EventLoopBudget();
  /** Datagrams that another process sent: only the kernel is believed. */
  rejectedSenders = 0;

  readonly #backlog: Backlog;
  /** Reads since the kernel had nothing more. */
  #reads = 0;

  /**
   * Reads a socket that has joined groups.
   * @param socket the socket
   * @param backlogBytes how many bytes may wait in this process
   */
  constructor(socket: GroupSocket, backlogBytes = 0) {
    this.#socket = socket;
    this.#backlog = new Backlog(backlogBytes);
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
    return new GroupReader(socket, receiveBufferBytes * BACKLOG);
  }

  /** Whether it is closed. */
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
      if (++this.#reads % READS_BETWEEN === 0) this.#take();
      const length = this.#backlog.next(this.source.bytes) ?? this.#receive(this.source.bytes);
      if (length === NOTHING) {
        this.#reads = 0;
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
    this.#backlog.clear();
    // A flood of new datagrams must not keep this going; the old ones are gone by then.
    for (let read = 0; read < DRAINED_AT_MOST; read++) {
      const length = this.#receive(this.source.bytes);
      if (length < 0 && length !== LOST) return;
    }
  }

  /** Takes what the kernel has, as far as there is room for it. */
  #take(): void {
    for (let taken = 0; taken < TAKEN_AT_MOST; taken++) {
      const room = this.#backlog.room();
      if (room === undefined) return;
      const length = this.#receive(room);
      if (length === NOTHING) return;
      if (length !== REJECTED) this.#backlog.add(Math.min(length, room.length + 1));
    }
  }

  #receive(into: Uint8Array): number {
    const length = this.#socket.receiveFrom(into, this.#sender);
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

/** The size of the blocks of a backlog. */
const BLOCK = 8 * RECEIVE_BUFFER;

/** Datagrams that were read but are not decoded yet, one behind the other in large blocks, and the errors between them. */
class Backlog {
  readonly #limit: number;
  /** The blocks in order. Datagrams are added to the last one and taken from the first one. */
  readonly #blocks: Uint8Array[] = [];
  #end = 0;
  #start = 0;
  /** The length of each datagram, or a negative errno. */
  #lengths: number[] = [];
  #read = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A place for the next datagram, of any size; undefined if the limit is reached. */
  room(): Uint8Array | undefined {
    if (this.#limit < BLOCK || this.#blocks.length * BLOCK - this.#start >= this.#limit) return undefined;
    if (this.#blocks.length === 0 || this.#end + RECEIVE_BUFFER > BLOCK) {
      if (this.#blocks.length > 0) this.#lengths.push(NEXT_BLOCK);
      this.#blocks.push(new Uint8Array(BLOCK));
      this.#end = 0;
    }
    return this.#blocks.at(-1)!.subarray(this.#end, this.#end + RECEIVE_BUFFER);
  }

  /** What was received at that place: a length, or a negative errno. */
  add(length: number): void {
    this.#lengths.push(length);
    if (length > 0) this.#end += Math.min(length, RECEIVE_BUFFER);
  }

  /** Copies the oldest datagram. @returns its length, or a negative errno; undefined if there is none */
  next(into: Uint8Array): number | undefined {
    if (this.#blocks.length === 0) return undefined;
    if (this.#read === this.#lengths.length) {
      this.clear();
      return undefined;
    }
    const length = this.#lengths[this.#read++]!;
    if (length === NEXT_BLOCK) {
      this.#blocks.shift();
      this.#start = 0;
      this.#lengths.splice(0, this.#read);
      this.#read = 0;
      return this.next(into);
    }
    if (length <= 0) return length;
    const end = this.#start + Math.min(length, RECEIVE_BUFFER);
    into.set(this.#blocks[0]!.subarray(this.#start, end));
    this.#start = end;
    return length;
  }

  clear(): void {
    this.#blocks.length = 0;
    this.#lengths = [];
    this.#read = 0;
    this.#start = 0;
    this.#end = 0;
  }
}

/** Marks in the list of lengths that the next datagram is in the next block. */
const NEXT_BLOCK = -1_000_000;
