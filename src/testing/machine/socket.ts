import { NETLINK_NO_ENOBUFS } from '../../linux/netlink.ts';
import { EAGAIN, ENOBUFS } from '../refusal.ts';
import { interrupted } from './faults.ts';

/** A buffered datagram is charged its bytes and about so much for the kernel's own structures (SKB_TRUESIZE). */
const CHARGE = 768;
const PAGE = 4096;
/** net.core.rmem_default and wmem_default. */
const DEFAULT_BUFFER = 212_992;

/** The answer to a dump, a datagram at a time: the kernel makes each when it is asked for. */
export type Dump = Iterator<Uint8Array, unknown, undefined>;

/** A netlink socket of a program, as the kernel in memory sees it. */
export class MemorySocket {
  readonly protocol: number;
  /** The inode of its namespace. */
  readonly namespace: number;
  readonly port: number;
  readonly groups = new Set<number>();
  receiveBuffer = DEFAULT_BUFFER;
  sendBuffer = DEFAULT_BUFFER;
  /** NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_NO_ENOBUFS, NETLINK_GET_STRICT_CHK. */
  readonly options = new Map<number, number>();
  /** The answers to the request under way find no room. */
  losesAnswers = false;
  /** The dump that the request under way starts is marked as interrupted. */
  interruptsDump = false;
  /** Datagrams that were lost for want of room. */
  drops = 0;
  readonly #queue: Uint8Array[] = [];
  #charged = 0;
  #overrun = false;
  /** Until the program has read all that there is, everything else is lost, too. */
  #isCongested = false;
  #dump: Dump | undefined;
  #isInterrupted = false;
  #ready: (() => void) | undefined;
  #woken = false;
  closed = false;

  constructor(protocol: number, namespace: number, port: number) {
    this.protocol = protocol;
    this.namespace = namespace;
    this.port = port;
  }

  /** Bytes that wait, as SO_MEMINFO tells. */
  get charged(): number {
    return this.#charged;
  }

  /** Puts a datagram where the program reads it, if there is room. */
  deliver(datagram: Uint8Array): void {
    const charge = CHARGE + datagram.length;
    const isFull = this.#charged > 0 && this.#charged + charge > this.receiveBuffer;
    if (this.losesAnswers || this.#isCongested || isFull) {
      this.overrun();
      return;
    }
    this.#queue.push(datagram);
    this.#charged += charge;
    this.#wake();
  }

  /** A datagram has been lost. Whoever does not want to be told, by NETLINK_NO_ENOBUFS, gets more as soon as there is room. */
  overrun(): void {
    this.drops++;
    if ((this.options.get(NETLINK_NO_ENOBUFS) ?? 0) !== 0 || this.#isCongested) return;
    this.#isCongested = true;
    this.#overrun = true;
    this.#wake();
  }

  /** Starts a dump. @returns false while another is under way */
  start(dump: Dump): boolean {
    if (this.#dump !== undefined) return false;
    this.#dump = dump;
    this.#isInterrupted = this.interruptsDump;
    this.#next();
    return true;
  }

  /** A dump is continued when its last datagram has been read. */
  #next(): void {
    const next = this.#dump?.next();
    if (next === undefined) return;
    if (next.done === true) this.#dump = undefined;
    else if (this.losesAnswers) this.overrun();
    else {
      this.#queue.push(this.#isInterrupted ? interrupted(next.value) : next.value);
      this.#charged += CHARGE + next.value.length;
      this.#wake();
    }
  }

  /** As recv(2) with MSG_DONTWAIT and MSG_TRUNC. */
  receive(into: Uint8Array): number {
    const length = this.#take(into);
    if (this.#queue.length === 0) this.#isCongested = false;
    return length;
  }

  #take(into: Uint8Array): number {
    if (this.#overrun) {
      this.#overrun = false;
      return ENOBUFS;
    }
    const datagram = this.#queue.shift();
    if (datagram === undefined) return EAGAIN;
    this.#charged -= CHARGE + datagram.length;
    into.set(datagram.subarray(0, into.length));
    if (this.#queue.length === 0) this.#next();
    return datagram.length;
  }

  get readable(): boolean {
    return this.#overrun || this.#queue.length > 0;
  }

  watch(ready: (() => void) | undefined): void {
    this.#ready = ready;
    if (ready !== undefined && this.readable) this.#wake();
  }

  /** The event loop tells a watch, in a turn of its own. */
  #wake(): void {
    if (this.#woken || this.#ready === undefined) return;
    this.#woken = true;
    setImmediate(() => {
      this.#woken = false;
      if (this.closed || !this.readable) return;
      this.#ready?.();
      // As a poll: for as long as something is left to read.
      if (this.readable) this.#wake();
    });
  }

  /** Sets a buffer: the kernel doubles what it is given. */
  resize(which: 'receiveBuffer' | 'sendBuffer', bytes: number): void {
    this[which] = Math.max(2 * bytes, PAGE);
  }
}
