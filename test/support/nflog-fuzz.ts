import { type Source, sourceOf } from '../../src/codec/index.ts';
import { SK_MEMINFO_DROPS } from '../../src/linux/sock_diag.ts';
import { SO_MEMINFO } from '../../src/linux/socket.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { NflogOperations } from '../../src/nflog/operations.ts';
import { Packet } from '../../src/nflog/packet.ts';
import { type LogSocket, PacketReader } from '../../src/nflog/reader.ts';
import { PcapFormat } from '../../src/nflog/sinks/pcap.ts';
import { PcapngFormat } from '../../src/nflog/sinks/pcapng.ts';
import { type RecordField, RecordSink } from '../../src/nflog/sinks/records.ts';
import { summarize } from '../../src/nflog/sinks/summary.ts';
import { Observer } from '../../src/observe.ts';
import { Random, Shapes } from './nflog-shapes.ts';

const ROOM = 2048;
const MARGIN = 64;
const NOTHING = -11;

/** What a fuzz run has seen; an input that breaks a rule ends it with an error that has the input in it. */
export interface FuzzResult {
  inputs: number;
  /** How often each kind of input was made. */
  kinds: Record<string, number>;
  /** Inputs that were refused with an error of this library. */
  refused: number;
  slowestMilliseconds: number;
}

/** So many inputs may take so much processor time: a hundred times what they do take, so that one that takes very long does not pass. */
const BLOCK = 1000;
const LIMIT_MICROSECONDS = 5_000_000;

/**
 * Feeds everything that reads what comes from a container with inputs that are nearly right: datagrams, packets, the packet inside, connections,
 * and answers to requests. The rules: nothing throws but errors of this library, and of packets nothing at all; the same bytes read the same
 * whatever stands around them (tried with every other input), so that nothing is read that does not belong to them; nothing takes long.
 */
export function fuzzNflog({ inputs, seed }: { inputs: number; seed: number }): FuzzResult {
  const result: FuzzResult = { inputs, kinds: {}, refused: 0, slowestMilliseconds: 0 };
  const { stackTraceLimit } = Error;
  // Many inputs are refused inside, and taking down a stack costs more than all the rest: an input that fails is in the message.
  Error.stackTraceLimit = 0;
  try {
    fuzz(inputs, seed, result);
    return result;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function fuzz(inputs: number, seed: number, result: FuzzResult): void {
  const random = new Random(seed);
  const targets: [string, number, Target][] = [
    ['packet', 4, new PacketTarget(shapes => shapes.packetMessage())],
    ['connection', 3, new PacketTarget(shapes => shapes.connectionMessage())],
    ['summary', 5, new SummaryTarget()],
    ['record', 2, new OutputTarget()],
    ['datagram', 3, new DatagramTarget()],
    ['answer', 1, new AnswerTarget()],
  ];
  const turns = targets.flatMap(([name, weight, target]) => Array.from({ length: weight }, () => ({ name, target })));
  let cpu = process.cpuUsage();
  for (let i = 0; i < inputs; i++) {
    if (i % BLOCK === 0) {
      const { user, system } = process.cpuUsage(cpu);
      if (user + system > LIMIT_MICROSECONDS)
        throw new Error(`${user + system} us for the inputs before ${i} of seed ${seed}`);
      cpu = process.cpuUsage();
    }
    const { name, target } = random.pick(turns);
    const begin = performance.now();
    try {
      if (!target.run(random)) result.refused++;
    } catch (error) {
      throw new Error(`input ${i} of seed ${seed}, a ${name}: ${target.shown}`, { cause: error });
    }
    const milliseconds = performance.now() - begin;
    if (milliseconds > result.slowestMilliseconds) result.slowestMilliseconds = milliseconds;
    result.kinds[name] = (result.kinds[name] ?? 0) + 1;
  }
}

abstract class Target {
  readonly bytes = new Uint8Array(ROOM);
  length = 0;

  get shown(): string {
    return Buffer.from(this.bytes.subarray(0, this.length)).toString('hex');
  }

  /** False where the input was refused with an error of this library. */
  abstract run(random: Random): boolean;

  protected make(random: Random, shape: (shapes: Shapes) => void): void {
    const shapes = new Shapes(this.bytes, random);
    shape(shapes);
    shapes.mutate(0);
    this.length = shapes.at;
  }
}

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
  read(random: Random, bytes: Uint8Array, length: number, read: Read): void {
    const chosen = random.below(4);
    for (const [i, { filler, source, reading }] of this.#all.entries()) {
      if (chosen === i) continue;
      source.bytes.set(bytes.subarray(0, length), MARGIN);
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

class PacketTarget extends Target {
  readonly #surroundings = new Surroundings();
  readonly #shape: (shapes: Shapes) => void;

  constructor(shape: (shapes: Shapes) => void) {
    super();
    this.#shape = shape;
  }

  run(random: Random): boolean {
    this.make(random, this.#shape);
    // The reader gives no packet without an nfgenmsg.
    if (this.length < 4) return true;
    const copied = random.chance(8);
    const printed = random.chance(8);
    this.#surroundings.read(random, this.bytes, this.length, (source, start, end, reading) => {
      const packet = new Packet(source, start, end, receipt);
      readAll(packet, reading);
      if (copied) {
        const again = new Reading();
        readAll(packet.copy(), again);
        if (!again.equals(reading)) throw new Error('a copy reads differently');
      }
      if (printed) reading.add(JSON.stringify(packet));
    });
    return true;
  }
}

/** What is made of packets: records, with and without addresses, and files. */
class OutputTarget extends Target {
  readonly #surroundings = new Surroundings();
  #reading = new Reading();
  readonly #sinks = ([{}, { redact: true }, { redact: { key: '0123456789abcdef' } }] as const).map(options => {
    const write = (fields: object) => this.#reading.add(fields);
    const logger = { debug: write, info: write, warn: write, error: write };
    return new RecordSink(logger, { ...options, fields: RECORD_FIELDS }, { name: 'web1', netns: 1 });
  });

  run(random: Random): boolean {
    this.make(random, shapes => (random.chance(3) ? shapes.connectionMessage() : shapes.packetMessage()));
    if (this.length < 4) return true;
    const sink = random.pick(this.#sinks);
    this.#surroundings.read(random, this.bytes, this.length, (source, start, end, reading) => {
      const packets = [new Packet(source, start, end, receipt), new Packet(source, start, end, receipt)];
      this.#reading = reading;
      sink.take(packets);
      for (const format of [new PcapFormat(), new PcapngFormat('web1')]) {
        const { bytes, next } = format.encode(packets, 0, 1 << 20, true);
        if (next !== 2) throw new Error(`${next} of two packets were written`);
        reading.add(bytes);
      }
    });
    return true;
  }
}

class SummaryTarget extends Target {
  readonly #surroundings = new Surroundings();

  run(random: Random): boolean {
    this.make(random, shapes => shapes.networkPacket());
    const family = random.pick(['ip', 'ip6', 'arp', 'bridge', 'netdev']);
    const etherType = random.pick([0x0800, 0x86dd, 0x0806, 0x8035, 0x1234]);
    this.#surroundings.read(random, this.bytes, this.length, ({ bytes }, start, end, reading) => {
      const line = summarize({
        prefix: 'p ',
        family,
        etherType,
        inDevice: 'eth0',
        outDevice: undefined,
        physInDevice: 'veth0',
        physOutDevice: undefined,
        linkHeader: undefined,
        uid: 0,
        gid: 0,
        mark: 1,
        payload: bytes.subarray(start, end),
      });
      // One line, of characters that move no cursor; some tens of bytes for each header at most.
      if (/[^\x20-\x7e]/.test(line)) throw new Error(`not a line: ${JSON.stringify(line)}`);
      if (line.length > 200 + 60 * (end - start)) throw new Error(`long: ${line}`);
      reading.add(line);
    });
    return true;
  }
}

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

class DatagramTarget extends Target {
  readonly #socket = new FuzzSocket();
  readonly #reader: PacketReader;
  readonly #reading = new Reading();
  #taken: readonly Packet[] = [];

  constructor() {
    super();
    const receiver = {
      room: Number.POSITIVE_INFINITY,
      take: (packets: readonly Packet[]) => {
        this.#taken = packets;
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
      devices,
      receiver,
      observer: new Observer(),
      receiveBufferBytes: 1 << 20,
    });
    this.#reader.start();
  }

  run(random: Random): boolean {
    this.make(random, shapes => shapes.datagram());
    const { received, lostPackets, rejectedSenders } = this.#reader;
    const port = random.chance(10) ? random.u32() : 0;
    this.#taken = [];
    this.#socket.next = { bytes: this.bytes, length: this.length, port };
    this.#socket.ready();
    const packets = this.#taken;
    if (this.#reader.received - received !== packets.length) throw new Error('packets were miscounted');
    if (this.#reader.lostPackets < lostPackets) throw new Error('losses went back');
    if (port !== 0 && (packets.length > 0 || this.#reader.rejectedSenders !== rejectedSenders + 1)) {
      throw new Error('a forged datagram was read');
    }
    // A packet has at least its two headers, and is read once.
    if (packets.length * 20 > this.length) throw new Error(`${packets.length} packets of ${this.length} bytes`);
    this.#reading.clear();
    for (const packet of packets) readAll(packet, this.#reading);
    return true;
  }
}

class AnswerTarget extends Target {
  readonly #socket = new FuzzSocket();
  readonly #operations: NflogOperations;

  constructor() {
    super();
    const receiver = { room: 1000, take() {}, hearsLosses: false, lost() {}, fail() {} };
    const socket = this.#socket;
    const reader = new PacketReader({
      socket,
      devices,
      receiver,
      observer: new Observer(),
      receiveBufferBytes: 1 << 20,
    });
    const netns = { inode: 1, readFile: () => '' };
    this.#operations = new NflogOperations(
      Object.assign(new Exchange(reader, 'nflog'), { reader, netns, settings: {} }),
    );
  }

  run(random: Random): boolean {
    this.#socket.answer = request => {
      const sequence = new DataView(request.buffer, request.byteOffset).getUint32(8, true);
      this.make(random, shapes => shapes.answer(sequence));
      this.#socket.next = { bytes: this.bytes, length: this.length, port: 0 };
    };
    try {
      runNow(random.chance(2) ? this.#operations.addGroup(5) : this.#operations.removeGroup(5));
      return true;
    } catch (error) {
      // NetlinkError, StateError, DecodeError: each has a code.
      if (typeof (error as { code?: unknown }).code !== 'string') throw error;
      return false;
    }
  }
}
