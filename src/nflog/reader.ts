import { HOST_IS_LITTLE_ENDIAN, type Source } from '../codec/index.ts';
import { NetlinkError } from '../errors.ts';
import { NLMSG_ERROR } from '../linux/netlink.ts';
import { NFNL_SUBSYS_ULOG } from '../linux/nfnetlink.ts';
import { NFULNL_MSG_PACKET } from '../linux/nfnetlink_log.ts';
import { SK_MEMINFO_DROPS, SK_MEMINFO_VARS } from '../linux/sock_diag.ts';
import { SO_MEMINFO, SOL_SOCKET } from '../linux/socket.ts';
import { type NetlinkSocket, NLMSG_HDRLEN, nfnetlinkType, type Transport } from '../netlink/index.ts';
import { LOST, NOTHING } from '../netlink/transport.ts';
import type { Observer } from '../observe.ts';
import { firstHalf, PacketScan } from './attributes.ts';
import { PacketBatch, type Surroundings } from './batch.ts';
import { wallMicroseconds } from './devices.ts';
import { PacedWatch } from './paced-watch.ts';
import { NFGENMSG_LENGTH } from './packet.ts';
import { freeFrom, hasRoom, slabWithRoom, slabWords, useUntil } from './slab.ts';

const PACKET = nfnetlinkType(NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET);
/** The most that one log reads before the event loop goes on. The log is called again at once if there is more. */
const TURN_DATAGRAMS = 64;
const TURN_MILLISECONDS = 4;
/**
 * So many packets are delivered before more are read. The objects that consumers make of them can then be collected
 * while they are young, and the consumers' time counts as part of the turn. With fewer, each delivery would be a
 * write to a file.
 */
const HAND_PACKETS = 2048;
/** Warnings of the same kind at most this often. */
const WARNING_MILLISECONDS = 1000;
const EINTR = -4;

/** The methods of a socket that the reader needs. Tests use a socket in memory. */
export type LogSocket = Transport & Pick<NetlinkSocket, 'receiveFrom' | 'watch' | 'getOptions'>;

/** A loss of packets. */
export interface Loss {
  /**
   * 'packets': a gap in the sequence numbers of a group, exact, seen when a later packet arrives. 'datagrams':
   * batches that did not fit into the receive buffer, seen at once, the last ones too. Both can count the same loss,
   * so do not add them.
   */
  readonly kind: 'packets' | 'datagrams';
  /** Only of 'packets': datagrams are the socket's. */
  readonly group?: number;
  /** How many packets. */
  readonly count: number;
}

/** Gets the packets that are read. */
export interface Receiver {
  /** How many packets it still has room for. */
  readonly room: number;
  take(packets: PacketBatch): void;
  /** Somebody listens to losses. */
  readonly hearsLosses: boolean;
  lost(losses: readonly Loss[]): void;
  /** Nothing can be read any more. */
  fail(error: unknown): void;
}

/**
 * The receiving end of a log's socket, and the transport of its requests. An acknowledgement is in the same queue
 * behind the packets that were logged before it. Packets read on the way to it are kept and delivered in order.
 */
export class PacketReader implements Transport {
  readonly #socket: LogSocket;
  readonly #receiver: Receiver;
  readonly #observer: Observer;
  /** sk_rcvbuf: at most this much was queued before an acknowledgement. */
  readonly #receiveBuffer: number;
  readonly #sender = new Uint8Array(12);
  readonly #senderView = new DataView(this.#sender.buffer);
  /** The bound groups, each with the sequence number that comes next. */
  readonly #groups = new Map<number, number>();
  #watch: PacedWatch | undefined;
  #referenced = true;
  readonly #surroundings: Surroundings;
  #pending: PacketBatch;
  /** The batch that is filled next. */
  #spare: PacketBatch | undefined;
  #gaps = new Map<number, number>();
  #handing = false;
  #toldDatagrams = 0;
  #lastDatagrams = 0;
  #readSinceSend = 0;
  #draining = false;
  #warned = new Map<string, number>();
  readonly #scan = new PacketScan();
  received = 0;
  lostPackets = 0;
  rejectedSenders = 0;

  constructor(options: {
    socket: LogSocket;
    surroundings: Surroundings;
    receiver: Receiver;
    observer: Observer;
    receiveBufferBytes: number;
  }) {
    this.#socket = options.socket;
    this.#surroundings = options.surroundings;
    this.#pending = new PacketBatch(options.surroundings);
    this.#receiver = options.receiver;
    this.#observer = options.observer;
    this.#receiveBuffer = options.receiveBufferBytes;
  }

  get netnsInode(): number {
    return this.#socket.netnsInode;
  }
  get closed(): boolean {
    return this.#socket.closed;
  }

  get groups(): Map<number, number> {
    return this.#groups;
  }

  /** Batches that the kernel dropped because the receive buffer was full. */
  get lostDatagrams(): number {
    if (this.closed) return this.#lastDatagrams;
    try {
      this.#lastDatagrams = this.#socket.getOptions(SOL_SOCKET, SO_MEMINFO, SK_MEMINFO_VARS)[SK_MEMINFO_DROPS]!;
    } catch (error) {
      // A count that cannot be read now must not stop the log from being read or closed: the last count stays.
      if (!(error instanceof NetlinkError)) throw error;
    }
    return this.#lastDatagrams;
  }

  send(bytes: Uint8Array, length: number): number {
    this.#readSinceSend = 0;
    return this.#socket.send(bytes, length);
  }
  sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    this.#readSinceSend = 0;
    return this.#socket.sendOffThread(bytes, length);
  }
  reserve(bytes: number, replies: number): number {
    return this.#socket.reserve(bytes, replies);
  }

  /**
   * The next answer to a request; NOTHING if there is none. The kernel drops answers too when its buffer is full of
   * packets.
   */
  receive(into: Uint8Array): number {
    // The kernel answered before `send` returned, so the search ends: packets that arrive faster than they are read
    // must not prolong it for ever.
    while (this.#readSinceSend <= this.#receiveBuffer) {
      const length = this.#read(performance.now());
      if (length === 0) continue;
      if (length > 0) into.set(slabWithRoom().bytes.subarray(freeFrom(), freeFrom() + Math.min(length, into.length)));
      this.#handLater();
      return length;
    }
    this.#handLater();
    return NOTHING;
  }

  async receiveOffThread(into: Uint8Array): Promise<number> {
    return this.receive(into);
  }

  /** The caller is in the middle of a request, so the packets wait for the next turn. */
  #handLater(): void {
    if (this.#handing || (this.#pending.length === 0 && this.#gaps.size === 0)) return;
    this.#handing = true;
    setImmediate(() => {
      this.#handing = false;
      this.#hand();
    });
  }

  start(): void {
    if (this.#watch !== undefined || this.#draining || this.closed) return;
    this.#watch = new PacedWatch(this.#socket, () => this.#turn());
    if (!this.#referenced) this.#watch.unref();
  }

  stop(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  ref(): void {
    this.#referenced = true;
    this.#watch?.ref();
  }

  unref(): void {
    this.#referenced = false;
    this.#watch?.unref();
  }

  close(): Promise<void> {
    // The last count, while the socket can still be asked.
    void this.lostDatagrams;
    this.stop();
    this.#pending.clear();
    this.#gaps.clear();
    return this.#socket.close();
  }

  /**
   * Reads and delivers all that the kernel has, even if there is no room for it. Nothing else reads from then on. If
   * packets arrive faster than they are read it ends after as many bytes as the receive buffer holds.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    this.stop();
    this.#readSinceSend = 0;
    for (let more = true; more; ) {
      const end = performance.now() + TURN_MILLISECONDS;
      for (let now = 0; more && now < end; ) {
        if (this.closed) return;
        now = performance.now();
        more = this.#read(now) >= 0 && this.#readSinceSend <= this.#receiveBuffer;
        if (this.#isFull) this.#hand();
      }
      this.#hand();
      if (more) await new Promise(resolve => setImmediate(resolve));
    }
  }

  /** Reads what there is; `more` if the turn was over before that. */
  #turn(): { datagrams: number; more: boolean } {
    let datagrams = 0;
    let more = true;
    if (this.closed) return { datagrams, more: false };
    let now = performance.now();
    const end = now + TURN_MILLISECONDS;
    for (; datagrams < TURN_DATAGRAMS && now < end; datagrams++) {
      if (this.#pending.length >= this.#receiver.room) break;
      const length = this.#read(now);
      if (length === NOTHING) {
        more = false;
        break;
      }
      if (length < 0) {
        this.#hand();
        this.stop();
        const error = new NetlinkError({ errno: length, syscall: 'recvfrom', operation: 'nflog.receive' });
        this.#receiver.fail(error);
        return { datagrams, more: false };
      }
      // An answer here belongs to a request that gave up, and is ignored.
      if (this.#isFull) this.#hand();
      // Their consumer may have closed the log, or want no more.
      if (this.#watch === undefined) break;
      now = performance.now();
    }
    this.#hand();
    return { datagrams, more };
  }

  /** Delivered before the slab is full: a batch in one slab is read over if nobody keeps its packets. */
  get #isFull(): boolean {
    return this.#pending.length >= HAND_PACKETS || !hasRoom();
  }

  #hand(): void {
    if (this.closed) return;
    const batch = this.#pending;
    if (batch.length > 0) {
      // A consumer may call for what reads from this log, or even delivers.
      this.#pending = this.#spare ?? new PacketBatch(this.#surroundings);
      this.#spare = undefined;
      this.#receiver.take(batch);
      batch.clear();
      this.#spare = batch;
    }
    if (this.#gaps.size > 0 || this.#receiver.hearsLosses) this.#tellLosses();
  }

  #tellLosses(): void {
    if (this.closed) return;
    const losses: Loss[] = [];
    for (const [group, count] of this.#gaps) losses.push({ kind: 'packets', group, count });
    this.#gaps.clear();
    const datagrams = this.lostDatagrams;
    const count = (datagrams - this.#toldDatagrams) >>> 0;
    if (count > 0) losses.push({ kind: 'datagrams', count });
    this.#toldDatagrams = datagrams;
    if (losses.length === 0) return;
    this.#warn('packets were lost', { lostPackets: this.lostPackets, lostDatagrams: datagrams });
    this.#receiver.lost(losses);
  }

  #warn(message: string, fields: object = {}): void {
    const now = performance.now();
    if (now - (this.#warned.get(message) ?? Number.NEGATIVE_INFINITY) < WARNING_MILLISECONDS) return;
    this.#warned.set(message, now);
    this.#observer.warn({ netns: this.netnsInode, ...fields }, message);
  }

  /**
   * Reads one datagram. Returns 0 for packets (which are pending then) and for datagrams to ignore, the length of an
   * answer to a request (which is at the free end of the slab), or the negative errno.
   */
  #read(now: number): number {
    const source = slabWithRoom();
    const start = freeFrom();
    const into = source.bytes.subarray(start);
    const length = this.#socket.receiveFrom(into, this.#sender);
    if (length < 0) {
      // With NETLINK_NO_ENOBUFS the kernel does not report losses here; the counters have them.
      return length === LOST || length === EINTR ? 0 : length;
    }
    this.#readSinceSend += length;
    if (this.#senderView.getUint32(4, HOST_IS_LITTLE_ENDIAN) !== 0) {
      // The kernel is port 0. Anybody with rights in the container's namespace could send forged packets.
      this.rejectedSenders++;
      this.#warn('a message that is not from the kernel was dropped', { rejectedSenders: this.rejectedSenders });
      return 0;
    }
    if (length > into.length) this.#warn('a datagram was cut', { bytes: length });
    const end = start + Math.min(length, into.length);
    if (isAnswer(source, start, end)) return length;
    this.#pending.begin(source, start, useUntil(end), wallMicroseconds(now));
    this.#parse(source, start, end);
    return 0;
  }

  /** A batch ends with an NLMSG_DONE whose body is an nfgenmsg, not an errno. It is ignored. */
  #parse(source: Source, start: number, end: number): void {
    const { view } = source;
    const words = slabWords();
    const scan = this.#scan;
    const batch = this.#pending;
    /** The first word of the last nfgenmsg, which the packets of a group have in common. */
    let last = -1;
    let group = -1;
    let expected = 0;
    let received = 0;
    for (let at = start; at < end; ) {
      const left = end - at;
      const length = left >= NLMSG_HDRLEN ? words[at >> 2]! >>> 0 : 0;
      if (length < NLMSG_HDRLEN || length > left) {
        this.#warn('a malformed message was dropped', { bytes: left });
        break;
      }
      if (firstHalf(words[(at >> 2) + 1]!) === PACKET && length >= NLMSG_HDRLEN + NFGENMSG_LENGTH) {
        const header = at + NLMSG_HDRLEN;
        const word = words[header >> 2]!;
        if (word !== last || group < 0) {
          if (group >= 0) this.#groups.set(group, expected);
          last = word;
          group = view.getUint16(header + 2);
          expected = this.#groups.get(group) ?? 0;
        }
        scan.walk(words, header + NFGENMSG_LENGTH, at + length);
        if (scan.sequence > 0) {
          const sequence = view.getUint32(scan.sequence);
          if (sequence !== expected) {
            const gap = (sequence - expected) >>> 0;
            // A lower number means that the kernel has begun to count again: no gap.
            if (gap < 0x80000000) this.#missed(group, gap);
          }
          expected = (sequence + 1) >>> 0;
        }
        batch.add(header, at + length, scan.timestamp, scan.sequence);
        received++;
      }
      at += (length + 3) & ~3;
    }
    this.received += received;
    if (group >= 0) this.#groups.set(group, expected);
  }

  #missed(group: number, count: number): void {
    this.lostPackets += count;
    this.#gaps.set(group, (this.#gaps.get(group) ?? 0) + count);
  }
}

/** Answers come in datagrams of their own. */
function isAnswer({ view }: Source, start: number, end: number): boolean {
  return end - start >= NLMSG_HDRLEN && view.getUint16(start + 4, HOST_IS_LITTLE_ENDIAN) === NLMSG_ERROR;
}
