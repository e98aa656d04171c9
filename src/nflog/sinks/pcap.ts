import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { endOfPacket, type Packet, sourceOfPacket, startOfPacket, timeOf } from '../packet.ts';

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
   * Writes packets from `first` on into a buffer of their own: as many as fit `limit` bytes, but one at least if
   * `force`. `next` is the first one that did not fit.
   */
  encode(packets: readonly Packet[], first: number, limit: number, force: boolean): { bytes: Uint8Array; next: number };
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

  encode(
    packets: readonly Packet[],
    first: number,
    limit: number,
    force: boolean,
  ): { bytes: Uint8Array; next: number } {
    let next = first;
    let size = 0;
    for (; next < packets.length; next++) {
      const packet = packets[next]!;
      const more = size + RECORD_HEADER + endOfPacket(packet) - startOfPacket(packet);
      if (more > limit && !(force && next === first)) break;
      size = more;
    }
    // The memory is not cleared: all of it is overwritten.
    const bytes = Buffer.allocUnsafeSlow(size);
    const view = new DataView(bytes.buffer);
    for (let i = first, to = 0; i < next; ) {
      const end = runFrom(packets, i, next);
      to = copyRun(packets, i, end, bytes, view, to);
      i = end;
    }
    return { bytes, next };
  }
}

/**
 * The end of the run that begins at packet `first`: packets that stand one behind the other in memory, with the 16
 * bytes of their nlmsghdr between them. A record's header has 16 bytes too.
 */
function runFrom(packets: readonly Packet[], first: number, end: number): number {
  const source = sourceOfPacket(packets[first]!);
  let next = first + 1;
  let at = endOfPacket(packets[first]!);
  for (; next < end; next++) {
    const packet = packets[next]!;
    if (startOfPacket(packet) !== at + RECORD_HEADER || sourceOfPacket(packet) !== source) break;
    at = endOfPacket(packet);
  }
  return next;
}

/** Copies a run at once, then writes a record's header over each nlmsghdr of the copy. */
function copyRun(
  packets: readonly Packet[],
  first: number,
  end: number,
  into: Uint8Array,
  view: DataView,
  to: number,
): number {
  const from = startOfPacket(packets[first]!);
  const last = endOfPacket(packets[end - 1]!);
  into.set(sourceOfPacket(packets[first]!).bytes.subarray(from, last), to + RECORD_HEADER);
  for (let i = first; i < end; i++) {
    const packet = packets[i]!;
    const start = startOfPacket(packet);
    const length = endOfPacket(packet) - start;
    const time = timeOf(packet);
    const seconds = Math.floor(time / 1_000_000);
    const header = to + start - from;
    view.setUint32(header, seconds, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 4, time - seconds * 1_000_000, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 8, length, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(header + 12, length, HOST_IS_LITTLE_ENDIAN);
  }
  return to + RECORD_HEADER + last - from;
}
