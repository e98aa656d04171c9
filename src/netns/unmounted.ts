import fs from 'node:fs';
import { NetNsError } from '../errors.ts';
import type { Ffi } from '../ffi/index.ts';
import { O_CLOEXEC, O_RDONLY } from '../linux/fcntl.ts';
import type { NamespaceSwitcher } from './namespace-switcher.ts';

/** The link in /proc of a namespace that was not opened through a bind mount. */
const NO_MOUNT = /^net:\[\d+\]$/;

/**
 * Another descriptor of the same namespace, which does not keep the mount busy that it was opened through: umount(8) without `-l` and
 * runtimes that take a name away would be told EBUSY for as long as it is open. The namespace itself is asked for one from within: opening
 * /proc/self/fd/N anew would go through the same mount. `fd` is closed then. It is returned as it is where there is no such mount, and where
 * this process must not enter the namespace.
 */
export function withoutMount(ffi: Ffi, switcher: NamespaceSwitcher, fd: number): number {
  if (NO_MOUNT.test(linkOf(fd))) return fd;
  let own = -1;
  try {
    own = switcher.enter(fd, () => ffi.open('/proc/thread-self/ns/net', O_RDONLY | O_CLOEXEC));
  } catch (error) {
    if (own >= 0) ffi.close(own);
    if (error instanceof NetNsError && error.syscall === 'setns' && error.code !== 'ERR_NETNS_LOST') return fd;
    ffi.close(fd);
    throw error;
  }
  if (own < 0) return fd;
  ffi.close(fd);
  return own;
}

function linkOf(fd: number): string {
  try {
    return fs.readlinkSync(`/proc/thread-self/fd/${fd}`);
  } catch {
    // Without /proc there is no other way either.
    return 'net:[0]';
  }
}
