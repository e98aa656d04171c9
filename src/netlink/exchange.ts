import { joined, type Source, sourceOf, Writer } from '../codec/index.ts';
import { NetlinkError, StateError } from '../errors.ts';
import { offThread } from '../ffi/index.ts';
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
} from '../linux/netlink.ts';
import { Observer } from '../observe.ts';
import { ofThread } from '../thread.ts';
import { type Ack, ackError, type RequestInfo, readAck } from './ack.ts';
import { DumpReader } from './dump-reader.ts';
import { EncodedRequests } from './encoded-requests.ts';
import { EventLoopBudget } from './event-loop-budget.ts';
import { Lifetime } from './lifetime.ts';
import { beginMessage, endMessage, type Message, messageAt, messagesIn, setFlags } from './message.ts';
import type { Operation } from './operation.ts';
import { type GatheringTransport, gathers, LOST, NOTHING, type Transport } from './transport.ts';

/** Most requests are shorter; it grows for those that are not. Each of thousands of open handles may have one. */
const WRITE_BUFFER = 512;
/** Parts of a datagram up to this many bytes together are copied into one: a copy costs less than sending from several places. */
const MAX_JOINED = 64 * 1024;
/** The kernel makes the parts of a dump as large as the largest read so far, up to 32 KiB; echoes of set elements reach 64 KiB. */
const RECEIVE_BUFFER = 128 * 1024;
/** About the size of one datagram of a pipeline. It takes the kernel a few milliseconds. */
const PIPELINE_BYTES = 64 * 1024;
/** A dump that was disturbed this many times in a row will not come through. */
const DUMP_ATTEMPTS = 10;
/** Messages in one datagram of a pipeline: each may be refused, and each refusal needs its room in the receive buffer. */
const PIPELINE_MESSAGES = 200;

/** A message to the kernel. */
export interface Call extends RequestInfo {
  readonly type: number;
  readonly flags?: number;
  /** Writes what follows the netlink header. */
  write(writer: Writer): void;
}

/** The outcome of a pipeline. */
export interface PipelineResult {
  failures: { readonly index: number; readonly error: NetlinkError }[];
  /**
   * Answers were lost from this index on: a message that is not among the failures may have failed or not. Messages behind the datagram whose answers
   * were lost is not sent any more.
   */
  unknownFrom: number | undefined;
  /** Nothing from this index on was sent; the number of messages where all were. */
  unsentFrom: number;
}

/** A refusal whose error is made when it is asked for: of a request and its substitute, one is refused by design. */
class Failure {
  readonly index: number;
  readonly #make: () => NetlinkError;
  #error: NetlinkError | undefined;

  constructor(
    index: number,
    ack: Ack,
    describe: (index: number) => RequestInfo,
    operation: string,
    request: Uint8Array,
  ) {
    this.index = index;
    this.#make = () => ackError(describe(index), ack, operation, request);
  }

  get error(): NetlinkError {
    this.#error ??= this.#make();
    return this.#error;
  }
}

/** How many of the messages from `first` on go into one datagram. */
function datagramEnd(messages: EncodedRequests, first: number, end: number): number {
  const limit = messages.start(first) + PIPELINE_BYTES;
  const most = Math.min(end, first + PIPELINE_MESSAGES);
  let next = first + 1;
  while (next < most && messages.start(next) < limit) next++;
  return next;
}

const thread = ofThread('netlink.received', { buffer: undefined as Source | undefined });

/** The receive buffer of this thread. Each datagram is decoded before the next one is read. */
function receiveBuffer(): Source {
  thread.buffer ??= sourceOf(new Uint8Array(RECEIVE_BUFFER));
  return thread.buffer;
}

/**
 * Requests and their answers over one transport. One operation at a time: the queue above sees to that.
 * @example
 * const socket = new NetlinkSocket({ protocol: NETLINK_NETFILTER });
 * const exchange = new Exchange(socket, 'mine', new Observer());
 */
export class Exchange {
  readonly transport: Transport;
  /** The subsystem, as operations and traces name it: 'ipvs'. */
  readonly subsystem: string;
  readonly observer: Observer;
  /** Whether it is open, for all handles that are made on it. */
  readonly lifetime: Lifetime;
  /** The operation under way: 'ipvs.addService'. */
  operation = '';
  /** Yielded between two parts of an operation. */
  readonly budget = new EventLoopBudget();
  readonly sendingBudget = new EventLoopBudget({ abortable: false });
  /** The next request keeps the kernel busy, however short it is: it is sent off this thread. */
  heavy = false;
  /** Made by the first request that is written here: handles that only send what others have encoded need none. */
  #writer: Writer | undefined;
  #sequence = 0;
  /** Answers to the last request may still be there: set by each send, cleared when the last answer was read. */
  #unread = false;
  /** Ends the trace of the request under way. */
  #answered: ((error?: unknown) => void) | undefined;

  constructor(transport: Transport, subsystem: string, observer = new Observer()) {
    this.transport = transport;
    this.subsystem = subsystem;
    this.observer = observer;
    this.lifetime = new Lifetime(transport, subsystem);
  }

  /**
   * One request that the kernel acknowledges; what it answers besides goes to `visit`.
   * @param call the request
   * @throws NetlinkError the kernel refuses. @throws StateError ERR_NO_REPLY there was no answer
   * @example
   * function* set(): Operation<void> {
   *   yield* exchange.request({ syscall: 'RTM_NEWLINK', type: 16, write: into => into.zeros(16) });
   * }
   */
  *request(call: Call, visit?: (message: Message) => void): Operation<void> {
    const writer = this.#begin();
    const sequence = this.#write(writer, call, NLM_F_ACK);
    yield* this.send(writer.bytes, writer.length, 1);
    try {
      const ack = this.#readUntil(sequence, sequence, visit);
      this.#unread = false;
      if (ack.errno !== 0) throw ackError(call, ack, this.operation, writer.copy());
    } catch (error) {
      this.#settle(error);
      throw error;
    }
    this.#settle();
  }

  /**
   * One request with one answer.
   * @param call the request
   * @param read called with each message of the answer, until it returns a value
   * @throws NetlinkError the kernel refuses. @throws StateError ERR_NO_REPLY there was no answer
   * @example
   * function* type(): Operation<number> {
   *   return yield* exchange.get({ syscall: 'RTM_GETLINK', type: 18, write: into => into.zeros(16) }, found => found.type);
   * }
   */
  *get<T>(call: Call, read: (message: Message) => T | undefined): Operation<T> {
    let answer: T | undefined;
    yield* this.request(call, message => {
      answer ??= read(message);
    });
    if (answer === undefined) throw new StateError('ERR_NO_REPLY', `${call.syscall} was acknowledged but not answered`);
    return answer;
  }

  /**
   * All objects of a kind. A dump that the kernel marks as disturbed is begun again.
   * @param call the request, to which the dump's flag is added
   * @param read called with each message; what it returns is in the list, unless it is undefined
   * @param options `budget` lets the event loop run between the parts; `attempts` is how often a disturbed dump is begun
   * @throws NetlinkError the kernel refuses. @throws StateError ERR_DUMP_INTERRUPTED it was disturbed each time
   * @example
   * function* links(): Operation<number[]> {
   *   return yield* exchange.dump({ syscall: 'RTM_GETLINK', type: 18, write: into => into.zeros(16) }, found => found.type);
   * }
   */
  *dump<T>(
    call: Call,
    read: (message: Message) => T | undefined,
    { budget = this.budget, attempts = DUMP_ATTEMPTS }: { budget?: EventLoopBudget; attempts?: number } = {},
  ): Operation<T[]> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const reader = new DumpReader(this.transport, receiveBuffer());
      let items: T[] | undefined;
      try {
        items = yield* this.#dumpOnce(call, read, reader, budget);
        yield* reader.end();
        this.#settle();
      } catch (error) {
        this.#settle(error);
        // A socket has one dump at a time (EBUSY): one that is given up must be read to its end.
        yield* this.#drainDump(reader);
        throw error;
      }
      if (items !== undefined) return items;
    }
    throw new StateError('ERR_DUMP_INTERRUPTED', `${call.syscall} was disturbed by changes ${attempts} times in a row`);
  }

  *#dumpOnce<T>(
    call: Call,
    read: (message: Message) => T | undefined,
    reader: DumpReader,
    budget: EventLoopBudget,
  ): Operation<T[] | undefined> {
    const writer = this.#begin();
    const sequence = this.#write(writer, call, NLM_F_DUMP);
    yield* this.send(writer.bytes, writer.length, 1);
    const items: T[] = [];
    let disturbed = false;
    for (;;) {
      const length = this.#received(yield* reader.next(), reader.buffer);
      if (length === NOTHING) throw new StateError('ERR_NO_REPLY', `${call.syscall}: the dump ended without its end`);
      for (let at = 0; at < length; ) {
        const message = messageAt(reader.buffer, at, length);
        at = message.next;
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) disturbed = true;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          this.#unread = false;
          const ack = readAck(message);
          if (ack.errno !== 0) throw ackError(call, ack, this.operation, writer.copy());
          return disturbed ? undefined : items;
        }
        const item = read(message);
        if (item !== undefined) items.push(item);
      }
      reader.decoded(length);
      yield budget;
    }
  }

  /**
   * Many requests in few datagrams; `stream` with what is still to be encoded.
   * @param calls the requests, in order
   * @throws StateError ERR_REPLIES_LOST answers did not fit the receive buffer. What the kernel refuses is in the result
   * @example
   * function* set(): Operation<PipelineResult> {
   *   return yield* exchange.pipeline([{ syscall: 'RTM_NEWLINK', type: 16, write: into => into.zeros(16) }]);
   * }
   */
  *pipeline(calls: readonly Call[]): Operation<PipelineResult> {
    const messages = new EncodedRequests();
    for (const call of calls) messages.add(call.type, call.flags ?? 0, writer => call.write(writer));
    const result = yield* this.stream(messages, index => calls[index]!);
    messages.release();
    return result;
  }

  /**
   * Many requests in few datagrams: those from `begin` up to `end`, by which all indexes count. Only the last of a datagram is
   * acknowledged: it proves that none before it was dropped, and those that fail answer anyway. The kernel carries out each on its own; one
   * that fails does not stop the rest. `describe` tells what a refused one was.
   * @param messages what is sent
   * @throws StateError ERR_REPLIES_LOST answers did not fit the receive buffer. What the kernel refuses is in the result
   * @example
   * function* all(): Operation<PipelineResult> {
   *   return yield* exchange.stream(requests, () => ({ syscall: 'RTM_NEWLINK' }));
   * }
   */
  *stream(
    messages: EncodedRequests,
    describe: (index: number) => RequestInfo,
    begin = 0,
    end = messages.length,
  ): Operation<PipelineResult> {
    const result: PipelineResult = { failures: [], unknownFrom: undefined, unsentFrom: begin };
    for (let first = begin; first < end && result.unknownFrom === undefined; ) {
      const next = datagramEnd(messages, first, end);
      const count = next - first;
      const firstSequence = this.#take(count);
      messages.setSequences(first, next, firstSequence);
      setFlags(messages.writer, messages.start(next - 1), NLM_F_ACK);
      const bytes = messages.bytes(first, next);
      yield* this.send(bytes, bytes.length, count);
      const fail = (index: number, ack: Ack) => {
        const failure = new Failure(index, ack, describe, this.operation, messages.bytes(index, index + 1).slice());
        result.failures.push(failure);
        firstFailure ??= failure;
      };
      const failed = (message: Message) => {
        const place = (message.sequence - firstSequence) >>> 0;
        if (message.type !== NLMSG_ERROR || place >= count) return;
        // One that is sent once more may still ask for its acknowledgement.
        const ack = readAck(message);
        if (ack.errno !== 0) fail(first + place, ack);
      };
      let firstFailure: Failure | undefined;
      const last = (firstSequence + count - 1) >>> 0;
      try {
        const ack = this.#readUntil(firstSequence, last, failed);
        this.#unread = false;
        if (ack.errno !== 0) fail(next - 1, ack);
        if (this.#answered !== undefined) this.#settle(firstFailure?.error);
      } catch (error) {
        this.#settle(error);
        if (!(error instanceof StateError)) throw error;
        result.unknownFrom = first;
        // The answers that did fit are true, and take the room that the next answers need.
        yield* this.#readAll(message => {
          failed(message);
          return false;
        });
      }
      first = next;
      result.unsentFrom = next;
      if (next < end) yield this.sendingBudget;
    }
    return result;
  }

  /**
   * Sends bytes that were written elsewhere, as one datagram, and gives each answer to `visit`.
   * It goes on until `visit` returns true ('done': that was the last one), or there are no more ('drained'). With 'lost' some did not fit
   * the receive buffer: the earliest are kept by the kernel, later ones are gone.
   * @param parts the bytes, one behind the other
   * @param messages the number of messages in them
   * @param visit called with each answer
   * @param replies kibibytes of answers that there may be
   * @throws NetlinkError `ENOBUFS`, `EMSGSIZE` and what else the socket says
   * @example
   * function* commit(): Operation<string> {
   *   return yield* exchange.transact([requests.bytes(0, 3)], 3, answer => answer.type === 2);
   * }
   */
  *transact(
    parts: readonly Uint8Array[],
    messages: number,
    visit: (message: Message) => boolean,
    replies = messages,
  ): Operation<'done' | 'drained' | 'lost'> {
    if (this.#unread) this.#drain();
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length > MAX_JOINED && parts.length > 1 && gathers(this.transport)) {
      yield* this.#sendParts(this.transport, parts, length, messages, replies);
    } else {
      yield* this.send(parts.length > 1 ? joined(parts) : parts[0]!, length, messages, replies);
    }
    let refused: NetlinkError | undefined;
    try {
      const result = yield* this.#readAll(message => {
        if (this.#answered !== undefined && message.type === NLMSG_ERROR) {
          const { errno } = readAck(message);
          if (errno !== 0) refused ??= new NetlinkError({ errno, syscall: 'sendto', operation: this.operation });
        }
        return visit(message);
      });
      this.#settle(refused);
      return result;
    } catch (error) {
      this.#settle(error);
      throw error;
    }
  }

  *#readAll(visit: (message: Message) => boolean): Operation<'done' | 'drained' | 'lost'> {
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
        this.#unread = false;
        return lost ? 'lost' : 'drained';
      }
      for (const message of messagesIn(buffer, 0, received)) {
        if (!visit(message)) continue;
        this.#unread = false;
        return 'done';
      }
      if (budget === undefined) budget = new EventLoopBudget({ abortable: false });
      else yield budget;
    }
  }

  /** Reads a dump to its end. That may take the kernel seconds, so slow parts are read off this thread here too. */
  *#drainDump(reader: DumpReader): Operation<void> {
    try {
      for (;;) {
        const length = yield* reader.next();
        if (length === NOTHING || (length < 0 && length !== LOST)) break;
        reader.decoded(length);
        yield this.sendingBudget;
      }
    } catch {
      // The error that ended the dump is the one to tell.
    }
    yield* reader.end();
  }

  /**
   * Nobody waits for the last request any more: its answers are thrown away, now and before the next send.
   * @example
   * exchange.abandon();
   */
  abandon(): void {
    this.#drain();
    this.#unread = true;
  }

  /** Throws away answers to an operation that was interrupted. */
  #drain(): void {
    const buffer = receiveBuffer();
    for (let length = 0; length !== NOTHING; ) {
      length = this.transport.receive(buffer.bytes);
      if (length < 0 && length !== LOST) return;
    }
  }

  #begin(): Writer {
    this.#writer ??= new Writer(WRITE_BUFFER);
    this.#writer.reset();
    return this.#writer;
  }

  #write(writer: Writer, call: Call, flags: number): number {
    const sequence = this.#take(1);
    const start = beginMessage(writer, call.type, NLM_F_REQUEST | (call.flags ?? 0) | flags, sequence);
    call.write(writer);
    endMessage(writer, start);
    return sequence;
  }

  /** The first of `count` sequence numbers in a row. 0 is that of what the kernel sends by itself. */
  #take(count: number): number {
    const first = this.#sequence + count > 0xffffffff ? 1 : this.#sequence + 1;
    this.#sequence = first + count - 1;
    return first;
  }

  /**
   * Sends, off the main thread where that keeps the kernel busy.
   * @param bytes the messages, one behind the other
   * @param length how many of the bytes are sent
   * @param messages the number of messages in them
   * @param replies kibibytes of answers that there may be
   * @throws NetlinkError `ENOBUFS`, `EMSGSIZE` and what else the socket says
   * @example
   * function* send(): Operation<void> {
   *   yield* exchange.send(requests.bytes(0, 1), requests.start(1), 1);
   * }
   */
  *send(bytes: Uint8Array, length: number, messages: number, replies = messages): Operation<void> {
    this.#prepare(length, messages, replies);
    const leaves = this.heavy || length > offThread.bytes;
    this.heavy = false;
    try {
      const sent = leaves
        ? yield {
            now: () => this.transport.send(bytes, length),
            away: () => this.transport.sendOffThread(bytes, length),
            abortable: false,
          }
        : this.transport.send(bytes, length);
      this.#checkSent(sent);
    } catch (error) {
      this.#settle(error);
      throw error;
    }
  }

  *#sendParts(
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
      this.#settle(error);
      throw error;
    }
  }

  #checkSent(sent: number): void {
    if (sent < 0) throw new NetlinkError({ errno: sent, syscall: 'sendto', operation: this.operation });
  }

  /** Makes room for a request and its answers, and begins its trace. */
  #prepare(length: number, messages: number, replies: number): void {
    if (length > 4096 || replies > 8) {
      const limit = this.transport.reserve(length, replies);
      if (length > limit) {
        throw new StateError(
          'ERR_TRANSACTION_TOO_LARGE',
          `${this.operation}: ${length} bytes, this caller's limit is ${limit}: raise net.core.wmem_max, or have CAP_NET_ADMIN in the ` +
            'initial user namespace',
        );
      }
    }
    this.#unread = true;
    const { observer } = this;
    this.#answered = observer.idle
      ? undefined
      : observer.begin({
          family: this.subsystem,
          operation: this.operation,
          netns: this.transport.netnsInode,
          bytes: length,
          messages,
        });
  }

  #settle(error?: unknown): void {
    this.#answered?.(error);
    this.#answered = undefined;
  }

  #receive(buffer: Source): number {
    return this.#received(this.transport.receive(buffer.bytes), buffer);
  }

  #received(length: number, buffer: Source): number {
    if (length === LOST) {
      this.observer.warn(
        { operation: this.operation, netns: this.transport.netnsInode },
        'answers of the kernel were lost',
      );
      throw new StateError(
        'ERR_REPLIES_LOST',
        `${this.operation}: the receive buffer overflowed; what was asked has been carried out`,
      );
    }
    if (length < 0 && length !== NOTHING) {
      throw new NetlinkError({ errno: length, syscall: 'recvmsg', operation: this.operation });
    }
    if (length > buffer.bytes.length) {
      throw new StateError(
        'ERR_TRUNCATED',
        `${this.operation}: a datagram of ${length} bytes exceeds ${buffer.bytes.length}`,
      );
    }
    return length;
  }

  /**
   * Reads until the message `last` is acknowledged or refused; answers to the messages from `first` on go to `visit`, any older ones are of
   * an operation that gave up. The kernel has answered before sendto returned: nothing waits here.
   */
  #readUntil(first: number, last: number, visit?: (message: Message) => void): Ack {
    const buffer = receiveBuffer();
    for (;;) {
      const length = this.#receive(buffer);
      if (length === NOTHING) throw new StateError('ERR_NO_REPLY', `${this.operation}: the kernel did not acknowledge`);
      for (const message of messagesIn(buffer, 0, length)) {
        if (message.type === NLMSG_ERROR && message.sequence === last) return readAck(message);
        const mine = (message.sequence - first) >>> 0 <= (last - first) >>> 0;
        if (mine && message.type !== NLMSG_NOOP) visit?.(message);
      }
    }
  }
}
