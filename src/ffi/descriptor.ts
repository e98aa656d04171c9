import { StateError } from '../errors.ts';
import type { Ffi } from './ffi.ts';

/**
 * The one owner of a file descriptor. It counts the calls in flight and closes the number when there are none: the system gives
 * a closed number to the next socket, perhaps of another container, and a call that was still under way would land there.
 */
export class Descriptor {
  readonly #ffi: Ffi;
  readonly #offThread: boolean;
  #fd: number;
  #calls = 0;
  #closed: PromiseWithResolvers | undefined;

  /** `closeOffThread`: closing may wait in the kernel (nfnetlink waits for the namespace's clean-up, 6-37 ms after a delete). */
  constructor(ffi: Ffi, fd: number, options: { closeOffThread?: boolean } = {}) {
    this.#ffi = ffi;
    this.#fd = fd;
    this.#offThread = options.closeOffThread ?? false;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** The number, for a call that ends before anything else can run on this thread. Throws `ERR_CLOSED`. */
  get fd(): number {
    if (this.#closed !== undefined) throw new StateError('ERR_CLOSED', 'the handle is closed');
    return this.#fd;
  }

  /** As `hold`, for a call that runs code of others, which may close this descriptor. */
  holdNow<T>(call: (fd: number) => T): T {
    const fd = this.fd;
    this.#calls++;
    try {
      return call(fd);
    } finally {
      this.#calls--;
      if (this.#calls === 0 && this.closed) this.#release();
    }
  }

  /** Keeps the number open while `call` is under way. */
  async hold<T>(call: (fd: number) => Promise<T>): Promise<T> {
    const fd = this.fd;
    this.#calls++;
    try {
      return await call(fd);
    } finally {
      this.#calls--;
      if (this.#calls === 0 && this.closed) this.#release();
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
    if (this.#offThread && closing < MAX_CLOSING) {
      closing++;
      this.#ffi.closeOffThread(fd).finally(() => {
        closing--;
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
let closing = 0;

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
