import { HOST_IS_LITTLE_ENDIAN, sourceOf, Writer } from '../../src/codec/index.ts';
import { StateError } from '../../src/errors.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from '../../src/linux/netlink.ts';
import { beginMessage, endMessage, messagesIn, type Transport } from '../../src/netlink/index.ts';
import { NOTHING } from '../../src/netlink/transport.ts';

/** One message that the kernel in memory was sent. */
export interface Received {
  type: number;
  flags: number;
  sequence: number;
  /** With its header. */
  bytes: Uint8Array;
  /** Without it. */
  payload: Uint8Array;
}

/** What the kernel answers with: a datagram, or the errno that reading gives in its place. */
export type Answer = Uint8Array | number;

/** A kernel at the level of bytes: one datagram in, the datagrams out that it answers with. */
export type Handler = (request: Uint8Array) => Iterable<Answer>;

/**
 * A wire whose other end is a function. It is for subsystems that no kernel has, and for answers that none gives: cut, lost, late, out of order, or of
 * other requests. What a kernel answers is asked of the kernel in memory.
 */
export class MemoryTransport implements Transport {
  readonly netnsInode: number;
  /** Every datagram that was sent. */
  readonly sent: Uint8Array[] = [];
  /** What was asked of `reserve`. */
  readonly reserved: { bytes: number; replies: number }[] = [];
  /** Datagrams that were sent away from the thread. */
  sentAway = 0;
  /** The largest datagram that may be sent. */
  limit = 1 << 30;
  /** What sending returns in place of a length. */
  sendError: number | undefined;
  closed = false;
  readonly #handler: Handler;
  readonly #answers: Answer[] = [];
  #held: { promise: Promise<void>; release: () => void } | undefined;

  constructor(handler: Handler, netnsInode = 1) {
    this.#handler = handler;
    this.netnsInode = netnsInode;
  }

  /** Puts datagrams into the receive queue that nobody asked for. */
  push(...answers: Answer[]): void {
    this.#answers.push(...answers);
  }

  /** How many datagrams wait to be read. */
  get waiting(): number {
    return this.#answers.length;
  }

  /** From here on what goes away from the thread stays there until it is released. */
  hold(): () => void {
    let release = () => {};
    const promise = new Promise<void>(resolve => {
      release = resolve;
    });
    this.#held = { promise, release };
    return () => {
      this.#held = undefined;
      release();
    };
  }

  send(bytes: Uint8Array, length: number): number {
    this.#checkOpen();
    return this.#take(bytes.slice(0, length));
  }

  async sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    this.#checkOpen();
    this.sentAway++;
    await this.#held?.promise;
    // The bytes are read as late as a thread of the pool would.
    return this.#take(bytes.slice(0, length));
  }

  #take(request: Uint8Array): number {
    if (this.sendError !== undefined) return this.sendError;
    this.sent.push(request);
    for (const answer of this.#handler(request)) this.#answers.push(answer);
    return request.length;
  }

  receive(into: Uint8Array): number {
    this.#checkOpen();
    const answer = this.#answers.shift();
    if (answer === undefined) return NOTHING;
    if (typeof answer === 'number') return answer;
    into.set(answer.subarray(0, into.length));
    return answer.length;
  }

  async receiveOffThread(into: Uint8Array): Promise<number> {
    this.#checkOpen();
    await this.#held?.promise;
    return this.receive(into);
  }

  reserve(bytes: number, replies: number): number {
    this.reserved.push({ bytes, replies });
    return this.limit;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #checkOpen(): void {
    if (this.closed) throw new StateError('ERR_CLOSED', 'the handle is closed');
  }
}

/** The messages of one datagram. */
export function received(datagram: Uint8Array): Received[] {
  return [...messagesIn(sourceOf(datagram))].map(({ type, flags, sequence, start, payload, end }) => ({
    type,
    flags,
    sequence,
    bytes: datagram.slice(start, end),
    payload: datagram.slice(payload, end),
  }));
}

/** One message as bytes. */
export function message(type: number, flags: number, sequence: number, write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer(256);
  const start = beginMessage(writer, type, flags, sequence);
  write(writer);
  endMessage(writer, start);
  return writer.copy();
}

/** Several messages as one datagram. */
export function together(...messages: Uint8Array[]): Uint8Array {
  const writer = new Writer(256);
  for (const each of messages) writer.raw(each);
  return writer.copy();
}

export interface Explanation {
  text?: string;
  offset?: number;
  /** Echo the whole request, as without NETLINK_CAP_ACK. */
  echo?: boolean;
}

/** The kernel's acknowledgement. */
export const acknowledge = (request: Received): Uint8Array => refuse(request, 0);

/** The kernel's refusal: NLMSG_ERROR with the request's header (or all of it) and, where there is an explanation, attributes. */
export function refuse(request: Received, errno: number, explanation: Explanation = {}): Uint8Array {
  const { text, offset, echo = false } = explanation;
  const explained = text !== undefined || offset !== undefined;
  const flags = (echo ? 0 : NLM_F_CAPPED) | (explained ? NLM_F_ACK_TLVS : 0);
  return message(NLMSG_ERROR, flags, request.sequence, writer => {
    writer.u32(errno >>> 0, HOST_IS_LITTLE_ENDIAN);
    writer.raw(echo ? request.bytes : request.bytes.subarray(0, 16));
    if (echo) writer.zeros(-request.bytes.length & 3);
    writeExplanation(writer, explanation);
  });
}

/** The end of a dump, which may say that it failed. */
export function done(sequence: number, errno = 0, explanation: Explanation = {}): Uint8Array {
  const flags = NLM_F_MULTI | (explanation.text === undefined ? 0 : NLM_F_ACK_TLVS);
  return message(NLMSG_DONE, flags, sequence, writer => {
    writer.u32(errno >>> 0, HOST_IS_LITTLE_ENDIAN);
    writeExplanation(writer, explanation);
  });
}

function writeExplanation(writer: Writer, { text, offset }: Explanation): void {
  if (text !== undefined) {
    const start = writer.beginAttribute(NLMSGERR_ATTR_MSG);
    writer.string(text);
    writer.endAttribute(start);
  }
  if (offset !== undefined) {
    const start = writer.beginAttribute(NLMSGERR_ATTR_OFFS);
    writer.u32(offset, HOST_IS_LITTLE_ENDIAN);
    writer.endAttribute(start);
  }
}
