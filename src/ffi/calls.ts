import fs from 'node:fs';
import { O_CLOEXEC } from '../linux/fcntl.ts';
import { POLLIN } from '../linux/poll.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from '../linux/socket.ts';
import { SYS_pidfd_open } from '../linux/syscall.ts';
import type { Ffi, Readiness, Watch } from './ffi.ts';
import type { Bound } from './functions.ts';
import { errnoOf, settled } from './node-calls.ts';
import { Closing, Pool } from './pool.ts';
import { isMainThread, runtime } from './runtime.ts';

const EMFILE = -24;
/** The number of the call differs: arm64 has the generic table (include/uapi/asm-generic/unistd.h). */
const SYS_ioctl = process.arch === 'arm64' ? 29 : 16;

/** The synchronous calls, which are the same for every backend once it has bound the functions and can tell the errno of the last one. */
export abstract class Calls implements Ffi {
  abstract readonly name: string;
  protected readonly c: Bound;
  readonly #addressLength = new Int32Array(1);
  readonly #int = new Int32Array(1);
  /** `struct pollfd`: the descriptor; the events that are asked for, and those that are there. */
  readonly #pollfd = new Int32Array(2);

  /**
   * On a Worker's thread, the numbers that Node closes when the Worker ends, whatever has ended it: `terminate()` leaves no JavaScript the time to
   * do that, and what stays open keeps a namespace alive. Node does it for what `fs.open` has given, unless the Worker was made with
   * `trackUnmanagedFds: false`. So each descriptor takes the number of one that was opened like that. Bun and Deno have no such thing.
   */
  readonly #kept = isMainThread() || runtime() !== 'node' ? undefined : new Set<number>();
  /** The numbers of Deno's node:fs are its own, not the kernel's. */
  readonly #fsTakesDescriptors = runtime() !== 'deno';
  readonly #pool = new Pool();
  readonly #closing = new Closing((first, last) => this.#pool.run(() => this.#closeAway(first, last)));

  constructor(c: Bound) {
    this.c = c;
  }

  sendOffThread(fd: number, bytes: Uint8Array, length: number, flags: number): Promise<number> {
    return this.#pool.run(() => this.sendAway(fd, bytes, length, flags));
  }
  /** Node has it: a `struct iovec` holds pointers, which each backend would make in a way of its own. */
  sendParts(fd: number, parts: readonly Uint8Array[]): number {
    if (!this.#fsTakesDescriptors) {
      const whole = Buffer.concat(parts);
      return this.send(fd, whole, whole.length, 0);
    }
    try {
      return fs.writevSync(fd, parts);
    } catch (error) {
      return errnoOf(error);
    }
  }
  sendPartsOffThread(fd: number, parts: readonly Uint8Array[]): Promise<number> {
    if (!this.#fsTakesDescriptors) {
      const whole = Buffer.concat(parts);
      return this.sendOffThread(fd, whole, whole.length, 0);
    }
    return this.#pool.run(() => settled(done => fs.writev(fd, parts, done)));
  }
  recvOffThread(fd: number, into: Uint8Array, flags: number): Promise<number> {
    return this.#pool.run(() => this.recvAway(fd, into, flags));
  }
  closeOffThread(fd: number): Promise<number> {
    return this.#closing.close(fd);
  }

  /** Of the last call on this thread that failed. */
  protected abstract errno(): number;

  protected abstract sendAway(fd: number, bytes: Uint8Array, length: number, flags: number): Promise<number>;
  protected abstract recvAway(fd: number, into: Uint8Array, flags: number): Promise<number>;
  protected abstract closeRangeAway(first: number, last: number): Promise<number>;
  abstract watch(fd: number, ready: () => void, readiness?: Readiness): Watch;

  socket(domain: number, type: number, protocol: number): number {
    const make = () => this.#keep(() => this.c.socket(domain, type, protocol));
    return this.#withRoom(make(), make);
  }
  streamSocket(domain: number): number {
    const make = () => this.result(this.c.socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    return this.#withRoom(make(), make);
  }
  bind(fd: number, address: Uint8Array): number {
    return this.result(this.c.bind(fd, address, address.length));
  }
  connect(fd: number, address: Uint8Array): number {
    return this.result(this.c.connect(fd, address, address.length));
  }
  getsockname(fd: number, address: Uint8Array): number {
    this.#addressLength[0] = address.length;
    const result = this.result(this.c.getsockname(fd, address, this.#addressLength));
    return result < 0 ? result : this.#addressLength[0];
  }
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number {
    return this.result(this.c.send(fd, bytes, length, flags));
  }
  recv(fd: number, into: Uint8Array, flags: number, address: Uint8Array | null): number {
    if (address === null) return this.result(this.c.recv(fd, into, into.length, flags));
    this.#addressLength[0] = address.length;
    return this.result(this.c.recvfrom(fd, into, into.length, flags, address, this.#addressLength));
  }
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    return this.result(this.c.setsockopt(fd, level, name, value, value.length));
  }
  setsockoptInt(fd: number, level: number, name: number, value: number): number {
    this.#int[0] = value;
    return this.result(this.c.setsockopt(fd, level, name, this.#int, this.#int.byteLength));
  }
  getsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    this.#addressLength[0] = value.length;
    const result = this.result(this.c.getsockopt(fd, level, name, value, this.#addressLength));
    return result < 0 ? result : this.#addressLength[0];
  }
  open(path: string, flags: number): number {
    const make = () => this.#keep(() => this.c.open(path, flags));
    return this.#withRoom(make(), make);
  }
  close(fd: number): number {
    if (!this.#kept?.has(fd)) return this.result(this.c.close(fd));
    try {
      fs.closeSync(fd);
      return 0;
    } catch (error) {
      return errnoOf(error);
    } finally {
      this.#kept.delete(fd);
    }
  }
  ioctl(fd: number, request: number, argument: Uint8Array | null): number {
    const make = () => this.result(this.c.ioctl(fd, request, argument));
    // Some of them open a descriptor.
    return this.#withRoom(make(), make);
  }
  ioctlInt(fd: number, request: number, argument: number): number {
    return this.result(this.c.syscall(SYS_ioctl, fd, request, argument));
  }
  setns(fd: number, type: number): number {
    return this.result(this.c.setns(fd, type));
  }
  unshare(flags: number): number {
    return this.result(this.c.unshare(flags));
  }
  readable(fd: number): number {
    this.#pollfd[0] = fd;
    this.#pollfd[1] = POLLIN;
    return this.result(this.c.poll(this.#pollfd, 1, 0));
  }
  pidfdOpen(pid: number): number {
    const make = () => this.#keep(() => this.c.syscall(SYS_pidfd_open, pid, 0, 0));
    return this.#withRoom(make(), make);
  }
  mount(source: string, target: string, type: string | null, flags: number): number {
    return this.result(this.c.mount(source, target, type, flags, null));
  }
  umount(target: string, flags: number): number {
    return this.result(this.c.umount2(target, flags));
  }

  /**
   * The process may have no descriptor more: those that are closed already, and only wait for the event loop to be closed elsewhere, are
   * closed on the spot then, and the call is made again.
   */
  #withRoom(result: number, make: () => number): number {
    if (result !== EMFILE || this.#closing.closeNow(fd => this.close(fd)) === 0) return result;
    return make();
  }

  /** Makes a descriptor that ends with this thread. Between the making and the exchange there is no call at which V8 could end JavaScript. */
  #keep(make: () => number | bigint): number {
    const kept = this.#kept;
    if (kept === undefined) return this.result(make());
    let number: number;
    try {
      number = fs.openSync('/', 'r');
    } catch (error) {
      return errnoOf(error);
    }
    kept.add(number);
    const { dup3, close } = this.c;
    const made = Number(make());
    const exchanged = made < 0 ? -1 : dup3(made, number, O_CLOEXEC);
    const failed = exchanged === -1 ? -this.errno() : 0;
    if (made >= 0) close(made);
    if (failed === 0) return number;
    this.close(number);
    return failed;
  }

  async #closeAway(first: number, last: number): Promise<number> {
    const kept = this.#kept;
    if (kept === undefined) return await this.closeRangeAway(first, last);
    let result = 0;
    for (let fd = first; fd <= last; fd++) {
      result = kept.delete(fd) ? await settled(done => fs.close(fd, done)) : await this.closeRangeAway(fd, fd);
    }
    return result;
  }

  /** errno must be read before anything else can run on this thread. */
  protected result(value: number | bigint): number {
    const result = Number(value);
    return result === -1 ? -this.errno() : result;
  }
}
