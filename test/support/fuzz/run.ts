import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { conntrackAnswers, conntrackEvents } from './conntrack.ts';
import { BlockCoverage } from './coverage.ts';
import { iptablesText } from './iptables.ts';
import { isTyped, refusePollution, type Target } from './judge.ts';
import { nflogTargets } from './nflog.ts';
import { nftScript } from './nft-script.ts';
import { nftRuleText } from './nft-text.ts';
import { nftAnswers, nftEvents, nftMessages, nftRules, nftRulesets } from './nftables.ts';
import {
  connectionTable,
  controllerAnswers,
  groupOwners,
  ipvsAnswers,
  ipvsadmText,
  ipvsOptions,
  processFiles,
  rtnetlink,
  rtnetlinkEvents,
} from './others.ts';
import { Random } from './random.ts';
import { redirectElements } from './redirects.ts';
import { EngineAnswers, KernelFiles, RuntimeFiles } from './runtimes.ts';

export interface FuzzOptions {
  /** How many; without end where left out, which needs `seconds`. */
  inputs?: number;
  seed: number;
  /** The run ends after this long. */
  seconds?: number;
  /** Only targets whose name has this in it. */
  only?: string;
  /** What is to be done with an input that breaks a rule; the default throws. */
  onFailure?: (error: Error) => void;
  /** Where an input that breaks a rule is kept, for `replay`. */
  keepIn?: string;
}

/** Inputs that broke a rule once: `npm test` tries them again for ever. */
export const FIXTURES = 'test/fixtures/fuzz';

/** A kept input. What was drawn while it was read is not: it is read with several. */
interface Fixture {
  readonly target: string;
  /** In hexadecimal. */
  readonly input: string;
}
const REPLAYS = 20;

function keepFixture(folder: string, target: string, input: Uint8Array): string {
  const fixture: Fixture = { target, input: Buffer.from(input).toString('hex') };
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const path = join(folder, `${target.replace(/\W+/g, '-')}-${hash}.json`);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path, `${JSON.stringify(fixture)}\n`);
  return path;
}

/** Reads all inputs that were kept in a folder; the first that breaks a rule throws. Returns how many there are. */
export async function replay(folder = FIXTURES): Promise<number> {
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter(name => name.endsWith('.json')) : [];
  await withTargets('', async targets => {
    for (const name of names) {
      const { target, input } = JSON.parse(fs.readFileSync(join(folder, name), 'utf8')) as Fixture;
      const found = targets.find(each => each.name === target);
      if (found === undefined) throw new Error(`${name}: there is no target ${target} any more`);
      const bytes = Uint8Array.from(Buffer.from(input, 'hex'));
      for (let seed = 0; seed < REPLAYS; seed++) {
        try {
          await found.read(bytes, new Random(seed));
        } catch (error) {
          if (!isTyped(error)) throw failure(found, 0, seed, bytes, error);
        }
        refusePollution();
      }
    }
  });
  return names.length;
}

/** Everything that reads answers and packets; some of it needs files and a daemon of its own. */
async function withTargets<T>(only: string, use: (targets: readonly Target[]) => Promise<T>): Promise<T> {
  using files = new RuntimeFiles();
  using kernel = new KernelFiles();
  await using engine = new EngineAnswers();
  const targets: Target[] = [
    nftMessages,
    nftRules,
    nftRulesets,
    nftEvents,
    nftAnswers,
    redirectElements,
    conntrackAnswers,
    conntrackEvents,
    rtnetlink,
    rtnetlinkEvents,
    ipvsAnswers,
    controllerAnswers,
    ipvsOptions,
    connectionTable,
    ipvsadmText,
    nftRuleText,
    iptablesText,
    nftScript,
    groupOwners,
    processFiles,
    kernel,
    files,
    engine,
    ...nflogTargets(),
  ];
  return await use(targets.filter(({ name }) => name.includes(only)));
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
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  return await withTargets(options.only ?? '', targets => run(targets, options));
}

async function run(targets: readonly Target[], options: FuzzOptions): Promise<FuzzResult> {
  const { inputs = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY, seed, onFailure = raise } = options;
  const report = (error: Error, target: Target, input: Uint8Array) => {
    if (options.keepIn !== undefined) error.message += `\nkept in ${keepFixture(options.keepIn, target.name, input)}`;
    onFailure(error);
  };
  const turns = targets.flatMap(target => Array.from({ length: target.weight }, () => target));
  const pools = new Map(targets.map(target => [target, [...target.seeds]]));
  const random = new Random(seed);
  const coverage = new BlockCoverage();
  const result: FuzzResult = { inputs: 0, kinds: {}, refused: 0, kept: 0, seconds: 0 };
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
        else report(failure(target, i, seed, input, error), target, input);
      }
      result.inputs++;
      result.kinds[target.name] = (result.kinds[target.name] ?? 0) + 1;
      if (random.chance(BLOCK / KEPT_OF_BLOCK)) recent.push([target, input]);
      if (i % BLOCK !== BLOCK - 1) continue;
      try {
        refusePollution();
      } catch (error) {
        report(failure(target, i, seed, input, error), target, input);
      }
      if (performance.now() - begin >= seconds * 1000) break;
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
