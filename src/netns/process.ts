import fs from 'node:fs';
import { NetNsError } from '../errors.ts';
import { type Ffi, ffi, type Watch } from '../ffi/index.ts';
import { O_CLOEXEC, O_RDONLY } from '../linux/fcntl.ts';

const ENOSYS = -38;
const ESRCH = -3;
const EINVAL = -22;

/** The namespace of a process, by number. The pidfd held meanwhile tells whether the number still meant the same process afterwards. */
export function openOfPid(ffi: Ffi, pid: number): number {
  const pidfd = ffi.pidfdOpen(pid);
  // Before Linux 5.3 there are no pidfds, and a number reused in these microseconds goes unnoticed.
  if (pidfd === ENOSYS) return openNamespace(ffi, pid);
  if (pidfd < 0) {
    // EINVAL is said of a thread that leads no process.
    const errno = pidfd === EINVAL ? ESRCH : pidfd;
    throw new NetNsError(`process ${pid}`, { errno, syscall: 'pidfd_open' });
  }
  try {
    return openOfPidfd(ffi, pidfd);
  } finally {
    ffi.close(pidfd);
  }
}

export function openOfPidfd(ffi: Ffi, pidfd: number): number {
  const pid = pidOf(pidfd);
  const fd = openNamespace(ffi, pid);
  try {
    pidOf(pidfd);
  } catch (error) {
    ffi.close(fd);
    throw error;
  }
  return fd;
}

/** The pid that a pidfd stands for, as its fdinfo shows it; -1 there means that the process has been reaped. */
function pidOf(pidfd: number): number {
  let info = '';
  try {
    info = fs.readFileSync(`/proc/thread-self/fdinfo/${pidfd}`, 'utf8');
  } catch {
    throw new NetNsError(`descriptor ${pidfd}`, { errno: -9, syscall: 'pidfd' });
  }
  return pidIn(info, pidfd);
}

/** The pid in the fdinfo of a pidfd. */
export function pidIn(info: string, pidfd: number): number {
  const pid = Number(/^Pid:\t(-?\d{1,10})$/m.exec(info)?.[1] ?? Number.NaN);
  // 2^22 is the kernel's own limit.
  if (Number.isNaN(pid) || pid > 0x7fffffff)
    throw new NetNsError(`descriptor ${pidfd} is no pidfd`, { code: 'ERR_NOT_A_PIDFD' });
  if (pid <= 0) throw new NetNsError('the process is gone', { errno: ESRCH, syscall: 'pidfd' });
  return pid;
}

function openNamespace(ffi: Ffi, pid: number): number {
  const fd = ffi.open(`/proc/${pid}/ns/net`, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return fd;
  // A zombie has a pid but no namespaces any more, and says ENOENT.
  const errno = fd === -2 ? ESRCH : fd;
  const hint = errno === -13 || errno === -1 ? { hint: "another user's process needs CAP_SYS_PTRACE" } : {};
  throw new NetNsError(`the namespace of process ${pid}`, { errno, syscall: 'open', ...hint });
}

/** When a process was started, in clock ticks since the boot: with its number, this is one process for ever (proc_pid_stat(5), field 22). */
export function startTimeOf(pid: number): string | undefined {
  try {
    return startTimeIn(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** The same in the text of /proc/PID/stat: the name in brackets may contain anything, and is whatever the process calls itself. */
export function startTimeIn(stat: string): string | undefined {
  const time = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  return time !== undefined && /^\d{1,20}$/.test(time) ? time : undefined;
}

/** Watches for the end of a process. */
export interface ProcessExit {
  /** The process for as long as this is not closed; undefined on kernels without pidfds. */
  readonly pidfd: number | undefined;
  /** Resolves when the process has ended; never, on kernels without pidfds (before 5.3). */
  readonly exited: Promise<void>;
  /** Whether it has ended by now: the promise tells only when the event loop has run. */
  readonly ended: boolean;
  close(): void;
}

/** The watch does not keep this process from ending. @throws NetNsError ESRCH there is no such process */
export function watchExit(pid: number): ProcessExit {
  const backend = ffi();
  const pidfd = backend.pidfdOpen(pid);
  if (pidfd === ENOSYS) return { pidfd: undefined, exited: new Promise(() => {}), ended: false, close() {} };
  if (pidfd < 0)
    throw new NetNsError(`process ${pid}`, { errno: pidfd === EINVAL ? ESRCH : pidfd, syscall: 'pidfd_open' });
  let open = true;
  let ended = false;
  let resolve = () => {};
  const exited = new Promise<void>(done => {
    resolve = done;
  });
  let watch: Watch;
  try {
    // A pidfd is readable from the moment its process has ended.
    watch = backend.watch(pidfd, () => {
      ended = true;
      close();
      resolve();
    });
  } catch (error) {
    backend.close(pidfd);
    throw error;
  }
  watch.unref();
  const close = () => {
    if (!open) return;
    open = false;
    watch.close();
    backend.close(pidfd);
  };
  return {
    pidfd,
    exited,
    get ended() {
      if (open && !ended) ended = backend.readable(pidfd) === 1;
      return ended;
    },
    close,
  };
}
