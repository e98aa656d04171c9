import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { deadline, until } from '../support/wait.ts';
import { ControlReader, OutputReader } from './channels.ts';
import { isRoot } from './packages.ts';
import { Reaper } from './reaper.ts';

/**
 * Why there is no exit code: the guest did not get to the command in time (`boot-timeout`), the command did not end
 * in time (`timeout`), the guest's kernel panicked or powered off (`panic`), or QEMU or virtiofsd failed (`start`).
 */
export type GuestFailure = 'boot-timeout' | 'timeout' | 'panic' | 'start';

/** A guest ended without its command's exit code. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
  readonly reason: GuestFailure;
  /** The last of what the kernel, QEMU and virtiofsd said; part of the message too. */
  readonly console: string;
  /** What the command had written until then. */
  readonly output: string;

  constructor(reason: GuestFailure, message: string, console: string, output: string) {
    super(console ? `${message}\n--- the guest's console ---\n${console}` : message);
    this.reason = reason;
    this.console = console;
    this.output = output;
  }
}

interface MachineOptions {
  readonly vmlinuz: string;
  readonly endMarker: string;
  readonly kvm: boolean;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly timeoutSeconds: number;
  readonly bootTimeoutSeconds: number;
  readonly onOutput: (chunk: string) => void;
  readonly signal: AbortSignal | undefined;
}

interface MachineResult {
  readonly exitCode: number;
  readonly output: string;
  readonly files: ReadonlyMap<number, Buffer>;
  readonly bootSeconds: number;
  readonly seconds: number;
}

const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';

/** In a user namespace virtiofsd may chroot. A /run of its own, since it insists on its lock in there. */
const UNPRIVILEGED_FILE_SERVER = 'mount -t tmpfs run /run && exec "$0" "$@"';

/** Enough for a panic with its backtraces. */
const CONSOLE_TAIL = 16 * 1024;

/** One emulated machine with the file server for its root. Its files are in a directory of its own. */
export class Machine {
  /** Where the initramfs is expected before {@link run}. */
  readonly initramfs: string;
  readonly #directory: string;
  readonly #options: MachineOptions;
  readonly #reaper: Reaper;
  readonly #output: OutputReader;
  readonly #control = new ControlReader();
  readonly #servers: Server[] = [];
  readonly #deadlines: (() => void)[] = [];
  #resolve: (result: MachineResult) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #console = '';
  #startedAt = 0;
  #readyAt = 0;
  #exitAt = 0;

  /** @param directory an empty directory, which {@link end} removes */
  constructor(directory: string, options: MachineOptions) {
    this.#directory = directory;
    this.#options = options;
    this.initramfs = join(directory, 'initramfs');
    this.#output = new OutputReader(options.endMarker, options.onOutput);
    // virtiofsd locks its socket by a file that it never removes (in a /run of its own, when it is not root's).
    const lock = `/var/run/virtiofsd/${this.#path('root').replaceAll('/', '.')}.pid`;
    this.#reaper = new Reaper(isRoot() ? [directory, lock] : [directory]);
  }

  /** Boots; resolves with the guest's reports. To be called once, and {@link end} after it in any case. */
  run(): Promise<MachineResult> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#options.signal?.throwIfAborted();
      this.#options.signal?.addEventListener('abort', this.#abort);
      this.#start().catch(reject);
    });
  }

  /** Kills the guest if it still runs, and removes everything. */
  async end(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#abort);
    for (const cancel of this.#deadlines) cancel();
    await this.#reaper.end();
    for (const server of this.#servers) server.close();
  }

  readonly #abort = () => this.#reject(this.#options.signal?.reason);

  async #start(): Promise<void> {
    await this.#listen('output', data => this.#output.push(data));
    await this.#listen('control', data => this.#readControl(data));
    await this.#startFileServer();
    this.#startedAt = performance.now();
    this.#deadline(this.#options.bootTimeoutSeconds, 'boot-timeout', () => !this.#control.ready);
    this.#deadline(this.#options.timeoutSeconds, 'timeout', () => true);
    const qemu = this.#reaper.spawn('qemu-system-x86_64', this.#qemuArguments());
    this.#watch(qemu, 'QEMU', (code, signal) => {
      if (code === 0) this.#fail('panic', `the guest ended without an exit code (${this.#panic() ?? 'powered off'})`);
      else this.#fail('start', `QEMU failed (${signal ?? `exit code ${code}`})`);
    });
  }

  #qemuArguments(): string[] {
    const { kvm, memoryMiB, cpus, vmlinuz } = this.#options;
    // Under emulation: with cx16 guests crash at random; la57 and pku only cost time.
    const processor = kvm
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off,pku=off,cx16=off'];
    const socket = (name: string) => ['-chardev', `socket,id=${name},path=${this.#path(name)}`];
    const port = (name: string, number: number) => ['-device', `virtserialport,chardev=${name},nr=${number}`];
    return [
      ...processor,
      ...['-smp', `${cpus}`, '-m', `${memoryMiB}`],
      // virtiofsd reads and writes the guest's memory, so it has to be shared.
      ...[
        '-object',
        `memory-backend-memfd,id=memory,share=on,size=${memoryMiB}M`,
        '-machine',
        'pc,memory-backend=memory',
      ],
      ...['-nodefaults', '-nic', 'none', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
      ...socket('root'),
      ...['-device', 'vhost-user-fs-pci,chardev=root,tag=host,queue-size=1024'],
      ...['-device', 'virtio-serial-pci'],
      ...[...socket('output'), ...port('output', 1), ...socket('control'), ...port('control', 2)],
      ...['-kernel', vmlinuz, '-initrd', this.initramfs],
      // panic=-1 reboots at once, which -no-reboot makes QEMU's end.
      ...['-append', 'console=ttyS0 quiet panic=-1 oops=panic mitigations=off'],
    ];
  }

  #panic(): string | undefined {
    return /Kernel panic - not syncing: .*/.exec(this.#console)?.[0].trim();
  }

  /** The console goes through QEMU's stdout; the command's output never does. */
  #watch(child: ChildProcess, what: string, onEnd: (code: number | null, signal: string | null) => void): void {
    const keep = (data: Buffer) => {
      this.#console = (this.#console + data.toString()).slice(-CONSOLE_TAIL);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.on('error', error => this.#fail('start', `${what} did not start: ${error.message}`));
    child.on('close', onEnd);
  }

  async #startFileServer(): Promise<void> {
    // sandbox=chroot: the default one pivots the root, which fails where / is a ramdisk. It holds a descriptor for
    // every file the guest has seen, so where it may not raise its limit a guest that walks the whole disk gets EMFILE.
    const options = ['source=/', 'cache=always', 'sandbox=chroot', 'log_level=err'].flatMap(option => ['-o', option]);
    const args = [`--socket-path=${this.#path('root')}`, '-f', ...options];
    const unshare = ['--map-root-user', '--mount', 'sh', '-c', UNPRIVILEGED_FILE_SERVER, VIRTIOFSD, ...args];
    const server = isRoot() ? this.#reaper.spawn(VIRTIOFSD, args) : this.#reaper.spawn('unshare', unshare);
    let running = true;
    this.#watch(server, 'virtiofsd', (code, signal) => {
      running = false;
      // It ends well when QEMU has, whose own end says more.
      if (code !== 0) this.#fail('start', `virtiofsd ended early (${signal ?? `exit code ${code}`})`);
    });
    await until(() => {
      if (!running) throw new Error('virtiofsd ended before it listened');
      return exists(this.#path('root'));
    }, 'the socket of virtiofsd');
  }

  async #listen(name: string, onData: (data: Buffer) => void): Promise<void> {
    const server = createServer(socket => {
      socket.on('error', () => {});
      socket.on('data', data => {
        onData(data);
        this.#finishWhenComplete();
      });
    });
    this.#servers.push(server);
    server.listen(this.#path(name));
    await once(server, 'listening');
  }

  #readControl(data: Buffer): void {
    this.#control.push(data);
    if (this.#control.ready) this.#readyAt ||= performance.now();
    if (this.#control.exitCode !== undefined) this.#exitAt ||= performance.now();
  }

  #finishWhenComplete(): void {
    const { exitCode, ended, files } = this.#control;
    if (!ended || !this.#output.ended || exitCode === undefined) return;
    const bootSeconds = (this.#readyAt - this.#startedAt) / 1000;
    const seconds = (this.#exitAt - this.#readyAt) / 1000;
    this.#resolve({ exitCode, output: this.#output.text(), files, bootSeconds, seconds });
  }

  #deadline(seconds: number, reason: 'boot-timeout' | 'timeout', applies: () => boolean): void {
    const what = reason === 'timeout' ? 'the command did not end' : 'the guest did not boot';
    const expire = () => applies() && this.#fail(reason, `${what} within ${seconds} s`);
    this.#deadlines.push(deadline(seconds * 1000, expire));
  }

  #fail(reason: GuestFailure, message: string): void {
    this.#reject(new GuestError(reason, message, this.#console.trim(), this.#output.text()));
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
