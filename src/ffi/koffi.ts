import { createRequire } from 'node:module';
import { StateError } from '../errors.ts';
import { SYS_pidfd_open } from './constants.ts';
import type { Ffi, Watch } from './ffi.ts';

/** koffi's own limit is 256 calls in flight, above which it throws (koffi#255); its pool has four threads anyway. */
const MAX_OFF_THREAD = 64;

type Result = number | bigint;
interface Native {
  (...args: unknown[]): Result;
  async(...args: unknown[]): void;
}
interface Koffi {
  readonly version: string;
  load(path: null): { func(definition: string): Native };
  errno(): number;
  readonly node: { poll(fd: number, options: { readable: true }, callback: (...args: number[]) => void): PollHandle };
}
interface PollHandle {
  start(options: { readable: true }, callback: (...args: number[]) => void): void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** Loads koffi (no work is done at import) and binds the C library of this process: glibc or musl, whichever is there. */
export function loadKoffi(): Ffi {
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    const hint = 'its binary is an optional dependency of the package koffi: install without --omit=optional';
    throw new StateError('ERR_FFI', `koffi cannot be loaded; ${hint}`, cause);
  }
  return new KoffiFfi(koffi);
}

class KoffiFfi implements Ffi {
  readonly name: string;
  readonly #koffi: Koffi;
  readonly #c: ReturnType<typeof declare>;
  readonly #addressLength = new Int32Array(1);
  /** An unreferenced poll handle is collected and its watch silently ends. */
  readonly #watches = new Set<KoffiWatch>();
  readonly #waiting: (() => void)[] = [];
  #offThread = 0;

  constructor(koffi: Koffi) {
    this.name = `koffi ${koffi.version}`;
    this.#koffi = koffi;
    this.#c = declare(koffi);
  }

  socket(domain: number, type: number, protocol: number): number {
    return this.#result(this.#c.socket(domain, type, protocol));
  }
  bind(fd: number, address: Uint8Array): number {
    return this.#result(this.#c.bind(fd, address, address.length));
  }
  connect(fd: number, address: Uint8Array): number {
    return this.#result(this.#c.connect(fd, address, address.length));
  }
  getsockname(fd: number, address: Uint8Array): number {
    this.#addressLength[0] = address.length;
    const result = this.#result(this.#c.getsockname(fd, address, this.#addressLength));
    return result < 0 ? result : this.#addressLength[0];
  }
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number {
    return this.#result(this.#c.send(fd, bytes, length, flags));
  }
  recv(fd: number, into: Uint8Array, flags: number, address: Uint8Array | null): number {
    if (address === null) return this.#result(this.#c.recv(fd, into, into.length, flags));
    this.#addressLength[0] = address.length;
    return this.#result(this.#c.recvfrom(fd, into, into.length, flags, address, this.#addressLength));
  }
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    return this.#result(this.#c.setsockopt(fd, level, name, value, value.length));
  }
  getsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    this.#addressLength[0] = value.length;
    const result = this.#result(this.#c.getsockopt(fd, level, name, value, this.#addressLength));
    return result < 0 ? result : this.#addressLength[0];
  }
  open(path: string, flags: number): number {
    return this.#result(this.#c.open(path, flags));
  }
  close(fd: number): number {
    return this.#result(this.#c.close(fd));
  }
  ioctl(fd: number, request: number, argument: number): number {
    return this.#result(this.#c.ioctl(fd, request, argument));
  }
  setns(fd: number, type: number): number {
    return this.#result(this.#c.setns(fd, type));
  }
  unshare(flags: number): number {
    return this.#result(this.#c.unshare(flags));
  }
  pidfdOpen(pid: number): number {
    return this.#result(this.#c.syscall(SYS_pidfd_open, pid, 0));
  }
  mount(source: string, target: string, type: string | null, flags: number): number {
    return this.#result(this.#c.mount(source, target, type, flags, null));
  }
  umount(target: string, flags: number): number {
    return this.#result(this.#c.umount2(target, flags));
  }

  sendOffThread(fd: number, bytes: Uint8Array, length: number, flags: number): Promise<number> {
    return this.#run(this.#c.send, [fd, bytes, length, flags]);
  }
  recvOffThread(fd: number, into: Uint8Array, flags: number): Promise<number> {
    return this.#run(this.#c.recv, [fd, into, into.length, flags]);
  }
  closeOffThread(fd: number): Promise<number> {
    return this.#run(this.#c.close, [fd]);
  }

  watch(fd: number, ready: () => void): Watch {
    const watch = new KoffiWatch(this.#koffi, fd, ready, () => this.#watches.delete(watch));
    this.#watches.add(watch);
    return watch;
  }

  /** errno must be read before anything else can run on this thread; koffi keeps it until its next call. */
  #result(value: Result): number {
    const result = Number(value);
    return result === -1 ? -this.#koffi.errno() : result;
  }

  async #run(call: Native, args: unknown[]): Promise<number> {
    while (this.#offThread >= MAX_OFF_THREAD) await new Promise<void>(resolve => this.#waiting.push(resolve));
    this.#offThread++;
    try {
      return await new Promise<number>((resolve, reject) => {
        // The closure holds `args`, and with them the buffers, until the call is over.
        call.async(...args, (error: Error | null, value: Result) => {
          if (error) reject(error);
          // koffi restores the call's own errno for its callback.
          else resolve(this.#result(value));
        });
      });
    } finally {
      this.#offThread--;
      this.#waiting.shift()?.();
    }
  }
}

class KoffiWatch implements Watch {
  #handle: PollHandle | undefined;
  readonly #closed: () => void;

  constructor(koffi: Koffi, fd: number, ready: () => void, closed: () => void) {
    this.#closed = closed;
    const callback = (status: number) => {
      // A pending socket error stops the handle, and it would stay silent for ever: start it again, then let the reader see the error.
      if (status < 0) this.#handle?.start({ readable: true }, callback);
      try {
        ready();
      } catch (error) {
        // A throw inside the native callback is reported late and can wedge the process's exit.
        queueMicrotask(() => {
          throw error;
        });
      }
    };
    this.#handle = koffi.node.poll(fd, { readable: true }, callback);
  }

  ref(): void {
    this.#handle?.ref();
  }
  unref(): void {
    this.#handle?.unref();
  }
  close(): void {
    this.#handle?.close();
    this.#handle = undefined;
    this.#closed();
  }
}

function declare(koffi: Koffi) {
  // The symbols of the process itself: no libc file has to be named, be it glibc's or musl's.
  const c = koffi.load(null);
  return {
    socket: c.func('int socket(int domain, int type, int protocol)'),
    bind: c.func('int bind(int fd, const void *address, uint32_t length)'),
    connect: c.func('int connect(int fd, const void *address, uint32_t length)'),
    getsockname: c.func('int getsockname(int fd, void *address, void *length)'),
    send: c.func('long send(int fd, const void *bytes, size_t length, int flags)'),
    recv: c.func('long recv(int fd, void *bytes, size_t length, int flags)'),
    recvfrom: c.func(
      'long recvfrom(int fd, void *bytes, size_t length, int flags, void *address, void *addressLength)',
    ),
    setsockopt: c.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
    getsockopt: c.func('int getsockopt(int fd, int level, int name, void *value, void *length)'),
    open: c.func('int open(const char *path, int flags)'),
    close: c.func('int close(int fd)'),
    // Variadic in C; on x64 and arm64 Linux integers are passed the same way.
    ioctl: c.func('int ioctl(int fd, unsigned long request, long argument)'),
    syscall: c.func('long syscall(long number, long a, long b)'),
    setns: c.func('int setns(int fd, int type)'),
    unshare: c.func('int unshare(int flags)'),
    mount: c.func(
      'int mount(const char *source, const char *target, const char *type, unsigned long flags, void *data)',
    ),
    umount2: c.func('int umount2(const char *target, int flags)'),
  };
}
