import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { microsecondsAt } from '../attributes.ts';
import type { PacketBatch } from '../batch.ts';
import type { Output } from './output.ts';

/* The pcap file format (draft-ietf-opsawg-pcap), in the byte order of this host, which its magic number tells. */

/**
 * The link type of nfgenmsg and attributes in the byte order of the host that wrote them, which the kernel sends
 * behind its nlmsghdr.
 */
export const LINKTYPE_NFLOG = 239;
/** No packet is longer than 64 KiB of payload and its attributes. tcpdump refuses files with a limit above 256 KiB. */
export const SNAPLEN = 262144;

const FILE_HEADER = 24;
const RECORD_HEADER = 16;

/** One format of files. */
export interface CaptureFormat {
  /** The beginning of a file. */
  begin(): Uint8Array;
  /**
   * Writes packets from `first` on behind what `output` has: as many as fit `limit` bytes, but one at least if `force`. Returns the first
   * that did not fit.
   */
  encode(batch: PacketBatch, first: number, limit: number, force: boolean, output: Output): number;
}

/** Packets unchanged, each with its time before it. Nothing is decoded. */
export class PcapFormat implements CaptureFormat {
  begin(): Uint8Array {
    const header = new Uint8Array(FILE_HEADER);
    const view = new DataView(header.buffer);
    view.setUint32(0, 0xa1b2c3d4, HOST_IS_LITTLE_ENDIAN);
    view.setUint16(4, 2, HOST_IS_LITTLE_ENDIAN);
    view.setUint16(6, 4, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(16, SNAPLEN, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(20, LINKTYPE_NFLOG, HOST_IS_LITTLE_ENDIAN);
    return header;
  }

  encode(batch: PacketBatch, first: number, limit: number, force: boolean, output: Output): number {
    const { starts, ends } = batch.columns();
    let next = first;
    let size = 0;
    for (; next < batch.length; next++) {
      const more = size + RECORD_HEADER + ends[next]! - starts[next]!;
      if (more > limit && !(force && next === first)) break;
      size = more;
    }
    output.reserve(size);
    for (let i = first; i < next; ) i = copyRun(batch, i, Math.min(next, batch.nextDatagram(i)), output);
    return next;
  }
}

/**
 * Copies packets that stand one behind the other in memory, with the 16 bytes of their nlmsghdr between them, at once. A record's header has
 * 16 bytes too, and is written over each nlmsghdr of the copy. Returns the first packet that stands elsewhere.
 */
function copyRun(batch: PacketBatch, first: number, end: number, output: Output): number {
  const { starts, ends, stamps } = batch.columns();
  const from = starts[first]!;
  let next = first + 1;
  let last = ends[first]!;
  while (next < end && starts[next] === last + RECORD_HEADER) last = ends[next++]!;
  const { bytes, view } = batch.source(first);
  const to = output.length - from;
  output.bytes.set(bytes.subarray(from, last), to + from + RECORD_HEADER);
  output.length = to + last + RECORD_HEADER;

  const received = batch.received(first);
  const receivedSeconds = Math.floor(received / 1_000_000);
  const receivedRest = received - receivedSeconds * 1_000_000;
  const { words } = output;
  for (let i = first; i < next; i++) {
    const start = starts[i]!;
    const length = ends[i]! - start;
    const stamp = stamps[i]!;
    let seconds = receivedSeconds;
    let rest = receivedRest;
    if (stamp !== 0) {
      const time = microsecondsAt(view, stamp);
      seconds = Math.floor(time / 1_000_000);
      rest = time - seconds * 1_000_000;
    }
    const header = to + start;
    if ((header & 3) === 0) {
      const at = header >> 2;
      words[at] = seconds;
      words[at + 1] = rest;
      words[at + 2] = length;
      words[at + 3] = length;
    } else {
      // A message before it has a length that is no multiple of four.
      output.view.setUint32(header, seconds, HOST_IS_LITTLE_ENDIAN);
      output.view.setUint32(header + 4, rest, HOST_IS_LITTLE_ENDIAN);
      output.view.setUint32(header + 8, length, HOST_IS_LITTLE_ENDIAN);
      output.view.setUint32(header + 12, length, HOST_IS_LITTLE_ENDIAN);
    }
  }
  return next;
}
