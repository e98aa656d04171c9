import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePackages } from '../test/vm/packages.ts';
import { Reaper } from '../test/vm/reaper.ts';

const PACKAGE = 'user-mode-linux';
const PROGRAM = 'linux.uml';
const MODULES = '/usr/lib/uml/modules';
const TIMEOUT_SECONDS = 3600;

export interface UmlOptions {
  /** Program and arguments; no shell reads them. */
  readonly command: readonly string[];
  readonly cwd: string;
  /** A file that the command writes: it comes back as `file`. Its path goes behind the command's arguments. */
  readonly withFile?: boolean;
  /** Seconds from the start to the command's end. Default: 3600. */
  readonly timeoutSeconds?: number;
  /** MiB; default 2048. */
  readonly memoryMiB?: number;
}

export interface UmlResult {
  readonly exitCode: number;
  readonly output: string;
  readonly file: string | undefined;
}

/**
 * Runs a command as root in User-mode Linux: a kernel that is a process of this machine, with IPVS and without nf_tables' families. Programs
 * and kernel run natively in it, so its figures can be compared with each other; system calls are slow, for everybody alike.
 *
 * The guest's root is the host's, and it writes through: what it may write is its own /run, where also TMPDIR is.
 */
export async function runInUml(options: UmlOptions): Promise<UmlResult> {
  if (!existsSync(`/usr/bin/${PROGRAM}`)) await ensurePackages([PACKAGE]);
  const directory = mkdtempSync(join(tmpdir(), 'netsteer-uml-'));
  const path = (name: string) => join(directory, name);
  const read = (name: string) => (existsSync(path(name)) ? readFileSync(path(name), 'utf8') : undefined);
  const reaper = new Reaper([directory]);
  try {
    writeFileSync(path('init'), initOf(options, directory));
    chmodSync(path('init'), 0o755);
    const { console, late } = await boot(reaper, path('init'), options);
    const exitCode = read('exit');
    if (exitCode === undefined) {
      const how = late
        ? `did not end within ${options.timeoutSeconds ?? TIMEOUT_SECONDS} s`
        : 'ended without an exit code';
      throw new Error(
        `User-mode Linux ${how}:\n${[console, read('output') ?? ''].map(text => text.slice(-4000)).join('\n')}`,
      );
    }
    return { exitCode: Number(exitCode), output: read('output') ?? '', file: read('file') };
  } finally {
    await reaper.end();
  }
}

function initOf({ command, cwd, withFile }: UmlOptions, directory: string): string {
  const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = withFile ? [...command, '/run/results/file'] : command;
  // What the guest may write is in file systems of its own. /lib/modules need not be there, and is not made: modprobe is told where to look.
  return `#!/bin/sh
export PATH=${quote(process.env.PATH ?? '')}:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs run /run
mkdir -p /run/results /run/tmp /run/lib/modules
mount --bind ${quote(directory)} /run/results
ln -s ${MODULES}/$(uname -r) /run/lib/modules/$(uname -r)
printf '#!/bin/sh\nexec /sbin/modprobe -d /run "$@"\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
/run/modprobe ip_vs
ip link set lo up
cd ${quote(cwd)}
${words.map(quote).join(' ')} >/run/results/output 2>&1
echo $? >/run/results/exit
sync
poweroff -f
`;
}

/** Resolves with what the kernel said, when it has ended or its time is over. */
async function boot(
  reaper: Reaper,
  init: string,
  { timeoutSeconds = TIMEOUT_SECONDS, memoryMiB = 2048 }: UmlOptions,
): Promise<{ console: string; late: boolean }> {
  const parameters = [`mem=${memoryMiB}M`, 'rootfstype=hostfs', 'rootflags=/', 'rw', `init=${init}`];
  const guest = reaper.spawn(PROGRAM, [...parameters, 'con=null', 'con0=fd:0,fd:1', 'quiet']);
  let console = '';
  const keep = (chunk: Buffer) => {
    console += chunk.toString();
  };
  guest.stdout?.on('data', keep);
  guest.stderr?.on('data', keep);
  const over = AbortSignal.timeout(timeoutSeconds * 1000);
  try {
    await once(guest, 'close', { signal: over });
  } catch (error) {
    if (!over.aborted) throw error;
  }
  return { console, late: over.aborted };
}
