import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { patience } from '../support/wait.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import type { KernelPackage } from './packages.ts';

/** What a guest needs before it has a root: its devices' bus, the root file system, the two channels to the host. */
const MODULES = ['virtio_pci', 'virtiofs', 'overlay', 'virtio_console'];

const BUSYBOX_PATHS = ['/bin/busybox', '/usr/bin/busybox'];

/** Between two looks in the guest. */
const LOOK_MICROSECONDS = 10_000;
/** A background process that keeps the output open has two seconds to end, and more on a slow machine. */
const RELAY_LOOKS = Math.ceil(patience(2000) / (LOOK_MICROSECONDS / 1000));

/** What the guest runs once it is up. */
export interface GuestJob {
  /** Program and arguments; never seen by a shell's word splitting. */
  readonly command: readonly string[];
  /** Directory the command starts in; absolute. */
  readonly cwd: string;
  /** The command's whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Files to send back afterwards; absolute paths. */
  readonly collect: readonly string[];
  /** Whether the file server runs without root's rights. */
  readonly unprivileged: boolean;
  /** Bytes written behind the command's output, so that the host knows it has all of it. */
  readonly endMarker: string;
}

/**
 * Builds a guest's initramfs: busybox, the modules above with their dependencies, and the two scripts below.
 *
 * The guest ends up with the host's root under an overlay, mounts of its own over /proc, /sys, /dev and /run, and
 * `job` running. It reports over two virtio-serial ports: 1 carries the command's output, 2 the lines `ready`,
 * `exit CODE`, `file INDEX SIZE` (SIZE bytes follow), `missing INDEX` and `end`.
 *
 * @returns the archive, to be given to QEMU's -initrd
 * @throws Error when busybox or one of the kernel's files is missing
 */
export async function buildInitramfs(kernel: KernelPackage, job: GuestJob): Promise<Buffer> {
  const modules = await modulesWithDependencies(kernel.modulesDirectory);
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'modules', 'run', 'lower', 'upper', 'root'].map(path => ({ path, kind: 'directory' as const })),
    { path: 'dev/console', kind: 'device', major: 5, minor: 1 },
    { path: 'bin/busybox', kind: 'file', content: await readBusybox(), mode: 0o755 },
    { path: 'init', kind: 'file', content: INIT, mode: 0o755 },
    { path: 'main', kind: 'file', content: mainScript(kernel, job) },
  ];
  if (job.unprivileged) entries.push({ path: 'unprivileged', kind: 'file', content: UNPRIVILEGED });
  for (const [index, path] of modules.entries()) {
    const name = `${String(index).padStart(2, '0')}-${basename(path)}`;
    entries.push({
      path: `modules/${name}`,
      kind: 'file',
      content: await readFile(join(kernel.modulesDirectory, path)),
    });
  }
  return writeCpio(entries);
}

/** The modules' paths in loading order. What a kernel has built in (6.12 most of this) is in no modules.dep. */
async function modulesWithDependencies(modulesDirectory: string): Promise<string[]> {
  const lines = (await readFile(join(modulesDirectory, 'modules.dep'), 'utf8')).split('\n');
  const dependencies = new Map<string, string[]>();
  for (const line of lines) {
    const [path = '', rest = ''] = line.split(':');
    dependencies.set(basename(path, '.ko'), [path, ...rest.split(' ').filter(Boolean)]);
  }
  // depmod lists a module's dependencies so that the last one is loaded first.
  return [...new Set(MODULES.flatMap(name => [...(dependencies.get(name) ?? [])].reverse()))];
}

async function readBusybox(): Promise<Buffer> {
  for (const path of BUSYBOX_PATHS) {
    const content = await readFile(path).catch(() => undefined);
    if (content) return content;
  }
  throw new Error(`no busybox in ${BUSYBOX_PATHS.join(' or ')}: install the package busybox-static`);
}

/**
 * Up to the switch to the host's root. `set -e` in process 1 turns a failed step into a kernel panic, which ends QEMU
 * at once with the step's message on the console.
 */
const INIT = `#!/bin/busybox sh
set -e
b=/bin/busybox
for module in /modules/*; do $b insmod $module; done
$b mount -t devtmpfs dev /dev
$b mount -t virtiofs -o ro host /lower
lower=/lower
[ ! -e /unprivileged ] || . /unprivileged
$b mount -t tmpfs -o mode=755 upper /upper
$b mkdir /upper/data /upper/work
$b mount -t overlay -o lowerdir=$lower,upperdir=/upper/data,workdir=/upper/work root /root
$b mount -t proc proc /root/proc
$b mount -t sysfs sys /root/sys
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b mount -t tmpfs -o mode=755 run /root/run
$b mkdir /root/run/guest /dev/pts /dev/shm
$b cp $b /main /root/run/guest/
$b mount -t devpts -o ptmxmode=666,mode=620,gid=5 pts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b ln -s /proc/self/fd /dev/fd
$b ln -s /proc/self/fd/0 /dev/stdin
$b ln -s /proc/self/fd/1 /dev/stdout
$b ln -s /proc/self/fd/2 /dev/stderr
$b mount --move /dev /root/dev
exec $b switch_root -c /dev/console /root /run/guest/busybox sh /run/guest/main
`;

/**
 * An overlay opens the files below it with O_NOATIME, which a file server that is not root is refused for everybody
 * else's files. Except when who mounted the overlay could not ask for it either: so another one, mounted without
 * CAP_FOWNER, comes between. (That the upper one cannot do without: it could not copy files of other owners.)
 * Only util-linux's setpriv drops capabilities, so it runs from the host's files.
 */
const UNPRIVILEGED = `
$b mount -t tmpfs run /lower/run
$b mkdir /lower/run/empty
$b cp $b /lower/run/busybox
$b chroot /lower /usr/bin/setpriv --bounding-set=-fowner --inh-caps=-fowner \\
  /run/busybox mount -t overlay -o ro,lowerdir=/:/run/empty plain /mnt
lower=/lower/mnt
`;

/**
 * Process 1 on the host's root. The command writes to a pipe that a relay copies to the port, as a port can be opened
 * only once: a program that opens its /dev/stdout again must not fail. A background process that keeps the pipe
 * open after the command has ended is given some seconds (RELAY_LOOKS).
 *
 * coreutils' env starts the command, since busybox's env and shell would run their own applets for `sh` or `ip`.
 */
function mainScript(kernel: KernelPackage, job: GuestJob): string {
  const environment = Object.entries(job.env).map(([name, value]) => `${name}=${value}`);
  const words = [`--chdir=${job.cwd}`, ...environment, ...job.command].map(quote).join(' ');
  const modules = `/lib/modules/${kernel.release}`;
  return `set -e
b=/run/guest/busybox
$b hostname guest
$b ip link set lo up
$b mkdir -p ${modules}
$b mount --bind ${quote(kernel.modulesDirectory)} ${modules}
# A host user who is not root cannot read root's home, and neither can the guest then.
$b ls /root >/dev/null 2>&1 || $b mount -t tmpfs home /root
ulimit -n 65536
# The ports' number is the virtio device's, which depends on what else there is; and they come a moment later.
until [ -c /dev/vport*p1 ] && [ -c /dev/vport*p2 ]; do $b usleep ${LOOK_MICROSECONDS}; done
exec 3>$(echo /dev/vport*p1) 4>$(echo /dev/vport*p2)
$b mkfifo /run/guest/output
$b cat /run/guest/output >&3 4>&- &
relay=$!
echo ready >&4
set +e
# The subshell: otherwise this one's remark on a killed command would go into the command's output.
(exec $b setsid /usr/bin/env -i ${words}) </dev/null >/run/guest/output 2>&1 3>&- 4>&-
echo exit $? >&4
looks=0
while kill -0 $relay 2>/dev/null && [ $looks -lt ${RELAY_LOOKS} ]; do $b usleep ${LOOK_MICROSECONDS}; looks=$((looks + 1)); done
kill $relay 2>/dev/null
printf %s ${quote(job.endMarker)} >&3
collect() {
  if $b cp "$2" /run/guest/collected 2>/dev/null; then
    echo file $1 $($b stat -c %s /run/guest/collected) >&4
    $b cat /run/guest/collected >&4
  else
    echo missing $1 >&4
  fi
}
${job.collect.map((path, index) => `collect ${index} ${quote(path)}`).join('\n')}
echo end >&4
# The host ends the guest as soon as it has read that.
while :; do $b sleep 1000; done
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
