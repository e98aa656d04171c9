import { type Source, sourceOf } from '../../../src/codec/index.ts';
import { SK_MEMINFO_DROPS } from '../../../src/linux/sock_diag.ts';
import { SO_MEMINFO } from '../../../src/linux/socket.ts';
import { Exchange, NLMSG_HDRLEN } from '../../../src/netlink/index.ts';
import { runNow } from '../../../src/netlink/operation.ts';
import { PacketBatch } from '../../../src/nflog/batch.ts';
import { summarize } from '../../../src/nflog/headers/summary.ts';
import type { RecordField } from '../../../src/nflog/index.ts';
import { NflogOperations } from '../../../src/nflog/operations.ts';
import { Packet } from '../../../src/nflog/packet.ts';
import { type LogSocket, PacketReader } from '../../../src/nflog/reader.ts';
import { Output } from '../../../src/nflog/sinks/output.ts';
import { PcapFormat } from '../../../src/nflog/sinks/pcap.ts';
import { PcapngFormat } from '../../../src/nflog/sinks/pcapng.ts';
import { RecordSink } from '../../../src/nflog/sinks/records.ts';
import { Observer } from '../../../src/observe.ts';
import type { Target } from './judge.ts';
import { Shapes } from './nflog-shapes.ts';
import type { Random } from './random.ts';

const ROOM = 2048;
const MARGIN = 64;
const NOTHING = -11;
const MIN_PACKET = 4;

/** One input of this many is one that was kept, with other changes. */
const KEPT_EVERY = 5;

/** Makes inputs of one shape, or changes one that has been kept. */
const shaped =
  (shape: (shapes: Shapes) => void): Target['make'] =>
  (random, pool) => {
    const shapes = new Shapes(new Uint8Array(ROOM), random);
    if (pool.length > 0 && random.chance(KEPT_EVERY)) shapes.copy(random.pick(pool));
    else shape(shapes);
    shapes.mutate(0);
    return shapes.bytes.subarray(0, shapes.at);
  };

/** What reading an input has brought: primitive values in their order, with the names of properties. Far cheaper to compare than a text of them. */
class Reading {
  readonly values: unknown[] = [];

  add(value: unknown): void {
    if (typeof value !== 'object' || value === null) this.values.push(value);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (Array.isArray(value)) {
      this.values.push(value.length);
      for (const each of value) this.add(each);
    } else {
      for (const key in value) {
        this.values.push(key);
        this.add((value as Record<string, unknown>)[key]);
      }
    }
  }

  /** Their number and their FNV-1a. */
  #bytes(bytes: Uint8Array): void {
    let hash = 0x811c9dc5;
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    this.values.push(bytes.length, hash);
  }

  clear(): void {
    this.values.length = 0;
  }

  equals({ values }: Reading): boolean {
    if (values.length !== this.values.length) return false;
    for (let i = 0; i < values.length; i++) if (!Object.is(values[i], this.values[i])) return false;
    return true;
  }

  get shown(): string {
    return this.values.map(String).join(' ');
  }
}

/** Two memories that differ in everything but the input. */
class Surroundings {
  readonly #all = [0x00, 0xff].map(filler => ({
    filler,
    source: sourceOf(new Uint8Array(ROOM + 2 * MARGIN).fill(filler)),
    reading: new Reading(),
  }));

  /** Reads one input in two in both, and throws if that makes a difference; the others in one of them. */
  read(random: Random, input: Uint8Array, read: Read): void {
    const { length } = input;
    const chosen = random.below(4);
    for (const [i, { filler, source, reading }] of this.#all.entries()) {
      if (chosen === i) continue;
      source.bytes.set(input, MARGIN);
      source.bytes.fill(filler, MARGIN + length, MARGIN + length + MARGIN);
      reading.clear();
      read(source, MARGIN, MARGIN + length, reading);
    }
    const [one, two] = [this.#all[0]!.reading, this.#all[1]!.reading];
    if (chosen > 1 && !one.equals(two)) {
      throw new Error(`it depends on what stands around it: ${one.shown} or ${two.shown}`);
    }
  }
}

const SURROUNDINGS = new Surroundings();

type Read = (source: Source, start: number, end: number, reading: Reading) => void;

const devices = { nameOf: (index: number) => (index % 2 === 0 ? undefined : 'eth0') };
const receipt = { microseconds: 1, devices };

/** All properties of a packet that can be read. */
const GETTERS = Object.entries(Object.getOwnPropertyDescriptors(Packet.prototype))
  .filter(([, { get }]) => get !== undefined)
  .map(([name]) => name as keyof Packet);

function readAll(packet: Packet, reading: Reading): void {
  for (const name of GETTERS) reading.add(packet[name]);
  reading.add(packet.summary());
}

const RECORD_FIELDS: readonly RecordField[] = [
  'prefix',
  'vlan',
  'hardwareAddress',
  'protocol',
  'source',
  'destination',
  'tcpFlags',
  'conntrack',
  'headers',
  'summary',
];

function readPacket(input: Uint8Array, random: Random): void {
  // The reader gives no packet without an nfgenmsg.
  if (input.length < MIN_PACKET) return;
  const copied = random.chance(8);
  const printed = random.chance(8);
  SURROUNDINGS.read(random, input, (source, start, end, reading) => {
    const packet = new Packet(source, start, end, receipt);
    readAll(packet, reading);
    if (copied) {
      const again = new Reading();
      readAll(packet.copy(), again);
      if (!again.equals(reading)) throw new Error('a copy reads differently');
    }
    if (printed) reading.add(JSON.stringify(packet));
  });
}

/** Packets as the kernel hands them over. */
const packets: Target = {
  name: 'NFLOG packet',
  weight: 4,
  seeds: [],
  make: shaped(shapes => shapes.packetMessage()),
  read: readPacket,
};

/** Packets that come with their connection. */
const connections: Target = {
  name: 'NFLOG connection',
  weight: 3,
  seeds: [],
  make: shaped(shapes => shapes.connectionMessage()),
  read: readPacket,
};

/** What is made of packets: records, with and without addresses, and files. */
class OutputTarget implements Target {
  readonly name = 'NFLOG record';
  readonly weight = 2;
  readonly seeds = [];
  readonly make = shaped(shapes => (shapes.random.chance(3) ? shapes.connectionMessage() : shapes.packetMessage()));
  #reading = new Reading();
  readonly #sinks = ([{}, { redact: true }, { redact: { key: '0123456789abcdef' } }] as const).map(options => {
    const write = (fields: object) => this.#reading.add(fields);
    const logger = { debug: write, info: write, warn: write, error: write };
    return new RecordSink(logger, { ...options, fields: RECORD_FIELDS }, { name: 'web1', netns: 1 });
  });

  read(input: Uint8Array, random: Random): void {
    if (input.length < MIN_PACKET) return;
    const sink = random.pick(this.#sinks);
    SURROUNDINGS.read(random, input, (source, start, end, reading) => {
      const packets = [new Packet(source, start, end, receipt), new Packet(source, start, end, receipt)];
      this.#reading = reading;
      const batch = PacketBatch.of(packets);
      sink.take(batch);
      for (const format of [new PcapFormat(), new PcapngFormat('web1')]) {
        const output = new Output();
        const next = format.encode(batch, 0, 1 << 20, true, output);
        if (next !== 2) throw new Error(`${next} of two packets were written`);
        reading.add(output.bytes.subarray(0, output.length));
      }
    });
  }
}

/** The packet inside, as a line. */
const summaries: Target = {
  name: 'NFLOG summary',
  weight: 5,
  seeds: [],
  make: shaped(shapes => shapes.networkPacket()),
  read(input, random) {
    const family = random.pick(['ip', 'ip6', 'arp', 'bridge', 'netdev']);
    const etherType = random.pick([0x0800, 0x86dd, 0x0806, 0x8035, 0x1234]);
    SURROUNDINGS.read(random, input, ({ bytes }, start, end, reading) => {
      const line = summarize(
        {
          prefix: 'p ',
          family,
          etherType,
          inDevice: 'eth0',
          outDevice: undefined,
          physInDevice: 'veth0',
          physOutDevice: undefined,
          linkHeader: undefined,
          payload: bytes.subarray(start, end),
        },
        'UID=0 MARK=0x1 ',
      );
      // One line, of characters that move no cursor; some tens of bytes for each header at most.
      if (/[^\x20-\x7e]/.test(line)) throw new Error(`not a line: ${JSON.stringify(line)}`);
      if (line.length > 200 + 60 * (end - start)) throw new Error(`long: ${line}`);
      reading.add(line);
    });
  },
};

/** A socket in memory: what it is given comes once. */
class FuzzSocket implements LogSocket {
  readonly netnsInode = 1;
  closed = false;
  next: { bytes: Uint8Array; length: number; port: number } | undefined;
  /** Makes the answer to a request. */
  answer: ((request: Uint8Array) => void) | undefined;
  ready = () => {};

  receiveFrom(into: Uint8Array, address: Uint8Array): number {
    const { next } = this;
    if (next === undefined) return NOTHING;
    this.next = undefined;
    new DataView(address.buffer).setUint32(4, next.port, true);
    into.set(next.bytes.subarray(0, next.length));
    return next.length;
  }
  send(bytes: Uint8Array, length: number): number {
    this.answer?.(bytes);
    return length;
  }
  sendOffThread = async (bytes: Uint8Array, length: number) => this.send(bytes, length);
  receive = () => NOTHING;
  receiveOffThread = async () => NOTHING;
  reserve = () => 1 << 20;
  getOptions(_level: number, name: number, count: number): Uint32Array {
    const all = new Uint32Array(count);
    if (name === SO_MEMINFO) all[SK_MEMINFO_DROPS] = 0;
    return all;
  }
  watch(ready: () => void) {
    this.ready = ready;
    return { ref() {}, unref() {}, close() {} };
  }
  async close() {
    this.closed = true;
  }
}

class DatagramTarget implements Target {
  readonly name = 'NFLOG datagram';
  readonly weight = 3;
  readonly seeds = [];
  readonly make = shaped(shapes => shapes.datagram());
  readonly #socket = new FuzzSocket();
  readonly #reader: PacketReader;
  readonly #reading = new Reading();
  #taken: readonly Packet[] = [];

  constructor() {
    const receiver = {
      room: Number.POSITIVE_INFINITY,
      take: (batch: PacketBatch) => {
        this.#taken = batch.packets();
      },
      hearsLosses: true,
      lost() {},
      fail(error: unknown) {
        throw error;
      },
    };
    const socket = this.#socket;
    this.#reader = new PacketReader({
      socket,
      surroundings: { devices },
      receiver,
      observer: new Observer(),
      receiveBufferBytes: 1 << 20,
    });
    this.#reader.start();
  }

  read(input: Uint8Array, random: Random): void {
    const { received, lostPackets, rejectedSenders } = this.#reader;
    const port = random.chance(10) ? random.u32() : 0;
    this.#taken = [];
    this.#socket.next = { bytes: input, length: input.length, port };
    this.#socket.ready();
    const packets = this.#taken;
    if (this.#reader.received - received !== packets.length) throw new Error('packets were miscounted');
    if (this.#reader.lostPackets < lostPackets) throw new Error('losses went back');
    if (port !== 0 && (packets.length > 0 || this.#reader.rejectedSenders !== rejectedSenders + 1)) {
      throw new Error('a forged datagram was read');
    }
    // A packet has at least its two headers, and is read once.
    if (packets.length * 20 > input.length) throw new Error(`${packets.length} packets of ${input.length} bytes`);
    this.#reading.clear();
    for (const packet of packets) readAll(packet, this.#reading);
  }
}

/** An answer with this number is given the number of the request that it comes for. */
const SEQUENCE_OF_REQUEST = 0;
const SEQUENCE_AT = 8;

class AnswerTarget implements Target {
  readonly name = 'NFLOG answer';
  readonly weight = 1;
  readonly seeds = [];
  readonly make = shaped(shapes => shapes.answer(SEQUENCE_OF_REQUEST));
  readonly #socket = new FuzzSocket();
  readonly #operations: NflogOperations;

  constructor() {
    const receiver = { room: 1000, take() {}, hearsLosses: false, lost() {}, fail() {} };
    const socket = this.#socket;
    const reader = new PacketReader({
      socket,
      surroundings: { devices },
      receiver,
      observer: new Observer(),
      receiveBufferBytes: 1 << 20,
    });
    const netns = { inode: 1, readFile: () => '' };
    this.#operations = new NflogOperations(
      Object.assign(new Exchange(reader, 'nflog'), { reader, netns, settings: {} }),
    );
  }

  read(input: Uint8Array, random: Random): void {
    this.#socket.answer = request => {
      const bytes = Uint8Array.from(input);
      const view = new DataView(bytes.buffer);
      if (bytes.length >= NLMSG_HDRLEN && view.getUint32(SEQUENCE_AT, true) === SEQUENCE_OF_REQUEST)
        bytes.set(request.subarray(SEQUENCE_AT, SEQUENCE_AT + 4), SEQUENCE_AT);
      this.#socket.next = { bytes, length: bytes.length, port: 0 };
    };
    runNow(random.chance(2) ? this.#operations.addGroup(5) : this.#operations.removeGroup(5));
  }
}

/** A packet is never refused, not even with an error of this library: what is wrong with it is left out. */
const neverRefused = (target: Target): Target => ({
  name: target.name,
  weight: target.weight,
  seeds: target.seeds,
  make: target.make,
  read(input, random) {
    try {
      target.read(input, random);
    } catch (error) {
      throw new Error(`a packet was refused: ${error instanceof Error ? error.stack : error}`, { cause: error });
    }
  },
});

/** All that reads what comes from a container to its log. */
export const nflogTargets = (): Target[] => [
  ...[packets, connections, summaries, new OutputTarget(), new DatagramTarget()].map(neverRefused),
  new AnswerTarget(),
];
