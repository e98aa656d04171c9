import { Random } from '../nflog-shapes.ts';
import { BlockCoverage } from './coverage.ts';
import { isTyped, refusePollution, type Target } from './judge.ts';
import { nftAnswers, nftEvents, nftMessages, nftRules, nftRulesets } from './nftables.ts';
import {
  connectionTable,
  controllerAnswers,
  holders,
  ipvsAnswers,
  ipvsadmText,
  ipvsOptions,
  processFiles,
  rtnetlink,
} from './others.ts';
import { redirectElements } from './redirects.ts';
import { EngineAnswers, KernelFiles, RuntimeFiles } from './runtimes.ts';

export interface FuzzOptions {
  inputs: number;
  seed: number;
  /** Only targets whose name has this in it. */
  only?: string;
  /** What is to be done with an input that breaks a rule; the default throws. */
  onFailure?: (error: Error) => void;
}

function raise(error: Error): void {
  throw error;
}

export interface FuzzResult {
  inputs: number;
  /** How often each target was given an input. */
  kinds: Record<string, number>;
  /** Inputs that were refused with an error of this library. */
  refused: number;
  /** Inputs that were kept because they came with parts of the library that none before had reached. */
  kept: number;
  seconds: number;
}

/** Coverage is asked for after so many inputs; where it has grown, some of them are kept and changed further. */
const BLOCK = 500;
const KEPT_OF_BLOCK = 16;
const MAX_POOL = 4000;
/** So many inputs may take so much processor time: some hundred times what they do, so that one that takes very long does not pass. */
const LIMIT_MICROSECONDS = 20_000_000;

/**
 * Feeds what reads the answers of kernels and runtimes with inputs that are nearly right. The rules: nothing throws but errors of this library;
 * nothing that is read depends on what stands around it; prototypes stay what they are; nothing takes long. An input that breaks a rule
 * ends the run with an error that has it.
 */
export async function fuzz({ inputs, seed, only = '', onFailure = raise }: FuzzOptions): Promise<FuzzResult> {
  using files = new RuntimeFiles();
  using kernel = new KernelFiles();
  await using engine = new EngineAnswers();
  const targets = [
    nftMessages,
    nftRules,
    nftRulesets,
    nftEvents,
    nftAnswers,
    redirectElements,
    rtnetlink,
    ipvsAnswers,
    controllerAnswers,
    ipvsOptions,
    connectionTable,
    ipvsadmText,
    holders,
    processFiles,
    kernel,
    files,
    engine,
  ].filter(({ name }) => name.includes(only));
  const turns = targets.flatMap(target => Array.from({ length: target.weight }, () => target));
  const pools = new Map(targets.map(target => [target, [...target.seeds]]));
  const random = new Random(seed);
  const coverage = new BlockCoverage();
  const result: FuzzResult = { inputs, kinds: {}, refused: 0, kept: 0, seconds: 0 };
  const begin = performance.now();
  let recent: [Target, Uint8Array][] = [];
  let cpu = process.cpuUsage();
  try {
    for (let i = 0; i < inputs; i++) {
      const target = random.pick(turns);
      const pool = pools.get(target)!;
      const input = target.make(random, pool);
      try {
        // Most targets are synchronous, and a turn of the event loop costs more than they do.
        const reading = target.read(input, random);
        if (reading instanceof Promise) await reading;
      } catch (error) {
        if (isTyped(error)) result.refused++;
        else onFailure(failure(target, i, seed, input, error));
      }
      result.kinds[target.name] = (result.kinds[target.name] ?? 0) + 1;
      if (random.chance(BLOCK / KEPT_OF_BLOCK)) recent.push([target, input]);
      if (i % BLOCK !== BLOCK - 1) continue;
      try {
        refusePollution();
      } catch (error) {
        throw failure(target, i, seed, input, error);
      }
      const { user, system } = process.cpuUsage(cpu);
      if (user + system > LIMIT_MICROSECONDS)
        throw new Error(`${user + system} us for the ${BLOCK} inputs before ${i} of seed ${seed}`);
      cpu = process.cpuUsage();
      if (coverage.isNew()) {
        for (const [kind, each] of recent) result.kept += keep(pools.get(kind)!, kind.seeds.length, each, random);
      }
      recent = [];
    }
  } finally {
    coverage.close();
  }
  result.seconds = (performance.now() - begin) / 1000;
  return result;
}

/** A full pool loses one that was kept before, never a seed. */
function keep(pool: Uint8Array[], seeds: number, input: Uint8Array, random: Random): 1 {
  if (pool.length < MAX_POOL) pool.push(input);
  else pool[seeds + random.below(pool.length - seeds)] = input;
  return 1;
}

function failure({ name }: Target, index: number, seed: number, input: Uint8Array, cause: unknown): Error {
  const why = cause instanceof Error ? cause.stack : String(cause);
  return new Error(`input ${index} of seed ${seed}, ${name}: ${Buffer.from(input).toString('hex')}\n${why}`, { cause });
}
