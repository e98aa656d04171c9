import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NetNs } from 'netsteer';
import { nativeProgram, ROOT } from '../test/support/native.ts';
import type { Sample } from './harness.ts';

/** A directory for the files of this run; it goes with the process. */
export const scratch = (() => {
  let directory: string | undefined;
  return (file: string): string => {
    if (directory === undefined) {
      const made = mkdtempSync(join(tmpdir(), 'netsteer-bench-'));
      process.once('exit', () => rmSync(made, { recursive: true, force: true }));
      directory = made;
    }
    return join(directory, file);
  };
})();

/** native/NAME.c as a program; undefined, and one line, where there is no compiler. */
export function compiled(name: string): string | undefined {
  try {
    return nativeProgram(name);
  } catch (error) {
    missing(name, `${(error as Error).message} (apt-get install gcc libc6-dev linux-libc-dev)`);
    return undefined;
  }
}

const said = new Set<string>();

/** Says once that a program is not in the comparison, and why. */
export function missing(program: string, why: string): void {
  if (said.has(program)) return;
  said.add(program);
  console.log(`without ${program}: ${why}`);
}

/** The Debian packages of programs that are called otherwise. */
const PACKAGES: Record<string, string> = { nft: 'nftables', ulogd: 'ulogd2', unshare: 'util-linux' };

/** The version that a program prints of itself; undefined, and one line, where there is none. */
export function versionOf(program: string, ...parameters: string[]): string | undefined {
  const { stdout, error } = spawnSync(program, parameters, { encoding: 'utf8' });
  if (error === undefined) return /v?(\d+(?:\.\d+)+)/.exec(stdout)?.[1] ?? 'of unknown version';
  missing(program, `${error.message} (apt-get install ${PACKAGES[program] ?? program})`);
  return undefined;
}

export interface Command {
  readonly program: string;
  readonly parameters: readonly string[];
  /** The namespace that it runs in. */
  readonly netns: NetNs;
  /** The file that it reads as its standard input. */
  readonly input?: string;
}

export interface Finished {
  stdout: string;
  report: string;
}

/** Runs a program in a namespace and times it: from its start to its end, without what starting it costs this process. */
export async function timedCommand(command: Command): Promise<Sample> {
  const timer = compiled('floor-run');
  if (timer === undefined) {
    const begin = performance.now();
    await finished(command.program, command.parameters, command, false);
    return { seconds: (performance.now() - begin) / 1000 };
  }
  const { report } = await finished(timer, [command.program, ...command.parameters], command, false);
  const { nanoseconds, cpuMicroseconds } = JSON.parse(report) as { nanoseconds: number; cpuMicroseconds: number };
  return { seconds: nanoseconds / 1e9, cpuMicroseconds };
}

/** What a program prints. */
export async function outputOf(command: Command): Promise<string> {
  return (await finished(command.program, command.parameters, command, true)).stdout;
}

/** Fewer have no percentiles. */
const MANY = 100;

/** Rounds before the one that counts: in namespaces of their own, or where it is measured. */
export interface Warm {
  readonly rounds: number;
  readonly where: 'new' | 'here';
}

/**
 * The floor: native/floor-netlink sends datagrams that were recorded, from a file in its own form. It has as many rounds behind it in its
 * process as the library has in ours.
 */
export async function timedFloor(
  program: string,
  protocol: number,
  file: string,
  netns: NetNs,
  warm?: Warm,
): Promise<Sample> {
  const parameters = [String(protocol), file, ...(warm === undefined ? [] : [String(warm.rounds), warm.where])];
  const { stdout } = await finished(program, parameters, { program, parameters, netns }, true);
  const { nanoseconds, cpuMicroseconds, datagrams, p50, p99 } = JSON.parse(stdout) as {
    nanoseconds: number;
    cpuMicroseconds: number;
    datagrams: number;
    p50: number;
    p99: number;
  };
  const sample: Sample = { seconds: nanoseconds / 1e9, cpuMicroseconds };
  if (datagrams > MANY) sample.latencyMicroseconds = { p50, p99 };
  return sample;
}

/** A program of build/ that prints one sample, in a process of its own. */
export async function timedScript(name: string, parameters: readonly string[], netns: NetNs): Promise<Sample> {
  const script = join(ROOT, 'build', `${name}.js`);
  const command = { program: process.execPath, parameters: [script, ...parameters], netns };
  return JSON.parse((await finished(command.program, command.parameters, command, true)).stdout) as Sample;
}

export async function finished(
  program: string,
  parameters: readonly string[],
  { netns, input }: Command,
  keepOutput: boolean,
): Promise<Finished> {
  const stdin = input === undefined ? 'ignore' : openSync(input, 'r');
  let child: ChildProcess;
  try {
    child = netns.run(() =>
      spawn(program, parameters, { stdio: [stdin, keepOutput ? 'pipe' : 'ignore', 'pipe', 'pipe'] }),
    );
  } finally {
    if (typeof stdin === 'number') closeSync(stdin);
  }
  const [stdout, stderr, report] = [child.stdout, child.stderr, child.stdio[3]].map(collect);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`${program} ${parameters.join(' ')} ended with ${code}: ${stderr!().slice(0, 500)}`);
  return { stdout: stdout!(), report: report!() };
}

function collect(stream: unknown): () => string {
  const chunks: Buffer[] = [];
  (stream as NodeJS.ReadableStream | null)?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

/** Writes datagrams for native/floor-netlink: each after its length. */
export function writeDatagrams(file: string, datagrams: readonly Uint8Array[]): string {
  const parts = datagrams.flatMap(bytes => [new Uint8Array(new Uint32Array([bytes.length]).buffer), bytes]);
  const path = scratch(file);
  writeFileSync(path, Buffer.concat(parts));
  return path;
}
