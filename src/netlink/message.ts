import { align4, HOST_IS_LITTLE_ENDIAN, type Source, type Writer } from '../codec/index.ts';
import { DecodeError } from '../errors.ts';
import { NLMSG_HDRLEN } from '../linux/netlink.ts';

export { NLMSG_HDRLEN } from '../linux/netlink.ts';

/** One netlink message inside a datagram. */
export interface Message {
  /** The type of the message. */
  readonly type: number;

  /** The NLM_F_* flags. */
  readonly flags: number;

  /** The sequence number of the request. */
  readonly sequence: number;

  /** The bytes that the message is in. */
  readonly source: Source;
  /** Where the message begins: the kernel counts the offsets of its errors from here. */
  readonly start: number;
  /** Where its payload begins and ends. */
  readonly payload: number;

  /** Where the message ends. */
  readonly end: number;
  /** Where the one behind it begins, if there is one. */
  readonly next: number;
}

/**
 * Opens a message; `endMessage` wants back what this returns.
 * @param writer where the message goes
 * @param type nlmsg_type
 * @param flags bits of NLM_F_*
 * @param sequence 32 bits
 * @example
 * const start = beginMessage(writer, 18, NLM_F_REQUEST, 1);
 * writer.zeros(16);
 * endMessage(writer, start);
 */
export function beginMessage(writer: Writer, type: number, flags: number, sequence: number): number {
  const start = writer.reserve(NLMSG_HDRLEN);
  const { view } = writer;
  view.setUint16(start + 4, type, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(start + 6, flags, HOST_IS_LITTLE_ENDIAN);
  view.setUint32(start + 8, sequence, HOST_IS_LITTLE_ENDIAN);
  view.setUint32(start + 12, 0, HOST_IS_LITTLE_ENDIAN);
  return start;
}

/**
 * Writes the length of a message into its header, and pads to four bytes.
 * @param writer where the message is
 * @param start what `beginMessage` returned
 * @example
 * endMessage(writer, beginMessage(writer, 18, NLM_F_REQUEST, 1));
 */
export function endMessage(writer: Writer, start: number): void {
  writer.view.setUint32(start, writer.length - start, HOST_IS_LITTLE_ENDIAN);
  const padding = align4(writer.length) - writer.length;
  if (padding > 0) writer.zeros(padding);
}

/**
 * Adds flags to the header of a message that is written already.
 * @param writer where the message is
 * @param start what `beginMessage` returned
 * @param flags bits of NLM_F_*
 * @example
 * setFlags(writer, 0, NLM_F_ACK);
 */
export function setFlags(writer: Writer, start: number, flags: number): void {
  const { view } = writer;
  view.setUint16(start + 6, view.getUint16(start + 6, HOST_IS_LITTLE_ENDIAN) | flags, HOST_IS_LITTLE_ENDIAN);
}

/**
 * Takes flags out of the header of a message that is written already.
 * @param writer where the message is
 * @param start what `beginMessage` returned
 * @param flags bits of NLM_F_*
 * @example
 * clearFlags(writer, 0, NLM_F_ACK);
 */
export function clearFlags(writer: Writer, start: number, flags: number): void {
  const { view } = writer;
  view.setUint16(start + 6, view.getUint16(start + 6, HOST_IS_LITTLE_ENDIAN) & ~flags, HOST_IS_LITTLE_ENDIAN);
}

/**
 * The message at `start`. A length that lies throws a DecodeError.
 * @param source the bytes of a datagram
 * @param end where the datagram ends
 * @throws DecodeError the length of the message lies
 * @example
 * const { type, sequence } = messageAt(source, 0, source.bytes.length);
 */
export function messageAt(source: Source, start: number, end: number): Message {
  const left = end - start;
  const length = left >= NLMSG_HDRLEN ? source.view.getUint32(start, HOST_IS_LITTLE_ENDIAN) : 0;
  if (length < NLMSG_HDRLEN || length > left) {
    throw new DecodeError(`message at byte ${start} has length ${length}, ${left} bytes are left`);
  }
  return {
    type: source.view.getUint16(start + 4, HOST_IS_LITTLE_ENDIAN),
    flags: source.view.getUint16(start + 6, HOST_IS_LITTLE_ENDIAN),
    sequence: source.view.getUint32(start + 8, HOST_IS_LITTLE_ENDIAN),
    source,
    start,
    payload: start + NLMSG_HDRLEN,
    end: start + length,
    next: start + align4(length),
  };
}

/**
 * The messages of a datagram, in order. The last one may come without its padding.
 * @param source the bytes of a datagram
 * @param start where the first message begins
 * @param end where the datagram ends
 * @throws DecodeError the length of a message lies
 * @example
 * for (const { type } of messagesIn(source)) console.log(type);
 */
export function* messagesIn(source: Source, start = 0, end = source.bytes.length): Generator<Message, void, undefined> {
  for (let at = start; at < end; ) {
    const message = messageAt(source, at, end);
    yield message;
    at = message.next;
  }
}
