import fs from 'node:fs';
import { NetNsError } from '../errors.ts';
import { type Ffi, ffi } from '../ffi/index.ts';
import { O_CLOEXEC, O_RDONLY } from '../linux/fcntl.ts';
import { CLONE_NEWNET } from '../linux/sched.ts';
import { ofThread } from '../thread.ts';
import { HERE, type HomeLookup, OWN, ofProcess } from './home.ts';

/** A descriptor that is kept open while a thread is in its namespace. */
export interface Counted {
  take(): void;
  release(): void;
}

/** One entry that has not come back yet; they are nested. Each depth has one object, which its entries use in turn. */
export class Entry {
  /** The namespace of the thread, unless an inner entry has moved it again; -1 during setns. */
  fd = -1;
  /** The thread has been moved for this entry. Set before setns, because JavaScript may be ended after any call. */
  moved = false;
  held: Counted | undefined;
  /** It goes from one namespace to the next (`visitEach`). */
  visitsMany = false;
  work: () => unknown = nothing;
  /** Runs the caller's function. This frame is on the stack as long as the entry lasts. */
  readonly run = (): unknown => {
    // A `finally`, because JavaScriptCore (Bun) gives up the frame of a strict function whose last act is a call.
    try {
      return this.work();
    } finally {
      this.work = nothing;
    }
  };
}

export const nothing = () => undefined;

/**
 * Whether a function is on the stack. V8 ends JavaScript (the timeout of node:vm, `terminateExecution` of a debugger) without running any
 * `finally`: that an entry is over is told by its frame alone, which is gone from the stack.
 */
export function isRunning(run: () => unknown): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error;
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_error, sites) => sites.length;
    const trace: { stack?: unknown } = {};
    // The stack from the function downwards; empty if the function is not on it.
    Error.captureStackTrace(trace, run);
    return trace.stack !== 0;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
}

/** setns can fail with ENOMEM and succeed a moment later. After three failures it is not going to work. */
const RETURN_ATTEMPTS = 3;
/** The namespace of a thread during setns. */
const UNKNOWN = -1;

/**
 * Moves this thread into network namespaces and back. setns moves the whole thread, so only synchronous functions may run inside.
 *
 * If the thread cannot return, every socket that the program opens from then on would be in the container. The caller gets an error, and the
 * same error is thrown as an uncaught exception, so that no `catch` hides it: it ends the process (or the Worker) unless the program handles
 * it. Nothing is opened until the thread is home again.
 *
 * JavaScript can be ended inside, for example by the timeout of node:vm, and then no `finally` runs. So each entry is recorded. The next entry,
 * and the end of this turn of the event loop, check whether the recorded entries are still on the stack, and bring the thread home if not.
 */
export class NamespaceSwitcher {
  readonly #ffi: Ffi;
  readonly #origin: HomeLookup;
  #home = -1;
  /** The entries that have not returned, the innermost last. Objects above the depth are free. */
  readonly #levels: Entry[] = [];
  #depth = 0;
  /** A check at the end of this turn is scheduled. */
  #watched = false;
  #lost: NetNsError | undefined;

  constructor(backend: Ffi, origin: HomeLookup = OWN) {
    this.#ffi = backend;
    this.#origin = origin;
  }

  /** The descriptor of the namespace that this process calls home; open for its life, and shared by its threads. */
  get home(): number {
    if (this.#home >= 0) return this.#home;
    // Threads inherit their creator's namespace. libuv's pool is made by its first use, and were that inside a container,
    // each later dns.lookup of the program would be asked there, for ever.
    fs.stat('/', () => {});
    const { fd, elsewhere } = this.#origin(this.#ffi);
    this.#home = fd;
    if (elsewhere) this.#return(fd);
    return fd;
  }

  /** Runs `inside` with this thread in the namespace of `fd` and always returns. `holder` keeps the number open meanwhile. */
  enter<T>(fd: number, inside: () => T, holder?: Counted): T {
    const { home } = this;
    const innermost = this.#depth === 0 ? undefined : this.#levels[this.#depth - 1]!;
    // During `visitEach` each of several sockets enters the namespace of the thread: the stack need not be checked each time.
    if (innermost?.visitsMany && fd === innermost.fd && this.#lost === undefined) return inside();
    if (innermost !== undefined || this.#lost !== undefined) this.settle();
    if (fd === this.#place(home)) return inside();
    const level = this.#next(home);
    return this.#within(level, () => {
      if (holder !== undefined) {
        holder.take();
        level.held = holder;
      }
      this.#move(level, fd);
      return inside();
    }) as T;
  }

  /**
   * Enters one namespace after the other and returns home once, behind the last. Where one cannot be entered, or `visit` throws, the others are visited
   * all the same: a caller that needs it enters it alone later, and gets the error.
   */
  visitEach(count: number, fdAt: (index: number) => number, visit: (index: number) => void): void {
    this.settle();
    const level = this.#next(this.home);
    level.visitsMany = true;
    this.#within(level, () => {
      for (let i = 0; i < count; i++) {
        try {
          const fd = fdAt(i);
          if (fd !== level.fd) this.#move(level, fd);
          visit(i);
        } catch {}
      }
    });
  }

  /** As `enter` with the home namespace, for what is opened while the caller runs inside another. */
  atHome<T>(inside: () => T): T {
    if (this.#depth === 0 && this.#lost === undefined) return inside();
    return this.enter(this.home, inside);
  }

  /** Makes a namespace and returns its descriptor; the thread is back when this returns. */
  create(): number {
    this.settle();
    const level = this.#next(this.home);
    const make = () => {
      const { fd: before } = level;
      level.moved = true;
      level.fd = UNKNOWN;
      const made = this.#ffi.unshare(CLONE_NEWNET);
      if (made >= 0) return this.#ffi.open(HERE, O_RDONLY | O_CLOEXEC);
      level.moved = false;
      level.fd = before;
      throw cannotMake(made);
    };
    let fd = -1;
    try {
      fd = this.#within(level, make, made => {
        fd = made as number;
      }) as number;
    } catch (error) {
      if (fd >= 0) this.#ffi.close(fd);
      throw error;
    }
    if (fd < 0) throw new NetNsError('the new namespace cannot be opened', { errno: fd, syscall: 'open' });
    return fd;
  }

  /**
   * Leaves namespaces whose entry is no longer on the stack, and tries again to return if that failed. Called before anything that depends on
   * the namespace of this thread.
   * @throws NetNsError ERR_NETNS_LOST the thread cannot return
   */
  settle(): void {
    const { home } = this;
    let running = this.#depth;
    while (running > 0 && !isRunning(this.#levels[running - 1]!.run)) running--;
    if (running === this.#depth) {
      if (this.#lost !== undefined) this.#return(this.#place(home));
      return;
    }
    const moved = this.#hasMoved(running);
    this.#leave(running);
    if (moved) {
      process.emitWarning('JavaScript was ended inside a network namespace; this thread has left it now', {
        type: 'NetsteerWarning',
        code: 'NETSTEER_ENDED_INSIDE',
        detail: 'What ran on this thread in between ran in that namespace, too. See docs/errors.md.',
      });
    }
  }

  #place(home: number): number {
    return this.#depth === 0 ? home : this.#levels[this.#depth - 1]!.fd;
  }

  /** The record of the next entry. */
  #next(home: number): Entry {
    this.#levels[this.#depth] ??= new Entry();
    const level = this.#levels[this.#depth]!;
    level.fd = this.#place(home);
    level.moved = false;
    level.held = undefined;
    level.visitsMany = false;
    return level;
  }

  #within(level: Entry, work: () => unknown, before?: (result: unknown) => void): unknown {
    const depth = this.#depth;
    if (!this.#watched) {
      this.#watched = true;
      process.nextTick(this.#look);
    }
    level.work = work;
    this.#depth = depth + 1;
    try {
      const result = level.run();
      before?.(result);
      return result;
    } finally {
      this.#leave(depth);
    }
  }

  #hasMoved(depth: number): boolean {
    for (let i = depth; i < this.#depth; i++) if (this.#levels[i]!.moved) return true;
    return false;
  }

  /** Returns to the namespace of that depth. The records stay until the thread is there. */
  #leave(depth: number): void {
    try {
      if (this.#lost !== undefined || this.#hasMoved(depth)) {
        this.#return(depth === 0 ? this.#home : this.#levels[depth - 1]!.fd);
      }
    } finally {
      for (let i = depth; i < this.#depth; i++) {
        const level = this.#levels[i]!;
        level.held?.release();
        level.held = undefined;
        level.work = nothing;
      }
      this.#depth = Math.min(this.#depth, depth);
    }
  }

  /** At the end of a turn every entry must have returned. */
  readonly #look = () => {
    this.#watched = false;
    if (this.#depth === 0) return;
    try {
      this.settle();
    } catch {
      // It was thrown as an uncaught exception already.
    }
  };

  /** `process.exit()` inside a namespace: listeners of 'exit' run at home. */
  exiting(): void {
    if (this.#depth > 0) this.#leave(0);
  }

  #move(level: Entry, fd: number): void {
    const { fd: before, moved } = level;
    level.moved = true;
    level.fd = UNKNOWN;
    const result = this.#ffi.setns(fd, CLONE_NEWNET);
    if (result >= 0) {
      level.fd = fd;
      return;
    }
    level.moved = moved;
    level.fd = before;
    throw new NetNsError('the namespace cannot be entered', { errno: result, syscall: 'setns', ...whyNot(result) });
  }

  #return(to: number): void {
    let result = -1;
    for (let attempt = 0; attempt < RETURN_ATTEMPTS; attempt++) {
      result = this.#ffi.setns(to, CLONE_NEWNET);
      if (result >= 0) {
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

function cannotMake(errno: number): NetNsError {
  const hint =
    errno === -1 ? 'this needs CAP_SYS_ADMIN' : errno === -28 ? 'see the sysctl user.max_net_namespaces' : '';
  return new NetNsError('a network namespace cannot be made', { errno, syscall: 'unshare', ...(hint && { hint }) });
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

const thread = ofThread('netns.switcher', { switcher: undefined as NamespaceSwitcher | undefined });

/** The switcher of this thread: each thread has a namespace of its own. */
export function threadSwitcher(): NamespaceSwitcher {
  if (thread.switcher === undefined) {
    const made = new NamespaceSwitcher(ffi(), ofProcess);
    process.prependListener('exit', () => made.exiting());
    thread.switcher = made;
  }
  return thread.switcher;
}
