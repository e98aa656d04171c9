import { StateError } from '../../src/errors.ts';
import { BACKENDS, type Ffi, type FfiName, selectFfi, type Watch } from '../../src/ffi/index.ts';
import { MSG_DONTWAIT, MSG_TRUNC } from '../../src/linux/socket.ts';

const ENOBUFS = -105;

/** Errnos that the kernel may give for want of memory or room, for a signal, or for want of rights; each is tried at each call. */
export const ERRNOS = {
  ENOBUFS,
  EMSGSIZE: -90,
  EINTR: -4,
  EAGAIN: -11,
  ENOMEM: -12,
  EBUSY: -16,
  EPERM: -1,
} as const;

/** One system call that fails: the `at`th from the arming on, counted from 1. */
interface Fault {
  at: number;
  errno: number;
}

/**
 * The real C library, of which one call can be made to fail. A call that fails has not been carried out, as in the kernel, but for `close`,
 * which lets go of the number whatever it says (close(2)). ENOBUFS from a read means that the answers did not fit the receive buffer: they
 * are taken out of it and gone.
 */
export class FaultyFfi implements Ffi {
  readonly name = 'faulty';
  /** The names of the calls since the arming. */
  calls: string[] = [];
  readonly #inner: Ffi;
  #fault: Fault | undefined;
  #aside = false;
  readonly #waste = new Uint8Array(256 * 1024);

  constructor(inner: Ffi) {
    this.#inner = inner;
  }

  /** Counts from here; without a fault it only counts. */
  arm(fault?: Fault): void {
    this.calls = [];
    this.#fault = fault;
  }

  /** Calls that are none of what is being tried: they are not counted and work. */
  aside<T>(work: () => T): T {
    this.#aside = true;
    try {
      return work();
    } finally {
      this.#aside = false;
    }
  }

  /** From here on everything works. Returns the calls since the arming. */
  disarm(): string[] {
    this.#fault = undefined;
    return this.calls;
  }

  /** The errno of the call that is being made, if it is the one to fail. */
  #failing(name: string): number | undefined {
    if (this.#aside) return undefined;
    this.calls.push(name);
    return this.calls.length === this.#fault?.at ? this.#fault.errno : undefined;
  }

  #call(name: string, call: () => number): number {
    return this.#failing(name) ?? call();
  }

  /** Away from the thread it fails there, too: not before the event loop has turned. */
  async #callAway(name: string, call: () => Promise<number>): Promise<number> {
    const errno = this.#failing(name);
    if (errno === undefined) return await call();
    await new Promise(resolve => setImmediate(resolve));
    return errno;
  }

  #loseAnswers(fd: number, errno: number): number {
    if (errno === ENOBUFS) {
      let length = 1;
      while (length > 0) length = this.#inner.recv(fd, this.#waste, MSG_DONTWAIT | MSG_TRUNC, null);
    }
    return errno;
  }

  socket = (domain: number, type: number, protocol: number) =>
    this.#call('socket', () => this.#inner.socket(domain, type, protocol));
  streamSocket = (domain: number) => this.#call('socket', () => this.#inner.streamSocket(domain));
  bind = (fd: number, address: Uint8Array) => this.#call('bind', () => this.#inner.bind(fd, address));
  connect = (fd: number, address: Uint8Array) => this.#call('connect', () => this.#inner.connect(fd, address));
  getsockname = (fd: number, address: Uint8Array) =>
    this.#call('getsockname', () => this.#inner.getsockname(fd, address));
  send = (fd: number, bytes: Uint8Array, length: number, flags: number) =>
    this.#call('send', () => this.#inner.send(fd, bytes, length, flags));
  sendParts = (fd: number, parts: readonly Uint8Array[]) => this.#call('send', () => this.#inner.sendParts(fd, parts));
  setsockopt = (fd: number, level: number, name: number, value: Uint8Array) =>
    this.#call('setsockopt', () => this.#inner.setsockopt(fd, level, name, value));
  setsockoptInt = (fd: number, level: number, name: number, value: number) =>
    this.#call('setsockopt', () => this.#inner.setsockoptInt(fd, level, name, value));
  getsockopt = (fd: number, level: number, name: number, value: Uint8Array) =>
    this.#call('getsockopt', () => this.#inner.getsockopt(fd, level, name, value));
  open = (path: string, flags: number) => this.#call('open', () => this.#inner.open(path, flags));
  ioctl = (fd: number, request: number, argument: Uint8Array | null) =>
    this.#call('ioctl', () => this.#inner.ioctl(fd, request, argument));
  ioctlInt = (fd: number, request: number, argument: number) =>
    this.#call('ioctl', () => this.#inner.ioctlInt(fd, request, argument));
  setns = (fd: number, type: number) => this.#call('setns', () => this.#inner.setns(fd, type));
  unshare = (flags: number) => this.#call('unshare', () => this.#inner.unshare(flags));
  pidfdOpen = (pid: number) => this.#call('pidfd_open', () => this.#inner.pidfdOpen(pid));
  readable = (fd: number) => this.#call('poll', () => this.#inner.readable(fd));
  mount = (source: string, target: string, type: string | null, flags: number) =>
    this.#call('mount', () => this.#inner.mount(source, target, type, flags));
  umount = (target: string, flags: number) => this.#call('umount', () => this.#inner.umount(target, flags));
  sendOffThread = (fd: number, bytes: Uint8Array, length: number, flags: number) =>
    this.#callAway('send away', () => this.#inner.sendOffThread(fd, bytes, length, flags));
  sendPartsOffThread = (fd: number, parts: readonly Uint8Array[]) =>
    this.#callAway('send away', () => this.#inner.sendPartsOffThread(fd, parts));

  recv(fd: number, into: Uint8Array, flags: number, address: Uint8Array | null): number {
    const errno = this.#failing('recv');
    return errno === undefined ? this.#inner.recv(fd, into, flags, address) : this.#loseAnswers(fd, errno);
  }
  async recvOffThread(fd: number, into: Uint8Array, flags: number): Promise<number> {
    const errno = this.#failing('recv away');
    return errno === undefined ? await this.#inner.recvOffThread(fd, into, flags) : this.#loseAnswers(fd, errno);
  }

  close(fd: number): number {
    const errno = this.#failing('close');
    const result = this.#inner.close(fd);
    return errno ?? result;
  }
  async closeOffThread(fd: number): Promise<number> {
    const errno = this.#failing('close away');
    const result = await this.#inner.closeOffThread(fd);
    return errno ?? result;
  }

  watch(fd: number, ready: () => void): Watch {
    if (this.#failing('watch') !== undefined) throw new StateError('ERR_FFI', 'the descriptor cannot be watched');
    return this.#inner.watch(fd, ready);
  }
}

/** Makes this thread call C through one, over the backend that it would have had. It goes before anything is opened. */
export function useFaultyFfi(): FaultyFfi {
  const inner = BACKENDS[(process.env.NETSTEER_FFI as FfiName | undefined) || 'koffi']();
  const faulty = new FaultyFfi(inner);
  Object.assign(BACKENDS, { faulty: () => faulty });
  selectFfi('faulty' as FfiName);
  return faulty;
}
