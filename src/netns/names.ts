import fs from 'node:fs';
import { NetNsError, rangeError, typeError } from '../errors.ts';
import type { Ffi } from '../ffi/index.ts';
import { MNT_DETACH, MS_BIND, MS_REC, MS_SHARED } from '../linux/mount.ts';

/** Where `ip netns` keeps names; /var/run/netns is the same directory. */
export const NAMES_DIRECTORY = '/run/netns';
/** linux/magic.h */
const NSFS_MAGIC = 0x6e736673;
const EINVAL = -22;
const EEXIST = -17;
const LEFT_MILLISECONDS = 1000;

export function validName(name: unknown): string {
  if (typeof name !== 'string') throw typeError(['name'], 'a string', name);
  if (!/^[^/\0]{1,255}$/.test(name) || name === '.' || name === '..') throw rangeError(['name'], 'a file name', name);
  return name;
}

export function listNames(): string[] {
  let names: string[] = [];
  try {
    names = fs.readdirSync(NAMES_DIRECTORY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return names.filter(isNamespace).sort();
}

/** A name whose mount is gone is a plain file. */
function isNamespace(name: string): boolean {
  try {
    return fs.statfsSync(`${NAMES_DIRECTORY}/${name}`).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}

export function pinName(ffi: Ffi, fd: number, name: string): void {
  shareDirectory(ffi);
  const target = `${NAMES_DIRECTORY}/${name}`;
  try {
    fs.closeSync(fs.openSync(target, 'wx', 0o444));
  } catch (error) {
    const { errno = EEXIST } = error as NodeJS.ErrnoException;
    if (errno !== EEXIST || !isLeftOver(name))
      throw new NetNsError(`the name ${JSON.stringify(name)}`, { errno, syscall: 'open' });
  }
  const mounted = ffi.mount(`/proc/thread-self/fd/${fd}`, target, 'none', MS_BIND);
  if (mounted < 0) {
    fs.unlinkSync(target);
    throw new NetNsError(`the name ${JSON.stringify(name)} cannot be mounted`, { errno: mounted, syscall: 'mount' });
  }
}

/**
 * A process that was killed between making the file and mounting the namespace on it has left an empty file, which is taken. One that is
 * between the two now needs microseconds: it is given a second.
 */
function isLeftOver(name: string): boolean {
  if (isNamespace(name)) return false;
  try {
    const file = fs.lstatSync(`${NAMES_DIRECTORY}/${name}`);
    if (!file.isFile() || file.size > 0) return false;
    const young = LEFT_MILLISECONDS - Math.max(0, Date.now() - file.mtimeMs);
    if (young > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, young);
    return !isNamespace(name);
  } catch {
    return false;
  }
}

/** The directory is a shared mount of its own, so that names made here are seen, and vanish, in every mount namespace. */
function shareDirectory(ffi: Ffi): void {
  fs.mkdirSync(NAMES_DIRECTORY, { recursive: true, mode: 0o755 });
  let shared = ffi.mount('', NAMES_DIRECTORY, 'none', MS_SHARED | MS_REC);
  if (shared === EINVAL) {
    // It is no mount point yet.
    shared = ffi.mount(NAMES_DIRECTORY, NAMES_DIRECTORY, 'none', MS_BIND | MS_REC);
    if (shared >= 0) shared = ffi.mount('', NAMES_DIRECTORY, 'none', MS_SHARED | MS_REC);
  }
  if (shared < 0) throw new NetNsError(`${NAMES_DIRECTORY} cannot be shared`, { errno: shared, syscall: 'mount' });
}

export function unpinName(ffi: Ffi, name: string): void {
  const target = `${NAMES_DIRECTORY}/${name}`;
  const unmounted = ffi.umount(target, MNT_DETACH);
  // EINVAL: nothing is mounted there any more; the file is left to be removed.
  if (unmounted < 0 && unmounted !== EINVAL) {
    throw new NetNsError(`the name ${JSON.stringify(name)}`, { errno: unmounted, syscall: 'umount' });
  }
  fs.unlinkSync(target);
}
