import { struct, U8, U16_BE, type Writer } from '../codec/index.ts';
import { NLM_F_ACK, NLM_F_REQUEST } from '../linux/netlink.ts';
import { NFNETLINK_V0, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END } from '../linux/nfnetlink.ts';
import { beginMessage, endMessage } from './message.ts';

/** `struct nfgenmsg` (include/uapi/linux/netfilter/nfnetlink.h). The resource is a subsystem, an NFLOG group, or the generation. */
export const nfgenmsg = struct('nfgenmsg', {
  /** The address family. */
  nfgen_family: [1, U8],
  /** NFNETLINK_V0. */
  version: [1, U8],
  /** The subsystem, the group or the generation, as the message has it. */
  res_id: [2, U16_BE],
});

/**
 * The message type of a subsystem's message.
 * @param subsystem NFNL_SUBSYS_*
 * @param message the number of the message within it
 * @example
 * const type = nfnetlinkType(10, 0);
 */
export const nfnetlinkType = (subsystem: number, message: number): number => (subsystem << 8) | message;

/**
 * Writes the header; it is part of every nfnetlink message.
 * @param writer where the message is
 * @param family AF_INET, NFPROTO_INET ...
 * @param resource 16 bits, of which each subsystem makes something else
 * @example
 * writeHeader(writer, 2, 0);
 */
export function writeHeader(writer: Writer, family: number, resource: number): void {
  if ((family & 0xff) !== family || (resource & 0xffff) !== resource) {
    // Refuses them by their names.
    nfgenmsg.write(writer, { nfgen_family: family, version: NFNETLINK_V0, res_id: resource });
    return;
  }
  writer.u8(family);
  writer.u8(NFNETLINK_V0);
  writer.u16(resource, false);
}

/**
 * Opens a batch: what follows, up to its end, is one transaction. `attributes` may write a generation to be met.
 * @param writer where the batch is
 * @param subsystem NFNL_SUBSYS_*
 * @param sequence the number of this message
 * @example
 * writeBatchBegin(writer, 10, 1);
 */
export function writeBatchBegin(writer: Writer, subsystem: number, sequence: number, attributes?: () => void): void {
  const start = beginMessage(writer, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, sequence);
  writeHeader(writer, 0, subsystem);
  attributes?.();
  endMessage(writer, start);
}

/**
 * Closes a batch. From 6.10 or so the kernel acknowledges the end itself, once and only after the commit; older ones ignore the flag.
 * @param writer where the batch is
 * @param subsystem NFNL_SUBSYS_*
 * @param sequence the number of this message
 * @example
 * writeBatchEnd(writer, 10, 3);
 */
export function writeBatchEnd(writer: Writer, subsystem: number, sequence: number): void {
  const start = beginMessage(writer, NFNL_MSG_BATCH_END, NLM_F_REQUEST | NLM_F_ACK, sequence);
  writeHeader(writer, 0, subsystem);
  endMessage(writer, start);
}
