import { HOST_IS_LITTLE_ENDIAN, type Source } from '../../codec/index.ts';
import { printable } from '../../errors.ts';
import {
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_NETDEV_EGRESS,
  NFPROTO_ARP,
  NFPROTO_NETDEV,
} from '../../linux/netfilter.ts';
import { NF_ARP_OUT } from '../../linux/netfilter_arp.ts';
import { FILED, microsecondsAt, readPrefix } from '../attributes.ts';
import type { PacketBatch } from '../batch.ts';
import { NFGENMSG_LENGTH } from '../packet.ts';
import { type Chunk, Chunks } from './chunks.ts';
import { type CaptureFormat, type Encoded, LINKTYPE_NFLOG, SNAPLEN } from './pcap.ts';

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

/** Blocks in a chunk, which is exchanged for a larger one when it is full. */
class Blocks {
  readonly #chunks: Chunks;
  chunk: Chunk;
  bytes: Uint8Array;
  view: DataView;
  length = 0;

  constructor(chunks: Chunks, capacity: number) {
    this.#chunks = chunks;
    this.chunk = chunks.take(capacity);
    this.bytes = this.chunk.bytes;
    this.view = this.chunk.view;
  }

  /** Room for so many bytes more. */
  reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const larger = this.#chunks.take(Math.max(this.bytes.length * 2, this.length + size));
    larger.bytes.set(this.bytes.subarray(0, this.length));
    this.chunk = larger;
    this.bytes = larger.bytes;
    this.view = larger.view;
  }

  u16(value: number): void {
    this.view.setUint16(this.length, value, HOST_IS_LITTLE_ENDIAN);
    this.length += 2;
  }
  u32(value: number): void {
    this.view.setUint32(this.length, value, HOST_IS_LITTLE_ENDIAN);
    this.length += 4;
  }
  /** Padded to 32 bits. */
  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    while ((this.length & 3) !== 0) this.bytes[this.length++] = 0;
  }
  option(code: number, value: Uint8Array): void {
    this.u16(code);
    this.u16(value.length);
    this.raw(value);
  }

  begin(type: number): number {
    const start = this.length;
    this.u32(type);
    this.u32(0);
    return start;
  }
  end(start: number): void {
    this.u32(OPT_ENDOFOPT);
    const size = this.length + 4 - start;
    this.view.setUint32(start + 4, size, HOST_IS_LITTLE_ENDIAN);
    this.u32(size);
  }
}

/** Whether the packet is on its way out of the namespace. */
function isOutbound(family: number, hook: number): boolean {
  if (family === NFPROTO_NETDEV) return hook === NF_NETDEV_EGRESS;
  if (family === NFPROTO_ARP) return hook === NF_ARP_OUT;
  return hook === NF_INET_LOCAL_OUT || hook === NF_INET_POST_ROUTING;
}

/** Packets unchanged, with their devices as interfaces, and prefix and losses as comments. */
export class PcapngFormat implements CaptureFormat {
  readonly #origin: string;
  readonly #interfaces = new Map<string, number>();
  readonly #texts = new Map<string, Uint8Array>();
  /** The next sequence number of each group. */
  readonly #expected = new Map<number, number>();
  #interfaceCount = 0;
  /** The device of the last packet; another one can have its index in a packet that was received later. */
  #device: { readonly index: number; readonly received: number; readonly id: number } | undefined;
  /** The last prefix, as it came and as text. */
  #prefix: { readonly raw: Uint8Array; readonly text: Uint8Array } = { raw: NONE, text: NONE };

  /** `origin` tells readers of the file where the packets come from. */
  constructor(origin: string) {
    this.#origin = origin;
  }

  begin(): Uint8Array {
    this.#forget(0);
    const blocks = new Blocks(new Chunks(), 1024);
    const start = blocks.begin(SECTION_HEADER);
    blocks.u32(BYTE_ORDER_MAGIC);
    blocks.u16(1);
    blocks.u16(0);
    // The section's length: not given.
    blocks.u32(0xffffffff);
    blocks.u32(0xffffffff);
    blocks.option(OPT_COMMENT, this.#text(this.#origin));
    blocks.option(SHB_USERAPPL, this.#text('netsteer'));
    blocks.end(start);
    return blocks.bytes.subarray(0, blocks.length);
  }

  encode(batch: PacketBatch, first: number, limit: number, force: boolean, chunks: Chunks): Encoded {
    const blocks = new Blocks(chunks, 1024 + Math.min(limit, (batch.length - first) * USUAL_BLOCK));
    let next = first;
    for (; next < batch.length; next++) {
      const before = blocks.length;
      const interfaces = this.#interfaceCount;
      this.#packet(blocks, batch, next);
      if (blocks.length > limit && !(force && next === first)) {
        // The packet goes to the next file, which describes its interface again.
        blocks.length = before;
        this.#forget(interfaces);
        break;
      }
      const sequence = starts[AT.sequence]!;
      if (sequence !== 0) {
        const { view } = batch.source(next);
        this.#expected.set(view.getUint16(batch.start(next) + 2), (view.getUint32(sequence) + 1) >>> 0);
      }
    }
    return { chunk: blocks.chunk, length: blocks.length, next };
  }

  #forget(from: number): void {
    if (this.#interfaceCount === from) return;
    for (const [name, id] of this.#interfaces) if (id >= from) this.#interfaces.delete(name);
    this.#interfaceCount = from;
    this.#device = undefined;
  }

  /** Leaves the packet's attributes in the columns of `FILED`. */
  #packet(blocks: Blocks, batch: PacketBatch, i: number): void {
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
    const id = this.#interface(blocks, batch, i, device === 0 ? 0 : view.getUint32(device));
    const prefix = starts[AT.prefix]!;
    const comment = prefix === 0 ? NONE : this.#comment(source, prefix, FILED.end(AT.prefix));
    const losses = this.#lossBefore(view, start);
    blocks.reserve(EPB_FIXED + length + 64 + comment.length + losses.length);

    const block = blocks.begin(ENHANCED_PACKET);
    const timestamp = starts[AT.timestamp]!;
    const time = timestamp === 0 ? batch.received(i) : microsecondsAt(view, timestamp);
    blocks.u32(id);
    blocks.u32(Math.floor(time / U32));
    blocks.u32(time % U32);
    blocks.u32(length);
    blocks.u32(length);
    blocks.raw(bytes.subarray(start, end));
    if (comment.length > 0) blocks.option(OPT_COMMENT, comment);
    if (losses.length > 0) blocks.option(OPT_COMMENT, losses);
    blocks.u16(EPB_FLAGS);
    blocks.u16(4);
    blocks.u32(outbound ? OUTBOUND : INBOUND);
    blocks.end(block);
  }

  /** The number of the device in this file; its description is written when it comes first. Index 0 is no device. */
  #interface(blocks: Blocks, batch: PacketBatch, i: number, index: number): number {
    const received = batch.received(i);
    const last = this.#device;
    if (last !== undefined && last.index === index && last.received === received) return last.id;
    const name = index === 0 ? '' : (batch.devices(i).nameOf(index, received) ?? `if${index}`);
    const id = this.#interfaces.get(name) ?? this.#describe(blocks, name);
    this.#device = { index, received, id };
    return id;
  }

  #describe(blocks: Blocks, device: string): number {
    const name = this.#text(device === '' ? 'none' : device);
    const description = this.#text(this.#origin);
    blocks.reserve(64 + name.length + description.length);
    const block = blocks.begin(INTERFACE_DESCRIPTION);
    blocks.u16(LINKTYPE_NFLOG);
    blocks.u16(0);
    blocks.u32(SNAPLEN);
    blocks.option(IF_NAME, name);
    blocks.option(IF_DESCRIPTION, description);
    blocks.end(block);
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

  #lossBefore(view: DataView, start: number): Uint8Array {
    const at = starts[AT.sequence]!;
    if (at === 0) return NONE;
    const group = view.getUint16(start + 2);
    const expected = this.#expected.get(group);
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
