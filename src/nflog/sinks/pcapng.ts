import { HOST_IS_LITTLE_ENDIAN, type Source } from '../../codec/index.ts';
import { NLA_HDRLEN, NLA_TYPE_MASK } from '../../codec/wire.ts';
import { printable } from '../../errors.ts';
import {
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_NETDEV_EGRESS,
  NFPROTO_ARP,
  NFPROTO_NETDEV,
} from '../../linux/netfilter.ts';
import { NF_ARP_OUT } from '../../linux/netfilter_arp.ts';
import {
  NFULA_IFINDEX_INDEV,
  NFULA_IFINDEX_OUTDEV,
  NFULA_PACKET_HDR,
  NFULA_PAYLOAD,
  NFULA_PREFIX,
} from '../../linux/nfnetlink_log.ts';
import { FILED, firstHalf, microsecondsAt, readPrefix, secondHalf } from '../attributes.ts';
import type { Columns, PacketBatch } from '../batch.ts';
import { NFGENMSG_LENGTH } from '../packet.ts';
import { Output } from './output.ts';
import { type CaptureFormat, LINKTYPE_NFLOG, SNAPLEN } from './pcap.ts';

/*
 * The pcapng file format (draft-ietf-opsawg-pcapng), in the byte order of this host. A section header, an interface description for each
 * device when its first packet comes, and an enhanced packet block for each packet.
 */
const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;

/** opt_endofopt, and its length. */
const OPT_ENDOFOPT = 0;
const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const EPB_FLAGS = 2;
const INBOUND = 1;
const OUTBOUND = 2;

const EPB_FIXED = 28;
const USUAL_BLOCK = 384;
const U32 = 0x100000000;
const NONE = new Uint8Array(0);
const { slots: AT, starts } = FILED;
const encoder = new TextEncoder();
/**
 * A container can rename its devices and change prefixes at any time, so the texts are forgotten when there are too
 * many.
 */
const MAX_KNOWN = 4096;

/** The words of a block before its packet, and behind its options. */
const BEFORE_PACKET = EPB_FIXED / 4;
/** Packets up to this length are copied by 32-bit numbers. For longer ones a call that copies all at once is faster. */
const SMALL_PACKET = 256;

function option(output: Output, code: number, value: Uint8Array): void {
  output.u16(code);
  output.u16(value.length);
  output.raw(value);
}

function beginBlock(output: Output, type: number): number {
  const start = output.length;
  output.u32(type);
  output.u32(0);
  return start;
}

function endBlock(output: Output, start: number): void {
  output.u32(OPT_ENDOFOPT);
  const size = output.length + 4 - start;
  output.view.setUint32(start + 4, size, HOST_IS_LITTLE_ENDIAN);
  output.u32(size);
}

/** Whether the packet is on its way out of the namespace. */
function isOutbound(family: number, hook: number): boolean {
  if (family === NFPROTO_NETDEV) return hook === NF_NETDEV_EGRESS;
  if (family === NFPROTO_ARP) return hook === NF_ARP_OUT;
  return hook === NF_INET_LOCAL_OUT || hook === NF_INET_POST_ROUTING;
}

/** Attributes that stand behind the number of a packet, if it has them, and decide about its block. The kernel writes them before it. */
const DECIDING: ReadonlySet<number> = new Set([
  NFULA_PACKET_HDR,
  NFULA_PREFIX,
  NFULA_IFINDEX_INDEV,
  NFULA_IFINDEX_OUTDEV,
]);
/** So much of a packet is compared, up to its number. */
const MAX_COMPARED = 64;
const TIME_WORDS = 4;

/** The beginning of the last packet, and its block without the packet. Most packets differ from it in their time and number only. */
class LastPacket {
  /** From the nfgenmsg to the header of the number's attribute. */
  readonly #words = new Int32Array(MAX_COMPARED);
  #count = 0;
  /** The index among the words of the kernel's time; negative if it has none. */
  #stamp = -1;
  received = 0;
  /** The number of its interface. */
  id = 0;
  /** Its options and its length. */
  tail = new Int32Array(0);

  clear(): void {
    this.#count = 0;
  }

  /** Remembers a packet that was written, unless it has no number or is unusually long. The options begin at `options`. */
  set(
    { bytes, view }: Source,
    packet: { start: number; end: number; stamp: number; sequence: number; received: number; id: number },
    output: Output,
    options: number,
  ): void {
    const { start, end, stamp, sequence, received, id } = packet;
    const count = (sequence - start) >> 2;
    this.#count = 0;
    if (sequence === 0 || count > MAX_COMPARED || hasDeciding(wordsOf(bytes), sequence + 4, end)) return;
    for (let k = 0; k < count; k++) this.#words[k] = view.getInt32(start + k * 4, HOST_IS_LITTLE_ENDIAN);
    this.#count = count;
    this.#stamp = stamp === 0 ? -1 : (stamp - start) >> 2;
    this.received = received;
    this.id = id;
    this.tail = output.words.slice(options >> 2, output.length >> 2);
  }

  /** Whether another packet has the same attributes with the same values up to its number, but for the time. */
  isLike(words: Int32Array, start: number, end: number, stamp: number, sequence: number): boolean {
    const count = this.#count;
    if (count === 0 || sequence - start !== count * 4) return false;
    const at = this.#stamp;
    if (at !== (stamp === 0 ? -1 : (stamp - start) >> 2)) return false;
    const before = this.#words;
    const first = start >> 2;
    if (sequence > words.length * 4 || (start & 3) !== 0) return false;
    for (let k = 0; k < count; k++) {
      if (k === at) k += TIME_WORDS;
      if (before[k] !== words[first + k]) return false;
    }
    return !hasDeciding(words, sequence + 4, end);
  }
}

/** Whether an attribute behind the packet's number could decide about the block. */
function hasDeciding(words: Int32Array, start: number, end: number): boolean {
  for (let at = start; end - at >= NLA_HDRLEN; ) {
    const header = words[at >> 2]!;
    const length = firstHalf(header);
    if (length < NLA_HDRLEN || length > end - at) return false;
    const type = secondHalf(header) & NLA_TYPE_MASK;
    if (type !== NFULA_PAYLOAD && DECIDING.has(type)) return true;
    at += (length + 3) & ~3;
  }
  return false;
}

const NO_WORDS = new Int32Array(0);

/** The memory as 32-bit numbers of this host; none if it does not begin at a whole one. */
const wordsOf = ({ buffer, byteOffset, length }: Uint8Array): Int32Array =>
  (byteOffset & 3) === 0 ? new Int32Array(buffer, byteOffset, length >> 2) : NO_WORDS;

/** Packets unchanged, with their devices as interfaces, and prefix and losses as comments. */
export class PcapngFormat implements CaptureFormat {
  readonly #origin: string;
  readonly #interfaces = new Map<string, number>();
  readonly #texts = new Map<string, Uint8Array>();
  /** The next sequence number of each group but the last one, whose number is apart. */
  readonly #expected = new Map<number, number>();
  #group = -1;
  #next: number | undefined;
  #interfaceCount = 0;
  /** The device of the last packet; another one can have its index in a packet that was received later. */
  #device: { readonly index: number; readonly received: number; readonly id: number } | undefined;
  /** The last prefix, as it came and as text. */
  #prefix: { readonly raw: Uint8Array; readonly text: Uint8Array } = { raw: NONE, text: NONE };
  /** The last packet whose attributes were read. */
  readonly #last = new LastPacket();

  /** `origin` tells readers of the file where the packets come from. */
  constructor(origin: string) {
    this.#origin = origin;
  }

  begin(): Uint8Array {
    this.#forget(0);
    const output = new Output();
    output.reserve(1024 + 8 * this.#origin.length);
    const start = beginBlock(output, SECTION_HEADER);
    output.u32(BYTE_ORDER_MAGIC);
    output.u16(1);
    output.u16(0);
    // The section's length: not given.
    output.u32(0xffffffff);
    output.u32(0xffffffff);
    option(output, OPT_COMMENT, this.#text(this.#origin));
    option(output, SHB_USERAPPL, this.#text('netsteer'));
    endBlock(output, start);
    return output.bytes.subarray(0, output.length);
  }

  encode(batch: PacketBatch, first: number, limit: number, force: boolean, output: Output): number {
    output.reserve(1024 + Math.min(limit, (batch.length - first) * USUAL_BLOCK));
    const most = output.length + limit;
    const columns = batch.columns();
    for (let i = first; i < batch.length; ) {
      const end = batch.nextDatagram(i);
      const { view, bytes } = batch.source(i);
      const words = wordsOf(bytes);
      const received = batch.received(i);
      for (; i < end; i++) {
        const before = output.length;
        const interfaces = this.#interfaceCount;
        if (!this.#again(output, columns, i, words, view, received)) this.#packet(output, batch, i);
        if (output.length > most && !(force && i === first)) {
          // The packet goes to the next file, which describes its interface again.
          output.length = before;
          this.#forget(interfaces);
          return i;
        }
        const sequence = columns.sequences[i]!;
        if (sequence !== 0) this.#expect(view.getUint16(columns.starts[i]! + 2), (view.getUint32(sequence) + 1) >>> 0);
      }
    }
    return batch.length;
  }

  #forget(from: number): void {
    this.#last.clear();
    if (this.#interfaceCount === from) return;
    for (const [name, id] of this.#interfaces) if (id >= from) this.#interfaces.delete(name);
    this.#interfaceCount = from;
    this.#device = undefined;
  }

  #expect(group: number, next: number): void {
    if (group !== this.#group) {
      if (this.#next !== undefined) this.#expected.set(this.#group, this.#next);
      this.#group = group;
    }
    this.#next = next;
  }

  /** Writes the block of a packet that differs from the last one in its time, number and bytes only. Returns false if it does not. */
  #again(
    output: Output,
    { starts, ends, stamps, sequences }: Columns,
    i: number,
    words: Int32Array,
    view: DataView,
    received: number,
  ): boolean {
    const last = this.#last;
    const start = starts[i]!;
    const end = ends[i]!;
    const stamp = stamps[i]!;
    const sequence = sequences[i]!;
    if (received !== last.received || !last.isLike(words, start, end, stamp, sequence)) return false;
    if (view.getUint32(sequence) !== this.#next) return false;

    const length = end - start;
    const { tail } = last;
    const size = EPB_FIXED + ((length + 3) & ~3) + tail.length * 4;
    output.reserve(size);
    const block = output.words;
    const time = stamp === 0 ? received : microsecondsAt(view, stamp);
    const high = Math.floor(time / U32);
    let at = output.length >> 2;
    block[at] = ENHANCED_PACKET;
    block[at + 1] = size;
    block[at + 2] = last.id;
    block[at + 3] = high;
    block[at + 4] = time - high * U32;
    block[at + 5] = length;
    block[at + 6] = length;
    at += BEFORE_PACKET;
    if (length <= SMALL_PACKET && (length & 3) === 0) {
      const stop = end >> 2;
      let from = start >> 2;
      for (; from + 3 < stop; from += 4, at += 4) {
        block[at] = words[from]!;
        block[at + 1] = words[from + 1]!;
        block[at + 2] = words[from + 2]!;
        block[at + 3] = words[from + 3]!;
      }
      while (from < stop) block[at++] = words[from++]!;
    } else {
      output.length = at << 2;
      output.raw(new Uint8Array(words.buffer, words.byteOffset + start, length));
      at = output.length >> 2;
    }
    for (let k = 0; k < tail.length - 1; k++) block[at++] = tail[k]!;
    block[at++] = size;
    output.length = at << 2;
    return true;
  }

  #packet(output: Output, batch: PacketBatch, i: number): void {
    const source = batch.source(i);
    const start = batch.start(i);
    const end = batch.end(i);
    const length = end - start;
    FILED.walk(source, start + NFGENMSG_LENGTH, end);
    const { bytes, view } = source;
    const header = starts[AT.header]!;
    const outbound = header !== 0 && isOutbound(bytes[start]!, bytes[header + 2]!);
    const [own, other] = outbound
      ? [starts[AT.outDeviceIndex]!, starts[AT.inDeviceIndex]!]
      : [starts[AT.inDeviceIndex]!, starts[AT.outDeviceIndex]!];
    const device = own !== 0 ? own : other;
    const id = this.#interface(output, batch, i, device === 0 ? 0 : view.getUint32(device));
    const prefix = starts[AT.prefix]!;
    const comment = prefix === 0 ? NONE : this.#comment(source, prefix, FILED.end(AT.prefix));
    const timestamp = starts[AT.timestamp]!;
    const sequence = starts[AT.sequence]!;
    const losses = this.#lossBefore(view, start, sequence);
    output.reserve(EPB_FIXED + length + 64 + comment.length + losses.length);

    const block = beginBlock(output, ENHANCED_PACKET);
    const time = timestamp === 0 ? batch.received(i) : microsecondsAt(view, timestamp);
    output.u32(id);
    output.u32(Math.floor(time / U32));
    output.u32(time % U32);
    output.u32(length);
    output.u32(length);
    output.raw(bytes.subarray(start, end));
    const options = output.length;
    if (comment.length > 0) option(output, OPT_COMMENT, comment);
    if (losses.length > 0) option(output, OPT_COMMENT, losses);
    output.u16(EPB_FLAGS);
    output.u16(4);
    output.u32(outbound ? OUTBOUND : INBOUND);
    endBlock(output, block);
    if (losses.length > 0) this.#last.clear();
    else
      this.#last.set(
        source,
        { start, end, stamp: timestamp, sequence, received: batch.received(i), id },
        output,
        options,
      );
  }

  /** The number of the device in this file; its description is written when it comes first. Index 0 is no device. */
  #interface(output: Output, batch: PacketBatch, i: number, index: number): number {
    const received = batch.received(i);
    const last = this.#device;
    if (last !== undefined && last.index === index && last.received === received) return last.id;
    const name = index === 0 ? '' : (batch.devices(i).nameOf(index, received) ?? `if${index}`);
    const id = this.#interfaces.get(name) ?? this.#describe(output, name);
    this.#device = { index, received, id };
    return id;
  }

  #describe(output: Output, device: string): number {
    const name = this.#text(device === '' ? 'none' : device);
    const description = this.#text(this.#origin);
    output.reserve(64 + name.length + description.length);
    const block = beginBlock(output, INTERFACE_DESCRIPTION);
    output.u16(LINKTYPE_NFLOG);
    output.u16(0);
    output.u32(SNAPLEN);
    option(output, IF_NAME, name);
    option(output, IF_DESCRIPTION, description);
    endBlock(output, block);
    const id = this.#interfaceCount++;
    this.#interfaces.set(device, id);
    return id;
  }

  /** The prefix as printable text. Most packets have the prefix of the one before. */
  #comment(source: Source, start: number, end: number): Uint8Array {
    const { bytes } = source;
    const prefix = this.#prefix;
    if (end - start === prefix.raw.length) {
      let i = 0;
      while (i < prefix.raw.length && prefix.raw[i] === bytes[start + i]) i++;
      if (i === prefix.raw.length) return prefix.text;
    }
    const text = readPrefix(source, start, end);
    this.#prefix = { raw: bytes.slice(start, end), text: text === '' ? NONE : this.#text(text) };
    return this.#prefix.text;
  }

  #lossBefore(view: DataView, start: number, at: number): Uint8Array {
    if (at === 0) return NONE;
    const group = view.getUint16(start + 2);
    const expected = group === this.#group ? this.#next : this.#expected.get(group);
    const sequence = view.getUint32(at);
    if (expected === undefined || sequence === expected) return NONE;
    const lost = (sequence - expected) >>> 0;
    // A lower number means that the kernel has begun to count again.
    if (lost >= 0x80000000) return NONE;
    return encoder.encode(`${lost} packets of group ${group} are missing before this one`);
  }

  #text(text: string): Uint8Array {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const bytes = encoder.encode(printable(text));
    if (this.#texts.size >= MAX_KNOWN) this.#texts.clear();
    this.#texts.set(text, bytes);
    return bytes;
  }
}
