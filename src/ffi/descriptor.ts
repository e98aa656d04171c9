import { type DebugLogger, debuglog } from 'node:util';
import { StateError } from '../errors.ts';
import { ofThread } from '../thread.ts';
import type { Ffi } from './ffi.ts';

export interface DescriptorOptions {
  /** Closing may wait in the kernel (nfnetlink waits for the namespace's clean-up, 6-37 ms after a delete). */
  closeOffThread?: boolean;
  /** Its description in the warning about a descriptor that was not closed. */
  what?: string;
  /** The inode of its namespace, which stands behind the description. */
  inode?: number;
}

/** The finaliser's record of a descriptor that is no longer reachable. */
interface Forgotten {
  readonly ffi: Ffi;
  readonly fd: number;
  readonly what: string;
  readonly inode: number | undefined;
  readonly opener: string | undefined;
}

interface ThreadDescriptors {
  registry: FinalizationRegistry<Forgotten> | undefined;
  /** The stacks of those that opened them, by number. */
  traced: Map<number, string> | undefined;
  debug: DebugLogger | undefined;
  /** Closes that are under way on other threads. */
  closing: number;
}

const thread = ofThread<ThreadDescriptors>('ffi.descriptors', {
  registry: undefined,
  traced: undefined,
  debug: undefined,
  closing: 0,
});

/** From now on, who has opened each descriptor that is open: the stack, by the number. For tests; NODE_DEBUG=netsteer does it too. */
export function traceDescriptors(): ReadonlyMap<number, string> {
  thread.traced ??= new Map();
  return thread.traced;
}

/** The stack is worth its price only where somebody looks for a leak. */
function openerOf(): string | undefined {
  thread.debug ??= debuglog('netsteer');
  if (thread.traced === undefined && !thread.debug.enabled) return undefined;
  const { stack = '' } = new Error('opened here');
  // Without this function, the constructor and the message.
  return stack.split('\n').slice(3).join('\n');
}

/** Nobody has the number any more, so nobody else can close it; a watched one is held by its watch. */
function collected({ ffi, fd, what, inode, opener }: Forgotten): void {
  thread.traced?.delete(fd);
  ffi.close(fd);
  const detail = opener ?? 'NODE_DEBUG=netsteer tells who opened it';
  process.emitWarning(
    `${called(what, inode)} (descriptor ${fd}) was never closed; it is closed now that nothing refers to it`,
    {
      type: 'NetsteerLeakWarning',
      code: 'NETSTEER_LEAK',
      detail,
    },
  );
}

// Made when it is needed: turning the number into text costs as much as the rest of a small object.
const called = (what: string, inode: number | undefined): string =>
  inode === undefined ? what : `${what} in namespace ${inode}`;

/**
 * The one owner of a file descriptor. It counts the calls in flight and closes the number when there are none: the system gives
 * a closed number to the next socket, perhaps of another container, and a call that was still under way would land there.
 */
export class Descriptor {
  readonly #ffi: Ffi;
  readonly #offThread: boolean;
  readonly #what: string;
  readonly #inode: number | undefined;
  #fd: number;
  #calls = 0;
  #closed: PromiseWithResolvers | undefined;

  constructor(ffi: Ffi, fd: number, options: DescriptorOptions = {}) {
    this.#ffi = ffi;
    this.#fd = fd;
    this.#offThread = options.closeOffThread ?? false;
    this.#what = options.what ?? 'a descriptor';
    this.#inode = options.inode;
    const opener = openerOf();
    if (opener !== undefined) thread.traced?.set(fd, opener);
    thread.registry ??= new FinalizationRegistry(collected);
    thread.registry.register(this, { ffi, fd, what: this.#what, inode: this.#inode, opener }, this);
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** The number, for a call that ends before anything else can run on this thread. Throws `ERR_CLOSED`. */
  get fd(): number {
    if (this.#closed !== undefined)
      throw new StateError('ERR_CLOSED', `${called(this.#what, this.#inode)} is closed: open another one`);
    return this.#fd;
  }

  /** As `hold`, for a call that ends on this stack. */
  holdNow<T>(call: (fd: number) => T): T {
    this.take();
    try {
      return call(this.#fd);
    } finally {
      this.release();
    }
  }

  /** Keeps the number open until `release`, for a call that runs code of others, which may close this descriptor. Throws `ERR_CLOSED`. */
  take(): void {
    void this.fd;
    this.#calls++;
  }

  release(): void {
    this.#calls--;
    if (this.#calls === 0 && this.closed) this.#release();
  }

  /** Keeps the number open while `call` is under way. */
  async hold<T>(call: (fd: number) => Promise<T>): Promise<T> {
    const fd = this.fd;
    this.take();
    try {
      return await call(fd);
    } finally {
      this.release();
    }
  }

  /** Closes once the calls in flight are over. Closing twice is harmless. The promise resolves when the kernel has let go. */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = withResolvers();
      if (this.#calls === 0) this.#release();
    }
    return this.#closed.promise;
  }

  #release(): void {
    const fd = this.#fd;
    this.#fd = -1;
    thread.registry?.unregister(this);
    thread.traced?.delete(fd);
    if (this.#offThread && thread.closing < MAX_CLOSING) {
      thread.closing++;
      this.#ffi.closeOffThread(fd).finally(() => {
        thread.closing--;
        this.#closed?.resolve();
      });
    } else {
      this.#ffi.close(fd);
      this.#closed?.resolve();
    }
  }
}

/**
 * A loop that never returns to the event loop could pile up closes, and with them descriptors, without end: above this many the
 * next one is done on the spot. It belongs to the process, as the limit on descriptors does.
 */
const MAX_CLOSING = 256;

interface PromiseWithResolvers {
  promise: Promise<void>;
  resolve: () => void;
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers(): PromiseWithResolvers {
  let resolve = () => {};
  const promise = new Promise<void>(done => {
    resolve = done;
  });
  return { promise, resolve };
}
