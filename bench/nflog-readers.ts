import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  createWriteStream,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type NetNs, Nflog } from 'netsteer';
import { pino } from 'pino';
import { STAMP } from '../test/support/flood.ts';
import { becomes, PATIENCE_MILLISECONDS } from '../test/support/wait.ts';
import { compiled, missing, scratch, versionOf } from './programs.ts';

/** What all readers of one case are set up with. */
export interface Setting {
  readonly netns: NetNs;
  readonly group: number;
  /** One datagram for each packet; by the rule, so that no reader can do otherwise. */
  readonly unbatched: boolean;
  /** Measure how long each packet takes. */
  readonly latencies: boolean;
}

export interface Reading {
  received: number;
  /** Of this reader, since the flood began. */
  cpuMicroseconds: number;
  /** Microseconds from the send of each packet to its being read. */
  latencies?: number[];
  latencyMicroseconds?: { p50: number; p99: number };
}

export interface Running {
  /** The flood begins. */
  mark(): void;
  /** All has been sent, so many packets: reads what there is, and ends. `starting`: microseconds that this process spent on the generator. */
  finish(sent: number, starting: number): Promise<Reading>;
}

export interface Reader {
  readonly name: string;
  start(setting: Setting): Promise<Running>;
}

const RECEIVE_BUFFER = 8 * 1024 * 1024;
const BATCH = { packets: 1000, milliseconds: 10, bufferBytes: 65536 };
/** Nothing more comes when nothing has come for so long. */
const QUIET_MILLISECONDS = 150;
/** libpcap has no setting for the kernel's own second. */
const KERNEL_TIMEOUT_MILLISECONDS = 1100;

/** Consumes what a log brings, to a file or not. */
interface Consumer {
  /** Stops when all that was read has been dealt with, and the file is closed. */
  end(): Promise<unknown>;
  /** How many packets there were, by what it has made of them. */
  count(): number;
}

/** This library in this process; the time of all its threads is counted. */
function own(name: string, consume: (log: Nflog, file: string) => Consumer): Reader {
  return {
    name,
    async start({ netns, group, latencies }) {
      const log = Nflog.open({ netns, groups: [group], queue: BATCH, receiveBufferBytes: RECEIVE_BUFFER });
      const file = outputFile();
      const consumer = consume(log, file);
      const times: number[] = [];
      if (latencies) {
        log.onBatch(packets => {
          const now = process.hrtime.bigint();
          for (const { payload } of packets) times.push(microsecondsSince(payload, now));
        });
      }
      let cpu = process.cpuUsage();
      return {
        mark: () => {
          cpu = process.cpuUsage();
        },
        finish: async (sent, starting) => {
          await settled(() => log.stats.received + log.stats.lostPackets, sent);
          await consumer.end();
          const { user, system } = process.cpuUsage(cpu);
          const { received } = log.stats;
          await log[Symbol.asyncDispose]();
          const count = consumer.count();
          rmSync(file, { force: true });
          if (count !== received) throw new Error(`${received} packets were read, and ${count} dealt with`);
          return { received, cpuMicroseconds: user + system - starting, ...(latencies && { latencies: times }) };
        },
      };
    },
  };
}

function microsecondsSince(payload: Uint8Array, now: bigint): number {
  const at = payload.byteOffset + 28 + STAMP.monotonic;
  return Number(now - new DataView(payload.buffer).getBigUint64(at)) / 1000;
}

async function settled(count: () => number, wanted: number): Promise<void> {
  await becomes(() => count() >= wanted);
}

export const counted = own('netsteer', log => {
  let count = 0;
  const stop = log.onColumns(columns => {
    count += columns.length;
  });
  return { end: async () => stop(), count: () => count };
});

/** An object for each packet, of which three properties are asked. */
export const eachPacket = own('netsteer, packets', log => {
  let count = 0;
  let seen = 0;
  const stop = log.onBatch(packets => {
    for (const { prefix, mark, payload } of packets) {
      if (prefix === '' && mark === 0) seen += payload.length;
      count++;
    }
  });
  return { end: async () => stop(), count: () => (seen < count ? 0 : count) };
});

export const toPcap = own('netsteer, pcap', (log, file) => {
  const capture = log.toPcap(createWriteStream(file));
  return { end: () => capture.end(), count: () => countPcap(file).received };
});

export const toPcapng = own('netsteer, pcapng', (log, file) => {
  const capture = log.toPcapng(createWriteStream(file));
  return { end: () => capture.end(), count: () => capture.packets };
});

export const toJson = own('netsteer, pino', (log, file) => {
  const destination = pino.destination({ dest: file, minLength: 8192, sync: true });
  const sink = log.to(pino(destination));
  const end = async () => {
    await sink.end();
    destination.flushSync();
    destination.end();
  };
  return { end, count: () => countLines(file) };
});

/** A C loop that makes nothing of the packets. */
export function floor(): Reader | undefined {
  const program = compiled('floor-nflog');
  if (program === undefined) return undefined;
  return {
    name: 'floor',
    async start({ netns, group }) {
      const { packets, milliseconds, bufferBytes } = BATCH;
      const numbers = [group, 65531, packets, milliseconds / 10, bufferBytes, RECEIVE_BUFFER, 1 << 24];
      const child = await started(netns, group, program, numbers.map(String));
      return {
        mark() {},
        finish: async () => {
          await quiet(child, QUIET_MILLISECONDS);
          const { stdout } = await ended(child, 'SIGTERM');
          const read = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
            packets: number;
            cpuMicroseconds: number;
            p50: number;
            p99: number;
          };
          const { packets: received, cpuMicroseconds, p50, p99 } = read;
          return { received, cpuMicroseconds, latencyMicroseconds: { p50, p99 } };
        },
      };
    },
  };
}

/** A program that writes what it reads to a file, which is counted. */
function writer(
  name: string,
  command: (setting: Setting, file: string) => { program: string; parameters: string[] },
  end: { signal: NodeJS.Signals; timeout: (setting: Setting) => number },
  count: (file: string, stderr: string) => { received: number; latencies?: number[] },
): Reader {
  return {
    name,
    async start(setting) {
      const file = outputFile();
      const { program, parameters } = command(setting, file);
      const child = await started(setting.netns, setting.group, program, parameters);
      let before = 0;
      return {
        mark: () => {
          before = cpuOf(child);
        },
        finish: async () => {
          await quiet(child, end.timeout(setting));
          const cpuMicroseconds = cpuOf(child) - before;
          const { stderr } = await ended(child, end.signal);
          const { received, latencies } = count(file, stderr);
          rmSync(file, { force: true });
          return { received, cpuMicroseconds, ...(setting.latencies && latencies && { latencies }) };
        },
      };
    },
  };
}

export function tcpdump(): { reader: Reader; version: string } | undefined {
  const version = versionOf('tcpdump', '--version');
  if (version === undefined) return undefined;
  const reader = writer(
    'tcpdump',
    ({ group }, file) => ({
      program: 'tcpdump',
      parameters: ['-i', `nflog:${group}`, '-B', String(RECEIVE_BUFFER / 1024), '-w', file],
    }),
    // It is held to the kernel's own batches: 100 packets, 3776 bytes, one second.
    {
      signal: 'SIGINT',
      timeout: ({ unbatched }) => (unbatched ? QUIET_MILLISECONDS : KERNEL_TIMEOUT_MILLISECONDS),
    },
    countPcap,
  );
  return { reader, version };
}

/** ulogd2 with one of its outputs. */
function ulogd(name: string, stack: string, output: string, count: (file: string) => Counted): Reader | undefined {
  const plugins = pluginDirectory();
  if (plugins === undefined) return undefined;
  const used = stack.split(',').map(each => each.split(':')[1]!);
  const all = readdirSync(plugins);
  const files = used.flatMap(plugin => all.find(file => file.endsWith(`_${plugin}.so`)) ?? []);
  if (files.length < used.length) {
    missing(name, `no plugin for it in ${plugins} (apt-get install ulogd2-${output})`);
    return undefined;
  }
  return writer(
    name,
    ({ group }, file) => {
      const config = scratch('ulogd.conf');
      writeFileSync(
        config,
        [
          '[global]',
          'logfile="/dev/null"',
          'loglevel=5',
          ...files.map(each => `plugin="${join(plugins, each)}"`),
          `stack=${stack}`,
          '[log1]',
          `group=${group}`,
          `netlink_socket_buffer_size=${RECEIVE_BUFFER / 2}`,
          `netlink_socket_buffer_maxsize=${RECEIVE_BUFFER / 2}`,
          `netlink_qthreshold=${BATCH.packets}`,
          `netlink_qtimeout=${BATCH.milliseconds / 10}`,
          `[${output}1]`,
          `file="${file}"`,
          'sync=0',
          '',
        ].join('\n'),
      );
      return { program: 'ulogd', parameters: ['-c', config] };
    },
    { signal: 'SIGTERM', timeout: () => QUIET_MILLISECONDS },
    count,
  );
}

export function ulogdPcap(): { reader: Reader; version: string } | undefined {
  const version = versionOf('ulogd', '--version');
  const reader = version && ulogd('ulogd2', 'log1:NFLOG,base1:BASE,pcap1:PCAP', 'pcap', countPcap);
  return version && reader ? { reader, version } : undefined;
}

export function ulogdJson(): Reader | undefined {
  const stack = 'log1:NFLOG,base1:BASE,ifi1:IFINDEX,ip2str1:IP2STR,mac2str1:HWHDR,json1:JSON';
  return ulogd('ulogd2 JSON', stack, 'json', file => ({ received: countLines(file) }));
}

function pluginDirectory(): string | undefined {
  const found = readdirSync('/usr/lib')
    .map(each => join('/usr/lib', each, 'ulogd'))
    .find(each => existsSync(each));
  if (found === undefined)
    missing('ulogd2', 'its plugins are not in /usr/lib (apt-get install ulogd2 ulogd2-json ulogd2-pcap)');
  return found;
}

/** In memory where there is room: a disk that writes back takes a processor's time from everyone. */
function outputFile(): string {
  const file = existsSync('/dev/shm') ? `/dev/shm/netsteer-bench-${process.pid}` : scratch('packets');
  rmSync(file, { force: true });
  return file;
}

const outputs = new WeakMap<ChildProcess, { stdout: Buffer[]; stderr: Buffer[] }>();

/** Starts a reader; it is bound when this returns. */
async function started(netns: NetNs, group: number, program: string, parameters: string[]): Promise<ChildProcess> {
  const child = netns.run(() => spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] }));
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout!.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr!.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  outputs.set(child, output);
  let failure: Error | undefined;
  child.once('error', error => {
    failure = error;
  });
  const line = new RegExp(`^ *${group} `, 'm');
  const isBound = () => line.test(netns.readFile('/proc/net/netfilter/nfnetlink_log'));
  const hasEnded = () => failure !== undefined || child.exitCode !== null;
  await becomes(() => hasEnded() || isBound());
  if (hasEnded() || !isBound()) {
    child.kill('SIGKILL');
    throw failure ?? new Error(`${program} did not bind: ${Buffer.concat(output.stderr).toString().slice(0, 500)}`);
  }
  // The settings follow the binding, one by one.
  await delay(50);
  return child;
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<{ stdout: string; stderr: string }> {
  if (child.exitCode === null) {
    const closed = new Promise(resolve => child.once('close', resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MILLISECONDS);
    await closed;
    clearTimeout(timer);
  }
  const { stdout, stderr } = outputs.get(child)!;
  return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** Microseconds of a process with one thread so far. */
function cpuOf({ pid }: ChildProcess): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

/** Returns when the process has had nothing to do for so long. */
async function quiet(child: ChildProcess, milliseconds: number): Promise<void> {
  const end = performance.now() + PATIENCE_MILLISECONDS;
  for (let last = -1, since = performance.now(); performance.now() < end; await delay(10)) {
    const cpu = cpuOf(child);
    if (cpu !== last) since = performance.now();
    else if (performance.now() - since >= milliseconds) return;
    last = cpu;
  }
}

interface Counted {
  received: number;
  latencies?: number[];
}

const PCAP_HEADER = 24;
const RECORD_HEADER = 16;

/** The packets of a pcap file, and how long after their stamps the program wrote them down. */
function countPcap(file: string): Counted {
  const bytes = readFileSync(file);
  const latencies: number[] = [];
  let received = 0;
  for (let at = PCAP_HEADER; at + RECORD_HEADER <= bytes.length; received++) {
    const length = bytes.readUInt32LE(at + 8);
    const written = bytes.readUInt32LE(at) * 1e6 + bytes.readUInt32LE(at + 4);
    const record = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length);
    const stamp = record.indexOf(STAMP.text, 0, 'latin1');
    if (stamp >= 0 && stamp + STAMP.length <= length) {
      latencies.push(written - Number(record.readBigUInt64BE(stamp + STAMP.realtime) / 1000n));
    }
    at += RECORD_HEADER + length;
  }
  return { received, latencies };
}

function countLines(file: string): number {
  const descriptor = openSync(file, 'r');
  const chunk = Buffer.alloc(1 << 20);
  let lines = 0;
  for (let length = readSync(descriptor, chunk); length > 0; length = readSync(descriptor, chunk)) {
    for (let at = chunk.indexOf(10); at >= 0 && at < length; at = chunk.indexOf(10, at + 1)) lines++;
  }
  closeSync(descriptor);
  return lines;
}
