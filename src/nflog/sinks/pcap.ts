import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { PacketBatch } from '../batch.ts';
import type { Chunk, Chunks } from './chunks.ts';

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
   * Writes packets from `first` on into a chunk of their own: as many as fit `limit` bytes, but one at least if
   * `force`.
   */
  encode(batch: PacketBatch, first: number, limit: number, force: boolean, chunks: Chunks): Encoded;
}

/** Packets in the form of a file. */
export interface Encoded {
  readonly chunk: Chunk;
  /** So many bytes of the chunk. */
  readonly length: number;
  /** The first packet that did not fit. */
  readonly next: number;
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

  encode(batch: PacketBatch, first: number, limit: number, force: boolean, chunks: Chunks): Encoded {
    let next = first;
    let size = 0;
    for (; next < batch.length; next++) {
      const more = size + RECORD_HEADER + batch.end(next) - batch.start(next);
      if (more > limit && !(force && next === first)) break;
      size = more;
    }
    const chunk = chunks.take(size);
    for (let i = first, to = 0; i < next; ) {
      const end = runFrom(batch, i, next);
      to = copyRun(batch, i, end, chunk, to);
      i = end;
    }
    return { chunk, length: size, next };
  }
}

/**
 * The end of the run that begins at packet `first`: packets that stand one behind the other in memory, with the 16
 * bytes of their nlmsghdr between them. A record's header has 16 bytes too.
 */
function runFrom(batch: PacketBatch, first: number, end: number): number {
  const source = batch.source(first);
  let next = first + 1;
  for (let at = batch.end(first); next < end; next++) {
    if (batch.start(next) !== at + RECORD_HEADER || batch.source(next) !== source) break;
    at = batch.end(next);
  }
  return next;
}

/** Copies a run at once, then writes a record's header over each nlmsghdr of the copy. */
function copyRun(batch: PacketBatch, first: number, end: number, { bytes, view }: Chunk, to: number): number {
  const from = batch.start(first);
  const last = batch.end(end - 1);
  bytes.set(batch.source(first).bytes.subarray(from, last), to + RECORD_HEADER);
  for (let i = first; i < end; i++) {
    const start = batch.start(i);
    const length = batch.end(i) - start;
    const time = batch.time(i);
    const seconds = Math.floor(time / 1_000_000);
    const header = to + start - from;
    view.setUint32(header, seconds, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 4, time - seconds * 1_000_000, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 8, length, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 12, length, HOST_IS_LITTLE_ENDIAN);
  }
  return to + RECORD_HEADER + last - from;
}
