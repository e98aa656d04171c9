import fs from 'node:fs';
import { NetNsError } from '../errors.ts';
import type { Ffi } from '../ffi/index.ts';
import { O_CLOEXEC, O_RDONLY } from '../linux/fcntl.ts';
import { statOf } from './stat.ts';

/** Where this thread is. "self" would be the main thread's namespace, also in a Worker. */
export const HERE = '/proc/thread-self/ns/net';

/** Finds the way home: the descriptor of that namespace, and whether this thread is in another one. */
export type HomeLookup = (backend: Ffi) => { fd: number; elsewhere: boolean };

/** The home of a process, as its threads tell each other. */
interface Home {
  /** A descriptor of the process. */
  readonly fd: number;
  /** The device and inode that the descriptor must have. */
  readonly device: number;
  readonly inode: number;
  /** The thread that wrote this last. */
  readonly thread: number;
}

/** A Worker is born with the environment data that its maker has; another copy of this package on the same thread reads it, too. */
const KEY = 'netsteer.home';

/** Home is where this thread is now. */
export const OWN: HomeLookup = backend => {
  const fd = backend.open(HERE, O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw new NetNsError('the home namespace cannot be opened', { errno: fd, syscall: 'open' });
  return { fd, elsewhere: false };
};

/**
 * The namespace that the whole process calls home: the one in which that thread was which has used this library first. A Worker is born where its
 * maker is at that moment, which is a container if it is started inside `run()`. So it does not look around but believes its maker, who
 * has said where home is before entering anything. All use the one descriptor of the first thread.
 */
export const ofProcess: HomeLookup = backend => {
  const { getEnvironmentData, threadId } = workers();
  const told = getEnvironmentData(KEY) as unknown;
  if (!isHome(told)) {
    const { fd } = OWN(backend);
    const { dev, ino } = statOf(fd);
    tell({ fd, device: dev, inode: ino, thread: threadId });
    return { fd, elsewhere: false };
  }
  if (!isSame(told, () => statOf(told.fd))) {
    const hint = `something else in this process has closed descriptor ${told.fd}`;
    throw new NetNsError('the home namespace is not open any more', { code: 'ERR_NETNS_LOST', hint });
  }
  // Another copy of this package may be inside a namespace just now; where a thread was born is looked at once.
  const elsewhere = told.thread !== threadId && !isSame(told, () => fs.statSync(HERE));
  tell({ ...told, thread: threadId });
  return { fd: told.fd, elsewhere };
};

/** Loaded when it is needed: an import takes milliseconds. */
const workers = () => process.getBuiltinModule('node:worker_threads');

const tell = (home: Home) => workers().setEnvironmentData(KEY, home as never);

const isHome = (value: unknown): value is Home =>
  typeof value === 'object' && value !== null && typeof (value as Home).fd === 'number';

function isSame({ device, inode }: Home, look: () => fs.Stats): boolean {
  try {
    const { dev, ino } = look();
    return dev === device && ino === inode;
  } catch {
    return false;
  }
}
