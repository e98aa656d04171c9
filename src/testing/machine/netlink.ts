import {
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NLA_F_NESTED,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
  NLMSGERR_ATTR_POLICY,
} from '../../linux/netlink.ts';
import type { Refusal } from '../refusal.ts';
import { Writer } from '../wire/attributes.ts';
import type { MemorySocket } from './socket.ts';

/** A message that a program has sent. Offsets count from the start of its header. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The sender. */
  readonly port: number;
  /** The header and all behind it. */
  readonly bytes: Uint8Array;
}

const align = (length: number): number => (length + 3) & ~3;

/** The messages of a datagram, up to the first whose length cannot be right. */
export function* requestsOf(datagram: Uint8Array, port: number): Generator<Request & { readonly at: number }> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  for (let at = 0; at + NLMSG_HDRLEN <= datagram.length; ) {
    const length = view.getUint32(at, true);
    if (length < NLMSG_HDRLEN || at + length > datagram.length) return;
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      port,
      bytes: datagram.subarray(at, at + length),
      at,
    };
    at += align(length);
  }
}

/** The answer of netlink_ack(): 0, or the kernel's refusal with its extended acknowledgement. */
export function acknowledgement(socket: MemorySocket, request: Request, refusal: Refusal | undefined): Uint8Array {
  const writer = new Writer();
  const { errno = 0, offset, text, policy } = refusal ?? {};
  const capped = errno === 0 || socket.options.get(NETLINK_CAP_ACK) === 1;
  const explains = socket.options.get(NETLINK_EXT_ACK) === 1 && (offset !== undefined || text !== undefined);
  const flags = (capped ? NLM_F_CAPPED : 0) | (explains ? NLM_F_ACK_TLVS : 0);
  writer.message({ type: NLMSG_ERROR, flags, sequence: request.sequence, port: request.port }, () => {
    const number = new Uint8Array(4);
    new DataView(number.buffer).setInt32(0, errno, true);
    writer.raw(number);
    writer.raw(capped ? request.bytes.subarray(0, NLMSG_HDRLEN) : request.bytes);
    if (!explains) return;
    if (text !== undefined) writer.text(NLMSGERR_ATTR_MSG, text);
    if (offset !== undefined) writer.u32(NLMSGERR_ATTR_OFFS, offset);
    if (policy !== undefined) writer.nest(NLMSGERR_ATTR_POLICY | NLA_F_NESTED, () => writer.raw(policy));
  });
  return writer.take();
}

/** The end of a dump. */
export function done(request: Request, errno = 0): Uint8Array {
  const writer = new Writer();
  writer.message({ type: NLMSG_DONE, flags: NLM_F_MULTI, sequence: request.sequence, port: request.port }, () => {
    const number = new Uint8Array(4);
    new DataView(number.buffer).setInt32(0, errno, true);
    writer.raw(number);
  });
  return writer.take();
}

/** A dump's messages fill datagrams of at most so many bytes. */
export const DUMP_DATAGRAM = 32_424;

/** Packs messages into datagrams as a dump does; the end comes in the last if it fits. */
export function* packed(
  messages: Iterable<Uint8Array>,
  request: Request,
  limit = DUMP_DATAGRAM,
): Generator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for (const message of messages) {
    if (length > 0 && length + message.length > limit) {
      yield Buffer.concat(parts);
      parts = [];
      length = 0;
    }
    parts.push(message);
    length += message.length;
  }
  if (length > 0) yield Buffer.concat(parts);
  yield done(request);
}
