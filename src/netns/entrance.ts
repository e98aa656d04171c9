import fs from 'node:fs';
import { NetNsError } from '../errors.ts';
import { CLONE_NEWNET, O_CLOEXEC, O_RDONLY } from '../ffi/constants.ts';
import { type Ffi, ffi } from '../ffi/index.ts';

/** setns can fail with ENOMEM and succeed a moment later; what fails three times is not going to work. */
const RETURN_ATTEMPTS = 3;

/**
 * Where this thread is, and the way back. A namespace is entered by the whole thread, so what runs inside must be synchronous: nothing else
 * of the program can run until the thread is home again.
 *
 * When the way home fails, the thread stays in a container, and every socket that any part of the program opens from then on lands there.
 * No library can mend that, and no caller's catch may swallow it: the error is thrown to the caller and once more as an uncaught exception,
 * which ends the process (or the Worker) unless the program has decided otherwise. Until the thread is home nothing is opened any more.
 */
export class Entrance {
  readonly #ffi: Ffi;
  #home = -1;
  /** The namespace that the thread is in, home where undefined. */
  #inside: number | undefined;
  #lost: NetNsError | undefined;

  constructor(backend: Ffi) {
    this.#ffi = backend;
  }

  /** The descriptor of the namespace that this thread was in when it was first asked; kept for the thread's life. */
  get home(): number {
    if (this.#home >= 0) return this.#home;
    // Threads inherit their creator's namespace. libuv's pool is made by its first use, and were that inside a container,
    // each later dns.lookup of the program would be asked there, for ever.
    fs.stat('/', () => {});
    // "self" would be the main thread's namespace, also in a Worker.
    const fd = this.#ffi.open('/proc/thread-self/ns/net', O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw new NetNsError('the home namespace cannot be opened', { errno: fd, syscall: 'open' });
    this.#home = fd;
    return fd;
  }

  /** Runs `inside` with this thread in the namespace of `fd` and always returns. */
  enter<T>(fd: number, inside: () => T): T {
    const home = this.home;
    if (this.#lost !== undefined) this.#return(home, undefined);
    const before = this.#inside;
    if (fd === (before ?? home)) return inside();
    this.#set(fd);
    this.#inside = fd;
    try {
      return inside();
    } finally {
      this.#return(before ?? home, before);
    }
  }

  /**
   * Enters one namespace after the other and returns home once, behind the last. Where one cannot be entered, or `visit` throws, the others are visited
   * all the same: whoever needs it will enter it by itself, and be told.
   */
  tour(count: number, fdAt: (index: number) => number, visit: (index: number) => void): void {
    const { home } = this;
    if (this.#lost !== undefined) this.#return(home, undefined);
    const before = this.#inside;
    try {
      for (let i = 0; i < count; i++) {
        try {
          const fd = fdAt(i);
          if (fd !== (this.#inside ?? home)) {
            this.#set(fd);
            this.#inside = fd;
          }
          visit(i);
        } catch {}
      }
    } finally {
      if (this.#inside !== before) this.#return(before ?? home, before);
    }
  }

  /** As `enter` with the home namespace, for what is opened while the caller runs inside another. */
  atHome<T>(inside: () => T): T {
    if (this.#inside === undefined && this.#lost === undefined) return inside();
    return this.enter(this.home, inside);
  }

  /** Makes a namespace and returns its descriptor; the thread is back when this returns. */
  create(): number {
    const home = this.home;
    if (this.#lost !== undefined) this.#return(home, undefined);
    const before = this.#inside;
    const made = this.#ffi.unshare(CLONE_NEWNET);
    if (made < 0) {
      const hint =
        made === -1 ? 'this needs CAP_SYS_ADMIN' : made === -28 ? 'see the sysctl user.max_net_namespaces' : '';
      throw new NetNsError('a network namespace cannot be made', {
        errno: made,
        syscall: 'unshare',
        ...(hint && { hint }),
      });
    }
    this.#inside = -1;
    const fd = this.#ffi.open('/proc/thread-self/ns/net', O_RDONLY | O_CLOEXEC);
    try {
      this.#return(before ?? home, before);
    } catch (error) {
      if (fd >= 0) this.#ffi.close(fd);
      throw error;
    }
    if (fd < 0) throw new NetNsError('the new namespace cannot be opened', { errno: fd, syscall: 'open' });
    return fd;
  }

  #set(fd: number): void {
    const result = this.#ffi.setns(fd, CLONE_NEWNET);
    if (result < 0)
      throw new NetNsError('the namespace cannot be entered', { errno: result, syscall: 'setns', ...whyNot(result) });
  }

  #return(to: number, inside: number | undefined): void {
    let result = -1;
    for (let attempt = 0; attempt < RETURN_ATTEMPTS; attempt++) {
      result = this.#ffi.setns(to, CLONE_NEWNET);
      if (result >= 0) {
        this.#inside = inside;
        this.#lost = undefined;
        return;
      }
    }
    const lost = new NetNsError('this thread cannot return to its own namespace', {
      code: 'ERR_NETNS_LOST',
      errno: result,
      syscall: 'setns',
      hint: 'sockets opened by it from now on are in the container: end the process',
    });
    const first = this.#lost === undefined;
    this.#lost = lost;
    if (first) {
      setImmediate(() => {
        throw lost;
      });
    }
    throw lost;
  }
}

function whyNot(errno: number): { hint?: string } {
  switch (errno) {
    case -1:
      return { hint: 'this needs CAP_SYS_ADMIN in the user namespace that owns it, and in the own one' };
    case -3:
      return { hint: 'the process is gone' };
    case -22:
      return { hint: 'the file is no network namespace' };
    default:
      return {};
  }
}

let entrance: Entrance | undefined;

/** The entrance of this thread: each thread has a namespace of its own. */
export function threadEntrance(): Entrance {
  entrance ??= new Entrance(ffi());
  return entrance;
}
