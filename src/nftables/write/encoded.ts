import { HOST_IS_LITTLE_ENDIAN, joined, sourceOf, Writer } from '../../codec/index.ts';
import type { Path } from '../../errors.ts';
import { NLM_F_ACK, NLM_F_ECHO, NLM_F_REQUEST } from '../../linux/netlink.ts';
import * as C from '../../linux/nf_tables.ts';
import { NFNL_BATCH_GENID, NFNL_SUBSYS_NFTABLES } from '../../linux/nfnetlink.ts';
import {
  beginMessage,
  endMessage,
  NLMSG_HDRLEN,
  nfgenmsg,
  setFlags,
  writeBatchBegin,
  writeBatchEnd,
  writeHeader,
} from '../../netlink/index.ts';
import { MESSAGES, type MessageName } from '../../nf_tables/message.ts';
import type { SourceMap } from '../../nft/compile/compile.ts';
import { ofThread } from '../../thread.ts';

/** Where one message of a transaction stands, and which operation it belongs to. */
export interface EncodedMessage {
  readonly start: number;
  readonly end: number;
  readonly operation: number;
  readonly name: MessageName;
  readonly family: number;
  /** The place in the caller's object that a path of the message's own attributes means, where that differs. */
  readonly translate?: ((path: Path) => Path) | undefined;
}

/** Messages by their order. */
export interface Messages {
  readonly length: number;
  at(index: number): EncodedMessage | undefined;
}

/** An operation that can be encoded only when more is known about the namespace that it is meant for. */
export interface Unresolved {
  /** The place of its messages. */
  readonly at: number;
  readonly operation: number;
}

interface Contents {
  /** Where the batch's end stands. */
  readonly end: number;
  /** By sequence number, from FIRST_SEQUENCE on. */
  readonly messages: Messages;
  /** Of rules written in statements, by operation: the statement of each expression. */
  readonly origins: readonly (SourceMap | undefined)[];
  readonly unresolved: readonly Unresolved[];
  /** Those that Linux has from 6.3 on. */
  readonly destroys: readonly EncodedMessage[];
  /** The last message in the bytes: kernels that do not acknowledge the batch's end acknowledge this one. */
  readonly last: EncodedMessage | undefined;
}

/**
 * A transaction as bytes. Its messages have the sequence numbers 1 (the batch's begin), 2 and so on. A large one stands on several chunks, as it was
 * written; places in it count through all of them.
 */
export class EncodedTransaction implements Contents {
  readonly length: number;
  readonly end: number;
  readonly messages: Messages;
  readonly origins: readonly (SourceMap | undefined)[];
  readonly unresolved: readonly Unresolved[];
  readonly destroys: readonly EncodedMessage[];
  readonly last: EncodedMessage | undefined;
  #chunks: readonly Uint8Array[];
  /** A copy whose begin has an attribute for the generation. */
  #bound: Writer | undefined;

  constructor(chunks: readonly Uint8Array[], { end, messages, origins, unresolved, destroys, last }: Contents) {
    this.#chunks = chunks;
    this.length = lengthOf(chunks);
    this.end = end;
    this.messages = messages;
    this.origins = origins;
    this.unresolved = unresolved;
    this.destroys = destroys;
    this.last = last;
  }

  get chunks(): readonly Uint8Array[] {
    return this.#chunks;
  }

  /** All of it on one chunk: a large one is copied for that, once. */
  get bytes(): Uint8Array {
    if (this.#chunks.length > 1) this.#chunks = [joined(this.#chunks)];
    return this.#chunks[0]!;
  }

  /** The bytes with the generation that the ruleset must still have. They are valid until the next call. */
  boundTo(generation: number): Uint8Array {
    if (this.#bound === undefined) {
      const { bytes } = this;
      const writer = new Writer(bytes.length + GENERATION_LENGTH);
      writer.raw(batchBegin(generation, false));
      writer.raw(bytes.subarray(BATCH_MARKER));
      this.#bound = writer;
    }
    const { view, bytes } = this.#bound;
    view.setUint32(GENERATION_OFFSET, generation, false);
    return bytes;
  }

  /** Those of one message, which is never on two chunks. */
  bytesOf({ start, end }: EncodedMessage): Uint8Array {
    let base = 0;
    for (const chunk of this.#chunks) {
      if (end <= base + chunk.length) return chunk.subarray(start - base, end - base);
      base += chunk.length;
    }
    throw new RangeError(`no message from ${start} to ${end}`);
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let length = 0;
  for (let i = 0; i < chunks.length; i++) length += chunks[i]!.length;
  return length;
}

/** The batch's begin has the number before it. */
export const FIRST_SEQUENCE = 2;
/** A begin or end without attributes: nlmsghdr and nfgenmsg. */
const BATCH_MARKER = 20;
/** The attribute of the begin that holds the generation, and where its value stands. */
const GENERATION_LENGTH = 8;
const GENERATION_OFFSET = BATCH_MARKER + 4;
/**
 * A chunk is left when it is full but for this reserve, which most operations need less of. Large buffers that grow by doubling cost more than
 * what is written into them: fresh memory at each step, and a collection of all garbage where V8 sees many megabytes come.
 */
const CHUNK = 1024 * 1024;
const RESERVE = 16 * 1024;
/** A transaction for one container is shorter than this. */
const SMALL = 4 * 1024;
/** Small transactions are encoded into shared buffers of this size: a buffer for each would cost more than what is written into it. */
const ROOM = 16 * 1024;
const ALIGNMENT = 8;

/** The shared buffer, and how much of it is taken. */
const room = ofThread('nftables.room', { buffer: undefined as ArrayBuffer | undefined, taken: 0 });

/** A part of the shared buffer, which may hold old bytes. */
function takeRoom(): Uint8Array {
  if (room.buffer === undefined || room.taken + SMALL > ROOM) {
    room.buffer = new ArrayBuffer(ROOM);
    room.taken = 0;
  }
  const part = new Uint8Array(room.buffer, room.taken, SMALL);
  room.taken += SMALL;
  return part;
}

/** Gives back the room behind the first `length` bytes of the part that was taken last. */
function returnRoom({ buffer, byteOffset }: Uint8Array, length: number): void {
  if (buffer === room.buffer && byteOffset + SMALL === room.taken)
    room.taken = byteOffset + ((length + ALIGNMENT - 1) & -ALIGNMENT);
}

/** In `struct nlmsghdr`. */
const FLAGS_OFFSET = 6;
const SEQUENCE_OFFSET = 8;

/** How many numbers a list has of each message. */
const NUMBERS = 3;

/**
 * Messages one behind the other, and what each of them belongs to: in columns, since there may be very many, and they are read only when one
 * was refused.
 */
export class MessageList implements Messages {
  /** Writes the chunk that is open. Where it stands is counted from the chunk's beginning. */
  writer: Writer;
  readonly #full: Uint8Array[] = [];
  /** Bytes on the chunks that are full. */
  #before = 0;
  readonly #first: number;
  readonly #names: MessageName[] = [];
  /** Three of each message: where it starts, its operation, its family. */
  readonly #numbers: number[] = [];
  /** Only of the messages that have one. */
  #translations: EncodedMessage['translate'][] | undefined;

  /** @param capacity bytes that can be written before the buffer grows; without it the list takes a part of a shared buffer */
  constructor(capacity?: number, first = FIRST_SEQUENCE) {
    this.writer = capacity === undefined ? new Writer(SMALL, takeRoom()) : new Writer(capacity);
    this.#first = first;
  }

  get length(): number {
    return this.#names.length;
  }

  at(index: number): EncodedMessage | undefined {
    const name = this.#names[index];
    if (name === undefined) return undefined;
    const numbers = this.#numbers;
    const at = NUMBERS * index;
    return {
      start: numbers[at]!,
      end: numbers[at + NUMBERS] ?? this.size,
      operation: numbers[at + 1]!,
      name,
      family: numbers[at + 2]!,
      translate: this.#translations?.[index],
    };
  }

  /** Nothing more will be written: the shared buffer gets back the room that was not needed. */
  close(): void {
    returnRoom(this.writer.bytes, this.writer.length);
  }

  /** Bytes on all chunks. */
  get size(): number {
    return this.#before + this.writer.length;
  }

  get chunks(): Uint8Array[] {
    return [...this.#full, this.writer.bytes.subarray(0, this.writer.length)];
  }

  /** Called between operations: an operation that has begun goes on on its chunk. */
  nextChunk(): void {
    const { bytes, length } = this.writer;
    if (length < CHUNK - RESERVE) return;
    this.#full.push(bytes.subarray(0, length));
    this.#before += length;
    this.writer = new Writer(CHUNK);
  }

  /** Takes back what was written after it had that many messages, and bytes on this chunk. */
  truncate(messages: number, bytes: number): void {
    this.#names.length = messages;
    this.#numbers.length = NUMBERS * messages;
    if (this.#translations !== undefined && this.#translations.length > messages) this.#translations.length = messages;
    this.writer.length = bytes;
  }

  /** The same list over a copy of its bytes. */
  copy(bytes: Uint8Array, length: number): MessageList {
    const list = new MessageList(2 * length, this.#first);
    list.writer.raw(bytes.subarray(0, length));
    for (const name of this.#names) list.#names.push(name);
    for (const number of this.#numbers) list.#numbers.push(number);
    list.#translations = this.#translations?.slice();
    return list;
  }

  begin(name: MessageName, flags: number, family: number): number {
    const { writer } = this;
    const sequence = this.#first + this.length;
    const start = beginMessage(writer, MESSAGES[name].number, NLM_F_REQUEST | flags, sequence);
    writeHeader(writer, family, 0);
    return start;
  }

  /** Gives a message that was copied its own number. */
  renumber(start: number): void {
    this.writer.view.setUint32(start + SEQUENCE_OFFSET, this.#first + this.length, HOST_IS_LITTLE_ENDIAN);
  }

  end(start: number, name: MessageName, family: number, operation: number, translate?: (path: Path) => Path): void {
    endMessage(this.writer, start);
    if (translate !== undefined) {
      this.#translations ??= [];
      this.#translations[this.length] = translate;
    }
    this.#names.push(name);
    this.#numbers.push(this.#before + start, operation, family);
  }

  /** Takes in a message that was encoded elsewhere and stands at `start` now: it gets the next sequence number. */
  appended(
    start: number,
    name: MessageName,
    family: number,
    operation: number,
    translate?: (path: Path) => Path,
  ): void {
    this.renumber(start);
    this.end(start, name, family, operation, translate);
  }

  write(
    name: MessageName,
    flags: number,
    family: number,
    operation: number,
    object: object,
    translate?: (path: Path) => Path,
  ): void {
    const start = this.begin(name, flags, family);
    MESSAGES[name].table.write(this.writer, object, { family });
    this.end(start, name, family, operation, translate);
  }
}

/** The message that a sequence number in the kernel's replies means; undefined is the batch itself. */
export function messageOf(encoded: EncodedTransaction, sequence: number): EncodedMessage | undefined {
  // The begin of the batch has a number, too, and is none of these. Arrays count negative places from their end.
  return sequence < FIRST_SEQUENCE ? undefined : encoded.messages.at(sequence - FIRST_SEQUENCE);
}

/** The place in the caller's operation, below its kind, that a byte of its message was written from. */
export function pathOf(encoded: EncodedTransaction, message: EncodedMessage, offset: number): Path {
  const bytes = encoded.bytesOf(message);
  const { table } = MESSAGES[message.name];
  const context = { family: message.family };
  const inner = table.locate(sourceOf(bytes), NLMSG_HDRLEN + nfgenmsg.size, bytes.length, offset, context);
  const origin = inner[0] === 'expressions' ? encoded.origins[message.operation]?.[inner[1] as number] : undefined;
  return origin ?? message.translate?.(inner) ?? inner;
}

export interface SendOptions {
  /** The ruleset must still be at this generation. */
  generation?: number | undefined;
  /** Without the end that makes the kernel commit. */
  dryRun?: boolean | undefined;
  /** The messages whose objects the kernel is to send back, with the generation. */
  echo?: ((message: EncodedMessage) => boolean) | undefined;
  /** The batch's last message is to be acknowledged. */
  acknowledgeLast: boolean;
}

/** The bytes to send where the kernel acknowledges the end of the batch, in one part. */
export function boundBytes(encoded: EncodedTransaction, generation: number | undefined): Uint8Array {
  const { bytes, last } = encoded;
  if (last !== undefined) mark(bytes, last.start, NLM_F_ACK, false);
  return generation === undefined ? bytes : encoded.boundTo(generation);
}

/** The bytes to send, one part behind the other: those that were encoded, unless the options change them. */
export function partsOf(encoded: EncodedTransaction, options: SendOptions): readonly Uint8Array[] {
  const { generation, echo } = options;
  const { last } = encoded;
  /*
   * In the bytes that all commits share: they may be on their way to another namespace just now. Either value of the flag is right there:
   * it is cleared only where the kernel acknowledges the end, which all namespaces have in common.
   */
  if (last !== undefined) mark(encoded.bytesOf(last), 0, NLM_F_ACK, options.acknowledgeLast);
  let parts = encoded.chunks;
  if (echo !== undefined) {
    const bytes = encoded.bytes.slice();
    for (let i = 0; i < encoded.messages.length; i++) {
      const message = encoded.messages.at(i)!;
      if (echo(message)) mark(bytes, message.start, NLM_F_ECHO, true);
    }
    parts = [bytes];
  }
  if (options.dryRun) {
    const chunk = parts.at(-1)!;
    parts = [...parts.slice(0, -1), chunk.subarray(0, chunk.length - (encoded.length - encoded.end))];
  }
  if (generation === undefined && echo === undefined) return parts;
  const [first, ...others] = parts;
  return [batchBegin(generation, echo !== undefined), first!.subarray(BATCH_MARKER), ...others];
}

function batchBegin(generation: number | undefined, echo: boolean): Uint8Array {
  const writer = new Writer(BATCH_MARKER + 8);
  writeBatchBegin(writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE - 1, () => {
    if (generation !== undefined) writer.attribute32(NFNL_BATCH_GENID, generation, false);
  });
  if (echo) setFlags(writer, 0, NLM_F_ECHO);
  return writer.copy();
}

/** Sets a flag of the message that begins at `start`, or clears it: one of the lower byte's. */
function mark(bytes: Uint8Array, start: number, flag: number, wanted: boolean): void {
  const at = start + FLAGS_OFFSET + (HOST_IS_LITTLE_ENDIAN ? 0 : 1);
  bytes[at] = wanted ? bytes[at]! | flag : bytes[at]! & ~flag;
}

/**
 * The transaction with the messages of its unresolved operations in their places: `encode` writes those of one operation. `ruleIds` are the numbers
 * that rules get, by operation.
 */
export function splice(
  encoded: EncodedTransaction,
  encode: (operation: Unresolved, list: MessageList) => void,
  ruleIds: ReadonlyMap<number, number>,
): EncodedTransaction {
  const list = new MessageList(1024, FIRST_SEQUENCE + encoded.messages.length);
  const { bytes: encodedBytes } = encoded;
  const pieces: { at: number; start: number; end: number; messages: number }[] = [];
  for (const operation of encoded.unresolved) {
    const start = list.writer.length;
    encode(operation, list);
    pieces.push({ at: operation.at, start, end: list.writer.length, messages: list.length });
  }
  const added = list.writer.bytes;
  const writer = new Writer(encodedBytes.length + list.writer.length);
  const messages: EncodedMessage[] = [];
  let from = 0;
  let next = 0;
  let piece = 0;
  const addedMessages: EncodedMessage[] = [];
  const copyTo = (to: number) => {
    for (; next < encoded.messages.length && encoded.messages.at(next)!.start < to; next++) {
      const message = encoded.messages.at(next)!;
      const id = message.name === 'newrule' ? ruleIds.get(message.operation) : undefined;
      if (id === undefined) {
        messages.push(moved(message, writer.length - from));
        continue;
      }
      writer.raw(encodedBytes.subarray(from, message.end));
      from = message.end;
      messages.push(withRuleId(writer, moved(message, writer.length - message.end), id));
    }
    writer.raw(encodedBytes.subarray(from, to));
    from = to;
  };
  for (const { at, start, end, messages: until } of pieces) {
    copyTo(at);
    const shift = writer.length - start;
    writer.raw(added.subarray(start, end));
    for (; piece < until; piece++) addedMessages.push(moved(list.at(piece)!, shift));
  }
  copyTo(encoded.end);
  const all = [...messages, ...addedMessages];
  let last: EncodedMessage | undefined;
  for (const message of all) if (last === undefined || message.start > last.start) last = message;
  const end = writer.length;
  writeBatchEnd(writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE + all.length);
  const bytes = writer.bytes.subarray(0, writer.length);
  const { origins, destroys } = encoded;
  return new EncodedTransaction([bytes], { end, messages: all, origins, unresolved: [], last, destroys });
}

/** The transaction without the messages of some operations. The others keep their sequence numbers, so that refusals have the same indexes. */
export function without(encoded: EncodedTransaction, operations: ReadonlySet<number>): EncodedTransaction {
  const { bytes } = encoded;
  const writer = new Writer(bytes.length);
  const messages: EncodedMessage[] = [];
  const cuts: { at: number; removed: number }[] = [];
  let last: EncodedMessage | undefined;
  let from = 0;
  let removed = 0;
  for (let i = 0; i < encoded.messages.length; i++) {
    const message = encoded.messages.at(i)!;
    const isLeft = operations.has(message.operation);
    if (isLeft) {
      writer.raw(bytes.subarray(from, message.start));
      from = Math.min((message.end + 3) & ~3, encoded.end);
    }
    messages.push(moved(message, -removed));
    if (!isLeft) last = messages[i];
    else {
      removed += from - message.start;
      cuts.push({ at: from, removed });
    }
  }
  writer.raw(bytes.subarray(from));
  const before = (at: number) => cuts.findLast(cut => cut.at <= at)?.removed ?? 0;
  const unresolved = encoded.unresolved
    .filter(({ operation }) => !operations.has(operation))
    .map(each => ({ ...each, at: each.at - before(each.at) }));
  const { origins } = encoded;
  return new EncodedTransaction([writer.bytes.subarray(0, writer.length)], {
    end: encoded.end - removed,
    // An empty batch is acknowledged as such.
    messages: last === undefined && unresolved.length === 0 ? [] : messages,
    origins,
    unresolved,
    destroys: encoded.destroys.filter(({ operation }) => !operations.has(operation)),
    last,
  });
}

/** Adds the number to a rule's message, which is the last one written. */
function withRuleId(writer: Writer, message: EncodedMessage, id: number): EncodedMessage {
  writer.attribute32(C.NFTA_RULE_ID, id, false);
  endMessage(writer, message.start);
  return { ...message, end: writer.length };
}

const moved = (message: EncodedMessage, shift: number): EncodedMessage => ({
  ...message,
  start: message.start + shift,
  end: message.end + shift,
});
