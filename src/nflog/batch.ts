import type { Source } from '../codec/index.ts';
import { SEQUENCE, TIMESTAMP } from './attributes.ts';
import type { DeviceNames } from './devices.ts';
import {
  endOfPacket,
  NFGENMSG_LENGTH,
  Packet,
  type Receipt,
  type RuleResolver,
  receiptOfPacket,
  sourceOfPacket,
  startOfPacket,
} from './packet.ts';
import { Place } from './slab.ts';

/** What the packets of one log have in common. */
export interface Surroundings {
  readonly devices: DeviceNames;
  readonly ruleOf?: RuleResolver | undefined;
}

const NO_DEVICES: Surroundings = { devices: { nameOf: () => undefined } };

/** Of each packet: where it begins and ends, and where its time and its sequence number stand (0: it has none). */
export interface Columns {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly stamps: Int32Array;
  readonly sequences: Int32Array;
}

/**
 * Packets that were read together, as columns: where each begins and ends. Consumers that only count, or write files, need no more. The
 * others ask for the packets themselves, and the memory is theirs from then on.
 *
 * A batch is read anew when all consumers have had it, so none of them may hold it.
 */
export class PacketBatch {
  readonly #surroundings: Surroundings;
  readonly #place = new Place();
  #starts = new Int32Array(256);
  #ends = new Int32Array(256);
  /** Where the kernel's time of each packet stands; 0 if it has none. */
  #stamps = new Int32Array(256);
  /** Where its sequence number stands; 0 if it has none. */
  #sequences = new Int32Array(256);
  /** Of each datagram: its memory, its first packet, and when it was received. */
  #sources: Source[] = [];
  #firsts: number[] = [];
  #times: number[] = [];
  /** The datagram that was looked at last: packets are looked at in their order. */
  #datagram = 0;
  #packets: readonly Packet[] | undefined;
  /** Columns filled from packets; only of a batch that was made of packets. */
  #filled = true;
  length = 0;

  constructor(surroundings: Surroundings = NO_DEVICES) {
    this.#surroundings = surroundings;
  }

  /** Packets that have waited in a backlog. */
  static of(packets: readonly Packet[]): PacketBatch {
    const batch = new PacketBatch();
    batch.#packets = packets;
    batch.#filled = false;
    batch.length = packets.length;
    return batch;
  }

  /** A datagram begins; its packets follow by `add`. */
  begin(source: Source, start: number, end: number, microseconds: number): void {
    this.#place.add(source, start, end);
    this.#sources.push(source);
    this.#firsts.push(this.length);
    this.#times.push(microseconds);
  }

  /** `timestamp` is the place of the kernel's time, `sequence` that of the number; 0 if there is none. */
  add(start: number, end: number, timestamp: number, sequence: number): void {
    const { length } = this;
    if (length === this.#starts.length) this.#grow(length * 2);
    this.#starts[length] = start;
    this.#ends[length] = end;
    this.#stamps[length] = timestamp;
    this.#sequences[length] = sequence;
    this.length = length + 1;
  }

  #grow(size: number): void {
    const larger = (column: Int32Array) => {
      const grown = new Int32Array(size);
      grown.set(column);
      return grown;
    };
    this.#starts = larger(this.#starts);
    this.#ends = larger(this.#ends);
    this.#stamps = larger(this.#stamps);
    this.#sequences = larger(this.#sequences);
  }

  /** The packets as objects, which anybody may keep. */
  packets(): readonly Packet[] {
    this.#packets ??= this.passing();
    return this.#packets;
  }

  /** The packets as objects for consumers that let go of them at once: the memory is read over afterwards. */
  passing(): readonly Packet[] {
    if (this.#packets !== undefined) return this.#packets;
    const { devices, ruleOf } = this.#surroundings;
    const packets: Packet[] = [];
    for (let datagram = 0; datagram < this.#firsts.length; datagram++) {
      const source = this.#sources[datagram]!;
      const receipt: Receipt = { microseconds: this.#times[datagram]!, devices, ruleOf };
      const end = this.#firsts[datagram + 1] ?? this.length;
      for (let i = this.#firsts[datagram]!; i < end; i++) {
        packets.push(new Packet(source, this.#starts[i]!, this.#ends[i]!, receipt));
      }
    }
    return packets;
  }

  /** One packet as an object. Its memory is read over, so a copy must be kept. */
  packet(i: number): Packet {
    const made = this.#packets?.[i];
    if (made !== undefined) return made;
    const datagram = this.#datagramOf(i);
    const receipt: Receipt = { microseconds: this.#times[datagram]!, ...this.#surroundings };
    return new Packet(this.#sources[datagram]!, this.#starts[i]!, this.#ends[i]!, receipt);
  }

  /** Ready for the next datagrams. Memory of which nobody has packets is read over. */
  clear(): void {
    this.#place.clear(this.#packets === undefined);
    this.#packets = undefined;
    this.#sources.length = 0;
    this.#firsts.length = 0;
    this.#times.length = 0;
    this.#datagram = 0;
    this.length = 0;
  }

  #fill(): void {
    this.#filled = true;
    this.length = 0;
    for (const packet of this.#packets!) {
      this.#sources.push(sourceOfPacket(packet));
      this.#firsts.push(this.length);
      this.#times.push(receiptOfPacket(packet).microseconds);
      const [start, end] = [startOfPacket(packet), endOfPacket(packet)];
      const source = sourceOfPacket(packet);
      const from = start + NFGENMSG_LENGTH;
      this.add(start, end, TIMESTAMP.find(source, from, end), SEQUENCE.find(source, from, end));
    }
  }

  #datagramOf(i: number): number {
    if (!this.#filled) this.#fill();
    const firsts = this.#firsts;
    let datagram = this.#datagram;
    if (i < firsts[datagram]!) datagram = 0;
    while (datagram + 1 < firsts.length && firsts[datagram + 1]! <= i) datagram++;
    this.#datagram = datagram;
    return datagram;
  }

  /** The memory of a packet. */
  source(i: number): Source {
    return this.#sources[this.#datagramOf(i)]!;
  }

  /** Where a packet's nfgenmsg begins. */
  start(i: number): number {
    if (!this.#filled) this.#fill();
    return this.#starts[i]!;
  }

  /** Where a packet ends. */
  end(i: number): number {
    if (!this.#filled) this.#fill();
    return this.#ends[i]!;
  }

  /**
   * The columns, for those who look at all packets: where each begins and ends, and where its time and its number stand (0: it has none).
   */
  columns(): Columns {
    if (!this.#filled) this.#fill();
    return { starts: this.#starts, ends: this.#ends, stamps: this.#stamps, sequences: this.#sequences };
  }

  /** The first packet behind those that were received together with a packet. They have one memory and one time of receipt. */
  nextDatagram(i: number): number {
    return this.#firsts[this.#datagramOf(i) + 1] ?? this.length;
  }

  /** When a packet was received, in microseconds since 1970. */
  received(i: number): number {
    return this.#times[this.#datagramOf(i)]!;
  }

  /** Who knows the names of a packet's devices. */
  devices(i: number): DeviceNames {
    return this.#packets === undefined ? this.#surroundings.devices : receiptOfPacket(this.#packets[i]!).devices;
  }
}
