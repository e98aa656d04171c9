import { HOST_IS_LITTLE_ENDIAN, Writer } from '../codec/index.ts';
import { NLM_F_REQUEST } from '../linux/netlink.ts';
import { ofThread } from '../thread.ts';
import { beginMessage, endMessage } from './message.ts';

/** About the size of one datagram of a pipeline. It takes the kernel a few milliseconds. */
const DATAGRAM_BYTES = 64 * 1024;
/** Messages in one datagram of a pipeline: each may be refused, and each refusal needs its room in the receive buffer. */
const DATAGRAM_MESSAGES = 200;

/**
 * Requests that are encoded before any of them is sent, one behind the other in one buffer. Their sequence numbers come when they leave.
 * @example
 * const requests = new EncodedRequests(4096);
 * requests.add(18, NLM_F_REQUEST, into => into.zeros(16));
 */
export class EncodedRequests {
  /** The writer that the requests go to. */
  readonly writer: Writer;
  #length = 0;
  /** Where each begins, and behind them where the last one ends. */
  #starts: Uint32Array;

  /** How many messages there will be, and of how many bytes: a guess that saves growing. */
  constructor(messages = 16, bytesOfEach = 128) {
    this.writer = takeWriter(messages * bytesOfEach);
    this.#starts = takeStarts(messages + 1);
  }

  /** How many requests there are. */
  get length(): number {
    return this.#length;
  }

  /**
   * Where a message begins; of `length`, where the last one ends.
   * @param index 0 to `length`
   * @example
   * console.log(requests.start(requests.length), 'bytes');
   */
  start(index: number): number {
    return this.#starts[index]!;
  }

  /**
   * Where the datagram ends that begins with a message: the index behind its last message.
   * @param first the message that it begins with
   * @param end the index behind the last message that may be in it
   * @example
   * const next = requests.datagramEnd(0, requests.length);
   */
  datagramEnd(first: number, end: number): number {
    const limit = this.start(first) + DATAGRAM_BYTES;
    const most = Math.min(end, first + DATAGRAM_MESSAGES);
    let next = first + 1;
    while (next < most && this.start(next) < limit) next++;
    return next;
  }

  /**
   * One message; `write` writes what follows the netlink header.
   * @param type the message type: nlmsg_type
   * @param flags bits of NLM_F_*
   * @param write called once, at once
   * @example
   * requests.add(18, NLM_F_REQUEST | NLM_F_ACK, into => into.zeros(16));
   */
  add(type: number, flags: number, write: (writer: Writer) => void): void {
    const { writer } = this;
    const start = beginMessage(writer, type, NLM_F_REQUEST | flags, 0);
    write(writer);
    endMessage(writer, start);
    this.added();
  }

  /**
   * Ends a message that was put into `writer` whole, header and padding included.
   * @example
   * endMessage(requests.writer, beginMessage(requests.writer, 18, NLM_F_REQUEST, 0));
   * requests.added();
   */
  added(): void {
    if (++this.#length === this.#starts.length) {
      const longer = new Uint32Array(this.#length * 2);
      longer.set(this.#starts);
      this.#starts = longer;
    }
    this.#starts[this.#length] = this.writer.length;
  }

  /**
   * Gives the messages from `first` up to `end` a `type`: a generic netlink family's number is known only when it is asked for.
   * @example
   * requests.setTypes(0, requests.length, 27);
   */
  setTypes(first: number, end: number, type: number): void {
    const { view } = this.writer;
    for (let i = first; i < end; i++) view.setUint16(this.#starts[i]! + 4, type, HOST_IS_LITTLE_ENDIAN);
  }

  /**
   * Gives the messages from `first` up to `end` ascending sequence numbers, of which the given one is the first.
   * @param sequence the number of the message `first`, 32 bits
   * @example
   * requests.setSequences(0, requests.length, 1000);
   */
  setSequences(first: number, end: number, sequence: number): void {
    const { view } = this.writer;
    for (let i = first; i < end; i++) {
      view.setUint32(this.#starts[i]! + 8, sequence + (i - first), HOST_IS_LITTLE_ENDIAN);
    }
  }

  /**
   * The bytes of the messages from `first` up to `end`: no copy.
   * @example
   * const first = requests.bytes(0, 1);
   */
  bytes(first: number, end: number): Uint8Array {
    return this.writer.bytes.subarray(this.start(first), this.start(end));
  }

  /**
   * Gives the buffer to the next list. Nothing of this one may be used any more.
   * @example
   * requests.release();
   */
  release(): void {
    if (this.writer.bytes.length > MAX_KEPT_BYTES) return;
    thread.writer = this.writer;
    thread.starts = this.#starts;
  }
}

/** Of some twelve thousand requests to IPVS. */
const MAX_KEPT_BYTES = 2 * 1024 * 1024;

/**
 * The buffers that the last list of this thread gave back: fresh memory costs a page fault for each four KiB, which is more than encoding into it.
 */
const thread = ofThread('netlink.spare', {
  writer: undefined as Writer | undefined,
  starts: undefined as Uint32Array | undefined,
});

function takeWriter(bytes: number): Writer {
  const { writer } = thread;
  if (writer === undefined || writer.bytes.length < bytes) return new Writer(bytes);
  thread.writer = undefined;
  writer.reset();
  return writer;
}

function takeStarts(count: number): Uint32Array {
  const { starts } = thread;
  if (starts === undefined || starts.length < count) return new Uint32Array(count);
  thread.starts = undefined;
  // The others are written before they are read.
  starts[0] = 0;
  return starts;
}
