import { randomUUID } from 'node:crypto';
import { mkdtemp, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { patience } from '../support/wait.ts';
import { buildInitramfs } from './initramfs.ts';
import { GuestError, Machine } from './machine.ts';
import { ensurePackages, GUEST_PACKAGES, isRoot, type KernelSeries, kernelPackage } from './packages.ts';

export { GuestError } from './machine.ts';

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What a guest runs and how; see {@link runInGuest}. */
export interface GuestOptions {
  readonly kernel: KernelSeries;
  /** Program and arguments, e.g. `['node', '--version']`; no shell reads them. */
  readonly command: readonly string[];
  /** Directory the command starts in. Default: this process's. */
  readonly cwd?: string;
  /** Added to (or replacing parts of) the environment, of which this process's is no part. */
  readonly env?: Readonly<Record<string, string>>;
  /** Seconds from the emulator's start to the command's end. Default: 600, and more on a slow machine. */
  readonly timeoutSeconds?: number;
  /** Seconds from the emulator's start to the command's start. Default: 120, and more on a slow machine. */
  readonly bootTimeoutSeconds?: number;
  /** Use /dev/kvm, which may exist and not work. Default: whether NETSTEER_KVM is 1. */
  readonly kvm?: boolean;
  /** Memory in MiB; also bounds what the guest can write, as all of that is in memory. Default: 2048. */
  readonly memoryMiB?: number;
  /** Virtual processors. Default: 2. */
  readonly cpus?: number;
  /** Files to bring back after the command, as absolute paths in the guest. */
  readonly collect?: readonly string[];
  /** Called with the command's output as it comes. */
  readonly onOutput?: (chunk: string) => void;
  /** Ends the guest; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** How a command in a guest ended. */
export interface GuestResult {
  /** The command's; 128 plus the number of the signal that killed it; 127 without such a program, 125 without cwd. */
  readonly exitCode: number;
  /** Its stdout and stderr, in the order they were written. */
  readonly output: string;
  /** Contents of the files in `collect`; those that do not exist are absent. */
  readonly files: Map<string, Buffer>;
  /** From the emulator's start to the command's. */
  readonly bootSeconds: number;
  /** From the command's start to its end. */
  readonly seconds: number;
}

/**
 * Boots one of Debian 12's kernels in QEMU and runs a command there as root.
 *
 * The guest's root is the host's, so that the checkout, node and every tool are where they are here; what it writes
 * goes to memory and is gone afterwards. It has its own /proc, /sys (cgroup2, writable), /dev and an empty /run, the
 * kernel's modules, which load on demand, no network but `lo`, and the environment `PATH` (node's directory first),
 * `HOME=/root`, `NETSTEER_GUEST=<series>` and `options.env`. A caller who is not root gets the same with only those
 * of the host's files that it may read.
 *
 * Missing packages are installed and the kernel is downloaded on first use. Nothing is left behind, whichever way
 * this ends, or this process is killed.
 *
 * A guest whose kernel panics is told through `onOutput`, and booted once more.
 *
 * @throws {@link GuestError} when the command's end is not known; Error when packages or the kernel are not to be had
 */
export async function runInGuest(options: GuestOptions): Promise<GuestResult> {
  await ensurePackages(GUEST_PACKAGES);
  const kernel = await kernelPackage(options.kernel);
  try {
    return await runOnce(options, kernel);
  } catch (error) {
    if (!(error instanceof GuestError) || error.reason !== 'panic') throw error;
    // Seen once, in runc, and not again: emulation is not beyond doubt. It is told, and a panic that comes again counts.
    options.onOutput?.(`\n${error.message}\nthe guest is booted once more\n`);
    return await runOnce(options, kernel);
  }
}

async function runOnce(options: GuestOptions, kernel: Awaited<ReturnType<typeof kernelPackage>>): Promise<GuestResult> {
  options.signal?.throwIfAborted();
  const endMarker = `\x1eend of output ${randomUUID()}\n`;
  const initramfs = await buildInitramfs(kernel, {
    command: options.command,
    cwd: resolve(options.cwd ?? process.cwd()),
    env: {
      PATH: `${dirname(await realpath(process.execPath))}:${SYSTEM_PATH}`,
      HOME: '/root',
      NETSTEER_GUEST: options.kernel,
      ...options.env,
    },
    collect: options.collect ?? [],
    unprivileged: !isRoot(),
    endMarker,
  });
  const directory = await mkdtemp(join(tmpdir(), 'netsteer-guest-'));
  const machine = new Machine(directory, {
    vmlinuz: kernel.vmlinuz,
    endMarker,
    kvm: options.kvm ?? process.env.NETSTEER_KVM === '1',
    memoryMiB: options.memoryMiB ?? 2048,
    cpus: options.cpus ?? 2,
    timeoutSeconds: options.timeoutSeconds ?? patience(600),
    bootTimeoutSeconds: options.bootTimeoutSeconds ?? patience(120),
    onOutput: options.onOutput ?? (() => {}),
    signal: options.signal,
  });
  try {
    await writeFile(machine.initramfs, initramfs);
    const { files, ...result } = await machine.run();
    return {
      ...result,
      files: new Map((options.collect ?? []).flatMap((path, index) => pair(path, files.get(index)))),
    };
  } finally {
    await machine.end();
  }
}

function pair(path: string, content: Buffer | undefined): [string, Buffer][] {
  return content ? [[path, content]] : [];
}
