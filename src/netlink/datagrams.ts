import { HOST_IS_LITTLE_ENDIAN, type Source, sourceOf } from '../codec/index.ts';
import { NetlinkError, StateError } from '../errors.ts';
import { offThread } from '../ffi/index.ts';
import { NLMSG_ERROR, NLMSG_HDRLEN, NLMSG_NOOP } from '../linux/netlink.ts';
import type { Observer } from '../observe.ts';
import { ofThread } from '../thread.ts';
import { type Ack, readAck } from './ack.ts';
import { EventLoopBudget } from './event-loop-budget.ts';
import { type Message, messageAt } from './message.ts';
import type { Operation } from './operation.ts';
import { type GatheringTransport, LOST, NOTHING, type Transport } from './transport.ts';

/** The kernel makes the parts of a dump as large as the largest read so far, up to 32 KiB; echoes of set elements reach 64 KiB. */
const RECEIVE_BUFFER = 128 * 1024;

const thread = ofThread('netlink.received', { buffer: undefined as Source | undefined });

/** The receive buffer of this thread. Each datagram is decoded before the next one is read. */
export function receiveBuffer(): Source {
  thread.buffer ??= sourceOf(new Uint8Array(RECEIVE_BUFFER));
  return thread.buffer;
}

/** An acknowledgement without attributes: its header, the error, and the header of the request. */
const ACK_LENGTH = 2 * NLMSG_HDRLEN + 4;
/** In `struct nlmsghdr`. */
const [TYPE_OFFSET, SEQUENCE_OFFSET] = [4, 8];

/** Whose datagrams they are. */
export interface Requester {
  readonly transport: Transport;
  readonly subsystem: string;
  readonly observer: Observer;
  readonly operation: string;
  heavy: boolean;
}

/** Sends one datagram at a time over a transport, reads its answers, and traces it. What the messages mean is the exchange's. */
export class Datagrams {
  readonly #requester: Requester;
  /** Answers to the last request may still be there: set by each send, cleared when the last answer was read. */
  unread = false;
  /** Ends the trace of the request under way. */
  #answered: ((error?: unknown) => void) | undefined;
  /** What the socket has said to a receive whose datagram was not looked at yet; undefined is none. It is in the buffer of this thread. */
  #received: number | undefined;

  constructor(requester: Requester) {
    this.#requester = requester;
  }

  /** Whether somebody looks at the request under way. */
  get traced(): boolean {
    return this.#answered !== undefined;
  }

  /** Whether a datagram of this length is sent from this thread. */
  staysHere(length: number): boolean {
    return !this.#requester.heavy && length <= offThread.bytes;
  }

  /** As `send`, from this thread. */
  sendNow(bytes: Uint8Array, length: number, messages: number, replies = messages): void {
    this.#prepare(length, messages, replies);
    try {
      this.#checkSent(this.#requester.transport.send(bytes, length));
    } catch (error) {
      this.settle(error);
      throw error;
    }
  }

  /**
   * Reads one datagram of the answers. True if it is the acknowledgement of the message `last` and nothing else, which ends the trace. Otherwise `readAll`
   * begins with it.
   */
  acknowledged(last: number): boolean {
    const buffer = receiveBuffer();
    const received = this.#requester.transport.receive(buffer.bytes);
    const { view } = buffer;
    const isIt =
      received === ACK_LENGTH &&
      view.getUint32(0, HOST_IS_LITTLE_ENDIAN) === ACK_LENGTH &&
      view.getUint16(TYPE_OFFSET, HOST_IS_LITTLE_ENDIAN) === NLMSG_ERROR &&
      view.getUint32(SEQUENCE_OFFSET, HOST_IS_LITTLE_ENDIAN) === last &&
      view.getInt32(NLMSG_HDRLEN, HOST_IS_LITTLE_ENDIAN) === 0;
    if (isIt) {
      this.unread = false;
      this.settle();
    } else {
      this.#received = received;
    }
    return isIt;
  }

  /** See Exchange.send. */
  *send(bytes: Uint8Array, length: number, messages: number, replies = messages): Operation<void> {
    this.#prepare(length, messages, replies);
    const leaves = this.#requester.heavy || length > offThread.bytes;
    this.#requester.heavy = false;
    try {
      const sent = leaves
        ? yield {
            now: () => this.#requester.transport.send(bytes, length),
            away: () => this.#requester.transport.sendOffThread(bytes, length),
            abortable: false,
          }
        : this.#requester.transport.send(bytes, length);
      this.#checkSent(sent);
    } catch (error) {
      this.settle(error);
      throw error;
    }
  }

  *sendParts(
    transport: GatheringTransport,
    parts: readonly Uint8Array[],
    length: number,
    messages: number,
    replies: number,
  ): Operation<void> {
    this.#prepare(length, messages, replies);
    try {
      const now = () => transport.sendParts(parts);
      const away = () => transport.sendPartsOffThread(parts);
      this.#checkSent(length > offThread.bytes ? yield { now, away, abortable: false } : now());
    } catch (error) {
      this.settle(error);
      throw error;
    }
  }

  #checkSent(sent: number): void {
    if (sent < 0) throw new NetlinkError({ errno: sent, syscall: 'sendto', operation: this.#requester.operation });
  }

  /** Makes room for a request and its answers, and begins its trace. */
  #prepare(length: number, messages: number, replies: number): void {
    if (length > 4096 || replies > 8) {
      const limit = this.#requester.transport.reserve(length, replies);
      if (length > limit) {
        throw new StateError(
          'ERR_TRANSACTION_TOO_LARGE',
          `${this.#requester.operation}: ${length} bytes, this caller's limit is ${limit}: raise net.core.wmem_max, or have CAP_NET_ADMIN in the ` +
            'initial user namespace',
        );
      }
    }
    this.unread = true;
    this.#received = undefined;
    const { observer, transport, subsystem, operation } = this.#requester;
    this.#answered = observer.idle
      ? undefined
      : observer.begin({
          family: subsystem,
          operation,
          netns: transport.netnsInode,
          bytes: length,
          messages,
        });
  }

  /** Ends the trace of the request under way. */
  settle(error?: unknown): void {
    this.#answered?.(error);
    this.#answered = undefined;
  }

  #receive(buffer: Source): number {
    const received = this.#received ?? this.#requester.transport.receive(buffer.bytes);
    this.#received = undefined;
    return this.received(received, buffer);
  }

  /** The length of what was received. @throws StateError answers were lost or cut, NetlinkError what else the socket says */
  received(length: number, buffer: Source): number {
    if (length === LOST) {
      this.#requester.observer.warn(
        { operation: this.#requester.operation, netns: this.#requester.transport.netnsInode },
        'answers of the kernel were lost',
      );
      throw new StateError(
        'ERR_REPLIES_LOST',
        `${this.#requester.operation}: the receive buffer overflowed; what was asked has been carried out`,
      );
    }
    if (length < 0 && length !== NOTHING) {
      throw new NetlinkError({ errno: length, syscall: 'recvmsg', operation: this.#requester.operation });
    }
    if (length > buffer.bytes.length) {
      throw new StateError(
        'ERR_TRUNCATED',
        `${this.#requester.operation}: a datagram of ${length} bytes exceeds ${buffer.bytes.length}`,
      );
    }
    return length;
  }

  /**
   * Reads until the message `last` is acknowledged or refused; answers to the messages from `first` on go to `visit`, any older ones are of
   * an operation that gave up. The kernel has answered before sendto returned: nothing waits here.
   */
  readUntil(first: number, last: number, visit?: (message: Message) => void): Ack {
    const buffer = receiveBuffer();
    for (;;) {
      const length = this.#receive(buffer);
      if (length === NOTHING)
        throw new StateError('ERR_NO_REPLY', `${this.#requester.operation}: the kernel did not acknowledge`);
      for (let at = 0; at < length; ) {
        const message = messageAt(buffer, at, length);
        at = message.next;
        if (message.type === NLMSG_ERROR && message.sequence === last) return readAck(message);
        const mine = (message.sequence - first) >>> 0 <= (last - first) >>> 0;
        if (mine && message.type !== NLMSG_NOOP) visit?.(message);
      }
    }
  }

  /** Gives each answer to `visit` until that returns true, or there are no more. 'lost': some did not fit the receive buffer. */
  *readAll(visit: (message: Message) => boolean): Operation<'done' | 'drained' | 'lost'> {
    const buffer = receiveBuffer();
    let lost = false;
    let budget: EventLoopBudget | undefined;
    for (;;) {
      let received: number;
      try {
        received = this.#receive(buffer);
      } catch (error) {
        if (!(error instanceof StateError) || error.code !== 'ERR_REPLIES_LOST') throw error;
        lost = true;
        continue;
      }
      if (received === NOTHING) {
        this.unread = false;
        return lost ? 'lost' : 'drained';
      }
      for (let at = 0; at < received; ) {
        const message = messageAt(buffer, at, received);
        at = message.next;
        if (!visit(message)) continue;
        this.unread = false;
        return 'done';
      }
      if (budget === undefined) budget = new EventLoopBudget({ abortable: false });
      else yield budget;
    }
  }

  /** Throws away answers to an operation that was interrupted. */
  drain(): void {
    const buffer = receiveBuffer();
    for (let length = 0; length !== NOTHING; ) {
      length = this.#requester.transport.receive(buffer.bytes);
      if (length < 0 && length !== LOST) return;
    }
  }
}
