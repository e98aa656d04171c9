import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { printable } from '../../errors.ts';
import { endOfPacket, type Packet, sourceOfPacket, startOfPacket, timeOf } from '../packet.ts';
import { type CaptureFormat, LINKTYPE_NFLOG, SNAPLEN } from './pcap.ts';

/*
 * The pcapng file format (draft-ietf-opsawg-pcapng), in the byte order of this host. A section header, an interface description for each
 * device when its first packet comes, and an enhanced packet block for each packet.
 */
const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;

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
const encoder = new TextEncoder();
/**
 * A container can rename its devices and change prefixes at any time, so the texts are forgotten when there are too
 * many.
 */
const MAX_KNOWN = 4096;

/** Blocks in a buffer that grows. */
class Blocks {
  bytes: Uint8Array;
  view: DataView;
  length = 0;

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Room for so many bytes more. */
  reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.length + size));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
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
    this.u16(OPT_ENDOFOPT);
    this.u16(0);
    const size = this.length + 4 - start;
    this.view.setUint32(start + 4, size, HOST_IS_LITTLE_ENDIAN);
    this.u32(size);
  }
}

/** Packets unchanged, with their devices as interfaces, and prefix and losses as comments. */
export class PcapngFormat implements CaptureFormat {
  readonly #origin: string;
  readonly #interfaces = new Map<string, number>();
  readonly #texts = new Map<string, Uint8Array>();
  /** The next sequence number of each group. */
  readonly #expected = new Map<number, number>();
  #interfaceCount = 0;

  /** `origin` tells readers of the file where the packets come from. */
  constructor(origin: string) {
    this.#origin = origin;
  }

  begin(): Uint8Array {
    this.#interfaces.clear();
    this.#interfaceCount = 0;
    const blocks = new Blocks(1024);
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

  encode(
    packets: readonly Packet[],
    first: number,
    limit: number,
    force: boolean,
  ): { bytes: Uint8Array; next: number } {
    const blocks = new Blocks(1024 + Math.min(limit, (packets.length - first) * USUAL_BLOCK));
    let next = first;
    for (; next < packets.length; next++) {
      const packet = packets[next]!;
      const before = blocks.length;
      const interfaces = this.#interfaceCount;
      this.#packet(blocks, packet);
      if (blocks.length > limit && !(force && next === first)) {
        // The packet goes to the next file, which describes its interface again.
        blocks.length = before;
        this.#forget(interfaces);
        break;
      }
      const { group, sequence } = packet;
      if (sequence !== undefined) this.#expected.set(group, (sequence + 1) >>> 0);
    }
    return { bytes: blocks.bytes.subarray(0, blocks.length), next };
  }

  #forget(from: number): void {
    if (this.#interfaceCount === from) return;
    for (const [name, id] of this.#interfaces) if (id >= from) this.#interfaces.delete(name);
    this.#interfaceCount = from;
  }

  #packet(blocks: Blocks, packet: Packet): void {
    const { prefix, hook } = packet;
    const outbound = hook === 'output' || hook === 'postrouting' || hook === 'egress';
    const device = outbound ? (packet.outDevice ?? packet.inDevice) : (packet.inDevice ?? packet.outDevice);
    const id = this.#interface(blocks, device ?? '');
    const comment = prefix === '' ? undefined : this.#text(prefix);
    const losses = this.#lossBefore(packet);
    const start = startOfPacket(packet);
    const length = endOfPacket(packet) - start;
    blocks.reserve(EPB_FIXED + length + 64 + (comment?.length ?? 0) + (losses?.length ?? 0));

    const block = blocks.begin(ENHANCED_PACKET);
    const time = timeOf(packet);
    blocks.u32(id);
    blocks.u32(Math.floor(time / U32));
    blocks.u32(time % U32);
    blocks.u32(length);
    blocks.u32(length);
    blocks.raw(sourceOfPacket(packet).bytes.subarray(start, start + length));
    if (comment !== undefined) blocks.option(OPT_COMMENT, comment);
    if (losses !== undefined) blocks.option(OPT_COMMENT, losses);
    blocks.u16(EPB_FLAGS);
    blocks.u16(4);
    blocks.u32(outbound ? OUTBOUND : INBOUND);
    blocks.end(block);
  }

  /** The number of the device in this file; its description is written when it comes first. */
  #interface(blocks: Blocks, device: string): number {
    const known = this.#interfaces.get(device);
    if (known !== undefined) return known;
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

  #lossBefore({ group, sequence }: Packet): Uint8Array | undefined {
    const expected = this.#expected.get(group);
    if (expected === undefined || sequence === undefined || sequence === expected) return undefined;
    const lost = (sequence - expected) >>> 0;
    // A lower number means that the kernel has begun to count again.
    if (lost >= 0x80000000) return undefined;
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
