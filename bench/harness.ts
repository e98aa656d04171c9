import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** One run of one program. */
export interface Sample {
  seconds: number;
  cpuMicroseconds?: number;
  /** Of single operations, where those are what is asked for. */
  latencies?: number[];
  /** Percentiles of a program that has computed them itself. */
  latencyMicroseconds?: { p50: number; p99: number };
  /** For each operation; garbage for the most part. */
  allocatedBytes?: number;
  /** Of the operations, those that never arrived. */
  lost?: number;
}

/** One of the programs that are compared. */
export interface Program {
  /** 'netsteer', 'nft', 'ipvsadm', 'floor' ... */
  readonly name: string;
  /** Does it once, and says what it took. What is not to be timed happens outside of the span. */
  run(): Sample | Promise<Sample>;
}

/** One line of the results file. */
export interface Result {
  case: string;
  program: string;
  runs: number;
  seconds: { median: number; min: number; max: number };
  operationsPerSecond?: number;
  cpuMicroseconds?: number;
  latencyMicroseconds?: { p50: number; p99: number };
  allocatedBytes?: number;
  /** In all runs together. */
  lost?: number;
}

/** What a benchmark needs is not on this machine: its message says what, and where it can be had. */
export class Unavailable extends Error {}

export interface CompareOptions {
  /** What one run does, for operations per second. */
  readonly operations?: number;
  readonly rounds: number;
  /** Rounds before those that count; default 1. */
  readonly warmUp?: number;
  /** Milliseconds of rest before each run: the kernel clears up behind what is closed. */
  readonly rest?: number;
}

setFlagsFromString('--expose-gc');
/**
 * What one program leaves behind must not be cleared up in the time of the next. Only what is young: a full collection also takes the hidden
 * classes of objects that are not there at the moment, and with them the optimized code, which no service would do before each call.
 */
const collectYoung = runInNewContext('gc') as (options: { type: 'minor' }) => void;

/** Runs the programs in turns, so that whatever else the machine does hits all of them, and another one first in each round. */
export async function compare(name: string, programs: readonly Program[], options: CompareOptions): Promise<Result[]> {
  const { rounds, warmUp = 1, rest = 0 } = options;
  const samples = new Map<Program, Sample[]>(programs.map(program => [program, []]));
  for (let round = -warmUp; round < rounds; round++) {
    for (let i = 0; i < programs.length; i++) {
      const program = programs[(i + round + warmUp) % programs.length]!;
      collectYoung({ type: 'minor' });
      if (rest > 0) await delay(rest);
      const sample = await program.run();
      if (round >= 0) samples.get(program)!.push(sample);
    }
  }
  return programs.map(program => resultOf(name, program.name, samples.get(program)!, options.operations));
}

export function resultOf(name: string, program: string, samples: readonly Sample[], operations?: number): Result {
  const seconds = samples.map(sample => sample.seconds).sort((a, b) => a - b);
  const result: Result = {
    case: name,
    program,
    runs: samples.length,
    seconds: { median: percentile(seconds, 50), min: seconds[0]!, max: seconds.at(-1)! },
  };
  if (operations !== undefined) result.operationsPerSecond = operations / result.seconds.median;
  const cpu = samples.flatMap(sample => sample.cpuMicroseconds ?? []);
  if (cpu.length > 0) result.cpuMicroseconds = median(cpu);
  const latencies = samples.flatMap(sample => sample.latencies ?? []).sort((a, b) => a - b);
  const own = samples.flatMap(sample => sample.latencyMicroseconds ?? []);
  if (latencies.length > 0) {
    result.latencyMicroseconds = { p50: percentile(latencies, 50) * 1e6, p99: percentile(latencies, 99) * 1e6 };
  } else if (own.length > 0) {
    result.latencyMicroseconds = { p50: median(own.map(each => each.p50)), p99: median(own.map(each => each.p99)) };
  }
  const allocated = samples.flatMap(sample => sample.allocatedBytes ?? []);
  if (allocated.length > 0) result.allocatedBytes = median(allocated);
  const lost = samples.flatMap(sample => sample.lost ?? []);
  if (lost.length > 0) result.lost = lost.reduce((sum, each) => sum + each, 0);
  return result;
}

function median(values: number[]): number {
  return percentile(
    values.sort((a, b) => a - b),
    50,
  );
}

/** Of a sorted list: the value that `percent` of all do not exceed. */
export function percentile(sorted: readonly number[], percent: number): number {
  const index = Math.ceil((sorted.length * percent) / 100) - 1;
  return sorted[Math.max(0, index)]!;
}

/** Times what runs in this process, with the CPU time of all its threads: the collector's too. */
export async function timed(work: () => unknown): Promise<Sample> {
  const cpu = process.cpuUsage();
  const begin = process.hrtime.bigint();
  const pending = work();
  if (pending instanceof Promise) await pending;
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuMicroseconds: user + system };
}

/** As `timed`, with each operation timed too. */
export async function timedEach(count: number, work: (index: number) => unknown): Promise<Sample> {
  const latencies = new Array<number>(count).fill(0);
  const sample = await timed(async () => {
    for (let i = 0; i < count; i++) {
      const begin = performance.now();
      const pending = work(i);
      if (pending instanceof Promise) await pending;
      latencies[i] = (performance.now() - begin) / 1000;
    }
  });
  return { ...sample, latencies };
}

const PROBES = 15;
const PROBE_OPERATIONS = 40;

/** A synchronous loop of `count` operations, with what each allocates. */
export function timedLoop(count: number, work: (index: number) => unknown): Sample {
  const cpu = process.cpuUsage();
  const begin = process.hrtime.bigint();
  for (let i = 0; i < count; i++) work(i);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuMicroseconds: user + system, allocatedBytes: allocatedBy(work) };
}

/** Bytes for each operation. Few at a time: a collection in between takes away what is to be measured, and the median does not see it. */
function allocatedBy(work: (index: number) => unknown): number {
  const held = () => {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const probes = Array.from({ length: PROBES }, () => {
    const before = held();
    for (let i = 0; i < PROBE_OPERATIONS; i++) work(i);
    return (held() - before) / PROBE_OPERATIONS;
  });
  return Math.max(0, median(probes));
}
