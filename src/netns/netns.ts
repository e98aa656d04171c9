import fs from 'node:fs';
import { types } from 'node:util';
import { NetNsError, rangeError, typeError } from '../errors.ts';
import { type Ffi, ffi } from '../ffi/index.ts';
import { inspected, PRINTED } from '../inspect.ts';
import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from '../linux/fcntl.ts';
import { NS_GET_NSTYPE } from '../linux/nsfs.ts';
import { CLONE_NEWNET } from '../linux/sched.ts';
import { ofThread } from '../thread.ts';
import { KernelAccess, type NamespaceAccess } from './access.ts';
import { fromNode } from './failure.ts';
import { listNames, NAMES_DIRECTORY, pinName, unpinName, validName } from './names.ts';
import { type NamespaceSwitcher, threadSwitcher } from './namespace-switcher.ts';
import { openOfPid, openOfPidfd } from './process.ts';
import { Sysctl } from './sysctl.ts';

const CODE = 'ERR_ASYNC_IN_NETNS';

/** Iterators whose functions run when they are asked for the next value. */
const LAZY = ['Generator', 'AsyncGenerator', 'Iterator Helper', 'Async-from-Sync Iterator'];

/** Refuses a function of which a part would run later, before it is called. */
export function checkSynchronous(inside: unknown): void {
  if (typeof inside !== 'function') throw typeError([], 'a function', inside);
  // A bound function and a proxy have the prototype of what they stand for, and so its tag.
  const tag = tagOf(inside);
  const isAsync = types.isAsyncFunction(inside) || tag === 'AsyncFunction' || tag === 'AsyncGeneratorFunction';
  const isGenerator = types.isGeneratorFunction(inside) || tag === 'GeneratorFunction';
  if (isAsync) throw typeError([], 'a synchronous function, not an async one (it has not been called)', inside, CODE);
  if (isGenerator)
    throw typeError([], 'a synchronous function, not a generator (it has not been called)', inside, CODE);
}

/** Refuses what a function has returned where a part of its work is still to come. */
export function refuseLate(result: unknown): void {
  if ((typeof result !== 'object' || result === null) && typeof result !== 'function') return;
  const late =
    'a synchronous function (it was called: what ran before it returned ran inside, what is left will run at home)';
  if (typeof (result as unknown as PromiseLike<unknown>).then === 'function') {
    // Avoids an unhandled rejection of the promise itself.
    (result as unknown as PromiseLike<unknown>).then(undefined, () => {});
    throw typeError([], late, result, CODE);
  }
  if (LAZY.includes(tagOf(result) as string)) throw typeError([], late, result, CODE);
}

const tagOf = (value: object): unknown => (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag];

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

const thread = ofThread('netns.home', { home: undefined as NetNs | undefined });

/** What names a namespace; exactly one of them. */
export type NetNsReference =
  | {
      /** A process in the namespace. */
      pid: number;
    }
  | {
      /** A descriptor of pidfd_open(2) of a process in the namespace. */
      pidfd: number;
    }
  | {
      /** The path of the namespace, such as /run/netns/web. */
      path: string;
    }
  | {
      /** A name under /run/netns, as `ip netns` has it. */
      name: string;
    }
  | {
      /** A descriptor of the namespace. */
      fd: number;
    };

const NETNS = Symbol.for('netsteer.NetNs');
/** A FIFO in place of a namespace must not hold up the open (asm-generic/fcntl.h). */

/**
 * A network namespace, held open by one descriptor. IPVS, nf_tables, NFLOG, links and addresses exist once in each.
 *
 * Entering one needs CAP_SYS_ADMIN over it and takes microseconds; it is only ever done to open a socket or to run a synchronous function.
 * @example
 * const netns = NetNs.open({ pid: 4711 });
 * const interfaces = netns.run(() => os.networkInterfaces());
 * netns.close();
 */
export class NetNs {
  static [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && NETNS in value;
  }

  readonly #access: NamespaceAccess;
  /** Device and inode together are a namespace's identity; the device is the same for all of them (nsfs). */
  readonly device: number;
  /** The number that `ls -l /proc/PID/ns/net` shows in brackets. */
  readonly inode: number;
  /** The sysctls of this namespace: `get('net.ipv4.ip_forward')`, `set(name, value)`. */
  readonly sysctl: Sysctl;

  private constructor(access: NamespaceAccess) {
    if (typeof access?.inode !== 'number')
      throw typeError([], 'NetNs.open({ pid }) or NetNs.create(), not new NetNs()', access);
    this.#access = access;
    this.device = access.device;
    this.inode = access.inode;
    this.sysctl = new Sysctl(access.files);
    Object.defineProperty(this, NETNS, { value: true });
  }

  /** @internal One of a kernel in memory. */
  static over(access: NamespaceAccess): NetNs {
    return new NetNs(access);
  }

  /**
   * The namespace that this process calls home: where its first thread was that has used this library, which is where the process was
   * started. It is the same for every thread, also for a Worker that was started inside `run()`, which is brought home by its first call.
   * Closing it
   * does
   * nothing: it is the way back from all others.
   * @example
   * console.log(NetNs.home().inode);
   */
  static home(): NetNs {
    thread.home ??= new NetNs(new KernelAccess(threadSwitcher().home, false));
    return thread.home;
  }

  /**
   * Opens a namespace by the process that lives in it (through a pidfd: a reused pid is noticed), a path such as /proc/PID/ns/net or a
   * runtime's bind mount, a name under /run/netns, or an open descriptor (which stays the caller's). A mount is not kept busy: it can be
   * unmounted while this is open, unless this process lacks the right to enter the namespace (CAP_SYS_ADMIN).
   * @throws NetNsError `ESRCH` no such process, `ENOENT` no such path or name, `EACCES`/`EPERM` not allowed (another user's process needs
   * CAP_SYS_PTRACE), `ERR_NOT_A_NETNS` the file is something else.
   * @param reference one of `pid`, `path`, `name` and `fd`
   * @example
   * const netns = NetNs.open({ pid: 4711 });
   * const named = NetNs.open({ name: 'web1' });
   */
  static open(reference: NetNsReference): NetNs {
    if (typeof reference !== 'object' || reference === null || Object.keys(reference).length !== 1) {
      throw typeError([], 'one of { pid }, { pidfd }, { path }, { name }, { fd }', reference);
    }
    if ('pid' in reference)
      return NetNs.#adopt(openOfPid(ffi(), number(reference, 'pid', 1)), `process ${reference.pid}`);
    if ('pidfd' in reference)
      return NetNs.#adopt(openOfPidfd(ffi(), number(reference, 'pidfd', 0)), 'the process of that pidfd');
    if ('fd' in reference) return NetNs.#openFile(`/proc/thread-self/fd/${number(reference, 'fd', 0)}`);
    if ('name' in reference) return NetNs.#openFile(`${NAMES_DIRECTORY}/${validName(reference.name)}`);
    if (!('path' in reference)) throw typeError([], 'one of { pid }, { pidfd }, { path }, { name }, { fd }', reference);
    if (typeof reference.path !== 'string') throw typeError(['path'], 'a string', reference.path);
    if (reference.path.includes('\0')) throw rangeError(['path'], 'a path without NUL', reference.path);
    return NetNs.#openFile(reference.path);
  }

  /**
   * Makes a new namespace, empty but for a loopback device that is down. Needs CAP_SYS_ADMIN. It lives until it is closed and unused.
   * @throws NetNsError `EPERM` without CAP_SYS_ADMIN, `ENOSPC` where user.max_net_namespaces is reached
   * @example
   * const netns = NetNs.create();
   * console.log(netns.inode);
   */
  static create(): NetNs {
    return new NetNs(new KernelAccess(threadSwitcher().create(), true));
  }

  /**
   * The names under /run/netns that are namespaces now, sorted.
   * @example
   * for (const name of NetNs.list()) console.log(name);
   */
  static list(): string[] {
    return listNames();
  }

  static #openFile(path: string): NetNs {
    // A path may lead to where this thread is.
    threadSwitcher().settle();
    const fd = ffi().open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) throw new NetNsError(`${JSON.stringify(path)} cannot be opened`, { errno: fd, syscall: 'open' });
    NetNs.#check(fd, JSON.stringify(path));
    return new NetNs(new KernelAccess(withoutMount(ffi(), threadSwitcher(), fd), true));
  }

  static #adopt(fd: number, what: string): NetNs {
    NetNs.#check(fd, what);
    return new NetNs(new KernelAccess(fd, true));
  }

  /** Closes it where it is something else. */
  static #check(fd: number, what: string): void {
    const type = ffi().ioctl(fd, NS_GET_NSTYPE, null);
    if (type !== CLONE_NEWNET) {
      ffi().close(fd);
      const hint =
        'a plain file in its place is often a bind mount that is gone, or was made in another mount namespace';
      throw new NetNsError(`${what} is no network namespace`, {
        code: 'ERR_NOT_A_NETNS',
        ...(type === -25 && { hint }),
      });
    }
  }

  /** @internal Its number, for a call that ends before anything else can run on this thread. Throws `ERR_CLOSED`. */
  get descriptor(): number {
    return this.#access.descriptor;
  }

  /** @internal How it is reached. */
  get access(): NamespaceAccess {
    return this.#access;
  }

  /** It has been closed. The home namespace never is. */
  get closed(): boolean {
    return this.#access.closed;
  }

  /**
   * Are both the same namespace of the kernel?
   * @param other the namespace to compare with, which may be closed
   * @example
   * if (netns.equals(NetNs.home())) console.log('this is the host');
   */
  equals(other: NetNs): boolean {
    return this.inode === other.inode && this.device === other.device;
  }

  /**
   * Runs `inside` in this namespace, on this thread, and returns what it returns. Processes spawned in it start inside. Always returns home
   * first; should that fail, see `ERR_NETNS_LOST` in docs/errors.md.
   * @throws TypeError ERR_ASYNC_IN_NETNS `inside` is an async function or a generator, and has not been called; or it has been called and
   * has returned a promise or a generator: what is left of that would run at home
   * @example const addresses = netns.run(() => os.networkInterfaces());
   */
  run<T>(inside: () => T): T {
    checkSynchronous(inside);
    const result = this.#access.enter(inside);
    refuseLate(result);
    return result;
  }

  /**
   * Reads a file under /proc/net or /proc/sys/net as this namespace shows it.
   * @param path an absolute path under one of these folders
   * @throws NetNsError `ENOENT` no such file, `EPERM` without CAP_SYS_ADMIN over the namespace
   * @example
   * console.log(netns.readFile('/proc/net/dev'));
   */
  readFile(path: string): string {
    const match = /^\/proc\/(net|sys\/net)\/(.+)$/.exec(path);
    if (match === null || path.includes('\0') || path.split('/').some(part => part === '.' || part === '..'))
      throw rangeError(['path'], 'a path under /proc/net or /proc/sys/net', path);
    // /proc/net is a link to self/net, which is the main thread's also in a Worker.
    const actual = match[1] === 'net' ? `/proc/thread-self/net/${match[2]}` : path;
    try {
      return this.#access.files.read(actual);
    } catch (error) {
      throw fromNode(error, path);
    }
  }

  /**
   * Gives the namespace a name: /run/netns/NAME, as `ip netns` has it. It then lives without a process or a descriptor.
   * @param name a file name: no slash, not `.` or `..`
   * @throws NetNsError `EEXIST` the name is taken, `EPERM` without CAP_SYS_ADMIN
   * @example
   * NetNs.create().pin('web1');
   */
  pin(name: string): void {
    pinName(ffi(), this.descriptor, validName(name));
  }

  /**
   * Takes back the name that `pin` (or `ip netns add`) gave. The namespace lives on while something uses it.
   * @param name the name to take away; without it, the one that `pin` of this object gave last
   * @throws NetNsError `ENOENT` no such name
   * @example
   * netns.pin('web1');
   * netns.unpin();
   */
  unpin(name?: string): void {
    void this.descriptor;
    const names = name === undefined ? listNames().filter(each => this.#isNamed(each)) : [validName(name)];
    for (const each of names) unpinName(ffi(), each);
  }

  #isNamed(name: string): boolean {
    const { dev, ino } = fs.statSync(`${NAMES_DIRECTORY}/${name}`);
    return dev === this.device && ino === this.inode;
  }

  [PRINTED](_depth: number, options: object): string {
    return inspected(this, { inode: this.inode, ...(this.closed && { closed: true }) }, options);
  }

  /**
   * Lets go of the namespace: from now on all but `equals` is `ERR_CLOSED`. Sockets opened in it stay in it, and keep it alive.
   * @example
   * const netns = NetNs.open({ pid: 4711 });
   * netns.close();
   */
  close(): void {
    void this.#access.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#access.close();
  }
}

/**
 * The namespace of an options object: home where `netns` is left out. Present but undefined is an error: nobody programs the host by a
 * typing error.
 */
export function netnsOf(options: { netns?: NetNs | undefined }): NetNs {
  if (!('netns' in options)) return NetNs.home();
  const { netns } = options;
  if (netns === undefined)
    throw typeError(['netns'], 'a NetNs (leave the key out for the home namespace)', netns, 'ERR_NETNS_UNDEFINED');
  if (!(netns instanceof NetNs))
    throw typeError(['netns'], 'a NetNs, such as NetNs.open({ pid }) or container.netns', netns);
  return netns;
}

function number(reference: object, key: string, min: number): number {
  const value = (reference as Record<string, unknown>)[key];
  if (typeof value !== 'number') throw typeError([key], 'a number', value);
  if (!Number.isInteger(value) || value < min || value > 0x7fffffff)
    throw rangeError([key], `an integer from ${min}`, value);
  return value;
}
