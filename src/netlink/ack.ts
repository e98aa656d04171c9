import {
  type AttributeTable,
  type Context,
  eachAttribute,
  HOST_IS_LITTLE_ENDIAN,
  NLA_HDRLEN,
  type Source,
  sourceOf,
  toText,
} from '../codec/index.ts';
import { DecodeError, NetlinkError, type Path } from '../errors.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_DONE,
  NLMSGERR_ATTR_MISS_NEST,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from '../linux/netlink.ts';
import { type Message, NLMSG_HDRLEN } from './message.ts';

/** include/linux/err.h */
const MAX_ERRNO = 4095;

/** The content of an NLMSG_ERROR: 0 is an acknowledgement. */
export interface Ack {
  /** Negative as in Node; 0 where the kernel did it. */
  errno: number;
  /** The kernel's own sentence. */
  text?: string;
  /** The byte of the request, counted from its header, where the attribute stands that the kernel refuses. */
  offset?: number;
  /** The number of the attribute that the kernel misses, and where the nest stands that it should be in. */
  missing?: number;
  /** Where the nest begins that lacks an attribute. */
  missingIn?: number;
}

/**
 * Reads an NLMSG_ERROR (or the errno at the end of a dump) with its extended acknowledgement.
 * @throws DecodeError the message is too short
 * @example
 * const { errno } = readAck(message);
 */
export function readAck({ type: messageType, source, payload, end, flags }: Message): Ack {
  if (end - payload < 4) throw new DecodeError('an error message without a number');
  const { view } = source;
  const ack: Ack = { errno: view.getInt32(payload, HOST_IS_LITTLE_ENDIAN) };
  if (ack.errno > 0 || ack.errno < -MAX_ERRNO) throw new DecodeError(`an error message with ${ack.errno} for an errno`);
  if (ack.errno === 0 || (flags & NLM_F_ACK_TLVS) === 0) return ack;
  // The end of a dump echoes no request.
  let tlvs = payload + 4 + (messageType === NLMSG_DONE ? 0 : NLMSG_HDRLEN);
  if (messageType !== NLMSG_DONE && (flags & NLM_F_CAPPED) === 0 && tlvs <= end) {
    // The refused message is echoed whole: the attributes follow it.
    const echoed = view.getUint32(payload + 4, HOST_IS_LITTLE_ENDIAN);
    if (echoed > end - payload) return ack;
    tlvs = payload + 4 + ((echoed + 3) & ~3);
  }
  if (tlvs >= end) return ack;
  eachAttribute(source, tlvs, end, (type, at, atEnd) => {
    if (type === NLMSGERR_ATTR_MSG) {
      const text = toText(source, at, atEnd - 1);
      if (text !== undefined) ack.text = text;
    } else if (atEnd - at === 4) {
      const value = view.getUint32(at, HOST_IS_LITTLE_ENDIAN);
      if (type === NLMSGERR_ATTR_OFFS) ack.offset = value;
      else if (type === NLMSGERR_ATTR_MISS_TYPE) ack.missing = value;
      else if (type === NLMSGERR_ATTR_MISS_NEST) ack.missingIn = value;
    }
  });
  return ack;
}

/** Turns a byte of the request into the field of the caller's object that was written there. */
export type Locate = (source: Source, start: number, end: number, offset: number) => Path;

/**
 * The `Locate` of a message whose attributes begin `header` bytes after the netlink header and follow one table.
 * @param table the table of the message's attributes
 * @param header bytes between the netlink header and the first attribute
 * @param context what the attributes' types depend on
 * @example
 * const locate = locateIn(table, 4, { family: 2 });
 */
export function locateIn<T>(table: AttributeTable<T>, header: number, context: Context): Locate {
  return (source, start, end, offset) => table.locate(source, start + NLMSG_HDRLEN + header, end, offset, context);
}

/** One message to the kernel, and how its refusal is explained. */
export interface RequestInfo {
  /** The kernel's name of the message: 'IPVS_CMD_NEW_SERVICE'. */
  readonly syscall: string;
  /** The object as the caller gave it. */
  readonly subject?: unknown;

  /** Finds the field that the kernel points at. */
  readonly locate?: Locate | undefined;
  /** The usual cause of an errno, in one sentence. */
  hint?(code: string, path: Path): string | undefined;
  /** The field that an errno means, where the kernel gives no offset (IPVS never does). */
  blame?(code: string): Path | undefined;
}

/**
 * The error of a request that the kernel has refused, with its text, the path of the bad field and a hint where there are such.
 * @param call the request
 * @param ack the kernel's answer
 * @param operation the operation under way: 'ipvs.addService'
 * @param request the bytes of the message, in which the kernel's offset points
 * @param hint the usual cause of an errno, where the request has no hint of its own
 * @example
 * const refuse = (message: Message) => {
 *   throw ackError({ syscall: 'IPVS_CMD_NEW_SERVICE' }, readAck(message), 'ipvs.addService');
 * };
 */
export function ackError(
  call: RequestInfo,
  ack: Ack,
  operation: string,
  request?: Uint8Array,
  hint?: RequestInfo['hint'],
): NetlinkError {
  let path: Path = [];
  if (request !== undefined && call.locate !== undefined) {
    const source = sourceOf(request);
    const at = ack.offset ?? ack.missingIn;
    if (at !== undefined) path = call.locate(source, 0, request.length, Math.min(at, request.length - NLA_HDRLEN));
  }
  const plain = new NetlinkError({ errno: ack.errno, syscall: call.syscall });
  if (path.length === 0) path = call.blame?.(plain.code) ?? [];
  return new NetlinkError({
    errno: ack.errno,
    syscall: call.syscall,
    operation,
    subject: call.subject,
    path,
    kernelMessage: ack.text,
    hint: call.hint === undefined ? hint?.(plain.code, path) : call.hint(plain.code, path),
    request: request?.slice(),
  });
}

/** The outcome of a pipeline. */
export interface PipelineResult {
  /** The requests that were refused. */
  failures: {
    /** The request's place in the list. */
    readonly index: number;
    /** The refusal. */
    readonly error: NetlinkError;
  }[];
  /**
   * Answers were lost from this index on: a message that is not among the failures may have failed or not. Messages behind the datagram whose answers
   * were lost is not sent any more.
   */
  unknownFrom: number | undefined;
  /** Nothing from this index on was sent; the number of messages where all were. */
  unsentFrom: number;
}

/** A refusal whose error is made when it is asked for: of a request and its substitute, one is refused by design. */
export class Failure {
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
