import { joined, Writer } from '../codec/index.ts';
import { NetlinkError, StateError } from '../errors.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from '../linux/netlink.ts';
import { Observer } from '../observe.ts';
import { type Ack, ackError, type RequestInfo, readAck } from './ack.ts';
import { Datagrams, type Requester, receiveBuffer } from './datagrams.ts';
import { DumpReader } from './dump-reader.ts';
import { EventLoopBudget } from './event-loop-budget.ts';
import { Lifetime } from './lifetime.ts';
import { beginMessage, endMessage, type Message, messageAt } from './message.ts';
import type { Operation, Step } from './operation.ts';
import { Disturbed, RETRY_ATTEMPTS, retry } from './retry.ts';
import { gathers, NOTHING, type Transport } from './transport.ts';

/** Most requests are shorter; it grows for those that are not. Each of thousands of open handles may have one. */
const WRITE_BUFFER = 512;
/** Parts of a datagram up to this many bytes together are copied into one: a copy costs less than sending from several places. */
const MAX_JOINED = 64 * 1024;
/** A message to the kernel. */
export interface Call extends RequestInfo {
  /** The type of the netlink message. */
  readonly type: number;
  /** The NLM_F_* flags beside those that the exchange sets. */
  readonly flags?: number;
  /** Writes what follows the netlink header. */
  write(writer: Writer): void;
}

/**
 * Requests and their answers over one transport. One operation at a time: the queue above sees to that.
 * @example
 * const socket = new NetlinkSocket({ protocol: NETLINK_NETFILTER });
 * const exchange = new Exchange(socket, 'mine', new Observer());
 */
export class Exchange implements Requester {
  /** The socket. */
  readonly transport: Transport;
  /** The subsystem, as operations and traces name it: 'ipvs'. */
  readonly subsystem: string;
  /** Tells loggers and the tracing channel of each request. */
  readonly observer: Observer;
  /** Whether it is open, for all handles that are made on it. */
  readonly lifetime: Lifetime;
  /** How many milliseconds the event loop may be held between two parts of an operation; undefined is the default of EventLoopBudget. */
  turnMilliseconds: number | undefined;
  /** The operation under way: 'ipvs.addService'. */
  operation = '';
  /** The next request keeps the kernel busy, however short it is: it is sent off this thread. */
  heavy = false;
  /** @internal Its datagrams. */
  readonly datagrams = new Datagrams(this);
  readonly #hint: RequestInfo['hint'];
  // Most exchanges of a large fleet never rest.
  #budget: EventLoopBudget | undefined;
  #sendingBudget: EventLoopBudget | undefined;
  /** Made by the first request that is written here: handles that only send what others have encoded need none. */
  #writer: Writer | undefined;
  #sequence = 0;

  /**
   * Takes a socket that is open.
   * @param transport the socket; the exchange owns it
   * @param subsystem its name in operations and traces: 'ipvs'
   * @param observer the logger
   * @param hint the usual cause of an errno, for requests that have no hint of their own
   */
  constructor(transport: Transport, subsystem: string, observer = new Observer(), hint?: RequestInfo['hint']) {
    this.transport = transport;
    this.subsystem = subsystem;
    this.observer = observer;
    this.#hint = hint;
    this.lifetime = new Lifetime(transport, subsystem);
  }

  /** Yielded between two parts of an operation. */
  get budget(): EventLoopBudget {
    const { turnMilliseconds: milliseconds } = this;
    this.#budget ??= new EventLoopBudget(milliseconds === undefined ? {} : { milliseconds });
    return this.#budget;
  }

  /** How long requests are encoded before the event loop has a turn. */
  get sendingBudget(): EventLoopBudget {
    this.#sendingBudget ??= new EventLoopBudget({ abortable: false });
    return this.#sendingBudget;
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
    if (this.datagrams.staysHere(writer.length)) this.datagrams.sendNow(writer.bytes, writer.length, 1);
    else yield* this.datagrams.send(writer.bytes, writer.length, 1);
    try {
      const ack = this.datagrams.readUntil(sequence, sequence, visit);
      this.datagrams.unread = false;
      if (ack.errno !== 0) throw this.#refusal(call, ack, writer);
    } catch (error) {
      this.datagrams.settle(error);
      throw error;
    }
    this.datagrams.settle();
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
   * @param options `budget` is taken between the parts, and by default lets the event loop run there; `attempts` is how often a disturbed
   *   dump is begun; `ahead` reads each part off this thread while `budget` works on the last one, however short the parts take
   * @throws NetlinkError the kernel refuses. @throws StateError ERR_DUMP_INTERRUPTED it was disturbed each time
   * @example
   * function* links(): Operation<number[]> {
   *   return yield* exchange.dump({ syscall: 'RTM_GETLINK', type: 18, write: into => into.zeros(16) }, found => found.type);
   * }
   */
  *dump<T>(
    call: Call,
    read: (message: Message) => T | undefined,
    {
      budget = this.budget,
      attempts = RETRY_ATTEMPTS,
      ahead = false,
    }: {
      /** How long messages are read before the event loop has a turn. */
      budget?: Step;
      /** How often an interrupted dump is begun anew. */
      attempts?: number;
      /** Reads the next part of the dump while this one is visited. */
      ahead?: boolean;
    } = {},
  ): Operation<T[]> {
    const again = (error: unknown) => error instanceof Disturbed;
    return yield* retry(call.syscall, () => this.#dumpOnce(call, read, budget, ahead), {
      attempts,
      again,
      rest: budget,
    });
  }

  *#dumpOnce<T>(call: Call, read: (message: Message) => T | undefined, budget: Step, ahead: boolean): Operation<T[]> {
    const datagrams = this.datagrams;
    const reader = new DumpReader(this.transport, receiveBuffer(), ahead);
    let items: T[] | undefined;
    try {
      items = yield* this.#readDump(call, read, reader, budget);
      yield* reader.end();
      datagrams.settle();
    } catch (error) {
      datagrams.settle(error);
      // A socket has one dump at a time (EBUSY): one that is given up must be read to its end.
      yield* reader.drain(this.sendingBudget);
      throw error;
    }
    if (items === undefined) throw new Disturbed();
    return items;
  }

  /** Undefined where the kernel has marked it as disturbed. */
  *#readDump<T>(
    call: Call,
    read: (message: Message) => T | undefined,
    reader: DumpReader,
    budget: Step,
  ): Operation<T[] | undefined> {
    const datagrams = this.datagrams;
    const writer = this.#begin();
    const sequence = this.#write(writer, call, NLM_F_DUMP);
    yield* datagrams.send(writer.bytes, writer.length, 1);
    const items: T[] = [];
    let disturbed = false;
    for (;;) {
      const length = datagrams.received(yield* reader.next(), reader.buffer);
      if (length === NOTHING) throw new StateError('ERR_NO_REPLY', `${call.syscall}: the dump ended without its end`);
      for (let at = 0; at < length; ) {
        const message = messageAt(reader.buffer, at, length);
        at = message.next;
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) disturbed = true;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          datagrams.unread = false;
          const ack = readAck(message);
          if (ack.errno !== 0) throw this.#refusal(call, ack, writer);
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
    if (this.datagrams.unread) this.datagrams.drain();
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length > MAX_JOINED && parts.length > 1 && gathers(this.transport)) {
      yield* this.datagrams.sendParts(this.transport, parts, length, messages, replies);
    } else {
      yield* this.datagrams.send(parts.length > 1 ? joined(parts) : parts[0]!, length, messages, replies);
    }
    return yield* this.answers(visit);
  }

  /**
   * As `transact`, for one that is short enough for this thread, without an operation. Returns true if the kernel has acknowledged the
   * message with the number `last` and has said nothing else. Otherwise `answers` reads what it has said.
   * @internal
   */
  transactNow(bytes: Uint8Array, messages: number, last: number): boolean {
    const datagrams = this.datagrams;
    if (datagrams.unread) datagrams.drain();
    datagrams.sendNow(bytes, bytes.length, messages);
    return datagrams.acknowledged(last);
  }

  /** Whether a datagram of this length is sent from this thread. @internal */
  staysHere(length: number): boolean {
    return this.datagrams.staysHere(length);
  }

  /** The answers to what was sent last: see `transact`. @internal */
  *answers(visit: (message: Message) => boolean): Operation<'done' | 'drained' | 'lost'> {
    let refused: NetlinkError | undefined;
    try {
      const result = yield* this.datagrams.readAll(message => {
        if (this.datagrams.traced && message.type === NLMSG_ERROR) {
          const { errno } = readAck(message);
          if (errno !== 0) refused ??= new NetlinkError({ errno, syscall: 'sendto', operation: this.operation });
        }
        return visit(message);
      });
      this.datagrams.settle(refused);
      return result;
    } catch (error) {
      this.datagrams.settle(error);
      throw error;
    }
  }

  /**
   * Nobody waits for the last request any more: its answers are thrown away, now and before the next send.
   * @example
   * exchange.abandon();
   */
  abandon(): void {
    this.datagrams.drain();
    this.datagrams.unread = true;
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
  send(bytes: Uint8Array, length: number, messages: number, replies = messages): Operation<void> {
    return this.datagrams.send(bytes, length, messages, replies);
  }

  #refusal(call: Call, ack: Ack, writer: Writer): NetlinkError {
    return ackError(call, ack, this.operation, writer.copy(), this.#hint);
  }

  #begin(): Writer {
    this.#writer ??= new Writer(WRITE_BUFFER);
    this.#writer.reset();
    return this.#writer;
  }

  #write(writer: Writer, call: Call, flags: number): number {
    const sequence = this.take(1);
    const start = beginMessage(writer, call.type, NLM_F_REQUEST | (call.flags ?? 0) | flags, sequence);
    call.write(writer);
    endMessage(writer, start);
    return sequence;
  }

  /** @internal The first of `count` sequence numbers in a row. 0 is that of what the kernel sends by itself. */
  take(count: number): number {
    const first = this.#sequence + count > 0xffffffff ? 1 : this.#sequence + 1;
    this.#sequence = first + count - 1;
    return first;
  }
}
